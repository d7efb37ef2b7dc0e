//! Comparison and classification. SDM volume 1 §8.3.6.
use std::cmp::Ordering;

use iced_x86::Mnemonic as M;

use super::arithmetic::source;
use super::number::F80;
use super::{C0, C1, C2, C3, DE, IE, Outcome, X87};
use crate::softfloat as soft;
use crate::x86_64::simd::{Effect, Operands, comparison_flags};

/// How the operands relate, and whether an exception is unmasked: it prevents pops only. Unordered operands are invalid, quiet NaNs only
/// if not `quiet`.
fn relation(
    x: &mut X87,
    operands: Option<(F80, F80, bool)>,
    quiet: bool,
) -> (Option<Ordering>, bool) {
    let Some((a, b, denormal)) = operands else {
        return (None, x.underflow());
    };
    let nan = a.is_nan() || b.is_nan();
    if a.is_unsupported() || b.is_unsupported() || nan {
        let invalid = !quiet
            || [a, b]
                .iter()
                .any(|v| v.is_unsupported() || v.is_signalling());
        return (None, invalid && x.signal(IE));
    }
    let unmasked = denormal && x.signal(DE);
    (Some(soft::compare(&a.num(), &b.num())), unmasked)
}

fn conditions(x: &mut X87, order: Option<Ordering>) {
    x.status &= !(C0 | C2 | C3);
    x.status |= match order {
        None => C0 | C2 | C3,
        Some(Ordering::Less) => C0,
        Some(Ordering::Equal) => C3,
        Some(Ordering::Greater) => 0,
    };
}

fn operands(x: &X87, o: &Operands) -> Option<(F80, F80, bool)> {
    let (b, denormal) = source(x, o)?;
    if x.is_empty(0) {
        return None;
    }
    let a = x.st(0);
    Some((a, b, denormal || a.is_denormal()))
}

/// FCOM, FUCOM, FICOM and those that pop.
pub(super) fn compare(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let m = o.op.mnemonic();
    let quiet = matches!(m, M::Fucom | M::Fucomp | M::Fucompp);
    let pops = match m {
        M::Fcomp | M::Ficomp | M::Fucomp => 1,
        M::Fcompp | M::Fucompp => 2,
        _ => 0,
    };
    let operands = operands(x, o);
    let (order, unmasked) = relation(x, operands, quiet);
    conditions(x, order);
    if !unmasked {
        for _ in 0..pops {
            x.pop();
        }
    }
    Ok(Effect::None)
}

/// FCOMI, FUCOMI and those that pop. C1 stays.
pub(super) fn compare_flags(x: &mut X87, o: &Operands) -> Outcome {
    x.check_pending()?;
    let m = o.op.mnemonic();
    let quiet = matches!(m, M::Fucomi | M::Fucomip);
    let operands = operands(x, o);
    let (order, unmasked) = relation(x, operands, quiet);
    if !unmasked && matches!(m, M::Fcomip | M::Fucomip) {
        x.pop();
    }
    Ok(Effect::Flags(comparison_flags(order)))
}

/// ST(0) against zero.
pub(super) fn test(x: &mut X87, _: &Operands) -> Outcome {
    x.begin()?;
    let a = x.st(0);
    let operands = (!x.is_empty(0)).then_some((a, F80::default(), a.is_denormal()));
    let (order, _) = relation(x, operands, false);
    conditions(x, order);
    Ok(Effect::None)
}

/// FXAM: class in C3, C2 and C0, sign in C1, of an empty register also.
pub(super) fn examine(x: &mut X87, _: &Operands) -> Outcome {
    x.begin()?;
    let a = x.st(0);
    let class = if x.is_empty(0) {
        C3 | C0
    } else if a.is_unsupported() {
        0
    } else if a.is_nan() {
        C0
    } else if a.is_infinity() {
        C2 | C0
    } else if a.is_zero() {
        C3
    } else if a.is_denormal() {
        C3 | C2
    } else {
        C2
    };
    x.status &= !(C0 | C1 | C2 | C3);
    x.status |= class;
    if a.is_negative() {
        x.status |= C1;
    }
    Ok(Effect::None)
}
