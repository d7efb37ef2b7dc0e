//! Context tables. VT-d 4.1 §9.3 (context entry), §9.4 (scalable-mode context entry).

use super::mask;

/// Bytes of a legacy entry.
pub const LEGACY_SIZE: u64 = 16;
/// Bytes of a scalable-mode entry.
pub const SCALABLE_SIZE: u64 = 32;

/// TT of a legacy context entry. VT-d 4.1 §9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TranslationType {
    /// Untranslated requests go through the second stage; others are blocked.
    Untranslated = 0,
    /// All request types, with device TLBs.
    DeviceTlb = 1,
    /// Untranslated requests pass unchanged; others are blocked.
    PassThrough = 2,
}

/// A legacy context entry: low and high quadword. VT-d 4.1 §9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ContextEntry(pub [u64; 2]);

impl ContextEntry {
    /// Bits of the low quadword that must be zero for any host address width.
    pub const RESERVED_LOW: u64 = mask(11, 4);
    /// Bits of the high quadword that must be zero.
    pub const RESERVED_HIGH: u64 = mask(63, 24) | 1 << 7;

    /// P.
    pub const fn present(self) -> bool {
        self.0[0] & 1 != 0
    }
    /// FPD: qualified faults are not recorded.
    pub const fn fault_processing_disabled(self) -> bool {
        self.0[0] & 2 != 0
    }
    /// TT; None if reserved.
    pub const fn translation_type(self) -> Option<TranslationType> {
        match self.0[0] >> 2 & 3 {
            0 => Some(TranslationType::Untranslated),
            1 => Some(TranslationType::DeviceTlb),
            2 => Some(TranslationType::PassThrough),
            _ => None,
        }
    }
    /// SSPTPTR: address of the second-stage table.
    pub const fn second_stage(self) -> u64 {
        self.0[0] & mask(63, 12)
    }
    /// AW: 1 is 39 bits (3 levels), 2 is 48, 3 is 57.
    pub const fn address_width(self) -> u8 {
        (self.0[1] & 7) as u8
    }
    /// DID.
    pub const fn domain(self) -> u16 {
        (self.0[1] >> 8) as u16
    }
}

/// A scalable-mode context entry: four quadwords. VT-d 4.1 §9.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScalableContextEntry(pub [u64; 4]);

impl ScalableContextEntry {
    /// DTE.
    pub const DTE: u64 = 1 << 2;
    /// PASIDE.
    pub const PASIDE: u64 = 1 << 3;
    /// PRE.
    pub const PRE: u64 = 1 << 4;
    /// Bits of quadword 0 that must be zero for any host address width.
    pub const RESERVED_0: u64 = mask(8, 5);
    /// RID_PASID, in quadword 1.
    pub const RID_PASID: u64 = mask(19, 0);
    /// RID_PRIV, in quadword 1.
    pub const RID_PRIV: u64 = 1 << 20;
    /// Bits of quadword 1 that must be zero.
    pub const RESERVED_1: u64 = mask(63, 21);

    /// P.
    pub const fn present(self) -> bool {
        self.0[0] & 1 != 0
    }
    /// FPD.
    pub const fn fault_processing_disabled(self) -> bool {
        self.0[0] & 2 != 0
    }
    /// DTE: translation requests and translated requests are allowed.
    pub const fn device_tlb_enabled(self) -> bool {
        self.0[0] & Self::DTE != 0
    }
    /// PASIDE: requests with PASID are allowed.
    pub const fn pasid_enabled(self) -> bool {
        self.0[0] & Self::PASIDE != 0
    }
    /// PRE: page requests are allowed.
    pub const fn page_requests_enabled(self) -> bool {
        self.0[0] & Self::PRE != 0
    }
    /// Bits of PASID that the directory of this entry covers: PDTS + 13 (13 to 20).
    pub const fn pasid_bits(self) -> u32 {
        (self.0[0] >> 9 & 7) as u32 + 13
    }
    /// PASIDDIRPTR: address of the PASID directory.
    pub const fn pasid_directory(self) -> u64 {
        self.0[0] & mask(63, 12)
    }
    /// RID_PASID: the PASID of requests that have none.
    pub const fn rid_pasid(self) -> u32 {
        (self.0[1] & Self::RID_PASID) as u32
    }
    /// RID_PRIV: requests without PASID are privileged.
    pub const fn rid_privileged(self) -> bool {
        self.0[1] & Self::RID_PRIV != 0
    }
}
