//! AES instructions. SDM volume 1 §12.13.
use iced_x86::Mnemonic as M;

use super::form::Run::{self, One, OneImm, Two};
use super::lanes::{build, el};
use crate::aes::{INVERSE, SBOX, State};

const MIX: [u8; 4] = [2, 3, 1, 1];
const UNMIX: [u8; 4] = [14, 11, 13, 9];

/// Byte 0 of the state is the least significant one.
fn state(v: u128) -> State {
    State(v.to_le_bytes())
}

fn vector(s: State) -> u128 {
    u128::from_le_bytes(s.0)
}

/// The operation of a mnemonic of this file.
pub(super) fn run(m: M) -> Option<Run> {
    Some(match m {
        M::Aesenc | M::Vaesenc => {
            Two(|a, key| vector(state(a).substitute(&SBOX).shift_rows(true).mix(MIX)) ^ key)
        }
        M::Aesenclast | M::Vaesenclast => {
            Two(|a, key| vector(state(a).substitute(&SBOX).shift_rows(true)) ^ key)
        }
        M::Aesdec | M::Vaesdec => {
            Two(|a, key| vector(state(a).substitute(&INVERSE).shift_rows(false).mix(UNMIX)) ^ key)
        }
        M::Aesdeclast | M::Vaesdeclast => {
            Two(|a, key| vector(state(a).substitute(&INVERSE).shift_rows(false)) ^ key)
        }
        M::Aesimc | M::Vaesimc => One(|b| vector(state(b).mix(UNMIX))),
        M::Aeskeygenassist | M::Vaeskeygenassist => OneImm(|b, round| {
            let s = vector(state(b).substitute(&SBOX));
            build(|i| {
                let word = el::<u32>(s, i | 1);
                if i & 1 == 0 {
                    el::<u32>(s, i + 1)
                } else {
                    word.rotate_right(8) ^ u32::from(round)
                }
            })
        }),
        _ => return None,
    })
}
