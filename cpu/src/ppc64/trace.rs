//! Tracing by `MSR[SE]` and `MSR[BE]`: a trace interrupt after an instruction. Power ISA 3.0B, Book III §6.5.15.
//!
//! A traced CPU runs one instruction at a time; one that is not traced pays a test of the MSR at each turn of [`Cpu::run`].

use super::Cpu;
use super::forms::{self, Class, FORMS, Kind};
use super::interrupts::{Interrupt, vector};
use super::regs::*;
use super::vector as vectors;
use crate::engine::Shared;
use crate::engine::exec::{Access, FrontEnd};

/// SRR1: a trace interrupt that has nothing to do with an address compare.
const TRACED: u64 = 1 << 30;
/// SRR1: the instruction loads.
const LOADS: u64 = 1 << 28;
/// SRR1: the instruction stores.
const STORES: u64 = 1 << 27;

impl Cpu {
    /// Whether the next instruction is to be traced once it has completed, and then the status bits of SRR1.
    pub(super) fn traces_next(&mut self, shared: &Shared) -> Option<u64> {
        if self.msr & (MSR_SE | MSR_BE) == 0 {
            return None;
        }
        // If the instruction cannot be fetched, it will not complete either, and the fetch records the interrupt again.
        let Ok(at) = self.translate(shared, self.core.pc, Access::Fetch) else {
            self.pending = None;
            return None;
        };
        let bytes = shared.ram.read::<4>(at.gpa & !3)?;
        let insn = if self.msr & MSR_LE != 0 {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        };
        let (kind, memory) = match forms::find(insn) {
            Some(row) => (Some(FORMS[row].kind), FORMS[row].class == Class::Memory),
            None => (None, vectors::decode(insn).is_some_and(|op| op.memory)),
        };
        let branch = matches!(
            kind,
            Some(Kind::B | Kind::Bc | Kind::Bclr | Kind::Bcctr | Kind::Bctar)
        );
        let leaves = matches!(kind, Some(Kind::Sc | Kind::Scv | Kind::Rfid | Kind::Rfscv));
        if leaves || self.msr & MSR_SE == 0 && !branch {
            return None;
        }
        Some(match (memory, stores(insn)) {
            (false, _) => TRACED,
            (true, false) => TRACED | LOADS,
            (true, true) => TRACED | STORES,
        })
    }

    /// Takes the trace interrupt: SRR0 is the instruction that would be next.
    pub(super) fn trace(&mut self, srr1: u64) {
        self.deliver(Interrupt {
            vector: vector::TRACE,
            srr1,
            dar: None,
            dsisr: None,
        });
    }
}

/// Whether a storage instruction stores. The mnemonics of all that do begin so, but for `dcbz`.
fn stores(insn: u32) -> bool {
    let name = match forms::find(insn) {
        Some(row) => FORMS[row].mnemonic,
        None => vectors::decode(insn).map_or("", |op| op.mnemonic),
    };
    name.starts_with("st") || name == "dcbz"
}
