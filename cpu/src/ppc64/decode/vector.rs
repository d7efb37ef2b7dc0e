//! Vector and floating-point instructions that are loads, stores and moves of doublewords; the others are calls.

use super::{CALL_VECTOR, Emitter, MODE_LE};
use crate::engine::uop::{Op, R_T0, R_T1, R_ZERO, Reg, uop};
use crate::ppc64::regs::*;
use crate::ppc64::vector::{self, Facility, VecOp};

/// Number of a row in `vector::OPS`.
fn vector_row(op: &'static VecOp) -> u64 {
    let size = std::mem::size_of::<VecOp>();
    let at = std::ptr::from_ref(op) as usize;
    ((at - vector::OPS.as_ptr() as usize) / size) as u64
}

/// The low and the high half of a VSR.
#[derive(Clone, Copy)]
struct Halves {
    low: Reg,
    high: Reg,
}

fn vsr(n: u32) -> Halves {
    let low = R_VSR + 2 * (n & 63) as Reg;
    Halves { low, high: low + 1 }
}

/// What an instruction does in micro-operations.
#[derive(Clone, Copy)]
enum Shape {
    /// Load or store of 16 bytes in the current byte order, to an address that is or is made a multiple of 16 (`aligned`) or any.
    Quad {
        store: bool,
        register: Halves,
        index: Option<u64>,
        aligned: bool,
    },
    /// Load or store of two doublewords, the high one first.
    Pair { store: bool, register: Halves },
    /// Load or store of the high doubleword; a load clears the low one.
    Double {
        store: bool,
        register: Halves,
        index: Option<u64>,
        update: bool,
    },
    /// The same operation on both halves: target, operands.
    Logic(Op, Halves, Halves, Halves),
    /// To the high and the low half of a register: other registers.
    Assemble { to: Halves, high: Reg, low: Reg },
    /// A register from another.
    Move { to: Reg, from: Reg },
    /// A number for each half.
    Constant { to: Halves, value: u64 },
}

impl Emitter<'_> {
    /// Emits a vector or floating-point instruction.
    pub(super) fn vector(&mut self, op: &'static VecOp) {
        let row = vector_row(op);
        let Some(shape) = self.shape(op).filter(|_| self.sf()) else {
            self.push(uop(Op::Call, CALL_VECTOR, 0, 0, self.insn, row));
            return;
        };
        let facility = match op.facility_for(self.insn) {
            Facility::Fp => HAS_FP,
            Facility::Vmx => HAS_VMX,
            Facility::Vsx => HAS_VSX,
        };
        if self.demanded & facility == 0 {
            self.demanded |= facility;
            self.push(uop(
                Op::Demand,
                CALL_VECTOR,
                R_FACILITIES,
                facility,
                self.insn,
                row,
            ));
        }
        self.emit(shape);
    }

    fn emit(&mut self, shape: Shape) {
        match shape {
            Shape::Quad {
                store,
                register,
                index,
                aligned,
            } => {
                let (first, second) = match self.mode & MODE_LE {
                    0 => (register.high, register.low),
                    _ => (register.low, register.high),
                };
                self.doublewords(store, first, second, index, aligned);
            }
            Shape::Pair { store, register } => {
                self.doublewords(store, register.high, register.low, None, false);
            }
            Shape::Double {
                store,
                register,
                index,
                update,
            } => {
                let (index, disp) = self.address(index);
                self.access_of(register.high, self.doubleword(store), index, disp, update);
                if !store {
                    self.imm(Op::MovI, register.low, 0, 0);
                }
            }
            Shape::Logic(op, to, a, b) => {
                self.op(op, to.high, a.high, b.high);
                self.op(op, to.low, a.low, b.low);
            }
            Shape::Assemble { to, high, low } => {
                self.op(Op::Mov, R_T0, high, 0);
                self.op(Op::Mov, to.low, low, 0);
                self.op(Op::Mov, to.high, R_T0, 0);
            }
            Shape::Move { to, from } => self.op(Op::Mov, to, from, 0),
            Shape::Constant { to, value } => {
                self.imm(Op::MovI, to.high, 0, value);
                self.imm(Op::MovI, to.low, 0, value);
            }
        }
    }

    fn doubleword(&self, store: bool) -> Op {
        match (store, self.mode & MODE_LE != 0) {
            (false, true) => Op::Ld64,
            (false, false) => Op::Ld64R,
            (true, true) => Op::St64,
            (true, false) => Op::St64R,
        }
    }

    /// Index register and displacement of an address: a displacement, or RB.
    fn address(&self, displacement: Option<u64>) -> (Reg, u64) {
        displacement.map_or((self.rb(), 0), |d| (R_ZERO, d))
    }

    fn doublewords(
        &mut self,
        store: bool,
        first: Reg,
        second: Reg,
        displacement: Option<u64>,
        aligned: bool,
    ) {
        let op = self.doubleword(store);
        let (mut base, (mut index, disp)) = (self.ra0(), self.address(displacement));
        if aligned {
            if base == R_ZERO {
                base = index;
            } else {
                self.op(Op::Add, R_T0, base, index);
                base = R_T0;
            }
            self.imm(Op::AndI, R_T0, base, !15);
            (base, index) = (R_T0, R_ZERO);
        }
        // If the second load is refused, the register has its old value.
        let early = if store { first } else { R_T1 };
        self.push(uop(op, early, base, index, 0, disp));
        self.push(uop(op, second, base, index, 0, disp.wrapping_add(8)));
        if !store {
            self.op(Op::Mov, first, R_T1, 0);
        }
    }

    /// The way to emit an instruction, if there is one.
    fn shape(&self, op: &VecOp) -> Option<Shape> {
        let insn = self.insn;
        let [t, a, b] = [21, 16, 11].map(|shift| insn >> shift & 31);
        let x = |n: u32, bit: u32| vsr(n | (insn >> bit & 1) << 5);
        let (vt, xt) = (vsr(32 + t), x(t, 0));
        let store = op.mnemonic.starts_with("st");
        let logic = |op| Shape::Logic(op, vt, vsr(32 + a), vsr(32 + b));
        let xlogic = |op| Shape::Logic(op, xt, x(a, 2), x(b, 1));
        let double = |register, index| Shape::Double {
            store,
            register,
            index,
            update: false,
        };
        let with_update = |index| {
            (a != 0).then_some(Shape::Double {
                store,
                register: vsr(t),
                index,
                update: true,
            })
        };
        let quad = |register, index, aligned| Shape::Quad {
            store,
            register,
            index,
            aligned,
        };
        let constant = |to, value| Shape::Constant { to, value };
        // Five bits, signed.
        let number = i64::from((a as i8) << 3 >> 3);
        Some(match op.mnemonic {
            "lvx" | "lvxl" | "stvx" | "stvxl" => quad(vt, None, true),
            "lxvx" | "stxvx" => quad(xt, None, false),
            "lxv" | "stxv" => quad(x(t, 3), Some(self.si() & !15), false),
            "lxvd2x" | "stxvd2x" => Shape::Pair {
                store,
                register: xt,
            },
            "lfd" | "stfd" => double(vsr(t), Some(self.si())),
            "lfdx" | "stfdx" => double(vsr(t), None),
            "lfdu" | "stfdu" => return with_update(Some(self.si())),
            "lfdux" | "stfdux" => return with_update(None),
            "lxsdx" | "stxsdx" => double(xt, None),
            "lxsd" | "stxsd" => double(vt, Some(self.si() & !3)),
            "vand" => logic(Op::And),
            "vandc" => logic(Op::Andc),
            "vor" => logic(Op::Or),
            "vorc" => logic(Op::Orc),
            "vxor" => logic(Op::Xor),
            "vnor" => logic(Op::Nor),
            "vnand" => logic(Op::Nand),
            "veqv" => logic(Op::Eqv),
            "xxland" => xlogic(Op::And),
            "xxlandc" => xlogic(Op::Andc),
            "xxlor" => xlogic(Op::Or),
            "xxlorc" => xlogic(Op::Orc),
            "xxlxor" => xlogic(Op::Xor),
            "xxlnor" => xlogic(Op::Nor),
            "xxlnand" => xlogic(Op::Nand),
            "xxleqv" => xlogic(Op::Eqv),
            "xxpermdi" => {
                let half = |r: Halves, bit: u32| if insn >> bit & 1 == 0 { r.high } else { r.low };
                Shape::Assemble {
                    to: xt,
                    high: half(x(a, 2), 9),
                    low: half(x(b, 1), 8),
                }
            }
            "mtvsrd" => Shape::Assemble {
                to: xt,
                high: a as Reg,
                low: R_ZERO,
            },
            "mtvsrdd" => Shape::Assemble {
                to: xt,
                high: self.ra0(),
                low: b as Reg,
            },
            "mfvsrd" => Shape::Move {
                to: a as Reg,
                from: xt.high,
            },
            "mfvsrld" => Shape::Move {
                to: a as Reg,
                from: xt.low,
            },
            "vspltisb" => constant(vt, (number as u64 & 0xff) * 0x0101_0101_0101_0101),
            "vspltish" => constant(vt, (number as u64 & 0xffff) * 0x0001_0001_0001_0001),
            "vspltisw" => constant(vt, (number as u64 & 0xffff_ffff) * 0x1_0000_0001),
            "xxspltib" => constant(xt, u64::from((insn >> 11) as u8) * 0x0101_0101_0101_0101),
            _ => return None,
        })
    }
}
