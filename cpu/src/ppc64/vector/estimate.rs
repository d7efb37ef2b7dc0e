//! 2^x and log2 x in integers, so that every host gives the same bits. Power ISA 3.0B Book I §6.10.4 asks for much less.
use crate::softfloat::{Class, Num, wide_mul};
use std::sync::OnceLock;

/// Fraction bits that the results are computed with.
const BITS: u32 = 60;

/// 2^(1/2), 2^(1/4), ... as `sig / 2^127`.
fn roots() -> &'static [u128; BITS as usize] {
    static ROOTS: OnceLock<[u128; BITS as usize]> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = [0; BITS as usize];
        let mut square = (1_u128 << 127, 0_u128);
        for root in &mut roots {
            *root = square_root(square);
            square = (*root >> 1, *root << 127);
        }
        roots
    })
}

/// The square root, in 2^-127, of a square below 4 given as (high, low) in 2^-254.
fn square_root(square: (u128, u128)) -> u128 {
    (0..128).rev().fold(0, |root, bit| {
        let trial = root | 1 << bit;
        if wide_mul(trial, trial) <= square {
            trial
        } else {
            root
        }
    })
}

/// 2^x for a number.
pub(super) fn exp2(x: &Num) -> Num {
    match x.class {
        Class::Zero => return Num::integer(false, 1),
        Class::Inf if x.sign => return Num::zero(false),
        Class::Inf => return *x,
        _ => {}
    }
    // From 2^11 on single precision has overflowed or underflowed long ago.
    let fixed = match x.exp {
        11.. => 1 << (11 + BITS),
        _ => {
            let right = 127 - x.exp - BITS as i32;
            x.sig.checked_shr(right as u32).unwrap_or(0) as i128
        }
    };
    let fixed = if x.sign { -fixed } else { fixed };
    let mut sig = 1_u128 << 127;
    for (i, root) in roots().iter().enumerate() {
        if fixed >> (BITS as usize - 1 - i) & 1 == 1 {
            // Both factors are below 2 and so is the product: a partial product of 2^f with f below 1.
            let (high, low) = wide_mul(sig, *root);
            sig = high << 1 | low >> 127;
        }
    }
    let mut r = Num::integer(false, sig);
    r.exp += (fixed >> BITS) as i32 - 127;
    r
}

/// log2 x for a number.
pub(super) fn log2(x: &Num) -> Num {
    match x.class {
        Class::Zero => return Num::inf(true),
        _ if x.sign => return Num::nan(),
        Class::Inf => return *x,
        _ => {}
    }
    // Squaring doubles the logarithm: each time the value passes 2 gives one more bit.
    let mut sig = x.sig;
    let mut fixed = i128::from(x.exp);
    for _ in 0..BITS {
        let (high, low) = wide_mul(sig, sig);
        let two = high >> 127 == 1;
        sig = if two { high } else { high << 1 | low >> 127 };
        fixed = fixed << 1 | i128::from(two);
    }
    let mut r = Num::integer(fixed < 0, fixed.unsigned_abs());
    r.exp -= BITS as i32;
    r
}
