use iced_x86::code_asm::*;

use super::*;
use crate::x86_64::exception::vector;

/// Not canonical.
const WILD: u64 = 0x8000_0000_0000_0000;

#[test]
fn a_fault_saves_its_instruction_and_a_trap_the_next() {
    let mut rig = Rig::long();
    rig.run(|a| asm!(a: nop(), ud2()));
    assert_eq!(rig.vector(), vector::UD);
    let mut frame = Frame {
        error: None,
        rip: CODE + 1,
        cs: CODE64.into(),
        flags: FLAG_ONE | FLAG_RF,
        rsp: STACK,
        ss: DATA.into(),
    };
    assert_eq!(rig.frame(false), frame);
    assert_eq!(rig.cpu.gpr(4), STACK - 40);

    let mut rig = Rig::long();
    rig.run(|a| asm!(a: nop(), int3()));
    assert_eq!(rig.vector(), vector::BP);
    (frame.rip, frame.flags) = (CODE + 2, FLAG_ONE);
    assert_eq!(rig.frame(false), frame);

    let mut rig = Rig::long();
    rig.run(|a| asm!(a: int(0x80)));
    assert_eq!(rig.vector(), 0x80);
    assert_eq!(rig.frame(false), frame);
}

#[test]
fn a_handler_starts_with_an_aligned_stack_and_without_trap_and_nested_task() {
    let mut rig = Rig::long();
    rig.gate(0x81, CODE64, 0, 0x8f, HANDLERS + 0x810);
    let flags = (FLAG_IF | FLAG_NT | FLAG_AC) as i32;
    rig.run(|a| asm!(a: mov(rsp, STACK - 3), push(flags), popfq(), int(0x81)));
    assert_eq!(rig.cpu.gpr(4), STACK - 16 - 40);
    // A trap gate leaves IF.
    assert_eq!(rig.cpu.rflags(), FLAG_ONE | FLAG_IF | FLAG_AC);
    assert_eq!(
        rig.frame(false).flags,
        FLAG_ONE | FLAG_IF | FLAG_AC | FLAG_NT
    );
}

#[test]
fn error_codes_of_gates() {
    type Change = (u8, u16, u64, u64);
    let rows: [(Change, u8, u64); 8] = [
        // Not present: by INT n, and by an exception.
        ((0x80, CODE64, 0x0e, 0x9000), vector::NP, 0x402),
        ((6, CODE64, 0x0e, 0x9000), vector::NP, 0x33),
        // A type that long mode does not have.
        ((0x80, CODE64, 0x85, 0x9000), vector::GP, 0x402),
        ((0x80, CODE64, 0x86, 0x9000), vector::GP, 0x402),
        // The code segment: null, absent, data, of 32 bits.
        ((0x80, 0, 0x8e, 0x9000), vector::GP, 0),
        ((6, 0x100, 0x8e, 0x9000), vector::GP, 0x101),
        ((0x80, DATA, 0x8e, 0x9000), vector::GP, 0x10),
        ((6, CODE32, 0x8e, 0x9000), vector::GP, 0x19),
    ];
    for ((n, selector, kind, offset), vector, error) in rows {
        let mut rig = Rig::long();
        rig.gate(n, selector, 0, kind, offset);
        let found = rig.fault(|a| {
            if n == 6 {
                asm!(a: ud2());
            } else {
                asm!(a: int(i32::from(n)));
            }
        });
        assert_eq!(
            found,
            (vector, error),
            "gate {n:#x} {selector:#x} {kind:#x}"
        );
        assert_eq!(rig.frame(true).rip, CODE);
    }
    let mut rig = Rig::long();
    rig.cpu.idtr.limit = 0x7ff;
    assert_eq!(rig.fault(|a| asm!(a: int(0x80))), (vector::GP, 0x402));
}

#[test]
fn page_faults_tell_address_and_cause() {
    let mut rig = Rig::long();
    let found = rig.fault(|a| asm!(a: mov(byte_ptr(UNMAPPED + 0x777), 1)));
    assert_eq!(found, (vector::PF, 2));
    assert_eq!(rig.cpu.control_register(2), UNMAPPED + 0x777);

    let mut rig = Rig::long();
    let found = rig.fault(|a| asm!(a: mov(eax, UNMAPPED as u32), jmp(rax)));
    assert_eq!(found, (vector::PF, 0x10));
    assert_eq!(rig.frame(true).rip, UNMAPPED);

    // An access across two pages faults at the second one, and has changed nothing.
    let mut rig = Rig::long();
    let found = rig.fault(|a| {
        asm!(a: mov(rax, -1i64), mov(qword_ptr(UNMAPPED - 4), rax));
    });
    assert_eq!(found, (vector::PF, 2));
    assert_eq!(rig.cpu.control_register(2), UNMAPPED);
    assert_eq!(rig.get32(UNMAPPED - 4), 0);
}

#[test]
fn addresses_that_are_not_canonical() {
    let rows: [(Write, u8); 5] = [
        (|a| asm!(a: mov(rax, ptr(rbx))), vector::GP),
        (|a| asm!(a: mov(rax, ptr(rbp))), vector::SS),
        (|a| asm!(a: mov(ptr(rsp + rcx * 1), rax)), vector::SS),
        (|a| asm!(a: push(rax)), vector::SS),
        (|a| asm!(a: lgdt(ptr(rbx))), vector::GP),
    ];
    for (i, (write, vector)) in rows.into_iter().enumerate() {
        let mut rig = Rig::long();
        // The handlers need a stack: theirs is another one.
        for n in [vector::GP, vector::SS] {
            rig.gate(n, CODE64, 1, 0x8e, HANDLERS + 16 * u64::from(n));
        }
        let found = rig.fault(|a| {
            asm!(a: mov(rbx, WILD), mov(rbp, WILD), mov(rsp, WILD), mov(ecx, 0));
            write(a);
        });
        assert_eq!(found, (vector, 0), "row {i}");
        assert_eq!(rig.frame(true).rip, CODE + 35, "row {i}");
    }
}

#[test]
fn an_interrupt_stack_is_used_without_a_change_of_level() {
    let mut rig = Rig::long();
    rig.gate(6, CODE64, 1, 0x8e, HANDLERS + 0x60);
    rig.run(|a| asm!(a: ud2()));
    assert_eq!(rig.cpu.gpr(4), IST1 - 40);
    assert_eq!(rig.frame(false).rsp, STACK);
    // SS stays.
    assert_eq!(rig.cpu.segment(SegmentRegister::Ss).selector, DATA);

    // Outside the limit of the task-state segment: #TS with its selector.
    let mut rig = Rig::long();
    rig.gate(6, CODE64, 7, 0x8e, HANDLERS + 0x60);
    rig.cpu.tr.limit = 0x50;
    assert_eq!(
        rig.fault(|a| asm!(a: ud2())),
        (vector::TS, u64::from(TSS64) | 1)
    );
}

#[test]
fn exceptions_in_a_delivery_combine() {
    // The gate of the first exception is not present: a #NP follows.
    let rows: [(u8, Write, u8, u64); 3] = [
        (vector::UD, |a| asm!(a: ud2()), vector::NP, 0x33),
        (
            vector::GP,
            |a| asm!(a: mov(ecx, 0x1234_5678), rdmsr()),
            vector::DF,
            0,
        ),
        (
            vector::PF,
            |a| asm!(a: mov(al, byte_ptr(UNMAPPED))),
            vector::DF,
            0,
        ),
    ];
    for (first, write, vector, error) in rows {
        let mut rig = Rig::long();
        rig.gate(first, CODE64, 0, 0x0e, 0);
        let start = rig.program(CODE, 64, write);
        rig.halt();
        assert_eq!(
            (rig.vector(), rig.frame(true).error),
            (vector, Some(error)),
            "after {first}"
        );
        assert!(rig.frame(true).rip < start);
    }
    // A page fault while a page fault is delivered: its stack is not mapped.
    let mut rig = Rig::long();
    rig.gate(vector::DF, CODE64, 1, 0x8e, HANDLERS + 0x80);
    let found = rig.fault(|a| {
        asm!(a: mov(rsp, UNMAPPED + 0x100), mov(al, byte_ptr(UNMAPPED + 0x5000)));
    });
    assert_eq!(found, (vector::DF, 0));
    assert_eq!(rig.cpu.control_register(2), UNMAPPED + 0xf8);
}

#[test]
fn without_a_double_fault_handler_the_cpu_shuts_down() {
    let mut rig = Rig::long();
    rig.program(CODE, 64, |a| asm!(a: lidt(ptr(rax)), ud2()));
    let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 100);
    assert_eq!((run.exit, run.executed), (Exit::Shutdown, 2));
    // And it stays so until a reset.
    let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, 2, 100);
    assert_eq!((run.exit, run.executed), (Exit::Shutdown, 0));
    rig.cpu.reset();
    assert_eq!(rig.cpu.rip(), 0xfff0);
}

#[test]
fn interrupts_wait_for_the_flag_and_a_shadow() {
    // (program, where the interrupt is taken)
    let rows: [(Write, u64); 4] = [
        (|a| asm!(a: nop(), sti(), nop(), nop()), 3),
        // STI again makes no new shadow.
        (|a| asm!(a: sti(), sti(), nop()), 2),
        (|a| asm!(a: sti(), mov(ss, eax), nop(), nop()), 4),
        (|a| asm!(a: sti(), hlt(), nop()), 2),
    ];
    for (i, (write, taken)) in rows.into_iter().enumerate() {
        let mut rig = Rig::long();
        rig.bus.interrupt = Some(0x55);
        rig.cpu.set_gpr(0, DATA.into());
        rig.run(write);
        assert_eq!(rig.vector(), 0x55, "row {i}");
        let frame = rig.frame(false);
        assert_eq!(frame.rip, CODE + taken, "row {i}");
        assert_eq!(frame.flags, FLAG_ONE | FLAG_IF);
        assert_eq!(rig.cpu.rflags() & FLAG_IF, 0);
        assert_eq!(rig.cpu.counters().interrupts[&0x55], 1);
    }
    let mut rig = Rig::long();
    rig.bus.interrupt = Some(0x55);
    rig.run(|a| asm!(a: nop(), hlt()));
    assert_eq!(rig.cpu.rip(), CODE + 2);
    assert!(rig.cpu.is_halted() && !rig.cpu.can_wake(&mut rig.bus));
    let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 100);
    assert_eq!((run.exit, run.executed), (Exit::Halt, 0));
}

#[test]
fn an_interrupt_whose_gate_is_absent_names_it() {
    let mut rig = Rig::long();
    rig.gate(0x55, CODE64, 0, 0x0e, 0);
    rig.bus.interrupt = Some(0x55);
    assert_eq!(
        rig.fault(|a| asm!(a: sti(), nop(), nop())),
        (vector::NP, 0x55 * 8 + 3)
    );
}

#[test]
fn an_nmi_holds_back_the_next_until_iret() {
    let mut rig = Rig::long();
    // The handler counts in RBX, and lets the second one wait.
    rig.program(HANDLERS + 0x20, 64, |a| asm!(a: inc(ebx), nop(), iretq()));
    rig.program(CODE, 64, |a| asm!(a: nop(), nop(), hlt(), hlt(), hlt()));
    rig.cpu.set_nmi();
    let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 2);
    assert_eq!(run.executed, 2);
    rig.cpu.set_nmi();
    let _ = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 1);
    assert_eq!((rig.cpu.gpr(3), rig.cpu.rip()), (1, CODE));
    rig.halt();
    assert_eq!((rig.cpu.gpr(3), rig.cpu.rip()), (2, CODE + 3));
    // An NMI ends HLT.
    rig.cpu.set_nmi();
    rig.halt();
    assert_eq!((rig.cpu.gpr(3), rig.cpu.rip()), (3, CODE + 4));
    assert_eq!(rig.cpu.counters().interrupts[&2], 3);
}

#[test]
fn a_step_traps_after_the_next_instruction() {
    let mut rig = Rig::long();
    let tf = FLAG_TF as i32;
    rig.run(|a| asm!(a: push(tf), popfq(), nop(), nop()));
    assert_eq!(rig.vector(), vector::DB);
    let frame = rig.frame(false);
    assert_eq!(frame.rip, CODE + 7);
    assert_eq!(frame.flags, FLAG_ONE | FLAG_TF);
    assert_eq!(rig.cpu.dr[6] & 1 << 14, 1 << 14);
    assert_eq!(rig.cpu.rflags() & FLAG_TF, 0);
    // A load of SS takes the next instruction along.
    let mut rig = Rig::long();
    rig.cpu.set_gpr(0, DATA.into());
    rig.run(|a| asm!(a: push(tf), popfq(), mov(ss, eax), nop(), nop()));
    assert_eq!(rig.frame(false).rip, CODE + 9);
}

#[test]
fn any_split_of_the_budget_takes_the_same_interrupt() {
    for split in 1..6 {
        let mut rig = Rig::long();
        rig.bus.interrupt = Some(0x40);
        rig.program(CODE, 64, |a| asm!(a: nop(), sti(), nop(), nop(), nop()));
        let mut now = 0;
        while !rig.cpu.is_halted() {
            let run = rig.cpu.run(&mut rig.shared, &mut rig.bus, now, split);
            now += run.executed;
        }
        assert_eq!(rig.frame(false).rip, CODE + 3, "{split} at a time");
        assert_eq!(now, 4);
    }
}
