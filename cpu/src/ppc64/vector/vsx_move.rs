//! VSX moves, permutes and logic. Power ISA 3.0B Book I §7.6.
use super::fields::{build, el, xx1, xx2, xx3};
use super::permute::permute;
use super::{Facility, Run, VecCtx, VecOp};

/// Moves between a VSR and a GPR: FP or VMX by the register's half.
const fn mv(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_fffe, 31 << 26 | xo << 1, Facility::Fp, run).high(1)
}

fn gpr_ra(c: &VecCtx) -> u64 {
    c.gpr(c.f_a())
}

fn set_gpr(c: &mut VecCtx, value: u64) -> Run {
    let n = c.f_a();
    c.set_gpr(n, value);
    Ok(())
}

fn logic(c: &mut VecCtx, f: fn(u128, u128) -> u128) -> Run {
    let r = f(c.xa(), c.xb());
    c.set_xt(r)
}

fn xxperm(c: &mut VecCtx, flip: u8) -> Run {
    let r = permute(c.xa(), c.xt(), c.xb(), flip);
    c.set_xt(r)
}

fn xxmrg(c: &mut VecCtx, base: u32) -> Run {
    let (a, b) = (c.xa(), c.xb());
    c.set_xt(build(|i| {
        el::<u32>(if i % 2 == 0 { a } else { b }, base + i / 2)
    }))
}

fn rev<L: super::fields::Lane>(c: &mut VecCtx, f: impl Fn(L) -> L) -> Run {
    let b = c.xb();
    c.set_xt(build(|i| f(el(b, i))))
}

pub(super) const OPS: &[VecOp] = &[
    mv("mfvsrd", 51, |c| set_gpr(c, (c.xt() >> 64) as u64)),
    mv("mfvsrwz", 115, |c| {
        set_gpr(c, (c.xt() >> 64) as u64 & 0xffff_ffff)
    }),
    VecOp::new(
        "mfvsrld",
        0xfc00_fffe,
        31 << 26 | 307 << 1,
        Facility::Vsx,
        |c| set_gpr(c, c.xt() as u64),
    )
    .high(1),
    mv("mtvsrd", 179, |c| c.set_xt(u128::from(gpr_ra(c)) << 64)),
    mv("mtvsrwa", 211, |c| {
        let v = gpr_ra(c) as u32 as i32 as i64 as u64;
        c.set_xt(u128::from(v) << 64)
    }),
    mv("mtvsrwz", 243, |c| {
        let v = gpr_ra(c) as u32;
        c.set_xt(u128::from(v) << 64)
    }),
    VecOp::new(
        "mtvsrws",
        0xfc00_fffe,
        31 << 26 | 403 << 1,
        Facility::Vsx,
        |c| {
            let v = gpr_ra(c) as u32;
            c.set_xt(build(|_| v))
        },
    )
    .high(1),
    xx1("mtvsrdd", 435, |c| {
        let high = if c.f_a() == 0 { 0 } else { gpr_ra(c) };
        let low = c.gpr(c.f_b());
        c.set_xt(u128::from(high) << 64 | u128::from(low))
    })
    .high(1),
    xx3("xxland", 130, |c| logic(c, |a, b| a & b)),
    xx3("xxlandc", 138, |c| logic(c, |a, b| a & !b)),
    xx3("xxlor", 146, |c| logic(c, |a, b| a | b)),
    xx3("xxlxor", 154, |c| logic(c, |a, b| a ^ b)),
    xx3("xxlnor", 162, |c| logic(c, |a, b| !(a | b))),
    xx3("xxlorc", 170, |c| logic(c, |a, b| a | !b)),
    xx3("xxlnand", 178, |c| logic(c, |a, b| !(a & b))),
    xx3("xxleqv", 186, |c| logic(c, |a, b| !(a ^ b))),
    xx3("xxmrghw", 18, |c| xxmrg(c, 0)),
    xx3("xxmrglw", 50, |c| xxmrg(c, 2)),
    xx3("xxperm", 26, |c| xxperm(c, 0)),
    xx3("xxpermr", 58, |c| xxperm(c, 31)),
    VecOp::new(
        "xxpermdi",
        0xfc00_04f8,
        60 << 26 | 10 << 3,
        Facility::Vsx,
        |c| {
            let dm = c.insn >> 8 & 3;
            let high: u64 = el(c.xa(), dm >> 1);
            let low: u64 = el(c.xb(), dm & 1);
            c.set_xt(u128::from(high) << 64 | u128::from(low))
        },
    ),
    VecOp::new(
        "xxsldwi",
        0xfc00_04f8,
        60 << 26 | 2 << 3,
        Facility::Vsx,
        |c| {
            let n = (c.insn >> 8 & 3) * 32;
            let low = c.xb().checked_shr(128 - n).unwrap_or(0);
            c.set_xt(c.xa() << n | low)
        },
    ),
    VecOp::new(
        "xxsel",
        0xfc00_0030,
        60 << 26 | 3 << 4,
        Facility::Vsx,
        |c| {
            let m = c.xc();
            c.set_xt(c.xa() & !m | c.xb() & m)
        },
    ),
    VecOp::new(
        "xxspltw",
        0xfc1c_07fc,
        60 << 26 | 164 << 2,
        Facility::Vsx,
        |c| {
            let w: u32 = el(c.xb(), c.f_a() as u32 & 3);
            c.set_xt(build(|_| w))
        },
    ),
    VecOp::new(
        "xxspltib",
        0xfc18_07fe,
        60 << 26 | 360 << 1,
        Facility::Vsx,
        |c| {
            let b = (c.insn >> 11) as u8;
            c.set_xt(build(|_| b))
        },
    )
    .high(1),
    VecOp::new(
        "xxextractuw",
        0xfc10_07fc,
        60 << 26 | 165 << 2,
        Facility::Vsx,
        |c| {
            let b = c.xb();
            // Beyond byte 12 the word wraps to the first bytes; the ISA leaves it undefined.
            let w = b.rotate_left(c.f_a() as u32 * 8) >> 96;
            c.set_xt(w << 64)
        },
    ),
    VecOp::new(
        "xxinsertw",
        0xfc10_07fc,
        60 << 26 | 181 << 2,
        Facility::Vsx,
        |c| {
            let n = c.f_a() as u32 * 8;
            let w = c.xb() >> 64 & 0xffff_ffff;
            let mask = (0xffff_ffff_u128 << 96).rotate_right(n);
            c.set_xt(c.xt() & !mask | (w << 96).rotate_right(n))
        },
    ),
    xx2("xxbrh", 475, 7, |c| rev(c, u16::swap_bytes)),
    xx2("xxbrw", 475, 15, |c| rev(c, u32::swap_bytes)),
    xx2("xxbrd", 475, 23, |c| rev(c, u64::swap_bytes)),
    xx2("xxbrq", 475, 31, |c| rev(c, u128::swap_bytes)),
];
