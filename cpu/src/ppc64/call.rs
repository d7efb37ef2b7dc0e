//! Instructions that are too rare, or touch too much state, for micro-operations of their own.

use super::decode::{CALL_FORM, CALL_HYPERCALL, CALL_VECTOR};
use super::forms::{FORMS, Kind};
use super::interrupts::{
    Interrupt, PROGRAM_FP, PROGRAM_ILLEGAL, PROGRAM_PRIVILEGED, PROGRAM_TRAP, vector as vectors,
};
use super::regs::*;
use super::vector::{self, Facility, Trap, VecEnv};
use super::{Cpu, Exit, MAX_ILLEGAL_LOGGED};
use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::{self, Fault, NEXT_PC};
use crate::engine::uop::{R_CA, R_CA32, R_CR0, R_SO, Uop};

const FSCR_TAR: u64 = 1 << 8;
const FSCR_SCV: u64 = 1 << 12;
/// Bytes that dcbz zeroes.
const CACHE_BLOCK: u64 = 128;

/// What vector instructions work on.
struct Env<'a> {
    cpu: &'a mut Cpu,
    shared: &'a mut Shared,
    bus: &'a mut dyn Bus,
}

impl VecEnv for Env<'_> {
    fn regs(&self) -> &[u64; 256] {
        &self.cpu.core.regs
    }
    fn regs_mut(&mut self) -> &mut [u64; 256] {
        &mut self.cpu.core.regs
    }
    fn load(&mut self, ea: u64, size: u8) -> Result<u64, vector::MemFault> {
        self.cpu
            .load_guest(self.shared, self.bus, ea, size)
            .map_err(|_| vector::MemFault)
    }
    fn store(&mut self, ea: u64, size: u8, value: u64) -> Result<(), vector::MemFault> {
        self.cpu
            .store_guest(self.shared, self.bus, ea, size, value)
            .map_err(|_| vector::MemFault)
    }
}

impl Cpu {
    pub(super) fn load_guest(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        ea: u64,
        size: u8,
    ) -> Result<u64, Fault> {
        let le = self.msr & MSR_LE != 0;
        Ok(match size {
            1 => exec::load::<1, _>(self, shared, bus, ea)?,
            2 => {
                let v = exec::load::<2, _>(self, shared, bus, ea)?;
                if le {
                    v
                } else {
                    u64::from((v as u16).swap_bytes())
                }
            }
            4 => {
                let v = exec::load::<4, _>(self, shared, bus, ea)?;
                if le {
                    v
                } else {
                    u64::from((v as u32).swap_bytes())
                }
            }
            _ => {
                let v = exec::load::<8, _>(self, shared, bus, ea)?;
                if le { v } else { v.swap_bytes() }
            }
        })
    }

    pub(super) fn store_guest(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        ea: u64,
        size: u8,
        v: u64,
    ) -> Result<(), Fault> {
        let le = self.msr & MSR_LE != 0;
        match size {
            1 => exec::store::<1, _>(self, shared, bus, ea, v),
            2 => exec::store::<2, _>(
                self,
                shared,
                bus,
                ea,
                if le {
                    v
                } else {
                    u64::from((v as u16).swap_bytes())
                },
            ),
            4 => exec::store::<4, _>(
                self,
                shared,
                bus,
                ea,
                if le {
                    v
                } else {
                    u64::from((v as u32).swap_bytes())
                },
            ),
            _ => exec::store::<8, _>(self, shared, bus, ea, if le { v } else { v.swap_bytes() }),
        }
    }

    pub(super) fn g(&self, n: u32) -> u64 {
        self.core.regs[(n & 31) as usize]
    }

    pub(super) fn ea(&self, v: u64) -> u64 {
        if self.msr & MSR_SF != 0 {
            v
        } else {
            v & 0xffff_ffff
        }
    }

    pub(super) fn ea_x(&self, insn: u32) -> u64 {
        let ra = insn >> 16 & 31;
        let base = if ra == 0 { 0 } else { self.g(ra) };
        self.ea(base.wrapping_add(self.g(insn >> 11)))
    }

    fn ea_d(&self, insn: u32, mask: u64) -> u64 {
        let ra = insn >> 16 & 31;
        let base = if ra == 0 { 0 } else { self.g(ra) };
        self.ea(base.wrapping_add(insn as i16 as u64 & !mask))
    }

    fn privileged(&mut self) -> Result<(), Fault> {
        if self.msr & MSR_PR != 0 {
            return Err(self.record_simple(vectors::PROGRAM, PROGRAM_PRIVILEGED));
        }
        Ok(())
    }

    fn illegal(&mut self, insn: u32) -> Result<(), Fault> {
        if self.illegal_words.len() < MAX_ILLEGAL_LOGGED && self.illegal_words.insert(insn) {
            log::warn!(
                "ppc64: illegal or unimplemented instruction {insn:#010x} at {:#x}",
                self.core.pc
            );
        }
        Err(self.record_simple(vectors::PROGRAM, PROGRAM_ILLEGAL))
    }

    fn record_cr0(&mut self, v: u64) {
        let v = if self.msr & MSR_SF != 0 {
            v as i64
        } else {
            i64::from(v as i32)
        };
        let so = self.core.regs[R_SO as usize];
        self.core.regs[R_CR0 as usize] = so
            | match v.cmp(&0) {
                std::cmp::Ordering::Less => 8,
                std::cmp::Ordering::Greater => 4,
                std::cmp::Ordering::Equal => 2,
            };
    }

    pub(super) fn call_helper(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        u: Uop,
    ) -> Result<(), Fault> {
        match u.d {
            CALL_FORM => match FORMS.get(u.imm as usize) {
                Some(form) => self.form(shared, bus, form.kind, u.aux),
                None => self.illegal(u.aux),
            },
            CALL_VECTOR => match vector::OPS.get(u.imm as usize) {
                Some(op) => self.vector_op(shared, bus, op, u.aux),
                None => self.illegal(u.aux),
            },
            CALL_HYPERCALL => self.hypercall(bus),
            _ => self.illegal(u.aux),
        }
    }

    fn vector_op(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        op: &'static vector::VecOp,
        insn: u32,
    ) -> Result<(), Fault> {
        let (bit, vector) = match op.facility_for(insn) {
            Facility::Fp => (MSR_FP, vectors::FP_UNAVAILABLE),
            Facility::Vmx => (MSR_VEC, vectors::VECTOR_UNAVAILABLE),
            Facility::Vsx => (MSR_VSX, vectors::VSX_UNAVAILABLE),
        };
        if self.msr & bit == 0 {
            return Err(self.record_simple(vector, 0));
        }
        let mut vec = self.vec;
        let (little_endian, sixty_four) = (self.msr & MSR_LE != 0, self.msr & MSR_SF != 0);
        let fp_exceptions = self.msr & (MSR_FE0 | MSR_FE1) != 0;
        let result = (op.run)(&mut vector::VecCtx {
            insn,
            vec: &mut vec,
            little_endian,
            sixty_four,
            fp_exceptions,
            env: &mut Env {
                cpu: self,
                shared,
                bus,
            },
        });
        self.vec = vec;
        match result {
            Ok(()) => Ok(()),
            Err(Trap::FpEnabled) => Err(self.record_simple(vectors::PROGRAM, PROGRAM_FP)),
            Err(Trap::Memory) => Err(Fault),
            Err(Trap::Illegal) => self.illegal(insn),
        }
    }

    #[allow(clippy::too_many_lines, reason = "one case per instruction")]
    fn form(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        kind: Kind,
        insn: u32,
    ) -> Result<(), Fault> {
        let rt = (insn >> 21 & 31) as usize;
        let ra = (insn >> 16 & 31) as usize;
        let rb = (insn >> 11 & 31) as usize;
        let (s, a, b) = (self.core.regs[rt], self.core.regs[ra], self.core.regs[rb]);
        match kind {
            Kind::Twi | Kind::Tdi | Kind::Tw | Kind::Td => {
                let y = match kind {
                    Kind::Twi | Kind::Tdi => insn as i16 as u64,
                    _ => b,
                };
                let word = matches!(kind, Kind::Twi | Kind::Tw);
                let (x, y) = if word {
                    (a as i32 as u64, y as i32 as u64)
                } else {
                    (a, y)
                };
                let (xu, yu) = if word {
                    (x & 0xffff_ffff, y & 0xffff_ffff)
                } else {
                    (x, y)
                };
                let to = rt;
                let hit = to & 16 != 0 && (x as i64) < y as i64
                    || to & 8 != 0 && x as i64 > y as i64
                    || to & 4 != 0 && x == y
                    || to & 2 != 0 && xu < yu
                    || to & 1 != 0 && xu > yu;
                if hit {
                    return Err(self.record_simple(vectors::PROGRAM, PROGRAM_TRAP));
                }
            }
            Kind::Sc => self.system_call(),
            Kind::Scv => {
                if self.fscr & FSCR_SCV == 0 {
                    return Err(self.facility_unavailable(12));
                }
                self.system_call_vectored(u64::from(insn >> 5 & 127));
            }
            Kind::Rfid => {
                self.privileged()?;
                self.return_to(self.srr0, self.srr1);
            }
            Kind::Rfscv => {
                self.privileged()?;
                self.return_to(
                    self.core.regs[R_LR as usize],
                    self.core.regs[R_CTR as usize],
                );
            }
            Kind::Mfmsr => {
                self.privileged()?;
                self.core.regs[rt] = self.msr;
            }
            Kind::Mtmsr | Kind::Mtmsrd => {
                self.privileged()?;
                let mask = match (insn & 0x1_0000 != 0, kind) {
                    (true, _) => MSR_EE | MSR_RI,
                    (false, Kind::Mtmsr) => 0xffff_ffff & !(MSR_LE | MSR_ME),
                    (false, _) => !(MSR_LE | MSR_ME),
                };
                let mut msr = self.msr & !mask | s & mask;
                if msr & MSR_PR != 0 && mask & MSR_PR != 0 {
                    msr |= MSR_EE | MSR_IR | MSR_DR;
                }
                self.set_msr(msr);
            }
            Kind::Mfspr => {
                let spr = insn >> 16 & 31 | (insn >> 11 & 31) << 5;
                if let Some(v) = self.read_spr(spr)? {
                    self.core.regs[rt] = v;
                }
            }
            Kind::Mftb => {
                let spr = insn >> 16 & 31 | (insn >> 11 & 31) << 5;
                if let Some(v) = self.read_spr(spr)? {
                    self.core.regs[rt] = v;
                }
            }
            Kind::Mtspr => {
                let spr = insn >> 16 & 31 | (insn >> 11 & 31) << 5;
                self.write_spr(spr, s)?;
            }
            Kind::Bctar => {
                if self.msr & MSR_PR != 0 && self.fscr & FSCR_TAR == 0 {
                    return Err(self.facility_unavailable(8));
                }
            }
            Kind::Tlbie | Kind::Tlbiel => {
                self.privileged()?;
                self.invalidate(shared, insn, kind == Kind::Tlbie);
            }
            Kind::Tlbsync | Kind::Slbia | Kind::Msgclrp => self.privileged()?,
            Kind::Msgsndp => {
                // Doorbells between threads of a core: every vCPU is a core of its own.
                self.privileged()?;
            }
            Kind::Mfcr => {
                let fxm = insn >> 12 & 0xff;
                let cr = u64::from(self.cr());
                self.core.regs[rt] = if insn & 0x10_0000 != 0 && fxm.count_ones() != 1 {
                    0
                } else {
                    cr
                };
            }
            Kind::Mtcrf => {
                for i in 0..8 {
                    if insn >> (19 - i) & 1 != 0 {
                        self.core.regs[R_CR0 as usize + i] = s >> (28 - 4 * i) & 15;
                    }
                }
            }
            Kind::Mcrxrx => {
                let r = |n: u8| self.core.regs[n as usize] & 1;
                self.core.regs[R_CR0 as usize + rt / 4] =
                    r(R_OV) << 3 | r(R_OV32) << 2 | r(R_CA) << 1 | r(R_CA32);
            }
            Kind::Crand
            | Kind::Cror
            | Kind::Crxor
            | Kind::Crnand
            | Kind::Crnor
            | Kind::Creqv
            | Kind::Crandc
            | Kind::Crorc => {
                let bit = |n: usize| self.core.regs[R_CR0 as usize + n / 4] >> (3 - n % 4) & 1 != 0;
                let (x, y) = (bit(ra), bit(rb));
                let v = match kind {
                    Kind::Crand => x & y,
                    Kind::Cror => x | y,
                    Kind::Crxor => x ^ y,
                    Kind::Crnand => !(x & y),
                    Kind::Crnor => !(x | y),
                    Kind::Creqv => x == y,
                    Kind::Crandc => x & !y,
                    _ => x | !y,
                };
                let field = &mut self.core.regs[R_CR0 as usize + rt / 4];
                let at = 3 - rt % 4;
                *field = *field & !(1 << at) | u64::from(v) << at;
            }
            Kind::Isel => {
                let bc = (insn >> 6 & 31) as usize;
                let set = self.core.regs[R_CR0 as usize + bc / 4] >> (3 - bc % 4) & 1 != 0;
                self.core.regs[rt] = match (set, ra) {
                    (true, 0) => 0,
                    (true, _) => a,
                    (false, _) => b,
                };
            }
            Kind::Setb => {
                let field = self.core.regs[R_CR0 as usize + ra / 4];
                self.core.regs[rt] = if field & 8 != 0 {
                    u64::MAX
                } else {
                    field >> 2 & 1
                };
            }
            Kind::Cmprb => {
                let x = a as u8;
                let within = |lo: u64, hi: u64| (lo as u8..=hi as u8).contains(&x);
                let hit = within(b, b >> 8) || insn & 0x20_0000 != 0 && within(b >> 16, b >> 24);
                self.core.regs[R_CR0 as usize + rt / 4] = u64::from(hit) << 2;
            }
            Kind::Cmpeqb => {
                let hit = b.to_le_bytes().contains(&(a as u8));
                self.core.regs[R_CR0 as usize + rt / 4] = u64::from(hit) << 2;
            }
            Kind::Maddhd | Kind::Maddhdu | Kind::Maddld => {
                let c = self.g(insn >> 6);
                self.core.regs[rt] = match kind {
                    Kind::Maddld => a.wrapping_mul(b).wrapping_add(c),
                    Kind::Maddhdu => ((u128::from(a) * u128::from(b) + u128::from(c)) >> 64) as u64,
                    _ => {
                        ((i128::from(a as i64) * i128::from(b as i64) + i128::from(c as i64)) >> 64)
                            as u64
                    }
                };
            }
            Kind::Addex => {
                let (v, c1) = a.overflowing_add(b);
                let (v, c2) = v.overflowing_add(self.core.regs[R_OV as usize]);
                let low = (a & 0xffff_ffff) + (b & 0xffff_ffff) + self.core.regs[R_OV as usize];
                self.core.regs[R_OV as usize] = u64::from(c1 | c2);
                self.core.regs[R_OV32 as usize] = low >> 32;
                self.core.regs[rt] = v;
            }
            Kind::Darn => {
                // Deterministic: xorshift.
                let mut x = self.random;
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                self.random = x;
                self.core.regs[rt] = if ra & 3 == 0 { x & 0xffff_ffff } else { x };
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
            | Kind::Addc
            | Kind::Adde
            | Kind::Addze
            | Kind::Addme
            | Kind::Subfc
            | Kind::Subfe
            | Kind::Subfze
            | Kind::Subfme
            | Kind::Divde
            | Kind::Divdeu
            | Kind::Divwe
            | Kind::Divweu => self.overflow_arithmetic(kind, insn, a, b),
            Kind::Dcbz => {
                let ea = self.ea_x(insn);
                exec::zero_aligned(self, shared, bus, ea, CACHE_BLOCK)?;
            }
            Kind::Lmw => {
                let ea = self.ea_d(insn, 0);
                let mut values = [0; 32];
                for (i, value) in values.iter_mut().enumerate().skip(rt) {
                    *value = self.load_guest(
                        shared,
                        bus,
                        self.ea(ea.wrapping_add(4 * (i - rt) as u64)),
                        4,
                    )?;
                }
                self.core.regs[rt..32].copy_from_slice(&values[rt..]);
            }
            Kind::Stmw => {
                let ea = self.ea_d(insn, 0);
                for i in rt..32 {
                    let v = self.core.regs[i];
                    self.store_guest(
                        shared,
                        bus,
                        self.ea(ea.wrapping_add(4 * (i - rt) as u64)),
                        4,
                        v,
                    )?;
                }
            }
            Kind::Lswi | Kind::Lswx => {
                let (ea, n) = self.string_operand(kind == Kind::Lswi, insn);
                let mut bytes = [0; 128];
                for (i, byte) in bytes.iter_mut().take(n).enumerate() {
                    *byte =
                        self.load_guest(shared, bus, self.ea(ea.wrapping_add(i as u64)), 1)? as u8;
                }
                for (word, chunk) in bytes[..n.div_ceil(4) * 4].chunks(4).enumerate() {
                    let v = chunk.iter().fold(0, |v, b| v << 8 | u64::from(*b));
                    self.core.regs[(rt + word) % 32] = v;
                }
            }
            Kind::Stswi | Kind::Stswx => {
                let (ea, n) = self.string_operand(kind == Kind::Stswi, insn);
                for i in 0..n {
                    let v = self.core.regs[(rt + i / 4) % 32] >> (24 - 8 * (i % 4)) & 0xff;
                    self.store_guest(shared, bus, self.ea(ea.wrapping_add(i as u64)), 1, v)?;
                }
            }
            Kind::Lq => {
                let ea = self.ea_d(insn, 15);
                self.quad_aligned(ea)?;
                let (lo, hi) = self.load_quad(shared, bus, ea)?;
                self.core.regs[rt & 30] = hi;
                self.core.regs[rt | 1] = lo;
            }
            Kind::Stq => {
                let ea = self.ea_d(insn, 3);
                self.quad_aligned(ea)?;
                let (hi, lo) = (self.core.regs[rt & 30], self.core.regs[rt | 1]);
                let (first, second) = if self.msr & MSR_LE != 0 {
                    (lo, hi)
                } else {
                    (hi, lo)
                };
                self.store_guest(shared, bus, ea, 8, first)?;
                self.store_guest(shared, bus, ea.wrapping_add(8), 8, second)?;
            }
            Kind::Lbarx => self.load_reserve(shared, bus, insn, 1)?,
            Kind::Lharx => self.load_reserve(shared, bus, insn, 2)?,
            Kind::Lwarx => self.load_reserve(shared, bus, insn, 4)?,
            Kind::Ldarx => self.load_reserve(shared, bus, insn, 8)?,
            Kind::Lqarx => self.load_reserve(shared, bus, insn, 16)?,
            Kind::Stbcx => self.store_conditional(shared, bus, insn, 1)?,
            Kind::Sthcx => self.store_conditional(shared, bus, insn, 2)?,
            Kind::Stwcx => self.store_conditional(shared, bus, insn, 4)?,
            Kind::Stdcx => self.store_conditional(shared, bus, insn, 8)?,
            Kind::Stqcx => self.store_conditional(shared, bus, insn, 16)?,
            Kind::Lwat => self.load_atomic(shared, bus, insn, 4)?,
            Kind::Ldat => self.load_atomic(shared, bus, insn, 8)?,
            Kind::Stwat => self.store_atomic(shared, bus, insn, 4)?,
            Kind::Stdat => self.store_atomic(shared, bus, insn, 8)?,
            Kind::Copy => self.copy_block(shared, insn)?,
            Kind::Paste => self.paste_block(shared, insn)?,
            _ => return self.illegal(insn),
        }
        Ok(())
    }

    fn hypercall(&mut self, bus: &mut dyn Bus) -> Result<(), Fault> {
        self.privileged()?;
        let gprs = self.core.regs.first_chunk_mut();
        if !gprs.is_some_and(|gprs| bus.hypercall(gprs)) {
            self.exit = Some(Exit::Hypercall);
            self.core.leave_soon();
        }
        Ok(())
    }

    fn system_call(&mut self) {
        self.core.pc = self.core.pc.wrapping_add(4);
        self.deliver(Interrupt {
            vector: vectors::SYSTEM_CALL,
            srr1: 0,
            dar: None,
            dsisr: None,
        });
        self.core.regs[NEXT_PC] = self.core.pc;
    }

    fn return_to(&mut self, pc: u64, msr: u64) {
        let mut msr = msr;
        if msr & MSR_PR != 0 {
            msr |= MSR_EE | MSR_IR | MSR_DR;
        }
        self.set_msr(msr);
        self.core.regs[NEXT_PC] = self.ea(pc & !3);
    }

    /// Address and length (at most 128) of a string instruction.
    fn string_operand(&self, immediate: bool, insn: u32) -> (u64, usize) {
        let ra = insn >> 16 & 31;
        let base = if ra == 0 { 0 } else { self.g(ra) };
        if immediate {
            let n = (insn >> 11 & 31) as usize;
            (self.ea(base), if n == 0 { 32 } else { n })
        } else {
            (self.ea_x(insn), (self.xer_rest & 0x7f) as usize)
        }
    }

    /// The forms that set XER.OV, and the extended divisions.
    fn overflow_arithmetic(&mut self, kind: Kind, insn: u32, a: u64, b: u64) {
        let ca = self.core.regs[R_CA as usize];
        let sum = |x: u64, y: u64, c: u64| {
            let wide = u128::from(x) + u128::from(y) + u128::from(c);
            let v = wide as u64;
            let low = (x & 0xffff_ffff) + (y & 0xffff_ffff) + c;
            let ov = (x ^ v) & (y ^ v);
            (
                v,
                ov >> 63 != 0,
                ov >> 31 & 1 != 0,
                Some(((wide >> 64) as u64, low >> 32)),
            )
        };
        let none = |v: u64, ov: bool| (v, ov, ov, None);
        let (v, ov, ov32, carry) = match kind {
            Kind::Add => sum(a, b, 0),
            Kind::Subf => sum(!a, b, 1),
            Kind::Neg => sum(!a, 0, 1),
            Kind::Addc => sum(a, b, 0),
            Kind::Adde => sum(a, b, ca),
            Kind::Addze => sum(a, 0, ca),
            Kind::Addme => sum(a, u64::MAX, ca),
            Kind::Subfc => sum(!a, b, 1),
            Kind::Subfe => sum(!a, b, ca),
            Kind::Subfze => sum(!a, 0, ca),
            Kind::Subfme => sum(!a, u64::MAX, ca),
            Kind::Mulld => {
                let p = i128::from(a as i64) * i128::from(b as i64);
                none(p as u64, p != i128::from(p as i64))
            }
            Kind::Mullw => {
                let p = i64::from(a as i32) * i64::from(b as i32);
                none(p as u64, p != i64::from(p as i32))
            }
            Kind::Divd => quotient((a as i64).checked_div(b as i64).map(|q| q as u64)),
            Kind::Divdu => quotient(a.checked_div(b)),
            Kind::Divw => quotient(
                (a as i32)
                    .checked_div(b as i32)
                    .map(|q| u64::from(q as u32)),
            ),
            Kind::Divwu => quotient((a as u32).checked_div(b as u32).map(u64::from)),
            Kind::Divdeu => quotient(
                (u128::from(a) << 64)
                    .checked_div(u128::from(b))
                    .and_then(|q| u64::try_from(q).ok()),
            ),
            Kind::Divde => {
                let n = i128::from(a as i64) << 64;
                quotient(
                    n.checked_div(i128::from(b as i64))
                        .and_then(|q| i64::try_from(q).ok())
                        .map(|q| q as u64),
                )
            }
            Kind::Divweu => {
                let n = (a & 0xffff_ffff) << 32;
                quotient(n.checked_div(b & 0xffff_ffff).filter(|q| *q <= 0xffff_ffff))
            }
            _ => {
                let n = i64::from(a as i32) << 32;
                let q = n
                    .checked_div(i64::from(b as i32))
                    .and_then(|q| i32::try_from(q).ok());
                quotient(q.map(|q| u64::from(q as u32)))
            }
        };
        let sets_carry = !matches!(kind, Kind::Add | Kind::Subf | Kind::Neg);
        if let (Some((c, c32)), true) = (carry, sets_carry) {
            self.core.regs[R_CA as usize] = if self.msr & MSR_SF != 0 { c } else { c32 };
            self.core.regs[R_CA32 as usize] = c32;
        }
        if insn & 0x400 != 0 {
            self.core.regs[R_OV as usize] =
                u64::from(if self.msr & MSR_SF != 0 { ov } else { ov32 });
            self.core.regs[R_OV32 as usize] = u64::from(ov32);
            self.core.regs[R_SO as usize] |= u64::from(ov);
        }
        self.core.regs[(insn >> 21 & 31) as usize] = v;
        if insn & 1 != 0 {
            self.record_cr0(v);
        }
    }
}

/// A quotient, or 0 with overflow where it is undefined.
fn quotient(q: Option<u64>) -> (u64, bool, bool, Option<(u64, u64)>) {
    (q.unwrap_or(0), q.is_none(), q.is_none(), None)
}
