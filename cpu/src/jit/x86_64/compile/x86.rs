//! Templates for the other operations of an x86 CPU: conditions, and arithmetic without flags.

use super::{Compiler, small};
use crate::engine::uop::{Op, R_ZERO, Uop};
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};

/// A host instruction with a 32-bit destination, and a register or number.
macro_rules! narrow {
    ($c:expr, $op:ident, $d:expr, $y:expr) => {{
        let d = $d;
        match $y {
            Ok(y) => x!($c ; $op Rd(d), Rd(y)),
            Err(i) => match i8::try_from(i) {
                Ok(i) => x!($c ; $op Rd(d), BYTE i),
                Err(_) => x!($c ; $op Rd(d), DWORD i),
            },
        }
    }};
}

impl Compiler<'_> {
    /// A micro-operation of this file; false if it is another one.
    pub(super) fn x86_uop(&mut self, u: &Uop) -> bool {
        match u.op {
            Op::Lea => self.lea(u),
            Op::Add32 | Op::Sub32 | Op::And32 | Op::Or32 | Op::Xor32 => self.narrow(u),
            Op::ShlN32 | Op::ShrN32 | Op::SarN32 | Op::ShlN64 | Op::ShrN64 | Op::SarN64 => {
                self.shift_modulo(u);
            }
            Op::SetCc => self.set_condition(u),
            Op::Cmov64 | Op::Cmov32 | Op::Cmov16 => self.move_if(u),
            Op::Jcc | Op::JccReg => self.branch_on_flags(u),
            _ => return false,
        }
        true
    }

    /// Changes no flag.
    fn lea(&mut self, u: &Uop) {
        let (Some(imm), true) = (small(u.imm), u.b != R_ZERO) else {
            return self.sum(u);
        };
        let b = self.src(u.b);
        if u.a == R_ZERO {
            let d = self.dst(u.d);
            return match u.aux & 3 {
                0 => x!(self ; lea Rq(d), [Rq(b) + imm]),
                1 => x!(self ; lea Rq(d), [NOSPLIT Rq(b) * 2 + imm]),
                2 => x!(self ; lea Rq(d), [Rq(b) * 4 + imm]),
                _ => x!(self ; lea Rq(d), [Rq(b) * 8 + imm]),
            };
        }
        let a = self.src(u.a);
        let d = self.dst(u.d);
        match (u.aux & 3, imm) {
            (0, 0) => x!(self ; lea Rq(d), [Rq(a) + Rq(b)]),
            (1, 0) => x!(self ; lea Rq(d), [Rq(a) + Rq(b) * 2]),
            (2, 0) => x!(self ; lea Rq(d), [Rq(a) + Rq(b) * 4]),
            (3, 0) => x!(self ; lea Rq(d), [Rq(a) + Rq(b) * 8]),
            (0, _) => x!(self ; lea Rq(d), [Rq(a) + Rq(b) + imm]),
            (1, _) => x!(self ; lea Rq(d), [Rq(a) + Rq(b) * 2 + imm]),
            (2, _) => x!(self ; lea Rq(d), [Rq(a) + Rq(b) * 4 + imm]),
            _ => x!(self ; lea Rq(d), [Rq(a) + Rq(b) * 8 + imm]),
        }
    }

    /// The same for numbers of 64 bits, or without an index.
    fn sum(&mut self, u: &Uop) {
        match (small(u.imm), u.a) {
            (Some(imm), a) if a != R_ZERO => {
                let a = self.src(a);
                let d = self.dst(u.d);
                if imm == 0 {
                    self.copy(d, a);
                } else {
                    x!(self ; lea Rq(d), [Rq(a) + imm]);
                }
            }
            _ => {
                x!(self ; mov rax, QWORD u.imm as i64);
                if u.b != R_ZERO {
                    let b = self.src(u.b);
                    match u.aux & 3 {
                        0 => x!(self ; lea rax, [rax + Rq(b)]),
                        1 => x!(self ; lea rax, [rax + Rq(b) * 2]),
                        2 => x!(self ; lea rax, [rax + Rq(b) * 4]),
                        _ => x!(self ; lea rax, [rax + Rq(b) * 8]),
                    }
                }
                if u.a != R_ZERO {
                    let a = self.src(u.a);
                    x!(self ; lea rax, [rax + Rq(a)]);
                }
                self.result(u.d);
            }
        }
    }

    /// Of 32 bits, without flags.
    fn narrow(&mut self, u: &Uop) {
        if u.op == Op::Xor32 && u.a == u.b && u.imm == 0 {
            let d = self.dst(u.d);
            return x!(self ; xor Rd(d), Rd(d));
        }
        let a = self.src(u.a);
        let y = if u.b == R_ZERO {
            Err(u.imm as i32)
        } else {
            let b = self.src(u.b);
            if u.imm != 0 {
                self.set(1, u.imm);
                x!(self ; add rcx, Rq(b));
                Ok(1)
            } else {
                Ok(b)
            }
        };
        let d = self.dst(u.d);
        let y = match y {
            Ok(h) if h == d && a != d => {
                x!(self ; mov ecx, Rd(h));
                Ok(1)
            }
            y => y,
        };
        if a != d {
            x!(self ; mov Rd(d), Rd(a));
        }
        match u.op {
            Op::Add32 => narrow!(self, add, d, y),
            Op::Sub32 => narrow!(self, sub, d, y),
            Op::And32 => narrow!(self, and, d, y),
            Op::Or32 => narrow!(self, or, d, y),
            _ => narrow!(self, xor, d, y),
        }
    }

    /// Shifts whose count is modulo the width, as the host's is.
    fn shift_modulo(&mut self, u: &Uop) {
        let wide = matches!(u.op, Op::ShlN64 | Op::ShrN64 | Op::SarN64);
        let a = self.src(u.a);
        let by_number = u.b == R_ZERO;
        if !by_number {
            let b = self.src(u.b);
            x!(self ; mov ecx, Rd(b));
            if u.imm != 0 {
                x!(self ; add ecx, DWORD u.imm as i32);
            }
        }
        let d = self.dst(u.d);
        if wide {
            self.copy(d, a);
        } else if a != d || by_number && u.imm & 31 == 0 {
            x!(self ; mov Rd(d), Rd(a));
        }
        let n = u.imm as u8 as i8;
        match (u.op, by_number) {
            (Op::ShlN32, true) => x!(self ; shl Rd(d), BYTE n & 31),
            (Op::ShrN32, true) => x!(self ; shr Rd(d), BYTE n & 31),
            (Op::SarN32, true) => x!(self ; sar Rd(d), BYTE n & 31),
            (Op::ShlN64, true) => x!(self ; shl Rq(d), BYTE n & 63),
            (Op::ShrN64, true) => x!(self ; shr Rq(d), BYTE n & 63),
            (_, true) => x!(self ; sar Rq(d), BYTE n & 63),
            (Op::ShlN32, _) => x!(self ; shl Rd(d), cl),
            (Op::ShrN32, _) => x!(self ; shr Rd(d), cl),
            (Op::SarN32, _) => x!(self ; sar Rd(d), cl),
            (Op::ShlN64, _) => x!(self ; shl Rq(d), cl),
            (Op::ShrN64, _) => x!(self ; shr Rq(d), cl),
            _ => x!(self ; sar Rq(d), cl),
        }
    }

    fn set_condition(&mut self, u: &Uop) {
        let condition = self.host_condition(u.a);
        self.src(u.d);
        let d = self.dst(u.d);
        // setcc: a REX prefix makes every register's low byte reachable.
        self.ops
            .extend(&[0x40 | d >> 3, 0x0f, 0x90 | condition, 0xc0 | d & 7]);
    }

    /// cmovcc, which clears the upper half for 32 bits whether it moves or not, as the guest's does.
    fn move_if(&mut self, u: &Uop) {
        let condition = self.host_condition(u.a);
        let b = self.src(u.b);
        self.src(u.d);
        let d = self.dst(u.d);
        let rex = 0x40 | (d >> 3) << 2 | b >> 3;
        match u.op {
            Op::Cmov64 => self.ops.push(rex | 8),
            Op::Cmov32 => self.ops.push(rex),
            _ => self.ops.extend(&[0x66, rex]),
        }
        self.ops
            .extend(&[0x0f, 0x40 | condition, 0xc0 | (d & 7) << 3 | b & 7]);
    }

    fn branch_on_flags(&mut self, u: &Uop) {
        let target = (u.op == Op::JccReg).then(|| self.src(u.a));
        let condition = self.host_condition(u.d);
        self.write_back(false);
        match target {
            Some(a) => {
                let other = self.ops.new_dynamic_label();
                self.jump_if(condition ^ 1, other);
                x!(self ; mov rbx, Rq(a) ; jmp extern self.thunks.jump ; =>other);
            }
            None => self.go_if(condition, u.imm),
        }
        self.go(u64::from(u.aux));
    }

    /// A jump on a condition of the host, numbered as in Jcc.
    pub(super) fn jump_if(&mut self, condition: u8, to: DynamicLabel) {
        match condition {
            0 => x!(self ; jo =>to),
            1 => x!(self ; jno =>to),
            2 => x!(self ; jb =>to),
            3 => x!(self ; jae =>to),
            4 => x!(self ; je =>to),
            5 => x!(self ; jne =>to),
            6 => x!(self ; jbe =>to),
            7 => x!(self ; ja =>to),
            8 => x!(self ; js =>to),
            9 => x!(self ; jns =>to),
            10 => x!(self ; jp =>to),
            11 => x!(self ; jnp =>to),
            12 => x!(self ; jl =>to),
            13 => x!(self ; jge =>to),
            14 => x!(self ; jle =>to),
            _ => x!(self ; jg =>to),
        }
    }

    /// Replaces the low 8 or 16 bits of a register by those of another; false if that is not what a micro-operation does.
    pub(super) fn insert_low(&mut self, u: &Uop) -> bool {
        if u.aux != 0 || !matches!(u.imm, 0xff | 0xffff) {
            return false;
        }
        let (a, _) = (self.src(u.a), self.src(u.d));
        let d = self.dst(u.d);
        if u.imm == 0xff {
            x!(self ; mov Rb(d), Rb(a));
        } else {
            x!(self ; mov Rw(d), Rw(a));
        }
        true
    }
}
