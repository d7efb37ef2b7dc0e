//! Floating-point arithmetic, moves and compares of the FPRs. Power ISA 3.0B Book I §4.6.5 to §4.6.8.
use super::fpscr::{FI, FPCC, FPRF, FR, VE, VX_ALL, VXSNAN, VXVC, XX, ZE, ZX};
use super::memory::single_to_double;
use super::{Facility, Run, VecCtx, VecOp};
use crate::softfloat::{self as soft, Class, DOUBLE, Format, NEAREST, Num, Out, SINGLE};
use std::cmp::Ordering;

/// An arithmetic operation on (a, b, c).
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Arith {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
    /// a * c + b.
    Madd,
    /// a * c - b.
    Msub,
    /// -(a * c + b).
    Nmadd,
    /// -(a * c - b).
    Nmsub,
    /// b rounded to the target format.
    Round,
    /// 1 / b.
    Re,
    /// 1 / sqrt(b).
    Rsqrte,
}

fn negate(mut n: Num) -> Num {
    if !n.is_nan() {
        n.sign = !n.sign;
    }
    n
}

/// Computes without a side effect; multiplication takes its second factor from `c`.
pub(super) fn arith(op: Arith, from: Format, to: Format, x: [u128; 3], rm: u8, fpscr: u32) -> Out {
    let [a, b, c] = x.map(|v| Num::unpack(v, from));
    let one = Num::integer(false, 1);
    let (n, flags) = match op {
        Arith::Add => soft::add(&a, &b, rm),
        Arith::Sub => soft::add(&a, &negate(b), rm),
        Arith::Mul => soft::mul(&a, &c),
        Arith::Div => soft::div(&a, &b),
        Arith::Sqrt => soft::sqrt(&b),
        Arith::Madd | Arith::Nmadd => soft::fma(&a, &c, &b, rm),
        Arith::Msub | Arith::Nmsub => soft::fma(&a, &c, &negate(b), rm),
        Arith::Round if b.is_snan() => (b.quiet(), VXSNAN),
        Arith::Round => (b, 0),
        Arith::Re => soft::div(&one, &b),
        Arith::Rsqrte => {
            let (root, flags) = soft::sqrt(&b);
            if root.is_nan() {
                (root, flags)
            } else {
                soft::div(&one, &root)
            }
        }
    };
    let mut out = soft::round(&n, to, rm, fpscr);
    if matches!(op, Arith::Nmadd | Arith::Nmsub) && !n.is_nan() {
        out.bits ^= to.sign_bit();
        out.adjusted = out.adjusted.map(|v| v ^ 1 << 63);
    }
    if matches!(op, Arith::Re | Arith::Rsqrte) {
        // Estimates do not report inexactness.
        out.flags &= !XX;
        (out.fi, out.fr) = (false, false);
    }
    out.flags |= flags;
    out
}

/// FPRF of a value. Power ISA 3.0B Book I figure 48.
pub(super) fn class_code(bits: u128, f: Format) -> u32 {
    let n = Num::unpack(bits, f);
    match (n.class, n.sign) {
        (Class::Nan, _) => 0x11,
        (Class::Inf, true) => 0x09,
        (Class::Inf, false) => 0x05,
        (Class::Zero, true) => 0x12,
        (Class::Zero, false) => 0x02,
        (Class::Normal, sign) => match (n.exp < 1 - f.bias, sign) {
            (true, true) => 0x18,
            (true, false) => 0x14,
            (false, true) => 0x08,
            (false, false) => 0x04,
        },
    }
}

impl VecCtx<'_> {
    /// Status of a scalar result: exceptions, FR, FI, and FPRF unless an enabled exception suppresses the result. Returns whether the
    /// target is to be written.
    pub(super) fn scalar_status(&mut self, out: &Out, fprf: Option<u32>) -> bool {
        let s = self.fpscr();
        let suppressed =
            (out.flags & VX_ALL != 0 && s & VE != 0) || (out.flags & ZX != 0 && s & ZE != 0);
        let mut v = s & !(FR | FI);
        if !suppressed {
            if let Some(code) = fprf {
                v = v & !FPRF | code << 12;
            }
            if out.flags & (VX_ALL | ZX) == 0 {
                v |= if out.fr { FR } else { 0 } | if out.fi { FI } else { 0 };
            }
        }
        self.set_fpscr(v);
        self.raise(out.flags);
        !suppressed
    }

    /// Completes a scalar operation whose result is in format `f`; singles are held in double format.
    pub(super) fn finish(&mut self, out: &Out, f: Format, target: usize) -> Run {
        let class = match out.adjusted {
            Some(v) => class_code(v.into(), DOUBLE),
            None => class_code(out.bits, f),
        };
        if self.scalar_status(out, Some(class)) {
            let v = match out.adjusted {
                Some(v) => v,
                None if f == SINGLE => single_to_double(out.bits as u32),
                None => out.bits as u64,
            };
            self.set_vsr(target & 63, u128::from(v) << 64);
        }
        self.fp_trap(out.flags)
    }

    /// CR nibble and exceptions of a compare; `ordered` makes quiet NaNs invalid too.
    pub(super) fn compare(&mut self, a: &Num, b: &Num, ordered: bool) -> (u8, u32) {
        if a.is_nan() || b.is_nan() {
            let snan = a.is_snan() || b.is_snan();
            let mut flags = if snan { VXSNAN } else { 0 };
            if ordered && (!snan || self.fpscr() & VE == 0) {
                flags |= VXVC;
            }
            return (1, flags);
        }
        let code = match soft::compare(a, b) {
            Ordering::Less => 8,
            Ordering::Greater => 4,
            Ordering::Equal => 2,
        };
        (code, 0)
    }

    /// Stores a compare result in FPCC and CR field BF.
    pub(super) fn finish_compare(&mut self, code: u8, flags: u32) -> Run {
        let v = self.fpscr() & !FPCC | u32::from(code) << 12;
        self.set_fpscr(v);
        self.raise(flags);
        self.set_cr((self.insn >> 23 & 7) as usize, code);
        self.fp_trap(flags)
    }
}

fn run(c: &mut VecCtx, op: Arith, to: Format) -> Run {
    let x = [c.f_a(), c.f_b(), c.f_c()].map(|n| u128::from(c.fpr(n)));
    let out = arith(op, DOUBLE, to, x, c.rn(), c.fpscr());
    let r = c.finish(&out, to, c.f_t());
    c.cr1(c.insn & 1 != 0);
    r
}

fn fcmp(c: &mut VecCtx, ordered: bool) -> Run {
    let a = Num::unpack(u128::from(c.fpr(c.f_a())), DOUBLE);
    let b = Num::unpack(u128::from(c.fpr(c.f_b())), DOUBLE);
    let (code, flags) = c.compare(&a, &b, ordered);
    c.finish_compare(code, flags)
}

/// Moves: no status but CR field 1.
fn mv(c: &mut VecCtx, f: impl Fn(&VecCtx, u64) -> u64) -> Run {
    let v = f(c, c.fpr(c.f_b()));
    c.set_fpr(c.f_t(), v);
    c.cr1(c.insn & 1 != 0);
    Ok(())
}

const SIGN: u64 = 1 << 63;

/// CR code of ftdiv: FL always, FG and FE as the operands make a software division unsafe.
pub(super) fn test_div(a: u128, b: u128, f: Format) -> u8 {
    let (x, y) = (Num::unpack(a, f), Num::unpack(b, f));
    let max = 2 * f.bias + 1;
    let exp = |v: u128| (v >> f.frac) as i32 & max;
    let (ea, eb) = (exp(a) - f.bias, exp(b) - f.bias);
    let denormal = |v: u128| exp(v) == 0;
    let special = |n: &Num| matches!(n.class, Class::Inf | Class::Nan);
    let fg = x.class == Class::Inf || y.class == Class::Inf || denormal(b);
    let fe = special(&x)
        || special(&y)
        || y.class == Class::Zero
        || eb < 2 - f.bias
        || eb >= f.bias - 2
        || (x.class != Class::Zero
            && (ea - eb >= f.bias || ea - eb <= 2 - f.bias || ea <= f.frac as i32 + 1 - f.bias));
    8 | if fg { 4 } else { 0 } | if fe { 2 } else { 0 }
}

/// CR code of ftsqrt.
pub(super) fn test_sqrt(b: u128, f: Format) -> u8 {
    let y = Num::unpack(b, f);
    let eb = ((b >> f.frac) as i32 & (2 * f.bias + 1)) - f.bias;
    let special = matches!(y.class, Class::Inf | Class::Nan | Class::Zero);
    let fg = matches!(y.class, Class::Inf | Class::Zero) || eb == -f.bias;
    let fe = special || y.sign || eb <= f.frac as i32 + 1 - f.bias;
    8 | if fg { 4 } else { 0 } | if fe { 2 } else { 0 }
}

/// fre and friends round to nearest.
fn estimate(c: &mut VecCtx, op: Arith, to: Format) -> Run {
    let b = u128::from(c.fpr(c.f_b()));
    let out = arith(op, DOUBLE, to, [0, b, 0], NEAREST, c.fpscr());
    let r = c.finish(&out, to, c.f_t());
    c.cr1(c.insn & 1 != 0);
    r
}

/// A form; `zero` marks unused register fields.
const fn a(
    name: &'static str,
    primary: u32,
    xo: u32,
    zero: u32,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(
        name,
        0xfc00_003e | zero,
        primary << 26 | xo << 1,
        Facility::Fp,
        run,
    )
}

const NO_A: u32 = 0x001f_0000;
const NO_B: u32 = 0x0000_f800;
const NO_C: u32 = 0x0000_07c0;

const fn x(name: &'static str, xo: u32, zero: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(
        name,
        0xfc00_07fe | zero,
        63 << 26 | xo << 1,
        Facility::Fp,
        run,
    )
}

pub(super) const OPS: &[VecOp] = &[
    a("fadd", 63, 21, NO_C, |c| run(c, Arith::Add, DOUBLE)),
    a("fsub", 63, 20, NO_C, |c| run(c, Arith::Sub, DOUBLE)),
    a("fmul", 63, 25, NO_B, |c| run(c, Arith::Mul, DOUBLE)),
    a("fdiv", 63, 18, NO_C, |c| run(c, Arith::Div, DOUBLE)),
    a("fsqrt", 63, 22, NO_A | NO_C, |c| {
        run(c, Arith::Sqrt, DOUBLE)
    }),
    a("fmadd", 63, 29, 0, |c| run(c, Arith::Madd, DOUBLE)),
    a("fmsub", 63, 28, 0, |c| run(c, Arith::Msub, DOUBLE)),
    a("fnmadd", 63, 31, 0, |c| run(c, Arith::Nmadd, DOUBLE)),
    a("fnmsub", 63, 30, 0, |c| run(c, Arith::Nmsub, DOUBLE)),
    a("fadds", 59, 21, NO_C, |c| run(c, Arith::Add, SINGLE)),
    a("fsubs", 59, 20, NO_C, |c| run(c, Arith::Sub, SINGLE)),
    a("fmuls", 59, 25, NO_B, |c| run(c, Arith::Mul, SINGLE)),
    a("fdivs", 59, 18, NO_C, |c| run(c, Arith::Div, SINGLE)),
    a("fsqrts", 59, 22, NO_A | NO_C, |c| {
        run(c, Arith::Sqrt, SINGLE)
    }),
    a("fmadds", 59, 29, 0, |c| run(c, Arith::Madd, SINGLE)),
    a("fmsubs", 59, 28, 0, |c| run(c, Arith::Msub, SINGLE)),
    a("fnmadds", 59, 31, 0, |c| run(c, Arith::Nmadd, SINGLE)),
    a("fnmsubs", 59, 30, 0, |c| run(c, Arith::Nmsub, SINGLE)),
    a("fre", 63, 24, NO_A | NO_C, |c| {
        estimate(c, Arith::Re, DOUBLE)
    }),
    a("fres", 59, 24, NO_A | NO_C, |c| {
        estimate(c, Arith::Re, SINGLE)
    }),
    a("frsqrte", 63, 26, NO_A | NO_C, |c| {
        estimate(c, Arith::Rsqrte, DOUBLE)
    }),
    a("frsqrtes", 59, 26, NO_A | NO_C, |c| {
        estimate(c, Arith::Rsqrte, SINGLE)
    }),
    x("frsp", 12, NO_A, |c| run(c, Arith::Round, SINGLE)),
    a("fsel", 63, 23, 0, |c| {
        let n = Num::unpack(u128::from(c.fpr(c.f_a())), DOUBLE);
        let ge = !n.is_nan() && (!n.sign || n.class == Class::Zero);
        let v = c.fpr(if ge { c.f_c() } else { c.f_b() });
        mv(c, |_, _| v)
    }),
    x("fmr", 72, NO_A, |c| mv(c, |_, b| b)),
    x("fneg", 40, NO_A, |c| mv(c, |_, b| b ^ SIGN)),
    x("fabs", 264, NO_A, |c| mv(c, |_, b| b & !SIGN)),
    x("fnabs", 136, NO_A, |c| mv(c, |_, b| b | SIGN)),
    x("fcpsgn", 8, 0, |c| {
        mv(c, |c, b| b & !SIGN | c.fpr(c.f_a()) & SIGN)
    }),
    VecOp::new(
        "fmrgew",
        0xfc00_07ff,
        63 << 26 | 966 << 1,
        Facility::Vsx,
        |c| {
            let (a, b) = (c.fpr(c.f_a()), c.fpr(c.f_b()));
            c.set_fpr(c.f_t(), a >> 32 << 32 | b >> 32);
            Ok(())
        },
    ),
    VecOp::new(
        "fmrgow",
        0xfc00_07ff,
        63 << 26 | 838 << 1,
        Facility::Vsx,
        |c| {
            let (a, b) = (c.fpr(c.f_a()), c.fpr(c.f_b()));
            c.set_fpr(c.f_t(), a << 32 | b & 0xffff_ffff);
            Ok(())
        },
    ),
    x("fcmpu", 0, 0x0060_0001, |c| fcmp(c, false)),
    x("fcmpo", 32, 0x0060_0001, |c| fcmp(c, true)),
    x("ftdiv", 128, 0x0060_0001, |c| {
        let (a, b) = (c.fpr(c.f_a()), c.fpr(c.f_b()));
        c.set_cr(
            (c.insn >> 23 & 7) as usize,
            test_div(a.into(), b.into(), DOUBLE),
        );
        Ok(())
    }),
    x("ftsqrt", 160, 0x007f_0001, |c| {
        let b = c.fpr(c.f_b());
        c.set_cr((c.insn >> 23 & 7) as usize, test_sqrt(b.into(), DOUBLE));
        Ok(())
    }),
];
