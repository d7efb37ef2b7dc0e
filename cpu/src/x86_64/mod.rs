//! An x86-64 processor.

pub mod simd;
pub mod x87;
