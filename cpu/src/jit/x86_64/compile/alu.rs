//! Templates for operations of an x86 CPU that set flags: arithmetic and logic.

use super::flags::{Source, Valid};
use super::{Compiler, small};
use crate::engine::alu::{BY_CL, Kind};
use crate::engine::flags::Kind as Flags;
use crate::engine::uop::{Op, R_FLAG_CARRY, R_FLAG_OPERAND, R_FLAG_RESULT, R_ZERO, Reg, Uop};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

/// The second operand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Y {
    Host(u8),
    Imm(i32),
}

/// A host instruction with two operands, of a size.
macro_rules! two {
    ($c:expr, $op:ident, $log:expr, $d:expr, $y:expr) => {{
        let d = $d;
        match ($log, $y) {
            (0, Y::Host(y)) => x!($c ; $op Rb(d), Rb(y)),
            (1, Y::Host(y)) => x!($c ; $op Rw(d), Rw(y)),
            (2, Y::Host(y)) => x!($c ; $op Rd(d), Rd(y)),
            (_, Y::Host(y)) => x!($c ; $op Rq(d), Rq(y)),
            (0, Y::Imm(i)) => x!($c ; $op Rb(d), BYTE i as i8),
            (1, Y::Imm(i)) => x!($c ; $op Rw(d), WORD i as i16),
            (2, Y::Imm(i)) => match i8::try_from(i) {
                Ok(i) => x!($c ; $op Rd(d), BYTE i),
                Err(_) => x!($c ; $op Rd(d), DWORD i),
            },
            (_, Y::Imm(i)) => match i8::try_from(i) {
                Ok(i) => x!($c ; $op Rq(d), BYTE i),
                Err(_) => x!($c ; $op Rq(d), DWORD i),
            },
        }
    }};
}

/// A host instruction with one operand, of a size.
macro_rules! one {
    ($c:expr, $op:ident, $log:expr, $d:expr) => {{
        let d = $d;
        match $log {
            0 => x!($c ; $op Rb(d)),
            1 => x!($c ; $op Rw(d)),
            2 => x!($c ; $op Rd(d)),
            _ => x!($c ; $op Rq(d)),
        }
    }};
}

impl Compiler<'_> {
    /// A micro-operation of this file; false if it is another one, or has no template.
    pub(super) fn flag_uop(&mut self, u: &Uop) -> bool {
        let (kind, log) = match u.op {
            Op::AddF64 => (Kind::Add, 3),
            Op::SubF64 => (Kind::Sub, 3),
            Op::AndF64 => (Kind::And, 3),
            Op::OrF64 => (Kind::Or, 3),
            Op::XorF64 => (Kind::Xor, 3),
            Op::CmpF64 => (Kind::Cmp, 3),
            Op::TestF64 => (Kind::Test, 3),
            Op::AddF32 => (Kind::Add, 2),
            Op::SubF32 => (Kind::Sub, 2),
            Op::AndF32 => (Kind::And, 2),
            Op::OrF32 => (Kind::Or, 2),
            Op::XorF32 => (Kind::Xor, 2),
            Op::CmpF32 => (Kind::Cmp, 2),
            Op::TestF32 => (Kind::Test, 2),
            Op::AluF => Kind::of(u.aux),
            _ => return false,
        };
        // A result of 8 or 16 bits replaces a part of what is there.
        let negates = kind == Kind::Sub && u.a == R_ZERO && u.b == u.d && u.imm == 0;
        if log < 2 && u.d != u.a && !negates && !matches!(kind, Kind::Cmp | Kind::Test) {
            return false;
        }
        match kind {
            Kind::Sub if negates => self.negate(log, u),
            Kind::Add => self.arithmetic(Flags::Add, log, u),
            Kind::Sub => self.arithmetic(Flags::Sub, log, u),
            Kind::And | Kind::Or | Kind::Xor => self.logic(kind, log, u),
            Kind::Cmp => self.compare_flags(log, u),
            Kind::Test => self.test_flags(log, u),
            Kind::Adc | Kind::Sbb => self.with_carry(kind, log, u),
            Kind::Inc | Kind::Dec => self.count(kind, log, u),
            Kind::Shl | Kind::Shr | Kind::Sar if u.b == R_ZERO => self.shift_flags(kind, log, u),
            Kind::Shl | Kind::Shr | Kind::Sar if u.imm == 0 && log >= 2 => {
                self.shift_by_register_flags(kind, log, u);
            }
            Kind::Shld | Kind::Shrd if u.aux & BY_CL == 0 && log >= 2 => {
                return self.shift_double_flags(kind, log, u);
            }
            Kind::MulU | Kind::MulS if log >= 2 && u.b != R_ZERO => {
                self.multiply_wide(kind, log, u);
            }
            Kind::Imul if log >= 1 => self.multiply_flags(log, u),
            Kind::Bt | Kind::Bts | Kind::Btr | Kind::Btc if log >= 1 => self.bit(kind, log, u),
            Kind::Bsf | Kind::Bsr if log >= 2 => self.scan(kind, log, u),
            Kind::Bswap if log >= 2 => self.bswap(log, u),
            Kind::Rol | Kind::Ror if u.b == R_ZERO && log >= 2 => self.rotate(kind, log, u),
            Kind::Clc | Kind::Stc | Kind::Cmc => self.change_carry(kind),
            _ => return false,
        }
        true
    }

    /// y = b + imm, for an operation of a size, and where the value is. Uses rcx.
    pub(super) fn y(&mut self, log: u8, u: &Uop) -> (Y, Option<Source>) {
        if u.b == R_ZERO {
            let imm = if log < 3 {
                Some(u.imm as i32)
            } else {
                small(u.imm)
            };
            return match imm {
                Some(i) => (Y::Imm(i), Some(Source::Imm(u.imm))),
                None => {
                    x!(self ; mov rcx, QWORD u.imm as i64);
                    (Y::Host(1), Some(Source::Imm(u.imm)))
                }
            };
        }
        let b = self.src(u.b);
        if u.imm == 0 {
            return (Y::Host(b), Some(Source::Reg(u.b)));
        }
        self.set(1, u.imm);
        x!(self ; add rcx, Rq(b));
        (Y::Host(1), None)
    }

    /// Stores an operand that changes with `d`, or that is in rcx alone; what remains to be stored later.
    pub(super) fn operand_before(
        &mut self,
        operand: Option<Source>,
        y: Y,
        d: Option<Reg>,
    ) -> Option<Source> {
        match (operand, y) {
            (None, Y::Host(h)) => {
                self.store_register(h, R_FLAG_OPERAND);
                None
            }
            (Some(Source::Reg(r)), Y::Host(h)) if Some(r) == d => {
                self.store_register(h, R_FLAG_OPERAND);
                None
            }
            (operand, _) => operand,
        }
    }

    /// d's host register has the value of a, unless that is one of `y`, which moves away then. Changes no flag that matters.
    pub(super) fn begin(&mut self, u: &Uop, y: Y) -> (u8, Y) {
        let a = (u.a != R_ZERO).then(|| self.src(u.a));
        let d = self.dst(u.d);
        let y = match y {
            Y::Host(h) if h == d && a != Some(d) => {
                x!(self ; mov rcx, Rq(h));
                Y::Host(1)
            }
            y => y,
        };
        match a {
            Some(a) => self.copy(d, a),
            None => x!(self ; xor Rd(d), Rd(d)),
        }
        (d, y)
    }

    /// ADD and SUB.
    pub(super) fn arithmetic(&mut self, kind: Flags, log: u8, u: &Uop) {
        if u.a != R_ZERO {
            self.src(u.a);
        }
        let (y, operand) = self.y(log, u);
        self.drop_old_flags(true);
        let operand = self.operand_before(operand, y, Some(u.d));
        let (d, y) = self.begin(u, y);
        if kind == Flags::Add {
            two!(self, add, log, d, y);
        } else {
            two!(self, sub, log, d, y);
        }
        self.new_flags(kind, log, Some(Source::Reg(u.d)), operand);
        self.flags.valid = Valid::All;
    }

    pub(super) fn negate(&mut self, log: u8, u: &Uop) {
        let d = self.src(u.d);
        self.drop_old_flags(true);
        self.store_register(d, R_FLAG_OPERAND);
        self.dst(u.d);
        one!(self, neg, log, d);
        self.new_flags(Flags::Sub, log, Some(Source::Reg(u.d)), None);
        self.flags.valid = Valid::All;
    }

    pub(super) fn logic(&mut self, kind: Kind, log: u8, u: &Uop) {
        self.drop_old_flags(false);
        if kind == Kind::Xor && u.a == u.b && u.imm == 0 && log >= 2 {
            let d = self.dst(u.d);
            x!(self ; xor Rd(d), Rd(d));
        } else {
            if u.a != R_ZERO {
                self.src(u.a);
            }
            let (y, _) = self.y(log, u);
            let (d, y) = self.begin(u, y);
            match kind {
                Kind::And => two!(self, and, log, d, y),
                Kind::Or => two!(self, or, log, d, y),
                _ => two!(self, xor, log, d, y),
            }
        }
        self.new_flags(Flags::Logic, log, Some(Source::Reg(u.d)), None);
        self.flags.valid = Valid::All;
    }

    /// Host flags of d - y.
    pub(super) fn host_cmp(&mut self, log: u8, d: u8, y: Y) {
        match (log, y) {
            (0, Y::Host(y)) => x!(self ; cmp Rb(d), Rb(y)),
            (1, Y::Host(y)) => x!(self ; cmp Rw(d), Rw(y)),
            (2, Y::Host(y)) => x!(self ; cmp Rd(d), Rd(y)),
            (_, Y::Host(y)) => x!(self ; cmp Rq(d), Rq(y)),
            (0, Y::Imm(i)) => x!(self ; cmp Rb(d), BYTE i as i8),
            (1, Y::Imm(i)) => x!(self ; cmp Rw(d), WORD i as i16),
            (_, Y::Imm(i)) => match i8::try_from(i) {
                // The form with one byte, which the assembler does not take.
                Ok(i) => {
                    let rex = if log == 2 { 0x40 } else { 0x48 };
                    let bytes = [rex | d >> 3, 0x83, 0xf8 | d & 7, i as u8];
                    self.ops.extend(&bytes);
                }
                Err(_) if log == 2 => x!(self ; cmp Rd(d), DWORD i),
                Err(_) => x!(self ; cmp Rq(d), DWORD i),
            },
        }
    }

    /// Host flags of a value.
    pub(super) fn host_test(&mut self, log: u8, d: u8) {
        match log {
            0 => x!(self ; test Rb(d), Rb(d)),
            1 => x!(self ; test Rw(d), Rw(d)),
            2 => x!(self ; test Rd(d), Rd(d)),
            _ => x!(self ; test Rq(d), Rq(d)),
        }
    }

    pub(super) fn compare_flags(&mut self, log: u8, u: &Uop) {
        let a = self.src(u.a);
        let (y, operand) = self.y(log, u);
        self.drop_old_flags(true);
        let operand = self.operand_before(operand, y, None);
        self.host_cmp(log, a, y);
        self.new_flags(Flags::Cmp, log, Some(Source::Reg(u.a)), operand);
        self.flags.valid = Valid::All;
    }

    pub(super) fn test_flags(&mut self, log: u8, u: &Uop) {
        let a = self.src(u.a);
        self.drop_old_flags(false);
        let result = if u.a == u.b && u.imm == 0 {
            self.host_test(log, a);
            Some(Source::Reg(u.a))
        } else {
            let (y, _) = self.y(log, u);
            // All of a & y, and then the flags.
            x!(self ; mov rax, Rq(a));
            match y {
                Y::Host(y) => x!(self ; and rax, Rq(y)),
                Y::Imm(_) => match small(u.imm) {
                    Some(i) => x!(self ; and rax, DWORD i),
                    None => x!(self ; mov rdx, QWORD u.imm as i64 ; and rax, rdx),
                },
            }
            self.store_register(0, R_FLAG_RESULT);
            if log < 3 {
                self.host_test(log, 0);
            }
            None
        };
        self.new_flags(Flags::Logic, log, result, None);
        self.flags.valid = Valid::All;
    }

    /// ecx = carry, 0 or 1, which is also stored.
    pub(super) fn carry_in(&mut self) {
        if self.flags.valid.covers(2) {
            x!(self ; setc cl ; movzx ecx, cl);
        } else if self.flags.known.map(|op| op >> 2) == Some(Flags::Logic as u64) {
            x!(self ; xor ecx, ecx);
        } else {
            self.write_flags_back();
            x!(self ; call extern self.thunks.carry ; mov ecx, eax);
        }
        self.store_register(1, R_FLAG_CARRY);
    }

    pub(super) fn with_carry(&mut self, kind: Kind, log: u8, u: &Uop) {
        self.carry_in();
        // The carry is kept where operands do not need a register.
        x!(self ; mov eax, ecx);
        if u.a != R_ZERO {
            self.src(u.a);
        }
        let (y, operand) = self.y(log, u);
        self.drop_old_flags(true);
        let operand = self.operand_before(operand, y, Some(u.d));
        let (d, y) = self.begin(u, y);
        x!(self ; add eax, -1);
        let flags = if kind == Kind::Adc {
            two!(self, adc, log, d, y);
            Flags::Adc
        } else {
            two!(self, sbb, log, d, y);
            Flags::Sbb
        };
        self.new_flags(flags, log, Some(Source::Reg(u.d)), operand);
        self.flags.valid = Valid::All;
    }

    /// INC and DEC.
    pub(super) fn count(&mut self, kind: Kind, log: u8, u: &Uop) {
        self.carry_in();
        self.drop_old_flags(false);
        let a = self.src(u.a);
        let d = self.dst(u.d);
        self.copy(d, a);
        x!(self ; add ecx, -1);
        let flags = if kind == Kind::Inc {
            one!(self, inc, log, d);
            Flags::Inc
        } else {
            one!(self, dec, log, d);
            Flags::Dec
        };
        self.new_flags(flags, log, Some(Source::Reg(u.d)), None);
        self.flags.valid = Valid::All;
    }

    /// CLC, STC and CMC.
    pub(super) fn change_carry(&mut self, kind: Kind) {
        self.eflags();
        match kind {
            Kind::Clc => x!(self ; and eax, BYTE -2),
            Kind::Stc => x!(self ; or eax, BYTE 1),
            _ => x!(self ; xor eax, BYTE 1),
        }
        self.set_eflags();
        x!(self ; bt eax, BYTE 0);
        self.flags.valid = Valid::Carry;
    }
}
