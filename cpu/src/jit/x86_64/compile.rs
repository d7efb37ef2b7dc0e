//! Templates: from the micro-operations of a block to host instructions.
#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers"
)]

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler, dynasm};

use super::helpers::Place;
use super::registers::Registers;
use super::thunks::{
    ADDENDS, INDEX_MASK, INDEX_SHIFT, READ, Thunks, VALUE, VALUE_HIGH, WRITE, register,
};
use crate::engine::CodeCache;
use crate::engine::uop::{Op, R_CA, R_CA32, R_SO, R_T0, R_ZERO, Reg, Uop};
use crate::ram::PAGE;

/// Instructions that not every host has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// `bextr`.
    pub(super) bmi1: bool,
    /// `movbe`.
    pub(super) movbe: bool,
}

impl Host {
    /// Those of this one.
    pub(super) fn detect() -> Host {
        Host {
            bmi1: std::arch::is_x86_feature_detected!("bmi1"),
            movbe: std::arch::is_x86_feature_detected!("movbe"),
        }
    }
}

/// Registers that do not outlive a guest instruction: see [`R_T0`].
const SCRATCH: std::ops::Range<Reg> = R_T0..R_T0 + 4;

/// Bytes that count a block's instructions, at its start. The last four are the displacement to where the budget's end is handled.
pub(super) const ENTER_LEN: usize = 10;
/// Bytes that take the count back, at that place.
pub(super) const RECOUNT_LEN: usize = 4;

/// Compiles block `n`, to lie at host address `entry`. `None` if a displacement does not fit.
pub(super) fn block(
    code: &CodeCache,
    n: u32,
    thunks: &Thunks,
    host: Host,
    entry: usize,
) -> Option<Compiled> {
    let block = code.block(n);
    let (uops, places) = code.uops_of(n);
    let mut c = Compiler {
        ops: VecAssembler::new(entry),
        regs: Registers::default(),
        cold: Vec::new(),
        references: Vec::new(),
        thunks,
        host,
        compared: None,
        flags_until: 0,
        flags: flags::State::default(),
        offset: block.offset as i32,
        instructions: block.instructions,
    };
    c.enter();
    for (i, (u, place)) in uops.iter().zip(places).enumerate() {
        let place = Place::new(*place, block);
        c.uop(u, block.start + i as u32, place);
        c.regs.unlock();
    }
    let split = c.ops.offset().0;
    c.emit_cold();
    Some(Compiled {
        references: c.references,
        code: c.ops.finalize().ok()?,
        split,
    })
}

/// A block's code: what runs, and behind it what is out of the way.
pub(super) struct Compiled {
    code: Vec<u8>,
    /// Where the code out of the way begins.
    split: usize,
    /// Ends of the displacements that change when the two move apart.
    references: Vec<usize>,
}

impl Compiled {
    /// Bytes of the code out of the way.
    pub(super) fn cold_len(&self) -> usize {
        self.code.len() - self.split
    }

    /// Makes the code out of the way right for address `cold`, that of the block being `entry`. Gives both parts.
    pub(super) fn place_cold(&mut self, entry: usize, cold: usize) -> Option<(&[u8], &[u8])> {
        let moved = cold.wrapping_sub(entry + self.split) as u32;
        for &end in &self.references {
            let place = self.code.get_mut(end - 4..end)?;
            let old = u32::from_le_bytes(place.try_into().ok()?);
            let new = if end <= self.split {
                old.wrapping_add(moved)
            } else {
                old.wrapping_sub(moved)
            };
            place.copy_from_slice(&new.to_le_bytes());
        }
        Some(self.code.split_at(self.split))
    }
}

/// Code out of the way of the usual path.
enum Cold {
    /// The budget ends within this block.
    Budget { label: DynamicLabel },
    /// A jump to `target` in the same page, which is not known yet. `site` is behind its displacement.
    Link {
        label: DynamicLabel,
        site: DynamicLabel,
        target: i32,
    },
    /// A jump to `target`, from the start of the page, in another page.
    Far { label: DynamicLabel, target: u64 },
    /// A jump to the address in rax, without its low two bits.
    Return { label: DynamicLabel },
    /// An access that the soft TLB does not have. What of the register file is in host registers is written back first.
    Access {
        label: DynamicLabel,
        back: DynamicLabel,
        thunk: usize,
        place: Place,
        dirty: Vec<(u8, Reg)>,
        flags: Vec<(Reg, flags::Late)>,
        /// Store: the register whose value it is, its size, and whether it is reversed.
        value: Option<(u8, u8, bool)>,
    },
    /// As `Access`, a store of 16 bytes: of two host registers, or of the file from `from` on.
    StoreVector {
        label: DynamicLabel,
        back: DynamicLabel,
        place: Place,
        dirty: Vec<(u8, Reg)>,
        flags: Vec<(Reg, flags::Late)>,
        pair: Option<(u8, u8)>,
        from: Reg,
    },
    /// The front end records an exception at micro-operation `number`.
    Refuse {
        label: DynamicLabel,
        number: u32,
        place: Place,
        dirty: Vec<(u8, Reg)>,
        flags: Vec<(Reg, flags::Late)>,
    },
}

/// Conditions of the host, numbered as in Jcc: with the lowest bit changed, the opposite.
mod cc {
    pub(super) const B: u8 = 2;
    pub(super) const E: u8 = 4;
    pub(super) const NE: u8 = 5;
    pub(super) const A: u8 = 7;
    pub(super) const L: u8 = 12;
    pub(super) const G: u8 = 15;
}

/// The last comparison of the block, while its operands still have the compared values.
#[derive(Clone, Copy)]
struct Compared {
    field: Reg,
    op: Op,
    a: Reg,
    b: Reg,
    imm: u64,
}

struct Compiler<'a> {
    ops: VecAssembler<X64Relocation>,
    regs: Registers,
    cold: Vec<Cold>,
    /// See [`Compiled::references`].
    references: Vec<usize>,
    thunks: &'a Thunks,
    host: Host,
    compared: Option<Compared>,
    /// Where the host's flags are still those of the last comparison.
    flags_until: usize,
    flags: flags::State,
    /// The block's address, from the start of its page, which `rbx` has.
    offset: i32,
    instructions: u32,
}

macro_rules! x {
    ($c:expr ; $($code:tt)*) => {{
        let ops = &mut $c.ops;
        dynasm!(ops ; .arch x64 ; $($code)*)
    }};
}

mod alu;
mod bits;
mod flags;
mod vector;
mod x86;

fn small(imm: u64) -> Option<i32> {
    i32::try_from(imm as i64).ok()
}

impl Compiler<'_> {
    /// Counts the block's instructions.
    fn enter(&mut self) {
        let label = self.ops.new_dynamic_label();
        // Few enough for a byte: see `exec`. `Jit::retire` writes a jump over this.
        x!(self
            ; sub r14, BYTE self.instructions as i8
            ; js =>label
        );
        debug_assert_eq!(self.ops.offset().0, ENTER_LEN);
        self.refer();
        self.cold.push(Cold::Budget { label });
    }

    /// The displacement just written is between the code that runs and the code out of the way, or from the latter to a thunk.
    fn refer(&mut self) {
        self.references.push(self.ops.offset().0);
    }

    fn store_register(&mut self, host: u8, r: Reg) {
        match i8::try_from(register(r)) {
            Ok(at) => x!(self ; mov [BYTE rbp + at], Rq(host)),
            Err(_) => x!(self ; mov [rbp + register(r)], Rq(host)),
        }
    }

    fn assign(&mut self, r: Reg) -> u8 {
        let (host, write_back) = self.regs.assign(r);
        if let Some((host, old)) = write_back {
            self.store_register(host, old);
        }
        host
    }

    /// The host register that has the value of `r`.
    fn src(&mut self, r: Reg) -> u8 {
        if let Some(host) = self.regs.find(r) {
            return host;
        }
        let host = self.assign(r);
        match i8::try_from(register(r)) {
            Ok(at) => x!(self ; mov Rq(host), [BYTE rbp + at]),
            Err(_) => x!(self ; mov Rq(host), [rbp + register(r)]),
        }
        host
    }

    /// The host register that will have the new value of `r`. It may be that of a source.
    fn dst(&mut self, r: Reg) -> u8 {
        if let Some(c) = self.compared
            && (c.field == r || c.a == r || c.b == r)
        {
            self.compared = None;
        }
        self.settle_flags(r);
        let host = match self.regs.find(r) {
            Some(host) => host,
            None => self.assign(r),
        };
        self.regs.mark_dirty(r);
        host
    }

    /// Writes all changed registers back to the file, except scratch registers if the instruction is over. Changes no flag; uses rdx.
    fn write_back(&mut self, scratch: bool) {
        self.write_flags_back();
        for (host, r) in self.regs.dirty() {
            if scratch || !SCRATCH.contains(&r) {
                self.store_register(host, r);
            }
        }
        self.regs.clean();
    }

    /// rax = imm.
    fn constant(&mut self, imm: u64) {
        self.set(0, imm);
    }

    fn set(&mut self, host: u8, imm: u64) {
        if imm == 0 {
            x!(self ; xor Rd(host), Rd(host));
        } else if let Ok(v) = u32::try_from(imm) {
            x!(self ; mov Rd(host), DWORD v as i32);
        } else if let Some(v) = small(imm) {
            x!(self ; mov Rq(host), DWORD v);
        } else {
            x!(self ; mov Rq(host), QWORD imm as i64);
        }
    }

    fn copy(&mut self, to: u8, from: u8) {
        if to != from {
            x!(self ; mov Rq(to), Rq(from));
        }
    }

    /// Compiles one micro-operation, number `number` of the code cache.
    #[allow(clippy::too_many_lines, reason = "one case per micro-operation")]
    fn uop(&mut self, u: &Uop, number: u32, place: Place) {
        if self.flag_uop(u) {
            return;
        }
        let done = self.x86_uop(u);
        if !matches!(
            u.op,
            Op::Mov | Op::MovI | Op::Lea | Op::SetCc | Op::Cmov64 | Op::Cmov32 | Op::Cmov16
        ) {
            self.forget_host_flags();
        }
        if done || self.vector_uop(u, number, place) {
            return;
        }
        match u.op {
            Op::MovI if u.imm == 0 && self.has_host_flags() => {
                let d = self.dst(u.d);
                x!(self ; mov Rd(d), DWORD 0);
            }
            Op::MovI => {
                let d = self.dst(u.d);
                self.set(d, u.imm);
            }
            Op::Mov => {
                let a = self.src(u.a);
                let d = self.dst(u.d);
                self.copy(d, a);
            }
            Op::MovPc => {
                self.address(u.imm);
                let d = self.dst(u.d);
                x!(self ; mov Rq(d), rax);
            }
            Op::Add => self.add(u),
            Op::AddI => self.add_immediate(u),
            Op::Sub => {
                let (a, b, d) = self.operands(u);
                if d == b && d != a {
                    x!(self ; mov rax, Rq(a) ; sub rax, Rq(b) ; mov Rq(d), rax);
                } else {
                    self.copy(d, a);
                    x!(self ; sub Rq(d), Rq(b));
                }
            }
            Op::SubI => {
                let a = self.src(u.a);
                self.constant(u.imm);
                x!(self ; sub rax, Rq(a));
                self.result(u.d);
            }
            Op::Mul => {
                let (a, b, d) = self.operands(u);
                if d == b {
                    x!(self ; imul Rq(d), Rq(a));
                } else {
                    self.copy(d, a);
                    x!(self ; imul Rq(d), Rq(b));
                }
            }
            Op::MulI => {
                let a = self.src(u.a);
                match small(u.imm) {
                    Some(imm) => x!(self ; imul rax, Rq(a), DWORD imm),
                    None => {
                        self.constant(u.imm);
                        x!(self ; imul rax, Rq(a));
                    }
                }
                self.result(u.d);
            }
            Op::MulHigh | Op::MulHighS => {
                let (a, b) = (self.src(u.a), self.src(u.b));
                x!(self ; mov rax, Rq(a));
                if u.op == Op::MulHigh {
                    x!(self ; mul Rq(b));
                } else {
                    x!(self ; imul Rq(b));
                }
                let d = self.dst(u.d);
                x!(self ; mov Rq(d), rdx);
            }
            Op::Div64 | Op::Div32 => self.divide(u),
            Op::SameBytes => {
                let (a, b) = (self.src(u.a), self.src(u.b));
                x!(self ; movq xmm0, Rq(a) ; movq xmm1, Rq(b) ; pcmpeqb xmm0, xmm1);
                let d = self.dst(u.d);
                x!(self ; movq Rq(d), xmm0);
            }
            Op::MulW => {
                let (a, b) = (self.src(u.a), self.src(u.b));
                x!(self ; movsxd rax, Rd(a) ; movsxd rcx, Rd(b) ; imul rax, rcx);
                self.result(u.d);
            }
            Op::Neg => {
                let a = self.src(u.a);
                let d = self.dst(u.d);
                self.copy(d, a);
                x!(self ; neg Rq(d));
            }
            Op::And | Op::Or | Op::Xor => {
                let (a, b, d) = self.operands(u);
                let other = if d == b { a } else { b };
                if d != b {
                    self.copy(d, a);
                }
                match u.op {
                    Op::And => x!(self ; and Rq(d), Rq(other)),
                    Op::Or => x!(self ; or Rq(d), Rq(other)),
                    _ => x!(self ; xor Rq(d), Rq(other)),
                }
            }
            Op::Andc | Op::Orc => {
                let (a, b, d) = self.operands(u);
                x!(self ; mov rax, Rq(b) ; not rax);
                match u.op {
                    Op::Andc => x!(self ; and rax, Rq(a)),
                    _ => x!(self ; or rax, Rq(a)),
                }
                x!(self ; mov Rq(d), rax);
            }
            Op::Nand | Op::Nor | Op::Eqv => {
                let (a, b, d) = self.operands(u);
                x!(self ; mov rax, Rq(a));
                match u.op {
                    Op::Nand => x!(self ; and rax, Rq(b)),
                    Op::Nor => x!(self ; or rax, Rq(b)),
                    _ => x!(self ; xor rax, Rq(b)),
                }
                x!(self ; not rax ; mov Rq(d), rax);
            }
            Op::AndI | Op::OrI | Op::XorI => {
                let a = self.src(u.a);
                let d = self.dst(u.d);
                self.copy(d, a);
                self.logic_immediate(u.op, d, u.imm);
            }
            Op::Ext8 => {
                let (a, d) = self.unary(u);
                x!(self ; movsx Rq(d), Rb(a));
            }
            Op::Ext16 => {
                let (a, d) = self.unary(u);
                x!(self ; movsx Rq(d), Rw(a));
            }
            Op::Ext32 => {
                let (a, d) = self.unary(u);
                x!(self ; movsxd Rq(d), Rd(a));
            }
            Op::Clz64 | Op::Clz32 => self.leading_zeros(u),
            Op::Shl64 | Op::Shr64 | Op::Shl32 | Op::Shr32 => self.shift(u),
            Op::Sra64I | Op::Sra32I => self.shift_arithmetic(u),
            Op::RotMask => self.rotate_mask(u),
            Op::RotMask32 => self.rotate_mask_32(u),
            Op::RotMaskV => {
                let (a, b) = (self.src(u.a), self.src(u.b));
                x!(self ; mov rcx, Rq(b) ; mov rax, Rq(a) ; rol rax, cl);
                self.logic_immediate(Op::AndI, 0, u.imm);
                self.result(u.d);
            }
            Op::RotMask32V => {
                let (a, b) = (self.src(u.a), self.src(u.b));
                x!(self ; mov rcx, Rq(b) ; mov eax, Rd(a) ; rol eax, cl);
                self.twice(u.imm);
                self.logic_immediate(Op::AndI, 0, u.imm);
                self.result(u.d);
            }
            Op::RotIns if self.insert_low(u) => {}
            Op::RotIns => {
                let (a, d) = (self.src(u.a), self.src(u.d));
                x!(self ; mov rax, Rq(a) ; rol rax, u.aux as i8);
                self.insert(d, u);
            }
            Op::RotIns32 => {
                let (a, d) = (self.src(u.a), self.src(u.d));
                x!(self ; mov eax, Rd(a) ; rol eax, u.aux as i8);
                self.twice(u.imm);
                self.insert(d, u);
            }
            Op::AddCarry | Op::SubCarry | Op::AddICarry | Op::SubICarry => self.add_carry(u),
            Op::CmpS64
            | Op::CmpU64
            | Op::CmpS32
            | Op::CmpU32
            | Op::CmpS64I
            | Op::CmpU64I
            | Op::CmpS32I
            | Op::CmpU32I => self.compare(u),
            Op::Ea32 => {
                self.effective_address(u);
                x!(self ; mov eax, eax);
                self.result(u.d);
            }
            Op::Ld8
            | Op::Ld16
            | Op::Ld32
            | Op::Ld64
            | Op::Ld16S
            | Op::Ld32S
            | Op::Ld16R
            | Op::Ld32R
            | Op::Ld64R
            | Op::Ld16RS
            | Op::Ld32RS => self.load(u, place),
            Op::St8 | Op::St16 | Op::St32 | Op::St64 | Op::St16R | Op::St32R | Op::St64R => {
                self.store(u, place);
            }
            Op::LdM8 | Op::LdM16 | Op::LdM32 | Op::LdM64 => self.load(u, place),
            Op::Bz => self.branch_on_zero(u),
            Op::Pure | Op::Sra64 | Op::Sra32 | Op::AluF => {
                self.helper(self.thunks.simple, number, place)
            }
            Op::Call => self.helper(self.thunks.call, number, place),
            Op::Demand => self.demand(u, number, place),
            Op::CallEnd => self.helper(self.thunks.call_end, number, place),
            Op::Jmp => {
                self.write_back(false);
                self.go(u.imm);
            }
            Op::JmpReg => {
                self.go_to_register(u.a, u.imm);
            }
            Op::Bc | Op::BcReg => self.branch(u),
            Op::Bdnz | Op::Bdnz32 => {
                let a = self.src(u.a);
                self.dst(u.a);
                if u.op == Op::Bdnz {
                    x!(self ; sub Rq(a), 1);
                } else {
                    x!(self ; sub Rq(a), 1);
                    x!(self ; test Rd(a), Rd(a));
                }
                self.write_back(false);
                self.go_if(if u.d != 0 { cc::NE } else { cc::E }, u.imm);
                self.go(u64::from(u.aux));
            }
            // Those of the front end for x86-64.
            _ => {}
        }
    }

    /// rax = a / b, or 0. Of 32 bits, the quotient of 64-bit numbers is the same.
    fn divide(&mut self, u: &Uop) {
        let (a, b) = (self.src(u.a), self.src(u.b));
        let done = self.ops.new_dynamic_label();
        if u.op == Op::Div64 {
            x!(self ; mov rcx, Rq(b) ; xor edx, edx ; xor eax, eax ; test rcx, rcx ; jz =>done ; mov rax, Rq(a) ; div rcx);
        } else {
            x!(self ; mov ecx, Rd(b) ; xor edx, edx ; xor eax, eax ; test ecx, ecx ; jz =>done ; mov eax, Rd(a) ; div ecx);
        }
        x!(self ; =>done);
        self.result(u.d);
    }

    /// Nothing, if register a has a bit of mask b; else an exception.
    fn demand(&mut self, u: &Uop, number: u32, place: Place) {
        match self.regs.find(u.a) {
            Some(host) => x!(self ; test Rb(host), BYTE u.b as i8),
            None => x!(self ; test BYTE [rbp + register(u.a)], BYTE u.b as i8),
        }
        let label = self.ops.new_dynamic_label();
        x!(self ; jz =>label);
        self.refer();
        self.cold.push(Cold::Refuse {
            label,
            number,
            place,
            dirty: self.regs.dirty().collect(),
            flags: self.late_flags(),
        });
    }

    /// Host registers of both sources and the destination.
    fn operands(&mut self, u: &Uop) -> (u8, u8, u8) {
        let (a, b) = (self.src(u.a), self.src(u.b));
        (a, b, self.dst(u.d))
    }

    fn unary(&mut self, u: &Uop) -> (u8, u8) {
        let a = self.src(u.a);
        (a, self.dst(u.d))
    }

    /// d = rax.
    fn result(&mut self, d: Reg) {
        let d = self.dst(d);
        x!(self ; mov Rq(d), rax);
    }

    /// rax = address of the block + imm.
    fn address(&mut self, imm: u64) {
        let imm = imm.wrapping_add(self.offset as u64);
        match small(imm) {
            Some(imm) => x!(self ; lea rax, [rbx + imm]),
            None => {
                self.constant(imm);
                x!(self ; add rax, rbx);
            }
        }
    }

    fn add(&mut self, u: &Uop) {
        let (a, b, d) = self.operands(u);
        if d == a {
            x!(self ; add Rq(d), Rq(b));
        } else if d == b {
            x!(self ; add Rq(d), Rq(a));
        } else {
            x!(self ; lea Rq(d), [Rq(a) + Rq(b)]);
        }
    }

    fn add_immediate(&mut self, u: &Uop) {
        let (a, d) = self.unary(u);
        match small(u.imm) {
            Some(imm) => self.add_to(d, a, imm),
            None => {
                self.constant(u.imm);
                x!(self ; add rax, Rq(a) ; mov Rq(d), rax);
            }
        }
    }

    /// host = host OP imm. Uses rcx.
    fn logic_immediate(&mut self, op: Op, host: u8, imm: u64) {
        if op == Op::AndI {
            match imm {
                u64::MAX => return,
                0xff => return x!(self ; movzx Rd(host), Rb(host)),
                0xffff => return x!(self ; movzx Rd(host), Rw(host)),
                0xffff_ffff => return x!(self ; mov Rd(host), Rd(host)),
                _ => {}
            }
            // The upper half becomes zero.
            if let Ok(imm) = u32::try_from(imm) {
                return x!(self ; and Rd(host), DWORD imm as i32);
            }
        }
        if let Ok(imm) = i8::try_from(imm as i64) {
            match op {
                Op::AndI => x!(self ; and Rq(host), BYTE imm),
                Op::OrI => x!(self ; or Rq(host), BYTE imm),
                _ => x!(self ; xor Rq(host), BYTE imm),
            }
            return;
        }
        if let Some(imm) = small(imm) {
            match op {
                Op::AndI => x!(self ; and Rq(host), DWORD imm),
                Op::OrI => x!(self ; or Rq(host), DWORD imm),
                _ => x!(self ; xor Rq(host), DWORD imm),
            }
            return;
        }
        self.set(1, imm);
        match op {
            Op::AndI => x!(self ; and Rq(host), rcx),
            Op::OrI => x!(self ; or Rq(host), rcx),
            _ => x!(self ; xor Rq(host), rcx),
        }
    }

    fn leading_zeros(&mut self, u: &Uop) {
        let a = self.src(u.a);
        // With bsr: 63 - index of the highest one, and for zero the width.
        if u.op == Op::Clz64 {
            x!(self ; mov ecx, 127 ; bsr rax, Rq(a) ; cmovz eax, ecx ; xor eax, 63);
        } else {
            x!(self ; mov ecx, 63 ; bsr eax, Rd(a) ; cmovz eax, ecx ; xor eax, 31);
        }
        self.result(u.d);
    }

    fn shift(&mut self, u: &Uop) {
        let (a, b) = (self.src(u.a), self.src(u.b));
        x!(self ; mov rcx, Rq(b));
        match u.op {
            Op::Shl64 | Op::Shr64 => {
                x!(self ; mov rax, Rq(a) ; xor edx, edx);
                if u.op == Op::Shl64 {
                    x!(self ; shl rax, cl);
                } else {
                    x!(self ; shr rax, cl);
                }
                x!(self ; test cl, 64 ; cmovnz rax, rdx);
            }
            // Six bits of the count are what a 64-bit shift takes.
            Op::Shl32 => x!(self ; mov eax, Rd(a) ; shl rax, cl ; mov eax, eax),
            _ => x!(self ; mov eax, Rd(a) ; shr rax, cl),
        }
        self.result(u.d);
    }

    /// A 32-bit value is shifted as the 64-bit one with the same sign.
    fn shift_arithmetic(&mut self, u: &Uop) {
        let a = self.src(u.a);
        let n = if u.op == Op::Sra32I {
            x!(self ; movsxd rax, Rd(a));
            u.aux.min(31) as i8
        } else {
            x!(self ; mov rax, Rq(a));
            u.aux.min(63) as i8
        };
        x!(self ; xor ecx, ecx);
        if n != 0 {
            // Both carries: the sign, if a one is lost.
            x!(self
                ; mov rdx, rax
                ; shl rdx, 64 - n
                ; setnz cl
                ; mov rdx, rax
                ; shr rdx, 63
                ; and ecx, edx
                ; sar rax, n
            );
        }
        for carry in [R_CA, R_CA32] {
            let carry = self.dst(carry);
            x!(self ; mov Rq(carry), rcx);
        }
        self.result(u.d);
    }

    fn rotate_mask(&mut self, u: &Uop) {
        let (a, d) = self.unary(u);
        let n = u.aux & 63;
        self.copy(d, a);
        if n != 0 && u.imm == u64::MAX << n {
            x!(self ; shl Rq(d), n as i8);
        } else if n != 0 && u.imm == u64::MAX >> (64 - n) {
            x!(self ; shr Rq(d), (64 - n) as i8);
        } else {
            if n != 0 {
                x!(self ; rol Rq(d), n as i8);
            }
            self.logic_immediate(Op::AndI, d, u.imm);
        }
    }

    fn rotate_mask_32(&mut self, u: &Uop) {
        let n = u.aux & 31;
        if u.imm >> 32 != 0 {
            let a = self.src(u.a);
            x!(self ; mov eax, Rd(a) ; rol eax, n as i8);
            self.twice(u.imm);
            self.logic_immediate(Op::AndI, 0, u.imm);
            self.result(u.d);
            return;
        }
        let (a, d) = self.unary(u);
        let imm = u.imm as u32;
        if a != d {
            x!(self ; mov Rd(d), Rd(a));
        }
        if n != 0 && imm == u32::MAX << n {
            x!(self ; shl Rd(d), n as i8);
        } else if n != 0 && imm == u32::MAX >> (32 - n) {
            x!(self ; shr Rd(d), (32 - n) as i8);
        } else {
            if n != 0 {
                x!(self ; rol Rd(d), n as i8);
            }
            if imm != u32::MAX {
                self.logic_immediate(Op::AndI, d, u.imm);
            } else if n == 0 && a == d {
                x!(self ; mov Rd(d), Rd(d));
            }
        }
    }

    /// The low half of rax (whose upper half is zero) in both halves, if the upper one matters. Uses rcx.
    fn twice(&mut self, mask: u64) {
        if mask >> 32 != 0 {
            x!(self ; mov rcx, rax ; shl rcx, 32 ; or rax, rcx);
        }
    }

    /// d = (rax & imm) | (d & !imm).
    fn insert(&mut self, old: u8, u: &Uop) {
        x!(self ; xor rax, Rq(old));
        self.logic_immediate(Op::AndI, 0, u.imm);
        let d = self.dst(u.d);
        x!(self ; xor Rq(d), rax);
    }

    fn add_carry(&mut self, u: &Uop) {
        let a = self.src(u.a);
        let immediate = matches!(u.op, Op::AddICarry | Op::SubICarry);
        x!(self ; mov rax, Rq(a));
        if matches!(u.op, Op::SubCarry | Op::SubICarry) {
            x!(self ; not rax);
        }
        let b = if immediate {
            self.set(1, u.imm);
            1
        } else {
            self.src(u.b)
        };
        // rdx: what the sum would be without carries into bit 32, up to that bit.
        x!(self ; mov rdx, rax ; xor rdx, Rq(b));
        let carry_in = match u.op {
            Op::AddICarry => false,
            Op::SubICarry => true,
            _ if u.aux & 1 != 0 => {
                let ca = self.src(R_CA);
                x!(self ; mov ecx, Rd(ca) ; add ecx, -1 ; adc rax, Rq(b));
                return self.carry_out(u);
            }
            _ => u.aux >> 1 & 1 != 0,
        };
        if carry_in {
            x!(self ; stc ; adc rax, Rq(b));
        } else {
            x!(self ; add rax, Rq(b));
        }
        self.carry_out(u);
    }

    /// After an addition: the sum in rax, the carry flag, and rdx as `add_carry` leaves it.
    fn carry_out(&mut self, u: &Uop) {
        x!(self ; setc cl ; movzx ecx, cl);
        let ca = self.dst(R_CA);
        x!(self ; mov Rq(ca), rcx ; xor rdx, rax ; shr rdx, 32 ; and edx, 1);
        let ca32 = self.dst(R_CA32);
        x!(self ; mov Rq(ca32), rdx);
        self.result(u.d);
    }

    /// Host comparison of the operands, which leaves the flags.
    fn host_compare(&mut self, op: Op, a: Reg, b: Reg, imm: u64) {
        let a = self.src(a);
        match op {
            Op::CmpS64 | Op::CmpU64 => {
                let b = self.src(b);
                x!(self ; cmp Rq(a), Rq(b));
            }
            Op::CmpS32 | Op::CmpU32 => {
                let b = self.src(b);
                x!(self ; cmp Rd(a), Rd(b));
            }
            Op::CmpS64I | Op::CmpU64I => match small(imm) {
                Some(0) => x!(self ; test Rq(a), Rq(a)),
                Some(imm) => x!(self ; cmp Rq(a), imm),
                None => {
                    // Not `set`, which may change flags that nobody needs here, but rdx is free.
                    self.set(2, imm);
                    x!(self ; cmp Rq(a), rdx);
                }
            },
            _ if imm as u32 == 0 => x!(self ; test Rd(a), Rd(a)),
            _ => x!(self ; cmp Rd(a), imm as i32),
        }
    }

    fn compare(&mut self, u: &Uop) {
        let so = self.src(R_SO);
        self.host_compare(u.op, u.a, u.b, u.imm);
        // From here to `flags_until` nothing changes the host's flags: a branch on them may follow.
        let d = self.dst(u.d);
        self.add_to(0, so, 8);
        self.add_to(1, so, 4);
        self.add_to(2, so, 2);
        if signed(u.op) {
            x!(self ; cmovg eax, ecx);
        } else {
            x!(self ; cmova eax, ecx);
        }
        x!(self ; cmove eax, edx ; mov Rd(d), eax);
        self.flags_until = self.ops.offset().0;
        let immediate = !matches!(u.op, Op::CmpS64 | Op::CmpU64 | Op::CmpS32 | Op::CmpU32);
        self.compared = (u.d != u.a && (immediate || u.d != u.b)).then_some(Compared {
            field: u.d,
            op: u.op,
            a: u.a,
            b: if immediate { u.a } else { u.b },
            imm: u.imm,
        });
    }

    /// rax = a + b + imm.
    fn effective_address(&mut self, u: &Uop) {
        let imm = match small(u.imm) {
            Some(imm) => imm,
            None => {
                self.constant(u.imm);
                for r in [u.a, u.b] {
                    if r != R_ZERO {
                        let h = self.src(r);
                        x!(self ; add rax, Rq(h));
                    }
                }
                return;
            }
        };
        match (u.a, u.b) {
            (R_ZERO, R_ZERO) => self.constant(u.imm),
            (r, R_ZERO) | (R_ZERO, r) => {
                let h = self.src(r);
                match imm {
                    0 => x!(self ; mov rax, Rq(h)),
                    _ => self.add_to(0, h, imm),
                }
            }
            (a, b) => {
                let (a, b) = (self.src(a), self.src(b));
                match imm {
                    0 => x!(self ; lea rax, [Rq(a) + Rq(b)]),
                    _ => x!(self ; lea rax, [Rq(a) + Rq(b) + imm]),
                }
            }
        }
    }

    /// Soft TLB: rax becomes the host address of `n` bytes at effective address rax, or `miss` is jumped to with rax unchanged. Only the
    /// half of the addresses that is usual for this code is looked for: the way of misses looks for both.
    fn translate(&mut self, table: i32, n: u8, miss: DynamicLabel) {
        match n {
            1 => x!(self ; mov rdx, rax),
            _ => x!(self ; lea rdx, [BYTE rax + n as i8 - 1]),
        }
        if self.host.bmi1 {
            x!(self ; bextr ecx, eax, r15d);
        } else {
            x!(self ; mov ecx, eax ; shr ecx, INDEX_SHIFT ; and ecx, INDEX_MASK);
        }
        x!(self
            ; shr rdx, 12
            ; or rdx, r13
            ; cmp rdx, [rbp + rcx * 8 + table]
            ; jne =>miss
        );
        self.refer();
        x!(self ; add rax, [rbp + rcx * 8 + table + ADDENDS]);
    }

    /// dst = base + disp, in the fewest bytes: of a register that is not known when this is written, the assembler takes the longest form.
    fn add_to(&mut self, dst: u8, base: u8, disp: i32) {
        let rex = 0x48 | (dst & 8) >> 1 | base >> 3;
        let modrm = (dst & 7) << 3 | base & 7;
        let short = i8::try_from(disp).ok();
        let mode = if short.is_some() { 0x40 } else { 0x80 };
        self.ops.extend(&[rex, 0x8d, mode | modrm]);
        if base & 7 == 4 {
            self.ops.push(0x24);
        }
        match short {
            Some(disp) => self.ops.push_i8(disp),
            None => self.ops.push_i32(disp),
        }
    }

    fn load(&mut self, u: &Uop, place: Place) {
        let n = size(u.op);
        self.effective_address(u);
        let (label, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        let dirty = self.regs.dirty().collect();
        let flags = self.late_flags();
        let d = self.dst(u.d);
        let modify = matches!(u.op, Op::LdM8 | Op::LdM16 | Op::LdM32 | Op::LdM64);
        self.translate(if modify { WRITE } else { READ }, n, label);
        x!(self ; =>back);
        let movbe = self.host.movbe;
        match u.op {
            Op::LdM8 => x!(self ; movzx Rd(d), BYTE [rax]),
            Op::LdM16 => x!(self ; movzx Rd(d), WORD [rax]),
            Op::LdM32 => x!(self ; mov Rd(d), [rax]),
            Op::LdM64 => x!(self ; mov Rq(d), [rax]),
            Op::Ld8 => x!(self ; movzx Rd(d), BYTE [rax]),
            Op::Ld16 => x!(self ; movzx Rd(d), WORD [rax]),
            Op::Ld32 => x!(self ; mov Rd(d), [rax]),
            Op::Ld64 => x!(self ; mov Rq(d), [rax]),
            Op::Ld16S => x!(self ; movsx Rq(d), WORD [rax]),
            Op::Ld32S => x!(self ; movsxd Rq(d), DWORD [rax]),
            Op::Ld16R => x!(self ; movzx Rd(d), WORD [rax] ; rol Rw(d), 8),
            Op::Ld32R if movbe => x!(self ; movbe Rd(d), [rax]),
            Op::Ld64R if movbe => x!(self ; movbe Rq(d), [rax]),
            Op::Ld32R => x!(self ; mov Rd(d), [rax] ; bswap Rd(d)),
            Op::Ld16RS => {
                x!(self ; movzx Rd(d), WORD [rax] ; rol Rw(d), 8 ; movsx Rq(d), Rw(d));
            }
            Op::Ld32RS => x!(self ; mov Rd(d), [rax] ; bswap Rd(d) ; movsxd Rq(d), Rd(d)),
            _ => x!(self ; mov Rq(d), [rax] ; bswap Rq(d)),
        }
        self.cold.push(Cold::Access {
            label,
            back,
            thunk: if modify {
                self.thunks.modify[n.trailing_zeros() as usize]
            } else {
                self.thunks.load[n.trailing_zeros() as usize]
            },
            place,
            dirty,
            flags,
            value: None,
        });
    }

    fn store(&mut self, u: &Uop, place: Place) {
        let n = size(u.op);
        let reversed = matches!(u.op, Op::St16R | Op::St32R | Op::St64R);
        let v = self.src(u.d);
        self.effective_address(u);
        let (label, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        self.translate(WRITE, n, label);
        let movbe = self.host.movbe;
        match u.op {
            Op::St8 => x!(self ; mov [rax], Rb(v)),
            Op::St16 => x!(self ; mov [rax], Rw(v)),
            Op::St32 => x!(self ; mov [rax], Rd(v)),
            Op::St64 => x!(self ; mov [rax], Rq(v)),
            Op::St16R if movbe => x!(self ; movbe [rax], Rw(v)),
            Op::St32R if movbe => x!(self ; movbe [rax], Rd(v)),
            Op::St64R if movbe => x!(self ; movbe [rax], Rq(v)),
            Op::St16R => x!(self ; mov ecx, Rd(v) ; rol cx, 8 ; mov [rax], cx),
            Op::St32R => x!(self ; mov ecx, Rd(v) ; bswap ecx ; mov [rax], ecx),
            _ => x!(self ; mov rcx, Rq(v) ; bswap rcx ; mov [rax], rcx),
        }
        x!(self ; =>back);
        self.cold.push(Cold::Access {
            label,
            back,
            thunk: self.thunks.store[n.trailing_zeros() as usize],
            place,
            dirty: self.regs.dirty().collect(),
            flags: self.late_flags(),
            value: Some((v, n, reversed)),
        });
    }

    fn helper(&mut self, thunk: usize, number: u32, place: Place) {
        self.write_back(true);
        self.regs.forget();
        self.forget_flags();
        self.compared = None;
        x!(self
            ; mov esi, DWORD number as i32
            ; mov edx, DWORD place.raw() as i32
            ; call extern thunk
        );
    }

    /// On to the block at this one's address + imm. The registers are written back.
    fn go(&mut self, imm: u64) {
        let target = imm.wrapping_add(self.offset as u64);
        if target < PAGE {
            let (label, site) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
            x!(self ; jmp =>label ; =>site);
            self.refer();
            let target = target as i32;
            self.cold.push(Cold::Link {
                label,
                site,
                target,
            });
            return;
        }
        self.advance(target);
        x!(self ; jmp extern self.thunks.jump);
    }

    /// From the address of the page to that of another block.
    fn advance(&mut self, by: u64) {
        match small(by) {
            Some(by) => x!(self ; add rbx, by),
            None => {
                self.constant(by);
                x!(self ; add rbx, rax);
            }
        }
    }

    fn go_to_register(&mut self, r: Reg, mask: u64) {
        let a = self.src(r);
        x!(self ; mov rbx, Rq(a));
        if mask != u64::MAX {
            self.logic_immediate(Op::AndI, 3, mask);
        }
        self.write_back(false);
        x!(self ; jmp extern self.thunks.jump);
    }

    fn branch(&mut self, u: &Uop) {
        let target = (u.op == Op::BcReg).then_some(u.imm as Reg);
        let taken_if_set = u.d != 0;
        let compared = self
            .compared
            .filter(|c| c.field == u.a && matches!(u.b, 8 | 4 | 2));
        let flags_hold = self.flags_until == self.ops.offset().0;
        if let Some(r) = target {
            // Changes no flag.
            let r = self.src(r);
            x!(self ; mov rax, Rq(r));
        }
        let condition = match compared {
            Some(c) => {
                if flags_hold {
                    self.write_back(false);
                } else {
                    self.src(c.a);
                    self.src(c.b);
                    self.write_back(false);
                    self.host_compare(c.op, c.a, c.b, c.imm);
                }
                let less = if signed(c.op) { cc::L } else { cc::B };
                let greater = if signed(c.op) { cc::G } else { cc::A };
                match u.b {
                    8 => less,
                    4 => greater,
                    _ => cc::E,
                }
            }
            None => {
                let field = self.src(u.a);
                self.write_back(false);
                x!(self ; test Rd(field), i32::from(u.b));
                cc::NE
            }
        };
        let condition = condition ^ u8::from(!taken_if_set);
        match target {
            Some(_) => {
                let label = self.ops.new_dynamic_label();
                self.jump_if(condition, label);
                self.refer();
                self.cold.push(Cold::Return { label });
            }
            None => self.go_if(condition, u.imm),
        }
        self.go(u64::from(u.aux));
    }

    /// If the condition holds, on to the block at this one's address + imm, as [`Compiler::go`].
    fn go_if(&mut self, condition: u8, imm: u64) {
        let label = self.ops.new_dynamic_label();
        self.jump_if(condition, label);
        self.refer();
        let target = imm.wrapping_add(self.offset as u64);
        if target < PAGE {
            let site = self.ops.new_dynamic_label();
            x!(self ; =>site);
            let target = target as i32;
            self.cold.push(Cold::Link {
                label,
                site,
                target,
            });
        } else {
            self.cold.push(Cold::Far { label, target });
        }
    }

    fn branch_on_zero(&mut self, u: &Uop) {
        let a = self.src(u.a);
        self.write_back(false);
        x!(self ; test Rq(a), Rq(a));
        self.go_if(if u.d != 0 { cc::E } else { cc::NE }, u.imm);
        self.go(u64::from(u.aux));
    }

    fn emit_cold(&mut self) {
        for cold in std::mem::take(&mut self.cold) {
            match cold {
                Cold::Budget { label } => {
                    x!(self ; =>label);
                    let start = self.ops.offset().0;
                    x!(self ; add r14, BYTE self.instructions as i8);
                    debug_assert_eq!(self.ops.offset().0 - start, RECOUNT_LEN);
                    x!(self ; add rbx, self.offset ; jmp extern self.thunks.exit_next);
                    self.refer();
                }
                Cold::Link {
                    label,
                    site,
                    target,
                } => {
                    x!(self ; =>label ; lea rdx, [=>site]);
                    self.refer();
                    x!(self ; add rbx, target ; jmp extern self.thunks.exit_link);
                    self.refer();
                }
                Cold::Far { label, target } => {
                    x!(self ; =>label);
                    self.advance(target);
                    x!(self ; jmp extern self.thunks.jump);
                    self.refer();
                }
                Cold::Return { label } => {
                    x!(self ; =>label ; mov rbx, rax ; and rbx, -4 ; jmp extern self.thunks.jump);
                    self.refer();
                }
                Cold::Access {
                    label,
                    back,
                    thunk,
                    place,
                    dirty,
                    flags,
                    value,
                } => {
                    x!(self ; =>label);
                    self.store_late(dirty, flags);
                    if let Some((v, n, reversed)) = value {
                        x!(self ; mov rcx, Rq(v));
                        match (reversed, n) {
                            (false, _) => {}
                            (true, 2) => x!(self ; rol cx, 8),
                            (true, 4) => x!(self ; bswap ecx),
                            (true, _) => x!(self ; bswap rcx),
                        }
                    }
                    x!(self ; mov edx, DWORD place.raw() as i32 ; call extern thunk);
                    self.refer();
                    x!(self ; jmp =>back);
                    self.refer();
                }
                Cold::StoreVector {
                    label,
                    back,
                    place,
                    dirty,
                    flags,
                    pair,
                    from,
                } => {
                    x!(self ; =>label);
                    self.store_late(dirty, flags);
                    match pair {
                        Some((low, high)) => {
                            x!(self ; mov [rbp + VALUE], Rq(low) ; mov [rbp + VALUE_HIGH], Rq(high));
                        }
                        None => {
                            x!(self ; movups xmm0, [rbp + register(from)] ; movups [rbp + VALUE], xmm0);
                        }
                    }
                    let thunk = self.thunks.store_wide;
                    x!(self ; mov edx, DWORD place.raw() as i32 ; call extern thunk);
                    self.refer();
                    x!(self ; jmp =>back);
                    self.refer();
                }
                Cold::Refuse {
                    label,
                    number,
                    place,
                    dirty,
                    flags,
                } => {
                    x!(self ; =>label);
                    self.store_late(dirty, flags);
                    let thunk = self.thunks.call;
                    x!(self
                        ; mov esi, DWORD number as i32
                        ; mov edx, DWORD place.raw() as i32
                        ; call extern thunk
                    );
                    self.refer();
                    // It does not come back.
                    x!(self ; ud2);
                }
            }
        }
    }

    /// Stores what only host registers have, in code out of the way. Uses rdx.
    fn store_late(&mut self, dirty: Vec<(u8, Reg)>, flags: Vec<(Reg, flags::Late)>) {
        for (host, r) in dirty {
            self.store_register(host, r);
        }
        for (flag, late) in flags {
            self.put_late(flag, late);
        }
    }
}

fn signed(op: Op) -> bool {
    matches!(op, Op::CmpS64 | Op::CmpS32 | Op::CmpS64I | Op::CmpS32I)
}

/// Bytes of a load or store.
fn size(op: Op) -> u8 {
    match op {
        Op::Ld8 | Op::LdM8 | Op::St8 => 1,
        Op::Ld16 | Op::LdM16 | Op::Ld16S | Op::Ld16R | Op::Ld16RS | Op::St16 | Op::St16R => 2,
        Op::Ld32 | Op::LdM32 | Op::Ld32S | Op::Ld32R | Op::Ld32RS | Op::St32 | Op::St32R => 4,
        _ => 8,
    }
}
