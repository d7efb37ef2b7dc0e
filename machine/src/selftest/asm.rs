//! A small assembler of 64-bit big-endian Power code. Power ISA 3.0B Book I.

/// A general register, 0 to 31; higher bits are dropped.
pub type Reg = u32;

/// A place in the code or its data, bound once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Conditions of a branch on CR field 0: (BO, BI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Greater than.
    Gt,
    /// Count down CTR, branch while it is not 0.
    Dnz,
}

/// Why code could not be assembled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsmError {
    /// A label is used and never bound.
    #[error("label {0} is not bound")]
    Unbound(usize),
    /// A branch or address does not fit its field.
    #[error("label {0} is out of reach")]
    Reach(usize),
}

#[derive(Clone, Copy)]
enum Fixup {
    /// 24-bit branch.
    I,
    /// 14-bit branch.
    B,
    /// Absolute address in a 16-bit immediate.
    Address,
}

/// Code being assembled from an origin upwards.
#[derive(Default)]
pub struct Asm {
    origin: usize,
    bytes: Vec<u8>,
    labels: Vec<Option<usize>>,
    fixups: Vec<(usize, Label, Fixup)>,
}

impl Asm {
    /// Starts at an address.
    pub fn new(origin: usize) -> Self {
        Asm {
            origin,
            ..Asm::default()
        }
    }

    /// A label to bind later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Binds a label to here.
    pub fn bind(&mut self, label: Label) {
        let here = self.bytes.len();
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// A label bound to here.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// Adds a word.
    pub fn word(&mut self, word: u32) {
        self.bytes.extend_from_slice(&word.to_be_bytes());
    }

    /// Adds data, filled to a whole word.
    pub fn data(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The code from the origin, with its labels resolved.
    ///
    /// # Errors
    /// A label that is not bound or not in reach.
    pub fn finish(mut self) -> Result<Vec<u8>, AsmError> {
        for (at, label, kind) in &self.fixups {
            let target = self
                .labels
                .get(label.0)
                .copied()
                .flatten()
                .ok_or(AsmError::Unbound(label.0))?;
            let delta = target as i64 - *at as i64;
            let (value, bits, mask) = match kind {
                Fixup::I => (delta, 26, 0x03ff_fffc),
                Fixup::B => (delta, 16, 0xfffc),
                Fixup::Address => ((self.origin + target) as i64, 16, 0xffff),
            };
            if value < -(1 << (bits - 1)) || value >= 1 << (bits - 1) {
                return Err(AsmError::Reach(label.0));
            }
            if let Some(word) = self
                .bytes
                .get_mut(*at..)
                .and_then(|b| b.first_chunk_mut::<4>())
            {
                *word = (u32::from_be_bytes(*word) | value as u32 & mask).to_be_bytes();
            }
        }
        Ok(self.bytes)
    }

    fn fixup(&mut self, word: u32, label: Label, kind: Fixup) {
        self.fixups.push((self.bytes.len(), label, kind));
        self.word(word);
    }

    fn d(&mut self, op: u32, t: Reg, a: Reg, immediate: i32) {
        self.word(op << 26 | (t & 31) << 21 | (a & 31) << 16 | immediate as u32 & 0xffff);
    }

    fn x(&mut self, t: Reg, a: Reg, b: Reg, xo: u32) {
        self.word(31 << 26 | (t & 31) << 21 | (a & 31) << 16 | (b & 31) << 11 | xo << 1);
    }

    /// `li`: sign-extended 16 bits.
    pub fn li(&mut self, t: Reg, value: i16) {
        self.addi(t, 0, value);
    }

    /// `lis`: 16 bits shifted left by 16, sign-extended.
    pub fn lis(&mut self, t: Reg, value: i16) {
        self.d(15, t, 0, value.into());
    }

    /// `li` of a label's address, which must be below 32 KiB.
    pub fn la(&mut self, t: Reg, label: Label) {
        self.fixup(14 << 26 | (t & 31) << 21, label, Fixup::Address);
    }

    /// Any constant, in one to five instructions.
    pub fn load(&mut self, t: Reg, value: u64) {
        let signed = value as i64;
        if let Ok(small) = i16::try_from(signed) {
            self.li(t, small);
            return;
        }
        if let Ok(word) = i32::try_from(signed) {
            self.lis(t, (word >> 16) as i16);
        } else {
            self.lis(t, (value >> 48) as i16);
            self.ori(t, t, (value >> 32) as u16);
            self.sldi(t, t, 32);
            self.oris(t, t, (value >> 16) as u16);
        }
        self.ori(t, t, value as u16);
    }

    /// `addi`.
    pub fn addi(&mut self, t: Reg, a: Reg, value: i16) {
        self.d(14, t, a, value.into());
    }

    /// `ori`.
    pub fn ori(&mut self, a: Reg, s: Reg, value: u16) {
        self.d(24, s, a, value.into());
    }

    /// `oris`.
    pub fn oris(&mut self, a: Reg, s: Reg, value: u16) {
        self.d(25, s, a, value.into());
    }

    /// `andi.`, which sets CR field 0.
    pub fn andi(&mut self, a: Reg, s: Reg, value: u16) {
        self.d(28, s, a, value.into());
    }

    /// `add`.
    pub fn add(&mut self, t: Reg, a: Reg, b: Reg) {
        self.x(t, a, b, 266);
    }

    /// `mr`.
    pub fn mr(&mut self, a: Reg, s: Reg) {
        self.x(s, a, s, 444);
    }

    /// `or`.
    pub fn or(&mut self, a: Reg, s: Reg, b: Reg) {
        self.x(s, a, b, 444);
    }

    /// `sldi`, shift 0 to 63.
    pub fn sldi(&mut self, a: Reg, s: Reg, shift: u32) {
        let (shift, end) = (shift & 63, 63 - (shift & 63));
        self.rld(a, s, shift, end, 1);
    }

    /// `srdi`, shift 1 to 63.
    pub fn srdi(&mut self, a: Reg, s: Reg, shift: u32) {
        self.rld(a, s, 64 - (shift & 63), shift & 63, 0);
    }

    fn rld(&mut self, a: Reg, s: Reg, shift: u32, mask: u32, xo: u32) {
        let mask = (mask & 31) << 6 | (mask >> 5 & 1) << 5;
        self.word(
            30 << 26
                | (s & 31) << 21
                | (a & 31) << 16
                | (shift & 31) << 11
                | mask
                | xo << 2
                | (shift >> 5 & 1) << 1,
        );
    }

    /// `ld`; the displacement is a multiple of 4.
    pub fn ld(&mut self, t: Reg, displacement: i16, a: Reg) {
        self.d(58, t, a, i32::from(displacement) & !3);
    }

    /// `std`; the displacement is a multiple of 4.
    pub fn std(&mut self, s: Reg, displacement: i16, a: Reg) {
        self.d(62, s, a, i32::from(displacement) & !3);
    }

    /// `lwz`.
    pub fn lwz(&mut self, t: Reg, displacement: i16, a: Reg) {
        self.d(32, t, a, displacement.into());
    }

    /// `stw`.
    pub fn stw(&mut self, s: Reg, displacement: i16, a: Reg) {
        self.d(36, s, a, displacement.into());
    }

    /// `lbz`.
    pub fn lbz(&mut self, t: Reg, displacement: i16, a: Reg) {
        self.d(34, t, a, displacement.into());
    }

    /// `stb`.
    pub fn stb(&mut self, s: Reg, displacement: i16, a: Reg) {
        self.d(38, s, a, displacement.into());
    }

    /// `lwbrx`.
    pub fn lwbrx(&mut self, t: Reg, a: Reg, b: Reg) {
        self.x(t, a, b, 534);
    }

    /// `stwbrx`.
    pub fn stwbrx(&mut self, s: Reg, a: Reg, b: Reg) {
        self.x(s, a, b, 662);
    }

    /// `ldbrx`.
    pub fn ldbrx(&mut self, t: Reg, a: Reg, b: Reg) {
        self.x(t, a, b, 532);
    }

    /// `cmpd` on CR field 0.
    pub fn cmpd(&mut self, a: Reg, b: Reg) {
        self.x(1, a, b, 0);
    }

    /// `cmpld` on CR field 0.
    pub fn cmpld(&mut self, a: Reg, b: Reg) {
        self.x(1, a, b, 32);
    }

    /// `cmpw` on CR field 0.
    pub fn cmpw(&mut self, a: Reg, b: Reg) {
        self.x(0, a, b, 0);
    }

    /// `cmpdi` on CR field 0.
    pub fn cmpdi(&mut self, a: Reg, value: i16) {
        self.d(11, 1, a, value.into());
    }

    /// `b`.
    pub fn b(&mut self, label: Label) {
        self.fixup(18 << 26, label, Fixup::I);
    }

    /// `bl`.
    pub fn bl(&mut self, label: Label) {
        self.fixup(18 << 26 | 1, label, Fixup::I);
    }

    /// A conditional branch.
    pub fn bc(&mut self, condition: Cond, label: Label) {
        let (bo, bi) = match condition {
            Cond::Lt => (12, 0),
            Cond::Gt => (12, 1),
            Cond::Eq => (12, 2),
            Cond::Ne => (4, 2),
            Cond::Dnz => (16, 0),
        };
        self.fixup(16 << 26 | bo << 21 | bi << 16, label, Fixup::B);
    }

    /// `blr`.
    pub fn blr(&mut self) {
        self.word(0x4e80_0020);
    }

    /// `bctr`.
    pub fn bctr(&mut self) {
        self.word(0x4e80_0420);
    }

    /// `sc 1`: hypercall.
    pub fn sc1(&mut self) {
        self.word(0x4400_0022);
    }

    /// `mtctr`.
    pub fn mtctr(&mut self, s: Reg) {
        self.word(0x7c09_03a6 | (s & 31) << 21);
    }

    /// `mflr`.
    pub fn mflr(&mut self, t: Reg) {
        self.word(0x7c08_02a6 | (t & 31) << 21);
    }

    /// `mtlr`.
    pub fn mtlr(&mut self, s: Reg) {
        self.word(0x7c08_03a6 | (s & 31) << 21);
    }

    /// `sync`.
    pub fn sync(&mut self) {
        self.word(0x7c00_04ac);
    }

    /// `eieio`.
    pub fn eieio(&mut self) {
        self.word(0x7c00_06ac);
    }
}
