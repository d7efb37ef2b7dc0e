//! IRET in all modes.

use iced_x86::Code;

use super::task::Reason;
use super::*;
use crate::x86_64::memory::{Stack, truncate};
use crate::x86_64::segment::Segment;

impl Cpu {
    pub(super) fn iret(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = match p.code {
            Code::Iretw => 2,
            Code::Iretd => 4,
            _ => 8,
        };
        if !self.is_protected() {
            self.iret_real(env, size)?;
        } else if self.system_flags & FLAG_NT != 0 {
            self.iret_task(env)?;
        } else {
            self.iret_protected(env, size)?;
        }
        self.nmi_blocked = false;
        Ok(())
    }

    fn iret_real(&mut self, env: &mut Env<'_>, size: u8) -> Result<(), Fault> {
        let mut stack = Stack::current(self);
        let ip = stack.pop(self, env, size)?;
        let selector = stack.pop(self, env, size)? as u16;
        let flags = stack.pop(self, env, size)?;
        let cs = Segment {
            selector,
            base: u64::from(selector) << 4,
            ..self.segments[1]
        };
        if !cs.contains(ip, 1) {
            return self.refuse();
        }
        stack.commit(self);
        self.set_segment(SegmentRegister::Cs, cs);
        self.write_flags(flags, size);
        self.jump_to(ip);
        Ok(())
    }

    /// Back to the task that the current one names.
    fn iret_task(&mut self, env: &mut Env<'_>) -> Result<(), Fault> {
        if self.efer & EFER_LMA != 0 {
            return self.refuse();
        }
        let selector = self.read_system(env, self.tr.base, 2)? as u16;
        let back = self.next_rip();
        self.switch_task(env, selector, Reason::Return, back, 0)?;
        let rip = self.rip();
        self.jump_to(rip);
        Ok(())
    }

    fn iret_protected(&mut self, env: &mut Env<'_>, size: u8) -> Result<(), Fault> {
        let mut stack = Stack::current(self);
        let rip = stack.pop(self, env, size)?;
        let selector = stack.pop(self, env, size)? as u16;
        let flags = stack.pop(self, env, size)?;
        if size != 2 && flags & FLAG_VM != 0 && self.cpl() == 0 && self.efer & EFER_LMA == 0 {
            log::warn!("x86-64: virtual-8086 mode is absent: IRET to it is #GP");
            return self.refuse();
        }
        let cs = self.return_code(env, selector, rip)?;
        // 64-bit mode always pops a stack pointer.
        if !self.is_long() && (selector & 3) as u8 == self.cpl() {
            stack.commit(self);
            self.write_flags(flags, size);
            self.set_segment(SegmentRegister::Cs, cs);
            self.jump_to(rip);
            return Ok(());
        }
        let sp = stack.pop(self, env, size)?;
        let ss = stack.pop(self, env, size)? as u16;
        let ss = self.return_stack(env, ss, cs)?;
        self.write_flags(flags, size);
        let long = self.efer & EFER_LMA != 0 && cs.is_long();
        let rsp = &mut self.core.regs[usize::from(R_RSP)];
        *rsp = if long || ss.is_big() {
            truncate(sp, size)
        } else {
            *rsp & !0xffff | sp & 0xffff
        };
        self.leave_to(cs, ss, rip);
        Ok(())
    }
}
