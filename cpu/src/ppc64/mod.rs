//! 64-bit Power CPU.
pub mod vector;
