//! Floating-point operations on one element under MXCSR. SDM volume 1 §11.5 and appendix E.
use std::cmp::Ordering;

use super::{Trap, Vectors};
use crate::softfloat::{
    self as soft, Class, DOUBLE, DOWN, Format, NEAREST, Num, OX, SINGLE, TO_ZERO, UP, XX, ZX,
};

/// Exception flags of MXCSR, in the order of the x87 status word; the masks are 7 bits further.
pub(in crate::x86_64) const IE: u32 = 1;
pub(in crate::x86_64) const DE: u32 = 2;
pub(in crate::x86_64) const ZE: u32 = 4;
pub(in crate::x86_64) const OE: u32 = 8;
pub(in crate::x86_64) const UE: u32 = 0x10;
pub(in crate::x86_64) const PE: u32 = 0x20;
const DAZ: u32 = 0x40;
const MASKS: u32 = 0x1f80;
const RC: u32 = 0x6000;
const FTZ: u32 = 0x8000;

/// The rounding control field as a mode of [`soft`].
pub(in crate::x86_64) fn rounding(rc: u32) -> u8 {
    match rc & 3 {
        0 => NEAREST,
        1 => DOWN,
        2 => UP,
        _ => TO_ZERO,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
}

/// Exceptions that an instruction gathers.
pub(super) struct Env {
    mxcsr: u32,
    rm: u8,
    /// Found before the computation: invalid, denormal, division by zero.
    before: u32,
    /// Found after it: overflow, underflow, inexact.
    after: u32,
    quiet_denormals: bool,
}

impl Format {
    /// The sign bit of a format of at most 64 bits.
    #[inline(always)]
    fn sign(self) -> u64 {
        (2 * self.bias as u64 + 2) << self.frac
    }
    #[inline(always)]
    fn mask(self) -> u64 {
        self.sign() | (self.sign() - 1)
    }
    fn negative(self, bits: u64) -> bool {
        bits & self.sign() != 0
    }
    /// The NaN of invalid operations.
    pub(super) fn indefinite(self) -> u64 {
        let exponent_and_quiet = !0 << (self.frac - 1);
        exponent_and_quiet & self.mask()
    }
    #[inline(always)]
    fn magnitude(self, bits: u64) -> u64 {
        bits & (self.mask() >> 1)
    }
    #[inline(always)]
    fn infinity(self) -> u64 {
        self.magnitude(!0 << self.frac)
    }
    #[inline(always)]
    pub(super) fn is_nan(self, bits: u64) -> bool {
        self.magnitude(bits) > self.infinity()
    }
    fn is_signalling(self, bits: u64) -> bool {
        self.is_nan(bits) && bits >> (self.frac - 1) & 1 == 0
    }
    fn is_denormal(self, bits: u64) -> bool {
        let m = self.magnitude(bits);
        m != 0 && m >> self.frac == 0
    }
    pub(super) fn quiet(self, bits: u64) -> u64 {
        bits | 1 << (self.frac - 1)
    }
}

/// Rounds to a format, and tells whether the result is tiny, which x86 detects after rounding. Flags are those of [`soft`]. If overflow
/// or underflow (`OE`, `UE`) is unmasked, the exponent wraps instead, and inexact means the significand.
pub(in crate::x86_64) fn round(n: &Num, f: Format, rm: u8, unmasked: u32) -> (soft::Out, bool) {
    let tiny = is_tiny(n, f, rm);
    let mut enabled = 0;
    if tiny && unmasked & UE != 0 {
        enabled |= soft::UE;
    }
    if unmasked & OE != 0 {
        enabled |= soft::OE;
    }
    (soft::round(n, f, rm, enabled), tiny)
}

/// Whether the value, rounded as if the exponent had no bounds, lies below the normal numbers.
pub(in crate::x86_64) fn is_tiny(n: &Num, f: Format, rm: u8) -> bool {
    if n.class != Class::Normal || n.exp >= 1 - f.bias {
        return false;
    }
    // Only the largest values below may round up to the least normal number.
    let near = Num { exp: 0, ..*n };
    let wide = Format {
        frac: f.frac,
        bias: 0x3fff,
    };
    let carried = soft::round(&near, wide, rm, 0).bits >> f.frac & 0x7fff == 0x4000;
    n.exp != -f.bias || !carried
}

impl Env {
    pub(super) fn new(v: &Vectors) -> Env {
        Env {
            mxcsr: v.mxcsr,
            rm: rounding(v.mxcsr >> 13),
            before: 0,
            after: 0,
            quiet_denormals: false,
        }
    }

    /// Rounds by an immediate's mode instead of that of MXCSR.
    pub(super) fn set_rounding(&mut self, rc: u8) {
        self.rm = rounding(rc.into());
    }

    pub(super) fn truncate(&mut self) {
        self.rm = TO_ZERO;
    }

    fn unmasked(&self) -> u32 {
        !(self.mxcsr >> 7) & 0x3f
    }

    /// Flags that MXCSR gets: an unmasked exception before the computation leaves it undone.
    fn flags(&self) -> u32 {
        if self.before & self.unmasked() != 0 {
            self.before
        } else {
            self.before | self.after
        }
    }

    /// Sets the flags of MXCSR.
    ///
    /// # Errors
    /// An unmasked exception: the destination stays.
    pub(super) fn finish(&self, v: &mut Vectors) -> Result<(), Trap> {
        let flags = self.flags();
        v.mxcsr |= flags;
        if flags & self.unmasked() != 0 {
            Err(Trap::SimdFloat)
        } else {
            Ok(())
        }
    }

    /// Denormal operands count as they are and raise nothing.
    pub(super) fn keep_denormals(&mut self) {
        self.mxcsr &= !DAZ;
        self.quiet_denormals = true;
    }

    /// Tiny results are not flushed to zero.
    pub(super) fn keep_tiny(&mut self) {
        self.mxcsr &= !FTZ;
    }

    pub(super) fn forget_inexact(&mut self) {
        self.after &= !PE;
    }

    /// An operand with denormals made zero if MXCSR asks for it.
    fn flush(&self, bits: u64, f: Format) -> u64 {
        if self.mxcsr & DAZ != 0 && f.is_denormal(bits) {
            bits & f.sign()
        } else {
            bits
        }
    }

    /// The NaN that an operation on these operands gives, if one is a NaN: the first of them.
    fn nan(&mut self, operands: &[u64], f: Format) -> Option<u64> {
        let first = operands.iter().find(|x| f.is_nan(**x))?;
        if operands.iter().any(|x| f.is_signalling(*x)) {
            self.before |= IE;
        }
        Some(f.quiet(*first))
    }

    fn denormals(&mut self, operands: &[u64], f: Format) {
        if !self.quiet_denormals && operands.iter().any(|x| f.is_denormal(*x)) {
            self.before |= DE;
        }
    }

    fn invalid(&mut self, f: Format) -> u64 {
        self.before |= IE;
        f.indefinite()
    }

    fn round(&mut self, n: &Num, f: Format) -> u64 {
        let (out, tiny) = round(n, f, self.rm, self.unmasked());
        if out.flags & XX != 0 {
            self.after |= PE;
        }
        if out.flags & OX != 0 {
            self.after |= OE;
        }
        if tiny {
            let masked = self.unmasked() & UE == 0;
            if masked && self.mxcsr & FTZ != 0 {
                self.after |= UE | PE;
                return out.bits as u64 & f.sign();
            }
            if !masked || out.fi {
                self.after |= UE;
            }
        }
        out.bits as u64
    }

    /// a op b.
    #[inline]
    pub(super) fn binary(&mut self, op: Op, f: Format, a: u64, b: u64) -> u64 {
        match self.on_host(op, f, a, b) {
            Some(r) => r,
            None => self.binary_soft(op, f, a, b),
        }
    }

    fn binary_soft(&mut self, op: Op, f: Format, a: u64, b: u64) -> u64 {
        let (a, b) = (self.flush(a, f), self.flush(b, f));
        if matches!(op, Op::Min | Op::Max) {
            return self.min_max(op, f, a, b);
        }
        if let Some(r) = self.nan(&[a, b], f) {
            return r;
        }
        let (x, y) = (Num::unpack(a.into(), f), Num::unpack(b.into(), f));
        let (n, flags) = match op {
            Op::Add => soft::add(&x, &y, self.rm),
            Op::Sub => {
                let minus = Num { sign: !y.sign, ..y };
                soft::add(&x, &minus, self.rm)
            }
            Op::Mul => soft::mul(&x, &y),
            _ => soft::div(&x, &y),
        };
        if n.is_nan() {
            return self.invalid(f);
        }
        if flags & ZX != 0 {
            self.before |= ZE;
        } else {
            self.denormals(&[a, b], f);
        }
        self.round(&n, f)
    }

    /// The host's result where it is known to be exact to IEEE and to leave MXCSR as it is: nearest-even, all exceptions masked, the
    /// inexact flag set already, and no operand or result near the ends of the range.
    #[inline(always)]
    fn on_host(&self, op: Op, f: Format, a: u64, b: u64) -> Option<u64> {
        if self.rm != NEAREST || self.mxcsr & (MASKS | RC | DAZ | FTZ | PE) != MASKS | PE {
            return None;
        }
        let usual = |x: u64| {
            let exponent = f.magnitude(x) >> f.frac;
            exponent > 1 && exponent < f.infinity() >> f.frac
        };
        let operand = |x: u64| usual(x) || f.magnitude(x) == 0;
        if !operand(a) || !operand(b) || (op == Op::Div && f.magnitude(b) == 0) {
            return None;
        }
        macro_rules! compute {
            ($x:expr, $y:expr) => {
                match op {
                    Op::Add => $x + $y,
                    Op::Sub => $x - $y,
                    Op::Mul => $x * $y,
                    Op::Div => $x / $y,
                    Op::Min => {
                        if $x < $y {
                            $x
                        } else {
                            $y
                        }
                    }
                    Op::Max => {
                        if $x > $y {
                            $x
                        } else {
                            $y
                        }
                    }
                }
            };
        }
        let r = if f == DOUBLE {
            compute!(f64::from_bits(a), f64::from_bits(b)).to_bits()
        } else if f == SINGLE {
            let r = compute!(f32::from_bits(a as u32), f32::from_bits(b as u32));
            r.to_bits().into()
        } else {
            return None;
        };
        // A zero from a product or quotient of others may be an underflow.
        let exact_zero = f.magnitude(r) == 0 && !matches!(op, Op::Mul | Op::Div);
        (usual(r) || exact_zero).then_some(r)
    }

    fn min_max(&mut self, op: Op, f: Format, a: u64, b: u64) -> u64 {
        if f.is_nan(a) || f.is_nan(b) {
            self.before |= IE;
            return b;
        }
        self.denormals(&[a, b], f);
        let wanted = if op == Op::Min {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        let order = soft::compare(&Num::unpack(a.into(), f), &Num::unpack(b.into(), f));
        if order == wanted { a } else { b }
    }

    /// How `a` relates to `b`; `None` if unordered. `signalling`: invalid for quiet NaNs also.
    pub(super) fn compare(
        &mut self,
        f: Format,
        a: u64,
        b: u64,
        signalling: bool,
    ) -> Option<Ordering> {
        let (a, b) = (self.flush(a, f), self.flush(b, f));
        if f.is_nan(a) || f.is_nan(b) {
            if signalling || f.is_signalling(a) || f.is_signalling(b) {
                self.before |= IE;
            }
            return None;
        }
        self.denormals(&[a, b], f);
        Some(soft::compare(
            &Num::unpack(a.into(), f),
            &Num::unpack(b.into(), f),
        ))
    }

    pub(super) fn sqrt(&mut self, f: Format, b: u64) -> u64 {
        let b = self.flush(b, f);
        if let Some(r) = self.nan(&[b], f) {
            return r;
        }
        let (n, _) = soft::sqrt(&Num::unpack(b.into(), f));
        if n.is_nan() {
            return self.invalid(f);
        }
        self.denormals(&[b], f);
        self.round(&n, f)
    }

    /// x * y + z, with x or z negated; a NaN result is the first NaN of `order`.
    pub(super) fn multiply_add(
        &mut self,
        f: Format,
        [x, y, z]: [u64; 3],
        order: [usize; 3],
        (minus_product, minus_z): (bool, bool),
    ) -> u64 {
        let v = [x, y, z].map(|b| self.flush(b, f));
        if let Some(r) = self.nan(&order.map(|i| v[i % 3]), f) {
            return r;
        }
        let [mut x, y, mut z] = v.map(|b| Num::unpack(b.into(), f));
        x.sign ^= minus_product;
        z.sign ^= minus_z;
        let (n, _) = soft::fma(&x, &y, &z, self.rm);
        if n.is_nan() {
            return self.invalid(f);
        }
        self.denormals(&v, f);
        self.round(&n, f)
    }

    /// From one format to another.
    pub(super) fn convert(&mut self, from: Format, to: Format, b: u64) -> u64 {
        let b = self.flush(b, from);
        let n = Num::unpack(b.into(), from);
        if n.is_nan() {
            if n.is_snan() {
                self.before |= IE;
            }
            return soft::round(&n.quiet(), to, NEAREST, 0).bits as u64;
        }
        self.denormals(&[b], from);
        self.round(&n, to)
    }

    /// To a signed integer of `bits` bits; what does not fit becomes the integer indefinite value.
    pub(super) fn integer(&mut self, f: Format, b: u64, bits: u32) -> u64 {
        let b = self.flush(b, f);
        let n = Num::unpack(b.into(), f);
        let indefinite = 1_u64 << (bits - 1);
        let (magnitude, _, inexact) = match n.class {
            Class::Nan | Class::Inf => (None, false, false),
            _ => soft::to_integer(&n, self.rm),
        };
        let limit = u128::from(indefinite) - u128::from(!n.sign);
        match magnitude {
            Some(m) if m <= limit => {
                if inexact {
                    self.after |= PE;
                }
                let m = m as u64;
                let value = if n.sign { m.wrapping_neg() } else { m };
                value & (indefinite << 1).wrapping_sub(1)
            }
            _ => {
                self.before |= IE;
                indefinite
            }
        }
    }

    /// From a signed integer.
    pub(super) fn float(&mut self, f: Format, x: i64) -> u64 {
        self.round(&Num::integer(x < 0, x.unsigned_abs().into()), f)
    }

    /// To an integer in the same format.
    pub(super) fn round_to_integer(&mut self, f: Format, b: u64) -> u64 {
        let b = self.flush(b, f);
        if let Some(r) = self.nan(&[b], f) {
            return r;
        }
        let n = Num::unpack(b.into(), f);
        if n.class != Class::Normal || n.exp >= f.frac as i32 {
            return b;
        }
        let (magnitude, _, inexact) = soft::to_integer(&n, self.rm);
        if inexact {
            self.after |= PE;
        }
        let whole = Num::integer(f.negative(b), magnitude.unwrap_or(0));
        soft::round(&whole, f, NEAREST, 0).bits as u64
    }
}
