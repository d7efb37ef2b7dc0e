//! The arithmetic flags of a CPU, which the engine keeps lazily.

use super::Cpu;
use crate::engine::flags;

impl Cpu {
    /// CF, PF, AF, ZF, SF and OF, as in EFLAGS.
    pub(crate) fn arithmetic_flags(&self) -> u64 {
        flags::arithmetic(&self.core.regs)
    }

    /// Sets them; other bits of `flags` mean nothing.
    pub(crate) fn set_arithmetic_flags(&mut self, flags: u64) {
        flags::set_arithmetic(&mut self.core.regs, flags);
    }

    /// Sets those of `mask`.
    pub(super) fn change_flags(&mut self, mask: u64, to: u64) {
        let old = self.arithmetic_flags();
        self.set_arithmetic_flags(old & !mask | to & mask);
    }
}
