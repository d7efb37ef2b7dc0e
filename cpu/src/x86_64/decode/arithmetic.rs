//! Arithmetic and logic.

use iced_x86::Mnemonic;

use super::operand::{Operand, Use, log};
use super::{Emitter, R_T2, R_T3};
use crate::engine::alu::{BY_CL, Kind};
use crate::engine::uop::{Op, R_T0, R_T1, R_ZERO, Reg, uop};
use crate::x86_64::regs::{R_RAX, R_RCX, R_RDX};

impl Emitter<'_> {
    /// d = a KIND (b + imm), with flags.
    fn alu(&mut self, kind: Kind, log: u8, d: Reg, a: Reg, (b, imm): (Reg, u64)) {
        let op = match (kind, log) {
            (Kind::Add, 3) => Op::AddF64,
            (Kind::Sub, 3) => Op::SubF64,
            (Kind::And, 3) => Op::AndF64,
            (Kind::Or, 3) => Op::OrF64,
            (Kind::Xor, 3) => Op::XorF64,
            (Kind::Cmp, 3) => Op::CmpF64,
            (Kind::Test, 3) => Op::TestF64,
            (Kind::Add, 2) => Op::AddF32,
            (Kind::Sub, 2) => Op::SubF32,
            (Kind::And, 2) => Op::AndF32,
            (Kind::Or, 2) => Op::OrF32,
            (Kind::Xor, 2) => Op::XorF32,
            (Kind::Cmp, 2) => Op::CmpF32,
            (Kind::Test, 2) => Op::TestF32,
            _ => return self.push(uop(Op::AluF, d, a, b, kind.at(log), imm)),
        };
        self.push(uop(op, d, a, b, 0, imm));
    }

    pub(super) fn arithmetic(&mut self) -> bool {
        use Mnemonic as M;
        match self.i.mnemonic() {
            M::Add => self.two(Kind::Add),
            M::Or => self.two(Kind::Or),
            M::Adc => self.two(Kind::Adc),
            M::Sbb => self.two(Kind::Sbb),
            M::And => self.two(Kind::And),
            M::Sub => self.two(Kind::Sub),
            M::Xor => self.two(Kind::Xor),
            M::Cmp => self.compare(Kind::Cmp),
            M::Test => self.compare(Kind::Test),
            M::Inc => self.update(Kind::Inc, (R_ZERO, 0)),
            M::Dec => self.update(Kind::Dec, (R_ZERO, 0)),
            M::Neg => self.update(Kind::Sub, (R_ZERO, 0)),
            M::Not => self.not(),
            M::Rol => self.shift(Kind::Rol),
            M::Ror => self.shift(Kind::Ror),
            M::Rcl => self.shift(Kind::Rcl),
            M::Rcr => self.shift(Kind::Rcr),
            M::Shl | M::Sal => self.shift(Kind::Shl),
            M::Shr => self.shift(Kind::Shr),
            M::Sar => self.shift(Kind::Sar),
            M::Shld => self.shift_double(Kind::Shld),
            M::Shrd => self.shift_double(Kind::Shrd),
            M::Imul => self.multiply(),
            M::Mul => self.multiply_wide(Kind::MulU),
            M::Bt => self.bit(Kind::Bt),
            M::Bts => self.bit(Kind::Bts),
            M::Btr => self.bit(Kind::Btr),
            M::Btc => self.bit(Kind::Btc),
            M::Bsf => self.of_second(Kind::Bsf),
            M::Bsr => self.of_second(Kind::Bsr),
            M::Tzcnt => self.of_second(Kind::Tzcnt),
            M::Lzcnt => self.of_second(Kind::Lzcnt),
            M::Popcnt => self.of_second(Kind::Popcnt),
            M::Blsr => self.of_second(Kind::Blsr),
            M::Blsmsk => self.of_second(Kind::Blsmsk),
            M::Blsi => self.of_second(Kind::Blsi),
            M::Andn => self.three(Kind::Andn),
            M::Pdep => self.three(Kind::Pdep),
            M::Pext => self.three(Kind::Pext),
            M::Bextr if !self.has_immediate() => self.three(Kind::Bextr),
            M::Bzhi => self.three(Kind::Bzhi),
            M::Shlx => self.shift_by_register([Op::ShlN32, Op::ShlN64]),
            M::Shrx => self.shift_by_register([Op::ShrN32, Op::ShrN64]),
            M::Sarx => self.shift_by_register([Op::SarN32, Op::SarN64]),
            M::Rorx => self.rorx(),
            M::Adcx => self.two(Kind::Adcx),
            M::Adox => self.two(Kind::Adox),
            M::Crc32 => {
                let log = log(self.size(1));
                let (d, y) = (self.value(0, R_T2), self.summand(1));
                self.push(uop(Op::AluF, d, d, y.0, Kind::Crc32.at(log), y.1));
            }
            M::Clc => self.flag(Kind::Clc),
            M::Stc => self.flag(Kind::Stc),
            M::Cmc => self.flag(Kind::Cmc),
            M::Lahf => self.flag(Kind::Lahf),
            M::Sahf => self.flag(Kind::Sahf),
            M::Cbw => self.extend(Op::Ext8, 1),
            M::Cwde => self.extend(Op::Ext16, 2),
            M::Cdqe => self.extend(Op::Ext32, 3),
            M::Cwd => self.sign(Op::Ext16, 1),
            M::Cdq => self.sign(Op::Ext32, 2),
            M::Cqo => self.sign(Op::Mov, 3),
            M::Xadd => self.exchange_and_add(),
            M::Cmpxchg => self.compare_and_exchange(),
            _ => return false,
        }
        true
    }

    fn has_immediate(&self) -> bool {
        matches!(
            self.operand(self.i.op_count().saturating_sub(1)),
            Operand::Imm(_)
        )
    }

    fn flag(&mut self, kind: Kind) {
        self.push(uop(Op::AluF, R_RAX, R_RAX, R_ZERO, kind.at(0), 0));
    }

    /// The first operand becomes itself KIND the second.
    fn two(&mut self, kind: Kind) {
        let log = log(self.size(0));
        match self.operand(0) {
            Operand::Memory => {
                let y = match self.operand(1) {
                    Operand::Imm(v) => (R_ZERO, v),
                    _ => (self.value(1, R_T3), 0),
                };
                self.modify(kind, log, y);
            }
            to => {
                let y = self.summand(1);
                self.change(kind, log, to, y);
            }
        }
    }

    /// The memory operand becomes itself KIND y, or y less itself for 0 - itself.
    fn modify(&mut self, kind: Kind, log: u8, y: (Reg, u64)) {
        let x = self.address(Use::Store);
        self.load_to_modify(R_T1, x, log);
        self.alu(kind, log, R_T1, R_T1, y);
        self.store(R_T1, x, log);
    }

    fn change(&mut self, kind: Kind, log: u8, to: Operand, y: (Reg, u64)) {
        match to {
            Operand::Reg(r) => self.alu(kind, log, r, r, y),
            Operand::High(r) => {
                self.high(R_T2, r);
                self.alu(kind, log, R_T2, R_T2, y);
                self.set(to, R_T2, 0);
            }
            _ => {}
        }
    }

    fn compare(&mut self, kind: Kind) {
        let log = log(self.size(0));
        let (a, y) = match self.operand(0) {
            Operand::Memory => {
                let a = self.value(0, R_T1);
                let y = match self.operand(1) {
                    Operand::Imm(v) => (R_ZERO, v),
                    _ => (self.value(1, R_T3), 0),
                };
                (a, y)
            }
            _ => (self.value(0, R_T2), self.summand(1)),
        };
        self.alu(kind, log, R_T1, a, y);
    }

    /// INC, DEC; NEG as 0 - x.
    fn update(&mut self, kind: Kind, y: (Reg, u64)) {
        let log = log(self.size(0));
        let negate = kind == Kind::Sub;
        let one = |e: &mut Self, r: Reg| {
            if negate {
                e.alu(kind, log, r, R_ZERO, (r, 0));
            } else {
                e.alu(kind, log, r, r, y);
            }
        };
        match self.operand(0) {
            Operand::Memory => {
                let x = self.address(Use::Store);
                self.load_to_modify(R_T1, x, log);
                one(self, R_T1);
                self.store(R_T1, x, log);
            }
            Operand::Reg(r) => one(self, r),
            to => {
                let Operand::High(r) = to else { return };
                self.high(R_T2, r);
                one(self, R_T2);
                self.set(to, R_T2, 0);
            }
        }
    }

    fn not(&mut self) {
        let log = log(self.size(0));
        match (self.operand(0), log) {
            (Operand::Memory, _) => {
                let x = self.address(Use::Store);
                self.load_to_modify(R_T1, x, log);
                self.imm(Op::XorI, R_T1, R_T1, u64::MAX);
                self.store(R_T1, x, log);
            }
            (Operand::High(r), _) => self.imm(Op::XorI, r, r, 0xff00),
            (Operand::Reg(r), 0) => self.imm(Op::XorI, r, r, 0xff),
            (Operand::Reg(r), 1) => self.imm(Op::XorI, r, r, 0xffff),
            (Operand::Reg(r), 2) => self.imm(Op::Xor32, r, r, u64::MAX),
            (Operand::Reg(r), _) => self.imm(Op::XorI, r, r, u64::MAX),
            _ => {}
        }
    }

    fn shift(&mut self, kind: Kind) {
        let log = log(self.size(0));
        let y = match self.operand(1) {
            Operand::Imm(n) => (R_ZERO, n & if log == 3 { 63 } else { 31 }),
            _ => (R_RCX, 0),
        };
        match self.operand(0) {
            Operand::Memory => self.modify(kind, log, y),
            to => self.change(kind, log, to, y),
        }
    }

    fn shift_double(&mut self, kind: Kind) {
        let log = log(self.size(0));
        let fill = self.value(1, R_T3);
        let (aux, count) = match self.operand(2) {
            Operand::Imm(n) => (kind.at(log), n),
            _ => (kind.at(log) | BY_CL, 0),
        };
        match self.operand(0) {
            Operand::Memory => {
                let x = self.address(Use::Store);
                self.load_to_modify(R_T1, x, log);
                self.push(uop(Op::AluF, R_T1, R_T1, fill, aux, count));
                self.store(R_T1, x, log);
            }
            _ => {
                let d = self.value(0, R_T2);
                self.push(uop(Op::AluF, d, d, fill, aux, count));
            }
        }
    }

    /// The accumulator is multiplied to twice its width.
    fn multiply_wide(&mut self, kind: Kind) {
        let log = log(self.size(0));
        let y = self.summand(0);
        self.push(uop(Op::AluF, R_RAX, R_RAX, y.0, kind.at(log), y.1));
    }

    fn multiply(&mut self) {
        let log = log(self.size(0));
        match self.i.op_count() {
            2 => {
                let (d, y) = (self.value(0, R_T2), self.summand(1));
                self.push(uop(Op::AluF, d, d, y.0, Kind::Imul.at(log), y.1));
            }
            3 => {
                let (d, a) = (self.value(0, R_T2), self.value(1, R_T1));
                let y = self.summand(2);
                self.push(uop(Op::AluF, d, a, y.0, Kind::Imul.at(log), y.1));
            }
            _ => self.multiply_wide(Kind::MulS),
        }
    }

    fn bit(&mut self, kind: Kind) {
        let log = log(self.size(0));
        let y = match self.operand(1) {
            Operand::Imm(n) => (R_ZERO, n),
            _ => (self.value(1, R_T3), 0),
        };
        if self.operand(0) != Operand::Memory {
            let d = self.value(0, R_T2);
            return self.alu(kind, log, d, d, y);
        }
        let how = if kind == Kind::Bt {
            Use::Load
        } else {
            Use::Store
        };
        let x = if y.0 == R_ZERO {
            self.address(how)
        } else {
            self.bit_string(y.0, log, how)
        };
        if kind == Kind::Bt {
            self.load(R_T1, x, log);
            self.alu(kind, log, R_T1, R_T1, y);
        } else {
            self.load_to_modify(R_T1, x, log);
            self.alu(kind, log, R_T1, R_T1, y);
            self.store(R_T1, x, log);
        }
    }

    /// The address of the word that has bit `index`, signed, of the bit string at the memory operand.
    fn bit_string(&mut self, index: Reg, log: u8, how: Use) -> super::operand::Address {
        let extend = match log {
            1 => Op::Ext16,
            2 => Op::Ext32,
            _ => Op::Mov,
        };
        self.op(extend, R_T2, index, R_ZERO);
        self.imm(Op::SarN64, R_T2, R_T2, u64::from(log) + 3);
        self.imm(Op::ShlN64, R_T2, R_T2, u64::from(log));
        let bits = self.address_bits();
        let x = self.offset(0);
        self.push(uop(Op::Lea, R_T0, x.a, x.b, 0, x.imm));
        let x = super::operand::Address {
            a: R_T0,
            b: R_T2,
            imm: 0,
        };
        let mut x = self.truncate(x, bits);
        let segment = self.i.memory_segment();
        if x.b != R_ZERO {
            self.op(Op::Add, R_T0, R_T0, R_T2);
            x.b = R_ZERO;
        }
        self.linear(x, segment, bits, 1 << log, how)
    }

    /// The first operand becomes KIND of the second.
    fn of_second(&mut self, kind: Kind) {
        let log = log(self.size(0));
        let (d, y) = (self.value(0, R_T2), self.summand(1));
        self.push(uop(Op::AluF, d, d, y.0, kind.at(log), y.1));
    }

    /// Of the three, the last two are the operands; memory may be either.
    fn three(&mut self, kind: Kind) {
        let log = log(self.size(0));
        let d = self.value(0, R_T2);
        let (a, y) = (self.value(1, R_T1), self.summand(2));
        self.push(uop(Op::AluF, d, a, y.0, kind.at(log), y.1));
    }

    fn shift_by_register(&mut self, ops: [Op; 2]) {
        let op = ops[usize::from(self.size(0) == 8)];
        let d = self.value(0, R_T2);
        let (a, b) = (self.value(1, R_T1), self.value(2, R_T3));
        self.op(op, d, a, b);
    }

    fn rorx(&mut self) {
        let d = self.value(0, R_T2);
        let a = self.value(1, R_T1);
        let n = match self.operand(2) {
            Operand::Imm(n) => n as u32,
            _ => 0,
        };
        if self.size(0) == 8 {
            let left = 0_u32.wrapping_sub(n) & 63;
            self.push(uop(Op::RotMask, d, a, R_ZERO, left, u64::MAX));
        } else {
            let left = 0_u32.wrapping_sub(n) & 31;
            self.push(uop(Op::RotMask32, d, a, R_ZERO, left, 0xffff_ffff));
        }
    }

    /// CBW, CWDE, CDQE.
    fn extend(&mut self, op: Op, log: u8) {
        if log == 3 {
            return self.op(op, R_RAX, R_RAX, R_ZERO);
        }
        self.op(op, R_T1, R_RAX, R_ZERO);
        self.set(Operand::Reg(R_RAX), R_T1, log);
    }

    /// CWD, CDQ, CQO.
    fn sign(&mut self, op: Op, log: u8) {
        self.op(op, R_T1, R_RAX, R_ZERO);
        self.imm(Op::SarN64, R_T1, R_T1, 63);
        self.set(Operand::Reg(R_RDX), R_T1, log);
    }

    fn exchange_and_add(&mut self) {
        let log = log(self.size(0));
        let from = self.operand(1);
        let y = self.value(1, R_T3);
        if self.operand(0) == Operand::Memory {
            let x = self.address(Use::Store);
            self.load_to_modify(R_T1, x, log);
            self.op(Op::Mov, R_T2, R_T1, R_ZERO);
            self.alu(Kind::Add, log, R_T2, R_T2, (y, 0));
            self.store(R_T2, x, log);
            return self.set(from, R_T1, log);
        }
        let old = self.value(0, R_T2);
        self.op(Op::Mov, R_T1, old, R_ZERO);
        self.op(Op::Mov, R_T2, R_T1, R_ZERO);
        self.alu(Kind::Add, log, R_T2, R_T2, (y, 0));
        self.set(from, R_T1, log);
        self.set(self.operand(0), R_T2, log);
    }

    fn compare_and_exchange(&mut self) {
        const E: u8 = 4;
        const NE: u8 = 5;
        let log = log(self.size(0));
        let new = self.value(1, R_T3);
        let memory = self.operand(0) == Operand::Memory;
        let x = memory.then(|| self.address(Use::Store));
        match x {
            Some(x) => self.load_to_modify(R_T1, x, log),
            None => {
                let old = self.value(0, R_T1);
                self.op(Op::Mov, R_T1, old, R_ZERO);
            }
        }
        self.alu(Kind::Cmp, log, R_T1, R_RAX, (R_T1, 0));
        self.op(Op::Mov, R_T2, R_T1, R_ZERO);
        self.op(Op::Cmov64, R_T2, E, new);
        if let Some(x) = x {
            self.store(R_T2, x, log);
        }
        // The accumulator first: it may be the destination, which then is equal.
        if log < 2 {
            self.op(Op::Mov, R_T0, R_RAX, R_ZERO);
            self.op(Op::Cmov64, R_T0, NE, R_T1);
            self.set(Operand::Reg(R_RAX), R_T0, log);
        } else {
            if log == 2 {
                self.imm(Op::AndI, R_T1, R_T1, 0xffff_ffff);
            }
            self.op(Op::Cmov64, R_RAX, NE, R_T1);
        }
        if x.is_none() {
            match self.operand(0) {
                // A destination that does not change keeps its upper half too.
                Operand::Reg(r) if log == 2 => {
                    self.imm(Op::AndI, R_T2, R_T2, 0xffff_ffff);
                    self.op(Op::Cmov64, r, E, R_T2);
                }
                to => self.set(to, R_T2, log),
            }
        }
    }
}
