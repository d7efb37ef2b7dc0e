//! Stack frames, and all registers at once.

use iced_x86::Code;

use crate::engine::exec::Fault;
use crate::x86_64::Cpu;
use crate::x86_64::memory::{Env, Stack};
use crate::x86_64::packet::Packet;
use crate::x86_64::regs::{R_RBP, R_RSP};

/// Bytes that are pushed at once.
fn size(code: Code) -> u8 {
    match code {
        Code::Enterw_imm16_imm8 | Code::Leavew | Code::Pushaw | Code::Popaw => 2,
        Code::Enterd_imm16_imm8 | Code::Leaved | Code::Pushad | Code::Popad => 4,
        _ => 8,
    }
}

impl Cpu {
    /// ENTER: the size of the frame, and the nesting level from bit 16 of the immediate.
    pub(super) fn enter_frame(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = size(p.code);
        let (room, level) = (p.imm & 0xffff, p.imm >> 16 & 31);
        let mut stack = Stack::current(self);
        let base = self.general(R_RBP, 8);
        stack.push(self, env, size, base)?;
        let frame = stack.sp;
        // The frame pointers of the outer levels, downwards from the old one.
        let mut outer = Stack::current(self);
        outer.sp = base;
        for n in 1..level {
            outer.sp = base;
            outer.skip((n * u64::from(size)).wrapping_neg());
            let pointer = outer.pop(self, env, size)?;
            stack.push(self, env, size, pointer)?;
        }
        if level > 0 {
            stack.push(self, env, size, frame)?;
        }
        stack.skip(room.wrapping_neg());
        // The new stack pointer must be usable: a push there would be.
        let mut probe = stack;
        probe.skip(u64::from(size));
        probe.check_push(self, env, size)?;
        self.set_general(R_RBP, size, frame);
        stack.commit(self);
        Ok(())
    }

    /// LEAVE.
    pub(super) fn leave_frame(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = size(p.code);
        let mut stack = Stack::current(self);
        stack.set(self.core.regs[usize::from(R_RBP)]);
        let base = stack.pop(self, env, size)?;
        stack.commit(self);
        self.set_general(R_RBP, size, base);
        Ok(())
    }

    /// PUSHA.
    pub(super) fn push_all(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = size(p.code);
        let mut stack = Stack::current(self);
        for n in 0..8 {
            let value = self.core.regs[n];
            stack.push(self, env, size, value)?;
        }
        stack.commit(self);
        Ok(())
    }

    /// POPA.
    pub(super) fn pop_all(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = size(p.code);
        let mut stack = Stack::current(self);
        let mut values = [0; 8];
        for value in values.iter_mut().rev() {
            *value = stack.pop(self, env, size)?;
        }
        for (n, value) in (0..).zip(values) {
            if n != R_RSP {
                self.set_general(n, size, value);
            }
        }
        stack.commit(self);
        Ok(())
    }
}
