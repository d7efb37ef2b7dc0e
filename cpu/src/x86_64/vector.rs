//! Vector and x87 instructions of a CPU: which of them it may run now, their operands, and what becomes of their results.
//!
//! XMM registers lie in the flat register file, from [`R_XMM`] on; [`simd`] sees those that an instruction names.

use std::sync::LazyLock;

use iced_x86::{Code, EncodingKind, Mnemonic, OpCodeOperandKind as Kind};

use super::Cpu;
use super::decode::{Field, field};
use super::exception::{Exception, vector};
use super::memory::Env;
use super::packet::{MEMORY, Packet, R_ADDRESS};
use super::regs::*;
use super::simd::{self, Effect, Memory, Operands, Src, Trap};
use super::x87::control::FSAVE_BYTES;
use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::Fault;
use crate::engine::uop::{Op, Reg, Uop};

/// State that an instruction needs to be enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// FWAIT.
    Wait,
    X87,
    Mmx,
    Sse,
    /// VEX-encoded: CPUID does not have them.
    Avx,
}

/// Where the registers of a form are, and what it needs.
#[derive(Clone, Copy, Debug)]
struct Plan {
    class: Class,
    first: Field,
    last: Option<Field>,
    memory: Memory,
}

static PLANS: LazyLock<Vec<Option<Plan>>> = LazyLock::new(|| Code::values().map(plan).collect());

fn plan(code: Code) -> Option<Plan> {
    if !simd::handles(code) {
        return None;
    }
    let info = code.op_code();
    let kinds: Vec<Kind> = (0..info.op_count()).map(|n| info.op_kind(n)).collect();
    let last = kinds.iter().skip(1).rev().find_map(|k| match k {
        Kind::imm8 | Kind::xmm_is4 | Kind::ymm_is4 => None,
        k => Some(field(*k)),
    });
    let is_xmm = |k: &Kind| {
        matches!(
            k,
            Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_or_mem | Kind::xmm_vvvv
        )
    };
    let is_mmx = |k: &Kind| matches!(k, Kind::mm_reg | Kind::mm_rm | Kind::mm_or_mem);
    let class = match code.mnemonic() {
        _ if info.encoding() != EncodingKind::Legacy => Class::Avx,
        Mnemonic::Wait => Class::Wait,
        Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr => Class::Sse,
        Mnemonic::Emms => Class::Mmx,
        _ if kinds.iter().any(is_xmm) => Class::Sse,
        _ if kinds.iter().any(is_mmx) => Class::Mmx,
        _ => Class::X87,
    };
    Some(Plan {
        class,
        first: kinds.first().map_or(Field::None, |k| field(*k)),
        last,
        memory: simd::memory_size(code).unwrap_or(Memory {
            load: 0,
            store: 0,
            align: 1,
        }),
    })
}

/// Bytes of an image of FNSAVE with 16-bit words.
const FSAVE_NARROW: usize = 94;

impl Cpu {
    /// Carries out an instruction of [`super::packet::Unit::Vector`].
    pub(super) fn vector_call(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        p: Packet,
    ) -> Result<(), Fault> {
        let env = &mut Env { shared, bus };
        match p.code {
            Code::Fnsave_m94byte => return self.save_x87(env, FSAVE_NARROW),
            Code::Fnsave_m108byte => return self.save_x87(env, FSAVE_BYTES),
            Code::Frstor_m94byte => return self.load_x87(env, FSAVE_NARROW),
            Code::Frstor_m108byte => return self.load_x87(env, FSAVE_BYTES),
            _ => {}
        }
        let Some(plan) = PLANS.get(p.code as usize).copied().flatten() else {
            return Err(self.raise(Exception::invalid_opcode()));
        };
        self.check_enabled(plan.class)?;
        let operands = self.vector_operands(env, &p, &plan)?;
        let effect = self.vector_run(&operands)?;
        self.vector_effect(env, &p, effect)
    }

    /// #UD or #NM if control registers turn an instruction off (Intel SDM vol. 3 §2.5, vol. 2 §2.4).
    fn check_enabled(&mut self, class: Class) -> Result<(), Fault> {
        let (em, ts) = (self.cr0 & CR0_EM != 0, self.cr0 & CR0_TS != 0);
        let vector = match class {
            Class::Avx => vector::UD,
            Class::Mmx if em => vector::UD,
            Class::Sse if em || self.cr4 & CR4_OSFXSR == 0 => vector::UD,
            Class::Wait if ts && self.cr0 & CR0_MP != 0 => vector::NM,
            Class::Wait => return Ok(()),
            Class::X87 if em => vector::NM,
            _ if ts => vector::NM,
            _ => return Ok(()),
        };
        Err(self.raise(Exception::plain(vector)))
    }

    fn vector_operands(
        &mut self,
        env: &mut Env<'_>,
        p: &Packet,
        plan: &Plan,
    ) -> Result<Operands, Fault> {
        let in_memory = p.rm == MEMORY;
        if in_memory && plan.memory.align > 1 {
            let at = self.core.regs[usize::from(R_ADDRESS)];
            if !at.is_multiple_of(u64::from(plan.memory.align)) {
                return Err(self.raise(Exception::general_protection()));
            }
        }
        // What is popped cannot come back.
        if in_memory && plan.class == Class::X87 && plan.memory.store != 0 {
            let at = self.core.regs[usize::from(R_ADDRESS)];
            self.check_write(env, at, u64::from(plan.memory.store))?;
        }
        let loaded = if in_memory && plan.memory.load != 0 {
            Src::Mem(self.load_quads(env, usize::from(plan.memory.load))?)
        } else {
            Src::None
        };
        let register = |field| match field {
            Field::Reg => p.reg,
            Field::Rm => p.rm,
            Field::Vvvv => p.extra,
            _ => 0,
        };
        let source = |field| match field {
            None => Src::None,
            Some(Field::Rm) if in_memory => loaded,
            Some(field) => Src::Reg(register(field)),
        };
        let mut o = Operands {
            op: p.code,
            dst: register(plan.first),
            src: source(plan.last),
            src2: p.extra,
            imm: p.imm as u8,
        };
        if plan.first == Field::Rm && in_memory && plan.memory.load != 0 {
            (o.dst, o.src) = (0, loaded);
        }
        match p.code.mnemonic() {
            // The memory operand is not encoded.
            Mnemonic::Maskmovq | Mnemonic::Maskmovdqu => {
                (o.dst, o.src2) = (simd::MEMORY, p.reg);
            }
            Mnemonic::Fcmovb
            | Mnemonic::Fcmove
            | Mnemonic::Fcmovbe
            | Mnemonic::Fcmovu
            | Mnemonic::Fcmovnb
            | Mnemonic::Fcmovne
            | Mnemonic::Fcmovnbe
            | Mnemonic::Fcmovnu => o.imm = self.arithmetic_flags() as u8,
            _ => {}
        }
        Ok(o)
    }

    /// Runs it on the registers that it may name.
    fn vector_run(&mut self, o: &Operands) -> Result<Effect, Fault> {
        let source = match o.src {
            Src::Reg(n) => n,
            _ => 0,
        };
        let named = [o.dst & 15, source & 15, o.src2 & 15, 0];
        for n in named {
            self.gather(n);
        }
        let gpr: &[u64; 16] = self.core.regs.first_chunk().unwrap_or(&[0; 16]);
        let done = simd::execute(&mut self.vectors, gpr, o);
        for n in [named[0], 0] {
            self.scatter(n);
        }
        done.map_err(|trap| self.vector_trap(trap))
    }

    fn vector_trap(&mut self, trap: Trap) -> Fault {
        let e = match trap {
            Trap::DeviceNotAvailable => Exception::plain(vector::NM),
            Trap::SimdFloat if self.cr4 & CR4_OSXMMEXCPT != 0 => Exception::plain(vector::XM),
            Trap::InvalidOpcode | Trap::SimdFloat => Exception::invalid_opcode(),
            Trap::X87 => Exception::plain(vector::MF),
            Trap::GeneralProtection => Exception::general_protection(),
        };
        self.raise(e)
    }

    fn vector_effect(
        &mut self,
        env: &mut Env<'_>,
        p: &Packet,
        effect: Effect,
    ) -> Result<(), Fault> {
        match effect {
            Effect::None => {}
            Effect::Store(quads, bytes) => {
                return self.store_quads(env, &quads, usize::from(bytes));
            }
            Effect::MaskedStore(quads, mask) => return self.store_masked(env, p, &quads, mask),
            Effect::Gpr(value) => self.vector_to_general(p, value),
            Effect::Flags(flags) => self.set_arithmetic_flags(flags),
            Effect::GprFlags(value, flags) => {
                self.vector_to_general(p, value);
                self.set_arithmetic_flags(flags);
            }
        }
        Ok(())
    }

    fn vector_to_general(&mut self, p: &Packet, value: u64) {
        let regs = &mut self.core.regs;
        match p.code.mnemonic() {
            Mnemonic::Fnstsw => {
                let ax = &mut regs[usize::from(R_RAX)];
                *ax = *ax & !0xffff | value & 0xffff;
            }
            Mnemonic::Pcmpistri | Mnemonic::Pcmpestri | Mnemonic::Pcmpestri64 => {
                regs[usize::from(R_RCX)] = value;
            }
            _ => {
                let first = PLANS
                    .get(p.code as usize)
                    .and_then(|plan| plan.as_ref())
                    .map_or(Field::Reg, |plan| plan.first);
                let n = if first == Field::Rm { p.rm } else { p.reg };
                regs[usize::from(n & 15)] = value;
            }
        }
    }

    fn load_quads(&mut self, env: &mut Env<'_>, bytes: usize) -> Result<[u64; 4], Fault> {
        let mut quads = [0; 4];
        let at = self.core.regs[usize::from(R_ADDRESS)];
        let mut done = 0;
        while done < bytes.min(32) {
            let size = piece(bytes - done);
            let at = self.wrap_linear(at.wrapping_add(done as u64));
            let value = self.read(env, at, size)?;
            quads[done / 8] |= value << (8 * (done % 8));
            done += usize::from(size);
        }
        Ok(quads)
    }

    /// Stores the low bytes, all or none.
    fn store_quads(
        &mut self,
        env: &mut Env<'_>,
        quads: &[u64; 4],
        bytes: usize,
    ) -> Result<(), Fault> {
        let at = self.core.regs[usize::from(R_ADDRESS)];
        if bytes > 8 {
            self.check_write(env, at, bytes as u64)?;
        }
        let mut done = 0;
        while done < bytes.min(32) {
            let size = piece(bytes - done);
            let at = self.wrap_linear(at.wrapping_add(done as u64));
            let value = quads[done / 8] >> (8 * (done % 8));
            self.write(env, at, size, value)?;
            done += usize::from(size);
        }
        Ok(())
    }

    /// MASKMOVQ and MASKMOVDQU: bytes at DS:RDI, or the segment of a prefix.
    fn store_masked(
        &mut self,
        env: &mut Env<'_>,
        p: &Packet,
        quads: &[u64; 4],
        mask: u32,
    ) -> Result<(), Fault> {
        let segment = p.extra >> 2 & 7;
        let width = 2 << p.address_size.min(2);
        for byte in (0..32_u32).filter(|n| mask >> n & 1 != 0) {
            let offset = self.core.regs[usize::from(R_RDI)].wrapping_add(u64::from(byte));
            let offset = super::memory::truncate(offset, width);
            let at = self.linear(segment, offset, 1, true)?;
            let value = quads[byte as usize / 8] >> (8 * (byte % 8));
            self.write(env, at, 1, value & 0xff)?;
        }
        Ok(())
    }

    /// FNSAVE.
    fn save_x87(&mut self, env: &mut Env<'_>, bytes: usize) -> Result<(), Fault> {
        self.check_enabled(Class::X87)?;
        let at = self.core.regs[usize::from(R_ADDRESS)];
        self.check_write(env, at, bytes as u64)?;
        let image = self.vectors.x87.clone().fnsave(bytes == FSAVE_BYTES);
        for (i, pair) in image[..bytes].as_chunks::<2>().0.iter().enumerate() {
            let at = self.wrap_linear(at.wrapping_add(2 * i as u64));
            self.write(env, at, 2, u64::from(u16::from_le_bytes(*pair)))?;
        }
        self.vectors.x87.initialize();
        Ok(())
    }

    /// FRSTOR.
    fn load_x87(&mut self, env: &mut Env<'_>, bytes: usize) -> Result<(), Fault> {
        self.check_enabled(Class::X87)?;
        if let Err(trap) = self.vectors.x87.check_pending() {
            return Err(self.vector_trap(trap));
        }
        let at = self.core.regs[usize::from(R_ADDRESS)];
        let mut image = [0; FSAVE_BYTES];
        for (i, pair) in image[..bytes].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let at = self.wrap_linear(at.wrapping_add(2 * i as u64));
            *pair = (self.read(env, at, 2)? as u16).to_le_bytes();
        }
        self.vectors.x87.frstor(&image, bytes == FSAVE_BYTES);
        Ok(())
    }

    /// XMM register `n` (modulo 16) from the flat register file to [`simd::Vectors`].
    fn gather(&mut self, n: u8) {
        let at = usize::from(R_XMM) + 2 * usize::from(n & 15);
        let low = &mut self.vectors.ymm[usize::from(n & 15)];
        (low[0], low[1]) = (self.core.regs[at], self.core.regs[at + 1]);
    }

    /// And back.
    fn scatter(&mut self, n: u8) {
        let at = usize::from(R_XMM) + 2 * usize::from(n & 15);
        let low = self.vectors.ymm[usize::from(n & 15)];
        (self.core.regs[at], self.core.regs[at + 1]) = (low[0], low[1]);
    }

    /// The vector and x87 state with all registers.
    pub(super) fn vectors(&mut self) -> &simd::Vectors {
        for n in 0..16 {
            self.gather(n);
        }
        &self.vectors
    }

    /// Changes the vector and x87 state.
    pub(super) fn change_vectors<T>(&mut self, change: impl FnOnce(&mut simd::Vectors) -> T) -> T {
        self.vectors();
        let done = change(&mut self.vectors);
        for n in 0..16 {
            self.scatter(n);
        }
        done
    }
}

/// Carries out [`crate::engine::uop::Op::Vec`] or [`crate::engine::uop::Op::VecMask`].
pub(super) fn pure(regs: &mut [u64; 256], u: &Uop) {
    let code = Code::try_from((u.aux & 0x1fff) as usize).unwrap_or(Code::INVALID);
    let (a, b) = (xmm(regs, u.d), xmm(regs, u.b));
    if u.op == Op::VecMask {
        regs[usize::from(u.d)] = simd::sign_bits(code, b);
        return;
    }
    let result = simd::pure(code, a, b, xmm(regs, u.a), u.imm as u8);
    regs[usize::from(u.d)] = result as u64;
    regs[usize::from(u.d.wrapping_add(1))] = (result >> 64) as u64;
}

fn xmm(regs: &[u64; 256], r: Reg) -> u128 {
    let high = regs[usize::from(r.wrapping_add(1))];
    u128::from(regs[usize::from(r)]) | u128::from(high) << 64
}

/// Bytes of the next access of as many.
fn piece(left: usize) -> u8 {
    match left {
        8.. => 8,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}
