//! Paging entries. VT-d 4.1 §9.7 (first stage), §9.8 (second stage).

use super::mask;

/// Address field of any paging entry before it is cut to the host address width.
pub const ADDRESS: u64 = mask(51, 12);

/// Address bits below the page or table that an entry of `level` (1 is the 4 KiB level) selects among.
pub const fn shift(level: u32) -> u32 {
    12 + 9 * (level - 1)
}

/// Index of `address` in a table of `level`.
pub const fn index(address: u64, level: u32) -> u64 {
    address >> shift(level) & 0x1ff
}

/// First-stage entries. VT-d 4.1 §9.7.
pub mod first {
    /// P.
    pub const P: u64 = 1;
    /// R/W: writable.
    pub const RW: u64 = 1 << 1;
    /// U/S: user may access.
    pub const US: u64 = 1 << 2;
    /// A: accessed.
    pub const A: u64 = 1 << 5;
    /// D: dirty (leaf entries).
    pub const D: u64 = 1 << 6;
    /// PS: large page (PDPE, PDE).
    pub const PS: u64 = 1 << 7;
    /// G: global (leaf entries).
    pub const G: u64 = 1 << 8;
    /// EA: extended accessed.
    pub const EA: u64 = 1 << 10;
    /// XD: execute disable.
    pub const XD: u64 = 1 << 63;
}

/// Second-stage entries. VT-d 4.1 §9.8.
pub mod second {
    /// R.
    pub const R: u64 = 1;
    /// W.
    pub const W: u64 = 1 << 1;
    /// PS: large page (PDPE, PDE).
    pub const PS: u64 = 1 << 7;
    /// A: accessed.
    pub const A: u64 = 1 << 8;
    /// D: dirty (leaf entries).
    pub const D: u64 = 1 << 9;
    /// SNP: snoop (leaf entries).
    pub const SNP: u64 = 1 << 11;
    /// TM: transient mapping (leaf entries).
    pub const TM: u64 = 1 << 62;
}
