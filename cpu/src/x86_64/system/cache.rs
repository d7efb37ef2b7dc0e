//! Caches: of translations, and of memory (which has none: the instructions check and do nothing).

use iced_x86::Code;

use super::*;
use crate::engine::exec::{Access, FrontEnd};
use crate::x86_64::packet::R_ADDRESS;

impl Cpu {
    /// INVLPG.
    pub(super) fn invlpg(&mut self) -> Result<(), Fault> {
        self.privileged()?;
        let at = self.core.regs[R_ADDRESS as usize];
        let at = self.wrap_linear(at);
        if self.efer & EFER_LMA == 0 || self.is_canonical(at) {
            self.flush_page(at);
        }
        Ok(())
    }

    /// INVPCID.
    pub(super) fn invpcid(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        self.privileged()?;
        let size = if p.code == Code::Invpcid_r64_m128 {
            8
        } else {
            4
        };
        let kind = self.register(p.reg, size);
        let at = self.operand_address(0);
        let low = self.read(env, at, 8)?;
        let at = self.operand_address(8);
        let linear = self.read(env, at, 8)?;
        let pcid = low & 0xfff;
        let wrong = kind > 3
            || low >> 12 != 0
            || kind < 2 && pcid != 0 && self.cr4 & CR4_PCIDE == 0
            || kind == 0 && !self.is_canonical(linear);
        if wrong {
            return self.refuse();
        }
        match kind {
            0 => self.flush_page(linear),
            1 => self.flush_pcid(pcid),
            2 => self.flush_all(),
            _ => self.flush_not_global(),
        }
        Ok(())
    }

    /// CLFLUSH and the like: they fault as a load of a byte.
    pub(super) fn flush_line(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if p.code == Code::Cldemote_m8 {
            return Ok(());
        }
        let at = self.operand_address(0);
        self.translate(env.shared, at, Access::Read)?;
        Ok(())
    }
}
