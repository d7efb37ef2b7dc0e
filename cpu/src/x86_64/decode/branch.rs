//! Near branches, calls and returns.

use iced_x86::{ConditionCode, Mnemonic, OpKind};

use super::moves::condition;
use super::operand::Operand;
use super::{Emitter, R_T3};
use crate::engine::uop::{Op, R_T0, R_T1, R_ZERO, Reg, uop};
use crate::x86_64::packet::Unit;
use crate::x86_64::regs::{R_RCX, R_RSP, R_SEGMENT_BASE};

const R_CS: Reg = R_SEGMENT_BASE + 1;

/// Where a branch leads.
enum Target {
    /// From the block's first byte.
    Direct(u64),
    /// To the linear address in [`R_T0`].
    Computed,
}

impl Emitter<'_> {
    /// `None` if it is no branch that these do; else whether the block ends.
    pub(super) fn branch(&mut self) -> Option<bool> {
        use Mnemonic as M;
        match self.i.mnemonic() {
            M::Jmp if self.is_near() => self.jump(),
            M::Call if self.is_near() => self.call(),
            M::Ret => self.ret(),
            M::Loop => self.counted(1),
            M::Jcxz | M::Jecxz | M::Jrcxz => self.counted(0),
            M::Loope | M::Loopne => return Some(self.packet(Unit::Integer, true)),
            _ => {
                let c = self.i.condition_code();
                if c == ConditionCode::None || !self.is_direct() {
                    return None;
                }
                self.jump_if(condition(c));
            }
        }
        Some(true)
    }

    fn is_direct(&self) -> bool {
        matches!(
            self.i.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        )
    }

    fn is_near(&self) -> bool {
        self.is_direct() || self.i.is_jmp_near_indirect() || self.i.is_call_near_indirect()
    }

    /// The target of a direct branch. A far one of 16 bits has to wrap within its segment, whose base is known only when it runs.
    fn target(&mut self) -> Target {
        match self.i.op0_kind() {
            OpKind::NearBranch16 => {
                let to = self.i.near_branch16();
                let by = to.wrapping_sub(self.next as u16) as i16;
                if (-0x80..0x80).contains(&by) {
                    return Target::Direct(self.next.wrapping_add(by as u64));
                }
                self.imm(Op::MovPc, R_T0, R_ZERO, u64::from(to));
                self.op(Op::Sub, R_T0, R_T0, R_CS);
                self.imm(Op::AndI, R_T0, R_T0, 0xffff);
                self.op(Op::Add, R_T0, R_T0, R_CS);
                Target::Computed
            }
            OpKind::NearBranch32 => {
                let to = self.i.near_branch32() as i32;
                if to.unsigned_abs() < 1 << 24 {
                    return Target::Direct(to as u64);
                }
                self.imm(Op::MovPc, R_T0, R_ZERO, to as u64);
                self.imm(Op::AndI, R_T0, R_T0, 0xffff_ffff);
                Target::Computed
            }
            _ => Target::Direct(self.i.near_branch64()),
        }
    }

    fn jump(&mut self) {
        if !self.is_direct() {
            let (r, size) = (self.value(0, R_T1), self.size(0));
            return self.go_to(r, size);
        }
        match self.target() {
            Target::Direct(to) => self.imm(Op::Jmp, 0, R_ZERO, to),
            Target::Computed => self.imm(Op::JmpReg, 0, R_T0, u64::MAX),
        }
    }

    /// Goes to the instruction pointer in a register, of so many bytes.
    fn go_to(&mut self, r: Reg, size: usize) {
        let mask = match size {
            8 => u64::MAX,
            4 => 0xffff_ffff,
            _ => 0xffff,
        };
        if self.mode.is_long() || self.mode.is_flat() {
            return self.imm(Op::JmpReg, 0, r, mask);
        }
        self.imm(Op::AndI, R_T1, r, mask);
        self.push(uop(Op::Ea32, R_T1, R_T1, R_CS, 0, 0));
        self.imm(Op::JmpReg, 0, R_T1, u64::MAX);
    }

    fn jump_if(&mut self, c: u8) {
        let next = self.next as u32;
        match self.target() {
            Target::Direct(to) => self.push(uop(Op::Jcc, c, 0, 0, next, to)),
            Target::Computed => self.push(uop(Op::JccReg, c, R_T0, 0, next, 0)),
        }
    }

    fn call(&mut self) {
        let size = self.i.stack_pointer_increment().unsigned_abs() as usize;
        if self.is_direct() {
            let target = self.target();
            // A computed one is in R_T0, which the push needs.
            let kept = R_T3;
            if let Target::Computed = target {
                self.op(Op::Mov, kept, R_T0, R_ZERO);
            }
            self.push_return(size);
            return match target {
                Target::Direct(to) => self.imm(Op::Jmp, 0, R_ZERO, to),
                Target::Computed => self.imm(Op::JmpReg, 0, kept, u64::MAX),
            };
        }
        let mut r = self.value(0, R_T3);
        if r == R_RSP {
            self.op(Op::Mov, R_T3, r, R_ZERO);
            r = R_T3;
        }
        self.push_return(size);
        self.go_to(r, size);
    }

    fn push_return(&mut self, size: usize) {
        let next = self.next;
        self.imm(Op::MovPc, R_T1, R_ZERO, next);
        if !self.mode.is_long() && !self.mode.is_flat() {
            self.op(Op::Sub, R_T1, R_T1, R_CS);
        }
        self.push_register(R_T1, size);
    }

    fn ret(&mut self) {
        let more = match self.operand(0) {
            Operand::Imm(n) if self.i.op_count() == 1 => n & 0xffff,
            _ => 0,
        };
        let size = (self.i.stack_pointer_increment() as u64).wrapping_sub(more) as usize;
        self.pop_register(R_T1, size, more);
        self.go_to(R_T1, size);
    }

    /// LOOP and JrCXZ: the count register, less `less`, is compared with 0.
    fn counted(&mut self, less: u64) {
        let bits = self.count_bits();
        let target = self.target();
        let d = u8::from(less == 0);
        if less != 0 {
            match bits {
                64 => self.imm(Op::AddI, R_RCX, R_RCX, u64::MAX),
                32 => self.imm(Op::Add32, R_RCX, R_RCX, u64::MAX),
                _ => {
                    self.imm(Op::AddI, R_T1, R_RCX, u64::MAX);
                    self.set(Operand::Reg(R_RCX), R_T1, 1);
                }
            }
        }
        let mut r = R_RCX;
        if bits != 64 {
            let mask = if bits == 32 { 0xffff_ffff } else { 0xffff };
            self.imm(Op::AndI, R_T1, R_RCX, mask);
            r = R_T1;
        }
        let next = self.next;
        // Their displacements have 8 bits, so that the target is never computed.
        if let Target::Direct(to) = target {
            self.push(uop(Op::Bz, d, r, 0, next as u32, to));
        }
    }

    /// Size of the count register of LOOP and the like.
    pub(super) fn count_bits(&self) -> u32 {
        use iced_x86::Code as C;
        match self.i.code() {
            C::Loop_rel8_16_RCX | C::Loop_rel8_64_RCX | C::Jrcxz_rel8_16 | C::Jrcxz_rel8_64 => 64,
            C::Loope_rel8_16_RCX
            | C::Loope_rel8_64_RCX
            | C::Loopne_rel8_16_RCX
            | C::Loopne_rel8_64_RCX => 64,
            C::Loop_rel8_16_ECX
            | C::Loop_rel8_32_ECX
            | C::Loop_rel8_64_ECX
            | C::Jecxz_rel8_16
            | C::Jecxz_rel8_32
            | C::Jecxz_rel8_64
            | C::Loope_rel8_16_ECX
            | C::Loope_rel8_32_ECX
            | C::Loope_rel8_64_ECX
            | C::Loopne_rel8_16_ECX
            | C::Loopne_rel8_32_ECX
            | C::Loopne_rel8_64_ECX => 32,
            _ => 16,
        }
    }

    /// The displacement of a branch with 8 bits, from the next instruction.
    pub(super) fn short_displacement(&self) -> u64 {
        match self.i.op0_kind() {
            OpKind::NearBranch16 => {
                self.i.near_branch16().wrapping_sub(self.next as u16) as i16 as u64
            }
            OpKind::NearBranch32 => {
                self.i.near_branch32().wrapping_sub(self.next as u32) as i32 as u64
            }
            _ => self.i.near_branch64().wrapping_sub(self.next),
        }
    }
}
