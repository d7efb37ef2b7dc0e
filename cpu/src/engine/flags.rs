//! Lazy arithmetic flags of an x86 CPU: what the last operation was, from which a flag follows when somebody asks for it.
//!
//! Registers [`R_FLAG_OP`], [`R_FLAG_RESULT`], [`R_FLAG_OPERAND`] and [`R_FLAG_CARRY`] hold a [`Kind`] with a size, and what that kind
//! says. Bits of the values above the size mean nothing.

use super::uop::{R_FLAG_CARRY, R_FLAG_OP, R_FLAG_OPERAND, R_FLAG_RESULT, Reg};

/// Carry.
pub const CF: u64 = 1;
/// Parity of the low byte.
pub const PF: u64 = 1 << 2;
/// Carry out of the low four bits.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Overflow.
pub const OF: u64 = 1 << 11;
/// All of them.
pub const ALL: u64 = CF | PF | AF | ZF | SF | OF;

/// The flat register file.
pub type Regs = [u64; 256];

/// How the flags follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The operand is the flags, as in EFLAGS.
    Eflags,
    /// Result = ? + operand.
    Add,
    /// Result = ? - operand.
    Sub,
    /// ? = result - operand.
    Cmp,
    /// No carry, no overflow.
    Logic,
    /// Result = ? + 1; the carry is that of the flags before.
    Inc,
    /// Result = ? - 1, likewise.
    Dec,
    /// Result = ? + operand + carry.
    Adc,
    /// Result = ? - operand - carry.
    Sbb,
    /// Left shift: the operand is the value before the last step.
    Shl,
    /// Right shift, likewise.
    Shr,
    /// Carry and overflow if the operand is not 0.
    Mul,
}

const KINDS: [Kind; 12] = [
    Kind::Eflags,
    Kind::Add,
    Kind::Sub,
    Kind::Cmp,
    Kind::Logic,
    Kind::Inc,
    Kind::Dec,
    Kind::Adc,
    Kind::Sbb,
    Kind::Shl,
    Kind::Shr,
    Kind::Mul,
];

impl Kind {
    /// With the logarithm of the size in bytes, as [`R_FLAG_OP`] has it.
    pub const fn at(self, log: u8) -> u64 {
        (self as u64) << 2 | log as u64
    }
}

#[inline(always)]
fn r(regs: &Regs, r: Reg) -> u64 {
    regs[r as usize]
}

#[inline(always)]
fn state(regs: &Regs) -> (Kind, u32) {
    let op = r(regs, R_FLAG_OP);
    let kind = KINDS
        .get((op >> 2) as usize)
        .copied()
        .unwrap_or(Kind::Eflags);
    (kind, 8 << (op & 3))
}

/// The low `bits` bits, at the top.
#[inline(always)]
fn top(v: u64, bits: u32) -> u64 {
    v << (64 - bits)
}

/// The carry, 0 or 1.
#[inline(always)]
pub fn carry(regs: &Regs) -> u64 {
    let (kind, bits) = state(regs);
    let result = top(r(regs, R_FLAG_RESULT), bits);
    let operand = top(r(regs, R_FLAG_OPERAND), bits);
    let c = r(regs, R_FLAG_CARRY) & 1;
    match kind {
        Kind::Eflags => r(regs, R_FLAG_OPERAND) & CF,
        Kind::Add => u64::from(result < operand),
        // Top bits only: what is below them is 0 in all of them.
        Kind::Sub => u64::from(result.wrapping_add(operand) < operand),
        Kind::Cmp => u64::from(result < operand),
        Kind::Logic => 0,
        Kind::Inc | Kind::Dec => c,
        Kind::Adc => u64::from(result < operand || c != 0 && result == operand),
        Kind::Sbb => {
            let before = result.wrapping_add(operand).wrapping_add(top(c, bits));
            u64::from(before < operand || c != 0 && before == operand)
        }
        Kind::Shl => operand >> 63,
        Kind::Shr => r(regs, R_FLAG_OPERAND) & 1,
        Kind::Mul => u64::from(r(regs, R_FLAG_OPERAND) != 0),
    }
}

fn low(v: u64, bits: u32) -> u64 {
    v & u64::MAX >> (64 - bits)
}

/// ZF, SF and PF of a value.
pub fn of_result(value: u64, bits: u32) -> u64 {
    let v = top(value, bits);
    let mut flags = 0;
    if v == 0 {
        flags |= ZF;
    }
    if v >> 63 != 0 {
        flags |= SF;
    }
    if (value as u8).count_ones().is_multiple_of(2) {
        flags |= PF;
    }
    flags
}

/// The arithmetic flags, as in EFLAGS.
pub fn arithmetic(regs: &Regs) -> u64 {
    let (kind, bits) = state(regs);
    let operand = r(regs, R_FLAG_OPERAND);
    if kind == Kind::Eflags {
        return operand & ALL;
    }
    let carry = carry(regs);
    let held = r(regs, R_FLAG_RESULT);
    let c = r(regs, R_FLAG_CARRY) & 1;
    // First operand, second operand, result.
    let (a, b, result) = match kind {
        Kind::Add => (held.wrapping_sub(operand), operand, held),
        Kind::Sub => (held.wrapping_add(operand), operand, held),
        Kind::Cmp => (held, operand, held.wrapping_sub(operand)),
        Kind::Inc => (held.wrapping_sub(1), 1, held),
        Kind::Dec => (held.wrapping_add(1), 1, held),
        Kind::Adc => (held.wrapping_sub(operand).wrapping_sub(c), operand, held),
        Kind::Sbb => (held.wrapping_add(operand).wrapping_add(c), operand, held),
        _ => (0, 0, held),
    };
    let sign = |v: u64| top(v, bits) >> 63;
    let overflow = match kind {
        Kind::Add | Kind::Inc | Kind::Adc => sign((a ^ result) & (b ^ result)),
        Kind::Sub | Kind::Cmp | Kind::Dec | Kind::Sbb => sign((a ^ b) & (a ^ result)),
        Kind::Shl => sign(result) ^ carry,
        Kind::Shr => sign(operand) ^ sign(result),
        Kind::Mul => carry,
        _ => 0,
    };
    let mut flags = of_result(low(result, bits), bits) | carry;
    if (a ^ b ^ result) & 0x10 != 0
        && !matches!(kind, Kind::Logic | Kind::Shl | Kind::Shr | Kind::Mul)
    {
        flags |= AF;
    }
    if overflow != 0 {
        flags |= OF;
    }
    flags
}

/// Sets the arithmetic flags from EFLAGS.
#[inline]
pub fn set_arithmetic(regs: &mut Regs, eflags: u64) {
    regs[R_FLAG_OP as usize] = Kind::Eflags.at(0);
    regs[R_FLAG_OPERAND as usize] = eflags & ALL;
}

/// True if a condition holds, numbered as in the encoding of Jcc.
#[inline(always)]
pub fn condition(regs: &Regs, condition: u8) -> bool {
    let op = r(regs, R_FLAG_OP);
    let bits = 8 << (op & 3);
    let (x, y) = (
        top(r(regs, R_FLAG_RESULT), bits),
        top(r(regs, R_FLAG_OPERAND), bits),
    );
    const CMP: u64 = Kind::Cmp as u64;
    const SUB: u64 = Kind::Sub as u64;
    const LOGIC: u64 = Kind::Logic as u64;
    let (x, y) = match op >> 2 {
        CMP => (x, y),
        SUB => (x.wrapping_add(y), y),
        LOGIC => (x, 0),
        0 => return eager(regs, condition),
        // By the result.
        _ => match condition >> 1 {
            2 => return (x == 0) != (condition & 1 != 0),
            4 => return (x >> 63 != 0) != (condition & 1 != 0),
            _ => return eager(regs, condition),
        },
    };
    let holds = match condition >> 1 {
        1 => x < y,
        2 => x == y,
        3 => x <= y,
        4 => (x.wrapping_sub(y) as i64) < 0,
        6 => (x as i64) < y as i64,
        7 => x as i64 <= y as i64,
        _ => return eager(regs, condition),
    };
    holds != (condition & 1 != 0)
}

#[inline(never)]
fn eager(regs: &Regs, condition: u8) -> bool {
    in_flags(arithmetic(regs), condition)
}

/// True if a condition holds in EFLAGS.
pub fn in_flags(flags: u64, condition: u8) -> bool {
    let less = (flags & SF != 0) != (flags & OF != 0);
    let holds = match condition >> 1 & 7 {
        0 => flags & OF != 0,
        1 => flags & CF != 0,
        2 => flags & ZF != 0,
        3 => flags & (CF | ZF) != 0,
        4 => flags & SF != 0,
        5 => flags & PF != 0,
        6 => less,
        _ => less || flags & ZF != 0,
    };
    holds != (condition & 1 != 0)
}
