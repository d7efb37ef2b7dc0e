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
    for step in 1..20 {
        let (mut cpu, mut shared) = machine(&code);
        let mut total = 0;
        loop {
            let run = cpu.run(&mut shared, &mut NoBus, total, step);
            total += run.executed;
            if run.exit == Exit::Hypercall {
                break;
            }
            assert_eq!(run.executed, step);
        }
        assert_eq!((total, cpu.gpr(3)), (204, 200));
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
