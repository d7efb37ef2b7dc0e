//! Transcendental functions. SDM volume 1 §8.3.7 and §8.3.10, volume 2 for the tables of special operands.
//!
//! Method: series over values with 127 bits of significand ([`crate::softfloat`]), so that the error before the only rounding to 64 bits
//! is below 2^-115 of the result. Arguments of trigonometric functions are reduced with 320 bits of 2/pi, not with the 66 bits of pi that
//! some processors have. Results that are irrational are always inexact, also where the last bits of the series are zero.
use super::number::{EXTENDED, F80, INDEFINITE, ONE};
use super::{C2, DE, Outcome, X87, ZE};
use crate::softfloat::{self as soft, Class, NEAREST, Num};
use crate::x86_64::simd::{Effect, Operands};

/// Constants to 128 bits, truncated, with the last bit for what follows.
pub(super) mod constants {
    use crate::softfloat::{Class, Num};

    fn constant(exp: i32, sig: u128) -> Num {
        Num {
            class: Class::Normal,
            sign: false,
            exp,
            sig,
        }
    }
    /// Pi.
    pub(in crate::x86_64::x87) fn pi() -> Num {
        constant(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1)
    }
    /// log2(10).
    pub(in crate::x86_64::x87) fn log2_10() -> Num {
        constant(1, 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4d)
    }
    /// log2(e).
    pub(in crate::x86_64::x87) fn log2_e() -> Num {
        constant(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89)
    }
    /// log10(2).
    pub(in crate::x86_64::x87) fn log10_2() -> Num {
        constant(-2, 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9179)
    }
    /// ln(2).
    pub(in crate::x86_64::x87) fn ln_2() -> Num {
        constant(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af)
    }
}

/// 2/pi * 2^320, least significant quadword first.
const TWO_OVER_PI: [u64; 5] = [
    0xb724_6e3a_424d_d2e0,
    0xfe51_63ab_debb_c561,
    0xdb62_9599_3c43_9041,
    0xfc27_57d1_f534_ddc0,
    0xa2f9_836e_4e44_1529,
];

/// More terms than any of the series needs for 127 bits within its range.
const TERMS: u128 = 60;

fn add(a: &Num, b: &Num) -> Num {
    soft::add(a, b, NEAREST).0
}

fn mul(a: &Num, b: &Num) -> Num {
    soft::mul(a, b).0
}

fn div(a: &Num, b: &Num) -> Num {
    soft::div(a, b).0
}

fn minus(a: &Num) -> Num {
    Num {
        sign: !a.sign,
        ..*a
    }
}

fn int(x: u128) -> Num {
    Num::integer(false, x)
}

/// 2^n times a value.
fn shifted(mut a: Num, n: i32) -> Num {
    a.exp += n;
    a
}

/// A value that is not exact.
fn irrational(mut n: Num) -> Num {
    if n.class == Class::Normal {
        n.sig |= 1;
    }
    n
}

/// 1 + c1 z (1 + c2 z (...)), where `coefficient(k)` is (numerator, denominator) of the magnitude of ck, and `z` has the sign.
fn nested(z: &Num, terms: u128, coefficient: impl Fn(u128) -> (u128, u128)) -> Num {
    let one = int(1);
    (1..=terms).rev().fold(one, |sum, k| {
        let (n, d) = coefficient(k);
        let c = div(&mul(z, &int(n)), &int(d));
        add(&one, &mul(&c, &sum))
    })
}

/// sin(r) and cos(r) for |r| <= pi / 4.
fn sine_cosine(r: &Num) -> (Num, Num) {
    if r.class == Class::Zero {
        return (*r, int(1));
    }
    let z = minus(&mul(r, r));
    let sine = nested(&z, 18, |k| (1, 2 * k * (2 * k + 1)));
    let cosine = nested(&z, 18, |k| (1, 2 * k * (2 * k - 1)));
    (mul(r, &sine), cosine)
}

/// atanh(t) (or atan(t), if `circular`) by its series, for |t| < 0.42.
fn inverse_tangent(t: &Num, circular: bool) -> Num {
    if t.class == Class::Zero {
        return *t;
    }
    let z = mul(t, t);
    let z = if circular { minus(&z) } else { z };
    mul(t, &nested(&z, TERMS, |k| (2 * k - 1, 2 * k + 1)))
}

/// e^z - 1 for |z| < 1.
fn exponential_minus_1(z: &Num) -> Num {
    mul(z, &nested(z, 34, |k| (1, k + 1)))
}

/// log2(x) of a positive number.
fn log2(x: &Num) -> Num {
    let mut m = *x;
    let mut e = m.exp;
    m.exp = 0;
    // From sqrt(1/2) to sqrt(2).
    if m.sig > 0xb504_f333_f9de_6484_0000_0000_0000_0000 {
        m.exp = -1;
        e += 1;
    }
    let one = int(1);
    let t = div(&add(&m, &minus(&one)), &add(&m, &one));
    let ln = shifted(
        inverse_tangent(&t, false),
        i32::from(t.class != Class::Zero),
    );
    let whole = Num::integer(e < 0, e.unsigned_abs().into());
    if ln.class == Class::Zero {
        return whole;
    }
    irrational(add(&whole, &mul(&ln, &constants::log2_e())))
}

/// log2(1 + x) for x > -1.
fn log2_plus_1(x: &Num) -> Num {
    let one = int(1);
    // 1/4 and more: the sum is accurate.
    if x.exp >= -2 {
        return log2(&add(&one, x));
    }
    let t = div(x, &add(&int(2), x));
    let ln = shifted(inverse_tangent(&t, false), 1);
    irrational(mul(&ln, &constants::log2_e()))
}

/// Angle of the point (x, y) in the upper right quadrant; both are positive.
fn angle(x: &Num, y: &Num) -> Num {
    let half_pi = shifted(constants::pi(), -1);
    let steep = soft::compare(y, x).is_gt();
    let (x, y) = if steep { (y, x) } else { (x, y) };
    let q = div(y, x);
    // Above tan(pi/8), about 0.41: pi/4 - atan((x - y) / (x + y)).
    let a = if q.exp >= -1 || q.exp == -2 && q.sig >> 120 >= 0xd4 {
        let t = div(&add(x, &minus(y)), &add(x, y));
        let quarter = shifted(constants::pi(), -2);
        add(&quarter, &minus(&inverse_tangent(&t, true)))
    } else {
        inverse_tangent(&q, true)
    };
    irrational(if steep { add(&half_pi, &minus(&a)) } else { a })
}

/// The remainder of an angle below 2^63 modulo pi/2, from -pi/4 to pi/4, and the quadrant.
fn reduce(x: &Num) -> (Num, u8) {
    // Below 0.78.
    if x.class != Class::Normal || x.exp < -1 || x.exp == -1 && x.sig >> 120 < 0xc8 {
        return (*x, 0);
    }
    let significand = x.sig >> 64;
    let mut product = [0_u64; 6];
    let mut carry = 0_u128;
    for (to, limb) in product.iter_mut().zip(TWO_OVER_PI) {
        carry += significand * u128::from(limb);
        *to = carry as u64;
        carry >>= 64;
    }
    product[5] = carry as u64;
    // The point: x is significand * 2^(exp - 63).
    let point = (320 + 63 - x.exp).clamp(0, 384) as u32;
    let bit = |n: u32| {
        product
            .get((n / 64) as usize)
            .map_or(0, |l| l >> (n % 64) & 1)
    };
    let mut quadrant = (bit(point) | bit(point + 1) << 1) as u8;
    let negative = point > 0 && bit(point - 1) == 1;
    if negative {
        quadrant = quadrant.wrapping_add(1);
        // The fraction's complement to 1.
        let mut carry = true;
        for l in &mut product {
            (*l, carry) = (!*l).overflowing_add(u64::from(carry));
        }
    }
    let bit = |n: u32| {
        product
            .get((n / 64) as usize)
            .map_or(0, |l| l >> (n % 64) & 1)
    };
    let Some(top) = (0..point).rev().find(|n| bit(*n) == 1) else {
        return (Num::zero(x.sign), quadrant & 3);
    };
    let sig = (0..128).fold(0_u128, |r, i| {
        r << 1 | u128::from(if i <= top { bit(top - i) } else { 0 })
    });
    let fraction = Num {
        class: Class::Normal,
        sign: negative != x.sign,
        exp: top as i32 - point as i32,
        sig,
    };
    let r = mul(&fraction, &shifted(constants::pi(), -1));
    let quadrant = if x.sign {
        quadrant.wrapping_neg()
    } else {
        quadrant
    };
    (r, quadrant & 3)
}

/// sin(x) and cos(x).
fn circular(x: &Num) -> (Num, Num) {
    let (r, quadrant) = reduce(x);
    let (s, c) = sine_cosine(&r);
    let (s, c) = match quadrant {
        0 => (s, c),
        1 => (c, minus(&s)),
        2 => (minus(&s), minus(&c)),
        _ => (minus(&c), s),
    };
    if x.class == Class::Zero {
        (s, c)
    } else {
        (irrational(s), irrational(c))
    }
}

/// Functions of one angle: results for ST(0) and, if any, for a push after it. An angle of 2^63 or more only sets C2.
fn trigonometric(x: &mut X87, push: bool, f: impl Fn(&Num) -> (Num, Option<Num>)) -> Outcome {
    x.begin()?;
    x.status &= !C2;
    let fault = if x.is_empty(0) {
        Some(x.underflow())
    } else if push && !x.is_empty(7) {
        Some(x.overflow())
    } else {
        None
    };
    if let Some(unmasked) = fault {
        if !unmasked {
            x.write(0, INDEFINITE);
            if push {
                x.push(INDEFINITE);
            }
        }
        return Ok(Effect::None);
    }
    let a = x.st(0);
    let special = match x.special(&[a]) {
        None if a.is_infinity() => Some(x.invalid()),
        other => other,
    };
    if let Some(r) = special {
        if let Some(r) = r {
            x.write(0, r);
            if push {
                x.push(r);
            }
        }
        return Ok(Effect::None);
    }
    let n = a.num();
    if n.class == Class::Normal && n.exp >= 63 {
        x.status |= C2;
        return Ok(Effect::None);
    }
    if a.is_denormal() && x.signal(DE) {
        return Ok(Effect::None);
    }
    let (first, second) = f(&n);
    let first = x.round(&first, EXTENDED);
    x.write(0, first);
    if let Some(second) = second {
        let second = x.round(&second, EXTENDED);
        x.push(second);
    }
    Ok(Effect::None)
}

pub(super) fn sine(x: &mut X87, _: &Operands) -> Outcome {
    trigonometric(x, false, |n| (circular(n).0, None))
}

pub(super) fn cosine(x: &mut X87, _: &Operands) -> Outcome {
    trigonometric(x, false, |n| (circular(n).1, None))
}

pub(super) fn sine_and_cosine(x: &mut X87, _: &Operands) -> Outcome {
    trigonometric(x, true, |n| {
        let (s, c) = circular(n);
        (s, Some(c))
    })
}

/// FPTAN pushes 1 after its result.
pub(super) fn tangent(x: &mut X87, _: &Operands) -> Outcome {
    trigonometric(x, true, |n| {
        let (s, c) = circular(n);
        let t = if n.class == Class::Zero {
            *n
        } else {
            irrational(div(&s, &c))
        };
        (t, Some(int(1)))
    })
}

/// 2^ST(0) - 1. Beyond -1 to 1, where the SDM defines nothing, the number stays.
pub(super) fn exponential(x: &mut X87, _: &Operands) -> Outcome {
    super::arithmetic::unary(x, |x, a| {
        if a.is_infinity() {
            return Some(if a.is_negative() {
                F80 {
                    head: 0xbfff,
                    ..ONE
                }
            } else {
                a
            });
        }
        if a.is_zero() {
            return Some(a);
        }
        if a.is_denormal() && x.signal(DE) {
            return None;
        }
        let n = a.num();
        let result = if n.exp < 0 {
            irrational(exponential_minus_1(&mul(&n, &constants::ln_2())))
        } else if a.head == 0xbfff && a.mantissa == ONE.mantissa {
            shifted(minus(&int(1)), -1)
        } else {
            n
        };
        Some(x.round(&result, EXTENDED))
    })
}

/// The result from ST(0) and ST(1) to ST(1), then popped.
fn two(x: &mut X87, f: impl FnOnce(&mut X87, F80, F80) -> Option<F80>) -> Outcome {
    x.begin()?;
    let result = if x.is_empty(0) || x.is_empty(1) {
        (!x.underflow()).then_some(INDEFINITE)
    } else {
        let (a, b) = (x.st(0), x.st(1));
        match x.special(&[a, b]) {
            Some(r) => r,
            None => f(x, a, b),
        }
    };
    if let Some(r) = result {
        x.write(1, r);
        x.pop();
    }
    Ok(Effect::None)
}

/// y * log2(x).
pub(super) fn logarithm(x: &mut X87, _: &Operands) -> Outcome {
    two(x, |x, a, y| {
        if a.is_negative() && !a.is_zero() {
            return x.invalid();
        }
        let n = a.num();
        product_with_logarithm(x, &n, [a, y], log2)
    })
}

/// y * log2(x + 1). The SDM defines it near 0; here it is what the formula says for all numbers.
pub(super) fn logarithm_plus_1(x: &mut X87, _: &Operands) -> Outcome {
    two(x, |x, a, y| {
        let n = a.num();
        if a.is_zero() {
            if y.is_infinity() {
                return x.invalid();
            }
            if y.is_denormal() && x.signal(DE) {
                return None;
            }
            return Some(F80::zero(a.is_negative() != y.is_negative()));
        }
        let sum = add(&int(1), &n);
        if sum.sign {
            return x.invalid();
        }
        product_with_logarithm(x, &sum, [a, y], |_| log2_plus_1(&n))
    })
}

/// `argument` is zero or positive and may be infinite; `operands` are ST(0) and ST(1).
fn product_with_logarithm(
    x: &mut X87,
    argument: &Num,
    operands: [F80; 2],
    log: impl Fn(&Num) -> Num,
) -> Option<F80> {
    let y = operands[1];
    let denormal = operands.iter().any(|v| v.is_denormal());
    match argument.class {
        Class::Zero if y.is_zero() => return x.invalid(),
        Class::Zero if y.is_infinity() => return Some(F80::infinity(!y.is_negative())),
        Class::Zero => {
            if x.signal(ZE) {
                return None;
            }
            return Some(F80::infinity(!y.is_negative()));
        }
        Class::Inf if y.is_zero() => return x.invalid(),
        Class::Inf => {
            if denormal && x.signal(DE) {
                return None;
            }
            return Some(F80::infinity(y.is_negative()));
        }
        _ => (),
    }
    let l = log(argument);
    if l.class == Class::Zero && y.is_infinity() {
        return x.invalid();
    }
    if denormal && x.signal(DE) {
        return None;
    }
    let (n, _) = soft::mul(&l, &y.num());
    Some(x.round(&n, EXTENDED))
}

/// The angle of the point (ST(0), ST(1)).
pub(super) fn arctangent(x: &mut X87, _: &Operands) -> Outcome {
    two(x, |x, a, b| {
        if (a.is_denormal() || b.is_denormal()) && x.signal(DE) {
            return None;
        }
        let (across, up) = (a.num(), b.num());
        let pi = constants::pi();
        let n = match (across.class, up.class) {
            (Class::Inf, Class::Inf) if across.sign => mul(&int(3), &shifted(pi, -2)),
            (Class::Inf, Class::Inf) => shifted(pi, -2),
            (_, Class::Zero) | (Class::Inf, _) if across.sign => pi,
            (_, Class::Zero) | (Class::Inf, _) => Num::zero(false),
            (Class::Zero, _) | (_, Class::Inf) => shifted(pi, -1),
            _ => {
                let positive = |n: Num| Num { sign: false, ..n };
                let angle = angle(&positive(across), &positive(up));
                if across.sign {
                    irrational(add(&pi, &minus(&angle)))
                } else {
                    angle
                }
            }
        };
        let signed = Num { sign: up.sign, ..n };
        Some(x.round(&signed, EXTENDED))
    })
}
