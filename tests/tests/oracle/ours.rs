//! This side: the same cases on viommu's CPU.

use viommu_cpu::bus::{Bus, BusError};
use viommu_cpu::engine::Shared;
use viommu_cpu::ppc64::{Cpu, Exit, regs};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::record::{BATCH, Order, Record, SLOT, SLOTS, WINDOW};

/// `sc 1`, which makes the CPU return.
const STOP: u32 = 0x4400_0022;
/// `mfspr r3, SRR0; mfspr r4, SRR1; sc 1`.
const STUB: [u32; 3] = [0x7c7a_02a6, 0x7c9b_02a6, STOP];
const STUB_AT: u64 = 0x8000;
const RAM: usize = (SLOTS + BATCH as u64 * SLOT) as usize + 0x1_0000;
/// Far more than any case takes.
const BUDGET: u64 = 1000;

const SIGILL: u64 = 4;
const SIGTRAP: u64 = 5;
const SIGBUS: u64 = 7;
const SIGFPE: u64 = 8;
const SIGSEGV: u64 = 11;

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

/// A CPU in real mode with RAM.
pub struct Ours {
    order: Order,
    ram: GuestMemoryMmap,
    shared: Shared,
}

impl Ours {
    pub fn new(order: Order) -> Self {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM)]).expect("RAM");
        let shared = Shared::new(&ram);
        let ours = Ours { order, ram, shared };
        // Every interrupt vector makes the CPU return.
        for vector in (0x100..0x4000).step_by(4) {
            ours.put_word(vector, STOP);
        }
        for (i, word) in STUB.iter().enumerate() {
            ours.put_word(STUB_AT + 4 * i as u64, *word);
        }
        ours
    }

    fn put_word(&self, at: u64, word: u32) {
        let mut bytes = Vec::with_capacity(4);
        self.order.u32(&mut bytes, word);
        self.ram.write_slice(&bytes, GuestAddress(at)).expect("RAM");
    }

    /// Runs a batch.
    pub fn run(&mut self, batch: &[Record]) -> Vec<Record> {
        for (slot, case) in batch.iter().enumerate() {
            let at = SLOTS + slot as u64 * SLOT;
            for i in 0..SLOT / 4 {
                let word = case.code.get(i as usize).copied().unwrap_or(0);
                let word = if word == 0 { STOP } else { word };
                self.put_word(at + 4 * i, word);
            }
        }
        for page in (SLOTS..SLOTS + batch.len() as u64 * SLOT).step_by(4096) {
            self.shared.invalidate_page(page);
        }
        batch
            .iter()
            .enumerate()
            .map(|(slot, case)| self.case(slot, case))
            .collect()
    }

    fn case(&mut self, slot: usize, case: &Record) -> Record {
        let at = SLOTS + slot as u64 * SLOT;
        let mut cpu = Cpu::new(0);
        let little = self.order == Order::Little;
        cpu.set_little_endian_interrupts(little);
        cpu.set_msr(
            regs::MSR_SF
                | if little { regs::MSR_LE } else { 0 }
                | regs::MSR_FP
                | regs::MSR_VEC
                | regs::MSR_VSX
                | regs::MSR_ME
                | regs::MSR_FE0
                | regs::MSR_FE1
                | regs::MSR_RI,
        );
        (0..32).for_each(|i| cpu.set_gpr(i, case.gpr[i]));
        (0..64).for_each(|i| cpu.set_vsr(i, case.vsr[i]));
        cpu.set_fpscr(case.fpscr);
        cpu.set_vscr(case.vscr);
        cpu.set_cr(case.cr);
        cpu.set_xer(case.xer);
        cpu.set_lr(case.lr);
        cpu.set_ctr(case.ctr);
        cpu.set_pc(at);
        self.ram
            .write_slice(&case.mem, GuestAddress(WINDOW))
            .expect("RAM");
        let run = cpu.run(&mut self.shared, &mut NoBus, 0, BUDGET);

        let mut out = case.clone();
        (0..32).for_each(|i| out.gpr[i] = cpu.gpr(i));
        (0..64).for_each(|i| out.vsr[i] = cpu.vsr(i));
        out.fpscr = cpu.fpscr();
        out.vscr = cpu.vscr();
        out.cr = cpu.cr();
        out.xer = cpu.xer();
        out.lr = cpu.lr();
        out.ctr = cpu.ctr();
        self.ram
            .read_slice(&mut out.mem, GuestAddress(WINDOW))
            .expect("RAM");
        (out.signal, out.nip) = match run.exit {
            Exit::Hypercall => {
                let stop = cpu.pc().wrapping_sub(4);
                if (at..at + SLOT).contains(&stop) {
                    (0, 0)
                } else {
                    self.interrupt(&mut cpu, stop)
                }
            }
            Exit::Budget => (100, cpu.pc()),
            Exit::Fatal(_) => (101, cpu.pc()),
        };
        out
    }

    /// The signal that an operating system makes of the interrupt, and its place.
    fn interrupt(&mut self, cpu: &mut Cpu, vector: u64) -> (u64, u64) {
        cpu.set_pc(STUB_AT);
        let _ = cpu.run(&mut self.shared, &mut NoBus, 0, BUDGET);
        let (srr0, srr1) = (cpu.gpr(3), cpu.gpr(4));
        let signal = match vector {
            0x700 if srr1 & 0x2_0000 != 0 => SIGTRAP,
            0x700 if srr1 & 0x10_0000 != 0 => SIGFPE,
            0x700 | 0xe40 | 0xf60 => SIGILL,
            0x600 => SIGBUS,
            0x200 | 0x300 | 0x380 | 0x400 | 0x480 => SIGSEGV,
            other => 0x1000 + other,
        };
        (signal, srr0)
    }
}
