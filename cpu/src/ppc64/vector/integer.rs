//! VMX integer arithmetic, compares, shifts and logic. Power ISA 3.0B Book I §6.9 and §6.11.
use super::fields::{build, cmp, el, map1, map2, sat2, va, vc, vx, vxs};
use super::{Run, VecCtx, VecOp};

/// Rotate left with mask insert or and; shifts and mask bounds come from each VRB element.
fn rotate_mask(c: &mut VecCtx, bits: u32, insert: bool) -> Run {
    let (a, b, t) = (c.vra(), c.vrb(), c.vrt());
    let n = bits - 1;
    let all = u64::MAX >> (64 - bits);
    let one = |a: u64, b: u64, t: u64| {
        let (first, last, sh) = ((b >> 16) as u32 & n, (b >> 8) as u32 & n, b as u32 & n);
        let rotated = if bits == 64 {
            a.rotate_left(sh)
        } else {
            u64::from((a as u32).rotate_left(sh))
        };
        let (head, tail) = (all >> first, all << (n - last) & all);
        let mask = if first <= last {
            head & tail
        } else {
            head | tail
        };
        rotated & mask | if insert { t & !mask } else { 0 }
    };
    c.set_vrt(if bits == 64 {
        build(|i| one(el(a, i), el(b, i), el(t, i)))
    } else {
        build(|i| {
            one(
                u64::from(el::<u32>(a, i)),
                u64::from(el::<u32>(b, i)),
                u64::from(el::<u32>(t, i)),
            ) as u32
        })
    })
}

/// VRT = VRA + VRB + carry modulo 2^128, or the carry out.
fn add_quad(c: &mut VecCtx, a: u128, b: u128, carry: bool, out: bool) -> Run {
    let (x, c1) = a.overflowing_add(b);
    let (x, c2) = x.overflowing_add(u128::from(carry));
    c.set_vrt(if out { u128::from(c1 | c2) } else { x })
}

/// Multiply-sum over groups of elements: each 32-bit result is the sum of the products and the VRC word.
fn msum(
    c: &mut VecCtx,
    product: impl Fn(u128, u128, u32) -> i64,
    per_word: u32,
    addend_signed: bool,
    clamp: Option<(i64, i64)>,
) -> Run {
    let (a, b, addend) = (c.vra(), c.vrb(), c.vrc());
    let mut sat = false;
    let r = build(|i| {
        let w = el::<u32>(addend, i);
        let mut sum = if addend_signed {
            i64::from(w as i32)
        } else {
            i64::from(w)
        };
        for k in 0..per_word {
            // At most four products of 16 bits or two of 32 bits: no overflow of 64 bits.
            sum = sum.wrapping_add(product(a, b, i * per_word + k));
        }
        if let Some((low, high)) = clamp {
            sat |= sum < low || sum > high;
            sum = sum.clamp(low, high);
        }
        sum as u32
    });
    c.sat(sat);
    c.set_vrt(r)
}

const UNSIGNED: Option<(i64, i64)> = Some((0, u32::MAX as i64));
const SIGNED: Option<(i64, i64)> = Some((i32::MIN as i64, i32::MAX as i64));

fn halves_u(a: u128, b: u128, i: u32) -> i64 {
    i64::from(el::<u16>(a, i)) * i64::from(el::<u16>(b, i))
}

fn halves_s(a: u128, b: u128, i: u32) -> i64 {
    i64::from(el::<i16>(a, i)) * i64::from(el::<i16>(b, i))
}

/// Sum of the products' high parts with saturation: vmhaddshs, vmhraddshs.
fn mhadd(c: &mut VecCtx, round: i32) -> Run {
    let (a, b, addend) = (c.vra(), c.vrb(), c.vrc());
    let mut sat = false;
    let r = build(|i| {
        let p = i32::from(el::<i16>(a, i)) * i32::from(el::<i16>(b, i)) + round;
        let s = (p >> 15) + i32::from(el::<i16>(addend, i));
        let x = s.clamp(-0x8000, 0x7fff);
        sat |= x != s;
        x as i16
    });
    c.sat(sat);
    c.set_vrt(r)
}

/// Sums across: element results of the words `i` where `f` gives (exact sum), saturated.
fn sum_across(
    c: &mut VecCtx,
    f: impl Fn(u128, u128, u32) -> Option<i64>,
    range: (i64, i64),
) -> Run {
    let (a, b) = (c.vra(), c.vrb());
    let mut sat = false;
    let r = build(|i| {
        let s = f(a, b, i).unwrap_or(0);
        let x = s.clamp(range.0, range.1);
        sat |= x != s;
        x as u32
    });
    c.sat(sat);
    c.set_vrt(r)
}

const S32: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);
const U32: (i64, i64) = (0, u32::MAX as i64);

/// Shift of the whole register by bits (vsl, vsr): the count is the low three bits of VRB.
fn shift_bits(c: &mut VecCtx, left: bool) -> Run {
    let (a, n) = (c.vra(), c.vrb() as u32 & 7);
    c.set_vrt(if left { a << n } else { a >> n })
}

/// Shift of the whole register by octets (vslo, vsro).
fn shift_octets(c: &mut VecCtx, left: bool) -> Run {
    let (a, n) = (c.vra(), c.vrb() as u32 & 0x78);
    c.set_vrt(if left { a << n } else { a >> n })
}

fn logic(c: &mut VecCtx, f: fn(u128, u128) -> u128) -> Run {
    let r = f(c.vra(), c.vrb());
    c.set_vrt(r)
}

macro_rules! mul_eo {
    ($name:literal, $xo:literal, $n:ty, $w:ty, $odd:literal) => {
        vx($name, $xo, |c| {
            let (a, b) = (c.vra(), c.vrb());
            c.set_vrt(build(|i| {
                let at = 2 * i + $odd;
                <$w>::from(el::<$n>(a, at)) * <$w>::from(el::<$n>(b, at))
            }))
        })
    };
}

pub(super) const OPS: &[VecOp] = &[
    vx("vaddubm", 0, |c| map2(c, |a: u8, b| a.wrapping_add(b))),
    vx("vadduhm", 64, |c| map2(c, |a: u16, b| a.wrapping_add(b))),
    vx("vadduwm", 128, |c| map2(c, |a: u32, b| a.wrapping_add(b))),
    vx("vaddudm", 192, |c| map2(c, |a: u64, b| a.wrapping_add(b))),
    vx("vadduqm", 256, |c| {
        add_quad(c, c.vra(), c.vrb(), false, false)
    }),
    vx("vaddcuq", 320, |c| {
        add_quad(c, c.vra(), c.vrb(), false, true)
    }),
    va("vaddeuqm", 60, |c| {
        add_quad(c, c.vra(), c.vrb(), c.vrc() & 1 == 1, false)
    }),
    va("vaddecuq", 61, |c| {
        add_quad(c, c.vra(), c.vrb(), c.vrc() & 1 == 1, true)
    }),
    vx("vsubuqm", 1280, |c| {
        add_quad(c, c.vra(), !c.vrb(), true, false)
    }),
    vx("vsubcuq", 1344, |c| {
        add_quad(c, c.vra(), !c.vrb(), true, true)
    }),
    va("vsubeuqm", 62, |c| {
        add_quad(c, c.vra(), !c.vrb(), c.vrc() & 1 == 1, false)
    }),
    va("vsubecuq", 63, |c| {
        add_quad(c, c.vra(), !c.vrb(), c.vrc() & 1 == 1, true)
    }),
    vx("vaddcuw", 384, |c| {
        map2(c, |a: u32, b| u32::from(a.overflowing_add(b).1))
    }),
    vx("vsubcuw", 1408, |c| map2(c, |a: u32, b| u32::from(a >= b))),
    vx("vaddubs", 512, |c| {
        sat2(c, |a: u8, b| (a.saturating_add(b), a.wrapping_add(b)))
    }),
    vx("vadduhs", 576, |c| {
        sat2(c, |a: u16, b| (a.saturating_add(b), a.wrapping_add(b)))
    }),
    vx("vadduws", 640, |c| {
        sat2(c, |a: u32, b| (a.saturating_add(b), a.wrapping_add(b)))
    }),
    vx("vaddsbs", 768, |c| {
        sat2(c, |a: i8, b| (a.saturating_add(b), a.wrapping_add(b)))
    }),
    vx("vaddshs", 832, |c| {
        sat2(c, |a: i16, b| (a.saturating_add(b), a.wrapping_add(b)))
    }),
    vx("vaddsws", 896, |c| {
        sat2(c, |a: i32, b| (a.saturating_add(b), a.wrapping_add(b)))
    }),
    vx("vsububm", 1024, |c| map2(c, |a: u8, b| a.wrapping_sub(b))),
    vx("vsubuhm", 1088, |c| map2(c, |a: u16, b| a.wrapping_sub(b))),
    vx("vsubuwm", 1152, |c| map2(c, |a: u32, b| a.wrapping_sub(b))),
    vx("vsubudm", 1216, |c| map2(c, |a: u64, b| a.wrapping_sub(b))),
    vx("vsububs", 1536, |c| {
        sat2(c, |a: u8, b| (a.saturating_sub(b), a.wrapping_sub(b)))
    }),
    vx("vsubuhs", 1600, |c| {
        sat2(c, |a: u16, b| (a.saturating_sub(b), a.wrapping_sub(b)))
    }),
    vx("vsubuws", 1664, |c| {
        sat2(c, |a: u32, b| (a.saturating_sub(b), a.wrapping_sub(b)))
    }),
    vx("vsubsbs", 1792, |c| {
        sat2(c, |a: i8, b| (a.saturating_sub(b), a.wrapping_sub(b)))
    }),
    vx("vsubshs", 1856, |c| {
        sat2(c, |a: i16, b| (a.saturating_sub(b), a.wrapping_sub(b)))
    }),
    vx("vsubsws", 1920, |c| {
        sat2(c, |a: i32, b| (a.saturating_sub(b), a.wrapping_sub(b)))
    }),
    vx("vmaxub", 2, |c| map2(c, |a: u8, b| a.max(b))),
    vx("vmaxuh", 66, |c| map2(c, |a: u16, b| a.max(b))),
    vx("vmaxuw", 130, |c| map2(c, |a: u32, b| a.max(b))),
    vx("vmaxud", 194, |c| map2(c, |a: u64, b| a.max(b))),
    vx("vmaxsb", 258, |c| map2(c, |a: i8, b| a.max(b))),
    vx("vmaxsh", 322, |c| map2(c, |a: i16, b| a.max(b))),
    vx("vmaxsw", 386, |c| map2(c, |a: i32, b| a.max(b))),
    vx("vmaxsd", 450, |c| map2(c, |a: i64, b| a.max(b))),
    vx("vminub", 514, |c| map2(c, |a: u8, b| a.min(b))),
    vx("vminuh", 578, |c| map2(c, |a: u16, b| a.min(b))),
    vx("vminuw", 642, |c| map2(c, |a: u32, b| a.min(b))),
    vx("vminud", 706, |c| map2(c, |a: u64, b| a.min(b))),
    vx("vminsb", 770, |c| map2(c, |a: i8, b| a.min(b))),
    vx("vminsh", 834, |c| map2(c, |a: i16, b| a.min(b))),
    vx("vminsw", 898, |c| map2(c, |a: i32, b| a.min(b))),
    vx("vminsd", 962, |c| map2(c, |a: i64, b| a.min(b))),
    vx("vavgub", 1026, |c| {
        map2(c, |a: u8, b| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8)
    }),
    vx("vavguh", 1090, |c| {
        map2(c, |a: u16, b| {
            ((u32::from(a) + u32::from(b) + 1) >> 1) as u16
        })
    }),
    vx("vavguw", 1154, |c| {
        map2(c, |a: u32, b| {
            ((u64::from(a) + u64::from(b) + 1) >> 1) as u32
        })
    }),
    vx("vavgsb", 1282, |c| {
        map2(c, |a: i8, b| ((i16::from(a) + i16::from(b) + 1) >> 1) as i8)
    }),
    vx("vavgsh", 1346, |c| {
        map2(c, |a: i16, b| {
            ((i32::from(a) + i32::from(b) + 1) >> 1) as i16
        })
    }),
    vx("vavgsw", 1410, |c| {
        map2(c, |a: i32, b| {
            ((i64::from(a) + i64::from(b) + 1) >> 1) as i32
        })
    }),
    vx("vabsdub", 1027, |c| map2(c, |a: u8, b| a.abs_diff(b))),
    vx("vabsduh", 1091, |c| map2(c, |a: u16, b| a.abs_diff(b))),
    vx("vabsduw", 1155, |c| map2(c, |a: u32, b| a.abs_diff(b))),
    vxs("vnegw", 1538, 6, |c| map1(c, |b: i32| b.wrapping_neg())),
    vxs("vnegd", 1538, 7, |c| map1(c, |b: i64| b.wrapping_neg())),
    vxs("vextsb2w", 1538, 16, |c| {
        map1(c, |b: i32| i32::from(b as i8))
    }),
    vxs("vextsh2w", 1538, 17, |c| {
        map1(c, |b: i32| i32::from(b as i16))
    }),
    vxs("vextsb2d", 1538, 24, |c| {
        map1(c, |b: i64| i64::from(b as i8))
    }),
    vxs("vextsh2d", 1538, 25, |c| {
        map1(c, |b: i64| i64::from(b as i16))
    }),
    vxs("vextsw2d", 1538, 26, |c| {
        map1(c, |b: i64| i64::from(b as i32))
    }),
    vx("vrlb", 4, |c| {
        map2(c, |a: u8, b| a.rotate_left(u32::from(b) & 7))
    }),
    vx("vrlh", 68, |c| {
        map2(c, |a: u16, b| a.rotate_left(u32::from(b) & 15))
    }),
    vx("vrlw", 132, |c| map2(c, |a: u32, b| a.rotate_left(b & 31))),
    vx("vrld", 196, |c| {
        map2(c, |a: u64, b| a.rotate_left(b as u32 & 63))
    }),
    vx("vrlwmi", 133, |c| rotate_mask(c, 32, true)),
    vx("vrldmi", 197, |c| rotate_mask(c, 64, true)),
    vx("vrlwnm", 389, |c| rotate_mask(c, 32, false)),
    vx("vrldnm", 453, |c| rotate_mask(c, 64, false)),
    vx("vslb", 260, |c| map2(c, |a: u8, b| a << (b & 7))),
    vx("vslh", 324, |c| map2(c, |a: u16, b| a << (b & 15))),
    vx("vslw", 388, |c| map2(c, |a: u32, b| a << (b & 31))),
    vx("vsld", 1476, |c| map2(c, |a: u64, b| a << (b & 63))),
    vx("vsrb", 516, |c| map2(c, |a: u8, b| a >> (b & 7))),
    vx("vsrh", 580, |c| map2(c, |a: u16, b| a >> (b & 15))),
    vx("vsrw", 644, |c| map2(c, |a: u32, b| a >> (b & 31))),
    vx("vsrd", 1732, |c| map2(c, |a: u64, b| a >> (b & 63))),
    vx("vsrab", 772, |c| map2(c, |a: i8, b| a >> (b & 7))),
    vx("vsrah", 836, |c| map2(c, |a: i16, b| a >> (b & 15))),
    vx("vsraw", 900, |c| map2(c, |a: i32, b| a >> (b & 31))),
    vx("vsrad", 964, |c| map2(c, |a: i64, b| a >> (b & 63))),
    vx("vsl", 452, |c| shift_bits(c, true)),
    vx("vsr", 708, |c| shift_bits(c, false)),
    vx("vslo", 1036, |c| shift_octets(c, true)),
    vx("vsro", 1100, |c| shift_octets(c, false)),
    vx("vslv", 1860, |c| {
        let (a, b) = (c.vra(), c.vrb());
        c.set_vrt(build(|i| {
            let next = if i < 15 { el::<u8>(a, i + 1) } else { 0 };
            let pair = u16::from(el::<u8>(a, i)) << 8 | u16::from(next);
            (pair << (el::<u8>(b, i) & 7) >> 8) as u8
        }))
    }),
    vx("vsrv", 1796, |c| {
        let (a, b) = (c.vra(), c.vrb());
        c.set_vrt(build(|i| {
            let previous = if i > 0 { el::<u8>(a, i - 1) } else { 0 };
            let pair = u16::from(previous) << 8 | u16::from(el::<u8>(a, i));
            (pair >> (el::<u8>(b, i) & 7)) as u8
        }))
    }),
    vx("vand", 1028, |c| logic(c, |a, b| a & b)),
    vx("vandc", 1092, |c| logic(c, |a, b| a & !b)),
    vx("vor", 1156, |c| logic(c, |a, b| a | b)),
    vx("vorc", 1348, |c| logic(c, |a, b| a | !b)),
    vx("vxor", 1220, |c| logic(c, |a, b| a ^ b)),
    vx("vnor", 1284, |c| logic(c, |a, b| !(a | b))),
    vx("vnand", 1412, |c| logic(c, |a, b| !(a & b))),
    vx("veqv", 1668, |c| logic(c, |a, b| !(a ^ b))),
    vc("vcmpequb", 6, |c| cmp(c, |a: u8, b| a == b)),
    vc("vcmpequh", 70, |c| cmp(c, |a: u16, b| a == b)),
    vc("vcmpequw", 134, |c| cmp(c, |a: u32, b| a == b)),
    vc("vcmpequd", 199, |c| cmp(c, |a: u64, b| a == b)),
    vc("vcmpneb", 7, |c| cmp(c, |a: u8, b| a != b)),
    vc("vcmpneh", 71, |c| cmp(c, |a: u16, b| a != b)),
    vc("vcmpnew", 135, |c| cmp(c, |a: u32, b| a != b)),
    vc("vcmpnezb", 263, |c| {
        cmp(c, |a: u8, b| a != b || a == 0 || b == 0)
    }),
    vc("vcmpnezh", 327, |c| {
        cmp(c, |a: u16, b| a != b || a == 0 || b == 0)
    }),
    vc("vcmpnezw", 391, |c| {
        cmp(c, |a: u32, b| a != b || a == 0 || b == 0)
    }),
    vc("vcmpgtub", 518, |c| cmp(c, |a: u8, b| a > b)),
    vc("vcmpgtuh", 582, |c| cmp(c, |a: u16, b| a > b)),
    vc("vcmpgtuw", 646, |c| cmp(c, |a: u32, b| a > b)),
    vc("vcmpgtud", 711, |c| cmp(c, |a: u64, b| a > b)),
    vc("vcmpgtsb", 774, |c| cmp(c, |a: i8, b| a > b)),
    vc("vcmpgtsh", 838, |c| cmp(c, |a: i16, b| a > b)),
    vc("vcmpgtsw", 902, |c| cmp(c, |a: i32, b| a > b)),
    vc("vcmpgtsd", 967, |c| cmp(c, |a: i64, b| a > b)),
    mul_eo!("vmuleub", 520, u8, u16, 0),
    mul_eo!("vmuloub", 8, u8, u16, 1),
    mul_eo!("vmulesb", 776, i8, i16, 0),
    mul_eo!("vmulosb", 264, i8, i16, 1),
    mul_eo!("vmuleuh", 584, u16, u32, 0),
    mul_eo!("vmulouh", 72, u16, u32, 1),
    mul_eo!("vmulesh", 840, i16, i32, 0),
    mul_eo!("vmulosh", 328, i16, i32, 1),
    mul_eo!("vmuleuw", 648, u32, u64, 0),
    mul_eo!("vmulouw", 136, u32, u64, 1),
    mul_eo!("vmulesw", 904, i32, i64, 0),
    mul_eo!("vmulosw", 392, i32, i64, 1),
    vx("vmuluwm", 137, |c| map2(c, |a: u32, b| a.wrapping_mul(b))),
    va("vmhaddshs", 32, |c| mhadd(c, 0)),
    va("vmhraddshs", 33, |c| mhadd(c, 0x4000)),
    va("vmladduhm", 34, |c| {
        let (a, b, d) = (c.vra(), c.vrb(), c.vrc());
        c.set_vrt(build(|i| {
            el::<u16>(a, i)
                .wrapping_mul(el(b, i))
                .wrapping_add(el(d, i))
        }))
    }),
    va("vmsumubm", 36, |c| {
        msum(
            c,
            |a, b, i| i64::from(el::<u8>(a, i)) * i64::from(el::<u8>(b, i)),
            4,
            false,
            None,
        )
    }),
    va("vmsummbm", 37, |c| {
        msum(
            c,
            |a, b, i| i64::from(el::<i8>(a, i)) * i64::from(el::<u8>(b, i)),
            4,
            true,
            None,
        )
    }),
    va("vmsumuhm", 38, |c| msum(c, halves_u, 2, false, None)),
    va("vmsumuhs", 39, |c| msum(c, halves_u, 2, false, UNSIGNED)),
    va("vmsumshm", 40, |c| msum(c, halves_s, 2, true, None)),
    va("vmsumshs", 41, |c| msum(c, halves_s, 2, true, SIGNED)),
    va("vmsumudm", 35, |c| {
        let (a, b, d) = (c.vra(), c.vrb(), c.vrc());
        let p = |i| u128::from(el::<u64>(a, i)) * u128::from(el::<u64>(b, i));
        c.set_vrt(p(0).wrapping_add(p(1)).wrapping_add(d))
    }),
    vx("vsum4ubs", 1544, |c| {
        let f = |a, b, i| {
            let s: i64 = (0..4).map(|k| i64::from(el::<u8>(a, 4 * i + k))).sum();
            Some(s + i64::from(el::<u32>(b, i)))
        };
        sum_across(c, f, U32)
    }),
    vx("vsum4sbs", 1800, |c| {
        let f = |a, b, i| {
            let s: i64 = (0..4).map(|k| i64::from(el::<i8>(a, 4 * i + k))).sum();
            Some(s + i64::from(el::<i32>(b, i)))
        };
        sum_across(c, f, S32)
    }),
    vx("vsum4shs", 1608, |c| {
        let f = |a, b, i| {
            let s: i64 = (0..2).map(|k| i64::from(el::<i16>(a, 2 * i + k))).sum();
            Some(s + i64::from(el::<i32>(b, i)))
        };
        sum_across(c, f, S32)
    }),
    vx("vsum2sws", 1672, |c| {
        let f = |a, b, i| {
            let s = i64::from(el::<i32>(a, i)) + i64::from(el::<i32>(a, i.wrapping_sub(1)));
            (i % 2 == 1).then(|| s + i64::from(el::<i32>(b, i)))
        };
        sum_across(c, f, S32)
    }),
    vx("vsumsws", 1928, |c| {
        let f = |a, b, i| {
            let s: i64 = (0..4).map(|k| i64::from(el::<i32>(a, k))).sum();
            (i == 3).then(|| s + i64::from(el::<i32>(b, 3)))
        };
        sum_across(c, f, S32)
    }),
];
