use iced_x86::code_asm::*;

use super::*;
use crate::x86_64::exception::vector;

/// A descriptor of data or code without limit, from its access byte and flags (G, D, L, AVL).
fn flat(access: u64, flags: u64) -> u64 {
    0x000f_0000_0000_ffff | access << 40 | flags << 52
}

#[test]
fn loads_of_data_segments_are_checked() {
    const OK: Option<(u8, u64)> = None;
    let wrong = |vector| Some((vector, u64::from(FREE)));
    // (access byte, selector's RPL, at CPL 0: outcome for DS, outcome for SS)
    let rows = [
        (0x93, 0, OK, OK),
        (0x91, 0, OK, wrong(vector::GP)),
        (0x9b, 0, OK, wrong(vector::GP)),
        (0x99, 0, wrong(vector::GP), wrong(vector::GP)),
        (0x9f, 3, OK, wrong(vector::GP)),
        (0x13, 0, wrong(vector::NP), wrong(vector::SS)),
        (0x93, 1, wrong(vector::GP), wrong(vector::GP)),
        (0xb3, 1, OK, wrong(vector::GP)),
        (0xb3, 0, OK, wrong(vector::GP)),
        // A system segment.
        (0x82, 0, wrong(vector::GP), wrong(vector::GP)),
    ];
    for (access, rpl, ds_outcome, ss_outcome) in rows {
        for (stack, expected) in [(false, ds_outcome), (true, ss_outcome)] {
            let mut rig = Rig::long();
            rig.put64(GDT + u64::from(FREE), flat(access, 0xc));
            rig.run(|a| {
                asm!(a: mov(eax, u32::from(FREE) | rpl));
                if stack {
                    asm!(a: mov(ss, eax));
                } else {
                    asm!(a: mov(ds, eax));
                }
                asm!(a: hlt());
            });
            let found = (rig.cpu.rip() >= HANDLERS && rig.cpu.rip() < HANDLERS + 0x1000)
                .then(|| (rig.vector(), rig.frame(true).error.unwrap()));
            assert_eq!(found, expected, "{access:#x}, RPL {rpl}, stack {stack}");
        }
    }
}

#[test]
fn null_and_absent_selectors() {
    let rows: [(u32, Write, Option<Found>); 7] = [
        (0, |a| asm!(a: mov(ds, eax)), None),
        (3, |a| asm!(a: mov(gs, eax)), None),
        (0, |a| asm!(a: mov(ss, eax)), None),
        (3, |a| asm!(a: mov(ss, eax)), Some((vector::GP, 0))),
        (0x100, |a| asm!(a: mov(es, eax)), Some((vector::GP, 0x100))),
        // In an LDT that is not there.
        (0x14, |a| asm!(a: mov(fs, eax)), Some((vector::GP, 0x14))),
        (0x103, |a| asm!(a: mov(ss, eax)), Some((vector::GP, 0x100))),
    ];
    for (i, (selector, write, expected)) in rows.into_iter().enumerate() {
        let mut rig = Rig::long();
        rig.run(|a| {
            asm!(a: mov(eax, selector));
            write(a);
            asm!(a: hlt());
        });
        match expected {
            None => assert!(rig.cpu.rip() >= CODE, "row {i}"),
            Some(expected) => {
                let found = (rig.vector(), rig.frame(true).error.unwrap());
                assert_eq!(found, expected, "row {i}");
            }
        }
    }
    // MOV CS is no instruction.
    let mut rig = Rig::long();
    rig.run(|a| asm!(a: db(&[0x8e, 0xc8])));
    assert_eq!(rig.vector(), vector::UD);
}

#[test]
fn a_load_marks_the_descriptor_and_takes_its_base() {
    let mut rig = Rig::long();
    let at = GDT + u64::from(FREE);
    rig.put64(at, 0x1200_9234_5678_0fff);
    rig.put64(0x1234_5678 & 0xf_ffff, 0);
    rig.run(|a| asm!(a: mov(eax, u32::from(FREE)), mov(fs, eax), mov(ebx, fs), hlt()));
    assert_eq!(rig.get64(at), 0x1200_9334_5678_0fff);
    let segment = rig.cpu.segment(SegmentRegister::Fs);
    assert_eq!((segment.base, segment.limit), (0x1234_5678, 0xfff));
    assert_eq!(rig.cpu.gpr(3), u64::from(FREE));
}

#[test]
fn local_tables_and_task_registers() {
    // An LDT at [`USER_DATA`] with one descriptor.
    let mut rig = Rig::long();
    rig.put64(GDT + u64::from(FREE), 0x0000_8202_8000_000f);
    rig.put64(GDT + u64::from(FREE) + 8, 0);
    rig.put64(USER_DATA + 8, flat(0x93, 0xc) | 0x5000 << 16);
    rig.run(|a| {
        asm!(a:
            mov(eax, u32::from(FREE)), lldt(ax), sldt(ebx), mov(ecx, 0xc), mov(fs, ecx),
            str(edx), hlt(),
        );
    });
    assert_eq!(rig.cpu.segment(SegmentRegister::Fs).base, 0x5000);
    assert_eq!(
        (rig.cpu.gpr(3), rig.cpu.gpr(2)),
        (u64::from(FREE), u64::from(TSS64))
    );
    // (descriptor, instruction, outcome)
    let rows: [(u64, Write, (u8, u64)); 5] = [
        (
            0x0000_8902_8000_000f,
            |a| asm!(a: lldt(ax)),
            (vector::GP, 0x50),
        ),
        (
            0x0000_0202_8000_000f,
            |a| asm!(a: lldt(ax)),
            (vector::NP, 0x50),
        ),
        // Busy; not present; an LDT.
        (
            0x0000_8b00_3000_0067,
            |a| asm!(a: ltr(ax)),
            (vector::GP, 0x50),
        ),
        (
            0x0000_0900_3000_0067,
            |a| asm!(a: ltr(ax)),
            (vector::NP, 0x50),
        ),
        (
            0x0000_8200_3000_0067,
            |a| asm!(a: ltr(ax)),
            (vector::GP, 0x50),
        ),
    ];
    for (descriptor, write, expected) in rows {
        let mut rig = Rig::long();
        rig.put64(GDT + u64::from(FREE), descriptor);
        let found = rig.fault(|a| {
            asm!(a: mov(eax, u32::from(FREE)));
            write(a);
        });
        assert_eq!(found, expected, "{descriptor:#x}");
    }
    let mut rig = Rig::long();
    let at = GDT + u64::from(FREE);
    rig.put64(at, 0x1200_8934_5678_0067);
    rig.put64(at + 8, 0xffff_8000);
    rig.run(|a| asm!(a: mov(eax, u32::from(FREE)), ltr(ax), hlt()));
    assert_eq!(rig.cpu.tr.base, 0xffff_8000_1234_5678);
    assert_eq!(rig.get64(at) >> 40 & 0xff, 0x8b);
}

/// A far pointer in memory, for an indirect transfer.
fn pointer(rig: &mut Rig, selector: u16, offset: u64) {
    rig.put64(USER_DATA, offset);
    rig.put16(USER_DATA + 8, selector);
}

#[test]
fn far_jumps_and_calls_are_checked() {
    let wrong = |vector| Err((vector, u64::from(FREE)));
    // (access byte, flags, RPL, outcome: the new CS)
    let rows = [
        (0x9b, 0xa, 0, Ok(FREE)),
        (0x9b, 0xa, 1, wrong(vector::GP)),
        // Conforming: any RPL.
        (0x9f, 0xa, 3, Ok(FREE)),
        (0xbb, 0xa, 1, wrong(vector::GP)),
        (0x1b, 0xa, 0, wrong(vector::NP)),
        (0x93, 0xc, 0, wrong(vector::GP)),
        // Both L and D.
        (0x9b, 0xe, 0, wrong(vector::GP)),
        // A call gate of 16 bits and a task gate: not in long mode.
        (0x84, 0, 0, wrong(vector::GP)),
        (0x85, 0, 0, wrong(vector::GP)),
    ];
    for (access, flags, rpl, expected) in rows {
        for call in [false, true] {
            let mut rig = Rig::long();
            rig.put64(GDT + u64::from(FREE), flat(access, flags));
            pointer(&mut rig, FREE | rpl, CODE + 0x800);
            rig.put(CODE + 0x800, &[0xf4]);
            rig.run(|a| {
                // REX.W JMP or CALL m16:64.
                asm!(a: mov(eax, USER_DATA as u32), db(&[0x48, 0xff, if call { 0x18 } else { 0x28 }]));
            });
            match expected {
                Ok(selector) => {
                    assert_eq!(rig.cpu.rip(), CODE + 0x801, "{access:#x}");
                    assert_eq!(rig.cpu.segment(SegmentRegister::Cs).selector, selector);
                    if call {
                        let top = rig.cpu.gpr(4);
                        assert_eq!(top, STACK - 16);
                        assert_eq!(rig.get64(top), CODE + 8);
                        assert_eq!(rig.get64(top + 8), u64::from(CODE64));
                    }
                }
                Err(expected) => {
                    let found = (rig.vector(), rig.frame(true).error.unwrap());
                    assert_eq!(found, expected, "{access:#x} {flags:#x} {rpl}");
                }
            }
        }
    }
}

#[test]
fn a_call_gate_leads_the_user_to_level_0_and_back() {
    let mut rig = Rig::long();
    let entry = HANDLERS + 0xf00;
    // DPL 3.
    rig.put64(
        GDT + u64::from(FREE),
        entry & 0xffff | u64::from(CODE64) << 16 | 0xec << 40,
    );
    rig.put64(GDT + u64::from(FREE) + 8, 0);
    pointer(&mut rig, FREE, 0x1234);
    rig.program(entry, 64, |a| {
        asm!(a: mov(ebx, cs), mov(esi, ss), mov(rdi, rsp), mov(r8, ptr(rsp)), mov(r9, ptr(rsp + 24)), db(&[0x48, 0xcb]));
    });
    rig.run_user(0, |a| {
        asm!(a: mov(eax, USER_DATA as u32), db(&[0x48, 0xff, 0x18]), mov(ecx, 7), ud2());
    });
    assert_eq!(rig.vector(), vector::UD);
    let found = [3, 6, 7, 8, 9, 1].map(|n| rig.cpu.gpr(n));
    assert_eq!(
        found,
        [CODE64.into(), 0, STACK0 - 32, USER + 8, USER_SS.into(), 7]
    );
    let frame = rig.frame(false);
    assert_eq!((frame.cs, frame.rsp), (USER64.into(), USER_STACK));
    // A gate that is not the user's.
    let mut rig = Rig::long();
    rig.put64(GDT + u64::from(FREE), u64::from(CODE64) << 16 | 0x8c << 40);
    pointer(&mut rig, FREE, 0);
    let found = rig.user_fault(|a| asm!(a: mov(eax, USER_DATA as u32), db(&[0x48, 0xff, 0x18])));
    assert_eq!(found, (vector::GP, u64::from(FREE)));
}

#[test]
fn iret_is_checked() {
    // (CS, SS, RIP, outcome)
    let rows: [(u16, u16, u64, (u8, u64)); 8] = [
        (0, DATA, CODE, (vector::GP, 0)),
        (0x100, DATA, CODE, (vector::GP, 0x100)),
        (DATA, DATA, CODE, (vector::GP, 0x10)),
        (CODE64 | 3, USER_SS, CODE, (vector::GP, 8)),
        (CODE64, DATA, 1 << 47, (vector::GP, 0)),
        (USER64, 0, USER, (vector::GP, 0)),
        (USER64, DATA | 3, USER, (vector::GP, 0x10)),
        (USER64, USER_SS & !3, USER, (vector::GP, 0x28)),
    ];
    for (cs_value, ss_value, rip, expected) in rows {
        let mut rig = Rig::long();
        let found = rig.fault(|a| {
            asm!(a:
                push(i32::from(ss_value)), push(STACK as i32), push(2),
                push(i32::from(cs_value)), mov(rax, rip), push(rax), iretq(),
            );
        });
        assert_eq!(found, expected, "{cs_value:#x} {ss_value:#x}");
        assert_eq!(rig.frame(true).cs, u64::from(CODE64));
    }
    let mut rig = Rig::long();
    let nt = FLAG_NT as i32;
    let found = rig.fault(|a| asm!(a: push(nt), popfq(), iretq()));
    assert_eq!(found, (vector::GP, 0));
}

#[test]
fn a_return_to_the_user_drops_segments_of_the_supervisor() {
    let mut rig = Rig::long();
    rig.program(USER, 64, |a| asm!(a: mov(eax, ds), mov(ebx, es), ud2()));
    rig.run(|a| {
        asm!(a: mov(eax, u32::from(USER_SS)), mov(es, eax), mov(eax, u32::from(DATA)), mov(ds, eax));
        enter_user(a, USER64, 0);
    });
    assert_eq!((rig.cpu.gpr(0), rig.cpu.gpr(3)), (0, USER_SS.into()));
}

#[test]
fn descriptors_can_be_looked_at() {
    // (descriptor, LAR's answer, LSL's answer, VERR, VERW) at CPL 0; None: ZF is clear.
    let rows = [
        (flat(0x93, 0xc), Some(0xcf_9300), Some(u32::MAX), true, true),
        (
            flat(0x91, 0x4),
            Some(0x4f_9100),
            Some(0xf_ffff),
            true,
            false,
        ),
        (
            flat(0x99, 0xa),
            Some(0xaf_9900),
            Some(u32::MAX),
            false,
            false,
        ),
        (
            0x0000_8900_3000_0067,
            Some(0x8900),
            Some(0x67),
            false,
            false,
        ),
        (
            u64::from(CODE64) << 16 | 0x8c << 40,
            Some(0x8c00),
            None,
            false,
            false,
        ),
        // A task gate.
        (0x85 << 40, None, None, false, false),
    ];
    for (descriptor, access, limit, reads, writes) in rows {
        let mut rig = Rig::long();
        rig.put64(GDT + u64::from(FREE), descriptor);
        rig.put64(GDT + u64::from(FREE) + 8, 0);
        rig.run(|a| {
            asm!(a:
                mov(ecx, u32::from(FREE)),
                mov(eax, -1), lar(eax, ecx), setz(r8b),
                mov(ebx, -1), lsl(ebx, ecx), setz(r9b),
                verr(cx), setz(r10b), verw(cx), setz(r11b), hlt(),
            );
        });
        let flag = |n| rig.cpu.gpr(n) & 0xff != 0;
        let a = flag(8).then(|| rig.cpu.gpr(0) as u32);
        let l = flag(9).then(|| rig.cpu.gpr(3) as u32);
        assert_eq!((a, l), (access, limit), "{descriptor:#x}");
        assert_eq!((flag(10), flag(11)), (reads, writes), "{descriptor:#x}");
    }
    // Not visible to the user.
    let mut rig = Rig::long();
    rig.run_user(0, |a| {
        asm!(a: mov(ecx, u32::from(DATA)), lar(eax, ecx), setz(bl), mov(ecx, u32::from(USER_SS)), verw(cx), setz(bh), ud2());
    });
    assert_eq!(rig.cpu.gpr(3) & 0xffff, 0x100);
}
