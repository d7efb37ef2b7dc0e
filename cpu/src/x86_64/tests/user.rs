use iced_x86::code_asm::*;

use super::*;
use crate::x86_64::exception::vector;

/// From here on RAX is loaded first.
fn with_rax(value: u64, write: fn(&mut CodeAssembler)) -> impl FnOnce(&mut CodeAssembler) {
    move |a| {
        asm!(a: mov(rax, value));
        write(a);
    }
}

#[test]
fn an_exception_of_the_user_changes_to_the_stack_of_level_0() {
    let mut rig = Rig::long();
    rig.run_user(FLAG_IF, |a| asm!(a: nop(), ud2()));
    assert_eq!(rig.vector(), vector::UD);
    assert_eq!(
        rig.frame(false),
        Frame {
            error: None,
            rip: USER + 1,
            cs: USER64.into(),
            flags: FLAG_ONE | FLAG_RF | FLAG_IF,
            rsp: USER_STACK,
            ss: USER_SS.into(),
        }
    );
    assert_eq!(rig.cpu.gpr(4), STACK0 - 40);
    let stack = rig.cpu.segment(SegmentRegister::Ss);
    assert_eq!(
        (stack.selector, stack.is_usable(), rig.cpu.cpl()),
        (0, false, 0)
    );
}

#[test]
fn page_faults_of_the_user() {
    let rows: [(u64, Write, u64); 6] = [
        (STACK, |a| asm!(a: mov(bl, ptr(rax))), 5),
        (STACK, |a| asm!(a: mov(ptr(rax), bl)), 7),
        (STACK, |a| asm!(a: jmp(rax)), 0x15),
        (UNMAPPED, |a| asm!(a: mov(bl, ptr(rax))), 4),
        (UNMAPPED, |a| asm!(a: mov(ptr(rax), bl)), 6),
        (UNMAPPED, |a| asm!(a: jmp(rax)), 0x14),
    ];
    for (at, write, error) in rows {
        let mut rig = Rig::long();
        let found = rig.user_fault(with_rax(at, write));
        assert_eq!(found, (vector::PF, error), "at {at:#x}");
        assert_eq!(rig.cpu.control_register(2), at);
    }
}

#[test]
fn smap_and_smep_between_programs() {
    let on = |a: &mut CodeAssembler, bits: u64| {
        asm!(a: mov(rax, cr4), or(eax, bits as i32), mov(cr4, rax));
    };
    let mut rig = Rig::long();
    let found = rig.fault(|a| {
        // Cached translations from before must not let it through.
        asm!(a: mov(bl, byte_ptr(USER_DATA)));
        on(a, CR4_SMAP);
        asm!(a: stac(), mov(bl, byte_ptr(USER_DATA)), inc(ecx), clac(), mov(bl, byte_ptr(USER_DATA)));
    });
    assert_eq!(found, (vector::PF, 1));
    assert_eq!(rig.cpu.gpr(1), 1);
    let mut rig = Rig::long();
    let found = rig.fault(|a| {
        on(a, CR4_SMEP);
        asm!(a: mov(ecx, USER as u32), jmp(rcx));
    });
    assert_eq!(found, (vector::PF, 0x11));
    // The user's own accesses go on, and so do those to system tables.
    let mut rig = Rig::long();
    rig.program(USER, 64, |a| {
        asm!(a: mov(bl, byte_ptr(USER_DATA)), mov(ecx, 7), int3());
    });
    rig.gate(3, CODE64, 0, 0xee, HANDLERS + 0x30);
    rig.run(|a| {
        on(a, CR4_SMAP | CR4_SMEP);
        enter_user(a, USER64, 0);
    });
    assert_eq!((rig.vector(), rig.cpu.gpr(1)), (vector::BP, 7));
}

#[test]
fn stac_and_clac_are_for_the_supervisor() {
    let mut rig = Rig::long();
    rig.run_user(0, |a| asm!(a: stac()));
    assert_eq!(rig.vector(), vector::UD);
}

#[test]
fn privileged_instructions_are_refused() {
    let rows: [Write; 22] = [
        |a| asm!(a: hlt()),
        |a| asm!(a: cli()),
        |a| asm!(a: sti()),
        |a| asm!(a: in_(al, 0x60)),
        |a| asm!(a: out(dx, eax)),
        |a| asm!(a: insb()),
        |a| asm!(a: mov(rax, cr0)),
        |a| asm!(a: mov(cr3, rax)),
        |a| asm!(a: mov(cr8, rax)),
        |a| asm!(a: mov(rax, dr7)),
        |a| asm!(a: mov(dr6, rax)),
        |a| asm!(a: rdmsr()),
        |a| asm!(a: wrmsr()),
        |a| asm!(a: lgdt(ptr(rsp - 16))),
        |a| asm!(a: lidt(ptr(rsp - 16))),
        |a| asm!(a: lldt(ax)),
        |a| asm!(a: ltr(ax)),
        |a| asm!(a: lmsw(ax)),
        |a| asm!(a: clts()),
        |a| asm!(a: invlpg(ptr(rsp))),
        |a| asm!(a: wbinvd()),
        |a| asm!(a: swapgs()),
    ];
    for (i, write) in rows.into_iter().enumerate() {
        let mut rig = Rig::long();
        assert_eq!(rig.user_fault(write), (vector::GP, 0), "row {i}");
        assert_eq!(rig.frame(true).rip, USER, "row {i}");
    }
}

#[test]
fn umip_hides_the_tables() {
    for on in [false, true] {
        let mut rig = Rig::long();
        rig.cpu.cr4 |= if on { CR4_UMIP } else { 0 };
        rig.run_user(0, |a| {
            asm!(a: sidt(ptr(USER_DATA)), str(ebx), sldt(esi), smsw(edi), ud2());
        });
        if on {
            assert_eq!((rig.vector(), rig.frame(true).rip), (vector::GP, USER));
        } else {
            assert_eq!(rig.vector(), vector::UD);
            assert_eq!(rig.get16(USER_DATA), 0xfff);
            assert_eq!(rig.get64(USER_DATA + 2), IDT);
            assert_eq!(rig.cpu.gpr(3), u64::from(TSS64));
            assert_eq!(rig.cpu.gpr(7), rig.cpu.cr0 & 0xffff_ffff);
        }
    }
}

#[test]
fn software_interrupts_need_the_privilege_of_their_gate() {
    let mut rig = Rig::long();
    rig.gate(0x80, CODE64, 0, 0xee, HANDLERS + 0x800);
    rig.run_user(0, |a| asm!(a: int(0x80)));
    assert_eq!((rig.vector(), rig.frame(false).rip), (0x80, USER + 2));
    let mut rig = Rig::long();
    assert_eq!(rig.user_fault(|a| asm!(a: int(0x80))), (vector::GP, 0x402));
    // INT1 and exceptions do not.
    let mut rig = Rig::long();
    rig.run_user(0, |a| asm!(a: db(&[0xf1])));
    assert_eq!((rig.vector(), rig.frame(false).rip), (vector::DB, USER + 1));
}

#[test]
fn syscall_and_sysret() {
    let mut rig = Rig::long();
    let m = &mut rig.cpu.msrs;
    m.star = u64::from(USER32) << 48 | u64::from(CODE64) << 32;
    m.lstar = HANDLERS + 0xf00;
    m.fmask = FLAG_IF | FLAG_DF;
    rig.program(HANDLERS + 0xf00, 64, |a| {
        asm!(a: mov(rbx, cs), mov(rsi, ss), mov(rdi, r11), pushfq(), pop(r8), sysretq());
    });
    rig.cpu.set_gpr(4, STACK);
    rig.run_user(FLAG_IF | FLAG_DF, |a| {
        asm!(a: std(), mov(rsp, STACK), syscall(), mov(rsp, USER_STACK), inc(r9), ud2());
    });
    assert_eq!(rig.vector(), vector::UD);
    assert_eq!(rig.cpu.gpr(3), u64::from(CODE64));
    assert_eq!(rig.cpu.gpr(6), u64::from(DATA));
    assert_eq!(rig.cpu.gpr(7), FLAG_ONE | FLAG_IF | FLAG_DF);
    assert_eq!(rig.cpu.gpr(8), FLAG_ONE);
    assert_eq!(rig.cpu.gpr(9), 1);
    let frame = rig.frame(false);
    assert_eq!((frame.cs, frame.ss), (USER64.into(), USER_SS.into()));
    assert_eq!(frame.flags, FLAG_ONE | FLAG_IF | FLAG_DF | FLAG_RF);
}

#[test]
fn sysret_to_32_bits_and_what_refuses_it() {
    let star = u64::from(USER32) << 48;
    let mut rig = Rig::long();
    rig.cpu.msrs.star = star;
    rig.program(USER, 32, |a| asm!(a: mov(ecx, 0x11), ud2()));
    rig.run(|a| asm!(a: mov(rcx, 0xffff_0000_0000_0000_u64 | USER), sysret()));
    assert_eq!(
        (rig.vector(), rig.frame(false).cs),
        (vector::UD, USER32.into())
    );
    assert_eq!(rig.cpu.gpr(1), 0x11);

    let mut rig = Rig::long();
    rig.cpu.msrs.star = star;
    let found = rig.fault(|a| asm!(a: mov(rcx, 1u64 << 47), sysretq()));
    assert_eq!((found, rig.cpu.cpl()), ((vector::GP, 0), 0));

    let mut rig = Rig::long();
    rig.cpu.efer &= !EFER_SCE;
    rig.run(|a| asm!(a: syscall()));
    assert_eq!(rig.vector(), vector::UD);
}

#[test]
fn sysenter_and_sysexit() {
    let mut rig = Rig::long();
    let m = &mut rig.cpu.msrs;
    m.sysenter_cs = CODE64.into();
    m.sysenter_esp = STACK0 - 0x80;
    m.sysenter_eip = HANDLERS + 0xf00;
    rig.program(HANDLERS + 0xf00, 64, |a| asm!(a: mov(rbx, rsp), mov(ecx, USER_STACK as u32), mov(edx, USER as u32 + 8), sysexitq()));
    // SYSEXIT with REX.W: CS + 32, SS + 40.
    rig.program(USER + 8, 64, |a| asm!(a: ud2()));
    rig.program(USER, 64, |a| asm!(a: sysenter()));
    rig.run(|a| enter_user(a, USER64, 0));
    assert_eq!(rig.vector(), vector::UD);
    assert_eq!(rig.cpu.gpr(3), STACK0 - 0x80);
    let frame = rig.frame(false);
    assert_eq!((frame.cs, frame.ss), (0x2b, 0x33));
    let mut rig = Rig::long();
    assert_eq!(rig.user_fault(|a| asm!(a: sysenter())), (vector::GP, 0));
}

#[test]
fn swapgs_and_bases() {
    let mut rig = Rig::long();
    rig.cpu.cr4 |= CR4_FSGSBASE;
    rig.cpu.msrs.kernel_gs_base = 0xffff_8000_0000_1000;
    rig.put64(STACK + 0x108, 0x1234);
    rig.run(|a| {
        asm!(a:
            mov(eax, STACK as u32),
            wrgsbase(rax),
            mov(rbx, qword_ptr(0x108).gs()),
            swapgs(),
            rdgsbase(rcx),
            swapgs(),
            rdgsbase(rdx),
            wrfsbase(eax),
            rdfsbase(rsi),
            hlt(),
        );
    });
    let found = [3, 1, 2, 6].map(|n| rig.cpu.gpr(n));
    assert_eq!(found, [0x1234, 0xffff_8000_0000_1000, STACK, STACK]);
    let mut rig = Rig::long();
    rig.run(|a| asm!(a: rdfsbase(rax)));
    assert_eq!(rig.vector(), vector::UD);
}

#[test]
fn ports_by_privilege_level_and_bitmap() {
    let mut rig = Rig::long();
    rig.run_user(FLAG_IOPL, |a| {
        asm!(a: mov(eax, 0x1234_5678), mov(edx, 0x3f8), out(dx, ax), out(0x80, al), ud2());
    });
    assert_eq!(rig.vector(), vector::UD);
    assert_eq!(
        rig.bus.outs,
        [(0x3f8, vec![0x78, 0x56]), (0x80, vec![0x78])]
    );
    // A bitmap with ports 70h and 71h clear.
    for (port, wide, fine) in [
        (0x70, false, true),
        (0x70, true, true),
        (0x71, true, false),
        (0x6f, false, false),
        (0x7fff, false, false),
    ] {
        let mut rig = Rig::long();
        rig.put16(TSS + 102, 0x68);
        rig.put(TSS + 0x68, &[0xff; 0x20]);
        rig.put(TSS + 0x68 + 0x70 / 8, &[0xfc]);
        rig.cpu.tr.limit = 0x68 + 0x20;
        rig.run_user(0, |a| {
            asm!(a: mov(edx, port));
            if wide {
                asm!(a: in_(ax, dx));
            } else {
                asm!(a: in_(al, dx));
            }
            asm!(a: ud2());
        });
        let expected = if fine { vector::UD } else { vector::GP };
        assert_eq!(rig.vector(), expected, "port {port:#x}");
    }
}

#[test]
fn string_ports_repeat_and_restart() {
    let mut rig = Rig::long();
    rig.bus.ins = (0..=255).cycle().take(3000).collect();
    rig.run(|a| {
        asm!(a: mov(edi, USER_DATA as u32), mov(ecx, 3000), mov(edx, 0x1f0));
        a.rep().insb().unwrap();
        asm!(a: hlt());
    });
    assert_eq!((rig.cpu.gpr(1), rig.cpu.gpr(7)), (0, USER_DATA + 3000));
    let mut found = [0; 3000];
    rig.ram
        .read_slice(&mut found, GuestAddress(USER_DATA))
        .unwrap();
    assert!(found.iter().enumerate().all(|(i, b)| *b == i as u8));

    // The fault in the middle shows what is done.
    let mut rig = Rig::long();
    rig.put(UNMAPPED - 3, b"abc");
    rig.run(|a| {
        asm!(a: mov(esi, UNMAPPED as u32 - 3), mov(ecx, 10), mov(edx, 0x3f8));
        a.rep().outsb().unwrap();
    });
    assert_eq!((rig.vector(), rig.cpu.gpr(1)), (vector::PF, 7));
    assert_eq!(rig.cpu.gpr(6), UNMAPPED);
    let sent: Vec<u8> = rig.bus.outs.iter().flat_map(|o| o.1.clone()).collect();
    assert_eq!(sent, b"abc");
}

#[test]
fn the_user_changes_only_some_flags() {
    let mut rig = Rig::long();
    let all = 0x003f_7ed5_i32;
    rig.run_user(
        0,
        |a| asm!(a: push(all), popfq(), pushfq(), pop(rbx), ud2()),
    );
    assert_eq!(rig.vector(), vector::UD);
    let expected = FLAGS_ARITHMETIC | FLAG_ONE | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
    assert_eq!(rig.cpu.gpr(3), expected);
}
