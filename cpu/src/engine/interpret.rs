//! Tier 0: the interpreter over micro-operations. What it does is what they mean.
#![allow(
    unsafe_code,
    reason = "soft-TLB hits read and write guest RAM by host address"
)]

use super::Shared;
use super::access::{load_slow, load_wide_slow, modify_slow, store_slow, store_wide_slow};
use super::alu;
use super::core::Core;
use super::flags::{self, Kind};
use super::front_end::{Fault, FrontEnd, Pure};
use super::uop::{Op, R_CA, R_CA32, R_FLAG_OP, R_FLAG_OPERAND, R_FLAG_RESULT, R_SO, Uop};
use crate::bus::Bus;
use crate::ram;

/// How a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a branch: the address of the next block, and the branch's side or [`INDIRECT`].
    Branch {
        /// Where to go on.
        target: u64,
        /// 0: taken, 1: not taken.
        side: usize,
    },
    /// In an instruction (its index in the block) that recorded an exception.
    Fault(u32),
    /// After a [`Op::CallEnd`].
    Leave,
}

/// Side of a branch whose target is not always the same: never linked.
pub(super) const INDIRECT: usize = 2;

/// Register in which a [`Op::CallEnd`] helper may change the next instruction's address.
pub const NEXT_PC: usize = 47;

#[inline(always)]
fn compare<T: Ord>(a: T, b: T, so: u64) -> u64 {
    let bits = if a < b {
        8
    } else if a > b {
        4
    } else {
        2
    };
    bits | so
}

#[inline(always)]
fn low32(v: u64) -> u64 {
    v & 0xffff_ffff
}

/// All ones in each byte in which both are the same.
fn same_bytes(a: u64, b: u64) -> u64 {
    let b = b.to_ne_bytes();
    let mut i = 0;
    u64::from_ne_bytes(a.to_ne_bytes().map(|byte| {
        let same = b.get(i) == Some(&byte);
        i += 1;
        if same { 0xff } else { 0 }
    }))
}

#[inline(always)]
fn twice32(v: u64) -> u64 {
    let v = v & 0xffff_ffff;
    v | v << 32
}

/// Carries out a micro-operation that touches registers only; false if `u` is another one. `base` is the block's address.
#[inline(always)]
#[allow(clippy::too_many_lines, reason = "one case per micro-operation")]
pub(crate) fn simple(core: &mut Core, pure: &[Pure], base: u64, u: &Uop) -> bool {
    macro_rules! r {
        ($x:expr) => {
            core.regs[$x as usize]
        };
    }
    macro_rules! set {
        ($v:expr) => {{
            let v = $v;
            core.regs[u.d as usize] = v;
        }};
    }
    macro_rules! y {
        () => {
            r!(u.b).wrapping_add(u.imm)
        };
    }
    macro_rules! only_flags {
        ($op:expr, $result:expr $(, $operand:expr)?) => {{
            let result = $result;
            $(r!(R_FLAG_OPERAND) = $operand;)?
            r!(R_FLAG_OP) = $op;
            r!(R_FLAG_RESULT) = result;
        }};
    }
    macro_rules! with_flags {
        ($op:expr, $result:expr $(, $operand:expr)?) => {{
            let result = $result;
            $(r!(R_FLAG_OPERAND) = $operand;)?
            r!(R_FLAG_OP) = $op;
            r!(R_FLAG_RESULT) = result;
            r!(u.d) = result;
        }};
    }
    match u.op {
        Op::MovI => set!(u.imm),
        Op::Mov => set!(r!(u.a)),
        Op::MovPc => set!(base.wrapping_add(u.imm)),
        Op::Add => set!(r!(u.a).wrapping_add(r!(u.b))),
        Op::AddI => set!(r!(u.a).wrapping_add(u.imm)),
        Op::Sub => set!(r!(u.a).wrapping_sub(r!(u.b))),
        Op::SubI => set!(u.imm.wrapping_sub(r!(u.a))),
        Op::Mul => set!(r!(u.a).wrapping_mul(r!(u.b))),
        Op::MulI => set!(r!(u.a).wrapping_mul(u.imm)),
        Op::MulW => {
            set!(i64::from(r!(u.a) as i32).wrapping_mul(i64::from(r!(u.b) as i32)) as u64)
        }
        Op::MulHigh => set!(((u128::from(r!(u.a)) * u128::from(r!(u.b))) >> 64) as u64),
        Op::MulHighS => {
            let product = i128::from(r!(u.a) as i64) * i128::from(r!(u.b) as i64);
            set!((product >> 64) as u64);
        }
        Op::Div64 => set!(r!(u.a).checked_div(r!(u.b)).unwrap_or(0)),
        Op::Div32 => {
            let quotient = (r!(u.a) as u32).checked_div(r!(u.b) as u32);
            set!(u64::from(quotient.unwrap_or(0)));
        }
        Op::SameBytes => set!(same_bytes(r!(u.a), r!(u.b))),
        Op::Neg => set!(r!(u.a).wrapping_neg()),
        Op::And => set!(r!(u.a) & r!(u.b)),
        Op::AndI => set!(r!(u.a) & u.imm),
        Op::Andc => set!(r!(u.a) & !r!(u.b)),
        Op::Or => set!(r!(u.a) | r!(u.b)),
        Op::OrI => set!(r!(u.a) | u.imm),
        Op::Orc => set!(r!(u.a) | !r!(u.b)),
        Op::Xor => set!(r!(u.a) ^ r!(u.b)),
        Op::XorI => set!(r!(u.a) ^ u.imm),
        Op::Nand => set!(!(r!(u.a) & r!(u.b))),
        Op::Nor => set!(!(r!(u.a) | r!(u.b))),
        Op::Eqv => set!(!(r!(u.a) ^ r!(u.b))),
        Op::Ext8 => set!(r!(u.a) as i8 as u64),
        Op::Ext16 => set!(r!(u.a) as i16 as u64),
        Op::Ext32 => set!(r!(u.a) as i32 as u64),
        Op::Clz64 => set!(u64::from(r!(u.a).leading_zeros())),
        Op::Clz32 => set!(u64::from((r!(u.a) as u32).leading_zeros())),
        Op::Shl64 => {
            let n = r!(u.b) & 127;
            set!(if n < 64 { r!(u.a) << n } else { 0 });
        }
        Op::Shr64 => {
            let n = r!(u.b) & 127;
            set!(if n < 64 { r!(u.a) >> n } else { 0 });
        }
        Op::Shl32 => {
            let n = r!(u.b) & 63;
            set!(if n < 32 {
                u64::from((r!(u.a) as u32) << n)
            } else {
                0
            });
        }
        Op::Shr32 => {
            let n = r!(u.b) & 63;
            set!(if n < 32 {
                u64::from((r!(u.a) as u32) >> n)
            } else {
                0
            });
        }
        Op::Sra64I | Op::Sra64 | Op::Sra32I | Op::Sra32 => {
            let (v, n) = match u.op {
                Op::Sra64I => (r!(u.a) as i64, u.aux),
                Op::Sra64 => (r!(u.a) as i64, (r!(u.b) & 127) as u32),
                Op::Sra32I => (i64::from(r!(u.a) as i32), u.aux),
                _ => (i64::from(r!(u.a) as i32), (r!(u.b) & 63) as u32),
            };
            let lost = if n > 63 {
                v != 0
            } else {
                v & ((1u64 << n) - 1) as i64 != 0
            };
            let carry = u64::from(v < 0 && lost);
            r!(R_CA) = carry;
            r!(R_CA32) = carry;
            set!((v >> n.min(63)) as u64);
        }
        Op::RotMask => set!(r!(u.a).rotate_left(u.aux) & u.imm),
        Op::RotMaskV => set!(r!(u.a).rotate_left(r!(u.b) as u32 & 63) & u.imm),
        Op::RotIns => set!(r!(u.a).rotate_left(u.aux) & u.imm | r!(u.d) & !u.imm),
        Op::RotMask32 => {
            set!(twice32(u64::from((r!(u.a) as u32).rotate_left(u.aux))) & u.imm)
        }
        Op::RotMask32V => {
            set!(twice32(u64::from((r!(u.a) as u32).rotate_left(r!(u.b) as u32 & 31))) & u.imm);
        }
        Op::RotIns32 => {
            set!(
                twice32(u64::from((r!(u.a) as u32).rotate_left(u.aux))) & u.imm | r!(u.d) & !u.imm
            );
        }
        Op::Pure => set!(pure[u.aux as usize](r!(u.a), r!(u.b))),
        Op::AddCarry | Op::SubCarry | Op::AddICarry | Op::SubICarry => {
            let a = match u.op {
                Op::AddCarry | Op::AddICarry => r!(u.a),
                _ => !r!(u.a),
            };
            let (b, c) = match u.op {
                Op::AddICarry => (u.imm, 0),
                Op::SubICarry => (u.imm, 1),
                _ if u.aux & 1 != 0 => (r!(u.b), r!(R_CA)),
                _ => (r!(u.b), u64::from(u.aux >> 1 & 1)),
            };
            let (sum, c1) = a.overflowing_add(b);
            let (sum, c2) = sum.overflowing_add(c);
            let low = (a & 0xffff_ffff) + (b & 0xffff_ffff) + c;
            r!(R_CA) = u64::from(c1 | c2);
            r!(R_CA32) = low >> 32;
            set!(sum);
        }
        Op::CmpS64 => set!(compare(r!(u.a) as i64, r!(u.b) as i64, r!(R_SO))),
        Op::CmpU64 => set!(compare(r!(u.a), r!(u.b), r!(R_SO))),
        Op::CmpS32 => set!(compare(r!(u.a) as i32, r!(u.b) as i32, r!(R_SO))),
        Op::CmpU32 => set!(compare(r!(u.a) as u32, r!(u.b) as u32, r!(R_SO))),
        Op::CmpS64I => set!(compare(r!(u.a) as i64, u.imm as i64, r!(R_SO))),
        Op::CmpU64I => set!(compare(r!(u.a), u.imm, r!(R_SO))),
        Op::CmpS32I => set!(compare(r!(u.a) as i32, u.imm as i32, r!(R_SO))),
        Op::CmpU32I => set!(compare(r!(u.a) as u32, u.imm as u32, r!(R_SO))),

        Op::Ea32 => set!(r!(u.a).wrapping_add(r!(u.b)).wrapping_add(u.imm) & 0xffff_ffff),
        Op::Lea => set!(
            r!(u.a)
                .wrapping_add(r!(u.b) << (u.aux & 3))
                .wrapping_add(u.imm)
        ),
        Op::Add32 => set!(low32(r!(u.a).wrapping_add(y!()))),
        Op::Sub32 => set!(low32(r!(u.a).wrapping_sub(y!()))),
        Op::And32 => set!(low32(r!(u.a) & y!())),
        Op::Or32 => set!(low32(r!(u.a) | y!())),
        Op::Xor32 => set!(low32(r!(u.a) ^ y!())),
        Op::AddF64 => with_flags!(Kind::Add.at(3), r!(u.a).wrapping_add(y!()), y!()),
        Op::SubF64 => with_flags!(Kind::Sub.at(3), r!(u.a).wrapping_sub(y!()), y!()),
        Op::AndF64 => with_flags!(Kind::Logic.at(3), r!(u.a) & y!()),
        Op::OrF64 => with_flags!(Kind::Logic.at(3), r!(u.a) | y!()),
        Op::XorF64 => with_flags!(Kind::Logic.at(3), r!(u.a) ^ y!()),
        Op::AddF32 => with_flags!(Kind::Add.at(2), low32(r!(u.a).wrapping_add(y!())), y!()),
        Op::SubF32 => with_flags!(Kind::Sub.at(2), low32(r!(u.a).wrapping_sub(y!())), y!()),
        Op::AndF32 => with_flags!(Kind::Logic.at(2), low32(r!(u.a) & y!())),
        Op::OrF32 => with_flags!(Kind::Logic.at(2), low32(r!(u.a) | y!())),
        Op::XorF32 => with_flags!(Kind::Logic.at(2), low32(r!(u.a) ^ y!())),
        Op::CmpF64 => only_flags!(Kind::Cmp.at(3), r!(u.a), y!()),
        Op::CmpF32 => only_flags!(Kind::Cmp.at(2), r!(u.a), y!()),
        Op::TestF64 => only_flags!(Kind::Logic.at(3), r!(u.a) & y!()),
        Op::TestF32 => only_flags!(Kind::Logic.at(2), r!(u.a) & y!()),
        Op::AluF => alu::carry_out(&mut core.regs, u),
        Op::ShlN32 => set!(u64::from((r!(u.a) as u32) << (y!() & 31))),
        Op::ShrN32 => set!(u64::from((r!(u.a) as u32) >> (y!() & 31))),
        Op::SarN32 => set!(u64::from(((r!(u.a) as i32) >> (y!() & 31)) as u32)),
        Op::ShlN64 => set!(r!(u.a) << (y!() & 63)),
        Op::ShrN64 => set!(r!(u.a) >> (y!() & 63)),
        Op::SarN64 => set!(((r!(u.a) as i64) >> (y!() & 63)) as u64),
        Op::SetCc => set!(r!(u.d) & !0xff | u64::from(flags::condition(&core.regs, u.a))),
        Op::Cmov64 => {
            if flags::condition(&core.regs, u.a) {
                set!(r!(u.b));
            }
        }
        Op::Cmov32 => {
            let from = if flags::condition(&core.regs, u.a) {
                u.b
            } else {
                u.d
            };
            set!(low32(r!(from)));
        }
        Op::Cmov16 => {
            if flags::condition(&core.regs, u.a) {
                set!(r!(u.d) & !0xffff | r!(u.b) & 0xffff);
            }
        }
        // For compiled code, which branches by it.
        Op::Jcc | Op::JccReg => {
            core.exchange.value = u64::from(flags::condition(&core.regs, u.d));
        }
        _ => return false,
    }
    true
}

/// Runs a block that lies at effective address `base`, from micro-operation `first` on. `before` is how many instructions were executed
/// before its first one in this run; it wraps, for these may have been executed in an earlier one.
#[inline(always)]
#[allow(clippy::too_many_lines, reason = "one case per micro-operation")]
pub(super) fn block<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pure: &[Pure],
    first: usize,
    base: u64,
    before: u64,
) -> End {
    let mut i = first;
    loop {
        let u = shared.code.uop(i);
        i += 1;
        macro_rules! r {
            ($x:expr) => {
                f.core().regs[$x as usize]
            };
        }
        macro_rules! set {
            ($v:expr) => {{
                let v = $v;
                f.core().regs[u.d as usize] = v;
            }};
        }
        macro_rules! fault {
            () => {{
                let place = shared.code.place_of(i - 1);
                f.core().pc = base.wrapping_add(u64::from(place.offset));
                return End::Fault(u32::from(place.index));
            }};
        }
        macro_rules! ea {
            () => {
                r!(u.a).wrapping_add(r!(u.b)).wrapping_add(u.imm)
            };
        }
        macro_rules! ld {
            ($n:literal, $conv:expr) => {{
                let ea = ea!();
                let core = f.core();
                let raw = match core.tlb.read_hit::<$n>(ea, core.context_of(ea)) {
                    // SAFETY: the soft TLB holds pages of RAM only, and the hit covers all bytes.
                    Some(host) => unsafe { ram::load_le::<$n>(host) },
                    None => {
                        let place = shared.code.place_of(i - 1);
                        core.pc = base.wrapping_add(u64::from(place.offset));
                        match load_slow(f, shared, bus, ea, $n) {
                            Ok(v) => v,
                            Err(Fault) => fault!(),
                        }
                    }
                };
                set!($conv(raw));
            }};
        }
        macro_rules! ldm {
            ($n:literal) => {{
                let ea = ea!();
                let core = f.core();
                let raw = match core.tlb.write_hit::<$n>(ea, core.context_of(ea)) {
                    // SAFETY: as for loads.
                    Some(host) => unsafe { ram::load_le::<$n>(host) },
                    None => {
                        let place = shared.code.place_of(i - 1);
                        core.pc = base.wrapping_add(u64::from(place.offset));
                        match modify_slow(f, shared, bus, ea, $n) {
                            Ok(v) => v,
                            Err(Fault) => fault!(),
                        }
                    }
                };
                set!(raw);
            }};
        }
        macro_rules! st {
            ($n:literal, $conv:expr) => {{
                let ea = ea!();
                let value = $conv(r!(u.d));
                let core = f.core();
                match core.tlb.write_hit::<$n>(ea, core.context_of(ea)) {
                    // SAFETY: as for loads; pages with cached code are never in the store table.
                    Some(host) => unsafe { ram::store_le::<$n>(host, value) },
                    None => {
                        let place = shared.code.place_of(i - 1);
                        core.pc = base.wrapping_add(u64::from(place.offset));
                        if store_slow(f, shared, bus, ea, $n, value).is_err() {
                            fault!()
                        }
                    }
                }
            }};
        }
        macro_rules! check_aligned {
            ($ea:expr) => {
                if u.aux & 1 != 0 && $ea & 15 != 0 {
                    let place = shared.code.place_of(i - 1);
                    let core = f.core();
                    core.pc = base.wrapping_add(u64::from(place.offset));
                    core.executed = before.wrapping_add(u64::from(place.index));
                    core.regs[NEXT_PC] = base.wrapping_add(place.end());
                    if f.call(shared, bus, u).is_err() {
                        fault!()
                    }
                }
            };
        }
        match u.op {
            Op::Ld8 => ld!(1, |v: u64| v),
            Op::Ld16 => ld!(2, |v: u64| v),
            Op::Ld32 => ld!(4, |v: u64| v),
            Op::Ld64 => ld!(8, |v: u64| v),
            Op::Ld16S => ld!(2, |v: u64| v as i16 as u64),
            Op::Ld32S => ld!(4, |v: u64| v as i32 as u64),
            Op::Ld16R => ld!(2, |v: u64| u64::from((v as u16).swap_bytes())),
            Op::Ld32R => ld!(4, |v: u64| u64::from((v as u32).swap_bytes())),
            Op::Ld64R => ld!(8, |v: u64| v.swap_bytes()),
            Op::Ld16RS => ld!(2, |v: u64| (v as u16).swap_bytes() as i16 as u64),
            Op::Ld32RS => ld!(4, |v: u64| (v as u32).swap_bytes() as i32 as u64),
            Op::St8 => st!(1, |v: u64| v),
            Op::St16 => st!(2, |v: u64| v),
            Op::St32 => st!(4, |v: u64| v),
            Op::St64 => st!(8, |v: u64| v),
            Op::St16R => st!(2, |v: u64| u64::from((v as u16).swap_bytes())),
            Op::St32R => st!(4, |v: u64| u64::from((v as u32).swap_bytes())),
            Op::St64R => st!(8, |v: u64| v.swap_bytes()),
            Op::LdM8 => ldm!(1),
            Op::LdM16 => ldm!(2),
            Op::LdM32 => ldm!(4),
            Op::LdM64 => ldm!(8),
            Op::Ld128 => {
                let ea = ea!();
                check_aligned!(ea);
                let core = f.core();
                let [low, high] = match core.tlb.read_hit::<16>(ea, core.context_of(ea)) {
                    // SAFETY: the soft TLB holds pages of RAM only, and the hit covers all bytes.
                    Some(host) => unsafe { [ram::load_le::<8>(host), ram::load_le::<8>(host + 8)] },
                    None => {
                        let place = shared.code.place_of(i - 1);
                        core.pc = base.wrapping_add(u64::from(place.offset));
                        match load_wide_slow(f, shared, bus, ea) {
                            Ok(v) => v,
                            Err(Fault) => fault!(),
                        }
                    }
                };
                r!(u.d) = low;
                r!(u.d.wrapping_add(1)) = high;
            }
            Op::St128 => {
                let ea = ea!();
                check_aligned!(ea);
                let value = [r!(u.d), r!(u.d.wrapping_add(1))];
                let core = f.core();
                match core.tlb.write_hit::<16>(ea, core.context_of(ea)) {
                    // SAFETY: as for loads; pages with cached code are never in the store table.
                    Some(host) => unsafe {
                        ram::store_le::<8>(host, value[0]);
                        ram::store_le::<8>(host + 8, value[1]);
                    },
                    None => {
                        let place = shared.code.place_of(i - 1);
                        core.pc = base.wrapping_add(u64::from(place.offset));
                        if store_wide_slow(f, shared, bus, ea, value).is_err() {
                            fault!()
                        }
                    }
                }
            }
            Op::Vec | Op::VecMask => F::vector(&mut f.core().regs, &u),
            Op::Call => {
                let place = shared.code.place_of(i - 1);
                let core = f.core();
                core.pc = base.wrapping_add(u64::from(place.offset));
                core.executed = before.wrapping_add(u64::from(place.index));
                if f.call(shared, bus, u).is_err() {
                    fault!()
                }
            }
            Op::Demand => {
                if r!(u.a) & u64::from(u.b) == 0 {
                    let place = shared.code.place_of(i - 1);
                    let core = f.core();
                    core.pc = base.wrapping_add(u64::from(place.offset));
                    core.executed = before.wrapping_add(u64::from(place.index));
                    core.regs[NEXT_PC] = base.wrapping_add(place.end());
                    // Whatever it answers: it has recorded an exception.
                    let _ = f.call(shared, bus, u);
                    fault!()
                }
            }
            Op::CallEnd => {
                let place = shared.code.place_of(i - 1);
                let core = f.core();
                core.pc = base.wrapping_add(u64::from(place.offset));
                core.executed = before.wrapping_add(u64::from(place.index));
                core.regs[NEXT_PC] = base.wrapping_add(place.end());
                if f.call(shared, bus, u).is_err() {
                    fault!()
                }
                let core = f.core();
                core.pc = core.regs[NEXT_PC];
                return End::Leave;
            }
            Op::Jmp => return branch(base.wrapping_add(u.imm), 0),
            Op::JmpReg => return branch(r!(u.a) & u.imm, INDIRECT),
            Op::Bc => {
                if (r!(u.a) & u64::from(u.b) != 0) == (u.d != 0) {
                    return branch(base.wrapping_add(u.imm), 0);
                }
                return branch(base.wrapping_add(u64::from(u.aux)), 1);
            }
            Op::BcReg => {
                if (r!(u.a) & u64::from(u.b) != 0) == (u.d != 0) {
                    return branch(r!(u.imm as u8) & !3, INDIRECT);
                }
                return branch(base.wrapping_add(u64::from(u.aux)), 1);
            }
            Op::Jcc => {
                if flags::condition(&f.core().regs, u.d) {
                    return branch(base.wrapping_add(u.imm), 0);
                }
                return branch(base.wrapping_add(u64::from(u.aux)), 1);
            }
            Op::JccReg => {
                if flags::condition(&f.core().regs, u.d) {
                    return branch(r!(u.a), INDIRECT);
                }
                return branch(base.wrapping_add(u64::from(u.aux)), 1);
            }
            Op::Bz => {
                if (r!(u.a) == 0) == (u.d != 0) {
                    return branch(base.wrapping_add(u.imm), 0);
                }
                return branch(base.wrapping_add(u64::from(u.aux)), 1);
            }
            Op::Bdnz | Op::Bdnz32 => {
                let n = r!(u.a).wrapping_sub(1);
                r!(u.a) = n;
                let n = if u.op == Op::Bdnz32 {
                    n & 0xffff_ffff
                } else {
                    n
                };
                if (n != 0) == (u.d != 0) {
                    return branch(base.wrapping_add(u.imm), 0);
                }
                return branch(base.wrapping_add(u64::from(u.aux)), 1);
            }
            _ => {
                simple(f.core(), pure, base, &u);
            }
        }
    }
}

#[inline(always)]
fn branch(target: u64, side: usize) -> End {
    End::Branch { target, side }
}
