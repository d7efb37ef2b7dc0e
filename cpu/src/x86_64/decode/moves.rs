//! Moves, conditional ones, and address arithmetic.

use iced_x86::{ConditionCode, Mnemonic, Register};

use super::operand::{Address, Operand, Use, log};
use super::{Emitter, R_T2, R_T3};
use crate::engine::alu::Kind;
use crate::engine::uop::{Op, R_T0, R_T1, R_ZERO, uop};
use crate::x86_64::regs::{R_RAX, R_RBX};

/// Number of a condition, as encoded.
pub(super) fn condition(c: ConditionCode) -> u8 {
    // iced numbers them in the same order, from 1.
    (c as u8).wrapping_sub(1) & 15
}

impl Emitter<'_> {
    pub(super) fn moves(&mut self) -> bool {
        use Mnemonic as M;
        match self.i.mnemonic() {
            M::Mov => return self.mov(),
            M::Movnti => {
                let x = self.address(Use::Store);
                let (value, log) = (self.value(1, R_T1), log(self.size(0)));
                self.store(value, x, log);
            }
            M::Movzx => self.movzx(),
            M::Movsx | M::Movsxd => self.movsx(),
            M::Lea => self.lea(),
            M::Xchg => self.xchg(),
            M::Bswap => {
                let (d, log) = (self.value(0, R_T2), log(self.size(0)));
                self.push(uop(Op::AluF, d, d, R_ZERO, Kind::Bswap.at(log), 0));
            }
            M::Movbe => self.movbe(),
            M::Xlatb => self.xlat(),
            _ => return self.conditional(),
        }
        true
    }

    fn mov(&mut self) -> bool {
        let special = |r: Register| r != Register::None && !r.is_gpr();
        if special(self.i.op0_register()) || special(self.i.op1_register()) {
            return false;
        }
        let log = log(self.size(0));
        match (self.operand(0), self.operand(1)) {
            (Operand::Memory, _) => {
                let x = self.address(Use::Store);
                let value = self.value(1, R_T1);
                self.store(value, x, log);
            }
            (Operand::Reg(r), Operand::Imm(v)) if log >= 2 => self.imm(Op::MovI, r, R_ZERO, v),
            (Operand::Reg(r), Operand::Memory) if log >= 2 => {
                let x = self.address(Use::Load);
                self.load(r, x, log);
            }
            (to, _) => {
                let value = self.value(1, R_T1);
                self.set(to, value, log);
            }
        }
        true
    }

    fn movzx(&mut self) {
        let (to, wide) = (log(self.size(0)), self.size(1) == 2);
        let d = self.operand(0);
        let Operand::Reg(r) = d else { return };
        match self.operand(1) {
            Operand::Memory => {
                let x = self.address(Use::Load);
                if to >= 2 {
                    self.load(r, x, u8::from(wide));
                } else {
                    self.load(R_T1, x, u8::from(wide));
                    self.set(d, R_T1, to);
                }
            }
            from => {
                let t = if to >= 2 { r } else { R_T1 };
                match from {
                    Operand::High(s) => self.high(t, s),
                    Operand::Reg(s) => {
                        let mask = if wide { 0xffff } else { 0xff };
                        self.imm(Op::AndI, t, s, mask);
                    }
                    _ => {}
                }
                if to < 2 {
                    self.set(d, R_T1, to);
                }
            }
        }
    }

    fn movsx(&mut self) {
        let (to, from) = (log(self.size(0)), log(self.size(1)));
        let d = self.operand(0);
        let Operand::Reg(r) = d else { return };
        let t = if to == 3 { r } else { R_T1 };
        let extend = [Op::Ext8, Op::Ext16, Op::Ext32, Op::Mov][usize::from(from)];
        if self.operand(1) == Operand::Memory {
            let x = self.address(Use::Load);
            let op = match from {
                0 => Op::Ld8,
                1 => Op::Ld16S,
                2 => Op::Ld32S,
                _ => Op::Ld64,
            };
            self.push(uop(op, t, x.a, x.b, 0, x.imm));
            if from == 0 {
                self.op(extend, t, t, R_ZERO);
            }
        } else {
            let s = self.value(1, R_T3);
            self.op(extend, t, s, R_ZERO);
        }
        if to < 3 {
            self.set(d, R_T1, to);
        }
    }

    fn lea(&mut self) {
        let to = log(self.size(0));
        let d = self.operand(0);
        let Operand::Reg(r) = d else { return };
        let scale = self.i.memory_index_scale();
        let base = self.i.memory_base();
        if self.address_bits() == 64 && to == 3 && scale > 1 && base != Register::RIP {
            // One micro-operation, without the way by R_T0.
            let x = self.offset(0);
            if let Some(last) = self.out.uops.last_mut()
                && x.a == R_T0
                && last.op == Op::Lea
            {
                last.d = r;
                return;
            }
        }
        let x = self.offset(0);
        if to == 2 && x.b == R_ZERO && x.a != R_T0 {
            return self.imm(Op::Add32, r, x.a, x.imm);
        }
        let t = if to == 3 { r } else { R_T0 };
        match x {
            Address { a, b: R_ZERO, imm } => self.imm(Op::AddI, t, a, imm),
            Address { a, b, imm: 0 } => self.op(Op::Add, t, a, b),
            Address { a, b, imm } => self.push(uop(Op::Lea, t, a, b, 0, imm)),
        }
        if to < 3 {
            self.set(d, R_T0, to);
        }
    }

    fn xchg(&mut self) {
        let log = log(self.size(0));
        let (a, b) = (self.operand(0), self.operand(1));
        if a == Operand::Memory || b == Operand::Memory {
            let n = u32::from(a == Operand::Memory);
            let x = self.address(Use::Store);
            self.load_to_modify(R_T1, x, log);
            let value = self.value(n, R_T3);
            self.store(value, x, log);
            let to = self.operand(n);
            return self.set(to, R_T1, log);
        }
        let (x, y) = (self.value(0, R_T2), self.value(1, R_T3));
        self.op(Op::Mov, R_T1, x, R_ZERO);
        self.set(a, y, log);
        self.set(b, R_T1, log);
    }

    fn movbe(&mut self) {
        let log = log(self.size(0));
        let n = usize::from(log.saturating_sub(1));
        if self.operand(0) == Operand::Memory {
            let x = self.address(Use::Store);
            let value = self.value(1, R_T1);
            let op = [Op::St16R, Op::St32R, Op::St64R][n];
            return self.push(uop(op, value, x.a, x.b, 0, x.imm));
        }
        let x = self.address(Use::Load);
        let op = [Op::Ld16R, Op::Ld32R, Op::Ld64R][n];
        self.push(uop(op, R_T1, x.a, x.b, 0, x.imm));
        let to = self.operand(0);
        self.set(to, R_T1, log);
    }

    fn xlat(&mut self) {
        let bits = match self.i.memory_base() {
            Register::RBX => 64,
            Register::EBX => 32,
            _ => 16,
        };
        self.imm(Op::AndI, R_T1, R_RAX, 0xff);
        let x = Address {
            a: R_RBX,
            b: R_T1,
            imm: 0,
        };
        let x = self.truncate(x, bits);
        let segment = self.i.memory_segment();
        let x = self.linear(x, segment, bits, 1, Use::Load);
        self.load(R_T1, x, 0);
        self.set(Operand::Reg(R_RAX), R_T1, 0);
    }

    /// SETcc and CMOVcc.
    fn conditional(&mut self) -> bool {
        let c = self.i.condition_code();
        if c == ConditionCode::None {
            return false;
        }
        let (c, to) = (condition(c), self.operand(0));
        if self.i.op_count() == 1 && self.size(0) == 1 {
            match to {
                Operand::Reg(r) => self.op(Op::SetCc, r, c, R_ZERO),
                Operand::High(_) => {
                    self.op(Op::SetCc, R_T1, c, R_ZERO);
                    self.set(to, R_T1, 0);
                }
                _ => {
                    self.op(Op::SetCc, R_T1, c, R_ZERO);
                    let x = self.address(Use::Store);
                    self.store(R_T1, x, 0);
                }
            }
            return true;
        }
        let Operand::Reg(d) = to else { return false };
        if self.i.op_count() != 2 || !self.i.op0_register().is_gpr() {
            return false;
        }
        let b = self.value(1, R_T1);
        let op = match self.size(0) {
            8 => Op::Cmov64,
            4 => Op::Cmov32,
            _ => Op::Cmov16,
        };
        self.op(op, d, c, b);
        true
    }
}
