//! Random numbers, and values at which instructions tend to differ.

/// Kinds of [`Random::vector`].
pub const KINDS: u64 = 10;

/// SplitMix64: the same cases for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    /// For a purpose: a seed and what it is for give numbers that no other purpose sees.
    pub fn of(seed: u64, purpose: &str, number: u64) -> Random {
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let mut random = Random(seed ^ hash);
        let mixed = random.next();
        Random(mixed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

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

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// An integer above a single by half of the single's last place, and a little more.
    pub fn above_half(&mut self) -> u64 {
        let shift = 31 + self.below(9);
        (self.next() >> 40 | 1 << 23) << shift | 1 << (shift - 1) | 1
    }

    /// An integer that is often at an edge.
    pub fn integer(&mut self) -> u64 {
        match self.below(9) {
            8 => self.above_half(),
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
    pub fn double(&mut self) -> u64 {
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

    /// A double that an operation may treat in a way of its own.
    fn special(&mut self) -> u64 {
        let sign = self.next() & 1 << 63;
        sign | self.pick(&[
            0,
            1,
            0x000f_ffff_ffff_ffff,
            0x0010_0000_0000_0000,
            0x3690_0000_0000_0000,
            0x3810_0000_0000_0000,
            0x3ff0_0000_0000_0000,
            0x47ef_ffff_e000_0000,
            0x7fef_ffff_ffff_ffff,
            0x7ff0_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            0x7ff4_0000_0000_0000,
            0x7ff8_0000_0000_0000,
            0x7fff_ffff_ffff_ffff,
        ])
    }

    fn special_single(&mut self) -> u32 {
        let sign = self.next() as u32 & 1 << 31;
        sign | self.pick(&[
            0,
            1,
            0x007f_ffff,
            0x0080_0000,
            0x3f80_0000,
            0x7f7f_ffff,
            0x7f80_0000,
            0x7f80_0001,
            0x7fa0_0000,
            0x7fc0_0000,
            0x7fff_ffff,
        ])
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

    fn digits(&mut self) -> u128 {
        let digits = self.pick(&[0, 1, 2, 7, 8, 16, 17, 30, 31, 31, 31]);
        let nines = self.one_in(8);
        (0..digits).fold(0, |v, _| {
            v << 4 | u128::from(if nines { 9 } else { self.below(10) })
        })
    }

    /// A decimal that is none, now and then.
    fn spoil(&mut self, decimal: u128) -> u128 {
        if self.one_in(16) {
            decimal ^ 1 << self.below(128)
        } else {
            decimal
        }
    }

    /// A packed decimal.
    pub fn packed(&mut self) -> u128 {
        let value = self.digits() << 4 | u128::from(10 + self.below(6));
        self.spoil(value)
    }

    /// A zoned decimal.
    pub fn zoned(&mut self) -> u128 {
        let (zone, digits) = (self.pick(&[0x30, 0xf0]), self.digits());
        let plain = (0..16).fold(0, |v, i| v << 8 | digits >> (60 - 4 * i) & 15 | zone);
        let value = plain & !0xf0 | u128::from(self.below(16)) << 4;
        self.spoil(value)
    }

    /// A national decimal.
    pub fn national(&mut self) -> u128 {
        let (digits, sign) = (self.digits(), self.pick(&[0x2b, 0x2d]));
        let plain = (0..7).fold(0, |v, i| v << 16 | digits >> (24 - 4 * i) & 15 | 0x30);
        self.spoil(plain << 16 | sign)
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

    /// A value of one of the [`KINDS`] of vectors.
    pub fn vector(&mut self, kind: u64) -> u128 {
        let two = |a: u64, b: u64| u128::from(a) << 64 | u128::from(b);
        match kind {
            0 | 1 => two(self.double(), self.double()),
            2 => (0..4).fold(0, |v, _| v << 32 | u128::from(self.single())),
            3 => two(self.integer(), self.integer()),
            4 => self.quad(),
            5 => match self.below(4) {
                0 => self.zoned(),
                1 => self.national(),
                _ => self.packed(),
            },
            8 => two(self.special(), self.special()),
            9 => (0..4).fold(0, |v, _| v << 32 | u128::from(self.special_single())),
            6 => (0..4).fold(0, |v, _| v << 32 | u128::from(self.integer() as u32)),
            _ => (0..16).fold(0, |v, _| v << 8 | u128::from(self.integer() as u8)),
        }
    }

    /// FPSCR with true summary bits. Power ISA 3.0B Book I §4.2.2.
    pub fn fpscr(&mut self) -> u64 {
        let mut f = self.below(4);
        if self.one_in(3) {
            f |= self.next() & 0x1fff_8700 & !0x0006_0000;
        }
        if self.one_in(4) {
            f |= self.next() & 0xf8;
        }
        // An exception that is enabled and already there would interrupt before the case.
        for (enable, exceptions) in [
            (0x80, 0x01f8_0700),
            (0x40, 0x1000_0000),
            (0x20, 0x0800_0000),
            (0x10, 0x0400_0000),
            (0x08, 0x0200_0000),
        ] {
            if f & enable != 0 {
                f &= !exceptions;
            }
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
