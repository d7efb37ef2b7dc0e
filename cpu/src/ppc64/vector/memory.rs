//! Loads and stores. Power ISA 3.0B Book I §4.6.2, §6.7 and §7.6.
use super::fields::{build, el, x31, xx1};
use super::{Facility, Run, Trap, VecCtx, VecOp};

/// Converts single to double format as a load does, signalling NaNs included. Power ISA 3.0B Book I §4.6.2.
pub(super) fn single_to_double(w: u32) -> u64 {
    let sign = u64::from(w >> 31) << 63;
    let exp = u64::from(w >> 23 & 0xff);
    let frac = u64::from(w & 0x7f_ffff);
    match (exp, frac) {
        (0, 0) => sign,
        (0, _) => {
            let shift = frac.leading_zeros() - 40;
            sign | (897 - u64::from(shift)) << 52 | (frac << shift & 0x7f_ffff) << 29
        }
        (255, _) => sign | 0x7ff << 52 | frac << 29,
        _ => sign | (exp + 896) << 52 | frac << 29,
    }
}

/// Converts double to single format as a store does, without rounding. Power ISA 3.0B Book I §4.6.3.
pub(super) fn double_to_single(d: u64) -> u32 {
    let exp = d >> 52 & 0x7ff;
    if exp > 896 || d << 1 == 0 {
        (d >> 62 << 30) as u32 | (d >> 29 & 0x3fff_ffff) as u32
    } else if exp >= 874 {
        let frac = 1 << 52 | d & 0xf_ffff_ffff_ffff;
        (d >> 63 << 31) as u32 | (frac >> (29 + 897 - exp)) as u32
    } else {
        // The ISA leaves this undefined; the sign remains.
        (d >> 63 << 31) as u32
    }
}

impl VecCtx<'_> {
    fn wrap(&self, ea: u64) -> u64 {
        if self.sixty_four {
            ea
        } else {
            ea & 0xffff_ffff
        }
    }
    /// EA of X forms.
    fn ea_x(&self) -> u64 {
        self.wrap(self.base().wrapping_add(self.gpr(self.f_b())))
    }
    /// EA of D, DS and DQ forms whose displacement is the instruction's low half without `low` bits.
    fn ea_d(&self, low: u32) -> u64 {
        let d = (self.insn & 0xffff & !low) as u16 as i16;
        self.wrap(self.base().wrapping_add_signed(i64::from(d)))
    }
    fn base(&self) -> u64 {
        match self.f_a() {
            0 => 0,
            n => self.gpr(n),
        }
    }
    /// RB as EA, with RA only (lxvl family).
    fn ea_a(&self) -> u64 {
        self.wrap(self.base())
    }
    fn at(&self, ea: u64, offset: u64) -> u64 {
        self.wrap(ea.wrapping_add(offset))
    }
    fn load_quad(&mut self, ea: u64) -> Result<u128, Trap> {
        let second = self.at(ea, 8);
        let x = u128::from(self.env.load(ea, 8)?);
        let y = u128::from(self.env.load(second, 8)?);
        Ok(if self.little_endian {
            y << 64 | x
        } else {
            x << 64 | y
        })
    }
    fn store_quad(&mut self, ea: u64, v: u128) -> Run {
        let second = self.at(ea, 8);
        let (x, y) = if self.little_endian {
            (v as u64, (v >> 64) as u64)
        } else {
            ((v >> 64) as u64, v as u64)
        };
        self.env.store(ea, 8, x)?;
        Ok(self.env.store(second, 8, y)?)
    }
    /// Loads elements of `size` bytes in element order.
    fn load_elements(&mut self, ea: u64, size: u8) -> Result<u128, Trap> {
        let mut v = 0;
        for i in 0..u64::from(16 / size) {
            let at = self.at(ea, i * u64::from(size));
            v = v << (8 * u32::from(size)) | u128::from(self.env.load(at, size)?);
        }
        Ok(v)
    }
    fn store_elements(&mut self, ea: u64, size: u8, v: u128) -> Run {
        let n = u32::from(16 / size);
        let bits = 8 * u32::from(size);
        for i in 0..n {
            let at = self.at(ea, u64::from(i) * u64::from(size));
            self.env
                .store(at, size, (v >> ((n - 1 - i) * bits)) as u64)?;
        }
        Ok(())
    }
    /// Stores RA of an update form.
    fn update(&mut self, ea: u64) {
        let n = self.f_a();
        self.set_gpr(n, ea);
    }
    fn need_ra(&self) -> Run {
        if self.f_a() == 0 {
            Err(Trap::Illegal)
        } else {
            Ok(())
        }
    }
}

#[derive(Clone, Copy)]
enum Fp {
    Single,
    Double,
    Algebraic,
    Zero,
}

fn fp_load(c: &mut VecCtx, ea: u64, kind: Fp) -> Result<u64, Trap> {
    Ok(match kind {
        Fp::Single => single_to_double(c.env.load(ea, 4)? as u32),
        Fp::Double => c.env.load(ea, 8)?,
        Fp::Algebraic => c.env.load(ea, 4)? as u32 as i32 as i64 as u64,
        Fp::Zero => c.env.load(ea, 4)?,
    })
}

fn fp_store(c: &mut VecCtx, ea: u64, kind: Fp, v: u64) -> Run {
    match kind {
        Fp::Single => c.env.store(ea, 4, u64::from(double_to_single(v)))?,
        Fp::Double => c.env.store(ea, 8, v)?,
        _ => c.env.store(ea, 4, v & 0xffff_ffff)?,
    }
    Ok(())
}

fn lf(c: &mut VecCtx, ea: u64, kind: Fp, update: bool) -> Run {
    if update {
        c.need_ra()?;
    }
    let v = fp_load(c, ea, kind)?;
    c.set_fpr(c.f_t(), v);
    if update {
        c.update(ea);
    }
    Ok(())
}

fn stf(c: &mut VecCtx, ea: u64, kind: Fp, update: bool) -> Run {
    if update {
        c.need_ra()?;
    }
    let v = c.fpr(c.f_t());
    fp_store(c, ea, kind, v)?;
    if update {
        c.update(ea);
    }
    Ok(())
}

const fn d_form(name: &'static str, primary: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_0000, primary << 26, Facility::Fp, run).mem()
}

const fn xf(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    x31(name, xo, Facility::Fp, run).mem()
}

const fn xv(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    x31(name, xo, Facility::Vmx, run).mem()
}

const fn ds(
    name: &'static str,
    primary: u32,
    xo: u32,
    facility: Facility,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(name, 0xfc00_0003, primary << 26 | xo, facility, run).mem()
}

/// Element load (lvebx, lvehx, lvewx): the other elements keep their values, which the ISA leaves undefined.
fn lve(c: &mut VecCtx, size: u8) -> Run {
    let ea = c.ea_x() & !u64::from(size - 1);
    let v = u128::from(c.env.load(ea, size)?);
    let shift = element_shift(c, ea, size);
    let mask = ((1_u128 << (8 * u32::from(size))) - 1) << shift;
    let old = c.vrt();
    c.set_vrt(old & !mask | v << shift & mask)
}

fn stve(c: &mut VecCtx, size: u8) -> Run {
    let ea = c.ea_x() & !u64::from(size - 1);
    let v = (c.vrt() >> element_shift(c, ea, size)) as u64;
    Ok(c.env.store(ea, size, v)?)
}

fn element_shift(c: &VecCtx, ea: u64, size: u8) -> u32 {
    let at = (ea & 15) as u32;
    if c.little_endian {
        at * 8
    } else {
        (16 - u32::from(size) - at) * 8
    }
}

/// lxsdx and friends: doubleword 0 from memory, doubleword 1 zero.
fn lxs(c: &mut VecCtx, kind: Fp) -> Run {
    let ea = c.ea_x();
    let v = fp_load(c, ea, kind)?;
    c.set_xt(u128::from(v) << 64)
}

fn stxs(c: &mut VecCtx, kind: Fp) -> Run {
    let ea = c.ea_x();
    let v = (c.xt() >> 64) as u64;
    fp_store(c, ea, kind, v)
}

fn lxs_small(c: &mut VecCtx, size: u8) -> Run {
    let ea = c.ea_x();
    let v = c.env.load(ea, size)?;
    c.set_xt(u128::from(v) << 64)
}

fn stxs_small(c: &mut VecCtx, size: u8) -> Run {
    let ea = c.ea_x();
    let v = (c.xt() >> 64) as u64;
    Ok(c.env.store(ea, size, v)?)
}

fn lx_elements(c: &mut VecCtx, size: u8) -> Run {
    let ea = c.ea_x();
    let v = c.load_elements(ea, size)?;
    c.set_xt(v)
}

fn stx_elements(c: &mut VecCtx, size: u8) -> Run {
    let ea = c.ea_x();
    let v = c.xt();
    c.store_elements(ea, size, v)
}

/// Byte count of the "with length" forms: bits 0:7 of RB, at most 16.
fn length(c: &VecCtx) -> u32 {
    (c.gpr(c.f_b()) >> 56).min(16) as u32
}

fn lxvl(c: &mut VecCtx, left: bool) -> Run {
    let ea = c.ea_a();
    let right = c.little_endian && !left;
    let mut v = 0_u128;
    for i in 0..length(c) {
        let at = c.at(ea, u64::from(i));
        let byte = u128::from(c.env.load(at, 1)?);
        v |= byte << (8 * if right { i } else { 15 - i });
    }
    c.set_xt(v)
}

fn stxvl(c: &mut VecCtx, left: bool) -> Run {
    let ea = c.ea_a();
    let right = c.little_endian && !left;
    let v = c.xt();
    for i in 0..length(c) {
        let at = c.at(ea, u64::from(i));
        let byte = v >> (8 * if right { i } else { 15 - i });
        c.env.store(at, 1, byte as u8 as u64)?;
    }
    Ok(())
}

/// VSR number of lxv and stxv, whose TX is instruction bit 28.
fn dq_index(c: &VecCtx) -> usize {
    c.f_t() | ((c.insn >> 3 & 1) << 5) as usize
}

fn lfdp(c: &mut VecCtx, ea: u64) -> Run {
    let v = c.load_quad(ea)?;
    let t = c.f_t() & 30;
    c.set_fpr(t, (v >> 64) as u64);
    c.set_fpr(t + 1, v as u64);
    Ok(())
}

fn stfdp(c: &mut VecCtx, ea: u64) -> Run {
    let t = c.f_t() & 30;
    let v = u128::from(c.fpr(t)) << 64 | u128::from(c.fpr(t + 1));
    c.store_quad(ea, v)
}

pub(super) const OPS: &[VecOp] = &[
    d_form("lfs", 48, |c| lf(c, c.ea_d(0), Fp::Single, false)),
    d_form("lfsu", 49, |c| lf(c, c.ea_d(0), Fp::Single, true)),
    d_form("lfd", 50, |c| lf(c, c.ea_d(0), Fp::Double, false)),
    d_form("lfdu", 51, |c| lf(c, c.ea_d(0), Fp::Double, true)),
    d_form("stfs", 52, |c| stf(c, c.ea_d(0), Fp::Single, false)),
    d_form("stfsu", 53, |c| stf(c, c.ea_d(0), Fp::Single, true)),
    d_form("stfd", 54, |c| stf(c, c.ea_d(0), Fp::Double, false)),
    d_form("stfdu", 55, |c| stf(c, c.ea_d(0), Fp::Double, true)),
    xf("lfsx", 535, |c| lf(c, c.ea_x(), Fp::Single, false)),
    xf("lfsux", 567, |c| lf(c, c.ea_x(), Fp::Single, true)),
    xf("lfdx", 599, |c| lf(c, c.ea_x(), Fp::Double, false)),
    xf("lfdux", 631, |c| lf(c, c.ea_x(), Fp::Double, true)),
    xf("lfiwax", 855, |c| lf(c, c.ea_x(), Fp::Algebraic, false)),
    xf("lfiwzx", 887, |c| lf(c, c.ea_x(), Fp::Zero, false)),
    xf("stfsx", 663, |c| stf(c, c.ea_x(), Fp::Single, false)),
    xf("stfsux", 695, |c| stf(c, c.ea_x(), Fp::Single, true)),
    xf("stfdx", 727, |c| stf(c, c.ea_x(), Fp::Double, false)),
    xf("stfdux", 759, |c| stf(c, c.ea_x(), Fp::Double, true)),
    xf("stfiwx", 983, |c| stf(c, c.ea_x(), Fp::Zero, false)),
    VecOp::new("lfdp", 0xfc20_0003, 57 << 26, Facility::Fp, |c| {
        lfdp(c, c.ea_d(3))
    })
    .mem(),
    VecOp::new("stfdp", 0xfc20_0003, 61 << 26, Facility::Fp, |c| {
        stfdp(c, c.ea_d(3))
    })
    .mem(),
    VecOp::new(
        "lfdpx",
        0xfc20_07ff,
        31 << 26 | 791 << 1,
        Facility::Fp,
        |c| lfdp(c, c.ea_x()),
    )
    .mem(),
    VecOp::new(
        "stfdpx",
        0xfc20_07ff,
        31 << 26 | 919 << 1,
        Facility::Fp,
        |c| stfdp(c, c.ea_x()),
    )
    .mem(),
    xv("lvebx", 7, |c| lve(c, 1)),
    xv("lvehx", 39, |c| lve(c, 2)),
    xv("lvewx", 71, |c| lve(c, 4)),
    xv("lvx", 103, lvx),
    xv("lvxl", 359, lvx),
    xv("stvebx", 135, |c| stve(c, 1)),
    xv("stvehx", 167, |c| stve(c, 2)),
    xv("stvewx", 199, |c| stve(c, 4)),
    xv("stvx", 231, stvx),
    xv("stvxl", 487, stvx),
    x31("lvsl", 6, Facility::Vmx, |c| {
        let sh = c.ea_x() as u8 & 15;
        c.set_vrt(build(|i| sh + i as u8))
    }),
    x31("lvsr", 38, Facility::Vmx, |c| {
        let sh = c.ea_x() as u8 & 15;
        c.set_vrt(build(|i| 16 - sh + i as u8))
    }),
    xx1("lxsdx", 588, |c| lxs(c, Fp::Double)).mem(),
    xx1("lxsspx", 524, |c| lxs(c, Fp::Single)).mem(),
    xx1("lxsiwax", 76, |c| lxs(c, Fp::Algebraic)).mem(),
    xx1("lxsiwzx", 12, |c| lxs(c, Fp::Zero)).mem(),
    xx1("lxsibzx", 781, |c| lxs_small(c, 1)).mem(),
    xx1("lxsihzx", 813, |c| lxs_small(c, 2)).mem(),
    xx1("stxsdx", 716, |c| stxs(c, Fp::Double)).mem(),
    xx1("stxsspx", 652, |c| stxs(c, Fp::Single)).mem(),
    xx1("stxsiwx", 140, |c| stxs(c, Fp::Zero)).mem(),
    xx1("stxsibx", 909, |c| stxs_small(c, 1)).mem(),
    xx1("stxsihx", 941, |c| stxs_small(c, 2)).mem(),
    xx1("lxvd2x", 844, |c| lx_elements(c, 8)).mem(),
    xx1("lxvw4x", 780, |c| lx_elements(c, 4)).mem(),
    xx1("lxvh8x", 812, |c| lx_elements(c, 2)).mem().high(1),
    xx1("lxvb16x", 876, |c| lx_elements(c, 1)).mem().high(1),
    xx1("stxvd2x", 972, |c| stx_elements(c, 8)).mem(),
    xx1("stxvw4x", 908, |c| stx_elements(c, 4)).mem(),
    xx1("stxvh8x", 940, |c| stx_elements(c, 2)).mem().high(1),
    xx1("stxvb16x", 1004, |c| stx_elements(c, 1)).mem().high(1),
    xx1("lxvdsx", 332, |c| {
        let v = u128::from(c.env.load(c.ea_x(), 8)?);
        c.set_xt(v << 64 | v)
    })
    .mem(),
    xx1("lxvwsx", 364, |c| {
        let v = c.env.load(c.ea_x(), 4)? as u32;
        c.set_xt(build(|_| v))
    })
    .mem()
    .high(1),
    VecOp::new(
        "lxvx",
        0xfc00_07be,
        31 << 26 | 268 << 1,
        Facility::Vsx,
        |c| {
            let v = c.load_quad(c.ea_x())?;
            c.set_xt(v)
        },
    )
    .mem()
    .high(1),
    xx1("stxvx", 396, |c| c.store_quad(c.ea_x(), c.xt()))
        .mem()
        .high(1),
    xx1("lxvl", 269, |c| lxvl(c, false)).mem().high(1),
    xx1("lxvll", 301, |c| lxvl(c, true)).mem().high(1),
    xx1("stxvl", 397, |c| stxvl(c, false)).mem().high(1),
    xx1("stxvll", 429, |c| stxvl(c, true)).mem().high(1),
    VecOp::new("lxv", 0xfc00_0007, 61 << 26 | 1, Facility::Vsx, |c| {
        let v = c.load_quad(c.ea_d(15))?;
        c.set_vsr(dq_index(c), v);
        Ok(())
    })
    .mem()
    .high(8),
    VecOp::new("stxv", 0xfc00_0007, 61 << 26 | 5, Facility::Vsx, |c| {
        let v = c.vsr(dq_index(c));
        c.store_quad(c.ea_d(15), v)
    })
    .mem()
    .high(8),
    ds("lxsd", 57, 2, Facility::Vmx, |c| {
        let v = c.env.load(c.ea_d(3), 8)?;
        c.set_vrt(u128::from(v) << 64)
    }),
    ds("lxssp", 57, 3, Facility::Vmx, |c| {
        let v = fp_load(c, c.ea_d(3), Fp::Single)?;
        c.set_vrt(u128::from(v) << 64)
    }),
    ds("stxsd", 61, 2, Facility::Vmx, |c| {
        let v = el(c.vrt(), 0);
        fp_store(c, c.ea_d(3), Fp::Double, v)
    }),
    ds("stxssp", 61, 3, Facility::Vmx, |c| {
        let v = el(c.vrt(), 0);
        fp_store(c, c.ea_d(3), Fp::Single, v)
    }),
];

fn lvx(c: &mut VecCtx) -> Run {
    let v = c.load_quad(c.ea_x() & !15)?;
    c.set_vrt(v)
}

fn stvx(c: &mut VecCtx) -> Run {
    c.store_quad(c.ea_x() & !15, c.vrt())
}
