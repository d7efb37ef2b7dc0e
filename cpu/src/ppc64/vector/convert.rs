//! Conversions and rounding to integers, FPR and VSX forms. Power ISA 3.0B Book I §4.6.7 and §7.6.
use super::fields::{el, xx2};
use super::fpscr::{VXCVI, VXSNAN, XX};
use super::memory::{double_to_single, single_to_double};
use super::scalar::{Arith, arith, class_code};
use super::vsx_float::vector;
use super::{Facility, Run, VecCtx, VecOp};
use crate::softfloat::{
    self as soft, AWAY, Class, DOUBLE, DOWN, Format, HALF, NEAREST, Num, Out, SINGLE, TO_ZERO, UP,
};

/// Converts to an integer of `bits` bits, saturating.
pub(super) fn to_int(n: &Num, rm: u8, signed: bool, bits: u32) -> Out {
    let ones = u128::MAX >> (128 - bits);
    let (min, max) = if signed {
        (1 << (bits - 1), ones >> 1)
    } else {
        (0, ones)
    };
    let invalid = |v: u128, snan: bool| Out {
        bits: v,
        flags: VXCVI | if snan { VXSNAN } else { 0 },
        ..Out::default()
    };
    match n.class {
        Class::Nan => return invalid(min, n.is_snan()),
        Class::Inf => return invalid(if n.sign { min } else { max }, false),
        _ => {}
    }
    let (mag, fr, fi) = soft::to_integer(n, rm);
    // The most negative magnitude equals `min` as a bit pattern.
    let limit = if n.sign { min } else { max };
    match mag {
        Some(m) if m <= limit => Out {
            bits: if n.sign { m.wrapping_neg() & ones } else { m },
            flags: if fi { XX } else { 0 },
            fr,
            fi,
            adjusted: None,
        },
        _ => invalid(if n.sign { min } else { max }, false),
    }
}

/// Rounds to an integral value in the same format.
pub(super) fn integral(bits: u128, f: Format, rm: u8) -> Out {
    let n = Num::unpack(bits, f);
    if n.is_nan() {
        let flags = if n.is_snan() { VXSNAN } else { 0 };
        let mut out = soft::round(&n.quiet(), f, NEAREST, 0);
        out.flags = flags;
        return out;
    }
    if n.class != Class::Normal || n.exp >= f.frac as i32 {
        return Out {
            bits,
            ..Out::default()
        };
    }
    let (mag, fr, fi) = soft::to_integer(&n, rm);
    let mut out = soft::round(&Num::integer(n.sign, mag.unwrap_or(0)), f, NEAREST, 0);
    out.flags = if fi { XX } else { 0 };
    (out.fr, out.fi) = (fr, fi);
    out
}

/// Without the inexact report.
fn silent(mut out: Out) -> Out {
    out.flags &= !XX;
    (out.fr, out.fi) = (false, false);
    out
}

fn from_int(v: u64, signed: bool, f: Format, rm: u8) -> Out {
    let n = if signed {
        Num::integer((v as i64) < 0, u128::from((v as i64).unsigned_abs()))
    } else {
        Num::integer(false, u128::from(v))
    };
    soft::round(&n, f, rm, 0)
}

fn fcti(c: &mut VecCtx, zero: bool, signed: bool, bits: u32) -> Run {
    let n = Num::unpack(u128::from(c.fpr(c.f_b())), DOUBLE);
    let rm = if zero { TO_ZERO } else { c.rn() };
    let out = to_int(&n, rm, signed, bits);
    if c.scalar_status(&out, None) {
        let v = out.bits as u64;
        let v = if bits == 32 && signed && out.flags & VXSNAN == 0 && !n.is_nan() {
            v as u32 as i32 as i64 as u64
        } else {
            v
        };
        c.set_fpr(c.f_t(), v);
    }
    c.cr1(c.insn & 1 != 0);
    c.fp_trap(out.flags)
}

fn fcfi(c: &mut VecCtx, signed: bool, f: Format) -> Run {
    let out = from_int(c.fpr(c.f_b()), signed, f, c.rn());
    let r = c.finish(&out, f, c.f_t());
    c.cr1(c.insn & 1 != 0);
    r
}

fn fri(c: &mut VecCtx, rm: u8) -> Run {
    let out = silent(integral(u128::from(c.fpr(c.f_b())), DOUBLE, rm));
    let r = c.finish(&out, DOUBLE, c.f_t());
    c.cr1(c.insn & 1 != 0);
    r
}

fn xb0(c: &VecCtx) -> u128 {
    c.xb() >> 64
}

fn xsrdpi(c: &mut VecCtx, rm: Option<u8>) -> Run {
    let out = match rm {
        Some(rm) => silent(integral(xb0(c), DOUBLE, rm)),
        None => integral(xb0(c), DOUBLE, c.rn()),
    };
    c.finish(&out, DOUBLE, c.xt_index())
}

fn xvri(c: &mut VecCtx, f: Format, rm: Option<u8>) -> Run {
    let (b, rn) = (c.xb(), c.rn());
    let one = |v: u128| match rm {
        Some(rm) => silent(integral(v, f, rm)),
        None => integral(v, f, rn),
    };
    if f == DOUBLE {
        vector(c, 64, |i| one(el::<u64>(b, i).into()))
    } else {
        vector(c, 32, |i| one(el::<u32>(b, i).into()))
    }
}

fn xscvdp_int(c: &mut VecCtx, signed: bool, bits: u32) -> Run {
    let out = to_int(&Num::unpack(xb0(c), DOUBLE), TO_ZERO, signed, bits);
    if c.scalar_status(&out, None) {
        let v = if bits == 32 {
            out.bits << 32 | out.bits
        } else {
            out.bits
        };
        let _ = c.set_xt(v << 64);
    }
    c.fp_trap(out.flags)
}

fn xscv_int(c: &mut VecCtx, signed: bool, f: Format) -> Run {
    let out = from_int(xb0(c) as u64, signed, f, c.rn());
    c.finish(&out, f, c.xt_index())
}

/// Element `i` of width `bits`.
fn element(v: u128, bits: u32, i: u32) -> u128 {
    if bits == 64 {
        el::<u64>(v, i).into()
    } else {
        el::<u32>(v, i).into()
    }
}

/// Input element number for output element `i`: of two words only word 0 of a doubleword counts, and both words of a doubleword get a
/// narrowed result (the ISA leaves word 1 undefined).
fn source(from: u32, to: u32, i: u32) -> u32 {
    match (from, to) {
        (64, 32) => i / 2,
        (32, 64) => 2 * i,
        _ => i,
    }
}

fn xvcv_int(c: &mut VecCtx, from: u32, signed: bool, to: u32) -> Run {
    let b = c.xb();
    let f = if from == 64 { DOUBLE } else { SINGLE };
    vector(c, to, |i| {
        let n = Num::unpack(element(b, from, source(from, to, i)), f);
        to_int(&n, TO_ZERO, signed, to)
    })
}

fn xvcv_from(c: &mut VecCtx, from: u32, signed: bool, to: u32) -> Run {
    let (b, rn) = (c.xb(), c.rn());
    let f = if to == 64 { DOUBLE } else { SINGLE };
    vector(c, to, |i| {
        let v = element(b, from, source(from, to, i)) as u64;
        let v = if from == 32 && signed {
            v as u32 as i32 as i64 as u64
        } else {
            v
        };
        from_int(v, signed, f, rn)
    })
}

fn convert(v: u128, from: Format, to: Format, rm: u8, fpscr: u32) -> Out {
    arith(Arith::Round, from, to, [0, v, 0], rm, fpscr)
}

/// Scalar conversion between formats whose result stays in its own format.
fn xscv(c: &mut VecCtx, v: u128, from: Format, to: Format) -> Run {
    let out = convert(v, from, to, c.rn(), c.fpscr());
    if c.scalar_status(&out, Some(class_code(out.bits, to))) {
        let r = if to == SINGLE {
            out.bits << 32 | out.bits
        } else {
            out.bits
        };
        let _ = c.set_xt(r << 64);
    }
    c.fp_trap(out.flags)
}

const fn x(name: &'static str, primary: u32, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(
        name,
        0xfc1f_07fe,
        primary << 26 | xo << 1,
        Facility::Fp,
        run,
    )
}

const fn xb(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    xx2(name, xo, 0, run)
}

pub(super) const OPS: &[VecOp] = &[
    x("fctiw", 63, 14, |c| fcti(c, false, true, 32)),
    x("fctiwz", 63, 15, |c| fcti(c, true, true, 32)),
    x("fctiwu", 63, 142, |c| fcti(c, false, false, 32)),
    x("fctiwuz", 63, 143, |c| fcti(c, true, false, 32)),
    x("fctid", 63, 814, |c| fcti(c, false, true, 64)),
    x("fctidz", 63, 815, |c| fcti(c, true, true, 64)),
    x("fctidu", 63, 942, |c| fcti(c, false, false, 64)),
    x("fctiduz", 63, 943, |c| fcti(c, true, false, 64)),
    x("fcfid", 63, 846, |c| fcfi(c, true, DOUBLE)),
    x("fcfidu", 63, 974, |c| fcfi(c, false, DOUBLE)),
    x("fcfids", 59, 846, |c| fcfi(c, true, SINGLE)),
    x("fcfidus", 59, 974, |c| fcfi(c, false, SINGLE)),
    x("frin", 63, 392, |c| fri(c, AWAY)),
    x("friz", 63, 424, |c| fri(c, TO_ZERO)),
    x("frip", 63, 456, |c| fri(c, UP)),
    x("frim", 63, 488, |c| fri(c, DOWN)),
    xb("xsrdpi", 73, |c| xsrdpi(c, Some(AWAY))),
    xb("xsrdpic", 107, |c| xsrdpi(c, None)),
    xb("xsrdpim", 121, |c| xsrdpi(c, Some(DOWN))),
    xb("xsrdpip", 105, |c| xsrdpi(c, Some(UP))),
    xb("xsrdpiz", 89, |c| xsrdpi(c, Some(TO_ZERO))),
    xb("xvrspi", 137, |c| xvri(c, SINGLE, Some(AWAY))),
    xb("xvrspic", 171, |c| xvri(c, SINGLE, None)),
    xb("xvrspim", 185, |c| xvri(c, SINGLE, Some(DOWN))),
    xb("xvrspip", 169, |c| xvri(c, SINGLE, Some(UP))),
    xb("xvrspiz", 153, |c| xvri(c, SINGLE, Some(TO_ZERO))),
    xb("xvrdpi", 201, |c| xvri(c, DOUBLE, Some(AWAY))),
    xb("xvrdpic", 235, |c| xvri(c, DOUBLE, None)),
    xb("xvrdpim", 249, |c| xvri(c, DOUBLE, Some(DOWN))),
    xb("xvrdpip", 233, |c| xvri(c, DOUBLE, Some(UP))),
    xb("xvrdpiz", 217, |c| xvri(c, DOUBLE, Some(TO_ZERO))),
    xb("xscvdpsxds", 344, |c| xscvdp_int(c, true, 64)),
    xb("xscvdpsxws", 88, |c| xscvdp_int(c, true, 32)),
    xb("xscvdpuxds", 328, |c| xscvdp_int(c, false, 64)),
    xb("xscvdpuxws", 72, |c| xscvdp_int(c, false, 32)),
    xb("xscvsxddp", 376, |c| xscv_int(c, true, DOUBLE)),
    xb("xscvuxddp", 360, |c| xscv_int(c, false, DOUBLE)),
    xb("xscvsxdsp", 312, |c| xscv_int(c, true, SINGLE)),
    xb("xscvuxdsp", 296, |c| xscv_int(c, false, SINGLE)),
    xb("xvcvdpsxds", 472, |c| xvcv_int(c, 64, true, 64)),
    xb("xvcvdpsxws", 216, |c| xvcv_int(c, 64, true, 32)),
    xb("xvcvdpuxds", 456, |c| xvcv_int(c, 64, false, 64)),
    xb("xvcvdpuxws", 200, |c| xvcv_int(c, 64, false, 32)),
    xb("xvcvspsxds", 408, |c| xvcv_int(c, 32, true, 64)),
    xb("xvcvspsxws", 152, |c| xvcv_int(c, 32, true, 32)),
    xb("xvcvspuxds", 392, |c| xvcv_int(c, 32, false, 64)),
    xb("xvcvspuxws", 136, |c| xvcv_int(c, 32, false, 32)),
    xb("xvcvsxddp", 504, |c| xvcv_from(c, 64, true, 64)),
    xb("xvcvsxdsp", 440, |c| xvcv_from(c, 64, true, 32)),
    xb("xvcvsxwdp", 248, |c| xvcv_from(c, 32, true, 64)),
    xb("xvcvsxwsp", 184, |c| xvcv_from(c, 32, true, 32)),
    xb("xvcvuxddp", 488, |c| xvcv_from(c, 64, false, 64)),
    xb("xvcvuxdsp", 424, |c| xvcv_from(c, 64, false, 32)),
    xb("xvcvuxwdp", 232, |c| xvcv_from(c, 32, false, 64)),
    xb("xvcvuxwsp", 168, |c| xvcv_from(c, 32, false, 32)),
    xb("xsrsp", 281, |c| {
        let out = convert(xb0(c), DOUBLE, SINGLE, c.rn(), c.fpscr());
        c.finish(&out, SINGLE, c.xt_index())
    }),
    xb("xscvdpsp", 265, |c| xscv(c, xb0(c), DOUBLE, SINGLE)),
    xb("xscvspdp", 329, |c| xscv(c, c.xb() >> 96, SINGLE, DOUBLE)),
    xb("xscvdpspn", 267, |c| {
        let v = u128::from(double_to_single(xb0(c) as u64));
        c.set_xt((v << 32 | v) << 64)
    }),
    xb("xscvspdpn", 331, |c| {
        c.set_xt(u128::from(single_to_double((c.xb() >> 96) as u32)) << 64)
    }),
    xx2("xscvhpdp", 347, 16, |c| {
        xscv(c, xb0(c) & 0xffff, HALF, DOUBLE)
    }),
    xx2("xscvdphp", 347, 17, |c| xscv(c, xb0(c), DOUBLE, HALF)),
    xb("xvcvdpsp", 393, |c| {
        let (b, rn, s) = (c.xb(), c.rn(), c.fpscr());
        vector(c, 32, |i| {
            convert(el::<u64>(b, i / 2).into(), DOUBLE, SINGLE, rn, s)
        })
    }),
    xb("xvcvspdp", 457, |c| {
        let (b, rn, s) = (c.xb(), c.rn(), c.fpscr());
        vector(c, 64, |i| {
            convert(el::<u32>(b, 2 * i).into(), SINGLE, DOUBLE, rn, s)
        })
    }),
    xx2("xvcvhpsp", 475, 24, |c| {
        let (b, rn, s) = (c.xb(), c.rn(), c.fpscr());
        vector(c, 32, |i| {
            convert(el::<u16>(b, 2 * i + 1).into(), HALF, SINGLE, rn, s)
        })
    }),
    xx2("xvcvsphp", 475, 25, |c| {
        let (b, rn, s) = (c.xb(), c.rn(), c.fpscr());
        vector(c, 32, |i| {
            convert(el::<u32>(b, i).into(), SINGLE, HALF, rn, s)
        })
    }),
];
