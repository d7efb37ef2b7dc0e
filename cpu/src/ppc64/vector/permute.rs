//! VMX permute, pack, merge, splat, extract and insert; VSCR moves. Power ISA 3.0B Book I §6.8.
use super::fields::{Lane, build, el, va, vx, vxm, vxs};
use super::{Run, VecCtx, VecOp};

fn perm(c: &mut VecCtx, flip: u8) -> Run {
    let (a, b, s) = (c.vra(), c.vrb(), c.vrc());
    c.set_vrt(permute(a, b, s, flip))
}

/// Bytes of `a` then `b` chosen by the low five bits of each byte of `s`, exclusive-or'ed with `flip`.
pub(super) fn permute(a: u128, b: u128, s: u128, flip: u8) -> u128 {
    build(|i| {
        let n = (el::<u8>(s, i) ^ flip) & 31;
        el::<u8>(if n < 16 { a } else { b }, u32::from(n) & 15)
    })
}

/// Packs the elements of VRA and VRB; `f` gives the narrow element and whether it saturated.
fn pack<W: Lane, N: Lane>(c: &mut VecCtx, f: impl Fn(W) -> (N, bool)) -> Run {
    let (a, b) = (c.vra(), c.vrb());
    let half = 128 / W::BITS;
    let mut sat = false;
    let r = build(|i| {
        let (n, s) = f(if i < half { el(a, i) } else { el(b, i - half) });
        sat |= s;
        n
    });
    c.sat(sat);
    c.set_vrt(r)
}

/// Saturates into the range of the narrow type.
macro_rules! clamp {
    ($c:expr, $w:ty, $n:ty) => {
        pack($c, |x: $w| {
            // Every element type fits i128.
            let x = x as i128;
            let y = x.clamp(<$n>::MIN as i128, <$n>::MAX as i128);
            (y as $n, x != y)
        })
    };
}

fn merge<L: Lane>(c: &mut VecCtx, low: bool) -> Run {
    let (a, b) = (c.vra(), c.vrb());
    let base = if low { 64 / L::BITS } else { 0 };
    c.set_vrt(build(|i| {
        el::<L>(if i % 2 == 0 { a } else { b }, base + i / 2)
    }))
}

fn unpack<N: Lane, W: Lane + From<N>>(c: &mut VecCtx, low: bool) -> Run {
    let b = c.vrb();
    let base = if low { 64 / N::BITS } else { 0 };
    c.set_vrt(build(|i| W::from(el::<N>(b, base + i))))
}

fn unpack_pixel(c: &mut VecCtx, low: bool) -> Run {
    let b = c.vrb();
    let base = if low { 4 } else { 0 };
    c.set_vrt(build(|i| {
        let p = u32::from(el::<u16>(b, base + i));
        let alpha = if p >> 15 == 1 { 0xff00_0000 } else { 0 };
        alpha | (p >> 10 & 31) << 16 | (p >> 5 & 31) << 8 | p & 31
    }))
}

/// Immediate of the splats, sign-extended from five bits.
fn simm(c: &VecCtx) -> i8 {
    ((c.f_a() as u8) << 3) as i8 >> 3
}

/// `size` bytes of VRB from byte number UIM, as an integer; beyond the register the ISA leaves it undefined.
fn extract(c: &mut VecCtx, size: u32) -> Run {
    let at = (c.f_a() & 15) as u32;
    let b = c.vrb();
    let v = b.checked_shl(at * 8).unwrap_or(0) >> (128 - size * 8);
    c.set_vrt(v << 64)
}

fn insert(c: &mut VecCtx, size: u32) -> Run {
    let at = (c.f_a() & 15) as u32;
    let v = c.vrb() >> 64 & ((1_u128 << (size * 8)) - 1);
    if at + size > 16 {
        return Ok(());
    }
    let shift = (16 - size - at) * 8;
    let mask = ((1_u128 << (size * 8)) - 1) << shift;
    let old = c.vrt();
    c.set_vrt(old & !mask | v << shift)
}

/// vextu*lx, vextu*rx: the element at byte index RA from the left or from the right end, into RT.
fn extract_to_gpr(c: &mut VecCtx, size: u32, right: bool) -> Run {
    let at = (c.gpr(c.f_a()) & 15) as u32;
    let b = c.vrb();
    let v = if right {
        b >> (at * 8)
    } else {
        b << (at * 8) >> (128 - size * 8)
    };
    let t = c.f_t();
    c.set_gpr(t, (v & ((1 << (size * 8)) - 1)) as u64);
    Ok(())
}

/// Zero bits of the splats' element-number field.
const UIM_B: u32 = 0x0010_0000;
const UIM_H: u32 = 0x0018_0000;
const UIM_W: u32 = 0x001c_0000;

pub(super) const OPS: &[VecOp] = &[
    VecOp::new(
        "mfvscr",
        0xfc1f_ffff,
        4 << 26 | 1540,
        super::Facility::Vmx,
        |c| c.set_vrt(u128::from(c.vec.vscr)),
    ),
    VecOp::new(
        "mtvscr",
        0xffff_07ff,
        4 << 26 | 1604,
        super::Facility::Vmx,
        |c| {
            c.vec.vscr = c.vrb() as u32 & 0x1_0001;
            Ok(())
        },
    ),
    va("vperm", 43, |c| perm(c, 0)),
    va("vpermr", 59, |c| perm(c, 31)),
    va("vsel", 42, |c| {
        let (a, b, m) = (c.vra(), c.vrb(), c.vrc());
        c.set_vrt(a & !m | b & m)
    }),
    VecOp::new(
        "vsldoi",
        0xfc00_043f,
        4 << 26 | 44,
        super::Facility::Vmx,
        |c| {
            let n = (c.f_c() & 15) as u32 * 8;
            let (a, b) = (c.vra(), c.vrb());
            c.set_vrt(a << n | b.checked_shr(128 - n).unwrap_or(0))
        },
    ),
    vx("vmrghb", 12, |c| merge::<u8>(c, false)),
    vx("vmrghh", 76, |c| merge::<u16>(c, false)),
    vx("vmrghw", 140, |c| merge::<u32>(c, false)),
    vx("vmrglb", 268, |c| merge::<u8>(c, true)),
    vx("vmrglh", 332, |c| merge::<u16>(c, true)),
    vx("vmrglw", 396, |c| merge::<u32>(c, true)),
    vx("vmrgew", 1932, |c| {
        let (a, b) = (c.vra(), c.vrb());
        c.set_vrt(build(|i| el::<u32>(if i % 2 == 0 { a } else { b }, i & 2)))
    }),
    vx("vmrgow", 1676, |c| {
        let (a, b) = (c.vra(), c.vrb());
        c.set_vrt(build(|i| {
            el::<u32>(if i % 2 == 0 { a } else { b }, i & 2 | 1)
        }))
    }),
    vxm("vspltb", 524, UIM_B, |c| {
        let x: u8 = el(c.vrb(), c.f_a() as u32);
        c.set_vrt(build(|_| x))
    }),
    vxm("vsplth", 588, UIM_H, |c| {
        let x: u16 = el(c.vrb(), c.f_a() as u32);
        c.set_vrt(build(|_| x))
    }),
    vxm("vspltw", 652, UIM_W, |c| {
        let x: u32 = el(c.vrb(), c.f_a() as u32);
        c.set_vrt(build(|_| x))
    }),
    vxm("vspltisb", 780, 0xf800, |c| {
        let x = simm(c);
        c.set_vrt(build(|_| x))
    }),
    vxm("vspltish", 844, 0xf800, |c| {
        let x = i16::from(simm(c));
        c.set_vrt(build(|_| x))
    }),
    vxm("vspltisw", 908, 0xf800, |c| {
        let x = i32::from(simm(c));
        c.set_vrt(build(|_| x))
    }),
    vx("vpkuhum", 14, |c| pack(c, |x: u16| (x as u8, false))),
    vx("vpkuwum", 78, |c| pack(c, |x: u32| (x as u16, false))),
    vx("vpkudum", 1102, |c| pack(c, |x: u64| (x as u32, false))),
    vx("vpkuhus", 142, |c| clamp!(c, u16, u8)),
    vx("vpkuwus", 206, |c| clamp!(c, u32, u16)),
    vx("vpkudus", 1230, |c| clamp!(c, u64, u32)),
    vx("vpkshus", 270, |c| clamp!(c, i16, u8)),
    vx("vpkswus", 334, |c| clamp!(c, i32, u16)),
    vx("vpksdus", 1358, |c| clamp!(c, i64, u32)),
    vx("vpkshss", 398, |c| clamp!(c, i16, i8)),
    vx("vpkswss", 462, |c| clamp!(c, i32, i16)),
    vx("vpksdss", 1486, |c| clamp!(c, i64, i32)),
    vx("vpkpx", 782, |c| {
        pack(c, |x: u32| {
            let p = x >> 9 & 0xfc00 | x >> 6 & 0x3e0 | x >> 3 & 0x1f;
            (p as u16, false)
        })
    }),
    vxs("vupkhsb", 526, 0, |c| unpack::<i8, i16>(c, false)),
    vxs("vupkhsh", 590, 0, |c| unpack::<i16, i32>(c, false)),
    vxs("vupkhsw", 1614, 0, |c| unpack::<i32, i64>(c, false)),
    vxs("vupklsb", 654, 0, |c| unpack::<i8, i16>(c, true)),
    vxs("vupklsh", 718, 0, |c| unpack::<i16, i32>(c, true)),
    vxs("vupklsw", 1742, 0, |c| unpack::<i32, i64>(c, true)),
    vxs("vupkhpx", 846, 0, |c| unpack_pixel(c, false)),
    vxs("vupklpx", 974, 0, |c| unpack_pixel(c, true)),
    vxm("vextractub", 525, UIM_B, |c| extract(c, 1)),
    vxm("vextractuh", 589, UIM_B, |c| extract(c, 2)),
    vxm("vextractuw", 653, UIM_B, |c| extract(c, 4)),
    vxm("vextractd", 717, UIM_B, |c| extract(c, 8)),
    vxm("vinsertb", 781, UIM_B, |c| insert(c, 1)),
    vxm("vinserth", 845, UIM_B, |c| insert(c, 2)),
    vxm("vinsertw", 909, UIM_B, |c| insert(c, 4)),
    vxm("vinsertd", 973, UIM_B, |c| insert(c, 8)),
    vx("vextublx", 1549, |c| extract_to_gpr(c, 1, false)),
    vx("vextuhlx", 1613, |c| extract_to_gpr(c, 2, false)),
    vx("vextuwlx", 1677, |c| extract_to_gpr(c, 4, false)),
    vx("vextubrx", 1805, |c| extract_to_gpr(c, 1, true)),
    vx("vextuhrx", 1869, |c| extract_to_gpr(c, 2, true)),
    vx("vextuwrx", 1933, |c| extract_to_gpr(c, 4, true)),
];
