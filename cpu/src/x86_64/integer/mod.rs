//! Integer instructions without micro-operations of their own (Intel SDM vol. 2).

mod decimal;
mod multiply;
mod stack;
mod strings;

use iced_x86::{Code, Mnemonic};

use super::Cpu;
use super::exception::{Exception, vector};
use super::memory::{Env, truncate};
use super::packet::{MEMORY, Packet, R_ADDRESS};
use super::regs::*;
use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::{Fault, NEXT_PC};
use crate::engine::flags;
use crate::engine::uop::Reg;

/// State of the generator behind RDRAND and RDSEED, in the flat register file.
const R_RANDOM: Reg = 27;

impl Cpu {
    /// Carries out an instruction of [`super::packet::Unit::Integer`].
    pub(super) fn integer_call(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        packet: Packet,
    ) -> Result<(), Fault> {
        use Mnemonic as M;
        let env = &mut Env { shared, bus };
        let p = &packet;
        match p.code.mnemonic() {
            _ if p.code == Code::INVALID => self.check_operand(p),
            M::Div | M::Idiv => self.divide(env, p),
            M::Mulx => self.multiply_without_flags(env, p),
            M::Cld => {
                self.system_flags &= !FLAG_DF;
                Ok(())
            }
            M::Std => {
                self.system_flags |= FLAG_DF;
                Ok(())
            }
            M::Cmpxchg8b => self.compare_exchange(env, p, 4),
            M::Cmpxchg16b => self.compare_exchange(env, p, 8),
            M::Enter => self.enter_frame(env, p),
            M::Leave => self.leave_frame(env, p),
            M::Pusha | M::Pushad => self.push_all(env, p),
            M::Popa | M::Popad => self.pop_all(env, p),
            M::Daa | M::Das => self.decimal_adjust(p),
            M::Aaa | M::Aas => self.ascii_adjust(p),
            M::Aam => self.ascii_multiply(p),
            M::Aad => self.ascii_divide(p),
            M::Salc => {
                let carry = flags::carry(&self.core.regs);
                self.set_general(0, 1, carry.wrapping_neg());
                Ok(())
            }
            M::Bound => self.bound(env, p),
            M::Rdrand | M::Rdseed => self.random(p),
            M::Loope | M::Loopne => self.loop_if(p),
            _ => self.string(env, p),
        }
    }

    /// The value of a general register operand of a size in bytes.
    fn general(&self, n: u8, size: u8) -> u64 {
        if (16..20).contains(&n) {
            return self.core.regs[usize::from(n - 16)] >> 8 & 0xff;
        }
        truncate(self.core.regs[usize::from(n & 15)], size)
    }

    /// Sets a general register operand.
    fn set_general(&mut self, n: u8, size: u8, value: u64) {
        if (16..20).contains(&n) {
            let r = &mut self.core.regs[usize::from(n - 16)];
            *r = *r & !0xff00 | (value & 0xff) << 8;
            return;
        }
        let r = &mut self.core.regs[usize::from(n & 15)];
        *r = match size {
            1 => *r & !0xff | value & 0xff,
            2 => *r & !0xffff | value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        };
    }

    /// The operand of ModRM.rm.
    fn rm(&mut self, env: &mut Env<'_>, p: &Packet, size: u8) -> Result<u64, Fault> {
        if p.rm == MEMORY {
            let at = self.core.regs[usize::from(R_ADDRESS)];
            return self.read(env, at, size);
        }
        Ok(self.general(p.rm, size))
    }

    /// Checks an access of `imm` bytes at the offset in [`R_ADDRESS`] of segment `reg`; `extra` is whether it is a store.
    fn check_operand(&mut self, p: &Packet) -> Result<(), Fault> {
        let offset = self.core.regs[usize::from(R_ADDRESS)];
        self.check_segment(p.reg, offset, p.imm, p.extra != 0)
    }

    /// Checks an access in 16- or 32-bit code (Intel SDM vol. 3 §5.3 and §5.5).
    fn check_segment(
        &mut self,
        segment: u8,
        offset: u64,
        size: u64,
        store: bool,
    ) -> Result<(), Fault> {
        let s = self.segments[usize::from(segment) % 6];
        // Bit 1 of a type: data may be written, code may be read.
        let allowed = match (s.kind() & 8 != 0, store) {
            (true, true) => false,
            (true, false) | (false, true) => s.kind() & 2 != 0,
            (false, false) => true,
        };
        let real = !self.is_protected();
        if (real || s.is_usable() && allowed) && s.contains(offset, size) {
            return Ok(());
        }
        let which = if segment == 2 { vector::SS } else { vector::GP };
        Err(self.raise(Exception::with_code(which, 0)))
    }

    /// A linear address in a segment, of which `size` bytes are checked.
    pub(super) fn linear(
        &mut self,
        segment: u8,
        offset: u64,
        size: u64,
        store: bool,
    ) -> Result<u64, Fault> {
        let base = self.core.regs[usize::from(R_SEGMENT_BASE) + usize::from(segment % 6)];
        if self.is_long() {
            return Ok(base.wrapping_add(offset));
        }
        self.check_segment(segment, offset, size, store)?;
        Ok(base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// CMPXCHG8B and CMPXCHG16B: halves of `half` bytes.
    fn compare_exchange(&mut self, env: &mut Env<'_>, p: &Packet, half: u8) -> Result<(), Fault> {
        let at = self.core.regs[usize::from(R_ADDRESS)];
        let size = u64::from(half) * 2;
        if half == 8 && !at.is_multiple_of(16) {
            return Err(self.raise(Exception::general_protection()));
        }
        let _ = p;
        self.check_write(env, at, size)?;
        let second = at.wrapping_add(u64::from(half));
        let (low, high) = (self.read(env, at, half)?, self.read(env, second, half)?);
        let equal = low == self.general(0, half) && high == self.general(2, half);
        let (new_low, new_high) = if equal {
            (self.general(3, half), self.general(1, half))
        } else {
            self.set_general(0, half, low);
            self.set_general(2, half, high);
            (low, high)
        };
        self.write(env, at, half, new_low)?;
        self.write(env, second, half, new_high)?;
        self.change_flags(FLAG_ZF, if equal { FLAG_ZF } else { 0 });
        Ok(())
    }

    fn bound(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = if p.code == Code::Bound_r16_m1616 {
            2
        } else {
            4
        };
        let at = self.core.regs[usize::from(R_ADDRESS)];
        let signed = |v: u64| {
            if size == 2 {
                v as i16 as i64
            } else {
                v as i32 as i64
            }
        };
        let low = signed(self.read(env, at, size)?);
        let high = signed(self.read(env, at.wrapping_add(u64::from(size)), size)?);
        let index = signed(self.general(p.reg, size));
        if index < low || index > high {
            return Err(self.raise(Exception::plain(vector::BR)));
        }
        Ok(())
    }

    /// RDRAND and RDSEED: the same numbers in every run (xorshift), as all else.
    fn random(&mut self, p: &Packet) -> Result<(), Fault> {
        let state = &mut self.core.regs[usize::from(R_RANDOM)];
        if *state == 0 {
            *state = 0x9e37_79b9_7f4a_7c15 ^ u64::from(self.index + 1) << 32;
        }
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let value = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let size = match p.code {
            Code::Rdrand_r16 | Code::Rdseed_r16 => 2,
            Code::Rdrand_r32 | Code::Rdseed_r32 => 4,
            _ => 8,
        };
        self.set_general(p.rm, size, value);
        self.set_arithmetic_flags(FLAG_CF);
        Ok(())
    }

    /// LOOPE and LOOPNE, whose displacement is the immediate.
    fn loop_if(&mut self, p: &Packet) -> Result<(), Fault> {
        let size = 2 << (p.address_size & 3).min(2);
        let left = truncate(self.general(1, size).wrapping_sub(1), size);
        self.set_general(1, size, left);
        let zero = self.arithmetic_flags() & FLAG_ZF != 0;
        if left != 0 && zero == (p.code.mnemonic() == Mnemonic::Loope) {
            let next = self.core.regs[NEXT_PC];
            self.core.regs[NEXT_PC] = self.wrap_linear(next.wrapping_add(p.imm));
        }
        Ok(())
    }
}
