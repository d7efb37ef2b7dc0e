//! The x87 floating-point unit and the MMX registers that alias it. SDM volume 1 §8 and §9.
use iced_x86::{Code, Mnemonic};

use super::simd::{Effect, Operands, Trap};

/// A number in double extended format: sign, 15 exponent bits, and a significand with its integer bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct F80 {
    /// Sign in bit 15, biased exponent below.
    pub head: u16,
    /// Significand.
    pub mantissa: u64,
}

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
    /// Opcode of the last instruction, 11 bits. Nothing here writes it but an image that is loaded.
    pub opcode: u16,
    /// Address of the last instruction, likewise.
    pub instruction: u64,
    /// Address of its memory operand, likewise.
    pub data: u64,
}

impl Default for X87 {
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

impl X87 {
    /// # Errors
    /// #MF if an unmasked exception is pending.
    pub(super) fn check_pending(&self) -> Result<(), Trap> {
        if self.status & 0x80 != 0 {
            return Err(Trap::X87);
        }
        Ok(())
    }
    fn index(&self, i: u8) -> usize {
        usize::from((self.status >> 11) as u8 + i & 7)
    }
    /// ST(i), `i` modulo 8.
    pub(super) fn st(&self, i: u8) -> F80 {
        self.registers[self.index(i)]
    }
    /// Writes the register of ST(i) and leaves its tag.
    pub(super) fn put_st(&mut self, i: u8, value: F80) {
        self.registers[self.index(i)] = value;
    }
    /// Writes the control word; bit 6 reads as one. Recomputes ES.
    pub(super) fn set_control(&mut self, value: u16) {
        self.control = value & 0x1f7f | 0x40;
        self.summarize();
    }
    /// Writes the status word. ES and B follow from the exceptions and their masks.
    pub(super) fn set_status(&mut self, value: u16) {
        self.status = value;
        self.summarize();
    }
    fn summarize(&mut self) {
        self.status &= !0x8080;
        if self.status & !self.control & 0x3f != 0 {
            self.status |= 0x8080;
        }
    }
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

/// The operation of an x87 form.
pub(super) fn run(_code: Code) -> Option<fn(&mut X87, &Operands) -> Result<Effect, Trap>> {
    None
}

/// Whether the only operand of a mnemonic is loaded.
pub(super) fn loads(_m: Mnemonic) -> bool {
    false
}
