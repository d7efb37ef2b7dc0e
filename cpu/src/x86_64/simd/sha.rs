//! SHA-1 and SHA-256 instructions. SDM volume 1 §5.24 and volume 2; FIPS 180-4.
use iced_x86::Mnemonic as M;

use super::form::Run::{self, Blend, Two, TwoImm};
use super::lanes::el;

/// The operation of a mnemonic of this file.
pub(super) fn run(m: M) -> Option<Run> {
    Some(match m {
        M::Sha1rnds4 => TwoImm(rounds1),
        M::Sha1nexte => Two(|a, b| {
            let e = word(a, 3).rotate_left(30).wrapping_add(word(b, 3));
            words([word(b, 0), word(b, 1), word(b, 2), e])
        }),
        M::Sha1msg1 => Two(|a, b| {
            words([
                word(a, 0) ^ word(b, 2),
                word(a, 1) ^ word(b, 3),
                word(a, 2) ^ word(a, 0),
                word(a, 3) ^ word(a, 1),
            ])
        }),
        M::Sha1msg2 => Two(|a, b| {
            let w16 = (word(a, 3) ^ word(b, 2)).rotate_left(1);
            let w17 = (word(a, 2) ^ word(b, 1)).rotate_left(1);
            let w18 = (word(a, 1) ^ word(b, 0)).rotate_left(1);
            let w19 = (word(a, 0) ^ w16).rotate_left(1);
            words([w19, w18, w17, w16])
        }),
        M::Sha256rnds2 => Blend(rounds256),
        M::Sha256msg1 => Two(|a, b| {
            let w = [word(a, 0), word(a, 1), word(a, 2), word(a, 3), word(b, 0)];
            words(std::array::from_fn(|i| {
                let x = w[i + 1];
                let sigma = x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3;
                w[i].wrapping_add(sigma)
            }))
        }),
        M::Sha256msg2 => Two(|a, b| {
            let sigma = |x: u32| x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10;
            let w16 = word(a, 0).wrapping_add(sigma(word(b, 2)));
            let w17 = word(a, 1).wrapping_add(sigma(word(b, 3)));
            let w18 = word(a, 2).wrapping_add(sigma(w16));
            let w19 = word(a, 3).wrapping_add(sigma(w17));
            words([w16, w17, w18, w19])
        }),
        _ => return None,
    })
}

fn word(v: u128, i: usize) -> u32 {
    el(v, i)
}

/// Least significant word first.
fn words(w: [u32; 4]) -> u128 {
    w.iter().rev().fold(0, |r, x| r << 32 | u128::from(*x))
}

/// Four rounds of SHA-1 on A to D (A is the most significant word) with the words of `b`, the first of which holds E also.
fn rounds1(abcd: u128, b: u128, function: u8) -> u128 {
    let [mut d, mut c, mut b_, mut a] = std::array::from_fn(|i| word(abcd, i));
    let mut e = 0_u32;
    for i in (0..4).rev() {
        let (f, k) = match function & 3 {
            0 => (b_ & c ^ !b_ & d, 0x5a82_7999),
            1 => (b_ ^ c ^ d, 0x6ed9_eba1),
            2 => (b_ & c ^ b_ & d ^ c & d, 0x8f1b_bcdc),
            _ => (b_ ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(f)
            .wrapping_add(word(b, i))
            .wrapping_add(e)
            .wrapping_add(k);
        (e, d, c, b_, a) = (d, c, b_.rotate_left(30), a, next);
    }
    words([d, c, b_, a])
}

/// Two rounds of SHA-256: C, D, G and H in the first operand, A, B, E and F in the second, the words with their constants in XMM0.
fn rounds256(cdgh: u128, abef: u128, wk: u128) -> u128 {
    let [mut f, mut e, mut b, mut a] = std::array::from_fn(|i| word(abef, i));
    let [mut h, mut g, mut d, mut c] = std::array::from_fn(|i| word(cdgh, i));
    for i in 0..2 {
        let choose = e & f ^ !e & g;
        let majority = a & b ^ a & c ^ b & c;
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t = choose
            .wrapping_add(s1)
            .wrapping_add(word(wk, i))
            .wrapping_add(h);
        let next = t.wrapping_add(majority).wrapping_add(s0);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t), c, b, a, next);
    }
    words([f, e, b, a])
}
