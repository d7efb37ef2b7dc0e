//! Moves of XMM registers, and what only needs such registers.

use iced_x86::{Code, OpKind, Register};

use super::Emitter;
use super::operand::{Operand, Use};
use crate::engine::uop::{Op, R_ZERO, Reg, uop};
use crate::x86_64::regs::{R_XMM, R_XT};
use crate::x86_64::simd;

/// The low half of an XMM register.
fn xmm(r: Register) -> Reg {
    R_XMM + 2 * (r.number() as Reg & 15)
}

/// A part of an XMM register.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Low,
    High,
    /// The low 32 bits.
    Word,
}

impl Emitter<'_> {
    /// False if the instruction is another one, or SSE is off.
    pub(super) fn vector(&mut self) -> bool {
        use Code as C;
        if !self.mode.has_sse() {
            return false;
        }
        let code = self.i.code();
        match code {
            C::Movups_xmm_xmmm128
            | C::Movupd_xmm_xmmm128
            | C::Movdqu_xmm_xmmm128
            | C::Lddqu_xmm_m128 => self.load_vector(false),
            C::Movaps_xmm_xmmm128
            | C::Movapd_xmm_xmmm128
            | C::Movdqa_xmm_xmmm128
            | C::Movntdqa_xmm_m128 => self.load_vector(true),
            C::Movups_xmmm128_xmm | C::Movupd_xmmm128_xmm | C::Movdqu_xmmm128_xmm => {
                self.store_vector(false);
            }
            C::Movaps_xmmm128_xmm
            | C::Movapd_xmmm128_xmm
            | C::Movdqa_xmmm128_xmm
            | C::Movntps_m128_xmm
            | C::Movntpd_m128_xmm
            | C::Movntdq_m128_xmm => self.store_vector(true),
            C::Movq_xmm_xmmm64 => self.load_part(Part::Low, true),
            C::Movsd_xmm_xmmm64 => self.load_part(Part::Low, self.has_memory()),
            C::Movss_xmm_xmmm32 => self.load_part(Part::Word, self.has_memory()),
            C::Movlps_xmm_m64 | C::Movlpd_xmm_m64 => self.load_part(Part::Low, false),
            C::Movhps_xmm_m64 | C::Movhpd_xmm_m64 => self.load_part(Part::High, false),
            C::Movq_xmmm64_xmm if !self.has_memory() => self.load_part(Part::Low, true),
            C::Movsd_xmmm64_xmm if !self.has_memory() => self.load_part(Part::Low, false),
            C::Movss_xmmm32_xmm if !self.has_memory() => self.load_part(Part::Word, false),
            C::Movq_xmmm64_xmm | C::Movsd_xmmm64_xmm | C::Movlps_m64_xmm | C::Movlpd_m64_xmm => {
                self.store_part(Part::Low)
            }
            C::Movss_xmmm32_xmm => self.store_part(Part::Word),
            C::Movhps_m64_xmm | C::Movhpd_m64_xmm => self.store_part(Part::High),
            C::Movhlps_xmm_xmm => self.between(Part::Low, Part::High),
            C::Movlhps_xmm_xmm => self.between(Part::High, Part::Low),
            C::Movd_xmm_rm32 | C::Movq_xmm_rm64 => self.load_general(),
            C::Movd_rm32_xmm | C::Movq_rm64_xmm => self.store_general(),
            C::Pmovmskb_r32_xmm
            | C::Pmovmskb_r64_xmm
            | C::Movmskps_r32_xmm
            | C::Movmskps_r64_xmm
            | C::Movmskpd_r32_xmm
            | C::Movmskpd_r64_xmm => {
                let (d, b) = (self.operand(0), xmm(self.i.op1_register()));
                let Operand::Reg(d) = d else { return false };
                self.push(uop(Op::VecMask, d, R_ZERO, b, code as u32, 0));
            }
            code if simd::is_pure(code) => return self.pure(code),
            _ => return false,
        }
        true
    }

    fn has_memory(&self) -> bool {
        self.i.op0_kind() == OpKind::Memory || self.i.op1_kind() == OpKind::Memory
    }

    fn load_vector(&mut self, aligned: bool) {
        let d = xmm(self.i.op0_register());
        if self.has_memory() {
            return self.load_wide(d, aligned);
        }
        self.copy_vector(d, xmm(self.i.op1_register()));
    }

    fn load_wide(&mut self, d: Reg, aligned: bool) {
        let x = self.address(Use::Load);
        self.push(uop(Op::Ld128, d, x.a, x.b, aligned.into(), x.imm));
    }

    fn copy_vector(&mut self, d: Reg, from: Reg) {
        if d != from {
            self.op(Op::Mov, d, from, R_ZERO);
            self.op(Op::Mov, d + 1, from + 1, R_ZERO);
        }
    }

    fn store_vector(&mut self, aligned: bool) {
        let from = xmm(self.i.op1_register());
        if !self.has_memory() {
            return self.copy_vector(xmm(self.i.op0_register()), from);
        }
        let x = self.address(Use::Store);
        self.push(uop(Op::St128, from, x.a, x.b, aligned.into(), x.imm));
    }

    /// A part of the first operand becomes that of the second; what is above it is cleared, or stays.
    fn load_part(&mut self, part: Part, clears: bool) {
        let d = xmm(self.i.op0_register());
        let to = d + Reg::from(part == Part::High);
        if self.has_memory() {
            let x = self.address(Use::Load);
            self.load(to, x, if part == Part::Word { 2 } else { 3 });
        } else {
            let from = xmm(self.i.op1_register());
            match part {
                Part::Word => {
                    self.push(uop(Op::RotIns, d, from, R_ZERO, 0, 0xffff_ffff));
                }
                _ if from != d => self.op(Op::Mov, d, from, R_ZERO),
                _ => {}
            }
        }
        if clears {
            self.imm(Op::MovI, d + 1, R_ZERO, 0);
        }
    }

    fn store_part(&mut self, part: Part) {
        let from = xmm(self.i.op1_register()) + Reg::from(part == Part::High);
        let x = self.address(Use::Store);
        self.store(from, x, if part == Part::Word { 2 } else { 3 });
    }

    fn between(&mut self, to: Part, from: Part) {
        let half = |part| Reg::from(part == Part::High);
        let d = xmm(self.i.op0_register()) + half(to);
        let a = xmm(self.i.op1_register()) + half(from);
        self.op(Op::Mov, d, a, R_ZERO);
    }

    /// MOVD and MOVQ from a general register or memory.
    fn load_general(&mut self) {
        let d = xmm(self.i.op0_register());
        let log = if self.size(1) == 8 { 3 } else { 2 };
        match self.operand(1) {
            Operand::Reg(r) if log == 3 => self.op(Op::Mov, d, r, R_ZERO),
            Operand::Reg(r) => self.imm(Op::AndI, d, r, 0xffff_ffff),
            _ => {
                let x = self.address(Use::Load);
                self.load(d, x, log);
            }
        }
        self.imm(Op::MovI, d + 1, R_ZERO, 0);
    }

    /// MOVD and MOVQ to a general register or memory.
    fn store_general(&mut self) {
        let from = xmm(self.i.op1_register());
        let log = if self.size(0) == 8 { 3 } else { 2 };
        match self.operand(0) {
            Operand::Reg(r) if log == 3 => self.op(Op::Mov, r, from, R_ZERO),
            Operand::Reg(r) => self.imm(Op::AndI, r, from, 0xffff_ffff),
            _ => {
                let x = self.address(Use::Store);
                self.store(from, x, log);
            }
        }
    }

    fn pure(&mut self, code: Code) -> bool {
        let d = xmm(self.i.op0_register());
        let mut imm = 0;
        let mut b = d;
        for n in 1..self.i.op_count() {
            match self.i.op_kind(n) {
                OpKind::Register => b = xmm(self.i.op_register(n)),
                OpKind::Memory => b = R_XT,
                _ => imm = self.i.try_immediate(n).unwrap_or(0) & 0xff,
            }
        }
        if b == R_XT {
            // Operands of other sizes are loaded by a helper.
            if simd::memory_size(code).is_none_or(|m| m.load != 16 || m.align != 16) {
                return false;
            }
            self.load_wide(R_XT, true);
        }
        let third = if simd::has_mask(code) { R_XMM } else { d };
        self.push(uop(Op::Vec, d, third, b, code as u32, imm));
        true
    }
}
