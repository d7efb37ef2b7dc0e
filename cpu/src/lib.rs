//! Software CPUs. This crate knows no device.
pub mod bus;
pub mod ppc64;
