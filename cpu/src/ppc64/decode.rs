//! From instruction words to micro-operations.

mod vector;

use super::declets;
use super::forms::{self, FORMS, Kind};
use super::regs::*;
use super::vector as vectors;
use crate::engine::code::{Decoded, Place};
use crate::engine::exec::Pure;
use crate::engine::uop::{Op, R_CA, R_CA32, R_CR0, R_T0, R_T1, R_ZERO, Reg, Uop, uop};

/// Code mode: 64-bit.
pub const MODE_SF: u8 = 1;
/// Code mode: little-endian.
pub const MODE_LE: u8 = 2;

/// Helper numbers (`d` of `Op::Call`).
pub const CALL_FORM: u8 = 0;
/// A vector or floating-point instruction: `imm` is its row in `vector::OPS`.
pub const CALL_VECTOR: u8 = 1;
/// Not an instruction.
pub const CALL_ILLEGAL: u8 = 2;
/// A hypercall.
pub const CALL_HYPERCALL: u8 = 3;

/// Functions for `Op::Pure`.
pub static PURE: &[Pure] = &[
    |a, b| {
        let p = u64::from(a as u32) * u64::from(b as u32);
        p >> 32
    },
    |a, b| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32 as u64,
    |a, b| (a as i64).checked_div(b as i64).unwrap_or(0) as u64,
    |a, b| u64::from((a as i32).checked_div(b as i32).unwrap_or(0) as u32),
    |a, b| a.checked_rem(b).unwrap_or(0),
    |a, b| (a as i64).checked_rem(b as i64).unwrap_or(0) as u64,
    |a, b| u64::from((a as u32).checked_rem(b as u32).unwrap_or(0)),
    |a, b| i64::from((a as i32).checked_rem(b as i32).unwrap_or(0)) as u64,
    |a, _| u64::from(a.count_ones()),
    |a, _| u64::from((a as u32).count_ones()) | u64::from(((a >> 32) as u32).count_ones()) << 32,
    |a, _| u64::from_le_bytes(a.to_le_bytes().map(|b| b.count_ones() as u8)),
    |a, _| u64::from((a & 0x0101_0101_0101_0101).count_ones() & 1),
    |a, _| {
        let p = |v: u64| u64::from((v & 0x0101_0101).count_ones() & 1);
        p(a & 0xffff_ffff) | p(a >> 32) << 32
    },
    |a, b| {
        let mut out = 0;
        for i in 0..8 {
            let n = a >> (i * 8) & 0xff;
            if n < 64 && b >> (63 - n) & 1 != 0 {
                out |= 1 << i;
            }
        }
        out
    },
    |a, _| u64::from(a.trailing_zeros()),
    |a, _| u64::from((a as u32).trailing_zeros()),
    |a, b| ((a as i32 as i64) << (b & 63)) as u64,
    |a, _| declets::to_digits(a),
    |a, _| declets::to_declets(a),
    declets::sixes,
];

const fn pure_of(kind: Kind) -> Option<u32> {
    Some(match kind {
        Kind::Mulhwu => 0,
        Kind::Mulhw => 1,
        Kind::Divd => 2,
        Kind::Divw => 3,
        Kind::Modud => 4,
        Kind::Modsd => 5,
        Kind::Moduw => 6,
        Kind::Modsw => 7,
        Kind::Popcntd => 8,
        Kind::Popcntw => 9,
        Kind::Popcntb => 10,
        Kind::Prtyd => 11,
        Kind::Prtyw => 12,
        Kind::Bpermd => 13,
        Kind::Cnttzd => 14,
        Kind::Cnttzw => 15,
        Kind::Extswsli => 16,
        Kind::Cdtbcd => 17,
        Kind::Cbcdtd => 18,
        Kind::Addg6s => 19,
        _ => return None,
    })
}

/// MASK(mb, me) of the ISA: ones from bit `mb` to bit `me` (bit 0 is the most significant), wrapping.
fn mask(mb: u32, me: u32) -> u64 {
    let from = u64::MAX >> (mb & 63);
    let to = u64::MAX << (63 - (me & 63));
    if mb <= me { from & to } else { from | to }
}

struct Emitter<'a> {
    out: &'a mut Decoded,
    insn: u32,
    at: u64,
    /// The instruction that the block goes on with.
    next: u64,
    /// The end of the code in which the block goes on after jumps.
    reach: u64,
    place: Place,
    mode: u8,
    row: usize,
    /// Facilities that the block has demanded already; nothing within a block takes them away.
    demanded: u8,
}

/// A block that goes on at the target of a jump stays within so many bytes, aligned. So blocks that begin anywhere, as after the end of a
/// budget, soon meet those that begin elsewhere, instead of all code being decoded from each place.
const REACH: u64 = 256;

/// Decodes one block, which lies at `pc`. See `FrontEnd::decode`.
pub fn block(code: &[u8], pc: u64, max: u32, mode: u8, out: &mut Decoded) {
    let reach = (REACH - pc % REACH).min(code.len() as u64);
    // The next instruction, from the first one.
    let mut at = 0;
    let mut demanded = 0;
    let mut last = Place::default();
    while out.instructions < max
        && let Some(bytes) = code.get(at..at + 4)
        && let Ok(bytes) = <[u8; 4]>::try_from(bytes)
    {
        let insn = if mode & MODE_LE != 0 {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        };
        last = Place {
            index: out.instructions as u8,
            len: 4,
            offset: at as u16,
        };
        let mut e = Emitter {
            out,
            insn,
            at: at as u64,
            next: at as u64 + 4,
            reach,
            place: last,
            mode,
            row: 0,
            demanded,
        };
        let ends = e.instruction();
        demanded = e.demanded;
        let next = e.next as usize;
        out.instructions += 1;
        out.bytes = at as u32 + 4;
        if ends {
            return;
        }
        at = next;
    }
    out.uops.push(uop(Op::Jmp, 0, 0, 0, 0, at as u64));
    out.places.push(last);
}

impl Emitter<'_> {
    fn rt(&self) -> Reg {
        (self.insn >> 21 & 31) as Reg
    }
    fn ra(&self) -> Reg {
        (self.insn >> 16 & 31) as Reg
    }
    fn ra0(&self) -> Reg {
        match self.ra() {
            0 => R_ZERO,
            r => r,
        }
    }
    fn rb(&self) -> Reg {
        (self.insn >> 11 & 31) as Reg
    }
    fn rc(&self) -> bool {
        self.insn & 1 != 0
    }
    fn si(&self) -> u64 {
        self.insn as i16 as u64
    }
    fn ui(&self) -> u64 {
        u64::from(self.insn & 0xffff)
    }
    fn sf(&self) -> bool {
        self.mode & MODE_SF != 0
    }

    fn push(&mut self, u: Uop) {
        self.out.uops.push(u);
        self.out.places.push(self.place);
    }
    fn op(&mut self, op: Op, d: Reg, a: Reg, b: Reg) {
        self.push(uop(op, d, a, b, 0, 0));
    }
    fn imm(&mut self, op: Op, d: Reg, a: Reg, imm: u64) {
        self.push(uop(op, d, a, R_ZERO, 0, imm));
    }
    fn record(&mut self, r: Reg) {
        let op = if self.sf() { Op::CmpS64I } else { Op::CmpS32I };
        self.imm(op, R_CR0, r, 0);
    }
    fn record_if_rc(&mut self, r: Reg) {
        if self.rc() {
            self.record(r);
        }
    }
    fn call(&mut self) {
        self.push(uop(Op::Call, CALL_FORM, 0, 0, self.insn, self.row as u64));
    }
    fn call_end(&mut self) -> bool {
        self.push(uop(
            Op::CallEnd,
            CALL_FORM,
            0,
            0,
            self.insn,
            self.row as u64,
        ));
        true
    }

    fn load(&mut self, le: Op, be: Op, index: Reg, disp: u64, update: bool) {
        let op = if self.mode & MODE_LE != 0 { le } else { be };
        self.access(op, index, disp, update);
    }

    fn access(&mut self, op: Op, index: Reg, disp: u64, update: bool) {
        self.access_of(self.rt(), op, index, disp, update);
    }

    /// A load to `rt`, or a store of it.
    fn access_of(&mut self, rt: Reg, op: Op, index: Reg, disp: u64, update: bool) {
        let base = if update { self.ra() } else { self.ra0() };
        if !self.sf() || update && index != R_ZERO {
            let ea = if self.sf() { Op::Add } else { Op::Ea32 };
            self.push(uop(ea, R_T0, base, index, 0, disp));
            self.push(uop(op, rt, R_T0, R_ZERO, 0, 0));
            if update {
                self.op(Op::Mov, base, R_T0, 0);
            }
            return;
        }
        self.push(uop(op, rt, base, index, 0, disp));
        if update {
            self.imm(Op::AddI, base, base, disp);
        }
    }

    fn branch_cond(&mut self, bo: u32, bi: u32, target: Option<u64>, reg: Reg) {
        let next = self.at as u32 + 4;
        let field = R_CR0 + (bi / 4) as Reg;
        let bit = 8u8 >> (bi % 4);
        let want = u8::from(bo & 8 != 0);
        let no_ctr = bo & 4 != 0;
        let no_cond = bo & 16 != 0;
        let ctr_want = u8::from(bo & 2 == 0);
        let bdnz = if self.sf() { Op::Bdnz } else { Op::Bdnz32 };
        match (no_ctr, no_cond, target) {
            (true, true, Some(t)) => self.push(uop(Op::Jmp, 0, 0, 0, 0, t)),
            (true, true, None) => self.push(uop(Op::JmpReg, 0, reg, 0, 0, !3)),
            (true, false, Some(t)) => self.push(uop(Op::Bc, want, field, bit, next, t)),
            (true, false, None) => {
                self.push(uop(Op::BcReg, want, field, bit, next, u64::from(reg)))
            }
            (false, true, Some(t)) => self.push(uop(bdnz, ctr_want, R_CTR, 0, next, t)),
            _ => {
                // Both conditions, or the counter with a register target: condition in T1 as a field with bit 2.
                self.imm(Op::AddI, R_CTR, R_CTR, u64::MAX);
                if self.sf() {
                    self.op(Op::Mov, R_T1, R_CTR, 0);
                } else {
                    self.imm(Op::AndI, R_T1, R_CTR, 0xffff_ffff);
                }
                // T1 = 64 - lzcnt-style test: 1 if the counter is zero.
                self.op(Op::Clz64, R_T1, R_T1, 0);
                self.push(uop(Op::RotMask, R_T1, R_T1, 0, 58, 1));
                if ctr_want == 1 {
                    self.imm(Op::XorI, R_T1, R_T1, 1);
                }
                if !no_cond {
                    let shift = (64 - bit.trailing_zeros()) % 64;
                    self.push(uop(Op::RotMask, R_T2, field, 0, shift, 1));
                    if want == 0 {
                        self.imm(Op::XorI, R_T2, R_T2, 1);
                    }
                    self.op(Op::And, R_T1, R_T1, R_T2);
                }
                match target {
                    Some(t) => self.push(uop(Op::Bc, 1, R_T1, 1, next, t)),
                    None => self.push(uop(Op::BcReg, 1, R_T1, 1, next, u64::from(reg))),
                }
            }
        }
    }

    fn set_lr(&mut self) {
        if self.insn & 1 != 0 {
            self.imm(Op::MovPc, R_LR, 0, self.at + 4);
        }
    }

    fn branch_reg(&mut self, mut reg: Reg) {
        let (bo, bi) = (self.insn >> 21 & 31, self.insn >> 16 & 31);
        if !self.sf() {
            self.imm(Op::AndI, R_T3, reg, 0xffff_fffc);
            reg = R_T3;
        } else if reg == R_LR && self.insn & 1 != 0 || reg == R_CTR && bo & 4 == 0 {
            self.op(Op::Mov, R_T3, reg, 0);
            reg = R_T3;
        }
        self.set_lr();
        self.branch_cond(bo, bi, None, reg);
    }

    fn carry(&mut self, op: Op, a: Reg, b: Reg, aux: u32) {
        let rt = self.rt();
        self.push(uop(op, rt, a, b, aux, 0));
        self.carry_32();
        self.record_if_rc(rt);
    }

    fn carry_32(&mut self) {
        if !self.sf() {
            self.op(Op::Mov, R_CA, R_CA32, 0);
        }
    }

    /// tdi and its kin: a comparison, if one does, and a demand that it came out otherwise.
    fn trap(&mut self, kind: Kind) {
        let to = self.rt();
        let signed = to & 3 == 0;
        if !signed && to & 24 != 0 {
            return self.call();
        }
        // Fields: 8 is less, 4 greater, 2 equal.
        let traps = if signed {
            to >> 1
        } else {
            (to & 2) << 2 | (to & 1) << 2 | (to & 4) >> 1
        };
        let good = 14 & !traps;
        if good == 0 {
            return self.call();
        }
        let op = match (kind, signed) {
            (Kind::Tdi, true) => Op::CmpS64I,
            (Kind::Tdi, false) => Op::CmpU64I,
            (Kind::Td, true) => Op::CmpS64,
            (Kind::Td, false) => Op::CmpU64,
            (Kind::Twi, true) => Op::CmpS32I,
            (Kind::Twi, false) => Op::CmpU32I,
            (_, true) => Op::CmpS32,
            (_, false) => Op::CmpU32,
        };
        match kind {
            Kind::Tdi | Kind::Twi => self.imm(op, R_T0, self.ra(), self.si()),
            _ => self.op(op, R_T0, self.ra(), self.rb()),
        }
        self.push(uop(
            Op::Demand,
            CALL_FORM,
            R_T0,
            good,
            self.insn,
            self.row as u64,
        ));
    }

    fn logic(&mut self, op: Op) {
        let (d, a, b) = (self.ra(), self.rt(), self.rb());
        self.op(op, d, a, b);
        self.record_if_rc(d);
    }

    fn arith(&mut self, op: Op, a: Reg, b: Reg) {
        let d = self.rt();
        self.op(op, d, a, b);
        self.record_if_rc(d);
    }

    /// Emits one instruction; true if it ends the block.
    #[allow(clippy::too_many_lines, reason = "one case per instruction")]
    fn instruction(&mut self) -> bool {
        let insn = self.insn;
        let Some(row) = forms::find(insn) else {
            match vectors::decode(insn) {
                Some(op) => self.vector(op),
                None => self.push(uop(Op::Call, CALL_ILLEGAL, 0, 0, insn, 0)),
            }
            return false;
        };
        self.row = row;
        let kind = FORMS[row].kind;
        let (rt, ra, rb) = (self.rt(), self.ra(), self.rb());
        let oe = insn & 0x400 != 0;
        match kind {
            Kind::Addi if ra == 0 => self.imm(Op::MovI, rt, 0, self.si()),
            Kind::Addi => self.imm(Op::AddI, rt, ra, self.si()),
            Kind::Addis if ra == 0 => self.imm(Op::MovI, rt, 0, self.si() << 16),
            Kind::Addis => self.imm(Op::AddI, rt, ra, self.si() << 16),
            Kind::Addpcis => {
                let v = (insn & 0xffc0) as u16 | ((insn >> 16 & 31) as u16 * 2) | (insn & 1) as u16;
                self.imm(
                    Op::MovPc,
                    rt,
                    0,
                    self.at
                        .wrapping_add(4)
                        .wrapping_add((v as i16 as u64) << 16),
                );
            }
            Kind::Tdi | Kind::Td | Kind::Twi | Kind::Tw => self.trap(kind),
            Kind::Mulli => self.imm(Op::MulI, rt, ra, self.si()),
            Kind::Subfic => {
                self.imm(Op::SubICarry, rt, ra, self.si());
                self.carry_32();
            }
            Kind::Addic | Kind::AddicRc => {
                self.imm(Op::AddICarry, rt, ra, self.si());
                self.carry_32();
                if kind == Kind::AddicRc {
                    self.record(rt);
                }
            }
            Kind::Cmpi | Kind::Cmpli => {
                let wide = insn & 0x20_0000 != 0;
                let d = R_CR0 + (insn >> 23 & 7) as Reg;
                let (op, v) = match (kind == Kind::Cmpi, wide) {
                    (true, true) => (Op::CmpS64I, self.si()),
                    (true, false) => (Op::CmpS32I, self.si()),
                    (false, true) => (Op::CmpU64I, self.ui()),
                    (false, false) => (Op::CmpU32I, self.ui()),
                };
                self.imm(op, d, ra, v);
            }
            Kind::Cmp | Kind::Cmpl => {
                let wide = insn & 0x20_0000 != 0;
                let d = R_CR0 + (insn >> 23 & 7) as Reg;
                let op = match (kind == Kind::Cmp, wide) {
                    (true, true) => Op::CmpS64,
                    (true, false) => Op::CmpS32,
                    (false, true) => Op::CmpU64,
                    (false, false) => Op::CmpU32,
                };
                self.op(op, d, ra, rb);
            }
            Kind::Ori if rt == ra && insn & 0xffff == 0 => {}
            Kind::Ori => self.imm(Op::OrI, ra, rt, self.ui()),
            Kind::Oris => self.imm(Op::OrI, ra, rt, self.ui() << 16),
            Kind::Xori => self.imm(Op::XorI, ra, rt, self.ui()),
            Kind::Xoris => self.imm(Op::XorI, ra, rt, self.ui() << 16),
            Kind::AndiRc => {
                self.imm(Op::AndI, ra, rt, self.ui());
                self.record(ra);
            }
            Kind::AndisRc => {
                self.imm(Op::AndI, ra, rt, self.ui() << 16);
                self.record(ra);
            }
            Kind::Rlwimi | Kind::Rlwinm | Kind::Rlwnm => {
                let m = mask((insn >> 6 & 31) + 32, (insn >> 1 & 31) + 32);
                let op = match kind {
                    Kind::Rlwimi => Op::RotIns32,
                    Kind::Rlwinm => Op::RotMask32,
                    _ => Op::RotMask32V,
                };
                self.push(uop(op, ra, rt, rb, u32::from(rb), m));
                self.record_if_rc(ra);
            }
            Kind::Rldicl
            | Kind::Rldicr
            | Kind::Rldic
            | Kind::Rldimi
            | Kind::Rldcl
            | Kind::Rldcr => {
                let sh = u32::from(rb) | (insn & 2) << 4;
                let mb = insn >> 6 & 31 | insn & 0x20;
                let (op, m) = match kind {
                    Kind::Rldicl => (Op::RotMask, mask(mb, 63)),
                    Kind::Rldicr => (Op::RotMask, mask(0, mb)),
                    Kind::Rldic => (Op::RotMask, mask(mb, 63 - sh)),
                    Kind::Rldimi => (Op::RotIns, mask(mb, 63 - sh)),
                    Kind::Rldcl => (Op::RotMaskV, mask(mb, 63)),
                    _ => (Op::RotMaskV, mask(0, mb)),
                };
                self.push(uop(op, ra, rt, rb, sh, m));
                self.record_if_rc(ra);
            }
            Kind::Add
            | Kind::Subf
            | Kind::Neg
            | Kind::Mulld
            | Kind::Mullw
            | Kind::Divd
            | Kind::Divdu
            | Kind::Divw
            | Kind::Divwu
                if oe =>
            {
                self.call();
            }
            Kind::Addc
            | Kind::Adde
            | Kind::Addze
            | Kind::Addme
            | Kind::Subfc
            | Kind::Subfe
            | Kind::Subfze
            | Kind::Subfme
                if oe =>
            {
                self.call();
            }
            Kind::Add => self.arith(Op::Add, ra, rb),
            Kind::Subf => self.arith(Op::Sub, rb, ra),
            Kind::Neg => self.arith(Op::Neg, ra, 0),
            Kind::Mulld => self.arith(Op::Mul, ra, rb),
            Kind::Mullw => self.arith(Op::MulW, ra, rb),
            Kind::Addc => self.carry(Op::AddCarry, ra, rb, 0),
            Kind::Adde => self.carry(Op::AddCarry, ra, rb, 1),
            Kind::Addze => self.carry(Op::AddCarry, ra, R_ZERO, 1),
            Kind::Addme => {
                self.imm(Op::MovI, R_T0, 0, u64::MAX);
                self.carry(Op::AddCarry, ra, R_T0, 1);
            }
            Kind::Subfc => self.carry(Op::SubCarry, ra, rb, 2),
            Kind::Subfe => self.carry(Op::SubCarry, ra, rb, 1),
            Kind::Subfze => self.carry(Op::SubCarry, ra, R_ZERO, 1),
            Kind::Subfme => {
                self.imm(Op::MovI, R_T0, 0, u64::MAX);
                self.carry(Op::SubCarry, ra, R_T0, 1);
            }
            Kind::Mulhdu => self.arith(Op::MulHigh, ra, rb),
            Kind::Mulhd => self.arith(Op::MulHighS, ra, rb),
            Kind::Divdu => self.arith(Op::Div64, ra, rb),
            Kind::Divwu => self.arith(Op::Div32, ra, rb),
            Kind::Mulhwu | Kind::Mulhw | Kind::Divd | Kind::Divw => {
                let p = pure_of(kind).unwrap_or(0);
                self.push(uop(Op::Pure, rt, ra, rb, p, 0));
                self.record_if_rc(rt);
            }
            Kind::Modud | Kind::Modsd | Kind::Moduw | Kind::Modsw => {
                let p = pure_of(kind).unwrap_or(0);
                self.push(uop(Op::Pure, rt, ra, rb, p, 0));
            }
            Kind::Addg6s => {
                self.push(uop(Op::Pure, rt, ra, rb, pure_of(kind).unwrap_or(0), 0));
            }
            Kind::Cmpb => self.op(Op::SameBytes, ra, rt, rb),
            Kind::Cdtbcd
            | Kind::Cbcdtd
            | Kind::Popcntd
            | Kind::Popcntw
            | Kind::Popcntb
            | Kind::Prtyd
            | Kind::Prtyw
            | Kind::Bpermd => {
                let p = pure_of(kind).unwrap_or(0);
                self.push(uop(Op::Pure, ra, rt, rb, p, 0));
            }
            Kind::Cnttzd | Kind::Cnttzw => {
                let p = pure_of(kind).unwrap_or(0);
                self.push(uop(Op::Pure, ra, rt, rb, p, 0));
                self.record_if_rc(ra);
            }
            Kind::Extswsli => {
                let sh = u64::from(rb) | u64::from(insn & 2) << 4;
                self.imm(Op::MovI, R_T0, 0, sh);
                self.push(uop(Op::Pure, ra, rt, R_T0, pure_of(kind).unwrap_or(0), 0));
                self.record_if_rc(ra);
            }
            Kind::And => self.logic(Op::And),
            Kind::Andc => self.logic(Op::Andc),
            Kind::Or if rt == rb => {
                if rt != ra {
                    self.op(Op::Mov, ra, rt, 0);
                }
                self.record_if_rc(ra);
            }
            Kind::Or => self.logic(Op::Or),
            Kind::Orc => self.logic(Op::Orc),
            Kind::Xor => self.logic(Op::Xor),
            Kind::Nand => self.logic(Op::Nand),
            Kind::Nor => self.logic(Op::Nor),
            Kind::Eqv => self.logic(Op::Eqv),
            Kind::Slw => self.logic(Op::Shl32),
            Kind::Srw => self.logic(Op::Shr32),
            Kind::Sld => self.logic(Op::Shl64),
            Kind::Srd => self.logic(Op::Shr64),
            Kind::Sraw => self.logic(Op::Sra32),
            Kind::Srad => self.logic(Op::Sra64),
            Kind::Srawi | Kind::Sradi => {
                let (op, sh) = if kind == Kind::Srawi {
                    (Op::Sra32I, u32::from(rb))
                } else {
                    (Op::Sra64I, u32::from(rb) | (insn & 2) << 4)
                };
                self.push(uop(op, ra, rt, 0, sh, 0));
                self.record_if_rc(ra);
            }
            Kind::Cntlzw => self.logic(Op::Clz32),
            Kind::Cntlzd => self.logic(Op::Clz64),
            Kind::Extsb => self.logic(Op::Ext8),
            Kind::Extsh => self.logic(Op::Ext16),
            Kind::Extsw => self.logic(Op::Ext32),
            Kind::Mcrf => {
                let (d, s) = ((insn >> 23 & 7) as Reg, (insn >> 18 & 7) as Reg);
                self.op(Op::Mov, R_CR0 + d, R_CR0 + s, 0);
            }
            Kind::Mfcr | Kind::Mtcrf => {
                let fxm = insn >> 12 & 0xff;
                if insn & 0x10_0000 != 0 && fxm.count_ones() == 1 {
                    let field = fxm.leading_zeros() - 24;
                    let low = 28 - 4 * field;
                    let cr = R_CR0 + field as Reg;
                    if kind == Kind::Mfcr {
                        self.push(uop(Op::RotMask, rt, cr, 0, low, 0xf << low));
                    } else {
                        self.push(uop(Op::RotMask, cr, rt, 0, (64 - low) % 64, 0xf));
                    }
                } else {
                    self.call();
                }
            }
            Kind::Lwz => self.load(Op::Ld32, Op::Ld32R, R_ZERO, self.si(), false),
            Kind::Lwzu => self.load(Op::Ld32, Op::Ld32R, R_ZERO, self.si(), true),
            Kind::Lbz => self.access(Op::Ld8, R_ZERO, self.si(), false),
            Kind::Lbzu => self.access(Op::Ld8, R_ZERO, self.si(), true),
            Kind::Lhz => self.load(Op::Ld16, Op::Ld16R, R_ZERO, self.si(), false),
            Kind::Lhzu => self.load(Op::Ld16, Op::Ld16R, R_ZERO, self.si(), true),
            Kind::Lha => self.load(Op::Ld16S, Op::Ld16RS, R_ZERO, self.si(), false),
            Kind::Lhau => self.load(Op::Ld16S, Op::Ld16RS, R_ZERO, self.si(), true),
            Kind::Ld => self.load(Op::Ld64, Op::Ld64R, R_ZERO, self.si() & !3, false),
            Kind::Ldu => self.load(Op::Ld64, Op::Ld64R, R_ZERO, self.si() & !3, true),
            Kind::Lwa => self.load(Op::Ld32S, Op::Ld32RS, R_ZERO, self.si() & !3, false),
            Kind::Stw => self.load(Op::St32, Op::St32R, R_ZERO, self.si(), false),
            Kind::Stwu => self.load(Op::St32, Op::St32R, R_ZERO, self.si(), true),
            Kind::Stb => self.access(Op::St8, R_ZERO, self.si(), false),
            Kind::Stbu => self.access(Op::St8, R_ZERO, self.si(), true),
            Kind::Sth => self.load(Op::St16, Op::St16R, R_ZERO, self.si(), false),
            Kind::Sthu => self.load(Op::St16, Op::St16R, R_ZERO, self.si(), true),
            Kind::Std => self.load(Op::St64, Op::St64R, R_ZERO, self.si() & !3, false),
            Kind::Stdu => self.load(Op::St64, Op::St64R, R_ZERO, self.si() & !3, true),
            Kind::Ldx => self.load(Op::Ld64, Op::Ld64R, rb, 0, false),
            Kind::Ldux => self.load(Op::Ld64, Op::Ld64R, rb, 0, true),
            Kind::Lwzx => self.load(Op::Ld32, Op::Ld32R, rb, 0, false),
            Kind::Lwzux => self.load(Op::Ld32, Op::Ld32R, rb, 0, true),
            Kind::Lbzx => self.access(Op::Ld8, rb, 0, false),
            Kind::Lbzux => self.access(Op::Ld8, rb, 0, true),
            Kind::Lhzx => self.load(Op::Ld16, Op::Ld16R, rb, 0, false),
            Kind::Lhzux => self.load(Op::Ld16, Op::Ld16R, rb, 0, true),
            Kind::Lhax => self.load(Op::Ld16S, Op::Ld16RS, rb, 0, false),
            Kind::Lhaux => self.load(Op::Ld16S, Op::Ld16RS, rb, 0, true),
            Kind::Lwax => self.load(Op::Ld32S, Op::Ld32RS, rb, 0, false),
            Kind::Lwaux => self.load(Op::Ld32S, Op::Ld32RS, rb, 0, true),
            Kind::Stdx => self.load(Op::St64, Op::St64R, rb, 0, false),
            Kind::Stdux => self.load(Op::St64, Op::St64R, rb, 0, true),
            Kind::Stwx => self.load(Op::St32, Op::St32R, rb, 0, false),
            Kind::Stwux => self.load(Op::St32, Op::St32R, rb, 0, true),
            Kind::Stbx => self.access(Op::St8, rb, 0, false),
            Kind::Stbux => self.access(Op::St8, rb, 0, true),
            Kind::Sthx => self.load(Op::St16, Op::St16R, rb, 0, false),
            Kind::Sthux => self.load(Op::St16, Op::St16R, rb, 0, true),
            Kind::Ldbrx => self.load(Op::Ld64R, Op::Ld64, rb, 0, false),
            Kind::Lwbrx => self.load(Op::Ld32R, Op::Ld32, rb, 0, false),
            Kind::Lhbrx => self.load(Op::Ld16R, Op::Ld16, rb, 0, false),
            Kind::Stdbrx => self.load(Op::St64R, Op::St64, rb, 0, false),
            Kind::Stwbrx => self.load(Op::St32R, Op::St32, rb, 0, false),
            Kind::Sthbrx => self.load(Op::St16R, Op::St16, rb, 0, false),
            Kind::B => {
                let offset = ((insn & 0x03ff_fffc) << 6) as i32 as i64 >> 6;
                self.set_lr();
                if insn & 2 != 0 {
                    self.imm(Op::MovI, R_T3, 0, offset as u64);
                    self.push(uop(Op::JmpReg, 0, R_T3, 0, 0, !3));
                    return true;
                }
                let target = self.at.wrapping_add(offset as u64);
                if (self.next..self.reach).contains(&target) {
                    self.next = target;
                    return false;
                }
                self.push(uop(Op::Jmp, 0, 0, 0, 0, target));
                return true;
            }
            Kind::Bc => {
                let offset = (insn & 0xfffc) as i16 as u64;
                self.set_lr();
                let (bo, bi) = (insn >> 21 & 31, insn >> 16 & 31);
                if insn & 2 != 0 {
                    self.imm(Op::MovI, R_T3, 0, offset);
                    self.branch_cond(bo, bi, None, R_T3);
                } else {
                    self.branch_cond(bo, bi, Some(self.at.wrapping_add(offset)), 0);
                }
                return true;
            }
            Kind::Bclr => {
                self.branch_reg(R_LR);
                return true;
            }
            Kind::Bcctr => {
                self.branch_reg(R_CTR);
                return true;
            }
            Kind::Bctar => {
                self.call();
                self.branch_reg(R_TAR);
                return true;
            }
            Kind::Isync => {
                self.push(uop(Op::Jmp, 0, 0, 0, 0, self.at + 4));
                return true;
            }
            Kind::Mfspr | Kind::Mtspr => {
                let spr = insn >> 16 & 31 | (insn >> 11 & 31) << 5;
                match (kind, spr) {
                    (Kind::Mfspr, 8) => self.op(Op::Mov, rt, R_LR, 0),
                    (Kind::Mfspr, 9) => self.op(Op::Mov, rt, R_CTR, 0),
                    (Kind::Mtspr, 8) => self.op(Op::Mov, R_LR, rt, 0),
                    (Kind::Mtspr, 9) => self.op(Op::Mov, R_CTR, rt, 0),
                    (Kind::Mtspr, 13 | 22 | 29 | 48 | 61) => return self.call_end(),
                    _ => self.call(),
                }
            }
            Kind::Sync
            | Kind::Eieio
            | Kind::Dcbst
            | Kind::Dcbf
            | Kind::Dcbtst
            | Kind::Dcbt
            | Kind::Icbi
            | Kind::Icbt => {}
            Kind::Dss | Kind::Dst | Kind::Dstst | Kind::CpAbort | Kind::Wait => {}
            // LEV is 1.
            Kind::Sc if insn >> 5 & 127 == 1 => {
                self.push(uop(Op::Call, CALL_HYPERCALL, 0, 0, insn, 0));
                // The CPU leaves before the next block, if it has to.
                self.imm(Op::Jmp, 0, 0, self.at + 4);
                return true;
            }
            Kind::Sc
            | Kind::Scv
            | Kind::Rfid
            | Kind::Rfscv
            | Kind::Mtmsr
            | Kind::Mtmsrd
            | Kind::Tlbie
            | Kind::Tlbiel => {
                return self.call_end();
            }
            _ => self.call(),
        }
        false
    }
}
