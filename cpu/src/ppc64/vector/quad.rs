//! Quad-precision instructions on VSRs 32 to 63. Power ISA 3.0B Book I §7.6.
use super::convert::{integral, to_int};
use super::fpscr::XX;
use super::scalar::{Arith, arith, class_code};
use super::vsx_float::in_class;
use super::{Facility, Run, VecCtx, VecOp};
use crate::softfloat::{self as soft, AWAY, DOUBLE, Format, Num, ODD, Out, QUAD, TO_ZERO};
use std::cmp::Ordering;

/// Sign and exponent of quad with the 64-bit significand of double extended.
const EXTENDED: Format = Format {
    frac: 63,
    bias: 16383,
};

fn rm(c: &VecCtx) -> u8 {
    if c.insn & 1 == 1 { ODD } else { c.rn() }
}

fn finish(c: &mut VecCtx, out: &Out, code: u32, value: u128) -> Run {
    if c.scalar_status(out, Some(code)) {
        let _ = c.set_vrt(value);
    }
    c.fp_trap(out.flags)
}

fn finish_quad(c: &mut VecCtx, out: &Out) -> Run {
    finish(c, out, class_code(out.bits, QUAD), out.bits)
}

fn run(c: &mut VecCtx, op: Arith) -> Run {
    let (a, b, t) = (c.vra(), c.vrb(), c.vrt());
    let x = match op {
        Arith::Madd | Arith::Msub | Arith::Nmadd | Arith::Nmsub => [a, t, b],
        _ => [a, b, b],
    };
    let out = arith(op, QUAD, QUAD, x, rm(c), c.fpscr());
    finish_quad(c, &out)
}

fn compare(c: &mut VecCtx, ordered: bool) -> Run {
    let a = Num::unpack(c.vra(), QUAD);
    let b = Num::unpack(c.vrb(), QUAD);
    let (code, flags) = c.compare(&a, &b, ordered);
    c.finish_compare(code, flags)
}

/// To an integer in doubleword 0; words are extended to it.
fn to_fixed(c: &mut VecCtx, signed: bool, bits: u32) -> Run {
    let out = to_int(&Num::unpack(c.vrb(), QUAD), TO_ZERO, signed, bits);
    if c.scalar_status(&out, None) {
        let v = out.bits as u64;
        let v = if signed && bits == 32 {
            v as u32 as i32 as i64 as u64
        } else {
            v
        };
        let _ = c.set_vrt(u128::from(v) << 64);
    }
    c.fp_trap(out.flags)
}

fn from_fixed(c: &mut VecCtx, signed: bool) -> Run {
    let v = (c.vrb() >> 64) as u64;
    let negative = signed && v >> 63 == 1;
    let mag = if negative { v.wrapping_neg() } else { v };
    let out = soft::round(&Num::integer(negative, mag.into()), QUAD, 0, 0);
    finish_quad(c, &out)
}

/// Rounding mode of the R and RMC fields.
fn rmc(c: &VecCtx) -> u8 {
    let mode = (c.insn >> 9 & 3) as u8;
    match (c.insn >> 16 & 1, mode) {
        (0, 3) => c.rn(),
        (0, _) => AWAY,
        (_, mode) => mode,
    }
}

const fn x(name: &'static str, zero: u32, xo: u32, sub: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(
        name,
        0xfc00_07fe | zero,
        63 << 26 | sub << 16 | xo << 1,
        Facility::Vsx,
        run,
    )
}

/// The VRA field holds an extended opcode; the last bit is zero.
const SUB: u32 = 0x001f_0001;
/// The VRA field holds an extended opcode; the last bit is RO.
const SUB_RO: u32 = 0x001f_0000;
/// A CR field is the target.
const BF: u32 = 0x0060_0001;

const SIGN: u128 = 1 << 127;
const FRACTION: u128 = (1 << 112) - 1;

pub(super) const OPS: &[VecOp] = &[
    x("xsaddqp", 0, 4, 0, |c| run(c, Arith::Add)),
    x("xssubqp", 0, 516, 0, |c| run(c, Arith::Sub)),
    x("xsmulqp", 0, 36, 0, |c| run(c, Arith::Mul)),
    x("xsdivqp", 0, 548, 0, |c| run(c, Arith::Div)),
    x("xssqrtqp", SUB_RO, 804, 27, |c| run(c, Arith::Sqrt)),
    x("xsmaddqp", 0, 388, 0, |c| run(c, Arith::Madd)),
    x("xsmsubqp", 0, 420, 0, |c| run(c, Arith::Msub)),
    x("xsnmaddqp", 0, 452, 0, |c| run(c, Arith::Nmadd)),
    x("xsnmsubqp", 0, 484, 0, |c| run(c, Arith::Nmsub)),
    x("xscpsgnqp", 1, 100, 0, |c| {
        c.set_vrt(c.vrb() & !SIGN | c.vra() & SIGN)
    }),
    x("xsabsqp", SUB, 804, 0, |c| c.set_vrt(c.vrb() & !SIGN)),
    x("xsnabsqp", SUB, 804, 8, |c| c.set_vrt(c.vrb() | SIGN)),
    x("xsnegqp", SUB, 804, 16, |c| c.set_vrt(c.vrb() ^ SIGN)),
    x("xscmpoqp", BF, 132, 0, |c| compare(c, true)),
    x("xscmpuqp", BF, 644, 0, |c| compare(c, false)),
    x("xscmpexpqp", BF, 164, 0, |c| {
        let (a, b) = (c.vra(), c.vrb());
        let nan = |v| Num::unpack(v, QUAD).is_nan();
        let code = match (a >> 112 & 0x7fff).cmp(&(b >> 112 & 0x7fff)) {
            _ if nan(a) || nan(b) => 1,
            Ordering::Less => 8,
            Ordering::Greater => 4,
            Ordering::Equal => 2,
        };
        c.finish_compare(code, 0)
    }),
    x("xststdcqp", 1, 708, 0, |c| {
        let b = c.vrb();
        let code = if b & SIGN != 0 { 8 } else { 0 }
            | if in_class(b, QUAD, c.insn >> 16 & 0x7f, -16382) {
                2
            } else {
                0
            };
        c.finish_compare(code, 0)
    }),
    x("xsxexpqp", SUB, 804, 2, |c| {
        c.set_vrt((c.vrb() >> 112 & 0x7fff) << 64)
    }),
    x("xsxsigqp", SUB, 804, 18, |c| {
        let b = c.vrb();
        let e = b >> 112 & 0x7fff;
        let hidden = u128::from(e != 0 && e != 0x7fff) << 112;
        c.set_vrt(b & FRACTION | hidden)
    }),
    x("xsiexpqp", 1, 868, 0, |c| {
        let e = c.vrb() >> 64 & 0x7fff;
        c.set_vrt(c.vra() & (SIGN | FRACTION) | e << 112)
    }),
    x("xscvqpuwz", SUB, 836, 1, |c| to_fixed(c, false, 32)),
    x("xscvqpswz", SUB, 836, 9, |c| to_fixed(c, true, 32)),
    x("xscvqpudz", SUB, 836, 17, |c| to_fixed(c, false, 64)),
    x("xscvqpsdz", SUB, 836, 25, |c| to_fixed(c, true, 64)),
    x("xscvudqp", SUB, 836, 2, |c| from_fixed(c, false)),
    x("xscvsdqp", SUB, 836, 10, |c| from_fixed(c, true)),
    x("xscvqpdp", SUB_RO, 836, 20, |c| {
        let b = c.vrb();
        let out = arith(Arith::Round, QUAD, DOUBLE, [0, b, 0], rm(c), c.fpscr());
        finish(c, &out, class_code(out.bits, DOUBLE), out.bits << 64)
    }),
    x("xscvdpqp", SUB, 836, 22, |c| {
        let b = c.vrb() >> 64;
        let out = arith(Arith::Round, DOUBLE, QUAD, [0, b, 0], 0, c.fpscr());
        finish_quad(c, &out)
    }),
    VecOp::new(
        "xsrqpi",
        0xfc1e_01fe,
        63 << 26 | 5 << 1,
        Facility::Vsx,
        |c| {
            let mut out = integral(c.vrb(), QUAD, rmc(c));
            if c.insn & 1 == 0 {
                out.flags &= !XX;
                (out.fr, out.fi) = (false, false);
            }
            finish_quad(c, &out)
        },
    ),
    VecOp::new(
        "xsrqpxp",
        0xfc1e_01ff,
        63 << 26 | 37 << 1,
        Facility::Vsx,
        |c| {
            let b = c.vrb();
            let n = Num::unpack(b, QUAD);
            let out = if n.is_nan() {
                // A NaN keeps its whole payload.
                arith(Arith::Round, QUAD, QUAD, [0, b, 0], 0, 0)
            } else {
                let mut out = soft::round(&n, EXTENDED, rmc(c), c.fpscr());
                out.bits <<= 49;
                out
            };
            finish_quad(c, &out)
        },
    ),
];
