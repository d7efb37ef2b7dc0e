//! Quadwords, reservations, atomic memory operations and the copy-paste facility. Power ISA 3.0B, Book II §4.

use super::interrupts::{Interrupt, vector as vectors};
use super::regs::*;
use super::{Cpu, Reservation};
use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::{Access, Fault, FrontEnd};
use crate::engine::uop::{R_CR0, R_SO};

/// Bytes that copy and paste. move.
const BLOCK: u64 = 128;
/// Atomic operations and their operands stay within such a block.
const ATOMIC_BLOCK: u64 = 32;
/// DSISR: an atomic memory operation with an undefined function code. Book III §6.5.3, bit 61.
const BAD_FUNCTION: u64 = 4;

/// The functions that lwat, ldat, stwat and stdat share: codes 0 to 7. `None` for others.
fn combine(function: u32, t: u64, v: u64, size: u8) -> Option<u64> {
    let extend = |x: u64| {
        if size == 4 {
            i64::from(x as i32)
        } else {
            x as i64
        }
    };
    let greater = |signed: bool| {
        if signed { extend(t) > extend(v) } else { t > v }
    };
    Some(match function {
        0 => t.wrapping_add(v),
        1 => t ^ v,
        2 => t | v,
        3 => t & v,
        4 | 5 => {
            if greater(function == 5) {
                t
            } else {
                v
            }
        }
        6 | 7 => {
            if greater(function == 7) {
                v
            } else {
                t
            }
        }
        _ => return None,
    })
}

impl Cpu {
    pub(super) fn quad_aligned(&mut self, ea: u64) -> Result<(), Fault> {
        if !ea.is_multiple_of(16) {
            return Err(self.alignment(ea));
        }
        Ok(())
    }

    fn alignment(&mut self, ea: u64) -> Fault {
        self.record(Interrupt {
            vector: vectors::ALIGNMENT,
            srr1: 0,
            dar: Some(ea),
            dsisr: Some(0),
        })
    }

    pub(super) fn load_quad(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        ea: u64,
    ) -> Result<(u64, u64), Fault> {
        let first = self.load_guest(shared, bus, ea, 8)?;
        let second = self.load_guest(shared, bus, ea.wrapping_add(8), 8)?;
        Ok(if self.msr & MSR_LE != 0 {
            (first, second)
        } else {
            (second, first)
        })
    }

    pub(super) fn load_reserve(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        insn: u32,
        size: u8,
    ) -> Result<(), Fault> {
        let ea = self.ea_x(insn);
        if !ea.is_multiple_of(u64::from(size)) {
            return Err(self.alignment(ea));
        }
        let rt = (insn >> 21 & 31) as usize;
        let value = if size == 16 {
            let (lo, hi) = self.load_quad(shared, bus, ea)?;
            self.core.regs[rt & 30] = hi;
            self.core.regs[rt | 1] = lo;
            u128::from(hi) << 64 | u128::from(lo)
        } else {
            let v = self.load_guest(shared, bus, ea, size)?;
            self.core.regs[rt] = v;
            u128::from(v)
        };
        self.reservation = Some(Reservation {
            gpa: ea,
            size,
            value,
        });
        Ok(())
    }

    pub(super) fn store_conditional(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        insn: u32,
        size: u8,
    ) -> Result<(), Fault> {
        let ea = self.ea_x(insn);
        if !ea.is_multiple_of(u64::from(size)) {
            return Err(self.alignment(ea));
        }
        self.translate(shared, ea, Access::Write)?;
        let rt = (insn >> 21 & 31) as usize;
        let mut done = false;
        if let Some(r) = self.reservation.take()
            && r.gpa == ea
            && r.size == size
        {
            if size == 16 {
                let (lo, hi) = self.load_quad(shared, bus, ea)?;
                if u128::from(hi) << 64 | u128::from(lo) == r.value {
                    let (hi, lo) = (self.core.regs[rt & 30], self.core.regs[rt | 1]);
                    let (first, second) = if self.msr & MSR_LE != 0 {
                        (lo, hi)
                    } else {
                        (hi, lo)
                    };
                    self.store_guest(shared, bus, ea, 8, first)?;
                    self.store_guest(shared, bus, ea.wrapping_add(8), 8, second)?;
                    done = true;
                }
            } else if u128::from(self.load_guest(shared, bus, ea, size)?) == r.value {
                let v = self.core.regs[rt];
                self.store_guest(shared, bus, ea, size, v)?;
                done = true;
            }
        }
        self.core.regs[R_CR0 as usize] = u64::from(done) << 1 | self.core.regs[R_SO as usize];
        Ok(())
    }

    /// Address and function code of an atomic memory operation; the neighbour it uses lies in the same block.
    fn atomic_operand(
        &mut self,
        insn: u32,
        size: u8,
        pair: &[(u32, i64)],
    ) -> Result<(u64, u32), Fault> {
        let ra = insn >> 16 & 31;
        let ea = self.ea(if ra == 0 { 0 } else { self.g(ra) });
        let function = insn >> 11 & 31;
        let offset = pair.iter().find(|p| p.0 == function).map_or(0, |p| p.1);
        let neighbour = ea.wrapping_add_signed(offset * i64::from(size));
        if !ea.is_multiple_of(u64::from(size)) || (ea ^ neighbour) >= ATOMIC_BLOCK {
            return Err(self.alignment(ea));
        }
        Ok((ea, function))
    }

    fn bad_function(&mut self, ea: u64) -> Fault {
        self.record(Interrupt {
            vector: vectors::DATA_STORAGE,
            srr1: 0,
            dar: Some(ea),
            dsisr: Some(BAD_FUNCTION),
        })
    }

    /// lwat, ldat: RT gets the old value, except that the bounded functions which do nothing give the smallest number. Book II §4.5.1.
    pub(super) fn load_atomic(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        insn: u32,
        size: u8,
    ) -> Result<(), Fault> {
        let (ea, function) = self.atomic_operand(insn, size, &[(24, 1), (25, 1), (28, -1)])?;
        let rt = insn >> 21 & 31;
        let ones = u64::MAX >> (64 - 8 * u32::from(size));
        let (v, other) = (self.g(rt + 1) & ones, self.g(rt + 2) & ones);
        if !matches!(function, 0..=8 | 16 | 24 | 25 | 28) {
            return Err(self.bad_function(ea));
        }
        self.translate(shared, ea, Access::Write)?;
        let t = self.load_guest(shared, bus, ea, size)?;
        let step = u64::from(size);
        let new = match function {
            8 => Some(v),
            16 => (t != v).then_some(other),
            24 | 25 => {
                let bound = self.load_guest(shared, bus, ea.wrapping_add(step), size)?;
                ((t == bound) == (function == 25)).then(|| t.wrapping_add(1))
            }
            28 => {
                let bound = self.load_guest(shared, bus, ea.wrapping_sub(step), size)?;
                (t != bound).then(|| t.wrapping_sub(1))
            }
            _ => combine(function, t, v, size),
        };
        if let Some(new) = new {
            self.store_guest(shared, bus, ea, size, new & ones)?;
        }
        let refused = new.is_none() && function >= 24;
        self.core.regs[rt as usize] = if refused { ones ^ ones >> 1 } else { t };
        Ok(())
    }

    /// stwat, stdat. Book II §4.5.2.
    pub(super) fn store_atomic(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        insn: u32,
        size: u8,
    ) -> Result<(), Fault> {
        let (ea, function) = self.atomic_operand(insn, size, &[(24, 1)])?;
        let ones = u64::MAX >> (64 - 8 * u32::from(size));
        let v = self.g(insn >> 21) & ones;
        if !matches!(function, 0..=7 | 24) {
            return Err(self.bad_function(ea));
        }
        self.translate(shared, ea, Access::Write)?;
        let t = self.load_guest(shared, bus, ea, size)?;
        if let Some(new) = combine(function, t, v, size) {
            return self.store_guest(shared, bus, ea, size, new & ones);
        }
        // Store twin.
        let twin = ea.wrapping_add(u64::from(size));
        if self.load_guest(shared, bus, twin, size)? == t {
            self.store_guest(shared, bus, ea, size, v)?;
            self.store_guest(shared, bus, twin, size, v)?;
        }
        Ok(())
    }

    fn block_operand(&mut self, insn: u32) -> Result<u64, Fault> {
        let ea = self.ea_x(insn);
        if !ea.is_multiple_of(BLOCK) {
            return Err(self.alignment(ea));
        }
        Ok(ea)
    }

    /// copy: the block must be readable. Nothing keeps it, as every paste. fails. Book II §4.4.
    pub(super) fn copy_block(&mut self, shared: &mut Shared, insn: u32) -> Result<(), Fault> {
        let ea = self.block_operand(insn)?;
        self.translate(shared, ea, Access::Read).map(|_| ())
    }

    /// paste.: only an accelerator takes a block and there is none, so CR0 says that nothing was moved. Book II §4.4.
    pub(super) fn paste_block(&mut self, shared: &mut Shared, insn: u32) -> Result<(), Fault> {
        let ea = self.block_operand(insn)?;
        self.translate(shared, ea, Access::Write)?;
        self.core.regs[R_CR0 as usize] = self.core.regs[R_SO as usize];
        Ok(())
    }
}
