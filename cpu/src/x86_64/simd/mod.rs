//! Vector and floating-point instructions of x86-64 as functions on a register file: SSE to SSE4.2, AES, PCLMULQDQ, SHA, MMX and x87.
//!
//! Pure data in, effect out: the caller has resolved operands and loaded memory, and it stores what an [`Effect`] says. It also checks
//! CR0 and CR4 and whether the processor has the feature. References are to the Intel SDM (order number 325462).
mod aes;
mod arithmetic;
mod convert;
pub(super) mod env;
mod fma;
mod form;
pub mod image;
mod integer;
mod lanes;
mod moves;
mod ops;
mod sha;
mod shuffle;
mod strings;

#[cfg(test)]
mod tests;

use iced_x86::Code;

use super::x87::X87;
pub(super) use arithmetic::comparison_flags;
use form::{Form, Run, Width};

/// MXCSR after reset: all exceptions masked, round to nearest. SDM volume 1 §11.6.4.
pub const MXCSR_RESET: u32 = 0x1f80;
/// The bits of MXCSR that exist (`MXCSR_MASK` of the FXSAVE image).
pub const MXCSR_MASK: u32 = 0xffff;

/// XMM and YMM registers, MXCSR and the x87 unit with the MMX registers that alias it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vectors {
    /// YMM registers, least significant quadword first; the first two are the XMM register.
    pub ymm: [[u64; 4]; 16],
    /// SDM volume 1 §10.2.3.
    pub mxcsr: u32,
    /// The x87 unit.
    pub x87: X87,
}

impl Default for Vectors {
    fn default() -> Vectors {
        Vectors {
            ymm: [[0; 4]; 16],
            mxcsr: MXCSR_RESET,
            x87: X87::default(),
        }
    }
}

impl Vectors {
    /// XMM register `n` modulo 16.
    pub(super) fn xmm(&self, n: u8) -> u128 {
        let r = self.ymm[usize::from(n & 15)];
        u128::from(r[0]) | u128::from(r[1]) << 64
    }
    /// Bits 255:128 of YMM register `n` modulo 16.
    fn upper(&self, n: u8) -> u128 {
        let r = self.ymm[usize::from(n & 15)];
        u128::from(r[2]) | u128::from(r[3]) << 64
    }
    /// Writes an XMM register and leaves the upper half of the YMM register.
    pub(super) fn set_xmm(&mut self, n: u8, value: u128) {
        let r = &mut self.ymm[usize::from(n & 15)];
        r[0] = value as u64;
        r[1] = (value >> 64) as u64;
    }
    fn set_upper(&mut self, n: u8, value: u128) {
        let r = &mut self.ymm[usize::from(n & 15)];
        r[2] = value as u64;
        r[3] = (value >> 64) as u64;
    }
}

/// [`Operands::dst`] when the first operand is in memory.
pub const MEMORY: u8 = 0xff;

/// What the caller resolves before an instruction runs.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The instruction form.
    pub op: Code,
    /// Number of the first operand's register (vector, MMX, general, or `i` of `ST(i)`), or [`MEMORY`].
    pub dst: u8,
    /// The last operand that is a register or memory. A form with one operand that reads memory has it here.
    pub src: Src,
    /// VEX.vvvv: the middle register operand.
    pub src2: u8,
    /// The immediate byte; of VEX forms with a fourth register its number in bits 7:4; of FCMOVcc the low byte of RFLAGS.
    pub imm: u8,
}

/// A source operand.
#[derive(Clone, Copy, Debug)]
pub enum Src {
    /// Register number, of the kind that the form names.
    Reg(u8),
    /// A memory operand, already loaded; the low bytes are valid, the others zero.
    Mem([u64; 4]),
    /// The form has none.
    None,
}

/// What the caller does after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Stores the given number of low bytes to the memory operand.
    Store([u64; 4], u8),
    /// Stores those of the low bytes (up to 32) whose bit is set. Of `MASKMOVDQU` and `MASKMOVQ` the memory operand is at DS:RDI.
    MaskedStore([u64; 4], u32),
    /// The value for the destination general register, zero-extended. Of `PCMPxSTRI` that is RCX, of `FNSTSW AX` the value is for AX
    /// only, the rest of RAX stays.
    Gpr(u64),
    /// OF, SF, ZF, AF, PF and CF become this.
    Flags(u64),
    /// Both.
    GprFlags(u64, u64),
}

/// Why an instruction did not complete. Registers other than MXCSR and the x87 status word are as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// #UD.
    InvalidOpcode,
    /// #NM: for the caller, which knows CR0.
    DeviceNotAvailable,
    /// #XM: an unmasked SIMD floating-point exception.
    SimdFloat,
    /// #MF: an unmasked x87 exception is pending.
    X87,
    /// #GP(0): reserved bits of MXCSR.
    GeneralProtection,
}

/// The memory operand of a form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes to load before, or 0.
    pub load: u16,
    /// Bytes that may be stored after, or 0.
    pub store: u16,
    /// Required alignment in bytes (else #GP(0)), 1 if none.
    pub align: u8,
}

/// The state that an instruction sees.
pub(super) struct Cx<'a> {
    pub v: &'a mut Vectors,
    pub gpr: &'a [u64; 16],
    pub o: &'a Operands,
    form: &'a Form,
}

type Outcome = Result<Effect, Trap>;

/// Whether [`execute`] knows a form.
pub fn handles(op: Code) -> bool {
    form::of(op).is_some()
}

/// The memory operand of a form that [`handles`] accepts, if it can have one.
pub fn memory_size(op: Code) -> Option<Memory> {
    form::of(op).and_then(|f| f.memory)
}

/// Whether a form is a function of XMM registers and an immediate alone, whose result goes to the first of them: see [`pure`].
pub(super) fn is_pure(op: Code) -> bool {
    form::of(op).is_some_and(|f| {
        f.width == Width::Xmm && !f.vex && !f.mmx && !matches!(f.run, Run::Special(_) | Run::X87(_))
    })
}

/// Whether such a form has XMM0 as its third operand.
pub(super) fn has_mask(op: Code) -> bool {
    form::of(op).is_some_and(|f| matches!(f.run, Run::Blend(_)))
}

/// The result of a form for which [`is_pure`] holds; 0 for others. `mask` is XMM0, if [`has_mask`].
pub(super) fn pure(op: Code, a: u128, b: u128, mask: u128, imm: u8) -> u128 {
    let Some(form) = form::of(op) else { return 0 };
    match form.run {
        Run::Two(f) | Run::Pack(f) => f(a, b),
        Run::High(f) => f(a >> 64, b >> 64),
        Run::TwoImm(f) => f(a, b, imm),
        Run::One(f) | Run::Widen(f, _) => f(b),
        Run::OneImm(f) => f(b, imm),
        Run::Shift(f) if form.immediate => f(a, imm.into()),
        Run::Shift(f) => f(a, b as u64),
        Run::Blend(f) => f(a, b, mask),
        Run::Special(_) | Run::X87(_) => 0,
    }
}

/// The sign bits of the elements of a register: PMOVMSKB, MOVMSKPS and MOVMSKPD.
pub(super) fn sign_bits(op: Code, v: u128) -> u64 {
    match op {
        Code::Pmovmskb_r32_xmm | Code::Pmovmskb_r64_xmm => moves::signs::<u8>(v),
        Code::Movmskps_r32_xmm | Code::Movmskps_r64_xmm => moves::signs::<u32>(v),
        _ => moves::signs::<u64>(v),
    }
}

/// Runs one instruction. An instruction that [`handles`] does not accept is invalid.
///
/// # Errors
/// The exception that the instruction raises.
pub fn execute(state: &mut Vectors, gpr: &[u64; 16], o: &Operands) -> Result<Effect, Trap> {
    let form = form::of(o.op).ok_or(Trap::InvalidOpcode)?;
    // A conversion from integers in memory to an XMM register leaves the x87 unit alone.
    let mmx = form.mmx && !(form.width == Width::Xmm && matches!(o.src, Src::Mem(_)));
    if mmx {
        // Instructions on MMX registers check for pending x87 exceptions, as x87 instructions do. SDM volume 1 §9.5.2.
        state.x87.check_pending()?;
    }
    let mut cx = Cx {
        v: state,
        gpr,
        o,
        form,
    };
    let result = match form.run {
        Run::Two(f) => cx.two(f),
        Run::Pack(f) => cx.pack(f),
        Run::TwoImm(f) => {
            let imm = o.imm;
            cx.two(|a, b| f(a, b, imm))
        }
        Run::High(f) => cx.high(f),
        Run::One(f) => cx.one(f),
        Run::OneImm(f) => {
            let imm = o.imm;
            cx.one(|a| f(a, imm))
        }
        Run::Shift(f) => cx.shift(f),
        Run::Blend(f) => cx.blend(f),
        Run::Widen(f, ratio) => cx.widen(f, ratio),
        Run::Special(f) => f(&mut cx),
        Run::X87(f) => return f(&mut cx.v.x87, o),
    };
    if mmx {
        // Also if a conversion to an MMX register raises #XM.
        cx.v.x87.enter_mmx();
    }
    result
}
