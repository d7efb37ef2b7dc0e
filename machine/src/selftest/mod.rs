//! The built-in bare-metal guest: it makes a DMA window, maps, moves data with the edu device, unmaps and sees the fault.

pub mod asm;
pub mod guest;

pub use guest::{SelftestParams, SelftestTokens, image};

/// Line that the guest prints when every step held.
pub const PASSED: &str = "selftest: PASSED";

#[cfg(test)]
mod tests;
