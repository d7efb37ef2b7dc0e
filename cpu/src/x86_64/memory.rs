//! Guest memory as helpers reach it: by size, with the rights of the CPU or of a system table, and stacks.

use super::Cpu;
use super::contexts::Rights;
use super::exception::{Exception, vector};
use super::regs::*;
use super::segment::Segment;
use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::{Access, Fault, FrontEnd, load, store};

/// The machine around a CPU while a helper runs.
pub(super) struct Env<'a> {
    pub shared: &'a mut Shared,
    pub bus: &'a mut dyn Bus,
}

/// Truncates to a size in bytes.
pub(super) fn truncate(value: u64, size: u8) -> u64 {
    match size {
        1 => value & 0xff,
        2 => value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    }
}

impl Cpu {
    /// Reads 1, 2, 4 or 8 bytes at a linear address.
    pub(super) fn read(&mut self, env: &mut Env<'_>, at: u64, size: u8) -> Result<u64, Fault> {
        match size {
            1 => load::<1, Cpu>(self, env.shared, env.bus, at),
            2 => load::<2, Cpu>(self, env.shared, env.bus, at),
            4 => load::<4, Cpu>(self, env.shared, env.bus, at),
            _ => load::<8, Cpu>(self, env.shared, env.bus, at),
        }
    }

    /// Writes 1, 2, 4 or 8 bytes at a linear address.
    pub(super) fn write(
        &mut self,
        env: &mut Env<'_>,
        at: u64,
        size: u8,
        value: u64,
    ) -> Result<(), Fault> {
        match size {
            1 => store::<1, Cpu>(self, env.shared, env.bus, at, value),
            2 => store::<2, Cpu>(self, env.shared, env.bus, at, value),
            4 => store::<4, Cpu>(self, env.shared, env.bus, at, value),
            _ => store::<8, Cpu>(self, env.shared, env.bus, at, value),
        }
    }

    /// Faults as a write of `len` bytes (at most a page) would, and changes nothing.
    pub(super) fn check_write(
        &mut self,
        env: &mut Env<'_>,
        at: u64,
        len: u64,
    ) -> Result<(), Fault> {
        let last = at.wrapping_add(len.max(1) - 1);
        let context = self.core.context_of(at);
        if (at ^ last) >> 12 == 0 && self.core.tlb.write_hit::<1>(at, context).is_some() {
            return Ok(());
        }
        self.translate(env.shared, at, Access::Write)?;
        if (at ^ last) >> 12 != 0 {
            self.translate(env.shared, last & !0xfff, Access::Write)?;
        }
        Ok(())
    }

    /// A linear address in the current mode.
    pub(super) fn wrap_linear(&self, at: u64) -> u64 {
        if self.efer & EFER_LMA != 0 {
            at
        } else {
            at & 0xffff_ffff
        }
    }

    /// Does `work` with other rights.
    pub(super) fn with_rights<T>(
        &mut self,
        rights: Rights,
        work: impl FnOnce(&mut Cpu) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.rights == rights {
            return work(self);
        }
        let before = self.set_rights(rights);
        let done = work(self);
        self.set_rights(before);
        done
    }

    /// Reads a system table: an access of the supervisor, whatever the privilege level.
    pub(super) fn read_system(
        &mut self,
        env: &mut Env<'_>,
        at: u64,
        size: u8,
    ) -> Result<u64, Fault> {
        let at = self.wrap_linear(at);
        self.with_rights(Rights::Supervisor, |cpu| cpu.read(env, at, size))
    }

    /// Writes a system table.
    pub(super) fn write_system(
        &mut self,
        env: &mut Env<'_>,
        at: u64,
        size: u8,
        value: u64,
    ) -> Result<(), Fault> {
        let at = self.wrap_linear(at);
        self.with_rights(Rights::Supervisor, |cpu| cpu.write(env, at, size, value))
    }
}

/// A stack that is pushed to or popped from before RSP changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    segment: Segment,
    /// The stack pointer.
    pub sp: u64,
    /// Which of its bits move.
    mask: u64,
    long: bool,
    rights: Rights,
    /// Error code of a #SS.
    error: u32,
}

impl Stack {
    /// The stack of SS and RSP.
    pub fn current(cpu: &Cpu) -> Stack {
        let segment = cpu.segments[2];
        Stack::new(
            segment,
            cpu.core.regs[R_RSP as usize],
            cpu.is_long(),
            cpu.rights,
        )
    }

    /// A stack in a segment. `long` is whether it is one of 64-bit mode, where segments have neither base nor limit.
    pub fn new(segment: Segment, sp: u64, long: bool, rights: Rights) -> Stack {
        let mask = if long {
            u64::MAX
        } else if segment.is_big() {
            0xffff_ffff
        } else {
            0xffff
        };
        Stack {
            segment,
            sp,
            mask,
            long,
            rights,
            error: 0,
        }
    }

    /// The same with an error code for its #SS.
    pub fn with_error(self, error: u32) -> Stack {
        Stack { error, ..self }
    }

    fn linear(&self, cpu: &mut Cpu, offset: u64, size: u8) -> Result<u64, Fault> {
        let error = Exception::with_code(vector::SS, self.error);
        let last = u64::from(size) - 1;
        if self.long {
            if !cpu.is_canonical(offset) || !cpu.is_canonical(offset.wrapping_add(last)) {
                return Err(cpu.raise(error));
            }
            return Ok(offset);
        }
        if !self.segment.contains(offset, u64::from(size)) {
            return Err(cpu.raise(error));
        }
        Ok(self.segment.base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// Pushes the low `size` bytes of `value`.
    pub fn push(
        &mut self,
        cpu: &mut Cpu,
        env: &mut Env<'_>,
        size: u8,
        value: u64,
    ) -> Result<(), Fault> {
        let sp = self.sp.wrapping_sub(u64::from(size)) & self.mask;
        let at = self.linear(cpu, sp, size)?;
        cpu.with_rights(self.rights, |cpu| cpu.write(env, at, size, value))?;
        self.sp = self.sp & !self.mask | sp;
        Ok(())
    }

    /// Pops `size` bytes.
    pub fn pop(&mut self, cpu: &mut Cpu, env: &mut Env<'_>, size: u8) -> Result<u64, Fault> {
        let at = self.linear(cpu, self.sp & self.mask, size)?;
        let value = cpu.with_rights(self.rights, |cpu| cpu.read(env, at, size))?;
        self.skip(u64::from(size));
        Ok(value)
    }

    /// Faults as a push would, and changes nothing.
    pub fn check_push(self, cpu: &mut Cpu, env: &mut Env<'_>, size: u8) -> Result<(), Fault> {
        let sp = self.sp.wrapping_sub(u64::from(size)) & self.mask;
        let at = self.linear(cpu, sp, size)?;
        cpu.with_rights(self.rights, |cpu| cpu.check_write(env, at, u64::from(size)))
    }

    /// Sets the bits of the stack pointer that move.
    pub fn set(&mut self, sp: u64) {
        self.sp = self.sp & !self.mask | sp & self.mask;
    }

    /// Drops bytes.
    pub fn skip(&mut self, bytes: u64) {
        self.sp = self.sp & !self.mask | self.sp.wrapping_add(bytes) & self.mask;
    }

    /// Makes this the CPU's stack pointer.
    pub fn commit(&self, cpu: &mut Cpu) {
        cpu.core.regs[R_RSP as usize] = self.sp;
    }
}
