//! Interrupts: what is recorded, and how it is delivered. Power ISA 3.0B, Book III §6.

use super::Cpu;
use super::regs::*;
use crate::engine::exec::Fault;

/// Offsets of the interrupt vectors.
#[allow(missing_docs, reason = "the names are the ISA's")]
pub mod vector {
    pub const MACHINE_CHECK: u64 = 0x200;
    pub const DATA_STORAGE: u64 = 0x300;
    pub const DATA_SEGMENT: u64 = 0x380;
    pub const INSTRUCTION_STORAGE: u64 = 0x400;
    pub const INSTRUCTION_SEGMENT: u64 = 0x480;
    pub const EXTERNAL: u64 = 0x500;
    pub const ALIGNMENT: u64 = 0x600;
    pub const PROGRAM: u64 = 0x700;
    pub const FP_UNAVAILABLE: u64 = 0x800;
    pub const DECREMENTER: u64 = 0x900;
    pub const SYSTEM_CALL: u64 = 0xc00;
    pub const TRACE: u64 = 0xd00;
    pub const VECTOR_UNAVAILABLE: u64 = 0xf20;
    pub const VSX_UNAVAILABLE: u64 = 0xf40;
    pub const FACILITY_UNAVAILABLE: u64 = 0xf60;
    pub const SYSTEM_CALL_VECTORED: u64 = 0x17000;
}

/// SRR1 of a program interrupt: floating-point enabled exception.
pub const PROGRAM_FP: u64 = 0x10_0000;
/// Illegal instruction.
pub const PROGRAM_ILLEGAL: u64 = 0x8_0000;
/// Privileged instruction in problem state.
pub const PROGRAM_PRIVILEGED: u64 = 0x4_0000;
/// Trap.
pub const PROGRAM_TRAP: u64 = 0x2_0000;

const SRR1_STATUS: u64 = 0x783f_0000;

/// An interrupt that waits for delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Offset of its vector.
    pub vector: u64,
    /// Status bits for SRR1.
    pub srr1: u64,
    /// New DAR.
    pub dar: Option<u64>,
    /// New DSISR.
    pub dsisr: Option<u64>,
}

impl Cpu {
    /// Records an interrupt for delivery.
    pub(super) fn record(&mut self, interrupt: Interrupt) -> Fault {
        self.pending = Some(interrupt);
        Fault
    }

    /// Records an interrupt that sets nothing but SRR0 and SRR1.
    pub(super) fn record_simple(&mut self, vector: u64, srr1: u64) -> Fault {
        self.record(Interrupt {
            vector,
            srr1,
            dar: None,
            dsisr: None,
        })
    }

    /// Facility unavailable, with its cause in FSCR. Power ISA 3.0B, Book III §6.2.11.
    pub(super) fn facility_unavailable(&mut self, cause: u64) -> Fault {
        self.fscr = self.fscr & 0x00ff_ffff_ffff_ffff | cause << 56;
        self.record_simple(vector::FACILITY_UNAVAILABLE, 0)
    }

    /// Takes an interrupt at the current program counter.
    pub(super) fn deliver(&mut self, i: Interrupt) {
        if let Some(dar) = i.dar {
            self.dar = dar;
        }
        if let Some(dsisr) = i.dsisr {
            self.dsisr = dsisr;
        }
        log::trace!(
            "ppc64: {:x?} at {:#x}, MSR {:#x} LR {:#x} r1 {:#x} now {}",
            i,
            self.core.pc,
            self.msr,
            self.lr(),
            self.gpr(1),
            self.now_ns
        );
        self.srr0 = self.core.pc;
        self.srr1 = self.msr & !SRR1_STATUS | i.srr1;
        let offset = self.interrupt_base(i.vector);
        self.core.pc = offset + i.vector;
        self.set_msr(self.interrupt_msr(offset != 0));
        self.counters.count(i.vector);
    }

    fn interrupt_base(&self, vector: u64) -> u64 {
        let relocated = self.msr & (MSR_IR | MSR_DR) == MSR_IR | MSR_DR;
        if vector == self::vector::MACHINE_CHECK || !relocated {
            return 0;
        }
        match self.ail {
            3 => 0xc000_0000_0000_4000,
            2 => 0x1_8000,
            _ => 0,
        }
    }

    fn interrupt_msr(&self, relocate: bool) -> u64 {
        let mut msr = MSR_SF | self.msr & MSR_ME;
        if self.little_endian_interrupts {
            msr |= MSR_LE;
        }
        if relocate {
            msr |= MSR_IR | MSR_DR;
        }
        msr
    }

    /// `scv`: LR and CTR instead of SRR0 and SRR1; EE and RI stay. Power ISA 3.0B, Book III §6.5.31.
    pub(super) fn system_call_vectored(&mut self, level: u64) {
        self.core.regs[R_LR as usize] = self.core.pc.wrapping_add(4);
        self.core.regs[R_CTR as usize] = self.msr & !SRR1_STATUS;
        let relocated = self.msr & (MSR_IR | MSR_DR) == MSR_IR | MSR_DR;
        let base = if relocated && self.ail == 3 {
            0xc000_0000_0000_3000
        } else {
            vector::SYSTEM_CALL_VECTORED
        };
        self.core.regs[crate::engine::exec::NEXT_PC] = base + level * 0x20;
        let keep = self.msr & (MSR_EE | MSR_RI);
        self.set_msr(self.interrupt_msr(base != vector::SYSTEM_CALL_VECTORED) | keep);
        self.counters.count(vector::SYSTEM_CALL_VECTORED);
    }
}
