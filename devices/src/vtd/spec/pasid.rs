//! PASID directory and PASID tables. VT-d 4.1 §9.5 (directory entry), §9.6 (table entry).

use super::mask;

/// Bytes of a directory entry; each covers 64 PASIDs.
pub const DIRECTORY_SIZE: u64 = 8;
/// Bytes of a table entry.
pub const TABLE_SIZE: u64 = 64;

/// A PASID directory entry. VT-d 4.1 §9.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PasidDirectoryEntry(pub u64);

impl PasidDirectoryEntry {
    /// Bits that must be zero for any host address width.
    pub const RESERVED: u64 = mask(11, 2);

    /// P.
    pub const fn present(self) -> bool {
        self.0 & 1 != 0
    }
    /// FPD.
    pub const fn fault_processing_disabled(self) -> bool {
        self.0 & 2 != 0
    }
    /// SMPTBLPTR: address of the PASID table.
    pub const fn table(self) -> u64 {
        self.0 & mask(63, 12)
    }
}

/// PGTT. VT-d 4.1 §9.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TranslationType {
    /// First stage only.
    FirstStage = 1,
    /// Second stage only.
    SecondStage = 2,
    /// First stage, whose addresses go through the second.
    Nested = 3,
    /// Addresses pass unchanged.
    PassThrough = 4,
}

/// A PASID table entry: the quadwords that are not wholly reserved. VT-d 4.1 §9.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PasidEntry(pub [u64; 3]);

impl PasidEntry {
    /// SSADE, in quadword 0.
    pub const SSADE: u64 = 1 << 9;
    /// Bits of quadword 0 that must be zero: 5 (once SLEE), 11:10.
    pub const RESERVED_0: u64 = mask(11, 10) | 1 << 5;
    /// PWSNP, in quadword 1.
    pub const PWSNP: u64 = 1 << 23;
    /// PGSNP, in quadword 1.
    pub const PGSNP: u64 = 1 << 24;
    /// CD, EMTE, EMT, PWT, PCD, PAT, in quadword 1: meaningful with ECAP.MTS only.
    pub const MEMORY_TYPE: u64 = mask(63, 25);
    /// Bits of quadword 1 that must be zero.
    pub const RESERVED_1: u64 = mask(22, 16);
    /// SRE, in quadword 2.
    pub const SRE: u64 = 1;
    /// ERE, in quadword 2.
    pub const ERE: u64 = 1 << 1;
    /// WPE, in quadword 2.
    pub const WPE: u64 = 1 << 4;
    /// NXE, in quadword 2.
    pub const NXE: u64 = 1 << 5;
    /// SMEP, in quadword 2.
    pub const SMEP: u64 = 1 << 6;
    /// EAFE, in quadword 2.
    pub const EAFE: u64 = 1 << 7;
    /// Bits of quadword 2 that must be zero for any host address width.
    pub const RESERVED_2: u64 = mask(11, 8);

    /// P.
    pub const fn present(self) -> bool {
        self.0[0] & 1 != 0
    }
    /// FPD.
    pub const fn fault_processing_disabled(self) -> bool {
        self.0[0] & 2 != 0
    }
    /// AW of the second stage: 1 is 39 bits (3 levels), 2 is 48, 3 is 57.
    pub const fn address_width(self) -> u8 {
        (self.0[0] >> 2 & 7) as u8
    }
    /// PGTT; None if reserved.
    pub const fn translation_type(self) -> Option<TranslationType> {
        match self.0[0] >> 6 & 7 {
            1 => Some(TranslationType::FirstStage),
            2 => Some(TranslationType::SecondStage),
            3 => Some(TranslationType::Nested),
            4 => Some(TranslationType::PassThrough),
            _ => None,
        }
    }
    /// SSADE: accessed and dirty bits in the second stage.
    pub const fn second_stage_ad(self) -> bool {
        self.0[0] & Self::SSADE != 0
    }
    /// SSPTPTR.
    pub const fn second_stage(self) -> u64 {
        self.0[0] & mask(63, 12)
    }
    /// DID.
    pub const fn domain(self) -> u16 {
        self.0[1] as u16
    }
    /// PWSNP: accesses to the paging structures are snooped.
    pub const fn page_walk_snoop(self) -> bool {
        self.0[1] & Self::PWSNP != 0
    }
    /// True if the flag of quadword 2 is set.
    pub const fn first_stage_flag(self, flag: u64) -> bool {
        self.0[2] & flag != 0
    }
    /// FSPM: 0 is 4-level paging, 1 is 5-level, others are reserved.
    pub const fn paging_mode(self) -> u8 {
        (self.0[2] >> 2 & 3) as u8
    }
    /// FSPTPTR.
    pub const fn first_stage(self) -> u64 {
        self.0[2] & mask(63, 12)
    }
}
