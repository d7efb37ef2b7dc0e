//! Tier 1: blocks of micro-operations compiled to the host's instructions with templates.
//!
//! The same micro-operations as Tier 0, one after the other; within a block, registers of the flat file are kept in host registers. The
//! dispatcher ([`crate::engine::exec`]) enters compiled code at a block; blocks go on to each other directly within a page and by the jump
//! cache across pages, and come back for whatever is not compiled, an exception, a request to leave, or the end of the budget. Everything
//! that is rare is a call of a function in `helpers`.
//!
//! Invariant: counts, exceptions and memory are those of the interpreter, to the instruction.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "x86_64/mod.rs"]
mod host;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "none.rs"]
mod host;

pub(crate) use host::{Jit, enter};

#[cfg(test)]
mod tests;

/// Why compiled code came back. `left` is what remains of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The next block is at `pc`.
    Next {
        /// Effective address.
        pc: u64,
        /// Instructions.
        left: u64,
        /// Place of the jump that led here, for [`Jit::link`]; 0 if it has none.
        site: u64,
    },
    /// An exception is recorded; the instruction that caused it is counted.
    Fault {
        /// Instructions.
        left: u64,
    },
    /// After a [`crate::engine::uop::Op::CallEnd`].
    Leave {
        /// Instructions.
        left: u64,
    },
}
