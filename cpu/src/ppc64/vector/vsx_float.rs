//! VSX floating-point arithmetic, compares, minima, exponents and class tests. Power ISA 3.0B Book I §7.6.
use super::fields::{build, el, xx2, xx3};
use super::fpscr::{VE, VXSNAN, VXVC};
use super::scalar::{Arith, arith, test_div, test_sqrt};
use super::{Facility, Run, VecCtx, VecOp};
use crate::softfloat::{self as soft, Class, DOUBLE, Format, NEAREST, Num, Out, SINGLE};
use std::cmp::Ordering;

/// A vector operation with results of `bits` bits: no element is written if one has an enabled exception.
pub(super) fn vector(c: &mut VecCtx, bits: u32, f: impl Fn(u32) -> Out) -> Run {
    let (r, flags) = elements(bits, f);
    c.raise(flags);
    if !c.enabled(flags) {
        let _ = c.set_xt(r);
    }
    c.fp_trap(flags)
}

fn elements(bits: u32, f: impl Fn(u32) -> Out) -> (u128, u32) {
    let (mut r, mut flags) = (0_u128, 0);
    for i in 0..128 / bits {
        let out = f(i);
        r = r << bits | out.bits;
        flags |= out.flags;
    }
    (r, flags)
}

/// Operands (a, b, c of `arith`): the A forms multiply XA by XB and add XT, the M forms multiply XA by XT and add XB.
fn operands(c: &VecCtx, op: Arith, m_form: bool) -> [u128; 3] {
    let (a, b, t) = (c.xa(), c.xb(), c.xt());
    match op {
        Arith::Madd | Arith::Msub | Arith::Nmadd | Arith::Nmsub => {
            if m_form {
                [a, b, t]
            } else {
                [a, t, b]
            }
        }
        _ => [a, b, b],
    }
}

fn rounding(c: &VecCtx, op: Arith) -> u8 {
    match op {
        Arith::Re | Arith::Rsqrte => NEAREST,
        _ => c.rn(),
    }
}

fn xs(c: &mut VecCtx, op: Arith, to: Format, m_form: bool) -> Run {
    let x = operands(c, op, m_form).map(|v| v >> 64);
    let out = arith(op, DOUBLE, to, x, rounding(c, op), c.fpscr());
    c.finish(&out, to, c.xt_index())
}

fn xv(c: &mut VecCtx, op: Arith, f: Format, m_form: bool) -> Run {
    let x = operands(c, op, m_form);
    let (rm, s) = (rounding(c, op), c.fpscr());
    if f == DOUBLE {
        vector(c, 64, |i| {
            arith(op, f, f, x.map(|v| el::<u64>(v, i).into()), rm, s)
        })
    } else {
        vector(c, 32, |i| {
            arith(op, f, f, x.map(|v| el::<u32>(v, i).into()), rm, s)
        })
    }
}

macro_rules! arith_rows {
    ($form:ident $run:ident $fmt:ident: $($name:literal $xo:literal $op:ident $m:literal),*) => {
        &[$($form($name, $xo, |c| $run(c, Arith::$op, $fmt, $m))),*]
    };
}

const fn xb(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    xx2(name, xo, 0, run)
}

const XS_DP: &[VecOp] = arith_rows!(xx3 xs DOUBLE: "xsadddp" 32 Add false, "xssubdp" 40 Sub false,
    "xsmuldp" 48 Mul false, "xsdivdp" 56 Div false, "xsmaddadp" 33 Madd false, "xsmaddmdp" 41 Madd true,
    "xsmsubadp" 49 Msub false, "xsmsubmdp" 57 Msub true, "xsnmaddadp" 161 Nmadd false,
    "xsnmaddmdp" 169 Nmadd true, "xsnmsubadp" 177 Nmsub false, "xsnmsubmdp" 185 Nmsub true);
const XS_SP: &[VecOp] = arith_rows!(xx3 xs SINGLE: "xsaddsp" 0 Add false, "xssubsp" 8 Sub false,
    "xsmulsp" 16 Mul false, "xsdivsp" 24 Div false, "xsmaddasp" 1 Madd false, "xsmaddmsp" 9 Madd true,
    "xsmsubasp" 17 Msub false, "xsmsubmsp" 25 Msub true, "xsnmaddasp" 129 Nmadd false,
    "xsnmaddmsp" 137 Nmadd true, "xsnmsubasp" 145 Nmsub false, "xsnmsubmsp" 153 Nmsub true);
const XV_DP: &[VecOp] = arith_rows!(xx3 xv DOUBLE: "xvadddp" 96 Add false, "xvsubdp" 104 Sub false,
    "xvmuldp" 112 Mul false, "xvdivdp" 120 Div false, "xvmaddadp" 97 Madd false, "xvmaddmdp" 105 Madd true,
    "xvmsubadp" 113 Msub false, "xvmsubmdp" 121 Msub true, "xvnmaddadp" 225 Nmadd false,
    "xvnmaddmdp" 233 Nmadd true, "xvnmsubadp" 241 Nmsub false, "xvnmsubmdp" 249 Nmsub true);
const XV_SP: &[VecOp] = arith_rows!(xx3 xv SINGLE: "xvaddsp" 64 Add false, "xvsubsp" 72 Sub false,
    "xvmulsp" 80 Mul false, "xvdivsp" 88 Div false, "xvmaddasp" 65 Madd false, "xvmaddmsp" 73 Madd true,
    "xvmsubasp" 81 Msub false, "xvmsubmsp" 89 Msub true, "xvnmaddasp" 193 Nmadd false,
    "xvnmaddmsp" 201 Nmadd true, "xvnmsubasp" 209 Nmsub false, "xvnmsubmsp" 217 Nmsub true);
const XS2_DP: &[VecOp] = arith_rows!(xb xs DOUBLE: "xssqrtdp" 75 Sqrt false, "xsredp" 90 Re false,
    "xsrsqrtedp" 74 Rsqrte false);
const XS2_SP: &[VecOp] = arith_rows!(xb xs SINGLE: "xssqrtsp" 11 Sqrt false, "xsresp" 26 Re false,
    "xsrsqrtesp" 10 Rsqrte false);
const XV2_DP: &[VecOp] = arith_rows!(xb xv DOUBLE: "xvsqrtdp" 203 Sqrt false, "xvredp" 218 Re false,
    "xvrsqrtedp" 202 Rsqrte false);
const XV2_SP: &[VecOp] = arith_rows!(xb xv SINGLE: "xvsqrtsp" 139 Sqrt false, "xvresp" 154 Re false,
    "xvrsqrtesp" 138 Rsqrte false);

/// All arithmetic rows.
pub(super) const ARITH: [&[VecOp]; 8] =
    [XS_DP, XS_SP, XV_DP, XV_SP, XS2_DP, XS2_SP, XV2_DP, XV2_SP];

#[derive(Clone, Copy, PartialEq)]
enum Rel {
    Eq,
    Gt,
    Ge,
}

/// One element of a mask compare.
fn relation(a: u128, b: u128, f: Format, rel: Rel, fpscr: u32) -> Out {
    let (x, y) = (Num::unpack(a, f), Num::unpack(b, f));
    let mut out = Out::default();
    if x.is_nan() || y.is_nan() {
        let snan = x.is_snan() || y.is_snan();
        if snan {
            out.flags |= VXSNAN;
        }
        if rel != Rel::Eq && (!snan || fpscr & VE == 0) {
            out.flags |= VXVC;
        }
        return out;
    }
    let holds = match soft::compare(&x, &y) {
        Ordering::Equal => rel != Rel::Gt,
        Ordering::Greater => rel != Rel::Eq,
        Ordering::Less => false,
    };
    if holds {
        out.bits = f.sign_bit() << 1;
        out.bits -= 1;
    }
    out
}

fn xscmp(c: &mut VecCtx, rel: Rel) -> Run {
    let out = relation(c.xa() >> 64, c.xb() >> 64, DOUBLE, rel, c.fpscr());
    c.raise(out.flags);
    if !c.enabled(out.flags) {
        let _ = c.set_xt(out.bits << 64);
    }
    c.fp_trap(out.flags)
}

fn xvcmp(c: &mut VecCtx, f: Format, rel: Rel) -> Run {
    let (a, b, s) = (c.xa(), c.xb(), c.fpscr());
    let (r, flags) = if f == DOUBLE {
        elements(64, |i| {
            relation(el::<u64>(a, i).into(), el::<u64>(b, i).into(), f, rel, s)
        })
    } else {
        elements(32, |i| {
            relation(el::<u32>(a, i).into(), el::<u32>(b, i).into(), f, rel, s)
        })
    };
    c.raise(flags);
    if !c.enabled(flags) {
        let _ = c.set_xt(r);
        c.cr6(r);
    }
    c.fp_trap(flags)
}

/// Maximum or minimum, where a quiet NaN loses against a number.
fn min_max(a: u128, b: u128, f: Format, max: bool) -> Out {
    let (x, y) = (Num::unpack(a, f), Num::unpack(b, f));
    let quiet = |v: u128| v | 1 << (f.frac - 1);
    let mut out = Out::default();
    if x.is_snan() || y.is_snan() {
        out.flags = VXSNAN;
        out.bits = quiet(if x.is_nan() { a } else { b });
        return out;
    }
    out.bits = match (x.is_nan(), y.is_nan()) {
        (true, true) | (false, true) => a,
        (true, false) => b,
        _ => pick(a, &x, b, &y, max),
    };
    out
}

/// The greater or smaller of two numbers, +0 being greater than -0.
fn pick(a: u128, x: &Num, b: u128, y: &Num, max: bool) -> u128 {
    let greater = match soft::compare(x, y) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => !x.sign,
    };
    if greater == max { a } else { b }
}

fn xvminmax(c: &mut VecCtx, f: Format, max: bool) -> Run {
    let (a, b) = (c.xa(), c.xb());
    if f == DOUBLE {
        vector(c, 64, |i| {
            min_max(el::<u64>(a, i).into(), el::<u64>(b, i).into(), f, max)
        })
    } else {
        vector(c, 32, |i| {
            min_max(el::<u32>(a, i).into(), el::<u32>(b, i).into(), f, max)
        })
    }
}

/// Writes doubleword 0 of XT unless an enabled exception forbids it; FPRF, FR and FI stay.
fn put_scalar(c: &mut VecCtx, out: &Out) -> Run {
    c.raise(out.flags);
    if !c.enabled(out.flags) {
        let _ = c.set_xt(out.bits << 64);
    }
    c.fp_trap(out.flags)
}

/// Type-C (C language operator) and type-J (Java) maximum and minimum.
fn min_max_cj(c: &mut VecCtx, max: bool, java: bool) -> Run {
    let (a, b) = (c.xa() >> 64, c.xb() >> 64);
    let (x, y) = (Num::unpack(a, DOUBLE), Num::unpack(b, DOUBLE));
    let flags = if x.is_snan() || y.is_snan() {
        VXSNAN
    } else {
        0
    };
    let bits = if x.is_nan() || y.is_nan() {
        if java && x.is_nan() { a } else { b }
    } else if java {
        pick(a, &x, b, &y, max)
    } else {
        let order = soft::compare(&x, &y);
        let first = order
            == if max {
                Ordering::Greater
            } else {
                Ordering::Less
            };
        if first { a } else { b }
    };
    let out = Out {
        bits,
        flags,
        ..Out::default()
    };
    put_scalar(c, &out)
}

/// Sign manipulation by element; no status.
fn sign64(c: &mut VecCtx, vector: bool, f: fn(u64, u64) -> u64) -> Run {
    let (a, b) = (c.xa(), c.xb());
    let r = build(|i| {
        if i == 0 || vector {
            f(el(a, i), el(b, i))
        } else {
            0
        }
    });
    c.set_xt(r)
}

fn sign32(c: &mut VecCtx, f: fn(u32, u32) -> u32) -> Run {
    let (a, b) = (c.xa(), c.xb());
    c.set_xt(build(|i| f(el(a, i), el(b, i))))
}

const S64: u64 = 1 << 63;
const S32: u32 = 1 << 31;

fn bf(c: &mut VecCtx, code: u8) -> Run {
    c.set_cr((c.insn >> 23 & 7) as usize, code);
    Ok(())
}

/// Combines the element codes of a vector software-division test.
fn all_codes(codes: impl Iterator<Item = u8>) -> u8 {
    8 | codes.fold(0, |r, x| r | x)
}

/// Whether a value is in a class selected by DCMX.
pub(super) fn in_class(bits: u128, f: Format, dcmx: u32, min_exp: i32) -> bool {
    let n = Num::unpack(bits, f);
    let bit = match n.class {
        Class::Nan => 64,
        Class::Inf => 32 >> u32::from(n.sign),
        Class::Zero => 8 >> u32::from(n.sign),
        Class::Normal if n.exp < min_exp => 2 >> u32::from(n.sign),
        Class::Normal => 0,
    };
    dcmx & bit != 0
}

fn xststdc(c: &mut VecCtx, single: bool) -> Run {
    let v = c.xb() >> 64;
    let min = if single { -126 } else { -1022 };
    let n = Num::unpack(v, DOUBLE);
    let inexact = single && {
        let out = arith(Arith::Round, DOUBLE, SINGLE, [0, v, 0], NEAREST, 0);
        !n.is_nan() && (out.fi || out.flags & !VXSNAN != 0)
            || n.is_nan() && v as u32 & 0x1fff_ffff != 0
    };
    let code = if n.sign { 8 } else { 0 }
        | if in_class(v, DOUBLE, c.insn >> 16 & 0x7f, min) {
            2
        } else {
            0
        }
        | u8::from(inexact);
    c.finish_compare(code, 0)
}

fn dcmx(c: &VecCtx) -> u32 {
    c.insn >> 16 & 31 | (c.insn >> 2 & 1) << 5 | (c.insn >> 6 & 1) << 6
}

fn xscmp_cr(c: &mut VecCtx, ordered: bool) -> Run {
    let a = Num::unpack(c.xa() >> 64, DOUBLE);
    let b = Num::unpack(c.xb() >> 64, DOUBLE);
    let (code, flags) = c.compare(&a, &b, ordered);
    c.finish_compare(code, flags)
}

/// XX3 form with a CR field as target.
const fn xbf(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc60_07f9, 60 << 26 | xo << 3, Facility::Vsx, run)
}

/// XX2 form with a CR field as target.
const fn xbf2(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc7f_07fd, 60 << 26 | xo << 2, Facility::Vsx, run)
}

const fn xrc(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_03f8, 60 << 26 | xo << 3, Facility::Vsx, run)
}

const fn raw(name: &'static str, mask: u32, value: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(
        name,
        0xfc00_0000 | mask,
        60 << 26 | value,
        Facility::Vsx,
        run,
    )
}

pub(super) const OPS: &[VecOp] = &[
    xbf("xscmpudp", 35, |c| xscmp_cr(c, false)),
    xbf("xscmpodp", 43, |c| xscmp_cr(c, true)),
    xbf("xscmpexpdp", 59, |c| {
        let (a, b) = (c.xa() >> 64, c.xb() >> 64);
        let nan = |v| Num::unpack(v, DOUBLE).is_nan();
        let code = match (a >> 52 & 0x7ff).cmp(&(b >> 52 & 0x7ff)) {
            _ if nan(a) || nan(b) => 1,
            Ordering::Less => 8,
            Ordering::Greater => 4,
            Ordering::Equal => 2,
        };
        c.finish_compare(code, 0)
    }),
    xx3("xscmpeqdp", 3, |c| xscmp(c, Rel::Eq)),
    xx3("xscmpgtdp", 11, |c| xscmp(c, Rel::Gt)),
    xx3("xscmpgedp", 19, |c| xscmp(c, Rel::Ge)),
    xrc("xvcmpeqsp", 67, |c| xvcmp(c, SINGLE, Rel::Eq)),
    xrc("xvcmpgtsp", 75, |c| xvcmp(c, SINGLE, Rel::Gt)),
    xrc("xvcmpgesp", 83, |c| xvcmp(c, SINGLE, Rel::Ge)),
    xrc("xvcmpeqdp", 99, |c| xvcmp(c, DOUBLE, Rel::Eq)),
    xrc("xvcmpgtdp", 107, |c| xvcmp(c, DOUBLE, Rel::Gt)),
    xrc("xvcmpgedp", 115, |c| xvcmp(c, DOUBLE, Rel::Ge)),
    xx3("xsmaxdp", 160, |c| {
        let out = min_max(c.xa() >> 64, c.xb() >> 64, DOUBLE, true);
        put_scalar(c, &out)
    }),
    xx3("xsmindp", 168, |c| {
        let out = min_max(c.xa() >> 64, c.xb() >> 64, DOUBLE, false);
        put_scalar(c, &out)
    }),
    xx3("xsmaxcdp", 128, |c| min_max_cj(c, true, false)),
    xx3("xsmincdp", 136, |c| min_max_cj(c, false, false)),
    xx3("xsmaxjdp", 144, |c| min_max_cj(c, true, true)),
    xx3("xsminjdp", 152, |c| min_max_cj(c, false, true)),
    xx3("xvmaxsp", 192, |c| xvminmax(c, SINGLE, true)),
    xx3("xvminsp", 200, |c| xvminmax(c, SINGLE, false)),
    xx3("xvmaxdp", 224, |c| xvminmax(c, DOUBLE, true)),
    xx3("xvmindp", 232, |c| xvminmax(c, DOUBLE, false)),
    xx3("xscpsgndp", 176, |c| {
        sign64(c, false, |a, b| b & !S64 | a & S64)
    }),
    xx3("xvcpsgndp", 240, |c| {
        sign64(c, true, |a, b| b & !S64 | a & S64)
    }),
    xx3("xvcpsgnsp", 208, |c| sign32(c, |a, b| b & !S32 | a & S32)),
    xb("xsabsdp", 345, |c| sign64(c, false, |_, b| b & !S64)),
    xb("xsnabsdp", 361, |c| sign64(c, false, |_, b| b | S64)),
    xb("xsnegdp", 377, |c| sign64(c, false, |_, b| b ^ S64)),
    xb("xvabsdp", 473, |c| sign64(c, true, |_, b| b & !S64)),
    xb("xvnabsdp", 489, |c| sign64(c, true, |_, b| b | S64)),
    xb("xvnegdp", 505, |c| sign64(c, true, |_, b| b ^ S64)),
    xb("xvabssp", 409, |c| sign32(c, |_, b| b & !S32)),
    xb("xvnabssp", 425, |c| sign32(c, |_, b| b | S32)),
    xb("xvnegsp", 441, |c| sign32(c, |_, b| b ^ S32)),
    xbf("xstdivdp", 61, |c| {
        bf(c, test_div(c.xa() >> 64, c.xb() >> 64, DOUBLE))
    }),
    xbf("xvtdivdp", 125, |c| {
        let (a, b) = (c.xa(), c.xb());
        bf(
            c,
            all_codes(
                (0..2).map(|i| test_div(el::<u64>(a, i).into(), el::<u64>(b, i).into(), DOUBLE)),
            ),
        )
    }),
    xbf("xvtdivsp", 93, |c| {
        let (a, b) = (c.xa(), c.xb());
        bf(
            c,
            all_codes(
                (0..4).map(|i| test_div(el::<u32>(a, i).into(), el::<u32>(b, i).into(), SINGLE)),
            ),
        )
    }),
    xbf2("xstsqrtdp", 106, |c| bf(c, test_sqrt(c.xb() >> 64, DOUBLE))),
    xbf2("xvtsqrtdp", 234, |c| {
        let b = c.xb();
        bf(
            c,
            all_codes((0..2).map(|i| test_sqrt(el::<u64>(b, i).into(), DOUBLE))),
        )
    }),
    xbf2("xvtsqrtsp", 170, |c| {
        let b = c.xb();
        bf(
            c,
            all_codes((0..4).map(|i| test_sqrt(el::<u32>(b, i).into(), SINGLE))),
        )
    }),
    raw("xststdcdp", 0x0000_07fd, 362 << 2, |c| xststdc(c, false)),
    raw("xststdcsp", 0x0000_07fd, 298 << 2, |c| xststdc(c, true)),
    raw("xvtstdcsp", 0x0000_07b8, 13 << 7 | 5 << 3, |c| {
        let (b, m) = (c.xb(), dcmx(c));
        c.set_xt(build(|i| {
            if in_class(el::<u32>(b, i).into(), SINGLE, m, -126) {
                u32::MAX
            } else {
                0
            }
        }))
    }),
    raw("xvtstdcdp", 0x0000_07b8, 15 << 7 | 5 << 3, |c| {
        let (b, m) = (c.xb(), dcmx(c));
        c.set_xt(build(|i| {
            if in_class(el::<u64>(b, i).into(), DOUBLE, m, -1022) {
                u64::MAX
            } else {
                0
            }
        }))
    }),
    raw("xsxexpdp", 0x001f_07fd, 347 << 2, |c| {
        let t = c.f_t();
        c.set_gpr(t, (c.xb() >> 116 & 0x7ff) as u64);
        Ok(())
    }),
    raw("xsxsigdp", 0x001f_07fd, 1 << 16 | 347 << 2, |c| {
        let t = c.f_t();
        c.set_gpr(t, significand((c.xb() >> 64) as u64));
        Ok(())
    }),
    raw("xsiexpdp", 0x0000_07fe, 918 << 1, |c| {
        let (a, b) = (c.gpr(c.f_a()), c.gpr(c.f_b()));
        c.set_xt(u128::from(insert_exp(a, b)) << 64)
    }),
    xx2("xvxexpdp", 475, 0, |c| {
        let b = c.xb();
        c.set_xt(build(|i| el::<u64>(b, i) >> 52 & 0x7ff))
    }),
    xx2("xvxsigdp", 475, 1, |c| {
        let b = c.xb();
        c.set_xt(build(|i| significand(el(b, i))))
    }),
    xx2("xvxexpsp", 475, 8, |c| {
        let b = c.xb();
        c.set_xt(build(|i| el::<u32>(b, i) >> 23 & 0xff))
    }),
    xx2("xvxsigsp", 475, 9, |c| {
        let b = c.xb();
        c.set_xt(build(|i| {
            let v = el::<u32>(b, i);
            let e = v >> 23 & 0xff;
            v & 0x7f_ffff | if e != 0 && e != 0xff { 0x80_0000 } else { 0 }
        }))
    }),
    xx3("xviexpdp", 248, |c| {
        let (a, b) = (c.xa(), c.xb());
        c.set_xt(build(|i| insert_exp(el(a, i), el(b, i))))
    }),
    xx3("xviexpsp", 216, |c| {
        let (a, b) = (c.xa(), c.xb());
        c.set_xt(build(|i| {
            el::<u32>(a, i) & 0x807f_ffff | (el::<u32>(b, i) & 0xff) << 23
        }))
    }),
];

fn significand(v: u64) -> u64 {
    let e = v >> 52 & 0x7ff;
    v & 0xf_ffff_ffff_ffff | if e != 0 && e != 0x7ff { 1 << 52 } else { 0 }
}

fn insert_exp(a: u64, b: u64) -> u64 {
    a & 0x800f_ffff_ffff_ffff | (b & 0x7ff) << 52
}
