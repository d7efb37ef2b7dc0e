//! How the operand shapes read and write registers: legacy forms keep what is above the result, VEX forms clear it.
use super::form::Width;
use super::{Cx, Effect, MEMORY, Outcome, Src};

impl Cx<'_> {
    fn register(&self, n: u8) -> u128 {
        match self.form.width {
            Width::Mmx => u128::from(self.v.x87.mm(n)),
            _ => self.v.xmm(n),
        }
    }

    /// The first operand, low 128 bits.
    pub(super) fn dst(&self) -> u128 {
        self.register(self.o.dst)
    }

    /// The first source: the destination, or the middle operand of VEX forms.
    pub(super) fn a(&self) -> u128 {
        self.register(self.first())
    }

    /// Register number of the first source.
    pub(super) fn first(&self) -> u8 {
        if self.form.three {
            self.o.src2
        } else {
            self.o.dst
        }
    }

    /// The last source, low 128 bits.
    pub(super) fn b(&self) -> u128 {
        match self.o.src {
            Src::Reg(n) => self.register(n),
            Src::Mem(m) => u128::from(m[0]) | u128::from(m[1]) << 64,
            Src::None => 0,
        }
    }

    /// The last source as XMM register or memory, also where the form's width is that of MMX.
    pub(super) fn b_xmm(&self) -> u128 {
        match self.o.src {
            Src::Reg(n) => self.v.xmm(n),
            _ => self.b(),
        }
    }

    /// The last source as MMX register or memory, also where the form's width is that of XMM.
    pub(super) fn b_mm(&self) -> u64 {
        match self.o.src {
            Src::Reg(n) => self.v.x87.mm(n),
            _ => self.b() as u64,
        }
    }

    /// The last source as general register or memory.
    pub(super) fn b_gpr(&self) -> u64 {
        match self.o.src {
            Src::Reg(n) => self.gpr[usize::from(n & 15)],
            _ => self.b() as u64,
        }
    }

    /// Bits 255:128 of the first source.
    pub(super) fn a_upper(&self) -> u128 {
        self.v.upper(self.first())
    }

    /// Bits 255:128 of the last source.
    pub(super) fn b_upper(&self) -> u128 {
        match self.o.src {
            Src::Reg(n) => self.v.upper(n),
            Src::Mem(m) => u128::from(m[2]) | u128::from(m[3]) << 64,
            Src::None => 0,
        }
    }

    pub(super) fn is_wide(&self) -> bool {
        self.form.width == Width::Ymm
    }

    /// Writes the destination register.
    pub(super) fn put(&mut self, value: u128) -> Outcome {
        self.put_wide(value, 0)
    }

    /// Writes the destination register; `upper` counts for 256-bit forms.
    pub(super) fn put_wide(&mut self, value: u128, upper: u128) -> Outcome {
        let n = self.o.dst;
        if self.form.width == Width::Mmx {
            self.v.x87.set_mm(n, value as u64);
            return Ok(Effect::None);
        }
        self.v.set_xmm(n, value);
        if self.form.vex {
            let upper = if self.is_wide() { upper } else { 0 };
            self.v.set_upper(n, upper);
        }
        Ok(Effect::None)
    }

    /// Writes XMM register `n`, as an implicit destination.
    pub(super) fn put_at(&mut self, n: u8, value: u128) {
        self.v.set_xmm(n, value);
        if self.form.vex {
            self.v.set_upper(n, 0);
        }
    }

    /// Writes a 128-bit result to an XMM destination of a form whose other operand is an MMX register.
    pub(super) fn put_xmm(&mut self, value: u128) -> Outcome {
        self.v.set_xmm(self.o.dst, value);
        Ok(Effect::None)
    }

    /// Result to a general register, or stored if the first operand is memory.
    pub(super) fn put_gpr(&self, value: u64, size: u8) -> Outcome {
        if self.o.dst == MEMORY {
            Ok(Effect::Store([value, 0, 0, 0], size))
        } else {
            Ok(Effect::Gpr(value))
        }
    }

    /// dst = f(a, b) by 128-bit lane.
    pub(super) fn two(&mut self, f: impl Fn(u128, u128) -> u128) -> Outcome {
        let low = f(self.a(), self.b());
        let high = if self.is_wide() {
            f(self.a_upper(), self.b_upper())
        } else {
            0
        };
        self.put_wide(low, high)
    }

    /// Like [`Cx::two`], where `f` gives its first operand's results in the low half and the second's in the high half: the 64-bit
    /// form gets both operands as one.
    pub(super) fn pack(&mut self, f: fn(u128, u128) -> u128) -> Outcome {
        if self.form.width == Width::Mmx {
            let both = self.a() | self.b() << 64;
            return self.put(f(both, both));
        }
        self.two(f)
    }

    /// Like [`Cx::two`], where `f` uses the low halves, and the 64-bit form wants the result's high half.
    pub(super) fn high(&mut self, f: fn(u128, u128) -> u128) -> Outcome {
        if self.form.width == Width::Mmx {
            let r = f(self.a(), self.b()) >> 64;
            return self.put(r);
        }
        self.two(|a, b| f(a >> 64, b >> 64))
    }

    /// dst = f(b) by 128-bit lane.
    pub(super) fn one(&mut self, f: impl Fn(u128) -> u128) -> Outcome {
        let low = f(self.b());
        let high = if self.is_wide() { f(self.b_upper()) } else { 0 };
        self.put_wide(low, high)
    }

    /// dst = f(a, count); the count is an immediate, or the low quadword of a register or memory.
    pub(super) fn shift(&mut self, f: fn(u128, u64) -> u128) -> Outcome {
        let (low, high, count) = if self.form.immediate {
            // Of immediate forms the register is the only source: the destination, or the last operand of VEX forms.
            let n = match self.o.src {
                Src::Reg(n) if self.form.vex => n,
                _ => self.o.dst,
            };
            (self.register(n), self.v.upper(n), u64::from(self.o.imm))
        } else {
            (self.a(), self.a_upper(), self.b() as u64)
        };
        let high = if self.is_wide() { f(high, count) } else { 0 };
        self.put_wide(f(low, count), high)
    }

    /// dst = f(a, b, mask); the mask is XMM0, or the fourth register of VEX forms.
    pub(super) fn blend(&mut self, f: fn(u128, u128, u128) -> u128) -> Outcome {
        let mask = if self.form.vex { self.o.imm >> 4 } else { 0 };
        let low = f(self.a(), self.b(), self.v.xmm(mask));
        let high = if self.is_wide() {
            f(self.a_upper(), self.b_upper(), self.v.upper(mask))
        } else {
            0
        };
        self.put_wide(low, high)
    }

    /// dst = f(low elements of b); a result of 128 bits takes `16 / ratio` bytes.
    pub(super) fn widen(&mut self, f: fn(u128) -> u128, ratio: u32) -> Outcome {
        let b = self.b();
        self.put_wide(f(b), f(b >> (128 / ratio)))
    }
}
