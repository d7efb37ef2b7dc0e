//! The built-in bare-metal guest: it makes a DMA window, maps, moves data with the edu device, unmaps and sees the fault.

pub mod asm;
pub mod guest;
mod run;

pub use guest::{SelftestParams, SelftestTokens, image};
pub use run::{SelftestError, params, run, run_with};

/// Line that the guest prints when every step held.
pub const PASSED: &str = "selftest: PASSED";

#[cfg(test)]
mod tests;
