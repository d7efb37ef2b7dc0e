//! Flags that nobody reads need not be set.

use crate::engine::alu::Kind;
use crate::engine::code::Decoded;
use crate::engine::uop::{Op, R_ZERO, Uop};

/// What a micro-operation has to do with the flags.
struct Effect {
    /// It, or what may happen at it, needs those before it.
    reads: bool,
    /// It sets all of them.
    writes: bool,
}

fn effect(u: &Uop) -> Effect {
    let (reads, writes) = match u.op {
        Op::AddF64
        | Op::SubF64
        | Op::AndF64
        | Op::OrF64
        | Op::XorF64
        | Op::CmpF64
        | Op::TestF64
        | Op::AddF32
        | Op::SubF32
        | Op::AndF32
        | Op::OrF32
        | Op::XorF32
        | Op::CmpF32
        | Op::TestF32 => (false, true),
        Op::AluF => {
            let kind = Kind::of(u.aux).0;
            let reads = kind.reads_flags() && !(is_shift(kind) && counts(u));
            (reads, kind.writes_flags() && writes_all(kind))
        }
        Op::Lea
        | Op::Add32
        | Op::Sub32
        | Op::And32
        | Op::Or32
        | Op::Xor32
        | Op::ShlN32
        | Op::ShrN32
        | Op::SarN32
        | Op::ShlN64
        | Op::ShrN64
        | Op::SarN64
        | Op::MovI
        | Op::Mov
        | Op::MovPc
        | Op::Add
        | Op::AddI
        | Op::Sub
        | Op::And
        | Op::AndI
        | Op::Or
        | Op::OrI
        | Op::Xor
        | Op::XorI
        | Op::Ext8
        | Op::Ext16
        | Op::Ext32
        | Op::RotMask
        | Op::RotMask32
        | Op::RotIns
        | Op::Vec
        | Op::VecMask
        | Op::Ea32 => (false, false),
        // Whoever takes an exception sees them, and what follows the block may read them.
        _ => (true, false),
    };
    Effect { reads, writes }
}

fn is_shift(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Shl | Kind::Shr | Kind::Sar | Kind::Shld | Kind::Shrd
    )
}

/// The count is known and not 0.
fn counts(u: &Uop) -> bool {
    let (kind, log) = Kind::of(u.aux);
    let mask = if log == 3 { 63 } else { 31 };
    let known = match kind {
        Kind::Shld | Kind::Shrd => u.aux & crate::engine::alu::BY_CL == 0,
        _ => u.b == R_ZERO,
    };
    known && u.imm & mask != 0
}

/// If it sets flags, it sets all that it does not keep by reading them.
fn writes_all(kind: Kind) -> bool {
    !matches!(kind, Kind::Clc | Kind::Stc | Kind::Cmc | Kind::Sahf)
}

/// The same without flags, if there is such an operation. `None`: nothing remains of it.
fn without(u: Uop) -> Option<Uop> {
    let plain = |by_register: Op, by_number: Op| {
        let op = if u.b == R_ZERO {
            by_number
        } else {
            by_register
        };
        Some(Uop { op, ..u })
    };
    match u.op {
        Op::AddF64 => plain(Op::Add, Op::AddI),
        Op::SubF64 if u.b == R_ZERO => Some(Uop {
            op: Op::AddI,
            imm: u.imm.wrapping_neg(),
            ..u
        }),
        Op::SubF64 => plain(Op::Sub, Op::Sub),
        Op::AndF64 => plain(Op::And, Op::AndI),
        Op::OrF64 => plain(Op::Or, Op::OrI),
        Op::XorF64 => plain(Op::Xor, Op::XorI),
        Op::AddF32 => plain(Op::Add32, Op::Add32),
        Op::SubF32 => plain(Op::Sub32, Op::Sub32),
        Op::AndF32 => plain(Op::And32, Op::And32),
        Op::OrF32 => plain(Op::Or32, Op::Or32),
        Op::XorF32 => plain(Op::Xor32, Op::Xor32),
        Op::CmpF64 | Op::TestF64 | Op::CmpF32 | Op::TestF32 => None,
        Op::AluF => without_alu(u),
        _ => Some(u),
    }
}

fn without_alu(u: Uop) -> Option<Uop> {
    let (kind, log) = Kind::of(u.aux);
    let wide = log == 3;
    let pick = |narrow: Op, wide_op: Op, imm: u64| {
        Some(Uop {
            op: if wide { wide_op } else { narrow },
            aux: 0,
            imm,
            ..u
        })
    };
    match (kind, log) {
        (Kind::Cmp | Kind::Test, _) => None,
        (Kind::Inc, 2 | 3) => pick(Op::Add32, Op::AddI, 1),
        (Kind::Dec, 2 | 3) => pick(Op::Add32, Op::AddI, u64::MAX),
        (Kind::Shl, 2 | 3) => pick(Op::ShlN32, Op::ShlN64, u.imm),
        (Kind::Shr, 2 | 3) => pick(Op::ShrN32, Op::ShrN64, u.imm),
        (Kind::Sar, 2 | 3) => pick(Op::SarN32, Op::SarN64, u.imm),
        (Kind::Imul, 3) if u.b == R_ZERO => Some(Uop {
            op: Op::MulI,
            aux: 0,
            ..u
        }),
        (Kind::Imul, 3) => Some(Uop {
            op: Op::Mul,
            aux: 0,
            ..u
        }),
        (Kind::Rol | Kind::Ror, 2 | 3) if u.b == R_ZERO => {
            let n = u.imm as u32;
            let left = if kind == Kind::Rol {
                n
            } else {
                n.wrapping_neg()
            };
            Some(if wide {
                Uop {
                    op: Op::RotMask,
                    aux: left & 63,
                    imm: u64::MAX,
                    ..u
                }
            } else {
                Uop {
                    op: Op::RotMask32,
                    aux: left & 31,
                    imm: 0xffff_ffff,
                    ..u
                }
            })
        }
        _ => Some(u),
    }
}

/// Takes the flags from operations after which the block sets them again before anything can read them.
pub(super) fn flags(out: &mut Decoded) {
    let mut live = true;
    let mut removed = false;
    // An operation that nothing remains of becomes one that moves a register to itself, for a moment.
    for n in (0..out.uops.len()).rev() {
        let u = out.uops[n];
        let mut effect = effect(&u);
        let guaranteed = is_store(u.op) && follows_load(out, n);
        if !live && u.op != Op::Mov {
            match without(u) {
                Some(same) => {
                    out.uops[n] = same;
                    effect = self::effect(&same);
                }
                None => {
                    out.uops[n] = Uop {
                        op: Op::Mov,
                        d: R_ZERO,
                        a: R_ZERO,
                        ..u
                    };
                    removed = true;
                    continue;
                }
            }
        }
        if effect.writes {
            live = false;
        }
        if effect.reads && !guaranteed {
            live = true;
        }
    }
    if removed {
        let mut kept = 0;
        for n in 0..out.uops.len() {
            let u = out.uops[n];
            if u.op == Op::Mov && u.d == R_ZERO {
                continue;
            }
            out.uops[kept] = u;
            out.places[kept] = out.places[n];
            kept += 1;
        }
        out.uops.truncate(kept);
        out.places.truncate(kept);
    }
}

fn is_store(op: Op) -> bool {
    matches!(op, Op::St8 | Op::St16 | Op::St32 | Op::St64)
}

/// The instruction of a store has loaded from there before, to modify it: the store cannot fail.
fn follows_load(out: &Decoded, n: usize) -> bool {
    let index = out.places[n].index;
    (0..n)
        .rev()
        .take_while(|m| out.places[*m].index == index)
        .any(|m| matches!(out.uops[m].op, Op::LdM8 | Op::LdM16 | Op::LdM32 | Op::LdM64))
}
