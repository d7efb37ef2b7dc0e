//! Addition to division, square root, scaling. SDM volume 1 §8.3.3 and §8.3.5; volume 2 for the tables of special operands.
use iced_x86::{MemorySize, Mnemonic as M};

use super::number::{EXTENDED, F80, INDEFINITE};
use super::{C1, DE, IE, Outcome, PE, X87, ZE};
use crate::softfloat::{self as soft, Class, DOUBLE, Format, Num, SINGLE};
use crate::x86_64::simd::{Effect, Operands, Src};

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
}

/// Operation, operands exchanged, stack popped.
fn decode(m: M) -> (Op, bool, bool) {
    match m {
        M::Faddp => (Op::Add, false, true),
        M::Fsub | M::Fisub => (Op::Sub, false, false),
        M::Fsubp => (Op::Sub, false, true),
        M::Fsubr | M::Fisubr => (Op::Sub, true, false),
        M::Fsubrp => (Op::Sub, true, true),
        M::Fmul | M::Fimul => (Op::Mul, false, false),
        M::Fmulp => (Op::Mul, false, true),
        M::Fdiv | M::Fidiv => (Op::Div, false, false),
        M::Fdivp => (Op::Div, false, true),
        M::Fdivr | M::Fidivr => (Op::Div, true, false),
        M::Fdivrp => (Op::Div, true, true),
        _ => (Op::Add, false, false),
    }
}

/// An operand and whether it is denormal in its own format; `None` if its register is empty.
pub(super) fn source(x: &X87, o: &Operands) -> Option<(F80, bool)> {
    let m = match o.src {
        Src::Mem(m) => m[0],
        Src::Reg(i) if x.is_empty(i) => return None,
        Src::Reg(i) => return Some((x.st(i), x.st(i).is_denormal())),
        Src::None if x.is_empty(1) => return None,
        Src::None => return Some((x.st(1), x.st(1).is_denormal())),
    };
    Some(match o.op.op_code().memory_size() {
        MemorySize::Float32 => F80::from_bits(m & 0xffff_ffff, SINGLE),
        MemorySize::Float64 => F80::from_bits(m, DOUBLE),
        MemorySize::Int16 => (F80::integer((m as i16).into()), false),
        MemorySize::Int32 => (F80::integer((m as i32).into()), false),
        _ => (F80::integer(m as i64), false),
    })
}

impl X87 {
    /// The format that precision control asks for: exponents keep their range. SDM volume 1 §8.1.5.2.
    fn precision(&self) -> Format {
        let frac = match self.control >> 8 & 3 {
            0 => 23,
            2 => 52,
            _ => 63,
        };
        Format { frac, ..EXTENDED }
    }

    /// The result of an invalid operation; `None` if that is unmasked.
    pub(super) fn invalid(&mut self) -> Option<F80> {
        (!self.signal(IE)).then_some(INDEFINITE)
    }

    /// The result if an operand is unsupported or a NaN: `Some(None)` if an exception is unmasked.
    pub(super) fn special(&mut self, operands: &[F80]) -> Option<Option<F80>> {
        if operands.iter().any(|v| v.is_unsupported()) {
            return Some(self.invalid());
        }
        let nan = operands.iter().filter(|v| v.is_nan()).copied();
        let nan = nan.reduce(|a, b| {
            // A quiet NaN before a signalling one, then the larger significand, then the positive one.
            match (a.is_signalling(), b.is_signalling()) {
                (true, false) => b,
                (false, true) => a,
                _ => {
                    let key = |v: F80| (v.mantissa, !v.is_negative());
                    if key(b) > key(a) { b } else { a }
                }
            }
        })?;
        if operands.iter().any(|v| v.is_signalling()) && self.signal(IE) {
            return Some(None);
        }
        Some(Some(nan.quiet()))
    }

    fn compute(&mut self, op: Op, a: F80, b: F80, denormal: bool) -> Option<F80> {
        if let Some(r) = self.special(&[a, b]) {
            return r;
        }
        let (x, y) = (a.num(), b.num());
        let (n, flags) = match op {
            Op::Add => soft::add(&x, &y, self.rounding()),
            Op::Sub => soft::add(&x, &Num { sign: !y.sign, ..y }, self.rounding()),
            Op::Mul => soft::mul(&x, &y),
            Op::Div => soft::div(&x, &y),
        };
        if n.is_nan() {
            return self.invalid();
        }
        if flags & soft::ZX != 0 {
            if self.signal(ZE) {
                return None;
            }
        } else if denormal && self.signal(DE) {
            return None;
        }
        let precision = self.precision();
        Some(self.round(&n, precision))
    }
}

/// dst = dst op src.
pub(super) fn binary(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let (op, reverse, pop) = decode(o.op.mnemonic());
    let source = source(x, o);
    let result = match source {
        Some((b, b_denormal)) if !x.is_empty(o.dst) => {
            let a = x.st(o.dst);
            let denormal = b_denormal || a.is_denormal();
            let (a, b) = if reverse { (b, a) } else { (a, b) };
            x.compute(op, a, b, denormal)
        }
        _ => (!x.underflow()).then_some(INDEFINITE),
    };
    if let Some(r) = result {
        x.write(o.dst, r);
        if pop {
            x.pop();
        }
    }
    Ok(Effect::None)
}

/// ST(0) = f(ST(0)); `None` of `f` leaves it.
pub(super) fn unary(x: &mut X87, f: impl FnOnce(&mut X87, F80) -> Option<F80>) -> Outcome {
    x.begin()?;
    let result = if x.is_empty(0) {
        (!x.underflow()).then_some(INDEFINITE)
    } else {
        let a = x.st(0);
        match x.special(&[a]) {
            Some(r) => r,
            None => f(x, a),
        }
    };
    if let Some(r) = result {
        x.write(0, r);
    }
    Ok(Effect::None)
}

pub(super) fn square_root(x: &mut X87, _: &Operands) -> Outcome {
    unary(x, |x, a| {
        let (n, _) = soft::sqrt(&a.num());
        if n.is_nan() {
            return x.invalid();
        }
        if a.is_denormal() && x.signal(DE) {
            return None;
        }
        let precision = x.precision();
        Some(x.round(&n, precision))
    })
}

/// FABS and FCHS: any encoding.
pub(super) fn sign(x: &mut X87, f: fn(u16) -> u16) -> Outcome {
    x.begin()?;
    let a = x.st(0);
    if !x.is_empty(0) {
        x.write(
            0,
            F80 {
                head: f(a.head),
                ..a
            },
        );
    } else if !x.underflow() {
        x.write(0, INDEFINITE);
    }
    Ok(Effect::None)
}

pub(super) fn round_to_integer(x: &mut X87, _: &Operands) -> Outcome {
    unary(x, |x, a| {
        if a.is_denormal() && x.signal(DE) {
            return None;
        }
        let n = a.num();
        if n.class != Class::Normal || n.exp >= 63 {
            return Some(a);
        }
        let (magnitude, up, inexact) = soft::to_integer(&n, x.rounding());
        if inexact {
            if up {
                x.status |= C1;
            }
            x.signal(PE as u16);
        }
        Some(F80::exact(&Num::integer(n.sign, magnitude.unwrap_or(0))))
    })
}

/// ST(0) = ST(0) * 2^trunc(ST(1)).
pub(super) fn scale(x: &mut X87, _: &Operands) -> Outcome {
    x.begin()?;
    let result = if x.is_empty(0) || x.is_empty(1) {
        (!x.underflow()).then_some(INDEFINITE)
    } else {
        let (a, b) = (x.st(0), x.st(1));
        match x.special(&[a, b]) {
            Some(r) => r,
            None => scale_by(x, a, b),
        }
    };
    if let Some(r) = result {
        x.write(0, r);
    }
    Ok(Effect::None)
}

fn scale_by(x: &mut X87, a: F80, b: F80) -> Option<F80> {
    if b.is_infinity() {
        let bad = if b.is_negative() {
            a.is_infinity()
        } else {
            a.is_zero()
        };
        if bad {
            return x.invalid();
        }
    }
    if (a.is_denormal() || b.is_denormal()) && x.signal(DE) {
        return None;
    }
    if b.is_infinity() {
        return Some(if b.is_negative() {
            F80::zero(a.is_negative())
        } else {
            F80::infinity(a.is_negative())
        });
    }
    let (mut n, by) = (a.num(), b.num());
    if n.class != Class::Normal {
        return Some(a);
    }
    // More than any exponent; rounding makes of it what is due.
    const MOST: u128 = 0x1_0000;
    let magnitude = match soft::to_integer(&by, soft::TO_ZERO).0 {
        Some(m) => m.min(MOST) as i32,
        None => MOST as i32,
    };
    n.exp += if by.sign { -magnitude } else { magnitude };
    Some(x.round(&n, EXTENDED))
}

/// Exponent to ST(0), then significand pushed.
pub(super) fn extract(x: &mut X87, _: &Operands) -> Outcome {
    x.begin()?;
    let fault = if x.is_empty(0) {
        Some(x.underflow())
    } else if !x.is_empty(7) {
        Some(x.overflow())
    } else {
        None
    };
    if let Some(unmasked) = fault {
        if !unmasked {
            x.write(0, INDEFINITE);
            x.push(INDEFINITE);
        }
        return Ok(Effect::None);
    }
    let a = x.st(0);
    let pair = match x.special(&[a]) {
        Some(r) => r.map(|r| (r, r)),
        None if a.is_infinity() => Some((F80::infinity(false), a)),
        None if a.is_zero() => (!x.signal(ZE)).then_some((F80::infinity(true), a)),
        None if a.is_denormal() && x.signal(DE) => None,
        None => {
            let n = a.num();
            let significand = F80::exact(&Num { exp: 0, ..n });
            Some((F80::integer(n.exp.into()), significand))
        }
    };
    if let Some((exponent, significand)) = pair {
        x.write(0, exponent);
        x.push(significand);
    }
    Ok(Effect::None)
}
