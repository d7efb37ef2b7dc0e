use iced_x86::code_asm::*;

use super::*;
use crate::x86_64::exception::vector;

const REAL: u64 = 0x7c00;
/// Where programs leave their results.
const OUT: u64 = 0x600;
pub(super) const FLAT: u64 = 0x5_0000;

/// In real mode, with CS 0, at [`REAL`].
fn real() -> Rig {
    let mut rig = Rig::reset(Model::default());
    let cs_value = Segment {
        selector: 0,
        base: 0,
        limit: 0xffff,
        attributes: 0x9b,
    };
    rig.cpu.set_segment(SegmentRegister::Cs, cs_value);
    rig.cpu.set_rip(REAL);
    rig.cpu.set_gpr(4, 0x7000);
    rig
}

#[test]
fn a_reset_begins_below_4_gib() {
    let mut rig = Rig::reset(Model::default());
    assert_eq!(rig.cpu.core.pc, 0xffff_fff0);
    assert_eq!(rig.cpu.gpr(2), 0x506e3);
    assert_eq!(rig.cpu.control_register(0), 0x6000_0010);
    // There is no RAM: #UD, whose vector in real mode is 0:0, where zeroes are.
    let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 2);
    assert_eq!(run.executed, 2);
    assert_eq!(rig.cpu.counters().exceptions[&vector::UD], 1);
}

#[test]
fn real_mode_interrupts_and_far_transfers() {
    let mut rig = real();
    rig.put16(0x21 * 4, 0x10);
    rig.put16(0x21 * 4 + 2, 0x0900);
    rig.program(
        0x9010,
        16,
        |a| asm!(a: mov(bx, cs), mov(bp, sp), mov(cx, word_ptr(bp + 4)), iret()),
    );
    rig.program(REAL, 16, |a| {
        asm!(a: sti(), stc(), int(0x21), db(&[0xea, 0x34, 0x12, 0x00, 0x08]));
    });
    rig.put(0x8000 + 0x1234, &[0xf4]);
    rig.halt();
    assert_eq!(rig.cpu.gpr(3), 0x900);
    assert_eq!(rig.cpu.gpr(1), FLAG_ONE | FLAG_IF | FLAG_CF);
    assert_eq!(rig.cpu.rip(), 0x1235);
    assert_eq!(rig.cpu.segment(SegmentRegister::Cs).base, 0x8000);
    assert_eq!(rig.cpu.rflags(), FLAG_ONE | FLAG_IF | FLAG_CF);
    assert_eq!(rig.cpu.gpr(4), 0x7000);
}

#[test]
fn init_and_start_up() {
    let mut rig = Rig::long();
    rig.cpu.msrs.lstar = 0x1234;
    rig.cpu.init();
    assert!(rig.cpu.is_waiting_for_sipi());
    let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 100);
    assert_eq!((run.exit, run.executed), (Exit::Halt, 0));
    rig.program(0x9000, 16, |a| asm!(a: mov(ax, cs), mov(ebx, cr0), hlt()));
    rig.cpu.start(9);
    rig.halt();
    assert_eq!((rig.cpu.gpr(0), rig.cpu.rip()), (0x900, 6));
    assert_eq!(rig.cpu.gpr(3) & CR0_PE, 0);
    // Model-specific registers stay; a second start is not heard.
    assert_eq!(rig.cpu.msrs.lstar, 0x1234);
    rig.cpu.start(7);
    assert_eq!(rig.cpu.rip(), 6);
}

#[test]
fn from_real_mode_to_long_mode() {
    let mut rig = real();
    rig.write_tables();
    for page in (0..UNMAPPED).step_by(4096) {
        rig.map(page, page | P | W);
    }
    rig.put16(0x500, 0xff);
    rig.put32(0x502, GDT as u32);
    rig.program(REAL, 16, |a| {
        asm!(a: cli(), lgdt(ptr(0x500u16)), mov(eax, cr0), or(al, 1), mov(cr0, eax));
        // JMP far to 32 bits.
        let [lo, hi, ..] = (FLAT as u32).to_le_bytes();
        asm!(a: db(&[0x66, 0xea, lo, hi, (FLAT >> 16) as u8, 0, 0x18, 0]));
    });
    let long = FLAT + 0x100;
    rig.program(FLAT, 32, |a| {
        asm!(a:
            mov(eax, u32::from(DATA)), mov(ds, eax), mov(ss, eax), mov(esp, STACK as u32),
            mov(dword_ptr(OUT), 0x32u32),
            mov(eax, cr4), or(eax, CR4_PAE as i32), mov(cr4, eax),
            mov(eax, TABLES as u32), mov(cr3, eax),
            mov(ecx, 0xc000_0080u32), mov(eax, EFER_LME as u32), mov(edx, 0), wrmsr(),
            mov(eax, cr0), or(eax, 0x8000_0000u32 as i32), mov(cr0, eax),
            // Compatibility mode now.
            rdmsr(), mov(dword_ptr(OUT + 4), eax),
        );
        let [lo, hi, top, _] = (long as u32).to_le_bytes();
        asm!(a: db(&[0xea, lo, hi, top, 0, 0x08, 0]));
    });
    rig.program(long, 64, |a| {
        asm!(a: mov(rax, 0x1234_5678_9abc_def0u64), mov(qword_ptr(OUT + 8), rax), hlt());
    });
    rig.halt();
    assert_eq!(rig.get32(OUT), 0x32);
    assert_eq!(u64::from(rig.get32(OUT + 4)), EFER_LME | EFER_LMA);
    assert_eq!(rig.get64(OUT + 8), 0x1234_5678_9abc_def0);
    assert!(rig.cpu.is_long());
    // And back: out of compatibility mode, paging off.
    let back = FLAT + 0x200;
    rig.program(back, 32, |a| {
        asm!(a: mov(eax, cr0), and(eax, 0x7fff_ffff), mov(cr0, eax), mov(ecx, 0xc000_0080u32), rdmsr(), hlt());
    });
    rig.program(long, 64, |a| {
        asm!(a: push(i32::from(CODE32)), push(back as i32), db(&[0x48, 0xcb]));
    });
    rig.cpu.activity = Activity::Active;
    rig.cpu.set_rip(long);
    rig.halt();
    assert_eq!(rig.cpu.gpr(0), EFER_LME);
    assert_eq!(rig.cpu.segment(SegmentRegister::Cs).selector, CODE32);
}

/// In protected mode without paging, at [`FLAT`], with a TSS of 32 bits and gates of 32 bits.
pub(super) fn protected() -> Rig {
    let mut rig = Rig::reset(Model::default());
    rig.write_tables();
    for n in 0..256_u64 {
        let offset = HANDLERS + 16 * n;
        let gate = offset & 0xffff | u64::from(CODE32) << 16 | 0x8e << 40;
        rig.put64(IDT + 8 * n, gate);
    }
    rig.put(TSS, &[0; 104]);
    rig.put32(TSS + 4, STACK0 as u32);
    rig.put16(TSS + 8, DATA);
    rig.put16(TSS + 102, 0x68);
    let flat = |selector, attributes| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes,
    };
    let data = flat(DATA, 0xc093);
    let mut gpr = [0; 16];
    gpr[4] = STACK;
    rig.cpu.load(&InitialState {
        gpr,
        rip: FLAT,
        cr0: CR0_PE,
        segments: [data, flat(CODE32, 0xc09b), data, data, data, data],
        tr: Segment {
            selector: TSS64,
            base: TSS,
            limit: 0x67,
            attributes: 0x8b,
        },
        gdtr: DescriptorTable {
            base: GDT,
            limit: 0xff,
        },
        idtr: DescriptorTable {
            base: IDT,
            limit: 0x7ff,
        },
        ..InitialState::default()
    });
    rig
}

impl Rig {
    fn run_32(&mut self, write: impl FnOnce(&mut CodeAssembler)) {
        self.program(FLAT, 32, write);
        self.halt();
    }

    fn stack_32(&self, n: u64) -> u32 {
        self.get32(self.cpu.gpr(4) + 4 * n)
    }
}

/// IRET to level 3 of 32 bits, at [`USER`].
fn enter_user_32(a: &mut CodeAssembler) {
    asm!(a:
        push(i32::from(USER_SS)), push(USER_STACK as i32), push(0x202),
        push(i32::from(USER32)), push(USER as i32), iretd(),
    );
}

#[test]
fn protected_mode_gates_of_32_bits() {
    let mut rig = protected();
    rig.run_32(|a| asm!(a: nop(), ud2()));
    assert_eq!(rig.vector(), vector::UD);
    let frame = [0, 1, 2].map(|n| rig.stack_32(n));
    let flags = (FLAG_ONE | FLAG_RF) as u32;
    assert_eq!(frame, [FLAT as u32 + 1, u32::from(CODE32), flags]);
    assert_eq!(rig.cpu.gpr(4), STACK - 12);

    let mut rig = protected();
    rig.program(USER, 32, |a| asm!(a: nop(), hlt()));
    rig.run_32(enter_user_32);
    assert_eq!(rig.vector(), vector::GP);
    let frame = [0, 1, 2, 3, 4, 5].map(|n| rig.stack_32(n));
    let flags = 0x202 | FLAG_RF as u32;
    let expected = [
        0,
        USER as u32 + 1,
        u32::from(USER32),
        flags,
        USER_STACK as u32,
        u32::from(USER_SS),
    ];
    assert_eq!(frame, expected);
    assert_eq!(rig.cpu.gpr(4), STACK0 - 24);
}

#[test]
fn protected_mode_gates_of_16_bits() {
    let mut rig = protected();
    rig.put64(
        IDT + 8 * 0x80,
        0x9000 | u64::from(CODE32) << 16 | 0x87 << 40,
    );
    rig.put(0x9000, &[0xf4]);
    rig.run_32(|a| asm!(a: sti(), int(0x80)));
    assert_eq!(rig.cpu.gpr(4), STACK - 6);
    let word = |n: u64| rig.get16(STACK - 6 + 2 * n);
    assert_eq!(
        [word(0), word(1), word(2)],
        [(FLAT + 3) as u16, CODE32, 0x202]
    );
}

#[test]
fn inner_stacks_are_checked() {
    // (SS of the TSS, vector, error); the second fault is a double fault, so that the first one is looked at in the counters.
    let rows = [
        (0, vector::TS),
        (DATA | 3, vector::TS),
        (USER_SS, vector::TS),
        (0x100, vector::TS),
    ];
    for (ss_value, expected) in rows {
        let mut rig = protected();
        rig.put16(TSS + 8, ss_value);
        rig.program(USER, 32, |a| asm!(a: ud2()));
        rig.program(FLAT, 32, enter_user_32);
        let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 100);
        assert_eq!(run.exit, Exit::Shutdown, "{ss_value:#x}");
        let counted: Vec<u8> = rig.cpu.counters().exceptions.keys().copied().collect();
        assert_eq!(counted, [vector::UD, vector::DF, expected]);
    }
}

#[test]
fn segment_limits_of_a_stack() {
    let mut rig = protected();
    // A stack of 4 KiB.
    rig.put64(GDT + u64::from(FREE), 0x0040_9300_0000_0fff);
    rig.program(HANDLERS + 0xc0, 32, |a| asm!(a: hlt()));
    rig.put64(IDT + 8 * 12, 0x85 << 40 | u64::from(FREE + 8) << 16);
    task(&mut rig, FREE + 8, HANDLERS + 0xc0);
    rig.run_32(|a| {
        asm!(a: mov(eax, u32::from(FREE)), mov(ss, eax), mov(esp, 0x1002), push(eax));
    });
    // The task has a stack of its own, with the error code.
    assert_eq!(rig.cpu.rip(), HANDLERS + 0xc1);
    assert_eq!((rig.cpu.gpr(4), rig.stack_32(0)), (0x6ff0 - 4, 0));
    assert_eq!(rig.get32(TSS + 32), FLAT as u32 + 12);
}

/// Makes a task whose state is at 0x4000: its descriptor at `selector`, its instruction pointer, a stack at 0x6ff0.
fn task(rig: &mut Rig, selector: u16, eip: u64) {
    rig.put64(GDT + u64::from(selector), 0x0000_8900_4000_0067);
    rig.put(0x4000, &[0; 104]);
    rig.put32(0x4000 + 32, eip as u32);
    rig.put32(0x4000 + 36, 2);
    rig.put32(0x4000 + 56, 0x6ff0);
    for (i, s) in [DATA, CODE32, DATA, DATA, 0, 0].into_iter().enumerate() {
        rig.put16(0x4000 + 72 + 4 * i as u64, s);
    }
}

#[test]
fn a_task_is_called_and_returns() {
    let mut rig = protected();
    let other = FLAT + 0x800;
    task(&mut rig, FREE, other);
    rig.program(
        other,
        32,
        |a| asm!(a: pushfd(), pop(ecx), mov(dword_ptr(OUT), ecx), iretd()),
    );
    rig.run_32(|a| {
        asm!(a: mov(ebx, 0x1234), db(&[0x9a, 0, 0, 0, 0, FREE as u8, 0]), mov(esi, cr0), str(edx), hlt());
    });
    // The called task had NT; after the return the old one has not.
    assert_eq!(u64::from(rig.get32(OUT)), FLAG_ONE | FLAG_NT);
    assert_eq!(rig.cpu.rflags() & FLAG_NT, 0);
    assert_eq!(rig.cpu.gpr(3), 0x1234);
    assert_eq!(rig.cpu.gpr(2), u64::from(TSS64));
    assert_eq!(rig.cpu.gpr(6) & CR0_TS, CR0_TS);
    assert_eq!(rig.get16(0x4000), TSS64);
    // Busy while it is nested in, available again at its return.
    assert_eq!(rig.get64(GDT + u64::from(FREE)) >> 40 & 0xff, 0x89);
    assert_eq!(rig.get64(GDT + u64::from(TSS64)) >> 40 & 0xff, 0x8b);
    // A busy task is refused.
    let mut rig = protected();
    rig.run_32(|a| asm!(a: db(&[0xea, 0, 0, 0, 0, TSS64 as u8, 0])));
    assert_eq!(rig.vector(), vector::GP);
    assert_eq!(rig.stack_32(0), u32::from(TSS64));
}

#[test]
fn what_protected_mode_alone_has_is_no_instruction_in_real_mode() {
    let rows: [fn(&mut CodeAssembler); 7] = [
        |a| asm!(a: lldt(ax)),
        |a| asm!(a: ltr(ax)),
        |a| asm!(a: sldt(ax)),
        |a| asm!(a: str(ax)),
        |a| asm!(a: lar(ax, ax)),
        |a| asm!(a: verr(ax)),
        |a| asm!(a: arpl(ax, ax)),
    ];
    for (i, write) in rows.into_iter().enumerate() {
        let mut rig = real();
        rig.put16(6 * 4, 0x9000);
        rig.put(0x9000, &[0xf4]);
        rig.program(REAL, 16, write);
        rig.halt();
        assert_eq!(rig.cpu.rip(), 0x9001, "row {i}");
    }
}

#[test]
fn paging_of_32_bits_with_a_program() {
    let mut rig = protected();
    let dir = TABLES;
    rig.put32(dir, (P | W | PS) as u32);
    rig.put32(dir + 4, (0x20_1000 | P | W) as u32);
    rig.put32(0x20_1000, (0x9000 | P) as u32);
    rig.put64(0x9000, 0xfeed);
    rig.run_32(|a| {
        asm!(a:
            mov(eax, cr4), or(eax, CR4_PSE as i32), mov(cr4, eax),
            mov(eax, dir as u32), mov(cr3, eax),
            mov(eax, cr0), or(eax, 0x8001_0000u32 as i32), mov(cr0, eax),
            mov(ebx, dword_ptr(0x40_0000u32)),
            mov(dword_ptr(0x40_0004u32), ebx),
        );
    });
    assert_eq!((rig.vector(), rig.stack_32(0)), (vector::PF, 3));
    assert_eq!(rig.cpu.gpr(3), 0xfeed);
    assert_eq!(rig.cpu.control_register(2), 0x40_0004);
}

#[test]
fn pae_loads_its_pointers_with_cr3() {
    let mut rig = protected();
    let (pointers, dir) = (TABLES, TABLES + 0x1000);
    rig.put64(pointers, dir | P);
    rig.put64(dir, P | W | PS);
    let on = |a: &mut CodeAssembler| {
        asm!(a:
            mov(eax, cr4), or(eax, CR4_PAE as i32), mov(cr4, eax),
            mov(eax, pointers as u32), mov(cr3, eax),
            mov(eax, cr0), or(eax, 0x8000_0000u32 as i32), mov(cr0, eax),
            mov(ebx, dword_ptr(0x40_0000u32)),
        );
    };
    rig.run_32(on);
    assert_eq!((rig.vector(), rig.stack_32(0)), (vector::PF, 0));
    // A reserved bit in a pointer is found when paging is switched on.
    let mut rig = protected();
    rig.put64(pointers, dir | P | 1 << 5);
    rig.run_32(on);
    assert_eq!((rig.vector(), rig.stack_32(0)), (vector::GP, 0));
    assert_eq!(rig.cpu.control_register(0) & CR0_PG, 0);
}
