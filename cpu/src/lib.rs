//! Software CPUs. This crate knows no device: a CPU reaches RAM through [`ram::Ram`] and everything else through [`bus::Bus`].
//!
//! Front ends ([`ppc64`]) decode guest instructions to the micro-operations of [`engine`], which caches and interprets
//! them; [`jit`] compiles those that run often.

mod aes;
pub mod bus;
pub mod engine;
pub mod jit;
pub mod ppc64;
pub mod ram;
mod softfloat;
pub mod x86_64;
