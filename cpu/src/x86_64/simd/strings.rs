//! String comparison. SDM volume 1 §12.10 and volume 2 §4.1.
use iced_x86::Mnemonic as M;

use super::form::Run::{self, Special};
use super::lanes::{build, el};
use super::{Cx, Effect, Outcome};

/// Whether the mnemonic is one of this file.
pub(super) fn is_string(m: M) -> bool {
    run(m).is_some()
}

/// The operation of a mnemonic of this file.
pub(super) fn run(m: M) -> Option<Run> {
    Some(match m {
        M::Pcmpistri | M::Vpcmpistri => Special(|c| {
            let s = Strings::implicit(c);
            s.index()
        }),
        M::Pcmpistrm | M::Vpcmpistrm => Special(|c| {
            let s = Strings::implicit(c);
            s.mask(c)
        }),
        M::Pcmpestri | M::Vpcmpestri | M::Pcmpestri64 | M::Vpcmpestri64 => Special(|c| {
            let s = Strings::explicit(c);
            s.index()
        }),
        M::Pcmpestrm | M::Vpcmpestrm | M::Pcmpestrm64 | M::Vpcmpestrm64 => Special(|c| {
            let s = Strings::explicit(c);
            s.mask(c)
        }),
        _ => return None,
    })
}

/// Two strings of at most `n` elements.
struct Strings {
    a: [i32; 16],
    b: [i32; 16],
    a_len: usize,
    b_len: usize,
    n: usize,
    imm: u8,
}

/// Length in RAX or RDX: its magnitude, at most `n`.
fn length(c: &Cx, register: usize, n: usize) -> usize {
    let wide = matches!(
        c.o.op.mnemonic(),
        M::Pcmpestri64 | M::Vpcmpestri64 | M::Pcmpestrm64 | M::Vpcmpestrm64
    );
    let x = c.gpr[register];
    let x = if wide { x as i64 } else { (x as i32).into() };
    usize::try_from(x.unsigned_abs()).map_or(n, |x| x.min(n))
}

impl Strings {
    fn new(c: &Cx) -> Strings {
        let (imm, a, b) = (c.o.imm, c.dst(), c.b());
        let read = |v: u128| -> [i32; 16] {
            std::array::from_fn(|i| match imm & 3 {
                0 => el::<u8>(v, i).into(),
                1 => el::<u16>(v, i).into(),
                2 => el::<i8>(v, i).into(),
                _ => el::<i16>(v, i).into(),
            })
        };
        let n = if imm & 1 == 0 { 16 } else { 8 };
        Strings {
            a: read(a),
            b: read(b),
            a_len: n,
            b_len: n,
            n,
            imm,
        }
    }

    /// Strings that end before their first zero.
    fn implicit(c: &Cx) -> Strings {
        let mut s = Strings::new(c);
        let end = |v: &[i32; 16]| v.iter().take(s.n).position(|x| *x == 0).unwrap_or(s.n);
        (s.a_len, s.b_len) = (end(&s.a), end(&s.b));
        s
    }

    /// Lengths in RAX and RDX.
    fn explicit(c: &Cx) -> Strings {
        let mut s = Strings::new(c);
        (s.a_len, s.b_len) = (length(c, 0, s.n), length(c, 2, s.n));
        s
    }

    /// Element `i` of the second operand is in the set or in a range of the first, equals it there, or starts a match of it.
    fn at(&self, i: usize) -> bool {
        let valid = i < self.b_len;
        let (a, b) = (&self.a[..self.a_len.min(16)], &self.b);
        match self.imm >> 2 & 3 {
            0 => valid && a.contains(&b[i]),
            1 => valid && a.chunks_exact(2).any(|r| r[0] <= b[i] && b[i] <= r[1]),
            2 => match (i < self.a_len, valid) {
                (true, true) => self.a[i] == b[i],
                (x, y) => x == y,
            },
            _ => (0..self.n - i).all(|j| {
                let k = i + j;
                j >= self.a_len || k < self.b_len && self.a[j] == b[k]
            }),
        }
    }

    /// Bit by element, after the polarity.
    fn result(&self) -> u16 {
        let mut r = 0;
        for i in 0..self.n {
            let negate = match self.imm >> 4 & 3 {
                1 => true,
                3 => i < self.b_len,
                _ => false,
            };
            r |= u16::from(self.at(i) != negate) << i;
        }
        r
    }

    /// CF: a bit is set; ZF and SF: the second and the first string end here; OF: bit 0.
    fn flags(&self, r: u16) -> u64 {
        u64::from(r != 0)
            | u64::from(self.b_len < self.n) << 6
            | u64::from(self.a_len < self.n) << 7
            | u64::from(r & 1) << 11
    }

    fn index(&self) -> Outcome {
        let r = self.result();
        let i = match r {
            0 => self.n as u32,
            _ if self.imm & 0x40 != 0 => 15 - r.leading_zeros(),
            _ => r.trailing_zeros(),
        };
        Ok(Effect::GprFlags(i.into(), self.flags(r)))
    }

    fn mask(&self, c: &mut Cx) -> Outcome {
        let r = self.result();
        let bit = |i| r >> i & 1 != 0;
        let value = if self.imm & 0x40 == 0 {
            r.into()
        } else if self.n == 16 {
            build(|i| if bit(i) { 0xff_u8 } else { 0 })
        } else {
            build(|i| if bit(i) { 0xffff_u16 } else { 0 })
        };
        c.put_at(0, value);
        Ok(Effect::Flags(self.flags(r)))
    }
}
