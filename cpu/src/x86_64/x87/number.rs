//! The double extended format. SDM volume 1 §4.2.2 and §8.2.
use crate::softfloat::{self as soft, Class, DOUBLE, Format, NEAREST, Num, SINGLE};

/// Significand of 64 bits, exponent of 15.
pub(super) const EXTENDED: Format = Format {
    frac: 63,
    bias: 16383,
};
const INTEGER: u64 = 1 << 63;
const QUIET: u64 = 1 << 62;

/// A number in double extended format: sign, 15 exponent bits, and a significand with its integer bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct F80 {
    /// Sign in bit 15, biased exponent below.
    pub head: u16,
    /// Significand.
    pub mantissa: u64,
}

/// The NaN of invalid operations.
pub(super) const INDEFINITE: F80 = F80 {
    head: 0xffff,
    mantissa: INTEGER | QUIET,
};
pub(super) const ONE: F80 = F80 {
    head: 0x3fff,
    mantissa: INTEGER,
};

impl F80 {
    pub(super) fn zero(negative: bool) -> F80 {
        F80 {
            head: u16::from(negative) << 15,
            mantissa: 0,
        }
    }
    pub(super) fn infinity(negative: bool) -> F80 {
        F80 {
            head: 0x7fff | u16::from(negative) << 15,
            mantissa: INTEGER,
        }
    }
    pub(super) fn exponent(self) -> u16 {
        self.head & 0x7fff
    }
    pub(super) fn is_negative(self) -> bool {
        self.head & 0x8000 != 0
    }
    /// Encodings that no operation gives: a number, infinity or NaN without its integer bit.
    pub(super) fn is_unsupported(self) -> bool {
        self.exponent() != 0 && self.mantissa & INTEGER == 0
    }
    pub(super) fn is_nan(self) -> bool {
        self.exponent() == 0x7fff && self.mantissa > INTEGER
    }
    pub(super) fn is_signalling(self) -> bool {
        self.is_nan() && self.mantissa & QUIET == 0
    }
    pub(super) fn is_infinity(self) -> bool {
        self.exponent() == 0x7fff && self.mantissa == INTEGER
    }
    pub(super) fn is_zero(self) -> bool {
        self.exponent() == 0 && self.mantissa == 0
    }
    /// Also a pseudo-denormal.
    pub(super) fn is_denormal(self) -> bool {
        self.exponent() == 0 && self.mantissa != 0
    }
    pub(super) fn quiet(self) -> F80 {
        F80 {
            mantissa: self.mantissa | QUIET,
            ..self
        }
    }

    /// The value; a NaN keeps its fraction. Unsupported encodings must be sorted out before.
    pub(super) fn num(self) -> Num {
        let fraction = u128::from(self.mantissa & !INTEGER);
        if self.exponent() == 0 && self.mantissa & INTEGER != 0 {
            let bits = u128::from(self.head >> 15) << 78 | 1 << 63 | fraction;
            return Num::unpack(bits, EXTENDED);
        }
        Num::unpack(u128::from(self.head) << 63 | fraction, EXTENDED)
    }

    /// From the bits of a format with 15 exponent bits and at most 63 of fraction.
    pub(super) fn from_format(bits: u128, f: Format) -> F80 {
        let head = (bits >> f.frac) as u16;
        let fraction = (bits & ((1 << f.frac) - 1)) as u64;
        let integer = if head & 0x7fff != 0 { INTEGER } else { 0 };
        F80 {
            head,
            mantissa: integer | fraction << (63 - f.frac),
        }
    }

    /// A value that the format holds exactly, or a NaN.
    pub(super) fn exact(n: &Num) -> F80 {
        F80::from_format(soft::round(n, EXTENDED, NEAREST, 0).bits, EXTENDED)
    }

    /// From an integer.
    pub(super) fn integer(x: i64) -> F80 {
        F80::exact(&Num::integer(x < 0, x.unsigned_abs().into()))
    }

    /// From a single or double, and whether that is a denormal number. A signalling NaN stays so.
    pub(super) fn from_bits(bits: u64, f: Format) -> (F80, bool) {
        debug_assert!(f == SINGLE || f == DOUBLE);
        let n = Num::unpack(bits.into(), f);
        let denormal = n.class == Class::Normal && n.exp < 1 - f.bias;
        (F80::exact(&n), denormal)
    }
}
