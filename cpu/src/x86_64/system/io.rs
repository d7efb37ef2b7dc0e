//! Ports (Intel SDM vol. 1 §19).

use iced_x86::Code::*;

use super::*;
use crate::x86_64::memory::truncate;

/// Iterations of a string instruction between which interrupts are looked for.
const MAX_ITERATIONS: u32 = 1024;

impl Cpu {
    /// Whether a port may be accessed: by IOPL, or the bitmap of the task-state segment.
    fn check_port(&mut self, env: &mut Env<'_>, port: u16, size: u8) -> Result<(), Fault> {
        if !self.is_protected() || self.cpl() <= self.iopl() {
            return Ok(());
        }
        let limit = u64::from(self.tr.limit);
        // Only a 32-bit or 64-bit one has a bitmap.
        if !self.tr.is_usable() || self.tr.kind() & 8 == 0 || limit < 103 {
            return self.refuse();
        }
        let map = self.read_system(env, self.tr.base.wrapping_add(102), 2)?;
        let at = map + u64::from(port / 8);
        if at + 1 > limit {
            return self.refuse();
        }
        let bits = self.read_system(env, self.tr.base.wrapping_add(at), 2)?;
        if bits >> (port % 8) & ((1 << size) - 1) != 0 {
            return self.refuse();
        }
        Ok(())
    }

    fn port_in(&mut self, env: &mut Env<'_>, port: u16, size: u8) -> u64 {
        let mut bytes = [0; 8];
        env.bus
            .port_read(port, &mut bytes[..usize::from(size.min(4))]);
        self.core.leave_soon();
        u64::from_le_bytes(bytes)
    }

    fn port_out(&mut self, env: &mut Env<'_>, port: u16, size: u8, value: u64) {
        env.bus
            .port_write(port, &value.to_le_bytes()[..usize::from(size.min(4))]);
        self.core.leave_soon();
    }

    /// IN and OUT.
    pub(super) fn port(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let (size, immediate, write) = match p.code {
            In_AL_imm8 => (1, true, false),
            In_AX_imm8 => (2, true, false),
            In_EAX_imm8 => (4, true, false),
            In_AL_DX => (1, false, false),
            In_AX_DX => (2, false, false),
            In_EAX_DX => (4, false, false),
            Out_imm8_AL => (1, true, true),
            Out_imm8_AX => (2, true, true),
            Out_imm8_EAX => (4, true, true),
            Out_DX_AL => (1, false, true),
            Out_DX_AX => (2, false, true),
            _ => (4, false, true),
        };
        let port = if immediate {
            u16::from(p.imm as u8)
        } else {
            self.register(2, 2) as u16
        };
        self.check_port(env, port, size)?;
        if write {
            let value = self.register(0, size);
            self.port_out(env, port, size, value);
        } else {
            let value = self.port_in(env, port, size);
            self.set_register(0, size, value);
        }
        Ok(())
    }

    /// INS and OUTS, with REP.
    pub(super) fn port_string(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let (size, write) = match p.code {
            Insb_m8_DX => (1, false),
            Insw_m16_DX => (2, false),
            Insd_m32_DX => (4, false),
            Outsb_DX_m8 => (1, true),
            Outsw_DX_m16 => (2, true),
            _ => (4, true),
        };
        let port = self.register(2, 2) as u16;
        self.check_port(env, port, size)?;
        let width = 2 << p.address_size.min(2);
        let repeat = p.extra & 3 != 0;
        // SI and the segment of the prefix, or DI and ES.
        let (index, segment) = if write { (6, p.extra >> 2 & 7) } else { (7, 0) };
        for _ in 0..MAX_ITERATIONS {
            if repeat && self.register(1, width) == 0 {
                return Ok(());
            }
            let offset = self.register(index, width);
            let at = self.string_address(segment, offset, size)?;
            if write {
                let value = self.read(env, at, size)?;
                self.port_out(env, port, size, value);
            } else {
                self.check_write(env, at, u64::from(size))?;
                let value = self.port_in(env, port, size);
                self.write(env, at, size, value)?;
            }
            let step = if self.system_flags & FLAG_DF != 0 {
                u64::from(size).wrapping_neg()
            } else {
                u64::from(size)
            };
            let next = truncate(offset.wrapping_add(step), width);
            self.set_register(index, width, next);
            if !repeat {
                return Ok(());
            }
            let left = self.register(1, width).wrapping_sub(1);
            self.set_register(1, width, left);
        }
        // The rest after a look at interrupts.
        if self.register(1, width) != 0 {
            self.core.regs[crate::engine::exec::NEXT_PC] = self.core.pc;
        }
        Ok(())
    }

    fn string_address(&mut self, segment: u8, offset: u64, size: u8) -> Result<u64, Fault> {
        let n = usize::from(segment.min(5));
        if self.is_long() {
            let base = self.core.regs[usize::from(R_SEGMENT_BASE) + n];
            return Ok(base.wrapping_add(offset));
        }
        let s = self.segments[n];
        let protected = self.is_protected() && !s.is_usable();
        if protected || !s.contains(offset, u64::from(size)) {
            let vector = if n == 2 { vector::SS } else { vector::GP };
            return self.refuse_with(vector, 0);
        }
        Ok(s.base.wrapping_add(offset) & 0xffff_ffff)
    }
}
