//! Parts of the state, and what the entries of the list do with them.

use super::Case;
use crate::record::Record;

pub const VE: u64 = 0x80;
pub const FR: u64 = 0x0004_0000;
pub const FPRF: u64 = 0x0001_f000;
/// The bit of FPRF that tells denormalised numbers from normal ones.
pub const C: u64 = 0x0001_0000;
pub const FX: u64 = 0x8000_0000;
pub const SUMMARY: u64 = 0x6000_0000;
pub const OX: u64 = 0x1000_0000;
pub const UX: u64 = 0x0800_0000;
pub const ZX: u64 = 0x0400_0000;
pub const XX: u64 = 0x0200_0000;
pub const FI: u64 = 0x0002_0000;
pub const VXSNAN: u64 = 0x0100_0000;
pub const VXIMZ: u64 = 0x0010_0000;
pub const VXVC: u64 = 0x0008_0000;
pub const INVALID: u64 = 0x01f8_0700;
pub const STICKY: u64 = OX | UX | ZX | XX | INVALID;
pub const SIGFPE: u64 = 8;

impl Case<'_> {
    pub fn field(&self, shift: u32) -> usize {
        (self.word >> shift & 31) as usize
    }
    /// Number of the VSR that is the target of a VSX form.
    pub fn xt(&self) -> usize {
        self.field(21) | ((self.word & 1) << 5) as usize
    }
    pub fn xa(&self) -> u128 {
        self.before.vsr[self.field(16) | ((self.word >> 2 & 1) << 5) as usize]
    }
    pub fn xb(&self) -> u128 {
        self.before.vsr[self.field(11) | ((self.word >> 1 & 1) << 5) as usize]
    }
    /// Number of the VSR that is the target of any form.
    pub fn target(&self) -> usize {
        match self.word >> 26 {
            4 => 32 + self.field(21),
            31 | 60 => self.xt(),
            _ => self.field(21),
        }
    }
    pub fn enabled(&self, bits: u64) -> bool {
        self.before.fpscr & bits != 0
    }
    pub fn is_vector(&self) -> bool {
        self.mnemonic.starts_with("xv")
    }
    /// Words or doublewords of a vector form's operands.
    pub fn is_single(&self) -> bool {
        self.mnemonic.ends_with("sp") || self.mnemonic.ends_with('s') && !self.is_vector()
    }
}

pub fn copy(mask: u64, from: u64, to: &mut u64) {
    *to = *to & !mask | from & mask;
}

pub fn copy_cr(field: usize, ours: &Record, theirs: &mut Record) {
    copy_cr_bits(0xf000_0000 >> (4 * field), ours, theirs);
}

pub fn copy_cr_bits(mask: u32, ours: &Record, theirs: &mut Record) {
    theirs.cr = theirs.cr & !mask | ours.cr & mask;
}

pub fn is_nan(bits: u64) -> bool {
    bits << 1 > 0xffe0_0000_0000_0000
}

pub fn is_snan(bits: u64) -> bool {
    is_nan(bits) && bits >> 51 & 1 == 0
}

/// Whether two numbers of one format have the same sign and differ by less than 2^-`bits` of themselves.
pub fn near(a: u64, b: u64, fraction: u32, width: u32, bits: u32) -> bool {
    let sign = 1 << (width - 1);
    a & sign == b & sign && (a & !sign).abs_diff(b & !sign) <= 1 << (fraction - bits)
}

/// Copies elements that are near.
pub fn copy_near(width: u32, scalar: bool, bits: u32, ours: u128, theirs: &mut u128) {
    let (count, fraction) = (128 / width, if width == 64 { 52 } else { 23 });
    for i in 0..if scalar { 1 } else { count } {
        let shift = (count - 1 - i) * width;
        let mask = u128::MAX >> (128 - width) << shift;
        let (a, b) = ((ours & mask) >> shift, (*theirs & mask) >> shift);
        if near(a as u64, b as u64, fraction, width, bits) {
            *theirs = *theirs & !mask | ours & mask;
        }
    }
}
