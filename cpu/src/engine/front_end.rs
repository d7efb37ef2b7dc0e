//! What the engine asks of an architecture.

use super::Shared;
use super::code::Decoded;
use super::core::Core;
use super::uop::Uop;
use crate::bus::Bus;

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
    /// Every instruction begins at a multiple of this many bytes: 1 or 4.
    const INSTRUCTION_ALIGN: u64;
    /// The micro-operations of a block's first instructions do the same as a block of these alone.
    const DIVISIBLE: bool;

    /// The engine's part of the state.
    fn core(&mut self) -> &mut Core;

    /// Everything that decoding depends on besides the bytes: at most 6 bits.
    fn code_mode(&self) -> u8;

    /// True if data addresses now have the top bit set more often than not: a kernel runs. A hint, which changes only in a
    /// [`super::uop::Op::CallEnd`] or between runs.
    fn high_half(&self) -> bool;

    /// Translates an address, or records an exception.
    ///
    /// # Errors
    /// [`Fault`] after the exception is recorded.
    fn translate(&mut self, shared: &Shared, ea: u64, access: Access)
    -> Result<Translation, Fault>;

    /// Decodes at most `max` (at least 1) instructions at [`Core::pc`] from the start of `code`, which ends with its page or later than they
    /// can. The last micro-operation must end the block; at a jump ahead it may go on instead, with what it jumps over as a part of it. The
    /// block ends before an instruction that goes on in the next page; if that is the first one, the answer is no instruction, and `code`
    /// is longer in the next call.
    fn decode(&mut self, code: &[u8], max: u32, out: &mut Decoded);

    /// Carries out [`super::uop::Op::Call`] or [`super::uop::Op::CallEnd`]. [`Core::pc`] is the instruction's address. Of an access that has
    /// to be aligned, and is not, it records the exception.
    ///
    /// # Errors
    /// [`Fault`] after an exception is recorded.
    fn call(&mut self, shared: &mut Shared, bus: &mut dyn Bus, uop: Uop) -> Result<(), Fault>;

    /// Carries out [`super::uop::Op::Vec`] or [`super::uop::Op::VecMask`].
    fn vector(_regs: &mut [u64; 256], _uop: &Uop) {}

    /// The exception that is recorded, as numbers: for a comparison of tiers.
    fn exception(&self) -> Option<[u64; 4]>;

    /// Takes back the exception that is recorded.
    fn forget_exception(&mut self);

    /// Nothing answers at `gpa`: records the machine check, if the architecture has one for it.
    ///
    /// # Errors
    /// [`Fault`] after the exception is recorded.
    fn bus_error(&mut self, ea: u64, gpa: u64, access: Access) -> Result<(), Fault>;
}

/// Why [`super::exec::exec`] returned.
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
