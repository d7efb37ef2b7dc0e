//! Instructions on EFLAGS as a whole.

use iced_x86::Code;

use super::*;
use crate::x86_64::memory::Stack;

impl Cpu {
    /// I/O privilege level.
    pub(super) fn iopl(&self) -> u8 {
        (self.system_flags >> 12 & 3) as u8
    }

    /// Writes the flags that POPF and IRET may change at this privilege level, those of a 16-bit form only if `size` is 2.
    pub(super) fn write_flags(&mut self, value: u64, size: u8) {
        let mut mask = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID | FLAG_RF;
        let cpl = self.cpl();
        if cpl == 0 {
            mask |= FLAG_IOPL;
        }
        if cpl <= self.iopl() {
            mask |= FLAG_IF;
        }
        if size == 2 {
            mask &= 0xffff;
        }
        let flags = self.rflags() & !mask | value & mask;
        self.set_rflags(flags);
    }

    pub(super) fn push_flags(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = match p.code {
            Code::Pushfw => 2,
            Code::Pushfd => 4,
            _ => 8,
        };
        let flags = self.rflags();
        let mut stack = Stack::current(self);
        stack.push(self, env, size, flags)?;
        stack.commit(self);
        Ok(())
    }

    pub(super) fn pop_flags(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = match p.code {
            Code::Popfw => 2,
            Code::Popfd => 4,
            _ => 8,
        };
        let mut stack = Stack::current(self);
        let flags = stack.pop(self, env, size)?;
        stack.commit(self);
        self.write_flags(flags, size);
        Ok(())
    }

    /// CLI and STI.
    pub(super) fn set_interrupts(&mut self, on: bool) -> Result<(), Fault> {
        if self.cpl() > self.iopl() {
            return self.refuse();
        }
        if on && self.system_flags & FLAG_IF == 0 {
            self.shadow = true;
            self.system_flags |= FLAG_IF;
        } else if !on {
            self.system_flags &= !FLAG_IF;
        }
        Ok(())
    }

    /// CLAC and STAC.
    pub(super) fn set_alignment(&mut self, on: bool) -> Result<(), Fault> {
        if self.cpl() != 0 {
            return self.undefined();
        }
        self.system_flags = self.system_flags & !FLAG_AC | if on { FLAG_AC } else { 0 };
        self.update_contexts();
        Ok(())
    }
}
