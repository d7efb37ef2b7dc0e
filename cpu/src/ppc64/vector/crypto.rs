//! AES and SHA-2 steps. Power ISA 3.0B Book I §6.11.1 and §6.11.2.
use super::fields::{build, el, vx, vxm};
use super::{Run, VecCtx, VecOp};

const fn gf_mul(mut a: u8, mut b: u8) -> u8 {
    let mut r = 0;
    while b != 0 {
        if b & 1 != 0 {
            r ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    r
}

/// FIPS 197 §5.1.1: inverse in GF(2^8), then the affine map.
const SBOX: [u8; 256] = {
    let mut t = [0_u8; 256];
    let mut i = 0;
    while i < 256 {
        // The inverse is the 254th power.
        let (mut inverse, mut k) = (1_u8, 0);
        while k < 254 {
            inverse = gf_mul(inverse, i as u8);
            k += 1;
        }
        t[i] = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4)
            ^ 0x63;
        i += 1;
    }
    t
};

const INVERSE: [u8; 256] = {
    let mut t = [0_u8; 256];
    let mut i = 0;
    while i < 256 {
        t[SBOX[i] as usize] = i as u8;
        i += 1;
    }
    t
};

fn sub(v: u128, table: &[u8; 256]) -> u128 {
    build(|i| table[usize::from(el::<u8>(v, i))])
}

/// Row r of the state moves by r columns, to the left if `left`.
fn shift_rows(v: u128, left: bool) -> u128 {
    build(|i| {
        let (column, row) = (i / 4, i % 4);
        let from = if left { column + row } else { column + 4 - row };
        el::<u8>(v, from % 4 * 4 + row)
    })
}

fn mix(v: u128, k: [u8; 4]) -> u128 {
    build(|i| {
        (0..4_u32).fold(0, |r, j| {
            let byte = el::<u8>(v, i / 4 * 4 + j);
            r ^ gf_mul(byte, k[((j + 4 - i % 4) % 4) as usize])
        })
    })
}

fn cipher(c: &mut VecCtx, last: bool) -> Run {
    let v = shift_rows(sub(c.vra(), &SBOX), true);
    let v = if last { v } else { mix(v, [2, 3, 1, 1]) };
    c.set_vrt(v ^ c.vrb())
}

fn ncipher(c: &mut VecCtx, last: bool) -> Run {
    let v = sub(shift_rows(c.vra(), false), &INVERSE) ^ c.vrb();
    c.set_vrt(if last { v } else { mix(v, [14, 11, 13, 9]) })
}

/// Two rotations and a third rotation or shift.
type Sigma = (u32, u32, u32);

/// Small sigma 0 and 1, big sigma 0 and 1; only the small ones end with a shift.
const SIGMA_W: [Sigma; 4] = [(7, 18, 3), (17, 19, 10), (2, 13, 22), (6, 11, 25)];
const SIGMA_D: [Sigma; 4] = [(1, 8, 7), (19, 61, 6), (28, 34, 39), (14, 18, 41)];

/// Index into the tables for bit `n` of SIX.
fn sigma_index(c: &VecCtx, n: u32) -> usize {
    let st = c.insn >> 15 & 1;
    (st << 1 | c.insn >> (14 - n) & 1) as usize
}

pub(super) const OPS: &[VecOp] = &[
    vx("vcipher", 1288, |c| cipher(c, false)),
    vx("vcipherlast", 1289, |c| cipher(c, true)),
    vx("vncipher", 1352, |c| ncipher(c, false)),
    vx("vncipherlast", 1353, |c| ncipher(c, true)),
    vxm("vsbox", 1480, 0xf800, |c| c.set_vrt(sub(c.vra(), &SBOX))),
    vx("vshasigmaw", 1666, |c| {
        let a = c.vra();
        let r = build(|i| {
            let (x, n) = (el::<u32>(a, i), sigma_index(c, i));
            let (p, q, s) = SIGMA_W[n];
            let third = if n < 2 { x >> s } else { x.rotate_right(s) };
            x.rotate_right(p) ^ x.rotate_right(q) ^ third
        });
        c.set_vrt(r)
    }),
    vx("vshasigmad", 1730, |c| {
        let a = c.vra();
        let r = build(|i| {
            let (x, n) = (el::<u64>(a, i), sigma_index(c, 2 * i));
            let (p, q, s) = SIGMA_D[n];
            let third = if n < 2 { x >> s } else { x.rotate_right(s) };
            x.rotate_right(p) ^ x.rotate_right(q) ^ third
        });
        c.set_vrt(r)
    }),
];
