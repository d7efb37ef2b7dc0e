//! VMX counts, parity, gather, multiply by ten and carry-less multiply. Power ISA 3.0B Book I §6.9 to §6.17.
use super::fields::{build, el, map1, va, vx, vxm, vxs};
use super::{Run, VecCtx, VecOp};

/// VRA * 10 + digit: the low 128 bits or the carry.
fn mul10(c: &mut VecCtx, digit: u128, carry: bool) -> Run {
    let a = c.vra();
    let (low, high) = (a & u128::from(u64::MAX), a >> 64);
    let low = low * 10 + digit;
    let high = high * 10 + (low >> 64);
    c.set_vrt(if carry {
        high >> 64
    } else {
        high << 64 | low & u128::from(u64::MAX)
    })
}

/// Number of leading (or trailing) bytes whose last bit is 0, into RT.
fn count_lsbb(c: &mut VecCtx, leading: bool) -> Run {
    let b = c.vrb();
    let zero = |i: &u32| el::<u8>(b, *i) & 1 == 0;
    let n = if leading {
        (0..16).take_while(zero).count()
    } else {
        (0..16).rev().take_while(zero).count()
    };
    let t = c.f_t();
    c.set_gpr(t, n as u64);
    Ok(())
}

fn carryless(a: u64, b: u64) -> u128 {
    (0..64).fold(0, |r, i| {
        r ^ ((u128::from(a) << i) * u128::from(b >> i & 1))
    })
}

macro_rules! pmsum {
    ($name:literal, $xo:literal, $n:ty, $w:ty) => {
        vx($name, $xo, |c| {
            let (a, b) = (c.vra(), c.vrb());
            let p = |i| carryless(u64::from(el::<$n>(a, i)), u64::from(el::<$n>(b, i))) as $w;
            c.set_vrt(build(|i| p(2 * i) ^ p(2 * i + 1)))
        })
    };
}

fn parity(x: u128) -> u32 {
    (x & 0x0101_0101_0101_0101_0101_0101_0101_0101).count_ones() & 1
}

pub(super) const OPS: &[VecOp] = &[
    vxs("vclzb", 1794, 0, |c| {
        map1(c, |b: u8| b.leading_zeros() as u8)
    }),
    vxs("vclzh", 1858, 0, |c| {
        map1(c, |b: u16| b.leading_zeros() as u16)
    }),
    vxs("vclzw", 1922, 0, |c| map1(c, |b: u32| b.leading_zeros())),
    vxs("vclzd", 1986, 0, |c| {
        map1(c, |b: u64| u64::from(b.leading_zeros()))
    }),
    vxs("vctzb", 1538, 28, |c| {
        map1(c, |b: u8| b.trailing_zeros() as u8)
    }),
    vxs("vctzh", 1538, 29, |c| {
        map1(c, |b: u16| b.trailing_zeros() as u16)
    }),
    vxs("vctzw", 1538, 30, |c| map1(c, |b: u32| b.trailing_zeros())),
    vxs("vctzd", 1538, 31, |c| {
        map1(c, |b: u64| u64::from(b.trailing_zeros()))
    }),
    vxs("vpopcntb", 1795, 0, |c| {
        map1(c, |b: u8| b.count_ones() as u8)
    }),
    vxs("vpopcnth", 1859, 0, |c| {
        map1(c, |b: u16| b.count_ones() as u16)
    }),
    vxs("vpopcntw", 1923, 0, |c| map1(c, |b: u32| b.count_ones())),
    vxs("vpopcntd", 1987, 0, |c| {
        map1(c, |b: u64| u64::from(b.count_ones()))
    }),
    vxs("vprtybw", 1538, 8, |c| {
        map1(c, |b: u32| parity(u128::from(b)))
    }),
    vxs("vprtybd", 1538, 9, |c| {
        map1(c, |b: u64| u64::from(parity(u128::from(b))))
    }),
    vxs("vprtybq", 1538, 10, |c| {
        map1(c, |b: u128| u128::from(parity(b)))
    }),
    vxs("vclzlsbb", 1538, 0, |c| count_lsbb(c, true)),
    vxs("vctzlsbb", 1538, 1, |c| count_lsbb(c, false)),
    vxs("vgbbd", 1292, 0, |c| {
        let b = c.vrb();
        c.set_vrt(build(|i| {
            (0..8_u32).fold(0_u8, |r, k| {
                r << 1 | el::<u8>(b, i / 8 * 8 + k) >> (7 - i % 8) & 1
            })
        }))
    }),
    vx("vbpermq", 1356, |c| {
        let (a, b) = (c.vra(), c.vrb());
        let r = (0..16).fold(0_u128, |r, i| {
            let n = el::<u8>(b, i);
            r << 1 | if n < 128 { a >> (127 - n) & 1 } else { 0 }
        });
        c.set_vrt(r << 64)
    }),
    vx("vbpermd", 1484, |c| {
        let (a, b) = (c.vra(), c.vrb());
        c.set_vrt(build(|i| {
            (0..8).fold(0_u64, |r, k| {
                let n = el::<u8>(b, i * 8 + k);
                let bit = if n < 64 {
                    el::<u64>(a, i) >> (63 - n) & 1
                } else {
                    0
                };
                r << 1 | bit
            })
        }))
    }),
    vxm("vmul10uq", 513, 0xf800, |c| mul10(c, 0, false)),
    vxm("vmul10cuq", 1, 0xf800, |c| mul10(c, 0, true)),
    vx("vmul10euq", 577, |c| mul10(c, c.vrb() & 15, false)),
    vx("vmul10ecuq", 65, |c| mul10(c, c.vrb() & 15, true)),
    pmsum!("vpmsumb", 1032, u8, u16),
    pmsum!("vpmsumh", 1096, u16, u32),
    pmsum!("vpmsumw", 1160, u32, u64),
    vx("vpmsumd", 1224, |c| {
        let (a, b) = (c.vra(), c.vrb());
        c.set_vrt(carryless(el(a, 0), el(b, 0)) ^ carryless(el(a, 1), el(b, 1)))
    }),
    va("vpermxor", 45, |c| {
        let (a, b, s) = (c.vra(), c.vrb(), c.vrc());
        c.set_vrt(build(|i| {
            let n = el::<u8>(s, i);
            el::<u8>(a, u32::from(n >> 4)) ^ el::<u8>(b, u32::from(n & 15))
        }))
    }),
];
