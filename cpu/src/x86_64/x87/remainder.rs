//! Partial remainders. SDM volume 2, "FPREM" and "FPREM1".
use super::number::{EXTENDED, F80, INDEFINITE};
use super::{C0, C1, C2, C3, DE, Outcome, X87};
use crate::softfloat::{Class, Num};
use crate::x86_64::simd::Effect;

/// ST(0) = ST(0) - Q * ST(1), Q truncated, or to nearest even if `nearest`.
pub(super) fn remainder(x: &mut X87, nearest: bool) -> Outcome {
    x.begin()?;
    x.status &= !C2;
    let result = if x.is_empty(0) || x.is_empty(1) {
        (!x.underflow()).then_some(INDEFINITE)
    } else {
        let (a, b) = (x.st(0), x.st(1));
        match x.special(&[a, b]) {
            Some(r) => r,
            None => divide(x, a, b, nearest),
        }
    };
    if let Some(r) = result {
        x.write(0, r);
    }
    Ok(Effect::None)
}

fn divide(x: &mut X87, a: F80, b: F80, nearest: bool) -> Option<F80> {
    if a.is_infinity() || b.is_zero() {
        return x.invalid();
    }
    if (a.is_denormal() || b.is_denormal()) && x.signal(DE) {
        return None;
    }
    let (n, d) = (a.num(), b.num());
    let (value, quotient, partial) = if n.class != Class::Normal || d.class != Class::Normal {
        // Zero, or a divisor without bound.
        (n, 0, false)
    } else {
        reduce(&n, &d, nearest)
    };
    let r = x.round(&value, EXTENDED);
    x.status &= !(C0 | C1 | C2 | C3);
    if partial {
        x.status |= C2;
    } else {
        let bits = [(4, C0), (2, C3), (1, C1)];
        for (bit, condition) in bits {
            if quotient & bit != 0 {
                x.status |= condition;
            }
        }
    }
    Some(r)
}

/// Remainder, low bits of the quotient, and whether the reduction is partial: a difference of exponents of 64 or more goes down by 32 to
/// 63 at a time.
fn reduce(n: &Num, d: &Num, nearest: bool) -> (Num, u128, bool) {
    let difference = n.exp - d.exp;
    if difference < -1 || difference == -1 && !nearest {
        return (*n, 0, false);
    }
    let (a, b) = (n.sig >> 64, d.sig >> 64);
    let value = |sign: bool, magnitude: u128, exp: i32| {
        let mut r = Num::integer(sign, magnitude);
        r.exp += exp;
        if magnitude == 0 { Num::zero(n.sign) } else { r }
    };
    // The significands as integers have the exponents less 63.
    let scale = d.exp - 63;
    if difference == -1 {
        // The dividend is a / 2: more than half of the divisor if a > b.
        return if a > b {
            (value(!n.sign, 2 * b - a, scale - 1), 1, false)
        } else {
            (*n, 0, false)
        };
    }
    if difference >= 64 {
        let step = difference & 31 | 32;
        let rest = (a << step) % b;
        return (value(n.sign, rest, scale + difference - step), 0, true);
    }
    let dividend = a << difference;
    let (mut quotient, mut rest, mut sign) = (dividend / b, dividend % b, n.sign);
    if nearest && (2 * rest > b || 2 * rest == b && quotient & 1 == 1) {
        quotient += 1;
        rest = b - rest;
        sign = !sign;
    }
    (value(sign, rest, scale), quotient, false)
}
