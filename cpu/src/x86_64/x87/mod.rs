//! The x87 floating-point unit and the MMX registers that alias it. SDM volume 1 §8 and §9.
//!
//! Where the last instruction and its operand were (FIP, FDP, FOP) is not followed: the fields keep what an image loaded.
mod arithmetic;
mod compare;
pub mod control;
mod dispatch;
mod number;
mod remainder;
mod transcendental;
mod transfer;

#[cfg(test)]
mod tests;

pub(super) use dispatch::{loads, run};
pub use number::F80;

use super::simd::{Effect, Trap};
use crate::softfloat::{self as soft, Num};
use crate::x86_64::simd::env::{self, OE, PE, UE};

/// Exception flags of the status word that no vector instruction has.
const STACK_FAULT: u16 = 0x40;
/// Condition codes.
const C0: u16 = 0x100;
const C1: u16 = 0x200;
const C2: u16 = 0x400;
const C3: u16 = 0x4000;
/// Exception summary and its copy, busy.
const SUMMARY: u16 = 0x8080;
const EXCEPTIONS: u16 = 0x3f;
const IE: u16 = 1;
const DE: u16 = 2;
const ZE: u16 = 4;

type Outcome = Result<Effect, Trap>;

/// State of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X87 {
    /// Physical registers R0 to R7.
    pub registers: [F80; 8],
    /// Control word.
    pub control: u16,
    /// Status word; TOP is in bits 13:11.
    pub status: u16,
    /// Bit n is set if register Rn is not empty.
    pub full: u8,
    /// Opcode of the last instruction, 11 bits.
    pub opcode: u16,
    /// Address of the last instruction.
    pub instruction: u64,
    /// Address of its memory operand.
    pub data: u64,
}

impl Default for X87 {
    /// As FNINIT leaves it.
    fn default() -> X87 {
        X87 {
            registers: [F80::default(); 8],
            control: 0x37f,
            status: 0,
            full: 0,
            opcode: 0,
            instruction: 0,
            data: 0,
        }
    }
}

/// The stack.
impl X87 {
    fn index(&self, i: u8) -> usize {
        usize::from(((self.status >> 11) as u8).wrapping_add(i) & 7)
    }
    /// ST(i), `i` modulo 8.
    pub(super) fn st(&self, i: u8) -> F80 {
        self.registers[self.index(i)]
    }
    /// Writes the register of ST(i) and leaves its tag.
    pub(super) fn put_st(&mut self, i: u8, value: F80) {
        let n = self.index(i);
        self.registers[n] = value;
    }
    fn is_empty(&self, i: u8) -> bool {
        self.full >> self.index(i) & 1 == 0
    }
    /// Writes ST(i), which is not empty then.
    fn write(&mut self, i: u8, value: F80) {
        self.put_st(i, value);
        self.full |= 1 << self.index(i);
    }
    fn free(&mut self, i: u8) {
        self.full &= !(1 << self.index(i));
    }
    fn rotate(&mut self, by: u16) {
        self.status = self.status & !0x3800 | self.status.wrapping_add(by << 11) & 0x3800;
    }
    fn pop(&mut self) {
        self.free(0);
        self.rotate(1);
    }
    fn push(&mut self, value: F80) {
        self.rotate(7);
        self.write(0, value);
    }
}

/// Exceptions.
impl X87 {
    /// # Errors
    /// #MF if an unmasked exception is pending.
    pub(in crate::x86_64) fn check_pending(&self) -> Result<(), Trap> {
        if self.status & 0x80 != 0 {
            return Err(Trap::X87);
        }
        Ok(())
    }

    /// What all instructions but those of control do first.
    fn begin(&mut self) -> Result<(), Trap> {
        self.check_pending()?;
        self.status &= !C1;
        Ok(())
    }

    fn unmasked(&self) -> u16 {
        !self.control & EXCEPTIONS
    }

    fn summarize(&mut self) {
        self.status &= !SUMMARY;
        if self.status & self.unmasked() != 0 {
            self.status |= SUMMARY;
        }
    }

    /// Writes the control word; bit 6 reads as one. ES follows.
    pub(super) fn set_control(&mut self, value: u16) {
        self.control = value & 0x1f7f | 0x40;
        self.summarize();
    }

    /// Writes the status word. ES and B follow from the exceptions and their masks.
    pub(super) fn set_status(&mut self, value: u16) {
        self.status = value;
        self.summarize();
    }

    /// Notes exceptions; true if one of them is unmasked.
    fn signal(&mut self, flags: u16) -> bool {
        self.status |= flags;
        self.summarize();
        flags & self.unmasked() != 0
    }

    /// An empty register is read.
    fn underflow(&mut self) -> bool {
        self.status &= !C1;
        self.signal(IE | STACK_FAULT)
    }

    /// A full register is pushed over.
    fn overflow(&mut self) -> bool {
        self.status |= C1;
        self.signal(IE | STACK_FAULT)
    }

    fn rounding(&self) -> u8 {
        env::rounding(u32::from(self.control >> 10))
    }

    /// Rounds a result of arithmetic to a register, with the exceptions of rounding. Unmasked overflow and underflow wrap the exponent.
    fn round(&mut self, n: &Num, precision: soft::Format) -> F80 {
        if let Some(r) = self.beyond_wrapping(n) {
            return r;
        }
        let (out, flags) = self.round_quietly(n, precision);
        self.signal(flags);
        F80::from_format(out.bits, precision)
    }

    /// The result if even a wrapped exponent does not fit: zero or infinity, inexact. SDM volume 2, "FSCALE".
    fn beyond_wrapping(&mut self, n: &Num) -> Option<F80> {
        const WRAP: i32 = 24576;
        const LIMIT: i32 = 16383;
        let unmasked = u32::from(self.unmasked());
        if n.class != soft::Class::Normal {
            None
        } else if n.exp - WRAP > LIMIT && unmasked & OE != 0 {
            self.status |= C1;
            self.signal((OE | PE) as u16);
            Some(F80::infinity(n.sign))
        } else if n.exp + WRAP <= -LIMIT && unmasked & UE != 0 {
            self.signal((UE | PE) as u16);
            Some(F80::zero(n.sign))
        } else {
            None
        }
    }

    /// Like [`X87::round`], giving the exceptions; C1 is set if the magnitude grew.
    fn round_quietly(&mut self, n: &Num, f: soft::Format) -> (soft::Out, u16) {
        let unmasked = u32::from(self.unmasked());
        let (out, tiny) = env::round(n, f, self.rounding(), unmasked);
        let mut flags = 0;
        if out.flags & soft::XX != 0 {
            flags |= PE;
            self.status &= !C1;
            if out.fr {
                self.status |= C1;
            }
        }
        if out.flags & soft::OX != 0 {
            flags |= OE;
        }
        if tiny && (out.fi || unmasked & UE != 0) {
            flags |= UE;
        }
        (out, flags as u16)
    }
}

/// MMX registers.
impl X87 {
    /// MMX register `n` modulo 8.
    pub(super) fn mm(&self, n: u8) -> u64 {
        self.registers[usize::from(n & 7)].mantissa
    }
    /// Writes an MMX register; the exponent becomes all ones. SDM volume 1 §9.5.1.
    pub(super) fn set_mm(&mut self, n: u8, value: u64) {
        self.registers[usize::from(n & 7)] = F80 {
            head: 0xffff,
            mantissa: value,
        };
    }
    /// After an MMX instruction: TOP is 0, no register is empty.
    pub(super) fn enter_mmx(&mut self) {
        self.status &= !0x3800;
        self.full = 0xff;
    }
    /// EMMS: all registers are empty, TOP is 0.
    pub(super) fn emms(&mut self) {
        self.enter_mmx();
        self.full = 0;
    }
}
