//! Tier 0: the interpreter over micro-operations.
#![allow(
    unsafe_code,
    reason = "soft-TLB hits read and write guest RAM by host address"
)]

use super::Shared;
use super::code::Decoded;
use super::tlb::{Jump, Tlb};
use super::uop::{Op, R_CA, R_CA32, R_SO, Uop};
use crate::bus::Bus;
use crate::ram::{self, PAGE};

/// State of a CPU that the engine itself works on.
#[derive(Debug)]
pub struct Core {
    /// The flat register file.
    pub regs: [u64; 256],
    /// Address of the next instruction; while a helper runs or a fault is recorded, of the current one.
    pub pc: u64,
    /// Context numbers for data accesses, by the top bit of the address.
    pub data_context: [u64; 2],
    /// Context numbers for instruction fetch, likewise.
    pub code_context: [u64; 2],
    /// Caches of translations.
    pub tlb: Tlb,
    /// Instructions executed before the current one since [`exec`] was entered. Valid in helpers.
    pub executed: u64,
    leave: bool,
}

impl Default for Core {
    fn default() -> Self {
        Core {
            regs: [0; 256],
            pc: 0,
            data_context: [0; 2],
            code_context: [0; 2],
            tlb: Tlb::default(),
            executed: 0,
            leave: false,
        }
    }
}

impl Core {
    /// True if a device access ended the last [`exec`].
    pub fn left_for_device(&self) -> bool {
        self.leave
    }

    /// Asks [`exec`] to return at the end of the current block.
    pub fn leave_soon(&mut self) {
        self.leave = true;
    }

    /// Context of a data access.
    #[inline(always)]
    pub fn context_of(&self, ea: u64) -> u64 {
        self.data_context[(ea >> 63) as usize]
    }
}

/// How an address is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Instruction fetch.
    Fetch,
}

/// Where an effective address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Guest physical address of the byte.
    pub gpa: u64,
    /// The result may be cached until the next shoot-down.
    pub cacheable: bool,
}

/// The front end has recorded an exception at [`Core::pc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// What is particular to an architecture.
pub trait FrontEnd {
    /// The engine's part of the state.
    fn core(&mut self) -> &mut Core;

    /// Everything that decoding depends on besides the bytes: at most 6 bits.
    fn code_mode(&self) -> u8;

    /// Translates an address, or records an exception.
    ///
    /// # Errors
    /// [`Fault`] after the exception is recorded.
    fn translate(&mut self, shared: &Shared, ea: u64, access: Access)
    -> Result<Translation, Fault>;

    /// Decodes at most `max` (at least 1) instructions that lie in `page`, starting at byte `offset`. The last micro-operation must end
    /// the block.
    fn decode(&mut self, page: &[u8; PAGE as usize], offset: usize, max: u32, out: &mut Decoded);

    /// Carries out [`Op::Call`] or [`Op::CallEnd`]. [`Core::pc`] is the instruction's address.
    ///
    /// # Errors
    /// [`Fault`] after an exception is recorded.
    fn call(&mut self, shared: &mut Shared, bus: &mut dyn Bus, uop: Uop) -> Result<(), Fault>;

    /// Nothing answers at `gpa`: records the machine check, if the architecture has one for it.
    ///
    /// # Errors
    /// [`Fault`] after the exception is recorded.
    fn bus_error(&mut self, ea: u64, gpa: u64, access: Access) -> Result<(), Fault>;
}

/// Why [`exec`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The budget is used up.
    Budget,
    /// A helper or a device access asked to leave; [`Core::pc`] is the next instruction.
    Leave,
    /// An exception was recorded; the instruction that caused it counts as executed.
    Fault,
}

/// Functions of two operands that are too rare for a micro-operation of their own: see `Op::Pure`.
pub type Pure = fn(u64, u64) -> u64;

#[cold]
fn slow_bytes<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    bytes: &mut [u8],
    access: Access,
) -> Result<(), Fault> {
    let t = f.translate(shared, ea, access)?;
    let len = bytes.len() as u64;
    let Some(page) = shared.ram.page(t.gpa) else {
        f.core().leave_soon();
        let done = match access {
            Access::Write => bus.mmio_write(t.gpa, bytes),
            _ => bus.mmio_read(t.gpa, bytes),
        };
        if done.is_err() {
            bytes.fill(0xff);
            f.bus_error(ea, t.gpa, access)?;
        }
        return Ok(());
    };
    let core = f.core();
    let context = core.context_of(ea);
    let host = page.address() + (t.gpa % PAGE) as usize;
    if access == Access::Write {
        if shared.code.has_code(t.gpa) {
            shared.code.note_store(t.gpa, len);
        } else if t.cacheable {
            core.tlb.fill_write(ea, context, page);
        }
    } else if t.cacheable {
        core.tlb.fill_read(ea, context, page);
    }
    for (i, b) in bytes.iter_mut().enumerate() {
        // SAFETY: callers pass pieces that do not cross a page, and the page is RAM.
        unsafe {
            if access == Access::Write {
                ram::store_le::<1>(host + i, u64::from(*b));
            } else {
                *b = ram::load_le::<1>(host + i) as u8;
            }
        }
    }
    Ok(())
}

#[cold]
#[inline(never)]
fn load_slow<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    n: usize,
) -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    let first = (PAGE - ea % PAGE).min(n as u64) as usize;
    slow_bytes(f, shared, bus, ea, &mut bytes[..first], Access::Read)?;
    if first < n {
        slow_bytes(
            f,
            shared,
            bus,
            ea.wrapping_add(first as u64),
            &mut bytes[first..n],
            Access::Read,
        )?;
    }
    Ok(u64::from_le_bytes(bytes))
}

#[cold]
#[inline(never)]
fn store_slow<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    n: usize,
    value: u64,
) -> Result<(), Fault> {
    let mut bytes = value.to_le_bytes();
    let first = (PAGE - ea % PAGE).min(n as u64) as usize;
    if first < n {
        // Both pages must be writable before the first byte changes.
        f.translate(shared, ea, Access::Write)?;
        f.translate(shared, ea.wrapping_add(first as u64), Access::Write)?;
    }
    slow_bytes(f, shared, bus, ea, &mut bytes[..first], Access::Write)?;
    if first < n {
        slow_bytes(
            f,
            shared,
            bus,
            ea.wrapping_add(first as u64),
            &mut bytes[first..n],
            Access::Write,
        )?;
    }
    Ok(())
}

/// Loads `N` bytes at an effective address, as a little-endian number.
///
/// # Errors
/// [`Fault`] after an exception is recorded.
#[inline(always)]
pub fn load<const N: usize, F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
) -> Result<u64, Fault> {
    let core = f.core();
    match core.tlb.read_hit::<N>(ea, core.context_of(ea)) {
        // SAFETY: the soft TLB holds pages of RAM only, and the hit covers all N bytes.
        Some(host) => Ok(unsafe { ram::load_le::<N>(host) }),
        None => load_slow(f, shared, bus, ea, N),
    }
}

/// Stores the low `N` bytes of `value` at an effective address, little-endian.
///
/// # Errors
/// [`Fault`] after an exception is recorded.
#[inline(always)]
pub fn store<const N: usize, F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    value: u64,
) -> Result<(), Fault> {
    let core = f.core();
    match core.tlb.write_hit::<N>(ea, core.context_of(ea)) {
        Some(host) => {
            // SAFETY: as in `load`.
            unsafe { ram::store_le::<N>(host, value) };
            Ok(())
        }
        None => store_slow(f, shared, bus, ea, N, value),
    }
}

/// Zeroes `len` bytes (a power of two, at most a page) at the effective address, aligned down to `len`.
///
/// # Errors
/// [`Fault`] after an exception is recorded.
pub fn zero_aligned<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    len: u64,
) -> Result<(), Fault> {
    let ea = ea & !(len - 1);
    let core = f.core();
    if let Some(host) = core.tlb.write_hit::<1>(ea, core.context_of(ea)) {
        // SAFETY: aligned to its size, so within the page of the hit.
        unsafe { ram::zero(host, len as usize) };
        return Ok(());
    }
    for at in (0..len).step_by(8) {
        store::<8, F>(f, shared, bus, ea + at, 0)?;
    }
    Ok(())
}

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
fn twice32(v: u64) -> u64 {
    let v = v & 0xffff_ffff;
    v | v << 32
}

/// Interprets at most `budget` instructions from [`Core::pc`]. Returns why it stopped and how many were executed.
#[allow(clippy::too_many_lines, reason = "one case per micro-operation")]
pub fn exec<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pure: &[Pure],
    budget: u64,
) -> (Stop, u64) {
    let mut left = budget;
    let mut base = f.core().pc;
    f.core().leave = false;
    if left == 0 {
        return (Stop::Budget, 0);
    }
    let mut number = match lookup(f, shared, bus, base) {
        Ok(n) => n,
        Err(Fault) => {
            return (Stop::Fault, 1);
        }
    };
    let mut tail = false;
    loop {
        let mut block = shared.code.block(number);
        if u64::from(block.instructions) > left {
            if left == 0 {
                f.core().pc = base;
                return (Stop::Budget, budget);
            }
            match decode(f, shared, bus, base, left.min(64) as u32, false) {
                Ok(n) => block = shared.code.block(n),
                Err(Fault) => return (Stop::Fault, budget - left + 1),
            }
            tail = true;
        }
        left -= u64::from(block.instructions);
        let mut i = block.start as usize;
        macro_rules! fault {
            () => {{
                let index = shared.code.instruction_of(i - 1);
                f.core().pc = base.wrapping_add(u64::from(index) * 4);
                if tail {
                    shared.code.forget_last();
                }
                return (
                    Stop::Fault,
                    budget - left - u64::from(block.instructions - index - 1),
                );
            }};
        }
        let (target, side) = loop {
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
                            core.pc = base.wrapping_add(u64::from(shared.code.instruction_of(i - 1)) * 4);
                            match load_slow(f, shared, bus, ea, $n) {
                                Ok(v) => v,
                                Err(Fault) => fault!(),
                            }
                        }
                    };
                    set!($conv(raw));
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
                            core.pc = base.wrapping_add(u64::from(shared.code.instruction_of(i - 1)) * 4);
                            if store_slow(f, shared, bus, ea, $n, value).is_err() {
                                fault!()
                            }
                        }
                    }
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
                Op::Sra64I | Op::Sra64 => {
                    let n = if u.op == Op::Sra64 {
                        (r!(u.b) & 127) as u32
                    } else {
                        u.aux
                    };
                    let v = r!(u.a) as i64;
                    let out = v >> n.min(63);
                    let lost = if n > 63 {
                        v != 0
                    } else {
                        v & ((1u64 << n) - 1) as i64 != 0
                    };
                    let carry = u64::from(v < 0 && lost);
                    r!(R_CA) = carry;
                    r!(R_CA32) = carry;
                    set!(out as u64);
                }
                Op::Sra32I | Op::Sra32 => {
                    let n = if u.op == Op::Sra32 {
                        (r!(u.b) & 63) as u32
                    } else {
                        u.aux
                    };
                    let v = r!(u.a) as i32;
                    let out = v >> n.min(31);
                    let lost = if n > 31 {
                        v != 0
                    } else {
                        v & ((1u32 << n) - 1) as i32 != 0
                    };
                    let carry = u64::from(v < 0 && lost);
                    r!(R_CA) = carry;
                    r!(R_CA32) = carry;
                    set!(i64::from(out) as u64);
                }
                Op::RotMask => set!(r!(u.a).rotate_left(u.aux) & u.imm),
                Op::RotMaskV => set!(r!(u.a).rotate_left(r!(u.b) as u32 & 63) & u.imm),
                Op::RotIns => set!(r!(u.a).rotate_left(u.aux) & u.imm | r!(u.d) & !u.imm),
                Op::RotMask32 => {
                    set!(twice32(u64::from((r!(u.a) as u32).rotate_left(u.aux))) & u.imm)
                }
                Op::RotMask32V => {
                    set!(
                        twice32(u64::from((r!(u.a) as u32).rotate_left(r!(u.b) as u32 & 31)))
                            & u.imm
                    );
                }
                Op::RotIns32 => {
                    set!(
                        twice32(u64::from((r!(u.a) as u32).rotate_left(u.aux))) & u.imm
                            | r!(u.d) & !u.imm
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
                Op::Ea32 => set!(ea!() & 0xffff_ffff),
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
                Op::Call => {
                    let index = u64::from(shared.code.instruction_of(i - 1));
                    let core = f.core();
                    core.pc = base.wrapping_add(index * 4);
                    core.executed = budget - left - (u64::from(block.instructions) - index);
                    if f.call(shared, bus, u).is_err() {
                        fault!()
                    }
                }
                Op::CallEnd => {
                    let index = u64::from(shared.code.instruction_of(i - 1));
                    let core = f.core();
                    core.pc = base.wrapping_add(index * 4);
                    let next = core.pc.wrapping_add(4);
                    core.executed = budget - left - (u64::from(block.instructions) - index);
                    core.regs[NEXT_PC] = next;
                    if f.call(shared, bus, u).is_err() {
                        fault!()
                    }
                    if tail {
                        shared.code.forget_last();
                    }
                    let core = f.core();
                    core.pc = core.regs[NEXT_PC];
                    return (Stop::Leave, budget - left);
                }
                Op::Jmp => break (base.wrapping_add(u.imm), 0),
                Op::JmpReg => break (r!(u.a) & !3, INDIRECT),
                Op::Bc => {
                    if (r!(u.a) & u64::from(u.b) != 0) == (u.d != 0) {
                        break (base.wrapping_add(u.imm), 0);
                    }
                    break (base.wrapping_add(u64::from(u.aux)), 1);
                }
                Op::BcReg => {
                    if (r!(u.a) & u64::from(u.b) != 0) == (u.d != 0) {
                        break (r!(u.imm as u8) & !3, INDIRECT);
                    }
                    break (base.wrapping_add(u64::from(u.aux)), 1);
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
                        break (base.wrapping_add(u.imm), 0);
                    }
                    break (base.wrapping_add(u64::from(u.aux)), 1);
                }
            }
        };
        if tail || f.core().leave {
            if tail {
                shared.code.forget_last();
            }
            f.core().pc = target;
            return (
                if left == 0 { Stop::Budget } else { Stop::Leave },
                budget - left,
            );
        }
        let near = side != INDIRECT && (target ^ base) & !(PAGE - 1) == 0;
        let link = block.links[side & 1];
        if near && link.generation == shared.code.generation() {
            number = link.block;
        } else {
            let from = (number, shared.code.generation());
            f.core().pc = target;
            if left == 0 {
                return (Stop::Budget, budget);
            }
            match lookup(f, shared, bus, target) {
                Ok(n) => {
                    number = n;
                    if near && shared.code.generation() == from.1 {
                        shared.code.link(from.0, side, n);
                    }
                }
                Err(Fault) => return (Stop::Fault, budget - left + 1),
            }
        }
        base = target;
    }
}

/// Side of a branch whose target is not always the same: never linked.
const INDIRECT: usize = 2;

/// Register in which a [`Op::CallEnd`] helper may change the next instruction's address.
pub const NEXT_PC: usize = 47;

#[inline(always)]
fn lookup<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pc: u64,
) -> Result<u32, Fault> {
    let mode = f.code_mode();
    let core = f.core();
    let tag = (core.code_context[(pc >> 63) as usize] as u32) << 6 | u32::from(mode);
    let j = core.tlb.jump(pc);
    if j.pc == pc && j.tag == tag && j.generation == shared.code.generation() {
        return Ok(j.block);
    }
    let block = decode(f, shared, bus, pc, MAX_BLOCK, true)?;
    let generation = shared.code.generation();
    f.core().tlb.set_jump(Jump {
        pc,
        tag,
        generation,
        block,
    });
    Ok(block)
}

/// Most instructions in a block.
const MAX_BLOCK: u32 = 64;

#[cold]
#[inline(never)]
fn decode<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pc: u64,
    max: u32,
    keep: bool,
) -> Result<u32, Fault> {
    f.core().pc = pc;
    let t = f.translate(shared, pc, Access::Fetch)?;
    let mode = f.code_mode();
    if keep && let Some(n) = shared.code.find(t.gpa, mode) {
        return Ok(n);
    }
    let (Some(host), Some(page)) = (shared.ram.page(t.gpa), shared.ram.read_page(t.gpa)) else {
        f.bus_error(pc, t.gpa, Access::Fetch)?;
        return Err(Fault);
    };
    let mut decoded = Decoded::default();
    f.decode(
        &page,
        (t.gpa % PAGE) as usize,
        max.clamp(1, MAX_BLOCK),
        &mut decoded,
    );
    let made = shared.code.code_pages_made();
    let n = shared.code.add(t.gpa, mode, host, &decoded, keep);
    if shared.code.code_pages_made() != made {
        f.core().tlb.drop_writes_to(host);
        bus.watch_code(t.gpa & !(PAGE - 1));
    }
    Ok(n)
}
