//! A set of interrupt vectors: IRR, ISR and TMR.

/// One bit for each of 256 vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors([u64; 4]);

impl Vectors {
    /// Puts a vector in, or takes it out.
    pub fn set(&mut self, vector: u8, value: bool) {
        let word = &mut self.0[usize::from(vector >> 6)];
        let bit = 1 << (vector & 63);
        *word = if value { *word | bit } else { *word & !bit };
    }

    /// True if the vector is in.
    pub fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }

    /// The greatest vector, which has the highest priority.
    pub fn highest(&self) -> Option<u8> {
        (0..4_u8).rev().find_map(|i| {
            let word = self.0[usize::from(i)];
            (word != 0).then(|| i * 64 + word.ilog2() as u8)
        })
    }

    /// Vectors 32 `n` to 32 `n` + 31; `n` is cut to 0 to 7.
    pub fn register(&self, n: u16) -> u32 {
        (self.0[usize::from(n >> 1 & 3)] >> (32 * (n & 1))) as u32
    }
}
