use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::bus::BusError;

struct NoBus;

impl Bus for NoBus {
    fn mmio_read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn mmio_write(&mut self, _: u64, _: &[u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn watch_code(&mut self, _: u64) {}
}

fn machine(code: &[u32]) -> (Cpu, Shared) {
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    for (i, w) in code.iter().enumerate() {
        ram.write_slice(&w.to_be_bytes(), GuestAddress(0x1000 + i as u64 * 4))
            .unwrap();
    }
    let mut cpu = Cpu::new(0);
    cpu.set_pc(0x1000);
    (cpu, Shared::new(&ram))
}

const SC1: u32 = 0x4400_0022;

#[test]
fn a_loop_runs_and_counts_exactly() {
    // li r3,0; li r4,100; mtctr r4; 1: addi r3,r3,2; bdnz 1b; sc 1
    let (mut cpu, mut shared) = machine(&[
        0x3860_0000,
        0x3880_0064,
        0x7c89_03a6,
        0x3863_0002,
        0x4200_fffc,
        SC1,
    ]);
    let run = cpu.run(&mut shared, &mut NoBus, 0, 1000);
    assert_eq!(
        run,
        Run {
            exit: Exit::Hypercall,
            executed: 3 + 200 + 1
        }
    );
    assert_eq!(cpu.gpr(3), 200);
    assert_eq!(cpu.pc(), 0x1018);
}

#[test]
fn any_split_of_the_budget_gives_the_same_run() {
    let code = [
        0x3860_0000,
        0x3880_0064,
        0x7c89_03a6,
        0x3863_0002,
        0x4200_fffc,
        SC1,
    ];
    // The same with jumps ahead: 1: b 2f; addi r3,r3,99; 2: nop; addi r3,r3,2; nop; b .+4; bdnz 1b
    let jumps = [
        0x3860_0000,
        0x3880_0064,
        0x7c89_03a6,
        0x4800_0008,
        0x3863_0063,
        0x6000_0000,
        0x3863_0002,
        0x6000_0000,
        0x4800_0004,
        0x4200_ffe8,
        SC1,
    ];
    for (code, executed) in [(&code[..], 204), (&jumps, 604)] {
        for step in 1..20 {
            let (mut cpu, mut shared) = machine(code);
            let mut total = 0;
            loop {
                let run = cpu.run(&mut shared, &mut NoBus, total, step);
                total += run.executed;
                if run.exit == Exit::Hypercall {
                    break;
                }
                assert_eq!(run.executed, step);
            }
            assert_eq!((total, cpu.gpr(3)), (executed, 200), "steps of {step}");
        }
    }
}

#[test]
fn code_behind_a_jump_ahead_is_watched_too() {
    // b .+8; nop; li r3,1; sc 1; at 0x1010: stw r4,0(r5); sc 1
    let code = [0x4800_0008, 0x6000_0000, 0x3860_0001, SC1, 0x9085_0000, SC1];
    let (mut cpu, mut shared) = machine(&code);
    for value in [1, 7] {
        cpu.set_pc(0x1000);
        cpu.run(&mut shared, &mut NoBus, 0, 100);
        assert_eq!(cpu.gpr(3), value);
        cpu.set_gpr(4, 0x3860_0007);
        cpu.set_gpr(5, 0x1008);
        cpu.set_pc(0x1010);
        cpu.run(&mut shared, &mut NoBus, 0, 100);
    }
}

#[test]
fn a_trap_enters_the_program_interrupt() {
    // twi 31,r0,0 (trap always)
    let (mut cpu, mut shared) = machine(&[0x0fe0_0000]);
    let run = cpu.run(&mut shared, &mut NoBus, 0, 1);
    assert_eq!(run.executed, 1);
    assert_eq!(cpu.pc(), 0x700);
    assert_eq!(cpu.counters().interrupts[&0x700], 1);
}

#[test]
fn code_that_overwrites_itself_is_decoded_again() {
    // lis r5,0x3860; ori r5,r5,7 (li r3,7); lis r6,0; ori r6,r6,0x101c; stw r5,0(r6); isync; nop; li r3,1; sc 1
    let code = [
        0x3ca0_3860,
        0x60a5_0007,
        0x3cc0_0000,
        0x60c6_101c,
        0x90a6_0000,
        0x4c00_012c,
        0x6000_0000,
        0x3860_0001,
        SC1,
    ];
    let (mut cpu, mut shared) = machine(&code);
    for _ in 0..2 {
        cpu.set_pc(0x101c);
        cpu.run(&mut shared, &mut NoBus, 0, 2);
        assert_eq!(
            cpu.gpr(3),
            if shared.stats().pages_invalidated == 0 {
                1
            } else {
                7
            }
        );
        cpu.set_pc(0x1000);
        cpu.run(&mut shared, &mut NoBus, 0, 100);
        assert_eq!(cpu.gpr(3), 7);
    }
}

/// Runs one instruction of `code` with `msr` bits set; what SRR0 and SRR1 hold, and whether the trace interrupt was taken.
fn traced(insn: u32, msr: u64) -> (bool, u64, u64) {
    let (mut cpu, mut shared) = machine(&[insn]);
    cpu.set_gpr(4, 0x2000);
    cpu.set_msr(cpu.msr() | msr);
    let run = cpu.run(&mut shared, &mut NoBus, 0, 1);
    assert_eq!(run.executed, 1);
    let taken = cpu.counters().interrupts.contains_key(&0xd00);
    assert_eq!(taken, cpu.pc() == 0xd00);
    assert!(!taken || cpu.msr() & (MSR_SE | MSR_BE) == 0);
    (taken, cpu.srr0, cpu.srr1)
}

#[test]
fn single_steps_are_traced_after_the_instruction() {
    let msr = MSR_SF | MSR_ME | MSR_SE;
    // addi r3,r3,1; b .+16; lwz r3,0(r4); stw r3,0(r4)
    assert_eq!(traced(0x3863_0001, MSR_SE), (true, 0x1004, msr | 1 << 30));
    assert_eq!(traced(0x4800_0010, MSR_SE), (true, 0x1010, msr | 1 << 30));
    assert_eq!(traced(0x8064_0000, MSR_SE), (true, 0x1004, msr | 5 << 28));
    assert_eq!(traced(0x9064_0000, MSR_SE), (true, 0x1004, msr | 9 << 27));
}

#[test]
fn branch_tracing_is_for_branches_taken_or_not() {
    let msr = MSR_SF | MSR_ME | MSR_BE;
    // addi r3,r3,1; b .+16; bne .+16; beq .+16 with EQ clear
    assert!(!traced(0x3863_0001, MSR_BE).0);
    assert_eq!(traced(0x4800_0010, MSR_BE), (true, 0x1010, msr | 1 << 30));
    assert_eq!(traced(0x4082_0010, MSR_BE), (true, 0x1010, msr | 1 << 30));
    assert_eq!(traced(0x4182_0010, MSR_BE), (true, 0x1004, msr | 1 << 30));
}

#[test]
fn what_interrupts_or_returns_is_not_traced() {
    // twi 31,r0,0 traps; sc; rfid
    for insn in [0x0fe0_0000, 0x4400_0002, 0x4c00_0024] {
        assert!(!traced(insn, MSR_SE | MSR_BE).0, "{insn:#x}");
    }
    assert!(!traced(0x3863_0001, 0).0);
}

#[test]
fn a_traced_loop_does_what_an_untraced_one_does() {
    let code = [
        0x3860_0000,
        0x3880_0064,
        0x7c89_03a6,
        0x3863_0002,
        0x4200_fffc,
        SC1,
    ];
    let (mut cpu, mut shared) = machine(&code);
    cpu.set_msr(cpu.msr() | MSR_SE);
    let mut steps = 0;
    loop {
        let run = cpu.run(&mut shared, &mut NoBus, 0, 1);
        if run.exit == Exit::Hypercall {
            break;
        }
        assert_eq!(cpu.pc(), 0xd00);
        steps += 1;
        let (pc, msr) = (cpu.srr0, cpu.srr1);
        cpu.set_pc(pc);
        cpu.set_msr(msr);
    }
    assert_eq!((steps, cpu.gpr(3)), (203, 200));
}

#[test]
fn a_paste_fails_and_a_misaligned_one_interrupts() {
    // copy r0,r4; paste. r0,r4 with RA = 0
    let (mut cpu, mut shared) = machine(&[0x7c20_260c, 0x7c00_270d, SC1]);
    cpu.set_gpr(4, 0x2000);
    cpu.set_cr(0xffff_ffff);
    cpu.set_xer(1 << 31);
    let run = cpu.run(&mut shared, &mut NoBus, 0, 10);
    assert_eq!(run.exit, Exit::Hypercall);
    assert_eq!(cpu.cr(), 0x1fff_ffff);
    for insn in [0x7c20_260c, 0x7c00_270d] {
        let (mut cpu, mut shared) = machine(&[insn]);
        cpu.set_gpr(4, 0x2040);
        cpu.run(&mut shared, &mut NoBus, 0, 1);
        assert_eq!((cpu.pc(), cpu.dar), (0x600, 0x2040));
    }
}

#[test]
fn an_unknown_atomic_function_is_a_data_storage_interrupt() {
    // lwat r7,r4,9; stdat r7,r4,8
    for insn in [0x7ce4_4c8c, 0x7ce4_45cc] {
        let (mut cpu, mut shared) = machine(&[insn]);
        cpu.set_gpr(4, 0x2000);
        cpu.run(&mut shared, &mut NoBus, 0, 1);
        assert_eq!(
            (cpu.pc(), cpu.dar, cpu.dsisr),
            (0x300, 0x2000, 4),
            "{insn:#x}"
        );
    }
}

#[test]
fn an_atomic_pair_stays_in_its_block() {
    // ldat r7,r4,24 (increment bounded) and r7,r4,28 (decrement bounded) at the ends of a 32-byte block
    for (insn, ea) in [(0x7ce4_c4cc, 0x2018), (0x7ce4_e4cc, 0x2000)] {
        let (mut cpu, mut shared) = machine(&[insn]);
        cpu.set_gpr(4, ea);
        cpu.run(&mut shared, &mut NoBus, 0, 1);
        assert_eq!((cpu.pc(), cpu.dar), (0x600, ea), "{insn:#x}");
    }
}

#[test]
fn a_quadword_conditional_store_keeps_the_order_of_its_halves() {
    // lqarx r8,0,r4; stqcx. r10,0,r4; sc 1
    let code = [0x7d00_2228, 0x7d40_216d, SC1];
    for little in [false, true] {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let bytes = |v: u64| {
            if little {
                v.to_le_bytes()
            } else {
                v.to_be_bytes()
            }
        };
        for (i, w) in code.iter().enumerate() {
            let w: u32 = if little { w.swap_bytes() } else { *w };
            let at = GuestAddress(0x1000 + 4 * i as u64);
            ram.write_slice(&w.to_be_bytes(), at).unwrap();
        }
        let (high, low) = if little {
            (0x2008, 0x2000)
        } else {
            (0x2000, 0x2008)
        };
        ram.write_slice(&bytes(0x1122), GuestAddress(high)).unwrap();
        ram.write_slice(&bytes(0x3344), GuestAddress(low)).unwrap();
        let (mut cpu, mut shared) = (Cpu::new(0), Shared::new(&ram));
        cpu.set_msr(cpu.msr() | if little { MSR_LE } else { 0 });
        cpu.set_pc(0x1000);
        (4..12)
            .zip([0x2000, 0, 0, 0, 0, 0, 5, 6])
            .for_each(|(n, v)| cpu.set_gpr(n, v));
        let run = cpu.run(&mut shared, &mut NoBus, 0, 10);
        assert_eq!(run.exit, Exit::Hypercall);
        assert_eq!((cpu.gpr(8), cpu.gpr(9)), (0x1122, 0x3344));
        assert_eq!(cpu.cr() >> 28, 2);
        let mut got = [0; 8];
        ram.read_slice(&mut got, GuestAddress(high)).unwrap();
        assert_eq!(got, bytes(5));
        ram.read_slice(&mut got, GuestAddress(low)).unwrap();
        assert_eq!(got, bytes(6));
    }
}

#[test]
fn declets_are_the_digits_they_came_from() {
    // cbcdtd r5,r4; cdtbcd r6,r5; sc 1
    let (mut cpu, mut shared) = machine(&[0x7c85_0274, 0x7ca6_0234, SC1]);
    for n in 0..1000_u64 {
        let three = (n / 100) << 8 | (n / 10 % 10) << 4 | (n % 10);
        let digits = three << 44 | 0x123 << 32 | three << 12 | 0x999;
        cpu.set_pc(0x1000);
        cpu.set_gpr(4, digits);
        cpu.run(&mut shared, &mut NoBus, 0, 10);
        assert_eq!(cpu.gpr(6), digits, "{digits:x}");
    }
}
