//! Conversions between integers and floating-point formats. SDM volume 1 §10.4.3, §11.4.1.6 and §14.4.
use iced_x86::{Code, Mnemonic as M};

use super::arithmetic::{Float, lanes, lowest};
use super::env::Env;
use super::form::Run::{self, Special};
use super::lanes::{build, el};
use super::{Cx, Effect, Outcome};
use crate::softfloat::{DOUBLE, HALF, SINGLE};

/// The operation of a form of this file.
#[rustfmt::skip]
pub(super) fn run(code: Code) -> Option<Run> {
    Some(match code.mnemonic() {
        M::Cvtss2sd | M::Vcvtss2sd => Special(|c| lowest::<u64>(c, |e, _, b| e.convert(SINGLE, DOUBLE, el::<u32>(b, 0).bits()))),
        M::Cvtsd2ss | M::Vcvtsd2ss => Special(|c| lowest::<u32>(c, |e, _, b| e.convert(DOUBLE, SINGLE, el::<u64>(b, 0)))),
        M::Cvtps2pd | M::Vcvtps2pd => Special(|c| widen(c, |e, x| e.convert(SINGLE, DOUBLE, x.into()))),
        M::Cvtdq2pd | M::Vcvtdq2pd => Special(|c| widen(c, |e, x| e.float(DOUBLE, (x as i32).into()))),
        M::Cvtpd2ps | M::Vcvtpd2ps => Special(|c| narrow(c, |e, x| e.convert(DOUBLE, SINGLE, x))),
        M::Cvtpd2dq | M::Vcvtpd2dq => Special(|c| narrow(c, |e, x| e.integer(DOUBLE, x, 32))),
        M::Cvttpd2dq | M::Vcvttpd2dq => Special(|c| narrow(c, |e, x| { e.truncate(); e.integer(DOUBLE, x, 32) })),
        M::Cvtdq2ps | M::Vcvtdq2ps => Special(|c| singles(c, |e, x| e.float(SINGLE, (x as i32).into()))),
        M::Cvtps2dq | M::Vcvtps2dq => Special(|c| singles(c, |e, x| e.integer(SINGLE, x.into(), 32))),
        M::Cvttps2dq | M::Vcvttps2dq => Special(|c| singles(c, |e, x| { e.truncate(); e.integer(SINGLE, x.into(), 32) })),
        M::Cvtsi2ss | M::Vcvtsi2ss => Special(|c| { let x = integer_operand(c); lowest::<u32>(c, |e, _, _| e.float(SINGLE, x)) }),
        M::Cvtsi2sd | M::Vcvtsi2sd => Special(|c| { let x = integer_operand(c); lowest::<u64>(c, |e, _, _| e.float(DOUBLE, x)) }),
        M::Cvtss2si | M::Vcvtss2si => Special(|c| to_gpr::<u32>(c, false)),
        M::Cvttss2si | M::Vcvttss2si => Special(|c| to_gpr::<u32>(c, true)),
        M::Cvtsd2si | M::Vcvtsd2si => Special(|c| to_gpr::<u64>(c, false)),
        M::Cvttsd2si | M::Vcvttsd2si => Special(|c| to_gpr::<u64>(c, true)),
        M::Cvtpi2ps => Special(mmx_to_singles),
        M::Cvtpi2pd => Special(mmx_to_doubles),
        M::Cvtps2pi => Special(|c| to_mmx::<u32>(c, false)),
        M::Cvttps2pi => Special(|c| to_mmx::<u32>(c, true)),
        M::Cvtpd2pi => Special(|c| to_mmx::<u64>(c, false)),
        M::Cvttpd2pi => Special(|c| to_mmx::<u64>(c, true)),
        M::Vcvtph2ps => Special(half_to_single),
        M::Vcvtps2ph => Special(single_to_half),
        _ => return None,
    })
}

fn singles(c: &mut Cx, f: impl Fn(&mut Env, u32) -> u64) -> Outcome {
    lanes(c, |e, _, b| build(|i| f(e, el(b, i)) as u32))
}

/// Dwords of the low half (of all of 128 bits for 256-bit results) to quadwords.
fn widen(c: &mut Cx, f: impl Fn(&mut Env, u32) -> u64) -> Outcome {
    let mut e = Env::new(c.v);
    let b = c.b();
    let low = build(|i| f(&mut e, el(b, i)));
    let high = if c.is_wide() {
        build(|i| f(&mut e, el(b, i + 2)))
    } else {
        0
    };
    e.finish(c.v)?;
    c.put_wide(low, high)
}

/// Quadwords to dwords of the low half (of all of 128 bits for 256-bit sources).
fn narrow(c: &mut Cx, f: impl Fn(&mut Env, u64) -> u64) -> Outcome {
    let mut e = Env::new(c.v);
    let (b, upper) = (c.b(), c.b_upper());
    let n = if c.is_wide() { 4 } else { 2 };
    let r = build(|i| {
        if i >= n {
            return 0;
        }
        f(&mut e, el(if i < 2 { b } else { upper }, i)) as u32
    });
    e.finish(c.v)?;
    c.put(r)
}

fn integer_operand(c: &Cx) -> i64 {
    let x = c.b_gpr();
    if c.form.quad {
        x as i64
    } else {
        (x as i32).into()
    }
}

fn to_gpr<F: Float>(c: &mut Cx, truncate: bool) -> Outcome {
    let mut e = Env::new(c.v);
    if truncate {
        e.truncate();
    }
    let bits = if c.form.quad { 64 } else { 32 };
    let r = e.integer(F::FORMAT, el::<F>(c.b(), 0).bits(), bits);
    e.finish(c.v)?;
    Ok(Effect::Gpr(r))
}

fn mmx_to_singles(c: &mut Cx) -> Outcome {
    let x = c.b_mm();
    let mut e = Env::new(c.v);
    let low = e.float(SINGLE, (x as i32).into());
    let high = e.float(SINGLE, (x as i64) >> 32);
    e.finish(c.v)?;
    let r = c.dst() >> 64 << 64 | u128::from(high) << 32 | u128::from(low);
    c.put_xmm(r)
}

/// Exact.
fn mmx_to_doubles(c: &mut Cx) -> Outcome {
    let x = c.b_mm();
    let double = |i: i32| u128::from(f64::from(i).to_bits());
    c.put_xmm(double(x as i32) | double((x >> 32) as i32) << 64)
}

fn to_mmx<F: Float>(c: &mut Cx, truncate: bool) -> Outcome {
    let mut e = Env::new(c.v);
    if truncate {
        e.truncate();
    }
    let b = c.b_xmm();
    let mut one = |i| e.integer(F::FORMAT, el::<F>(b, i).bits(), 32);
    let r = one(0) | one(1) << 32;
    e.finish(c.v)?;
    c.put(r.into())
}

/// DAZ does not apply, and denormals raise nothing. SDM volume 1 §14.4.1.
fn half_to_single(c: &mut Cx) -> Outcome {
    let mut e = Env::new(c.v);
    e.keep_denormals();
    let b = c.b();
    let mut one = |i| e.convert(HALF, SINGLE, el::<u16>(b, i).into()) as u32;
    let low = build(&mut one);
    let high = if c.is_wide() {
        build(|i| one(i + 4))
    } else {
        0
    };
    e.finish(c.v)?;
    c.put_wide(low, high)
}

/// Rounds by the immediate as ROUNDPS does; FTZ does not apply.
fn single_to_half(c: &mut Cx) -> Outcome {
    let mut e = Env::new(c.v);
    e.keep_tiny();
    let imm = c.o.imm;
    if imm & 4 == 0 {
        e.set_rounding(imm & 3);
    }
    let (b, upper) = (c.b(), c.b_upper());
    let n = if c.is_wide() { 8 } else { 4 };
    let r = build(|i| {
        if i >= n {
            return 0;
        }
        e.convert(
            SINGLE,
            HALF,
            el::<u32>(if i < 4 { b } else { upper }, i).into(),
        ) as u16
    });
    e.finish(c.v)?;
    c.put_or_store(r, n as u8 * 2)
}
