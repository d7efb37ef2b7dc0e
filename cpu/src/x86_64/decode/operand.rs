//! Operands: registers, immediates, and memory by linear address.

use iced_x86::{Code, OpKind, Register};

use super::{Emitter, Mode, R_T3};
use crate::engine::uop::{Op, R_T0, R_T1, R_ZERO, Reg, uop};
use crate::x86_64::packet::{MEMORY, Packet, Unit};
use crate::x86_64::regs::R_SEGMENT_BASE;

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A general register.
    Reg(Reg),
    /// Bits 8 to 15 of one.
    High(Reg),
    /// Memory.
    Memory,
    /// A number.
    Imm(u64),
}

/// An address: the sum of two registers and a number, as loads and stores take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) a: Reg,
    pub(super) b: Reg,
    pub(super) imm: u64,
}

/// How memory is used, for segment checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Load,
    Store,
}

/// Logarithm of a size of 1, 2, 4 or 8 bytes.
pub(super) fn log(size: usize) -> u8 {
    (size.max(1).trailing_zeros() as u8).min(3)
}

/// Number of a general register, as encoded.
pub(super) fn number(r: Register) -> Reg {
    r.full_register().number() as Reg
}

pub(super) fn is_high(r: Register) -> bool {
    matches!(r, Register::AH | Register::CH | Register::DH | Register::BH)
}

impl Emitter<'_> {
    pub(super) fn operand(&self, n: u32) -> Operand {
        match self.i.op_kind(n) {
            OpKind::Register => {
                let r = self.i.op_register(n);
                if is_high(r) {
                    Operand::High(number(r))
                } else {
                    Operand::Reg(number(r))
                }
            }
            OpKind::Memory => Operand::Memory,
            _ => Operand::Imm(self.i.try_immediate(n).unwrap_or(0)),
        }
    }

    /// Bytes of an operand.
    pub(super) fn size(&self, n: u32) -> usize {
        match self.i.op_kind(n) {
            OpKind::Register => self.i.op_register(n).size(),
            OpKind::Memory => self.i.memory_size().size(),
            _ => 0,
        }
    }

    /// Bits of the address, 16, 32 or 64.
    pub(super) fn address_bits(&self) -> u32 {
        let sized = |r: Register| match r.size() {
            8 => 64,
            4 => 32,
            _ => 16,
        };
        let (base, index) = (self.i.memory_base(), self.i.memory_index());
        if base == Register::RIP {
            64
        } else if base == Register::EIP {
            32
        } else if base != Register::None {
            sized(base)
        } else if index.is_gpr() {
            sized(index)
        } else {
            match self.i.memory_displ_size() {
                8 => 64,
                4 => 32,
                2 => 16,
                _ => self.default_address_bits(),
            }
        }
    }

    fn default_address_bits(&self) -> u32 {
        if self.mode.is_long() {
            64
        } else if self.mode.0 & Mode::BIG != 0 {
            32
        } else {
            16
        }
    }

    /// The offset within the segment of the memory operand; `plus` is added to it.
    pub(super) fn offset(&mut self, plus: u64) -> Address {
        let bits = self.address_bits();
        let disp = self.i.memory_displacement64().wrapping_add(plus);
        let base = self.i.memory_base();
        if matches!(base, Register::RIP | Register::EIP) {
            let disp = if base == Register::EIP {
                disp as i32 as u64
            } else {
                disp
            };
            self.imm(Op::MovPc, R_T0, R_ZERO, disp);
            return self.truncate(
                Address {
                    a: R_T0,
                    b: R_ZERO,
                    imm: 0,
                },
                bits,
            );
        }
        let base = match base {
            Register::None => R_ZERO,
            r => number(r),
        };
        let index = match self.i.memory_index() {
            r if r.is_gpr() => number(r),
            _ => R_ZERO,
        };
        let scale = self.i.memory_index_scale();
        let address = if index != R_ZERO && scale > 1 {
            let log = scale.trailing_zeros();
            self.push(uop(Op::Lea, R_T0, base, index, log, disp));
            Address {
                a: R_T0,
                b: R_ZERO,
                imm: 0,
            }
        } else if base == R_ZERO {
            Address {
                a: index,
                b: R_ZERO,
                imm: disp,
            }
        } else {
            Address {
                a: base,
                b: index,
                imm: disp,
            }
        };
        self.truncate(address, bits)
    }

    /// An address with as many bits.
    pub(super) fn truncate(&mut self, x: Address, bits: u32) -> Address {
        match bits {
            64 => return x,
            32 => self.push(uop(Op::Ea32, R_T0, x.a, x.b, 0, x.imm)),
            _ => {
                self.push(uop(Op::Lea, R_T0, x.a, x.b, 0, x.imm));
                self.imm(Op::AndI, R_T0, R_T0, 0xffff);
            }
        }
        Address {
            a: R_T0,
            b: R_ZERO,
            imm: 0,
        }
    }

    /// An offset, made linear: the base of the segment is added, and in 16- and 32-bit code `size` bytes are checked.
    pub(super) fn linear(
        &mut self,
        x: Address,
        segment: Register,
        bits: u32,
        size: usize,
        how: Use,
    ) -> Address {
        let n = segment.number() as Reg % 6;
        let base = R_SEGMENT_BASE + n;
        if self.mode.is_long() {
            if n < 4 {
                return x;
            }
            if x.b == R_ZERO {
                return Address { b: base, ..x };
            }
            self.push(uop(Op::Lea, R_T0, x.a, x.b, 0, x.imm));
            return Address {
                a: R_T0,
                b: base,
                imm: 0,
            };
        }
        // Code segments are not writable: CS is never without a check for stores.
        let code = n == 1;
        if self.mode.is_flat() && n < 4 && !(code && how == Use::Store) {
            return x;
        }
        let roomy = self.mode.0 & Mode::ROOMY != 0 && bits == 16 && !code;
        if !roomy {
            self.check(n, size, how);
        }
        self.push(uop(Op::Ea32, R_T0, x.a, base, 0, 0));
        Address {
            a: R_T0,
            b: R_ZERO,
            imm: 0,
        }
    }

    /// Checks `size` bytes at the offset in [`R_T0`] against a segment.
    fn check(&mut self, segment: Reg, size: usize, how: Use) {
        let packet = Packet {
            unit: Unit::Integer,
            code: Code::INVALID,
            reg: segment,
            rm: MEMORY,
            extra: u8::from(how == Use::Store),
            address_size: 0,
            stack: segment == 2,
            imm: size.max(1) as u64,
        };
        self.push(packet.encode(false));
    }

    /// The linear address of the memory operand.
    pub(super) fn address(&mut self, how: Use) -> Address {
        self.address_plus(how, 0)
    }

    pub(super) fn address_plus(&mut self, how: Use, plus: u64) -> Address {
        let bits = self.address_bits();
        let offset = self.offset(plus);
        let (segment, size) = (self.i.memory_segment(), self.i.memory_size().size());
        self.linear(offset, segment, bits, size, how)
    }

    pub(super) fn load(&mut self, d: Reg, x: Address, log: u8) {
        let op = [Op::Ld8, Op::Ld16, Op::Ld32, Op::Ld64][usize::from(log & 3)];
        self.push(uop(op, d, x.a, x.b, 0, x.imm));
    }

    /// Of what will be stored to.
    pub(super) fn load_to_modify(&mut self, d: Reg, x: Address, log: u8) {
        let op = [Op::LdM8, Op::LdM16, Op::LdM32, Op::LdM64][usize::from(log & 3)];
        self.push(uop(op, d, x.a, x.b, 0, x.imm));
    }

    pub(super) fn store(&mut self, value: Reg, x: Address, log: u8) {
        let op = [Op::St8, Op::St16, Op::St32, Op::St64][usize::from(log & 3)];
        self.push(uop(op, value, x.a, x.b, 0, x.imm));
    }

    /// A register that has the operand's value in its low bits: itself, or `t`.
    pub(super) fn value(&mut self, n: u32, t: Reg) -> Reg {
        match self.operand(n) {
            Operand::Reg(r) => r,
            Operand::High(r) => {
                self.high(t, r);
                t
            }
            Operand::Memory => {
                let log = log(self.size(n));
                let x = self.address(Use::Load);
                self.load(t, x, log);
                t
            }
            Operand::Imm(v) => {
                self.imm(Op::MovI, t, R_ZERO, v);
                t
            }
        }
    }

    /// As a register and a number whose sum is the operand: memory is loaded to [`R_T1`], high bytes go to [`R_T3`].
    pub(super) fn summand(&mut self, n: u32) -> (Reg, u64) {
        match self.operand(n) {
            Operand::Imm(v) => (R_ZERO, v),
            Operand::Memory => (self.value(n, R_T1), 0),
            _ => (self.value(n, R_T3), 0),
        }
    }

    /// d = bits 8 to 15 of r.
    pub(super) fn high(&mut self, d: Reg, r: Reg) {
        self.push(uop(Op::RotMask, d, r, R_ZERO, 56, 0xff));
    }

    /// Sets a register operand of a size to the low bits of `value`.
    pub(super) fn set(&mut self, to: Operand, value: Reg, log: u8) {
        match (to, log) {
            (Operand::High(r), _) => self.push(uop(Op::RotIns, r, value, R_ZERO, 8, 0xff00)),
            (Operand::Reg(r), 0) => self.push(uop(Op::RotIns, r, value, R_ZERO, 0, 0xff)),
            (Operand::Reg(r), 1) => self.push(uop(Op::RotIns, r, value, R_ZERO, 0, 0xffff)),
            (Operand::Reg(r), 2) => self.imm(Op::AndI, r, value, 0xffff_ffff),
            (Operand::Reg(r), _) if r != value => self.op(Op::Mov, r, value, R_ZERO),
            _ => {}
        }
    }
}
