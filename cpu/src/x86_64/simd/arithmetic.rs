//! Packed and scalar floating-point arithmetic and comparison. SDM volume 1 §10.4.1, §11.4.1 and §12.
use std::cmp::Ordering;

use iced_x86::Mnemonic as M;

use super::env::{Env, Op};
use super::form::Run::{self, Special};
use super::lanes::{Lane, build, el, with};
use super::{Cx, Effect, Outcome};
use crate::softfloat::{self as soft, Class, DOUBLE, Format, Num, SINGLE};

/// An element type that is a floating-point number.
pub(super) trait Float: Lane {
    const FORMAT: Format;
    fn bits(self) -> u64 {
        self.wide() as u64
    }
    fn of(bits: u64) -> Self {
        Self::low(bits.into())
    }
}

impl Float for u32 {
    const FORMAT: Format = SINGLE;
}
impl Float for u64 {
    const FORMAT: Format = DOUBLE;
}

type Single = u32;
type Double = u64;

macro_rules! arith {
    ($op:ident, $m:ident, $($ps:ident $pd:ident $ss:ident $sd:ident)*) => {
        match $m {
            $(M::$ps => return Some(Special(|c| packed::<Single>(c, Op::$op))),
            M::$pd => return Some(Special(|c| packed::<Double>(c, Op::$op))),
            M::$ss => return Some(Special(|c| scalar::<Single>(c, Op::$op))),
            M::$sd => return Some(Special(|c| scalar::<Double>(c, Op::$op))),)*
            _ => (),
        }
    };
}

/// The operation of a mnemonic of this file.
#[rustfmt::skip]
pub(super) fn run(m: M) -> Option<Run> {
    arith!(Add, m, Addps Addpd Addss Addsd Vaddps Vaddpd Vaddss Vaddsd);
    arith!(Sub, m, Subps Subpd Subss Subsd Vsubps Vsubpd Vsubss Vsubsd);
    arith!(Mul, m, Mulps Mulpd Mulss Mulsd Vmulps Vmulpd Vmulss Vmulsd);
    arith!(Div, m, Divps Divpd Divss Divsd Vdivps Vdivpd Vdivss Vdivsd);
    arith!(Min, m, Minps Minpd Minss Minsd Vminps Vminpd Vminss Vminsd);
    arith!(Max, m, Maxps Maxpd Maxss Maxsd Vmaxps Vmaxpd Vmaxss Vmaxsd);
    Some(match m {
        M::Sqrtps | M::Vsqrtps => Special(|c| packed_one::<Single>(c, |e, b| e.sqrt(SINGLE, b))),
        M::Sqrtpd | M::Vsqrtpd => Special(|c| packed_one::<Double>(c, |e, b| e.sqrt(DOUBLE, b))),
        M::Sqrtss | M::Vsqrtss => Special(|c| scalar_one::<Single>(c, |e, b| e.sqrt(SINGLE, b))),
        M::Sqrtsd | M::Vsqrtsd => Special(|c| scalar_one::<Double>(c, |e, b| e.sqrt(DOUBLE, b))),
        M::Rcpps | M::Vrcpps => Special(|c| packed_one::<Single>(c, |_, b| reciprocal(b))),
        M::Rcpss | M::Vrcpss => Special(|c| scalar_one::<Single>(c, |_, b| reciprocal(b))),
        M::Rsqrtps | M::Vrsqrtps => Special(|c| packed_one::<Single>(c, |_, b| reciprocal_root(b))),
        M::Rsqrtss | M::Vrsqrtss => Special(|c| scalar_one::<Single>(c, |_, b| reciprocal_root(b))),
        M::Roundps | M::Vroundps => Special(round_packed::<Single>),
        M::Roundpd | M::Vroundpd => Special(round_packed::<Double>),
        M::Roundss | M::Vroundss => Special(round_scalar::<Single>),
        M::Roundsd | M::Vroundsd => Special(round_scalar::<Double>),
        M::Addsubps | M::Vaddsubps => Special(add_subtract::<Single>),
        M::Addsubpd | M::Vaddsubpd => Special(add_subtract::<Double>),
        M::Haddps | M::Vhaddps => Special(|c| horizontal::<Single>(c, Op::Add)),
        M::Haddpd | M::Vhaddpd => Special(|c| horizontal::<Double>(c, Op::Add)),
        M::Hsubps | M::Vhsubps => Special(|c| horizontal::<Single>(c, Op::Sub)),
        M::Hsubpd | M::Vhsubpd => Special(|c| horizontal::<Double>(c, Op::Sub)),
        M::Cmpps | M::Vcmpps => Special(compare_packed::<Single>),
        M::Cmppd | M::Vcmppd => Special(compare_packed::<Double>),
        M::Cmpss | M::Vcmpss => Special(compare_scalar::<Single>),
        M::Cmpsd | M::Vcmpsd => Special(compare_scalar::<Double>),
        M::Comiss | M::Vcomiss => Special(|c| compare_flags::<Single>(c, true)),
        M::Comisd | M::Vcomisd => Special(|c| compare_flags::<Double>(c, true)),
        M::Ucomiss | M::Vucomiss => Special(|c| compare_flags::<Single>(c, false)),
        M::Ucomisd | M::Vucomisd => Special(|c| compare_flags::<Double>(c, false)),
        M::Dpps | M::Vdpps => Special(dot_product::<Single>),
        M::Dppd | M::Vdppd => Special(dot_product::<Double>),
        _ => return super::fma::run(m),
    })
}

/// dst = f(a, b) over the lanes, where an exception leaves dst.
pub(super) fn lanes(c: &mut Cx, mut f: impl FnMut(&mut Env, u128, u128) -> u128) -> Outcome {
    let mut e = Env::new(c.v);
    let low = f(&mut e, c.a(), c.b());
    let high = if c.is_wide() {
        f(&mut e, c.a_upper(), c.b_upper())
    } else {
        0
    };
    e.finish(c.v)?;
    c.put_wide(low, high)
}

/// dst = a with its lowest element replaced.
pub(super) fn lowest<F: Float>(c: &mut Cx, f: impl FnOnce(&mut Env, u128, u128) -> u64) -> Outcome {
    let mut e = Env::new(c.v);
    let a = c.a();
    let x = f(&mut e, a, c.b());
    e.finish(c.v)?;
    c.put(with(a, 0, F::of(x)))
}

fn packed<F: Float>(c: &mut Cx, op: Op) -> Outcome {
    lanes(c, |e, a, b| {
        build(|i| F::of(e.binary(op, F::FORMAT, el::<F>(a, i).bits(), el::<F>(b, i).bits())))
    })
}

fn scalar<F: Float>(c: &mut Cx, op: Op) -> Outcome {
    lowest::<F>(c, |e, a, b| {
        e.binary(op, F::FORMAT, el::<F>(a, 0).bits(), el::<F>(b, 0).bits())
    })
}

fn packed_one<F: Float>(c: &mut Cx, f: impl Fn(&mut Env, u64) -> u64) -> Outcome {
    lanes(c, |e, _, b| build(|i| F::of(f(e, el::<F>(b, i).bits()))))
}

fn scalar_one<F: Float>(c: &mut Cx, f: impl Fn(&mut Env, u64) -> u64) -> Outcome {
    lowest::<F>(c, |e, _, b| f(e, el::<F>(b, 0).bits()))
}

/// 1 / b to nearest: well within the 1.5 * 2^-12 that the SDM allows. No exceptions; denormals count as zero, tiny results become it.
fn reciprocal(b: u64) -> u64 {
    estimate(b, |n| soft::div(&Num::integer(false, 1), n).0)
}

/// 1 / sqrt(b), likewise.
fn reciprocal_root(b: u64) -> u64 {
    estimate(b, |n| {
        let (root, _) = soft::sqrt(n);
        if root.is_nan() {
            return root;
        }
        soft::div(&Num::integer(false, 1), &root).0
    })
}

fn estimate(b: u64, f: impl Fn(&Num) -> Num) -> u64 {
    if SINGLE.is_nan(b) {
        return SINGLE.quiet(b);
    }
    let flush = |x: u64| {
        if x & 0x7f80_0000 == 0 {
            x & 0x8000_0000
        } else {
            x
        }
    };
    let n = f(&Num::unpack(flush(b).into(), SINGLE));
    if n.class == Class::Nan {
        return SINGLE.indefinite();
    }
    flush(soft::round(&n, SINGLE, soft::NEAREST, 0).bits as u64)
}

/// ROUNDxx: bit 2 of the immediate takes the mode of MXCSR, bit 3 drops the inexact exception. SDM volume 2, "ROUNDPD".
fn round_element(e: &mut Env, f: Format, b: u64, imm: u8) -> u64 {
    if imm & 4 == 0 {
        e.set_rounding(imm & 3);
    }
    let r = e.round_to_integer(f, b);
    if imm & 8 != 0 {
        e.forget_inexact();
    }
    r
}

fn round_packed<F: Float>(c: &mut Cx) -> Outcome {
    let imm = c.o.imm;
    packed_one::<F>(c, |e, b| round_element(e, F::FORMAT, b, imm))
}

fn round_scalar<F: Float>(c: &mut Cx) -> Outcome {
    let imm = c.o.imm;
    scalar_one::<F>(c, |e, b| round_element(e, F::FORMAT, b, imm))
}

/// Even elements are subtracted, odd ones added.
fn add_subtract<F: Float>(c: &mut Cx) -> Outcome {
    lanes(c, |e, a, b| {
        build(|i| {
            let op = if i & 1 == 0 { Op::Sub } else { Op::Add };
            F::of(e.binary(op, F::FORMAT, el::<F>(a, i).bits(), el::<F>(b, i).bits()))
        })
    })
}

fn horizontal<F: Float>(c: &mut Cx, op: Op) -> Outcome {
    let half = 64 / F::BITS as usize;
    lanes(c, |e, a, b| {
        build(|i| {
            let from = if i < half { a } else { b };
            let (x, y) = (el::<F>(from, 2 * i), el::<F>(from, 2 * i + 1));
            F::of(e.binary(op, F::FORMAT, x.bits(), y.bits()))
        })
    })
}

/// Predicates of CMPxx as sets of: less 1, equal 2, greater 4, unordered 8. SDM volume 2, table 3-1.
const PREDICATES: [u8; 16] = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15];
/// Predicates for which a quiet NaN is invalid; from 16 on it is the other ones.
const SIGNALLING: u16 = 0b0110_0110_0110_0110;

fn holds(e: &mut Env, f: Format, a: u64, b: u64, predicate: u8) -> bool {
    let n = predicate & 15;
    let signalling = (SIGNALLING >> n & 1 != 0) != (predicate & 16 != 0);
    let relation = match e.compare(f, a, b, signalling) {
        Some(Ordering::Less) => 1,
        Some(Ordering::Equal) => 2,
        Some(Ordering::Greater) => 4,
        None => 8,
    };
    PREDICATES[usize::from(n)] & relation != 0
}

/// The predicate: legacy forms have eight.
fn predicate(c: &Cx) -> u8 {
    c.o.imm & if c.form.vex { 31 } else { 7 }
}

fn compare_packed<F: Float>(c: &mut Cx) -> Outcome {
    let p = predicate(c);
    lanes(c, |e, a, b| {
        build(|i| {
            let (x, y) = (el::<F>(a, i).bits(), el::<F>(b, i).bits());
            F::of(if holds(e, F::FORMAT, x, y, p) {
                u64::MAX
            } else {
                0
            })
        })
    })
}

fn compare_scalar<F: Float>(c: &mut Cx) -> Outcome {
    let p = predicate(c);
    lowest::<F>(c, |e, a, b| {
        let (x, y) = (el::<F>(a, 0).bits(), el::<F>(b, 0).bits());
        if holds(e, F::FORMAT, x, y, p) {
            u64::MAX
        } else {
            0
        }
    })
}

/// ZF, PF and CF of a comparison.
pub(in crate::x86_64) fn comparison_flags(order: Option<Ordering>) -> u64 {
    match order {
        None => 0x45,
        Some(Ordering::Less) => 1,
        Some(Ordering::Equal) => 0x40,
        Some(Ordering::Greater) => 0,
    }
}

fn compare_flags<F: Float>(c: &mut Cx, signalling: bool) -> Outcome {
    let mut e = Env::new(c.v);
    // The first operand, also in VEX forms.
    let (x, y) = (el::<F>(c.dst(), 0).bits(), el::<F>(c.b(), 0).bits());
    let order = e.compare(F::FORMAT, x, y, signalling);
    e.finish(c.v)?;
    Ok(Effect::Flags(comparison_flags(order)))
}

/// Products that the immediate's high half selects, summed in pairs; the low half says which elements get the sum.
fn dot_product<F: Float>(c: &mut Cx) -> Outcome {
    let imm = c.o.imm;
    let f = F::FORMAT;
    let n = (128 / F::BITS) as usize;
    let mut products = Env::new(c.v);
    let mut sums = Env::new(c.v);
    let mut lane = |a: u128, b: u128| {
        let mut p = [0; 4];
        for (i, p) in p.iter_mut().enumerate().take(n) {
            if imm >> (4 + i) & 1 != 0 {
                *p = products.binary(Op::Mul, f, el::<F>(a, i).bits(), el::<F>(b, i).bits());
            }
        }
        let mut sum = sums.binary(Op::Add, f, p[0], p[1]);
        if n == 4 {
            let upper = sums.binary(Op::Add, f, p[2], p[3]);
            sum = sums.binary(Op::Add, f, sum, upper);
        }
        build(|i| F::of(if imm >> i & 1 != 0 { sum } else { 0 }))
    };
    let low = lane(c.a(), c.b());
    let high = if c.is_wide() {
        lane(c.a_upper(), c.b_upper())
    } else {
        0
    };
    products.finish(c.v)?;
    sums.finish(c.v)?;
    c.put_wide(low, high)
}
