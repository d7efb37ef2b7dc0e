//! Decimal integers: packed, zoned and national. Power ISA 3.0B Book I §6.17.
//!
//! A packed decimal is 31 digits of four bits and a sign code in the last four. Every instruction reports in CR field 6: LT, GT or EQ for
//! the value (of the sum, and else of the operand), with SO for a result that does not fit; SO alone for an operand that is not a
//! decimal, where the ISA leaves the target undefined.
use super::fields::{build, el};
use super::{Facility, Run, VecCtx, VecOp};
use std::cmp::Ordering;

/// Most digits of a packed decimal.
const DIGITS: u32 = 31;
const LIMIT: u128 = 10_u128.pow(DIGITS);

const LT: u8 = 8;
const GT: u8 = 4;
const EQ: u8 = 2;
const SO: u8 = 1;

/// Digits as they stand, most significant first and right-aligned, and the sign.
#[derive(Clone, Copy)]
struct Packed {
    digits: u128,
    negative: bool,
}

/// Whether every four bits are at most nine.
fn all_digits(v: u128) -> bool {
    (0..32).all(|i| v >> (4 * i) & 15 <= 9)
}

impl Packed {
    fn read(v: u128) -> Option<Packed> {
        let negative = match v & 15 {
            0xb | 0xd => true,
            0xa | 0xc | 0xe | 0xf => false,
            _ => return None,
        };
        let digits = v >> 4;
        all_digits(digits).then_some(Packed { digits, negative })
    }

    /// With the preferred sign codes: 0xc or (with `ps`) 0xf, and 0xd.
    fn write(self, ps: bool) -> u128 {
        self.digits << 4
            | match (self.negative, ps) {
                (true, _) => 0xd,
                (false, false) => 0xc,
                (false, true) => 0xf,
            }
    }

    fn magnitude(self) -> u128 {
        (0..DIGITS)
            .rev()
            .fold(0, |n, i| n * 10 + (self.digits >> (4 * i) & 15))
    }

    /// The low 31 digits of a magnitude.
    fn of(mut magnitude: u128, negative: bool) -> Packed {
        let mut digits = 0;
        for i in 0..DIGITS {
            digits |= (magnitude % 10) << (4 * i);
            magnitude /= 10;
        }
        Packed { digits, negative }
    }

    fn code(self) -> u8 {
        sign_code(self.digits == 0, self.negative)
    }
}

fn sign_code(zero: bool, negative: bool) -> u8 {
    match (zero, negative) {
        (true, _) => EQ,
        (false, true) => LT,
        (false, false) => GT,
    }
}

/// PS: which code a positive result gets.
fn ps(c: &VecCtx) -> bool {
    c.insn >> 9 & 1 == 1
}

/// Writes the target and CR field 6; `None` is an operand that is not a decimal.
fn finish(c: &mut VecCtx, result: Option<(u128, u8, bool)>) -> Run {
    let (v, code) = match result {
        Some((v, code, overflow)) => (v, code | if overflow { SO } else { 0 }),
        None => (u128::MAX, SO),
    };
    c.set_cr(6, code);
    c.set_vrt(v)
}

/// Sum of two packed decimals; a zero sum is positive.
fn add(c: &mut VecCtx, negate: bool) -> Run {
    let ps = ps(c);
    let sum = |a: Packed, mut b: Packed| {
        b.negative ^= negate;
        let (x, y) = (a.magnitude(), b.magnitude());
        let (magnitude, negative) = if a.negative == b.negative {
            (x + y, a.negative)
        } else {
            match x.cmp(&y) {
                Ordering::Less => (y - x, b.negative),
                _ => (x - y, a.negative),
            }
        };
        let negative = negative && magnitude != 0;
        let code = sign_code(magnitude == 0, negative);
        (
            Packed::of(magnitude, negative).write(ps),
            code,
            magnitude >= LIMIT,
        )
    };
    let r = Packed::read(c.vra())
        .zip(Packed::read(c.vrb()))
        .map(|(a, b)| sum(a, b));
    finish(c, r)
}

fn from_national(c: &mut VecCtx) -> Run {
    let (b, ps) = (c.vrb(), ps(c));
    let negative = match el::<u16>(b, 7) {
        0x2b => Some(false),
        0x2d => Some(true),
        _ => None,
    };
    let digits = (0..7).try_fold(0_u128, |n, i| {
        let h = el::<u16>(b, i);
        (0x30..=0x39)
            .contains(&h)
            .then(|| n << 4 | u128::from(h & 15))
    });
    let r = digits.zip(negative).map(|(digits, negative)| {
        let p = Packed { digits, negative };
        (p.write(ps), p.code(), false)
    });
    finish(c, r)
}

fn to_national(c: &mut VecCtx) -> Run {
    let r = Packed::read(c.vrb()).map(|p| {
        let v = build(|i| match i {
            7 if p.negative => 0x2d,
            7 => 0x2b,
            _ => 0x30 | (p.digits >> (4 * (6 - i)) & 15) as u16,
        });
        (v, p.code(), p.digits >> 28 != 0)
    });
    finish(c, r)
}

fn from_zoned(c: &mut VecCtx) -> Run {
    let (b, ebcdic) = (c.vrb(), ps(c));
    let zone = if ebcdic { 0xf } else { 3 };
    let sign = el::<u8>(b, 15) >> 4;
    let good = (!ebcdic || sign >= 0xa) && (0..15).all(|i| el::<u8>(b, i) >> 4 == zone);
    let negative = if ebcdic {
        matches!(sign, 0xb | 0xd)
    } else {
        sign & 4 != 0
    };
    let digits = (0..16).fold(0_u128, |n, i| n << 4 | u128::from(el::<u8>(b, i) & 15));
    let p = Packed { digits, negative };
    let r = (good && all_digits(digits)).then(|| (p.write(false), p.code(), false));
    finish(c, r)
}

fn to_zoned(c: &mut VecCtx) -> Run {
    let ebcdic = ps(c);
    let r = Packed::read(c.vrb()).map(|p| {
        let zone = if ebcdic { 0xf0 } else { 0x30 };
        let last = match (ebcdic, p.negative) {
            (true, true) => 0xd0,
            (true, false) => 0xc0,
            (false, true) => 0x70,
            (false, false) => 0x30,
        };
        let v = build(|i| {
            let digit = (p.digits >> (4 * (15 - i)) & 15) as u8;
            digit | if i == 15 { last } else { zone }
        });
        (v, p.code(), p.digits >> 64 != 0)
    });
    finish(c, r)
}

fn from_quad(c: &mut VecCtx) -> Run {
    let (v, ps) = (c.vrb() as i128, ps(c));
    let p = Packed::of(v.unsigned_abs(), v < 0);
    finish(
        c,
        Some((
            p.write(ps),
            sign_code(v == 0, v < 0),
            v.unsigned_abs() >= LIMIT,
        )),
    )
}

fn to_quad(c: &mut VecCtx) -> Run {
    let r = Packed::read(c.vrb()).map(|p| {
        let v = p.magnitude();
        (
            if p.negative { v.wrapping_neg() } else { v },
            p.code(),
            false,
        )
    });
    finish(c, r)
}

/// The digits and the sign of two decimals.
fn copy_sign(c: &mut VecCtx) -> Run {
    let (a, b) = (c.vra(), c.vrb());
    let r = Packed::read(a).zip(Packed::read(b)).map(|(p, q)| {
        let negative = q.negative;
        (a & !15 | b & 15, Packed { negative, ..p }.code(), false)
    });
    finish(c, r)
}

fn set_sign(c: &mut VecCtx) -> Run {
    let ps = ps(c);
    let r = Packed::read(c.vrb()).map(|p| (p.write(ps), p.code(), false));
    finish(c, r)
}

/// `digits` moved left by `n` digits (right if negative) in a field of `width` digits, and whether a digit other than 0 was lost on
/// the left.
fn shift(digits: u128, n: i32, width: u32) -> (u128, bool) {
    let bits = n.unsigned_abs() * 4;
    if n < 0 {
        return (digits.checked_shr(bits).unwrap_or(0), false);
    }
    let field = u128::MAX >> (128 - 4 * width);
    let lost = digits
        .checked_shr((4 * width).saturating_sub(bits))
        .unwrap_or(0);
    let lost = if bits == 0 { 0 } else { lost };
    (digits.checked_shl(bits).unwrap_or(0) & field, lost != 0)
}

/// Digits to shift by: byte 7 of VRA, signed.
fn count(c: &VecCtx) -> i32 {
    i32::from(el::<i8>(c.vra(), 7))
}

fn shift_signed(c: &mut VecCtx, round: bool) -> Run {
    let (n, ps) = (count(c).clamp(-31, 31), ps(c));
    let r = Packed::read(c.vrb()).map(|p| {
        let (mut digits, lost) = shift(p.digits, n, DIGITS);
        if round && n < 0 && shift(p.digits, n + 1, DIGITS).0 & 15 >= 5 {
            digits = Packed::of(Packed { digits, ..p }.magnitude() + 1, false).digits;
        }
        (Packed { digits, ..p }.write(ps), p.code(), lost)
    });
    finish(c, r)
}

fn shift_unsigned(c: &mut VecCtx) -> Run {
    let (b, n) = (c.vrb(), count(c));
    let r = all_digits(b).then(|| {
        let (v, lost) = shift(b, n, 32);
        (v, sign_code(b == 0, false), lost)
    });
    finish(c, r)
}

/// Digits to keep: halfword 3 of VRA.
fn kept(v: u128, c: &VecCtx) -> (u128, bool) {
    let n = u32::from(el::<u16>(c.vra(), 3)).min(32);
    let low = v & u128::MAX.checked_shr(128 - 4 * n).unwrap_or(0);
    (low, low != v)
}

fn truncate_signed(c: &mut VecCtx) -> Run {
    let ps = ps(c);
    let r = Packed::read(c.vrb()).map(|p| {
        let (digits, lost) = kept(p.digits, c);
        (Packed { digits, ..p }.write(ps), p.code(), lost)
    });
    finish(c, r)
}

fn truncate_unsigned(c: &mut VecCtx) -> Run {
    let b = c.vrb();
    let r = all_digits(b).then(|| {
        let (v, lost) = kept(b, c);
        (v, sign_code(b == 0, false), lost)
    });
    finish(c, r)
}

/// Bit of PS in the mask of a form that has none.
const NO_PS: u32 = 0x200;

const fn row(
    name: &'static str,
    xo: u32,
    mask: u32,
    sub: u32,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(
        name,
        0xfc00_05ff | mask,
        4 << 26 | sub << 16 | 0x400 | xo,
        Facility::Vmx,
        run,
    )
}

/// Forms with an extended opcode in the VRA field.
const fn convert(name: &'static str, sub: u32, mask: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    row(name, 385, 0x001f_0000 | mask, sub, run)
}

pub(super) const OPS: &[VecOp] = &[
    row("bcdadd.", 1, 0, 0, |c| add(c, false)),
    row("bcdsub.", 65, 0, 0, |c| add(c, true)),
    row("bcdus.", 129, NO_PS, 0, shift_unsigned),
    row("bcds.", 193, 0, 0, |c| shift_signed(c, false)),
    row("bcdtrunc.", 257, 0, 0, truncate_signed),
    row("bcdutrunc.", 321, NO_PS, 0, truncate_unsigned),
    row("bcdsr.", 449, 0, 0, |c| shift_signed(c, true)),
    convert("bcdctsq.", 0, NO_PS, to_quad),
    convert("bcdcfsq.", 2, 0, from_quad),
    convert("bcdctz.", 4, 0, to_zoned),
    convert("bcdctn.", 5, NO_PS, to_national),
    convert("bcdcfz.", 6, 0, from_zoned),
    convert("bcdcfn.", 7, 0, from_national),
    convert("bcdsetsgn.", 31, 0, set_sign),
    VecOp::new(
        "bcdcpsgn.",
        0xfc00_07ff,
        4 << 26 | 833,
        Facility::Vmx,
        copy_sign,
    ),
];
