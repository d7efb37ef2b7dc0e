//! Layouts and numbers of the Intel VT-d architecture, without behaviour: one file for each kind of table.
//!
//! Sections are those of the "Intel Virtualization Technology for Directed I/O" specification, revision 4.1.

pub mod context;
pub mod fault;
pub mod interrupt;
pub mod page_request;
pub mod paging;
pub mod pasid;
pub mod queue;
pub mod registers;
pub mod root;

/// Size and alignment of every table, in bytes.
pub const PAGE: u64 = 4096;

/// First address of the interrupt address range. VT-d 4.1 §3.14.
pub const INTERRUPT_FIRST: u64 = 0xfee0_0000;
/// Last address of the interrupt address range. VT-d 4.1 §3.14.
pub const INTERRUPT_LAST: u64 = 0xfeef_ffff;

/// Bits `high..=low` of a 64-bit value, in place.
pub const fn mask(high: u32, low: u32) -> u64 {
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

/// Bits 63 to `width` of a 64-bit value: what a table address must not have set if the host address width is `width` (1 to 63).
pub const fn above(width: u32) -> u64 {
    u64::MAX << width
}
