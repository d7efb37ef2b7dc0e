use super::Cpu;
use super::regs::R_FLAGS;
use crate::engine::exec::Pure;
pub(super) const PURE: &[Pure] = &[];
impl Cpu {
    pub(crate) fn arithmetic_flags(&self) -> u64 {
        self.core.regs[R_FLAGS as usize]
    }
    pub(crate) fn set_arithmetic_flags(&mut self, f: u64) {
        self.core.regs[R_FLAGS as usize] = f;
    }
}
