//! Random operands with a liking for special values.

/// A fixed sequence: splitmix64.
pub struct Random(pub u64);

const SINGLES: [u32; 24] = [
    0,
    1,
    0x7f_ffff,
    0x80_0000,
    0x80_0001,
    0x3f80_0000,
    0x3f80_0001,
    0x4000_0000,
    0x4040_0000,
    0x3f00_0000,
    0x3f7f_ffff,
    0x7f7f_ffff,
    0x7f80_0000,
    0x7f80_0001,
    0x7fc0_0000,
    0x7fff_ffff,
    0x4f00_0000,
    0x4eff_ffff,
    0x5f00_0000,
    0x4b80_0000,
    0x3fc0_0000,
    0x4020_0000,
    0x0100_0000,
    0x7fa1_2345,
];
const DOUBLES: [u64; 28] = [
    0,
    1,
    0xf_ffff_ffff_ffff,
    0x10_0000_0000_0000,
    0x10_0000_0000_0001,
    0x3ff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0x4000_0000_0000_0000,
    0x4008_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0x3fef_ffff_ffff_ffff,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0x7ff8_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x41e0_0000_0000_0000,
    0x41df_ffff_ffc0_0000,
    0x41df_ffff_ffe0_0000,
    0x43e0_0000_0000_0000,
    0x47ef_ffff_e000_0000,
    0x47ef_ffff_f000_0000,
    0x3810_0000_0000_0000,
    0x380f_ffff_f000_0000,
    0x36a0_0000_0000_0000,
    0x3690_0000_0000_0001,
    0x7ff4_1234_5678_9abc,
    0x4004_0000_0000_0000,
];

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

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn single(&mut self) -> u32 {
        let r = self.next();
        let sign = (r >> 63) as u32 * 0x8000_0000;
        match r % 8 {
            0..4 => self.pick(&SINGLES) | sign,
            4 => sign | (0x3f00_0000 + (self.next() as u32 & 0x01ff_ffff)),
            5 => sign | self.below(0x180_0000) as u32,
            6 => ((self.below(4000) as f32 - 2000.0) / 4.0).to_bits(),
            _ => self.next() as u32,
        }
    }

    fn double(&mut self) -> u64 {
        let r = self.next();
        let sign = r & 1 << 63;
        match r % 8 {
            0..4 => self.pick(&DOUBLES) | sign,
            4 => sign | (0x3fe0_0000_0000_0000 + (self.next() >> 10)),
            5 => sign | self.below(0x30_0000_0000_0000),
            6 => ((self.below(4000) as f64 - 2000.0) / 4.0).to_bits(),
            _ => self.next(),
        }
    }

    /// 64 bits that mean something as integers or numbers.
    pub fn quad(&mut self) -> u64 {
        match self.below(8) {
            0 => self.next(),
            1 | 2 => u64::from(self.single()) << 32 | u64::from(self.single()),
            3..6 => self.double(),
            6 => {
                let mask = self.next() & self.next();
                self.pick(&[0, u64::MAX, 0x8000_8000_8000_8000, 0x0101_0101_0101_0101]) ^ mask
            }
            // Bytes of a small alphabet.
            _ => self.next() & 0x0303_0303_0303_0303,
        }
    }

    /// A number in double extended format, low quadword first, as it stands in memory.
    pub fn extended(&mut self) -> [u8; 16] {
        let r = self.next();
        let sign = (r >> 48) as u16 & 0x8000;
        let mantissa = match r % 6 {
            0 => 1 << 63,
            1 => 1 << 63 | 1,
            2 => u64::MAX,
            3 => self.pick(&[
                0,
                1,
                1 << 62,
                3 << 62,
                1 << 63 | 1 << 40,
                0xa000_0000_0000_0000,
            ]),
            4 => self.next() & !0x7ff | 1 << 63,
            _ => self.next() | 1 << 63,
        };
        let exponent = match self.below(10) {
            0 => 0,
            1 => 0x7fff,
            2 => self.pick(&[1, 0x7ffe, 2, 0x3c01, 0x43fe, 0x3f81, 0x407e, 64, 0x3fbf]),
            3..8 => 0x3fff - 8 + self.below(16) as u16,
            8 => 0x3fff - 70 + self.below(140) as u16,
            _ => self.next() as u16 & 0x7fff,
        };
        let mut b = [0; 16];
        b[..8].copy_from_slice(&mantissa.to_le_bytes());
        b[8..10].copy_from_slice(&(sign | exponent).to_le_bytes());
        b
    }

    pub fn mxcsr(&mut self) -> u32 {
        let r = self.next() as u32;
        match r % 8 {
            0 | 1 => 0x1f80,
            2 => 0x1fa0,
            3 => 0x1f80 | r >> 8 & 0xe07f,
            4 | 5 => 0x1f80 | r >> 8 & 0xe040,
            // Some exceptions unmasked.
            6 => r >> 8 & 0xffc0,
            _ => r >> 8 & 0xffff,
        }
    }
}
