//! Invalidation descriptors. VT-d 4.1 §6.5.2.

use super::mask;

/// Type field: bits 11:9 above bits 3:0.
pub const fn kind(low: u64) -> u8 {
    (low & 0xf | low >> 5 & 0x70) as u8
}

/// Types. VT-d 4.1 §6.5.2.
pub mod types {
    /// Context-cache invalidate. §6.5.2.1.
    pub const CONTEXT_CACHE: u8 = 1;
    /// IOTLB invalidate. §6.5.2.3.
    pub const IOTLB: u8 = 2;
    /// Device-TLB invalidate. §6.5.2.5.
    pub const DEVICE_TLB: u8 = 3;
    /// Interrupt entry cache invalidate. §6.5.2.7.
    pub const INTERRUPT_ENTRY_CACHE: u8 = 4;
    /// Invalidation wait. §6.5.2.8.
    pub const WAIT: u8 = 5;
    /// PASID-based IOTLB invalidate. §6.5.2.4.
    pub const PASID_IOTLB: u8 = 6;
    /// PASID-cache invalidate. §6.5.2.2.
    pub const PASID_CACHE: u8 = 7;
    /// PASID-based device-TLB invalidate. §6.5.2.6.
    pub const PASID_DEVICE_TLB: u8 = 8;
    /// Page group response. §7.6.1.
    pub const PAGE_GROUP_RESPONSE: u8 = 9;
}

/// Bits that must be zero in (low, high) of each type besides what the type's fields leave open.
pub const fn reserved(kind: u8) -> Option<[u64; 2]> {
    let type_bits = mask(3, 0) | mask(11, 9);
    let fields = match kind {
        types::CONTEXT_CACHE => [mask(5, 4) | mask(31, 16) | mask(49, 32), 0],
        types::IOTLB => [mask(7, 4) | mask(31, 16), mask(6, 0) | mask(63, 12)],
        // PFSID is for units with ECAP.DIT.
        types::DEVICE_TLB => [mask(20, 16) | mask(47, 32), 1 | mask(63, 12)],
        types::INTERRUPT_ENTRY_CACHE => [1 << 4 | mask(47, 27), 0],
        types::WAIT => [mask(7, 4) | mask(63, 32), mask(63, 2)],
        types::PASID_IOTLB => [mask(5, 4) | mask(51, 16), mask(6, 0) | mask(63, 12)],
        types::PASID_CACHE => [mask(5, 4) | mask(51, 16), 0],
        types::PASID_DEVICE_TLB => [mask(8, 4) | mask(51, 16), 1 | mask(63, 11)],
        types::PAGE_GROUP_RESPONSE => [1 << 4 | mask(51, 12), mask(11, 2)],
        _ => return None,
    };
    Some([!(fields[0] | type_bits), !fields[1]])
}

/// Granularity of a context-cache or IOTLB invalidation: bits 5:4.
pub const fn granularity(low: u64) -> u8 {
    (low >> 4 & 3) as u8
}
/// DID: bits 31:16.
pub const fn domain(low: u64) -> u16 {
    (low >> 16) as u16
}
/// PASID: bits 51:32.
pub const fn pasid(low: u64) -> u32 {
    (low >> 32 & 0xf_ffff) as u32
}
/// AM: bits 5:0 of the high quadword.
pub const fn address_mask(high: u64) -> u32 {
    (high & 0x3f) as u32
}
/// IH: bit 6 of the high quadword.
pub const fn hint(high: u64) -> bool {
    high & 1 << 6 != 0
}
/// ADDR: bits 63:12 of the high quadword.
pub const fn address(high: u64) -> u64 {
    high & mask(63, 12)
}

/// Flags of an invalidation wait descriptor. VT-d 4.1 §6.5.2.8.
pub mod wait {
    /// IF: raise the completion event.
    pub const INTERRUPT: u64 = 1 << 4;
    /// SW: write the status data.
    pub const STATUS_WRITE: u64 = 1 << 5;
    /// FN: later descriptors wait for earlier ones.
    pub const FENCE: u64 = 1 << 6;
    /// PD: drain page requests.
    pub const DRAIN_PAGE_REQUESTS: u64 = 1 << 7;
}

/// IQERCD.IQEI: why the queue stopped. VT-d 4.1 §11.4.9.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QueueError {
    /// Tail beyond the queue.
    InvalidTail = 1,
    /// A descriptor could not be fetched.
    Fetch = 2,
    /// Unknown or unsupported type.
    InvalidType = 3,
    /// A reserved field is set.
    Reserved = 4,
    /// IQA.DW does not fit the translation table mode.
    InvalidWidth = 5,
    /// Tail not aligned to a 256-bit descriptor.
    MisalignedTail = 6,
    /// RTADDR.TTM is reserved.
    InvalidMode = 7,
}
