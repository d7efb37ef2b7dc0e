//! FPSCR and the instructions on it. Power ISA 3.0B Book I §4.2.2 and §4.6.10.
pub(super) use crate::softfloat::{
    OE, OX, UE, UX, VXIDI, VXIMZ, VXISI, VXSNAN, VXSQRT, VXZDZ, XX, ZX,
};

use super::{Facility, Run, Trap, VecCtx, VecOp};

pub(super) const FX: u32 = 0x8000_0000;
pub(super) const FEX: u32 = 0x4000_0000;
pub(super) const VX: u32 = 0x2000_0000;
pub(super) const VXVC: u32 = 0x0008_0000;
pub(super) const FR: u32 = 0x0004_0000;
pub(super) const FI: u32 = 0x0002_0000;
/// FPRF: class and condition code.
pub(super) const FPRF: u32 = 0x0001_f000;
/// FPCC.
pub(super) const FPCC: u32 = 0x0000_f000;
pub(super) const VXSOFT: u32 = 0x400;
pub(super) const VXCVI: u32 = 0x100;
pub(super) const VE: u32 = 0x80;
pub(super) const ZE: u32 = 0x10;
pub(super) const XE: u32 = 0x08;
/// All invalid-operation bits.
pub(super) const VX_ALL: u32 =
    VXSNAN | VXISI | VXIDI | VXZDZ | VXIMZ | VXVC | VXSOFT | VXSQRT | VXCVI;
/// Bits whose change from 0 to 1 sets FX.
const STICKY: u32 = OX | UX | ZX | XX | VX_ALL;

impl VecCtx<'_> {
    /// The low half of FPSCR.
    pub(super) fn fpscr(&self) -> u32 {
        self.vec.fpscr as u32
    }
    /// Writes the low half and recomputes the summaries VX and FEX.
    pub(super) fn set_fpscr(&mut self, value: u32) {
        let mut v = value & !(FEX | VX | 0x800);
        if v & VX_ALL != 0 {
            v |= VX;
        }
        let enabled = [(VX, VE), (OX, OE), (UX, UE), (ZX, ZE), (XX, XE)];
        if enabled.iter().any(|(x, e)| v & x != 0 && v & e != 0) {
            v |= FEX;
        }
        self.vec.fpscr = self.vec.fpscr & !0xffff_ffff | u64::from(v);
    }
    /// Sets exception bits, and FX if one is new.
    pub(super) fn raise(&mut self, flags: u32) {
        let old = self.fpscr();
        let new = old | flags | if flags & STICKY & !old != 0 { FX } else { 0 };
        self.set_fpscr(new);
    }
    /// Enabled exceptions in `flags`.
    pub(super) fn enabled(&self, flags: u32) -> bool {
        let s = self.fpscr();
        (flags & VX_ALL != 0 && s & VE != 0)
            || (flags & ZX != 0 && s & ZE != 0)
            || (flags & OX != 0 && s & OE != 0)
            || (flags & UX != 0 && s & UE != 0)
            || (flags & XX != 0 && s & XE != 0)
    }
    /// The program interrupt of an enabled exception, after the instruction's effects.
    pub(super) fn fp_trap(&self, flags: u32) -> Run {
        if self.fp_exceptions && self.enabled(flags) {
            Err(Trap::FpEnabled)
        } else {
            Ok(())
        }
    }
    /// Trap of an instruction that wrote FPSCR.
    fn fex_trap(&self) -> Run {
        if self.fp_exceptions && self.fpscr() & FEX != 0 {
            Err(Trap::FpEnabled)
        } else {
            Ok(())
        }
    }
    /// Copies FX, FEX, VX, OX to CR field 1 if `rc`.
    pub(super) fn cr1(&mut self, rc: bool) {
        if rc {
            self.set_cr(1, (self.fpscr() >> 28) as u8);
        }
    }
    fn rc(&self) -> bool {
        self.insn & 1 != 0
    }
    /// Rounding mode RN.
    pub(super) fn rn(&self) -> u8 {
        (self.vec.fpscr & 3) as u8
    }
}

/// Writes FPSCR under a mask of 64 bits; FEX and VX cannot be written.
fn write(c: &mut VecCtx, mask: u64, value: u64) -> Run {
    let mask = mask & 0x0000_0007_ffff_ffff & !u64::from(0x800_u32);
    let v = c.vec.fpscr & !mask | value & mask;
    c.vec.fpscr = v;
    c.set_fpscr(v as u32);
    c.cr1(c.rc());
    c.fex_trap()
}

/// Bits of the 4-bit fields selected by an 8-bit field mask.
fn fields(fm: u32) -> u32 {
    (0..8).fold(0, |m, i| {
        if fm >> i & 1 == 1 {
            m | 0xf << (4 * i)
        } else {
            m
        }
    })
}

fn mtfsf(c: &mut VecCtx) -> Run {
    let all = c.insn >> 25 & 1 == 1;
    let second = c.insn >> 16 & 1 == 1;
    let fm = c.insn >> 17 & 0xff;
    let value = c.fpr(c.f_b());
    let mask = if all {
        u64::MAX
    } else if second {
        u64::from(fields(fm)) << 32
    } else {
        u64::from(fields(fm))
    };
    let c_rc = c.rc();
    c.cr1(false);
    let r = write(c, mask, value);
    c.cr1(c_rc);
    r
}

fn mtfsfi(c: &mut VecCtx) -> Run {
    let second = c.insn >> 16 & 1 == 1;
    let field = 7 - (c.insn >> 23 & 7) + if second { 8 } else { 0 };
    let value = u64::from(c.insn >> 12 & 15);
    write(c, 0xf << (4 * field), value << (4 * field))
}

fn mtfsb(c: &mut VecCtx, set: bool) -> Run {
    let bit = 0x8000_0000_u32 >> c.f_t();
    if bit & (FEX | VX | 0x800) != 0 {
        c.cr1(c.rc());
        return c.fex_trap();
    }
    if set {
        c.raise(bit);
    } else {
        c.set_fpscr(c.fpscr() & !bit);
    }
    c.cr1(c.rc());
    c.fex_trap()
}

fn mcrfs(c: &mut VecCtx) -> Run {
    let shift = 28 - 4 * (c.insn >> 18 & 7);
    let (t, v) = ((c.insn >> 23 & 7) as usize, c.fpscr());
    c.set_cr(t, (v >> shift & 15) as u8);
    c.set_fpscr(v & !((STICKY | FX) & 15 << shift));
    Ok(())
}

/// mffs and its relatives: FRT gets FPSCR under `mask`.
fn mffs(c: &mut VecCtx, mask: u64) -> Run {
    let v = c.vec.fpscr & mask;
    c.set_fpr(c.f_t(), v);
    c.cr1(c.rc());
    Ok(())
}

const ENABLES: u64 = 0xff;
/// DRN, the enables, NI and RN.
const CONTROL: u64 = 0x7_0000_00ff;

/// FRT gets the control bits, then the bits of `mask` are replaced.
fn mffsc(c: &mut VecCtx, mask: u64, value: u64) -> Run {
    let v = c.vec.fpscr;
    c.set_fpr(c.f_t(), v & CONTROL);
    let v = v & !mask | value & mask;
    c.vec.fpscr = v;
    c.set_fpscr(v as u32);
    Ok(())
}

const fn x63(
    name: &'static str,
    mask: u32,
    xo: u32,
    sub: u32,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(
        name,
        0xfc00_07fe | mask,
        63 << 26 | sub << 16 | xo << 1,
        Facility::Fp,
        run,
    )
}

pub(super) const OPS: &[VecOp] = &[
    x63("mffs", 0x001f_f800, 583, 0, |c| mffs(c, u64::MAX)),
    x63("mffsce", 0x001f_f801, 583, 1, |c| {
        let r = mffs(c, u64::MAX);
        c.set_fpscr(c.fpscr() & !(VE | OE | UE | ZE | XE));
        r
    }),
    x63("mffscdrn", 0x001f_0001, 583, 20, |c| {
        mffsc(c, 7 << 32, c.fpr(c.f_b()))
    }),
    x63("mffscdrni", 0x001f_c001, 583, 21, |c| {
        mffsc(c, 7 << 32, u64::from(c.insn >> 11 & 7) << 32)
    }),
    x63("mffscrn", 0x001f_0001, 583, 22, |c| {
        mffsc(c, 3, c.fpr(c.f_b()))
    }),
    x63("mffscrni", 0x001f_e001, 583, 23, |c| {
        mffsc(c, 3, u64::from(c.insn >> 11 & 3))
    }),
    x63("mffsl", 0x001f_f801, 583, 24, |c| {
        mffs(c, 0x7_0000_0000 | u64::from(FR | FI | FPRF) | ENABLES)
    }),
    VecOp::new(
        "mtfsf",
        0xfc00_07fe,
        63 << 26 | 711 << 1,
        Facility::Fp,
        mtfsf,
    ),
    x63("mtfsfi", 0x007e_0800, 134, 0, mtfsfi),
    x63("mtfsb0", 0x001f_f800, 70, 0, |c| mtfsb(c, false)),
    x63("mtfsb1", 0x001f_f800, 38, 0, |c| mtfsb(c, true)),
    x63("mcrfs", 0x0063_f801, 64, 0, mcrfs),
];
