//! Root tables. VT-d 4.1 §9.1 (root entry), §9.2 (scalable-mode root entry).

use super::mask;

/// Bytes of an entry; one for each bus.
pub const SIZE: u64 = 16;

/// A legacy root entry, or one half of a scalable-mode one: both have a present bit and a context-table pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RootEntry(pub u64);

impl RootEntry {
    /// P (legacy), LP or UP (scalable mode).
    pub const PRESENT: u64 = 1;
    /// Bits that must be zero for any host address width.
    pub const RESERVED: u64 = mask(11, 1);

    /// P.
    pub const fn present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }
    /// CTP: address of the context table.
    pub const fn context_table(self) -> u64 {
        self.0 & mask(63, 12)
    }
}
