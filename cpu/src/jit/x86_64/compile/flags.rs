//! Templates for operations with the flags of an x86 CPU.
//!
//! What the flags follow from (see [`crate::engine::flags`]) is stored as late as can be: at the end of the block, before a helper, in the
//! way of an access that the soft TLB does not have, or when a register that it is in changes. Host flags are the guest's right after an
//! operation, so that a branch that follows needs no comparison of its own.

use super::{Compiler, small};
use crate::engine::alu::{BY_CL, Kind};
use crate::engine::flags::Kind as Flags;
use crate::engine::uop::{
    Op, R_FLAG_CARRY, R_FLAG_OP, R_FLAG_OPERAND, R_FLAG_RESULT, R_ZERO, Reg, Uop,
};
use crate::jit::host::thunks::register;
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

/// Where a value is that is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A register of the flat file.
    Reg(Reg),
    /// A number.
    Imm(u64),
}

/// A value to be stored, in code out of the way: where it is when the way there is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Host(u8),
    File(Reg),
    Imm(u64),
}

/// Conditions for which the host's flags are the guest's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Valid {
    #[default]
    None,
    All,
    /// Those that do not need the overflow.
    NoOverflow,
    /// Those of ZF, SF and PF alone.
    Result,
    /// That of CF alone.
    Carry,
}

impl Valid {
    /// For a condition numbered as in Jcc.
    fn covers(self, condition: u8) -> bool {
        let kind = condition >> 1 & 7;
        match self {
            Valid::None => false,
            Valid::All => true,
            Valid::NoOverflow => matches!(kind, 1..=5),
            Valid::Result => matches!(kind, 2 | 4 | 5),
            Valid::Carry => kind == 1,
        }
    }
}

/// What is known of the flags at one point of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// Values that the file does not have yet, of [`R_FLAG_OP`], [`R_FLAG_RESULT`] and [`R_FLAG_OPERAND`].
    op: Option<u64>,
    result: Option<Source>,
    operand: Option<Source>,
    /// The value of [`R_FLAG_OP`], if it is known.
    known: Option<u64>,
    valid: Valid,
}

/// The second operand.
#[derive(Clone, Copy, Debug)]
enum Y {
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

/// A host shift by a number, of a size.
macro_rules! shift {
    ($c:expr, $op:ident, $log:expr, $d:expr, $n:expr) => {{
        let (d, n) = ($d, $n as i8);
        match $log {
            0 => x!($c ; $op Rb(d), BYTE n),
            1 => x!($c ; $op Rw(d), BYTE n),
            2 => x!($c ; $op Rd(d), BYTE n),
            _ => x!($c ; $op Rq(d), BYTE n),
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

    /// True if the host's flags are the guest's, for some conditions.
    pub(super) fn has_host_flags(&self) -> bool {
        self.flags.valid != Valid::None
    }

    /// The host's flags no longer are the guest's.
    pub(super) fn forget_host_flags(&mut self) {
        self.flags.valid = Valid::None;
    }

    /// A helper may have changed the flags.
    pub(super) fn forget_flags(&mut self) {
        self.flags = State::default();
    }

    /// `r` is about to change: what the flags need of it is stored.
    pub(super) fn settle_flags(&mut self, r: Reg) {
        if self.flags.result == Some(Source::Reg(r)) {
            self.flags.result = None;
            self.put_flag(R_FLAG_RESULT, Source::Reg(r));
        }
        if self.flags.operand == Some(Source::Reg(r)) {
            self.flags.operand = None;
            self.put_flag(R_FLAG_OPERAND, Source::Reg(r));
        }
    }

    /// Stores what the file does not have yet. Changes no flag; uses rdx.
    pub(super) fn write_flags_back(&mut self) {
        if let Some(op) = self.flags.op.take() {
            self.put_flag(R_FLAG_OP, Source::Imm(op));
        }
        if let Some(source) = self.flags.result.take() {
            self.put_flag(R_FLAG_RESULT, source);
        }
        if let Some(source) = self.flags.operand.take() {
            self.put_flag(R_FLAG_OPERAND, source);
        }
    }

    /// The same for code out of the way that begins at this point.
    pub(super) fn late_flags(&self) -> Vec<(Reg, Late)> {
        let late = |source| match source {
            Source::Imm(v) => Late::Imm(v),
            Source::Reg(r) => self.regs.peek(r).map_or(Late::File(r), Late::Host),
        };
        let f = &self.flags;
        let op = f.op.map(|op| (R_FLAG_OP, Late::Imm(op)));
        let result = f.result.map(|s| (R_FLAG_RESULT, late(s)));
        let operand = f.operand.map(|s| (R_FLAG_OPERAND, late(s)));
        [op, result, operand].into_iter().flatten().collect()
    }

    fn put_flag(&mut self, flag: Reg, source: Source) {
        let late = match source {
            Source::Imm(v) => Late::Imm(v),
            Source::Reg(r) => self.regs.peek(r).map_or(Late::File(r), Late::Host),
        };
        self.put_late(flag, late);
    }

    /// Stores a value to a register of the file that never is in a host register. Changes no flag; uses rdx.
    pub(super) fn put_late(&mut self, flag: Reg, late: Late) {
        match late {
            Late::Host(h) => self.store_register(h, flag),
            Late::File(r) => {
                x!(self ; mov rdx, [rbp + register(r)]);
                self.store_register(2, flag);
            }
            Late::Imm(v) => match (small(v), i8::try_from(register(flag))) {
                (Some(v), Ok(at)) => x!(self ; mov QWORD [BYTE rbp + at], DWORD v),
                (Some(v), Err(_)) => x!(self ; mov QWORD [rbp + register(flag)], DWORD v),
                (None, _) => {
                    x!(self ; mov rdx, QWORD v as i64);
                    self.store_register(2, flag);
                }
            },
        }
    }

    /// The flags are those of an operation whose result and operand are known; `None` of an operand: the file has it, or it stays.
    fn new_flags(&mut self, kind: Flags, log: u8, result: Option<Source>, operand: Option<Source>) {
        let op = kind.at(log);
        self.flags.op = Some(op);
        self.flags.known = Some(op);
        self.flags.result = result;
        if operand.is_some() {
            self.flags.operand = operand;
        }
    }

    /// What follows from the flags before is not needed any more, but for the operand if that stays.
    fn drop_old_flags(&mut self, operand_too: bool) {
        self.flags.op = None;
        self.flags.result = None;
        if operand_too {
            self.flags.operand = None;
        }
    }

    /// y = b + imm, for an operation of a size, and where the value is. Uses rcx.
    fn y(&mut self, log: u8, u: &Uop) -> (Y, Option<Source>) {
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
    fn operand_before(&mut self, operand: Option<Source>, y: Y, d: Option<Reg>) -> Option<Source> {
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
    fn begin(&mut self, u: &Uop, y: Y) -> (u8, Y) {
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
    fn arithmetic(&mut self, kind: Flags, log: u8, u: &Uop) {
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

    fn negate(&mut self, log: u8, u: &Uop) {
        let d = self.src(u.d);
        self.drop_old_flags(true);
        self.store_register(d, R_FLAG_OPERAND);
        self.dst(u.d);
        one!(self, neg, log, d);
        self.new_flags(Flags::Sub, log, Some(Source::Reg(u.d)), None);
        self.flags.valid = Valid::All;
    }

    fn logic(&mut self, kind: Kind, log: u8, u: &Uop) {
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
    fn host_cmp(&mut self, log: u8, d: u8, y: Y) {
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
    fn host_test(&mut self, log: u8, d: u8) {
        match log {
            0 => x!(self ; test Rb(d), Rb(d)),
            1 => x!(self ; test Rw(d), Rw(d)),
            2 => x!(self ; test Rd(d), Rd(d)),
            _ => x!(self ; test Rq(d), Rq(d)),
        }
    }

    fn compare_flags(&mut self, log: u8, u: &Uop) {
        let a = self.src(u.a);
        let (y, operand) = self.y(log, u);
        self.drop_old_flags(true);
        let operand = self.operand_before(operand, y, None);
        self.host_cmp(log, a, y);
        self.new_flags(Flags::Cmp, log, Some(Source::Reg(u.a)), operand);
        self.flags.valid = Valid::All;
    }

    fn test_flags(&mut self, log: u8, u: &Uop) {
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
    fn carry_in(&mut self) {
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

    fn with_carry(&mut self, kind: Kind, log: u8, u: &Uop) {
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
    fn count(&mut self, kind: Kind, log: u8, u: &Uop) {
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

    /// rax = a, as a value of a size: sign-extended or zero-extended.
    fn extended(&mut self, log: u8, a: u8, sign: bool) {
        match (log, sign) {
            (0, false) => x!(self ; movzx eax, Rb(a)),
            (1, false) => x!(self ; movzx eax, Rw(a)),
            (2, false) => x!(self ; mov eax, Rd(a)),
            (0, true) => x!(self ; movsx rax, Rb(a)),
            (1, true) => x!(self ; movsx rax, Rw(a)),
            (2, true) => x!(self ; movsxd rax, Rd(a)),
            _ => x!(self ; mov rax, Rq(a)),
        }
    }

    fn kind_of_shift(kind: Kind) -> Flags {
        if kind == Kind::Shl {
            Flags::Shl
        } else {
            Flags::Shr
        }
    }

    /// By a number.
    fn shift_flags(&mut self, kind: Kind, log: u8, u: &Uop) {
        let n = u.imm as u8 & if log == 3 { 63 } else { 31 };
        let a = self.src(u.a);
        if n == 0 {
            let d = self.dst(u.d);
            if log == 2 {
                x!(self ; mov Rd(d), Rd(a));
            } else {
                self.copy(d, a);
            }
            return self.forget_host_flags();
        }
        self.drop_old_flags(true);
        // The value before the last step.
        self.extended(log, a, kind == Kind::Sar);
        if n > 1 {
            match kind {
                Kind::Shl => shift!(self, shl, 3, 0, n - 1),
                Kind::Shr => shift!(self, shr, 3, 0, n - 1),
                _ => shift!(self, sar, 3, 0, n - 1),
            }
        }
        self.store_register(0, R_FLAG_OPERAND);
        let d = self.dst(u.d);
        self.copy(d, a);
        match kind {
            Kind::Shl => shift!(self, shl, log, d, n),
            Kind::Shr => shift!(self, shr, log, d, n),
            _ => shift!(self, sar, log, d, n),
        }
        self.new_flags(Self::kind_of_shift(kind), log, Some(Source::Reg(u.d)), None);
        // By more than the width the carry is the host's own; one step leaves the overflow too.
        self.flags.valid = match n {
            1 => Valid::All,
            n if n < 8 << log => Valid::NoOverflow,
            _ => Valid::Result,
        };
    }

    /// By the low bits of a register, of 32 or 64 bits: if they are 0, the flags stay.
    fn shift_by_register_flags(&mut self, kind: Kind, log: u8, u: &Uop) {
        self.write_flags_back();
        let (a, b) = (self.src(u.a), self.src(u.b));
        let d = self.dst(u.d);
        let none = self.ops.new_dynamic_label();
        x!(self ; mov ecx, Rd(b));
        if log == 2 {
            x!(self ; mov Rd(d), Rd(a));
        } else {
            self.copy(d, a);
        }
        if log == 3 {
            x!(self ; and ecx, BYTE 63);
        } else {
            x!(self ; and ecx, BYTE 31);
        }
        x!(self ; jz =>none);
        self.extended(log, d, kind == Kind::Sar);
        match (kind, log) {
            (Kind::Shl, 2) => x!(self ; shl Rd(d), cl),
            (Kind::Shl, _) => x!(self ; shl Rq(d), cl),
            (Kind::Shr, 2) => x!(self ; shr Rd(d), cl),
            (Kind::Shr, _) => x!(self ; shr Rq(d), cl),
            (_, 2) => x!(self ; sar Rd(d), cl),
            (_, _) => x!(self ; sar Rq(d), cl),
        }
        x!(self ; dec ecx);
        match kind {
            Kind::Shl => x!(self ; shl rax, cl),
            Kind::Shr => x!(self ; shr rax, cl),
            _ => x!(self ; sar rax, cl),
        }
        let op = Self::kind_of_shift(kind).at(log);
        self.put_late(R_FLAG_OP, Late::Imm(op));
        self.store_register(0, R_FLAG_OPERAND);
        self.store_register(d, R_FLAG_RESULT);
        x!(self ; =>none);
        self.forget_flags();
    }

    /// SHLD and SHRD by a number; false without a template.
    fn shift_double_flags(&mut self, kind: Kind, log: u8, u: &Uop) -> bool {
        let n = u.imm as u8 & if log == 3 { 63 } else { 31 };
        if n == 0 {
            return false;
        }
        let (a, fill) = (self.src(u.a), self.src(u.b));
        self.drop_old_flags(true);
        let d = self.dst(u.d);
        let fill = if fill == d && a != d {
            x!(self ; mov rcx, Rq(fill));
            1
        } else {
            fill
        };
        self.copy(d, a);
        for (to, n) in [(0, n - 1), (d, n)] {
            // rax is the value before the last step.
            if to == 0 {
                self.extended(log, d, false);
            }
            match (kind, log) {
                _ if n == 0 => {}
                (Kind::Shld, 2) => x!(self ; shld Rd(to), Rd(fill), BYTE n as i8),
                (Kind::Shld, _) => x!(self ; shld Rq(to), Rq(fill), BYTE n as i8),
                (_, 2) => x!(self ; shrd Rd(to), Rd(fill), BYTE n as i8),
                (_, _) => x!(self ; shrd Rq(to), Rq(fill), BYTE n as i8),
            }
            if to == 0 {
                self.store_register(0, R_FLAG_OPERAND);
            }
        }
        let flags = if kind == Kind::Shld {
            Flags::Shl
        } else {
            Flags::Shr
        };
        self.new_flags(flags, log, Some(Source::Reg(u.d)), None);
        self.flags.valid = if n == 1 {
            Valid::All
        } else {
            Valid::NoOverflow
        };
        true
    }

    fn multiply_flags(&mut self, log: u8, u: &Uop) {
        if u.a != R_ZERO {
            self.src(u.a);
        }
        let (y, _) = self.y(log, u);
        self.drop_old_flags(true);
        let y = match y {
            Y::Host(h) => h,
            Y::Imm(i) => {
                x!(self ; mov ecx, DWORD i);
                if log == 3 {
                    x!(self ; movsxd rcx, ecx);
                }
                1
            }
        };
        let (d, y) = self.begin(u, Y::Host(y));
        let Y::Host(y) = y else { return };
        match log {
            1 => x!(self ; imul Rw(d), Rw(y)),
            2 => x!(self ; imul Rd(d), Rd(y)),
            _ => x!(self ; imul Rq(d), Rq(y)),
        }
        x!(self ; seto al ; movzx eax, al);
        self.store_register(0, R_FLAG_OPERAND);
        self.new_flags(Flags::Mul, log, Some(Source::Reg(u.d)), None);
        self.forget_host_flags();
    }

    /// The flags become those of EFLAGS in eax.
    fn set_eflags(&mut self) {
        self.store_register(0, R_FLAG_OPERAND);
        self.forget_flags();
        self.flags.op = Some(Flags::Eflags.at(0));
        self.flags.known = self.flags.op;
    }

    /// eax = the arithmetic flags, as in EFLAGS.
    fn eflags(&mut self) {
        self.write_flags_back();
        x!(self ; call extern self.thunks.arithmetic);
    }

    fn bit(&mut self, kind: Kind, log: u8, u: &Uop) {
        self.eflags();
        let a = self.src(u.a);
        let (y, _) = self.y(log, u);
        x!(self ; and eax, BYTE -2);
        // Modulo the width, as of a register on the host.
        match (log, y) {
            (1, Y::Host(y)) => x!(self ; bt Rw(a), Rw(y)),
            (2, Y::Host(y)) => x!(self ; bt Rd(a), Rd(y)),
            (_, Y::Host(y)) => x!(self ; bt Rq(a), Rq(y)),
            (1, Y::Imm(n)) => x!(self ; bt Rw(a), BYTE n as i8),
            (2, Y::Imm(n)) => x!(self ; bt Rd(a), BYTE n as i8),
            (_, Y::Imm(n)) => x!(self ; bt Rq(a), BYTE n as i8),
        }
        x!(self ; adc eax, BYTE 0);
        self.set_eflags();
        macro_rules! change {
            ($op:ident) => {{
                let y = match y {
                    // What y was may be d.
                    Y::Host(h) => {
                        x!(self ; mov ecx, Rd(h));
                        Y::Host(1)
                    }
                    y => y,
                };
                let d = self.dst(u.d);
                self.copy(d, a);
                match (log, y) {
                    (1, Y::Host(y)) => x!(self ; $op Rw(d), Rw(y)),
                    (2, Y::Host(y)) => x!(self ; $op Rd(d), Rd(y)),
                    (_, Y::Host(y)) => x!(self ; $op Rq(d), Rq(y)),
                    (1, Y::Imm(n)) => x!(self ; $op Rw(d), BYTE n as i8),
                    (2, Y::Imm(n)) => x!(self ; $op Rd(d), BYTE n as i8),
                    (_, Y::Imm(n)) => x!(self ; $op Rq(d), BYTE n as i8),
                }
            }};
        }
        match kind {
            Kind::Bts => change!(bts),
            Kind::Btr => change!(btr),
            Kind::Btc => change!(btc),
            // Again, for a branch that follows.
            _ => x!(self ; bt eax, BYTE 0),
        }
        self.flags.valid = Valid::Carry;
    }

    /// BSF and BSR: without a bit, d keeps its value.
    fn scan(&mut self, kind: Kind, log: u8, u: &Uop) {
        self.drop_old_flags(false);
        let (y, _) = self.y(log, u);
        match y {
            Y::Host(y) if log == 2 => x!(self ; mov ecx, Rd(y)),
            Y::Host(y) => x!(self ; mov rcx, Rq(y)),
            Y::Imm(i) => x!(self ; mov rcx, DWORD i),
        }
        self.store_register(1, R_FLAG_RESULT);
        self.src(u.d);
        let d = self.dst(u.d);
        match kind {
            Kind::Bsf => x!(self ; bsf rax, rcx),
            _ => x!(self ; bsr rax, rcx),
        }
        x!(self ; cmovnz Rq(d), rax);
        self.new_flags(Flags::Logic, log, None, None);
        self.forget_host_flags();
    }

    fn bswap(&mut self, log: u8, u: &Uop) {
        let a = self.src(u.a);
        let d = self.dst(u.d);
        self.copy(d, a);
        if log == 2 {
            x!(self ; bswap Rd(d));
        } else {
            x!(self ; bswap Rq(d));
        }
    }

    /// ROL and ROR by a number: carry and overflow change.
    fn rotate(&mut self, kind: Kind, log: u8, u: &Uop) {
        let n = u.imm as u8 & if log == 3 { 63 } else { 31 };
        if n != 0 {
            self.eflags();
        }
        let a = self.src(u.a);
        let d = self.dst(u.d);
        if log == 2 {
            x!(self ; mov Rd(d), Rd(a));
        } else {
            self.copy(d, a);
        }
        if n == 0 {
            return self.forget_host_flags();
        }
        match (kind, log) {
            (Kind::Rol, 2) => x!(self ; rol Rd(d), BYTE n as i8),
            (Kind::Rol, _) => x!(self ; rol Rq(d), BYTE n as i8),
            (_, 2) => x!(self ; ror Rd(d), BYTE n as i8),
            (_, _) => x!(self ; ror Rq(d), BYTE n as i8),
        }
        // Of a rotation to the left the carry is bit 0, else the highest; the overflow differs from it in the highest, or the one below.
        let top = if log == 2 { 31 } else { 63 };
        let (carry, other) = if kind == Kind::Rol {
            (0, top)
        } else {
            (top, top - 1)
        };
        x!(self
            ; and eax, DWORD !0x801
            ; mov rcx, Rq(d)
            ; mov rdx, Rq(d)
            ; shr rcx, BYTE carry as i8
            ; shr rdx, BYTE other as i8
            ; and ecx, BYTE 1
            ; and edx, BYTE 1
            ; or eax, ecx
            ; xor edx, ecx
            ; shl edx, BYTE 11
            ; or eax, edx
        );
        self.set_eflags();
    }

    /// CLC, STC and CMC.
    fn change_carry(&mut self, kind: Kind) {
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

    /// Makes the host's flags right for a condition; false if they cannot be.
    fn host_flags_for(&mut self, condition: u8) -> bool {
        if self.flags.valid.covers(condition) {
            return true;
        }
        let Some(op) = self.flags.known else {
            return false;
        };
        let log = (op & 3) as u8;
        let result = self.flags.result;
        let is = |kind: Flags| op >> 2 == kind as u64;
        if is(Flags::Cmp) {
            self.load_flag(0, R_FLAG_RESULT, result);
            self.load_flag(1, R_FLAG_OPERAND, self.flags.operand);
            self.host_cmp(log, 0, Y::Host(1));
            self.flags.valid = Valid::All;
        } else if is(Flags::Eflags) {
            return false;
        } else {
            self.load_flag(0, R_FLAG_RESULT, result);
            self.host_test(log, 0);
            self.flags.valid = if is(Flags::Logic) {
                Valid::All
            } else {
                Valid::Result
            };
        }
        self.flags.valid.covers(condition)
    }

    fn load_flag(&mut self, host: u8, flag: Reg, source: Option<Source>) {
        match source {
            None => x!(self ; mov Rq(host), [rbp + register(flag)]),
            Some(Source::Imm(v)) => self.set(host, v),
            Some(Source::Reg(r)) => match self.regs.peek(r) {
                Some(h) => x!(self ; mov Rq(host), Rq(h)),
                None => x!(self ; mov Rq(host), [rbp + register(r)]),
            },
        }
    }

    /// Makes a condition one of the host's: its number.
    pub(super) fn host_condition(&mut self, condition: u8) -> u8 {
        if self.host_flags_for(condition) {
            return condition & 15;
        }
        self.write_flags_back();
        x!(self
            ; mov ecx, i32::from(condition & 15)
            ; call extern self.thunks.condition
            ; test eax, eax
        );
        self.forget_host_flags();
        // Not zero.
        5
    }
}
