//! Templates for operations of an x86 CPU that set flags: shifts, rotates, multiplication and single bits.

use super::Compiler;
use super::alu::Y;
use super::flags::Valid;
use super::flags::{Late, Source};
use crate::engine::alu::Kind;
use crate::engine::flags::Kind as Flags;
use crate::engine::uop::{R_FLAG_OP, R_FLAG_OPERAND, R_FLAG_RESULT, R_ZERO, Uop};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

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
    /// rax = a, as a value of a size: sign-extended or zero-extended.
    pub(super) fn extended(&mut self, log: u8, a: u8, sign: bool) {
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

    pub(super) fn kind_of_shift(kind: Kind) -> Flags {
        if kind == Kind::Shl {
            Flags::Shl
        } else {
            Flags::Shr
        }
    }

    /// By a number.
    pub(super) fn shift_flags(&mut self, kind: Kind, log: u8, u: &Uop) {
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
    pub(super) fn shift_by_register_flags(&mut self, kind: Kind, log: u8, u: &Uop) {
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
    pub(super) fn shift_double_flags(&mut self, kind: Kind, log: u8, u: &Uop) -> bool {
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

    pub(super) fn multiply_flags(&mut self, log: u8, u: &Uop) {
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

    /// MUL, and IMUL with one operand.
    pub(super) fn multiply_wide(&mut self, kind: Kind, log: u8, u: &Uop) {
        let a = self.src(u.a);
        let (y, _) = self.y(log, u);
        self.drop_old_flags(true);
        let Y::Host(y) = y else { return };
        x!(self ; mov rax, Rq(a));
        match (kind, log) {
            (Kind::MulU, 2) => x!(self ; mul Rd(y)),
            (Kind::MulU, _) => x!(self ; mul Rq(y)),
            (_, 2) => x!(self ; imul Rd(y)),
            _ => x!(self ; imul Rq(y)),
        }
        x!(self ; setc cl ; movzx ecx, cl);
        self.store_register(1, R_FLAG_OPERAND);
        self.store_register(0, R_FLAG_RESULT);
        let low = self.dst(0);
        x!(self ; mov Rq(low), rax);
        let high = self.dst(2);
        x!(self ; mov Rq(high), rdx);
        self.new_flags(Flags::Mul, log, None, None);
        self.forget_host_flags();
    }

    pub(super) fn bit(&mut self, kind: Kind, log: u8, u: &Uop) {
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
    pub(super) fn scan(&mut self, kind: Kind, log: u8, u: &Uop) {
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

    pub(super) fn bswap(&mut self, log: u8, u: &Uop) {
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
    pub(super) fn rotate(&mut self, kind: Kind, log: u8, u: &Uop) {
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
}
