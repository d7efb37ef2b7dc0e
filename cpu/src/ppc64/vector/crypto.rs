//! AES and SHA-2 steps. Power ISA 3.0B Book I §6.11.1 and §6.11.2.
use super::fields::{build, el, vx, vxm};
use crate::aes::{INVERSE, SBOX, State};

use super::{Run, VecCtx, VecOp};

/// Byte 0 of the state is the most significant one.
fn state(v: u128) -> State {
    State(v.to_be_bytes())
}

fn vector(s: State) -> u128 {
    u128::from_be_bytes(s.0)
}

fn cipher(c: &mut VecCtx, last: bool) -> Run {
    let v = state(c.vra()).substitute(&SBOX).shift_rows(true);
    let v = if last { v } else { v.mix([2, 3, 1, 1]) };
    c.set_vrt(vector(v) ^ c.vrb())
}

fn ncipher(c: &mut VecCtx, last: bool) -> Run {
    let v = state(c.vra()).shift_rows(false).substitute(&INVERSE);
    let v = state(vector(v) ^ c.vrb());
    c.set_vrt(vector(if last { v } else { v.mix([14, 11, 13, 9]) }))
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
    vxm("vsbox", 1480, 0xf800, |c| {
        c.set_vrt(vector(state(c.vra()).substitute(&SBOX)))
    }),
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
