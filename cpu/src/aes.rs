//! Steps of AES on its 16-byte state. FIPS 197.

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
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
pub(crate) const SBOX: [u8; 256] = {
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

/// The inverse of [`SBOX`].
pub(crate) const INVERSE: [u8; 256] = {
    let mut t = [0_u8; 256];
    let mut i = 0;
    while i < 256 {
        t[SBOX[i] as usize] = i as u8;
        i += 1;
    }
    t
};

/// The state: column after column of 4 bytes.
#[derive(Clone, Copy)]
pub(crate) struct State(pub [u8; 16]);

impl State {
    /// Every byte through a table.
    pub(crate) fn substitute(self, table: &[u8; 256]) -> State {
        State(self.0.map(|b| table[usize::from(b)]))
    }

    /// Row r moves by r columns, to the left if `left`.
    pub(crate) fn shift_rows(self, left: bool) -> State {
        State(std::array::from_fn(|i| {
            let (column, row) = (i / 4, i % 4);
            let from = if left { column + row } else { column + 4 - row };
            self.0[from % 4 * 4 + row]
        }))
    }

    /// Every column times the circulant matrix whose first row is `k`.
    pub(crate) fn mix(self, k: [u8; 4]) -> State {
        State(std::array::from_fn(|i| {
            (0..4).fold(0, |r, j| {
                r ^ gf_mul(self.0[i / 4 * 4 + j], k[(j + 4 - i % 4) % 4])
            })
        }))
    }
}
