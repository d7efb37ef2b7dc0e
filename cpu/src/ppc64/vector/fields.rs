//! Instruction fields, register access and element-wise mapping.
use super::{Facility, Run, VecCtx, VecOp};
use crate::engine::uop::R_CR0;
use crate::ppc64::regs::R_VSR;

/// VX form: primary opcode 4, 11-bit extended opcode.
pub(super) const fn vx(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_07ff, 4 << 26 | xo, Facility::Vmx, run)
}

/// VX form with an extended opcode (or zero) in the VRA field.
pub(super) const fn vxs(
    name: &'static str,
    xo: u32,
    sub: u32,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(
        name,
        0xfc1f_07ff,
        4 << 26 | sub << 16 | xo,
        Facility::Vmx,
        run,
    )
}

/// VX form with more fixed zero bits.
pub(super) const fn vxm(
    name: &'static str,
    xo: u32,
    zero: u32,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(name, 0xfc00_07ff | zero, 4 << 26 | xo, Facility::Vmx, run)
}

/// VA form: 6-bit extended opcode.
pub(super) const fn va(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_003f, 4 << 26 | xo, Facility::Vmx, run)
}

/// VC form: 10-bit extended opcode and Rc.
pub(super) const fn vc(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_03ff, 4 << 26 | xo, Facility::Vmx, run)
}

/// X form with primary opcode 31 and a zero last bit.
pub(super) const fn x31(
    name: &'static str,
    xo: u32,
    facility: Facility,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(name, 0xfc00_07ff, 31 << 26 | xo << 1, facility, run)
}

/// X form with primary opcode 31 whose last bit extends the register number.
pub(super) const fn xx1(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_07fe, 31 << 26 | xo << 1, Facility::Vsx, run)
}

/// XX2 form: 9-bit extended opcode; `sub` is the fixed VRA field.
pub(super) const fn xx2(
    name: &'static str,
    xo: u32,
    sub: u32,
    run: fn(&mut VecCtx) -> Run,
) -> VecOp {
    VecOp::new(
        name,
        0xfc1f_07fc,
        60 << 26 | sub << 16 | xo << 2,
        Facility::Vsx,
        run,
    )
}

/// XX3 form: 8-bit extended opcode.
pub(super) const fn xx3(name: &'static str, xo: u32, run: fn(&mut VecCtx) -> Run) -> VecOp {
    VecOp::new(name, 0xfc00_07f8, 60 << 26 | xo << 3, Facility::Vsx, run)
}

impl VecCtx<'_> {
    /// Bits 6:10 of the instruction.
    pub(super) fn f_t(&self) -> usize {
        (self.insn >> 21 & 31) as usize
    }
    /// Bits 11:15.
    pub(super) fn f_a(&self) -> usize {
        (self.insn >> 16 & 31) as usize
    }
    /// Bits 16:20.
    pub(super) fn f_b(&self) -> usize {
        (self.insn >> 11 & 31) as usize
    }
    /// Bits 21:25.
    pub(super) fn f_c(&self) -> usize {
        (self.insn >> 6 & 31) as usize
    }
    /// GPR `n`.
    pub(super) fn gpr(&self, n: usize) -> u64 {
        self.env.regs()[n & 31]
    }
    pub(super) fn set_gpr(&mut self, n: usize, value: u64) {
        self.env.regs_mut()[n & 31] = value;
    }
    /// Sets condition register field `n`: LT is 8, GT 4, EQ 2, SO 1.
    pub(super) fn set_cr(&mut self, n: usize, value: u8) {
        self.env.regs_mut()[usize::from(R_CR0) + (n & 7)] = u64::from(value & 15);
    }
    /// VSR `n`; the most significant bit is bit 0 of the ISA. FPR n is the high half of VSR n, VR n is VSR 32 + n.
    pub(super) fn vsr(&self, n: usize) -> u128 {
        let (regs, at) = (self.env.regs(), usize::from(R_VSR) + 2 * (n & 63));
        u128::from(regs[at + 1]) << 64 | u128::from(regs[at])
    }
    pub(super) fn set_vsr(&mut self, n: usize, value: u128) {
        let (regs, at) = (self.env.regs_mut(), usize::from(R_VSR) + 2 * (n & 63));
        (regs[at], regs[at + 1]) = (value as u64, (value >> 64) as u64);
    }
    pub(super) fn vrt(&self) -> u128 {
        self.vsr(32 + self.f_t())
    }
    pub(super) fn vra(&self) -> u128 {
        self.vsr(32 + self.f_a())
    }
    pub(super) fn vrb(&self) -> u128 {
        self.vsr(32 + self.f_b())
    }
    pub(super) fn vrc(&self) -> u128 {
        self.vsr(32 + self.f_c())
    }
    pub(super) fn set_vrt(&mut self, value: u128) -> Run {
        self.set_vsr(32 + self.f_t(), value);
        Ok(())
    }
    /// VSR number of the target (or source of a store) whose high bit is the last instruction bit.
    pub(super) fn xt_index(&self) -> usize {
        self.f_t() | ((self.insn & 1) << 5) as usize
    }
    pub(super) fn xt(&self) -> u128 {
        self.vsr(self.xt_index())
    }
    pub(super) fn xa(&self) -> u128 {
        self.vsr(self.f_a() | ((self.insn >> 2 & 1) << 5) as usize)
    }
    pub(super) fn xb(&self) -> u128 {
        self.vsr(self.f_b() | ((self.insn >> 1 & 1) << 5) as usize)
    }
    pub(super) fn xc(&self) -> u128 {
        self.vsr(self.f_c() | ((self.insn >> 3 & 1) << 5) as usize)
    }
    pub(super) fn set_xt(&mut self, value: u128) -> Run {
        self.set_vsr(self.xt_index(), value);
        Ok(())
    }
    /// FPR `n`.
    pub(super) fn fpr(&self, n: usize) -> u64 {
        (self.vsr(n & 31) >> 64) as u64
    }
    /// Writes FPR `n`; doubleword 1 of the VSR, undefined by the ISA, becomes 0.
    pub(super) fn set_fpr(&mut self, n: usize, value: u64) {
        self.set_vsr(n & 31, u128::from(value) << 64);
    }
    /// Sets VSCR\[SAT\] if `saturated`.
    pub(super) fn sat(&mut self, saturated: bool) {
        self.vec.vscr |= u32::from(saturated);
    }
    /// Sets CR field 6 after a vector compare with mask `result`, if Rc is set.
    pub(super) fn cr6(&mut self, result: u128) {
        if self.insn & 0x400 != 0 {
            self.set_cr(
                6,
                if result == u128::MAX {
                    8
                } else if result == 0 {
                    2
                } else {
                    0
                },
            );
        }
    }
}

/// An element type of a vector register.
pub(super) trait Lane: Copy + PartialEq {
    /// Width in bits.
    const BITS: u32;
    /// The element in the least significant bits.
    fn low(v: u128) -> Self;
    /// The element zero-extended.
    fn wide(self) -> u128;
}

macro_rules! lane {
    ($($t:ty: $u:ty),*) => {$(
        impl Lane for $t {
            const BITS: u32 = <$t>::BITS;
            fn low(v: u128) -> Self { v as $t }
            fn wide(self) -> u128 { self as $u as u128 }
        }
    )*};
}
lane!(u8: u8, i8: u8, u16: u16, i16: u16, u32: u32, i32: u32, u64: u64, i64: u64, u128: u128, i128: u128);

/// Element `i` (ISA numbering) of `v`.
pub(super) fn el<L: Lane>(v: u128, i: u32) -> L {
    let n = 128 / L::BITS;
    L::low(v >> ((n - 1 - i % n) * L::BITS))
}

/// Builds a vector from the function of the element number.
pub(super) fn build<L: Lane>(mut f: impl FnMut(u32) -> L) -> u128 {
    let mut out = 0_u128;
    for i in 0..128 / L::BITS {
        // For 128-bit elements the shift would be the whole width.
        out = out.checked_shl(L::BITS).unwrap_or(0) | f(i).wide();
    }
    out
}

/// VRT = f(VRB) by element.
pub(super) fn map1<A: Lane, R: Lane>(c: &mut VecCtx, f: impl Fn(A) -> R) -> Run {
    let b = c.vrb();
    c.set_vrt(build(|i| f(el(b, i))))
}

/// VRT = f(VRA, VRB) by element.
pub(super) fn map2<A: Lane, R: Lane>(c: &mut VecCtx, f: impl Fn(A, A) -> R) -> Run {
    let (a, b) = (c.vra(), c.vrb());
    c.set_vrt(build(|i| f(el(a, i), el(b, i))))
}

/// Like [`map2`] with (saturated result, modular result): SAT is set where they differ.
pub(super) fn sat2<A: Lane>(c: &mut VecCtx, f: impl Fn(A, A) -> (A, A)) -> Run {
    let (a, b) = (c.vra(), c.vrb());
    let mut sat = false;
    let r = build(|i| {
        let (x, y) = f(el(a, i), el(b, i));
        sat |= x != y;
        x
    });
    c.sat(sat);
    c.set_vrt(r)
}

/// Compare by element: all ones where true; Rc sets CR field 6.
pub(super) fn cmp<A: Lane>(c: &mut VecCtx, f: impl Fn(A, A) -> bool) -> Run {
    let (a, b) = (c.vra(), c.vrb());
    let ones = A::low(u128::MAX);
    let zero = A::low(0);
    let r = build(|i| if f(el(a, i), el(b, i)) { ones } else { zero });
    c.cr6(r);
    c.set_vrt(r)
}
