//! Far JMP, CALL and RET, with call gates (Intel SDM vol. 3 §5.8).

use iced_x86::Code::*;

use super::segments::null_stack;
use super::task::Reason;
use super::*;
use crate::x86_64::contexts::Rights;
use crate::x86_64::memory::{Stack, truncate};
use crate::x86_64::packet::MEMORY;
use crate::x86_64::segment::{Descriptor, Segment};

/// Where a far transfer leads.
#[derive(Clone, Copy)]
struct Target {
    selector: u16,
    offset: u64,
    /// Operand size in bytes.
    size: u8,
    call: bool,
}

impl Cpu {
    /// Far JMP and CALL.
    pub(super) fn far_transfer(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let call = p.code.mnemonic() == Mnemonic::Call;
        let size = match p.code {
            Jmp_ptr1616 | Jmp_m1616 | Call_ptr1616 | Call_m1616 => 2,
            Jmp_m1664 | Call_m1664 => 8,
            _ => 4,
        };
        let (selector, offset) = if p.rm == MEMORY {
            let at = self.operand_address(0);
            let offset = self.read(env, at, size)?;
            let at = self.operand_address(u64::from(size));
            (self.read(env, at, 2)? as u16, offset)
        } else {
            ((p.imm >> 32) as u16, truncate(p.imm & 0xffff_ffff, size))
        };
        let target = Target {
            selector,
            offset,
            size,
            call,
        };
        if !self.is_protected() {
            return self.far_real(env, target);
        }
        if selector & !3 == 0 {
            return self.refuse();
        }
        let error = u32::from(selector & !3);
        let Some(d) = self.descriptor(env, selector)? else {
            return self.refuse_with(vector::GP, error);
        };
        if d.is_user() {
            return self.far_code(env, target, d);
        }
        let long = self.efer & EFER_LMA != 0;
        match d.kind() {
            12 => self.call_gate(env, target, d),
            4 if !long => self.call_gate(env, target, d),
            1 | 5 | 9 if !long => self.far_task(env, target, d),
            _ => self.refuse_with(vector::GP, error),
        }
    }

    fn far_real(&mut self, env: &mut Env<'_>, t: Target) -> Result<(), Fault> {
        let cs = Segment {
            selector: t.selector,
            base: u64::from(t.selector) << 4,
            ..self.segments[1]
        };
        if !cs.contains(t.offset, 1) {
            return self.refuse();
        }
        if t.call {
            let mut stack = Stack::current(self);
            self.push_return(env, &mut stack, t.size)?;
            stack.commit(self);
        }
        self.set_segment(SegmentRegister::Cs, cs);
        self.jump_to(t.offset);
        Ok(())
    }

    fn push_return(&mut self, env: &mut Env<'_>, stack: &mut Stack, size: u8) -> Result<(), Fault> {
        let (cs, ip) = (u64::from(self.segments[1].selector), self.next_rip());
        stack.push(self, env, size, cs)?;
        stack.push(self, env, size, ip)
    }

    /// The offset in a code segment that is about to be loaded: #GP(0) if it lies outside.
    fn check_offset(&mut self, cs: Segment, offset: u64) -> Result<(), Fault> {
        let long = self.efer & EFER_LMA != 0 && cs.is_long();
        let inside = if long {
            self.is_canonical(offset)
        } else {
            cs.contains(offset, 1)
        };
        if inside { Ok(()) } else { self.refuse() }
    }

    /// Present, and either of 64 bits or of 32 in long mode.
    fn check_code(&mut self, selector: u16, d: Descriptor) -> Result<(), Fault> {
        let error = u32::from(selector & !3);
        if self.efer & EFER_LMA != 0 && d.is_long() && d.is_big() {
            return self.refuse_with(vector::GP, error);
        }
        if !d.is_present() {
            return self.refuse_with(vector::NP, error);
        }
        Ok(())
    }

    fn far_code(&mut self, env: &mut Env<'_>, t: Target, d: Descriptor) -> Result<(), Fault> {
        let (cpl, rpl) = (self.cpl(), (t.selector & 3) as u8);
        let allowed = d.is_code()
            && if d.is_conforming() {
                d.dpl() <= cpl
            } else {
                rpl <= cpl && d.dpl() == cpl
            };
        if !allowed {
            return self.refuse_with(vector::GP, u32::from(t.selector & !3));
        }
        self.check_code(t.selector, d)?;
        let cs = accessed(d.segment(t.selector & !3 | u16::from(cpl)));
        self.check_offset(cs, t.offset)?;
        self.mark_accessed(env, t.selector, d)?;
        if t.call {
            let mut stack = Stack::current(self);
            self.push_return(env, &mut stack, t.size)?;
            stack.commit(self);
        }
        self.set_segment(SegmentRegister::Cs, cs);
        self.jump_to(t.offset);
        Ok(())
    }

    fn call_gate(&mut self, env: &mut Env<'_>, t: Target, gate: Descriptor) -> Result<(), Fault> {
        let cpl = self.cpl();
        let error = u32::from(t.selector & !3);
        if gate.dpl() < cpl || (t.selector & 3) as u8 > gate.dpl() {
            return self.refuse_with(vector::GP, error);
        }
        if !gate.is_present() {
            return self.refuse_with(vector::NP, error);
        }
        let long = self.efer & EFER_LMA != 0;
        let size = match gate.kind() {
            _ if long => 8,
            12 => 4,
            _ => 2,
        };
        let selector = (gate.low >> 16) as u16;
        let offset = truncate(
            gate.low & 0xffff | gate.low >> 32 & 0xffff_0000 | gate.high << 32,
            size,
        );
        if selector & !3 == 0 {
            return self.refuse();
        }
        let error = u32::from(selector & !3);
        let Some(d) = self.descriptor(env, selector)? else {
            return self.refuse_with(vector::GP, error);
        };
        let level_fits = if t.call || d.is_conforming() {
            d.dpl() <= cpl
        } else {
            d.dpl() == cpl
        };
        if !d.is_code() || !level_fits || long && !d.is_long() {
            return self.refuse_with(vector::GP, error);
        }
        self.check_code(selector, d)?;
        let inner = t.call && !d.is_conforming() && d.dpl() < cpl;
        let new = if inner { d.dpl() } else { cpl };
        let cs = accessed(d.segment(selector & !3 | u16::from(new)));
        self.check_offset(cs, offset)?;
        self.mark_accessed(env, selector, d)?;
        if inner {
            let words = (gate.low >> 32 & 31) as u8;
            self.enter_inner(env, new, size, words)?;
        } else if t.call {
            let mut stack = if long {
                let sp = self.core.regs[usize::from(R_RSP)];
                Stack::new(Segment::default(), sp, true, self.rights)
            } else {
                Stack::current(self)
            };
            self.push_return(env, &mut stack, size)?;
            stack.commit(self);
        }
        self.set_segment(SegmentRegister::Cs, cs);
        self.update_contexts();
        self.jump_to(offset);
        Ok(())
    }

    /// Changes to the stack of an inner privilege level and pushes where to return to; of a gate without long mode, also parameters.
    fn enter_inner(
        &mut self,
        env: &mut Env<'_>,
        cpl: u8,
        size: u8,
        words: u8,
    ) -> Result<(), Fault> {
        let old = (self.segments[2], self.core.regs[usize::from(R_RSP)]);
        let long = size == 8;
        let (ss, sp) = if long {
            let sp = self.read_tss(env, 4 + 8 * u64::from(cpl), 8, 0)?;
            (null_stack(cpl), sp)
        } else {
            self.inner_stack(env, cpl, 0)?
        };
        let mut stack =
            Stack::new(ss, sp, long, Rights::Supervisor).with_error(u32::from(ss.selector & !3));
        stack.push(self, env, size, u64::from(old.0.selector))?;
        stack.push(self, env, size, old.1)?;
        if !long {
            let mut from = Stack::current(self);
            from.skip(u64::from(size) * u64::from(words));
            for _ in 0..words {
                from.skip(u64::from(size).wrapping_neg());
                let value = from.pop(self, env, size)?;
                from.skip(u64::from(size).wrapping_neg());
                stack.push(self, env, size, value)?;
            }
        }
        self.push_return(env, &mut stack, size)?;
        stack.commit(self);
        self.segments[2] = ss;
        Ok(())
    }

    fn far_task(&mut self, env: &mut Env<'_>, t: Target, d: Descriptor) -> Result<(), Fault> {
        let error = u32::from(t.selector & !3);
        if d.dpl() < self.cpl() || d.dpl() < (t.selector & 3) as u8 {
            return self.refuse_with(vector::GP, error);
        }
        if !d.is_present() {
            return self.refuse_with(vector::NP, error);
        }
        let selector = if d.kind() == 5 {
            (d.low >> 16) as u16
        } else {
            t.selector
        };
        let reason = if t.call { Reason::Call } else { Reason::Jump };
        let back = self.next_rip();
        self.switch_task(env, selector, reason, back, 0)?;
        let rip = self.rip();
        self.jump_to(rip);
        Ok(())
    }

    /// The code segment that a return leads to.
    pub(super) fn return_code(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        rip: u64,
    ) -> Result<Segment, Fault> {
        if selector & !3 == 0 {
            return self.refuse();
        }
        let error = u32::from(selector & !3);
        let Some(d) = self.descriptor(env, selector)? else {
            return self.refuse_with(vector::GP, error);
        };
        let rpl = (selector & 3) as u8;
        let level_fits = if d.is_conforming() {
            d.dpl() <= rpl
        } else {
            d.dpl() == rpl
        };
        if !d.is_code() || rpl < self.cpl() || !level_fits {
            return self.refuse_with(vector::GP, error);
        }
        self.check_code(selector, d)?;
        let cs = accessed(d.segment(selector));
        self.check_offset(cs, rip)?;
        self.mark_accessed(env, selector, d)?;
        Ok(cs)
    }

    /// The stack segment that a return to an outer level, or one of 64-bit mode, leads to.
    pub(super) fn return_stack(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        cs: Segment,
    ) -> Result<Segment, Fault> {
        let cpl = (cs.selector & 3) as u8;
        if selector & !3 == 0 {
            let long = self.efer & EFER_LMA != 0 && cs.is_long();
            if long && cpl < 3 && selector == u16::from(cpl) {
                return Ok(null_stack(cpl));
            }
            return self.refuse();
        }
        self.stack_segment(env, selector, cpl, vector::GP)
    }

    /// Goes to a code and a stack segment of an outer level: what the data segments hold of inner ones is no longer valid.
    pub(super) fn leave_to(&mut self, cs: Segment, ss: Segment, rip: u64) {
        let outer = (cs.selector & 3) as u8 > self.cpl();
        self.segments[2] = ss;
        self.set_segment(SegmentRegister::Cs, cs);
        self.update_contexts();
        if outer {
            use SegmentRegister::*;
            for register in [Es, Ds, Fs, Gs] {
                let s = self.segments[register as usize];
                let conforming = s.attributes & 0x1c == 0x1c;
                if s.is_usable() && !conforming && s.dpl() < self.cpl() {
                    self.set_segment(register, Segment::default());
                }
            }
        }
        self.jump_to(rip);
    }

    /// Far RET.
    pub(super) fn far_return(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let (size, drop) = match p.code {
            Retfw => (2, 0),
            Retfd => (4, 0),
            Retfq => (8, 0),
            Retfw_imm16 => (2, p.imm & 0xffff),
            Retfd_imm16 => (4, p.imm & 0xffff),
            _ => (8, p.imm & 0xffff),
        };
        let mut stack = Stack::current(self);
        let rip = stack.pop(self, env, size)?;
        let selector = stack.pop(self, env, size)? as u16;
        if !self.is_protected() {
            let cs = Segment {
                selector,
                base: u64::from(selector) << 4,
                ..self.segments[1]
            };
            if !cs.contains(rip, 1) {
                return self.refuse();
            }
            stack.skip(drop);
            stack.commit(self);
            self.set_segment(SegmentRegister::Cs, cs);
            self.jump_to(rip);
            return Ok(());
        }
        let cs = self.return_code(env, selector, rip)?;
        stack.skip(drop);
        if (selector & 3) as u8 == self.cpl() {
            stack.commit(self);
            self.set_segment(SegmentRegister::Cs, cs);
            self.jump_to(rip);
            return Ok(());
        }
        let sp = stack.pop(self, env, size)?;
        let ss = stack.pop(self, env, size)? as u16;
        let ss = self.return_stack(env, ss, cs)?;
        let long = self.efer & EFER_LMA != 0 && cs.is_long();
        let mut outer = Stack::new(ss, sp, long, self.rights);
        outer.skip(drop);
        outer.commit(self);
        self.leave_to(cs, ss, rip);
        Ok(())
    }
}

fn accessed(segment: Segment) -> Segment {
    Segment {
        attributes: segment.attributes | 1,
        ..segment
    }
}
