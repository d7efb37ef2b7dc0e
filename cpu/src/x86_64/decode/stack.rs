//! The stack.

use iced_x86::{Mnemonic, Register};

use super::operand::{Address, Operand, Use, log};
use super::{Emitter, Mode, R_T2};
use crate::engine::uop::{Op, R_T1, R_ZERO, Reg, uop};
use crate::x86_64::packet::Unit;
use crate::x86_64::regs::{R_RBP, R_RSP};

impl Emitter<'_> {
    fn stack_bits(&self) -> u32 {
        if self.mode.is_long() {
            64
        } else if self.mode.0 & Mode::BIG_STACK != 0 {
            32
        } else {
            16
        }
    }

    /// The linear address of `size` bytes at the stack pointer plus `plus`.
    fn stack_address(&mut self, plus: u64, size: usize, how: Use) -> Address {
        let bits = self.stack_bits();
        let x = Address {
            a: R_RSP,
            b: R_ZERO,
            imm: plus,
        };
        let x = self.truncate(x, bits);
        self.linear(x, Register::SS, bits, size, how)
    }

    /// Adds to the stack pointer.
    pub(super) fn move_stack(&mut self, by: u64) {
        match self.stack_bits() {
            64 => self.imm(Op::AddI, R_RSP, R_RSP, by),
            32 => self.imm(Op::Add32, R_RSP, R_RSP, by),
            _ => {
                self.imm(Op::AddI, R_T2, R_RSP, by);
                self.set(Operand::Reg(R_RSP), R_T2, 1);
            }
        }
    }

    /// Pushes the low bytes of a register.
    pub(super) fn push_register(&mut self, r: Reg, size: usize) {
        let less = (size as u64).wrapping_neg();
        let x = self.stack_address(less, size, Use::Store);
        self.store(r, x, log(size));
        self.move_stack(less);
    }

    /// Pops to a register; then the stack pointer moves by the size and `more`.
    pub(super) fn pop_register(&mut self, r: Reg, size: usize, more: u64) {
        let x = self.stack_address(0, size, Use::Load);
        self.load(r, x, log(size));
        self.move_stack((size as u64).wrapping_add(more));
    }

    pub(super) fn stack(&mut self) -> bool {
        match self.i.mnemonic() {
            Mnemonic::Push => self.push_operand(),
            Mnemonic::Pop => self.pop_operand(),
            Mnemonic::Leave if self.mode.is_long() && self.i.stack_pointer_increment() == 8 => {
                self.push(uop(Op::Ld64, R_T1, R_RBP, R_ZERO, 0, 0));
                self.imm(Op::AddI, R_RSP, R_RBP, 8);
                self.op(Op::Mov, R_RBP, R_T1, R_ZERO);
                true
            }
            Mnemonic::Leave => {
                self.packet(Unit::Integer, false);
                true
            }
            _ => false,
        }
    }

    fn push_operand(&mut self) -> bool {
        if self.i.op0_register().is_segment_register() {
            return false;
        }
        let size = self.i.stack_pointer_increment().unsigned_abs() as usize;
        let value = self.value(0, R_T1);
        self.push_register(value, size);
        true
    }

    fn pop_operand(&mut self) -> bool {
        if self.i.op0_register().is_segment_register() {
            return false;
        }
        let size = self.i.stack_pointer_increment().unsigned_abs() as usize;
        let log = log(size);
        match self.operand(0) {
            Operand::Reg(r) if r != R_RSP && size == 8 => self.pop_register(r, size, 0),
            Operand::Memory => {
                let x = self.stack_address(0, size, Use::Load);
                self.load(R_T1, x, log);
                // The address is computed after the stack pointer has moved.
                let by = match self.i.memory_base() {
                    Register::RSP | Register::ESP => size as u64,
                    _ => 0,
                };
                let x = self.address_plus(Use::Store, by);
                self.store(R_T1, x, log);
                self.move_stack(size as u64);
            }
            to => {
                self.pop_register(R_T1, size, 0);
                self.set(to, R_T1, log);
            }
        }
        true
    }
}
