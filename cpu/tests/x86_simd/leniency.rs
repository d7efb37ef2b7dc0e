//! What is not asked of QEMU's vector instructions when it stands in for the host.

use crate::qemu::stands_in;

/// MXCSR for a case: QEMU raises no vector exception and flushes otherwise, so only the rounding mode stays.
pub fn tame(mxcsr: u32) -> u32 {
    if stands_in() {
        0x1f80 | mxcsr & 0x6000
    } else {
        mxcsr
    }
}

/// Bits of MXCSR that are compared: QEMU's flags of exceptions are not those of a processor.
pub fn mxcsr_mask() -> u32 {
    if stands_in() { !0x3f } else { !0 }
}

/// Equal registers. Under QEMU, two elements that are no numbers are equal: it chooses the other of two such operands.
pub fn same(one: &[[u64; 4]; 16], other: &[[u64; 4]; 16]) -> bool {
    let single = |v: u64| f32::from_bits(v as u32).is_nan();
    let halves = |a: u64, b: u64| {
        let pairs = [(a & 0xffff_ffff, b & 0xffff_ffff), (a >> 32, b >> 32)];
        pairs
            .iter()
            .all(|(a, b)| a == b || single(*a) && single(*b))
    };
    let nans = |a: u64, b: u64| f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan();
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    pairs
        .map(|(a, b)| (*a, *b))
        .all(|(a, b)| a == b || stands_in() && (nans(a, b) || halves(a, b)))
}
