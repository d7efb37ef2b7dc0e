//! Random cases of one instruction form.

use crate::operands;
use crate::random::{KINDS, Random};
use crate::record::{CODE, MEM, Order, Record, SLOT, SLOTS, WINDOW};

/// An instruction form: the words with `word & mask == value`.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub mnemonic: &'static str,
    pub mask: u32,
    pub value: u32,
    pub memory: bool,
}

/// Registers and memory of any values.
pub fn random_state(order: Order, random: &mut Random) -> Record {
    let mut r = Record::blank();
    r.gpr.iter_mut().for_each(|gpr| *gpr = random.integer());
    let kind = random.below(KINDS);
    for vsr in &mut r.vsr {
        let kind = if random.one_in(8) {
            random.below(KINDS)
        } else {
            kind
        };
        *vsr = random.vector(kind);
    }
    // Sums and comparisons with equal operands.
    for _ in 0..8 {
        let (a, b) = (random.below(64) as usize, random.below(64) as usize);
        r.vsr[a] = r.vsr[b];
        r.gpr[a % 32] = r.gpr[b % 32];
    }
    r.fpscr = random.fpscr();
    r.vscr = random.below(2) as u32 | u32::from(random.one_in(8)) << 16;
    r.cr = random.next() as u32;
    r.xer = random.next() & 0xe00c_0000 | random.below(32);
    r.lr = random.next();
    r.ctr = random.pick(&[0, 1, 2, 1 << 32, (1 << 32) + 1, 77]);
    for byte in &mut r.mem {
        *byte = random.next() as u8;
    }
    for i in 0..4 {
        let at = 16 * random.below(31) as usize;
        let kind = random.below(KINDS);
        put(order, &mut r.mem[at..], 16, random.vector(kind));
        put(order, &mut r.mem[240 + 8 * i..], 8, random.double().into());
    }
    r
}

/// The low `size` bytes of `v` at the start of `at`.
fn put(order: Order, at: &mut [u8], size: usize, v: u128) {
    let mut bytes = Vec::with_capacity(16);
    order.u128(&mut bytes, v);
    at[..size].copy_from_slice(match order {
        Order::Little => &bytes[..size],
        Order::Big => &bytes[16 - size..],
    });
}

/// Where a branch may go: one of the first words of the slot.
fn forward(random: &mut Random) -> u32 {
    4 * (1 + random.below(7)) as u32
}

/// Loads with reservation, by the conditional store that uses them.
pub fn reserving(mnemonic: &str) -> Option<u32> {
    Some(match mnemonic {
        "stbcx." => 52,
        "sthcx." => 116,
        "stwcx." => 20,
        "stdcx." => 84,
        "stqcx." => 276,
        _ => return None,
    })
}

/// The load that gives a conditional store a reservation which does not depend on earlier cases.
pub fn reserve(load: u32, base: u32, index: u32) -> u32 {
    let target = if load == 276 { 8 } else { 9 };
    31 << 26 | target << 21 | base << 16 | index << 11 | load << 1
}

/// Number of the word of a case that is the form's instruction.
pub fn place(form: &Form) -> usize {
    usize::from(reserving(form.mnemonic).is_some())
}

/// A random case of `form` for slot number `slot`.
pub fn case(form: &Form, order: Order, slot: usize, random: &mut Random) -> Record {
    let mut r = random_state(order, random);
    let mut word = form.value | random.next() as u32 & !form.mask;
    let here = SLOTS + slot as u64 * SLOT;
    let xo = word >> 1 & 0x3ff;
    match (word >> 26, xo) {
        (18, _) => word = word & 0xfc00_0001 | forward(random),
        (16, _) => word = word & 0xffff_0001 | forward(random),
        (19, 16 | 528 | 560) => {
            r.lr = here + u64::from(forward(random));
            r.ctr = here + u64::from(forward(random));
            if xo != 16 {
                word |= 4 << 21;
            }
        }
        // mfspr, mtspr: XER, LR, CTR.
        (31, 339 | 467) => word = word & !0x001f_f800 | random.pick(&[1, 8, 9]) << 16,
        _ if form.memory => {
            let offset = operands::memory(form, &mut word, order, random);
            operands::memory_registers(form, &mut word, offset, &mut r, random);
        }
        _ => {}
    }
    operands::defined(form, &mut word, random);
    operands::notable(form, word, &mut r, random);
    operands::defined_state(form, word, &mut r, random);
    let mut code = Vec::with_capacity(CODE);
    if let Some(load) = reserving(form.mnemonic) {
        // Another address now and then: the store must fail.
        if random.one_in(8) {
            r.gpr[4] = WINDOW + MEM as u64 / 2;
            code.push(reserve(load, 0, 4));
        } else {
            code.push(reserve(load, word >> 16 & 31, word >> 11 & 31));
        }
    }
    code.push(word);
    if matches!(word >> 26, 16 | 18) || word >> 26 == 19 && matches!(xo, 16 | 528 | 560) {
        for i in 1..8 {
            let register = 7 + i;
            code.push(14 << 26 | register << 21 | register << 16 | i);
        }
    }
    r.code[..code.len()].copy_from_slice(&code);
    r
}
