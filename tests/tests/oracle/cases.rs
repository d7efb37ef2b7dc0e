//! Random cases of one instruction form.

use crate::record::{CODE, MEM, Record, SLOT, SLOTS, WINDOW};

/// An instruction form: the words with `word & mask == value`.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub mnemonic: &'static str,
    pub mask: u32,
    pub value: u32,
    pub memory: bool,
}

/// SplitMix64: the same cases for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// An integer that is often at an edge.
    fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 => self.pick(&[0, 1, 2, u64::MAX, u64::MAX - 1]),
            1 => self.pick(&[
                1 << 63,
                (1 << 63) - 1,
                1 << 31,
                (1 << 31) - 1,
                1 << 32,
                0xffff_ffff,
            ]),
            2 => self.pick(&[
                0xffff_ffff_8000_0000,
                0xffff_ffff_7fff_ffff,
                0x8000_0000_ffff_ffff,
            ]),
            3 => self.below(256),
            4 => self.below(256).wrapping_neg(),
            5 => self.next() >> self.below(64),
            _ => self.next(),
        }
    }

    /// A double that is often special or near another one.
    fn double(&mut self) -> u64 {
        let sign = self.next() & 1 << 63;
        sign | match self.below(10) {
            0 => self.pick(&[0, 1, 0x000f_ffff_ffff_ffff, 0x0010_0000_0000_0000]),
            1 => self.pick(&[
                0x7ff0_0000_0000_0000,
                0x7fef_ffff_ffff_ffff,
                0x7ff8_0000_0000_0000,
            ]),
            2 => self.pick(&[
                0x7ff0_0000_0000_0001,
                0x7ff4_0000_0000_0000,
                0x7fff_ffff_ffff_ffff,
            ]),
            3 => (self.below(4096) as f64).to_bits(),
            4 => f64::from((self.below(4096) as f32) / 7.0).to_bits(),
            5 => f64::from(f32::from_bits(self.next() as u32 & 0x7fff_ffff)).to_bits(),
            6 => (1023 + self.below(64)) << 52 | self.next() >> 12 & self.next(),
            7 => (1023 - 160 + self.below(320)) << 52 | self.next() >> 12,
            8 => 0x3ff0_0000_0000_0000 | self.below(4) << 50,
            _ => self.next() >> 1,
        }
    }

    fn single(&mut self) -> u32 {
        let sign = self.next() as u32 & 1 << 31;
        sign | match self.below(7) {
            0 => self.pick(&[0, 1, 0x007f_ffff, 0x0080_0000]),
            1 => self.pick(&[
                0x7f80_0000,
                0x7f7f_ffff,
                0x7fc0_0000,
                0x7f80_0001,
                0x7fa0_0000,
            ]),
            2 => (self.below(4096) as f32).to_bits(),
            3 | 4 => ((127 + self.below(40)) as u32) << 23 | self.next() as u32 >> 9,
            5 => 0x3f80_0000 | (self.below(4) as u32) << 21,
            _ => self.next() as u32 >> 1,
        }
    }

    /// A packed or zoned decimal with a sign, sometimes spoilt.
    fn decimal(&mut self) -> u128 {
        let digits = self.below(32);
        let mut value = 0_u128;
        for _ in 0..digits {
            value = value << 4 | u128::from(self.below(10));
        }
        value << 4 | u128::from(10 + self.below(6))
    }

    fn quad(&mut self) -> u128 {
        let sign = u128::from(self.next() & 1) << 127;
        let low = u128::from(self.next()) << 64 | u128::from(self.next());
        sign | match self.below(5) {
            0 => self.pick(&[
                0,
                1,
                0x7fff << 112,
                0x7fff << 112 | 1,
                0x7fff8 << 108,
                0x3fff << 112,
            ]),
            1 | 2 => u128::from(0x3fff + self.below(130) - 8) << 112 | low >> 16,
            3 => u128::from(0x3fff - 1080 + self.below(2160)) << 112 | low >> 16,
            _ => low >> 1,
        }
    }

    fn vector(&mut self, kind: u64) -> u128 {
        let two = |a: u64, b: u64| u128::from(a) << 64 | u128::from(b);
        match kind {
            0 | 1 => two(self.double(), self.double()),
            2 => (0..4).fold(0, |v, _| v << 32 | u128::from(self.single())),
            3 => two(self.integer(), self.integer()),
            4 => self.quad(),
            5 => self.decimal(),
            6 => (0..4).fold(0, |v, _| v << 32 | u128::from(self.integer() as u32)),
            _ => (0..16).fold(0, |v, _| v << 8 | u128::from(self.integer() as u8)),
        }
    }

    /// FPSCR with true summary bits. Power ISA 3.0B Book I §4.2.2.
    fn fpscr(&mut self) -> u64 {
        let mut f = self.below(4);
        if self.one_in(3) {
            f |= self.next() & 0x1fff_8700 & !0x0006_0000;
        }
        if self.one_in(4) {
            f |= self.next() & 0x90;
        }
        // An exception that is enabled and already there would interrupt before the case.
        if f & 0x80 != 0 {
            f &= !0x01f8_0700;
        }
        if f & 0x10 != 0 {
            f &= !0x0400_0000;
        }
        if f & 0x01f8_0700 != 0 {
            f |= 0x2000_0000;
        }
        if f & 0x1ff8_0700 != 0 {
            f |= 0x8000_0000;
        }
        f
    }
}

/// Register that holds the middle of the window in forms that access memory.
const BASE: usize = 5;
/// Register that holds a small offset in them.
const INDEX: usize = 6;

fn random_state(random: &mut Random) -> Record {
    let mut r = Record::blank();
    r.gpr.iter_mut().for_each(|gpr| *gpr = random.integer());
    let kind = random.below(8);
    for vsr in &mut r.vsr {
        let kind = if random.one_in(8) {
            random.below(8)
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
    // One bit of each field of CR, as comparisons leave them, or anything.
    r.cr = random.next() as u32;
    r.xer = random.next() & 0xe00c_0000 | random.below(32);
    r.lr = random.next();
    r.ctr = random.pick(&[0, 1, 2, 1 << 32, (1 << 32) + 1, 77]);
    for byte in &mut r.mem {
        *byte = random.next() as u8;
    }
    for i in 0..4 {
        let at = 16 * random.below(31) as usize;
        let kind = random.below(8);
        let value = random.vector(kind).to_le_bytes();
        r.mem[at..at + 16].copy_from_slice(&value);
        r.mem[240 + 8 * i..248 + 8 * i].copy_from_slice(&random.double().to_le_bytes());
    }
    r
}

/// The forms whose second operand is a length in the top byte.
fn takes_length(mnemonic: &str) -> bool {
    matches!(mnemonic, "lxvl" | "lxvll" | "stxvl" | "stxvll")
}

fn constrain_memory(form: &Form, word: &mut u32, r: &mut Record, random: &mut Random) {
    let primary = form.value >> 26;
    let mut offset = random.below(256) as i64 - 128;
    // Where a misaligned address is an alignment interrupt, QEMU's user mode aborts.
    let strict = form.mnemonic.ends_with("arx") || form.mnemonic.ends_with("cx.");
    if strict || matches!(form.mnemonic, "lq" | "stq") || random.one_in(2) {
        offset &= !15;
    }
    let target = *word >> 21 & 31;
    if form.mask >> 21 & 31 == 0 && (target == BASE as u32 || target == INDEX as u32) {
        *word ^= 8 << 21;
    }
    if matches!(
        form.mnemonic,
        "lq" | "stq" | "lqarx" | "stqcx." | "lfdp" | "stfdp" | "lfdpx" | "stfdpx"
    ) {
        // A pair begins at an even register.
        *word &= !(1 << 21);
        if *word >> 21 & 31 == 4 {
            *word ^= 8 << 21;
        }
    }
    *word &= !(31 << 16);
    *word |= (BASE as u32) << 16;
    r.gpr[BASE] = WINDOW + MEM as u64 / 2;
    if primary == 31 || primary == 4 {
        r.gpr[INDEX] = offset as u64;
        if form.mask >> 11 & 31 == 0 && !matches!(form.mnemonic, "lswi" | "stswi") {
            *word &= !(31 << 11);
            *word |= (INDEX as u32) << 11;
        } else {
            r.gpr[BASE] = r.gpr[BASE].wrapping_add(offset as u64);
        }
        if takes_length(form.mnemonic) {
            r.gpr[INDEX] = random.below(20) << 56 | random.next() >> 8;
        }
        let update = form.mnemonic.ends_with("ux");
        if !update && form.mask >> 16 & 31 == 0 && random.one_in(8) && !takes_length(form.mnemonic)
        {
            // RA = 0 is the number zero.
            *word &= !(31 << 16);
            r.gpr[INDEX] = r.gpr[BASE].wrapping_add(r.gpr[INDEX]);
        }
    } else {
        let fixed = form.mask & 0xffff;
        *word = *word & !0xffff | form.value & fixed | offset as u32 & 0xffff & !fixed;
        if primary == 61 && fixed & 7 != 0 && fixed & 3 == 3 && form.value & 3 != 2 {
            // DQ form: the offset counts 16 bytes, and one bit extends the register number.
            *word = *word & !0xfff0 | offset as u32 & 0xfff0;
        }
    }
}

/// Where a branch may go: one of the words of the slot, or the word after.
fn forward(random: &mut Random) -> u32 {
    4 * (1 + random.below(CODE as u64 - 1)) as u32
}

/// A random case of `form` for slot number `slot`.
pub fn case(form: &Form, slot: usize, random: &mut Random) -> Record {
    let mut r = random_state(random);
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
        _ if form.memory => constrain_memory(form, &mut word, &mut r, random),
        _ => {}
    }
    r.code[0] = word;
    if matches!(word >> 26, 16 | 18) || word >> 26 == 19 && matches!(xo, 16 | 528 | 560) {
        for (i, word) in r.code.iter_mut().enumerate().skip(1) {
            let register = 7 + i as u32;
            *word = 14 << 26 | register << 21 | register << 16 | i as u32;
        }
    }
    // A conditional store needs a reservation that does not depend on earlier cases.
    let load = match form.mnemonic.trim_end_matches('.') {
        "stbcx" => 52,
        "sthcx" => 116,
        "stwcx" => 20,
        "stdcx" => 84,
        "stqcx" => 276,
        _ => 0,
    };
    if load != 0 {
        let target = if load == 276 { 8 } else { 7 };
        let index = if random.one_in(8) { 0 } else { word >> 11 & 31 };
        let base = if index == 0 {
            BASE as u32
        } else {
            word >> 16 & 31
        };
        r.code[0] = 31 << 26
            | target << 21
            | base << 16
            | index.max(if index == 0 { 4 } else { 0 }) << 11
            | load << 1;
        if index == 0 {
            r.gpr[4] = 64;
        }
        r.code[1] = word;
    }
    r
}
