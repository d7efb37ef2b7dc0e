//! Protected mode without long mode: interrupt, trap and task gates of 16 and 32 bits (Intel SDM vol. 3 §6.12).

use super::*;
use crate::x86_64::contexts::Rights;
use crate::x86_64::system::task::Reason;

impl Cpu {
    pub(super) fn enter_protected(&mut self, env: &mut Env<'_>, event: Event) -> Result<(), Fault> {
        let ext = event.ext();
        let gate = self.gate(env, event, 8)?;
        let kind = gate.kind();
        if !matches!(kind, 5 | 6 | 7 | 14 | 15) {
            return Err(self.raise(Exception::with_code(vector::GP, event.gate_error())));
        }
        self.check_gate(gate, event)?;
        if kind == 5 {
            let back = self.offset_in_code(event.back);
            self.switch_task(env, gate.selector(), Reason::Interrupt, back, ext)?;
            if let Some(error) = event.error {
                let mut stack = Stack::current(self).with_error(ext);
                let size = if self.tr.kind() & 8 != 0 { 4 } else { 2 };
                stack.push(self, env, size, u64::from(error))?;
                stack.commit(self);
            }
            return Ok(());
        }
        let size = if kind & 8 != 0 { 4 } else { 2 };
        let (cs, cpl) = self.handler_code(env, gate.selector(), ext, false)?;
        let inner = cpl < self.cpl();
        let mut ss = self.segments[2];
        let mut sp = self.core.regs[R_RSP as usize];
        if inner {
            (ss, sp) = self.inner_stack(env, cpl, ext)?;
        }
        let rights = match cpl {
            3 => Rights::User,
            _ => Rights::Supervisor,
        };
        let error = if inner {
            u32::from(ss.selector & !3) | ext
        } else {
            ext
        };
        let mut stack = Stack::new(ss, sp, false, rights).with_error(error);
        let offset = gate.offset() & if size == 4 { 0xffff_ffff } else { 0xffff };
        if !cs.contains(offset, 1) {
            return Err(self.raise(Exception::with_code(vector::GP, ext)));
        }
        if inner {
            let old = u64::from(self.segments[2].selector);
            stack.push(self, env, size, old)?;
            let old = self.core.regs[R_RSP as usize];
            stack.push(self, env, size, old)?;
        }
        let frame = [
            self.saved_flags(event),
            u64::from(self.segments[1].selector),
            self.offset_in_code(event.back),
        ];
        for value in frame {
            stack.push(self, env, size, value)?;
        }
        if let Some(error) = event.error {
            stack.push(self, env, size, u64::from(error))?;
        }
        stack.commit(self);
        self.segments[2] = ss;
        self.enter_flags(kind & 1 == 0);
        self.set_segment(SegmentRegister::Cs, cs);
        self.set_segment(SegmentRegister::Ss, ss);
        self.set_rip(offset);
        Ok(())
    }

    /// Stack segment and pointer of an inner privilege level, from the task-state segment.
    pub(in crate::x86_64) fn inner_stack(
        &mut self,
        env: &mut Env<'_>,
        cpl: u8,
        ext: u32,
    ) -> Result<(Segment, u64), Fault> {
        let level = u64::from(cpl);
        let (sp, selector) = if self.tr.kind() & 8 != 0 {
            (
                self.read_tss(env, 4 + 8 * level, 4, ext)?,
                self.read_tss(env, 8 + 8 * level, 2, ext)?,
            )
        } else {
            (
                self.read_tss(env, 2 + 4 * level, 2, ext)?,
                self.read_tss(env, 4 + 4 * level, 2, ext)?,
            )
        };
        let selector = selector as u16;
        let error = u32::from(selector & !3) | ext;
        if selector & !3 == 0 {
            return Err(self.raise(Exception::with_code(vector::TS, ext)));
        }
        let Some(d) = self.descriptor(env, selector)? else {
            return Err(self.raise(Exception::with_code(vector::TS, error)));
        };
        if selector & 3 != u16::from(cpl) || d.dpl() != cpl || !d.is_writable() {
            return Err(self.raise(Exception::with_code(vector::TS, error)));
        }
        if !d.is_present() {
            return Err(self.raise(Exception::with_code(vector::SS, error)));
        }
        self.mark_accessed(env, selector, d)?;
        let mut segment = d.segment(selector);
        segment.attributes |= 1;
        Ok((segment, sp))
    }
}
