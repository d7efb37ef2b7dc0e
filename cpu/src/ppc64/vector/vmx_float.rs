//! VMX floating point: single precision, round to nearest, no exceptions. Power ISA 3.0B Book I §6.10.
use super::convert::{integral, to_int};
use super::estimate::{exp2, log2};
use super::fields::{build, cmp, el, va, vc, vx, vxs};
use super::fpscr::UX;
use super::scalar::{Arith, arith};
use super::{Run, VecCtx, VecOp};
use crate::softfloat::{self as soft, DOWN, NEAREST, Num, Out, SINGLE, TO_ZERO, UP};
use std::cmp::Ordering;

/// In non-Java mode denormalised operands and results count as zero. Power ISA 3.0B Book I §6.3.2.
fn flush(v: u32, nj: bool) -> u32 {
    if nj && v & 0x7f80_0000 == 0 {
        v & 0x8000_0000
    } else {
        v
    }
}

/// A result; in non-Java mode one that was too small before rounding is zero too.
fn settle(out: &Out, nj: bool) -> u32 {
    let v = out.bits as u32;
    if nj && out.flags & UX != 0 {
        return v & 0x8000_0000;
    }
    flush(v, nj)
}

fn nj(c: &VecCtx) -> bool {
    c.vec.vscr & 0x1_0000 != 0
}

/// Element-wise arithmetic with `arith`'s operand order (a, b, c).
fn run(c: &mut VecCtx, op: Arith) -> Run {
    let (a, b, m, nj) = (c.vra(), c.vrb(), c.vrc(), nj(c));
    c.set_vrt(build(|i| {
        let x = [a, b, m].map(|v| u128::from(flush(el(v, i), nj)));
        let out = arith(op, SINGLE, SINGLE, x, NEAREST, 0);
        settle(&out, nj)
    }))
}

fn unpack(v: u32) -> Num {
    Num::unpack(u128::from(v), SINGLE)
}

fn round(c: &mut VecCtx, rm: u8) -> Run {
    let (b, nj) = (c.vrb(), nj(c));
    c.set_vrt(build(|i| {
        let v = flush(el(b, i), nj);
        integral(u128::from(v), SINGLE, rm).bits as u32
    }))
}

/// To a fixed-point word with UIM fraction bits.
fn to_fixed(c: &mut VecCtx, signed: bool) -> Run {
    let (b, scale, nj) = (c.vrb(), c.f_a() as i32, nj(c));
    let mut sat = false;
    let r = build(|i| {
        let mut n = unpack(flush(el(b, i), nj));
        if n.is_nan() {
            return 0;
        }
        n.exp += scale;
        let out = to_int(&n, TO_ZERO, signed, 32);
        sat |= out.flags & super::fpscr::VXCVI != 0;
        out.bits as u32
    });
    c.sat(sat);
    c.set_vrt(r)
}

fn from_fixed(c: &mut VecCtx, signed: bool) -> Run {
    let (b, scale) = (c.vrb(), c.f_a() as i32);
    c.set_vrt(build(|i| {
        let w: u32 = el(b, i);
        let negative = signed && w >> 31 == 1;
        let mag = if negative { w.wrapping_neg() } else { w };
        let mut n = Num::integer(negative, u128::from(mag));
        n.exp -= scale;
        soft::round(&n, SINGLE, NEAREST, 0).bits as u32
    }))
}

fn min_max(c: &mut VecCtx, max: bool) -> Run {
    let (a, b, nj) = (c.vra(), c.vrb(), nj(c));
    c.set_vrt(build(|i| {
        let (x, y) = (flush(el(a, i), nj), flush(el(b, i), nj));
        let (p, q) = (unpack(x), unpack(y));
        if p.is_nan() {
            return x | 0x40_0000;
        }
        if q.is_nan() {
            return y | 0x40_0000;
        }
        let greater = match soft::compare(&p, &q) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => !p.sign,
        };
        if greater == max { x } else { y }
    }))
}

fn compare(c: &mut VecCtx, accept: fn(Ordering) -> bool) -> Run {
    let nj = nj(c);
    cmp(c, |a: u32, b| {
        let (p, q) = (unpack(flush(a, nj)), unpack(flush(b, nj)));
        !p.is_nan() && !q.is_nan() && accept(soft::compare(&p, &q))
    })
}

/// Bit 0 of an element: above the bound; bit 1: below its negative.
fn bounds(c: &mut VecCtx) -> Run {
    let (a, b, nj) = (c.vra(), c.vrb(), nj(c));
    let r = build(|i| {
        let (p, q) = (unpack(flush(el(a, i), nj)), unpack(flush(el(b, i), nj)));
        if p.is_nan() || q.is_nan() {
            return 0xc000_0000_u32;
        }
        let mut minus = q;
        minus.sign = !minus.sign;
        let above = soft::compare(&p, &q) == Ordering::Greater;
        let below = soft::compare(&p, &minus) == Ordering::Less;
        u32::from(above) << 31 | u32::from(below) << 30
    });
    if c.insn & 0x400 != 0 {
        c.set_cr(6, if r == 0 { 2 } else { 0 });
    }
    c.set_vrt(r)
}

/// Estimates of 2^x and log2 x: `f` gets a number that is not a NaN.
fn estimate(c: &mut VecCtx, f: fn(&Num) -> Num) -> Run {
    let (b, nj) = (c.vrb(), nj(c));
    c.set_vrt(build(|i| {
        let n = unpack(flush(el(b, i), nj));
        let r = if n.is_nan() { n.quiet() } else { f(&n) };
        settle(&soft::round(&r, SINGLE, NEAREST, 0), nj)
    }))
}

pub(super) const OPS: &[VecOp] = &[
    vx("vaddfp", 10, |c| run(c, Arith::Add)),
    vx("vsubfp", 74, |c| run(c, Arith::Sub)),
    va("vmaddfp", 46, |c| run(c, Arith::Madd)),
    va("vnmsubfp", 47, |c| run(c, Arith::Nmsub)),
    vxs("vrefp", 266, 0, |c| run(c, Arith::Re)),
    vxs("vrsqrtefp", 330, 0, |c| run(c, Arith::Rsqrte)),
    vxs("vexptefp", 394, 0, |c| estimate(c, exp2)),
    vxs("vlogefp", 458, 0, |c| estimate(c, log2)),
    vxs("vrfin", 522, 0, |c| round(c, NEAREST)),
    vxs("vrfiz", 586, 0, |c| round(c, TO_ZERO)),
    vxs("vrfip", 650, 0, |c| round(c, UP)),
    vxs("vrfim", 714, 0, |c| round(c, DOWN)),
    vx("vcfux", 778, |c| from_fixed(c, false)),
    vx("vcfsx", 842, |c| from_fixed(c, true)),
    vx("vctuxs", 906, |c| to_fixed(c, false)),
    vx("vctsxs", 970, |c| to_fixed(c, true)),
    vx("vmaxfp", 1034, |c| min_max(c, true)),
    vx("vminfp", 1098, |c| min_max(c, false)),
    vc("vcmpeqfp", 198, |c| compare(c, Ordering::is_eq)),
    vc("vcmpgefp", 454, |c| compare(c, Ordering::is_ge)),
    vc("vcmpgtfp", 710, |c| compare(c, Ordering::is_gt)),
    vc("vcmpbfp", 966, bounds),
];
