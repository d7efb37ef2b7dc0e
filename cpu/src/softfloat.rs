//! Binary floating point with exact intermediate results, shared by the front ends. Power ISA 3.0B Book I §4.3, §4.4 and §4.5.
//!
//! An operation gives an exact value (or one whose last significand bit stands for "more follows"), and [`round`] makes it a result of
//! one format. Flags tell what happened. They stand as in the FPSCR of Power ISA 3.0B Book I §4.2.2, which tells more causes of an
//! invalid operation apart than other architectures do.

/// Overflow, underflow, division by zero, inexact.
pub(crate) const OX: u32 = 0x1000_0000;
pub(crate) const UX: u32 = 0x0800_0000;
pub(crate) const ZX: u32 = 0x0400_0000;
pub(crate) const XX: u32 = 0x0200_0000;
/// Invalid operation: signalling NaN, inf - inf, inf / inf, 0 / 0, inf * 0, square root.
pub(crate) const VXSNAN: u32 = 0x0100_0000;
pub(crate) const VXISI: u32 = 0x0080_0000;
pub(crate) const VXIDI: u32 = 0x0040_0000;
pub(crate) const VXZDZ: u32 = 0x0020_0000;
pub(crate) const VXIMZ: u32 = 0x0010_0000;
pub(crate) const VXSQRT: u32 = 0x200;
/// Enabled overflow and underflow: the exponent wraps.
pub(crate) const OE: u32 = 0x40;
pub(crate) const UE: u32 = 0x20;

/// A binary format: stored fraction bits and exponent bias.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Format {
    pub frac: u32,
    pub bias: i32,
}
pub(crate) const HALF: Format = Format { frac: 10, bias: 15 };
pub(crate) const SINGLE: Format = Format {
    frac: 23,
    bias: 127,
};
pub(crate) const DOUBLE: Format = Format {
    frac: 52,
    bias: 1023,
};
pub(crate) const QUAD: Format = Format {
    frac: 112,
    bias: 16383,
};

impl Format {
    fn exp_max(self) -> u128 {
        (2 * self.bias + 1) as u128
    }
    /// Bit of the sign.
    pub(crate) fn sign_bit(self) -> u128 {
        (self.exp_max() + 1) << self.frac
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Class {
    Zero,
    Normal,
    Inf,
    Nan,
}

/// A value: `sig` has its top bit set and counts as `sig / 2^127 * 2^exp`; of a NaN it is the fraction below that bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Num {
    pub class: Class,
    pub sign: bool,
    pub exp: i32,
    pub sig: u128,
}

const TOP: u128 = 1 << 127;
const QUIET: u128 = 1 << 126;

/// Rounding modes: FPSCR\[RN\], then nearest with ties away, and to odd.
pub(crate) const NEAREST: u8 = 0;
pub(crate) const TO_ZERO: u8 = 1;
pub(crate) const UP: u8 = 2;
pub(crate) const DOWN: u8 = 3;
pub(crate) const AWAY: u8 = 4;
pub(crate) const ODD: u8 = 5;

impl Num {
    pub(crate) fn zero(sign: bool) -> Num {
        Num {
            class: Class::Zero,
            sign,
            exp: 0,
            sig: 0,
        }
    }
    pub(crate) fn inf(sign: bool) -> Num {
        Num {
            class: Class::Inf,
            ..Num::zero(sign)
        }
    }
    pub(crate) fn nan() -> Num {
        Num {
            class: Class::Nan,
            sign: false,
            exp: 0,
            sig: QUIET,
        }
    }
    pub(crate) fn is_nan(&self) -> bool {
        self.class == Class::Nan
    }
    pub(crate) fn is_snan(&self) -> bool {
        self.is_nan() && self.sig & QUIET == 0
    }
    pub(crate) fn quiet(mut self) -> Num {
        self.sig |= QUIET;
        self
    }
    /// The integer `mag` with a sign.
    pub(crate) fn integer(sign: bool, mag: u128) -> Num {
        normal(sign, 127, mag)
    }
    pub(crate) fn unpack(bits: u128, f: Format) -> Num {
        let sign = bits & f.sign_bit() != 0;
        let exp = bits >> f.frac & f.exp_max();
        let frac = bits & ((1 << f.frac) - 1);
        let sig = frac << (127 - f.frac);
        if exp == f.exp_max() {
            let class = if frac == 0 { Class::Inf } else { Class::Nan };
            Num {
                class,
                sign,
                exp: 0,
                sig,
            }
        } else if exp == 0 {
            normal(sign, 1 - f.bias, sig)
        } else {
            normal(sign, exp as i32 - f.bias, sig | TOP)
        }
    }
}

/// Normalises `sig / 2^127 * 2^exp`.
fn normal(sign: bool, exp: i32, sig: u128) -> Num {
    if sig == 0 {
        return Num::zero(sign);
    }
    let n = sig.leading_zeros();
    Num {
        class: Class::Normal,
        sign,
        exp: exp - n as i32,
        sig: sig << n,
    }
}

/// Shifts right; bits lost are gathered in the last one.
fn jam(sig: u128, n: u32) -> u128 {
    match n {
        0 => sig,
        1..=127 => sig >> n | u128::from(sig << (128 - n) != 0),
        _ => u128::from(sig != 0),
    }
}

/// A rounded result and what happened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Out {
    pub bits: u128,
    /// FPSCR exception bits.
    pub flags: u32,
    /// Fraction incremented.
    pub fr: bool,
    /// Inexact.
    pub fi: bool,
    /// A single whose exponent an enabled exception has adjusted, in double format: it may not fit the other.
    pub adjusted: Option<u64>,
}

fn increment(rm: u8, sign: bool, odd: bool, half: bool, rest: bool) -> bool {
    match rm {
        NEAREST => half && (rest || odd),
        AWAY => half,
        UP => !sign && (half || rest),
        DOWN => sign && (half || rest),
        _ => false,
    }
}

/// Rounds to a format; `fpscr` gives the enable bits that wrap the exponent.
pub(crate) fn round(n: &Num, f: Format, rm: u8, fpscr: u32) -> Out {
    let mut out = Out::default();
    let sign = if n.sign { f.sign_bit() } else { 0 };
    let inf = f.exp_max() << f.frac;
    match n.class {
        Class::Zero => out.bits = sign,
        Class::Inf => out.bits = sign | inf,
        Class::Nan => {
            let frac = (n.sig & !TOP) >> (127 - f.frac);
            out.bits = sign | inf | frac;
        }
        Class::Normal => round_normal(n, f, rm, fpscr, &mut out),
    }
    out
}

fn round_normal(n: &Num, f: Format, rm: u8, fpscr: u32, out: &mut Out) {
    let sign = if n.sign { f.sign_bit() } else { 0 };
    let (mut exp, mut sig) = (n.exp, n.sig);
    // 192, 1536 and 24576.
    let adjust = (f.bias + 1) / 2 * 3;
    let min = 1 - f.bias;
    let tiny = exp < min;
    let mut adjusted = false;
    if tiny {
        if fpscr & UE != 0 {
            exp += adjust;
            adjusted = true;
            out.flags |= UX;
        } else {
            sig = jam(sig, (min - exp) as u32);
            exp = min;
        }
    }
    let drop = 127 - f.frac;
    let mut frac = sig >> drop;
    let half = sig >> (drop - 1) & 1 == 1;
    let rest = sig & ((1 << (drop - 1)) - 1) != 0;
    out.fi = half || rest;
    out.fr = increment(rm, n.sign, frac & 1 == 1, half, rest);
    if rm == ODD && out.fi {
        frac |= 1;
    }
    frac += u128::from(out.fr);
    if frac >> (f.frac + 1) != 0 {
        frac >>= 1;
        exp += 1;
    }
    if out.fi {
        out.flags |= XX;
        if tiny {
            out.flags |= UX;
        }
    }
    if exp > f.bias {
        out.flags |= OX;
        if fpscr & OE != 0 {
            exp -= adjust;
            adjusted = true;
        } else {
            out.flags |= XX;
            out.fi = true;
            let to_inf = match rm {
                NEAREST | AWAY => true,
                UP => !n.sign,
                DOWN => n.sign,
                _ => false,
            };
            out.fr = to_inf;
            let inf = f.exp_max() << f.frac;
            out.bits = sign | if to_inf { inf } else { inf - 1 };
            return;
        }
    }
    let fraction = frac & ((1 << f.frac) - 1);
    let biased = if frac >> f.frac == 0 {
        0
    } else {
        (exp + f.bias) as u32 as u128 & f.exp_max()
    };
    out.bits = sign | biased << f.frac | fraction;
    if adjusted && f == SINGLE {
        let biased = (exp + DOUBLE.bias) as u64 & 0x7ff;
        out.adjusted = Some(u64::from(n.sign) << 63 | biased << 52 | (fraction as u64) << 29);
    }
}

/// The NaN that the operands give, in priority order, with VXSNAN.
fn nan_operand(operands: &[&Num]) -> Option<(Num, u32)> {
    let first = operands.iter().find(|n| n.is_nan())?;
    let snan = operands.iter().any(|n| n.is_snan());
    Some((first.quiet(), if snan { VXSNAN } else { 0 }))
}

/// a + b, where an exact zero of unlike signs takes its sign from `rm`.
pub(crate) fn add(a: &Num, b: &Num, rm: u8) -> (Num, u32) {
    if let Some(r) = nan_operand(&[a, b]) {
        return r;
    }
    match (a.class, b.class) {
        (Class::Inf, Class::Inf) if a.sign != b.sign => (Num::nan(), VXISI),
        (Class::Inf, _) => (*a, 0),
        (_, Class::Inf) => (*b, 0),
        (Class::Zero, Class::Zero) if a.sign != b.sign => (Num::zero(rm == DOWN), 0),
        (_, Class::Zero) => (*a, 0),
        (Class::Zero, _) => (*b, 0),
        _ => (add_wide(a, (a.sig, 0), b, (b.sig, 0), rm), 0),
    }
}

/// Sum of two normal values with 256-bit significands (high, low).
fn add_wide(a: &Num, x: (u128, u128), b: &Num, y: (u128, u128), rm: u8) -> Num {
    let (mut big, mut bs, mut small, mut ss) = (a, x, b, y);
    if (b.exp, y) > (a.exp, x) {
        (big, bs, small, ss) = (b, y, a, x);
    }
    // One bit of room for the carry; the last bit of a product or an operand is never significant.
    let shr1 = |v: (u128, u128)| (v.0 >> 1, v.0 << 127 | v.1 >> 1 | v.1 & 1);
    bs = shr1(bs);
    ss = shr1(ss);
    let n = (big.exp - small.exp) as u32;
    ss = match n {
        0 => ss,
        1..=127 => (ss.0 >> n, ss.0 << (128 - n) | jam(ss.1, n)),
        128..=255 => (0, jam(ss.0, n - 128) | u128::from(ss.1 != 0)),
        _ => (0, 1),
    };
    let (low, high) = if big.sign == small.sign {
        let (low, carry) = bs.1.overflowing_add(ss.1);
        (low, bs.0 + ss.0 + u128::from(carry))
    } else {
        let (low, borrow) = bs.1.overflowing_sub(ss.1);
        (low, bs.0 - ss.0 - u128::from(borrow))
    };
    if high == 0 && low == 0 {
        return Num::zero(rm == DOWN);
    }
    squeeze(big.sign, big.exp + 1, high, low)
}

/// Normalises a 256-bit significand to 128 bits.
fn squeeze(sign: bool, exp: i32, high: u128, low: u128) -> Num {
    if high == 0 {
        return normal(sign, exp - 128, low);
    }
    let n = high.leading_zeros();
    let (sig, rest) = if n == 0 {
        (high, low)
    } else {
        (high << n | low >> (128 - n), low << n)
    };
    normal(sign, exp - n as i32, sig | u128::from(rest != 0))
}

/// The 256-bit product: high and low half.
pub(crate) fn wide_mul(a: u128, b: u128) -> (u128, u128) {
    let mask = u128::from(u64::MAX);
    let (ah, al, bh, bl) = (a >> 64, a & mask, b >> 64, b & mask);
    let low = al * bl;
    let mid = ah * bl + (low >> 64);
    let mid2 = al * bh + (mid & mask);
    (
        ah * bh + (mid >> 64) + (mid2 >> 64),
        mid2 << 64 | low & mask,
    )
}

/// Product of two numbers that are not NaN.
fn product(a: &Num, b: &Num) -> Result<(Num, u128, u128), Num> {
    let sign = a.sign != b.sign;
    match (a.class, b.class) {
        (Class::Inf, Class::Zero) | (Class::Zero, Class::Inf) => Err(Num::nan()),
        (Class::Inf, _) | (_, Class::Inf) => Err(Num::inf(sign)),
        (Class::Zero, _) | (_, Class::Zero) => Err(Num::zero(sign)),
        _ => {
            let (mut high, mut low) = wide_mul(a.sig, b.sig);
            let mut exp = a.exp + b.exp + 1;
            if high >> 127 == 0 {
                (high, low) = (high << 1 | low >> 127, low << 1);
                exp -= 1;
            }
            Ok((normal(sign, exp, high), high, low))
        }
    }
}

pub(crate) fn mul(a: &Num, b: &Num) -> (Num, u32) {
    if let Some(r) = nan_operand(&[a, b]) {
        return r;
    }
    match product(a, b) {
        Ok((n, high, low)) => (squeeze(n.sign, n.exp, high, low), 0),
        Err(n) if n.is_nan() => (n, VXIMZ),
        Err(n) => (n, 0),
    }
}

/// a * c + b.
pub(crate) fn fma(a: &Num, c: &Num, b: &Num, rm: u8) -> (Num, u32) {
    let imz = matches!(
        (a.class, c.class),
        (Class::Inf, Class::Zero) | (Class::Zero, Class::Inf)
    );
    if let Some((n, flags)) = nan_operand(&[a, b, c]) {
        return (n, flags | if imz { VXIMZ } else { 0 });
    }
    match product(a, c) {
        Err(n) if n.is_nan() => (n, VXIMZ),
        Err(n) => add(&n, b, rm),
        Ok((n, high, low)) => match b.class {
            Class::Normal => (add_wide(&n, (high, low), b, (b.sig, 0), rm), 0),
            Class::Zero => (squeeze(n.sign, n.exp, high, low), 0),
            _ => (*b, 0),
        },
    }
}

pub(crate) fn div(a: &Num, b: &Num) -> (Num, u32) {
    if let Some(r) = nan_operand(&[a, b]) {
        return r;
    }
    let sign = a.sign != b.sign;
    match (a.class, b.class) {
        (Class::Inf, Class::Inf) => (Num::nan(), VXIDI),
        (Class::Zero, Class::Zero) => (Num::nan(), VXZDZ),
        (Class::Inf, _) => (Num::inf(sign), 0),
        (_, Class::Inf) | (Class::Zero, _) => (Num::zero(sign), 0),
        (_, Class::Zero) => (Num::inf(sign), ZX),
        _ => {
            // Long division; the significands leave their last bit unused, so the remainder fits.
            let (mut rem, d) = (a.sig >> 1, b.sig >> 1);
            let mut q = 0_u128;
            for _ in 0..127 {
                q <<= 1;
                if rem >= d {
                    rem -= d;
                    q |= 1;
                }
                rem <<= 1;
            }
            let q = q << 1 | u128::from(rem != 0);
            (normal(sign, a.exp - b.exp, q), 0)
        }
    }
}

pub(crate) fn sqrt(b: &Num) -> (Num, u32) {
    if let Some(r) = nan_operand(&[b]) {
        return r;
    }
    match b.class {
        Class::Zero => (*b, 0),
        _ if b.sign => (Num::nan(), VXSQRT),
        Class::Inf => (*b, 0),
        _ => {
            // sig / 2^127 for even exponents, twice that for odd ones, as a 2.126 fixed-point number.
            let mut x = if b.exp & 1 == 0 { b.sig >> 1 } else { b.sig };
            let (mut rem, mut root) = (0_u128, 0_u128);
            // The last significand bit is 0, and 118 bits of root are enough for quad precision.
            for _ in 0..118 {
                rem = rem << 2 | x >> 126;
                x <<= 2;
                let trial = root << 2 | 1;
                root <<= 1;
                if rem >= trial {
                    rem -= trial;
                    root |= 1;
                }
            }
            let sig = root << 10 | u128::from(rem != 0);
            (normal(false, b.exp >> 1, sig), 0)
        }
    }
}

/// Rounds to an integer: (magnitude or `None` from 2^127 on, incremented, inexact).
pub(crate) fn to_integer(n: &Num, rm: u8) -> (Option<u128>, bool, bool) {
    if n.class != Class::Normal {
        return (Some(0), false, false);
    }
    if n.exp >= 127 {
        return (None, false, false);
    }
    let (int, half, rest) = if n.exp >= 0 {
        let drop = (127 - n.exp) as u32;
        let half = n.sig >> (drop - 1) & 1 == 1;
        (n.sig >> drop, half, n.sig & ((1 << (drop - 1)) - 1) != 0)
    } else {
        let half = n.exp == -1;
        (0, half, !half || n.sig != TOP)
    };
    let up = increment(rm, n.sign, int & 1 == 1, half, rest);
    (Some(int + u128::from(up)), up, half || rest)
}

/// Compares two numbers that are not NaN.
pub(crate) fn compare(a: &Num, b: &Num) -> std::cmp::Ordering {
    let key = |n: &Num| match n.class {
        Class::Zero => (0, 0, 0),
        Class::Inf => (2, 0, 0),
        _ => (1, n.exp, n.sig),
    };
    let zero = |n: &Num| n.class == Class::Zero;
    match (a.sign && !zero(a), b.sign && !zero(b)) {
        (false, false) => key(a).cmp(&key(b)),
        (true, true) => key(b).cmp(&key(a)),
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
    }
}
