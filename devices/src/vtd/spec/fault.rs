//! Fault reasons and fault records. VT-d 4.1 §7.1 (interrupt remapping faults), §7.1.3 (address translation faults), §11.4.14 (FRCD).

use super::mask;
use crate::dma::FaultReason;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $condition:literal, $qualified:literal, $text:literal;)*) => {
        /// Why a request was blocked: the FR field of a fault record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $text] $name = $code,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The specification's name of the condition, such as `LCT.2`.
            pub const fn condition(self) -> &'static str {
                match self { $(Reason::$name => $condition,)* }
            }
            /// True if FPD suppresses its record.
            pub const fn qualified(self) -> bool {
                match self { $(Reason::$name => $qualified,)* }
            }
            /// In words.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }
            /// From the FR field.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Reason::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    RootNotPresent = 0x01, "LRT.2", false, "root entry is not present";
    ContextNotPresent = 0x02, "LCT.2", true, "context entry is not present";
    ContextInvalid = 0x03, "LCT.4", true, "context entry is not valid";
    AddressBeyondWidth = 0x04, "LGN.1", true, "address is beyond the address width";
    Write = 0x05, "LGN.2", true, "no write permission";
    Read = 0x06, "LGN.3", true, "no read permission";
    SecondStageAccess = 0x07, "LSS.1", true, "second-stage entry cannot be read";
    RootAccess = 0x08, "LRT.1", false, "root entry cannot be read";
    ContextAccess = 0x09, "LCT.1", false, "context entry cannot be read";
    RootReserved = 0x0a, "LRT.3", false, "root entry has a reserved bit set";
    ContextReserved = 0x0b, "LCT.3", true, "context entry has a reserved bit set";
    SecondStageReserved = 0x0c, "LSS.2", true, "second-stage entry has a reserved bit set";
    RequestBlocked = 0x0d, "LCT.5", true, "translation type blocks translation and translated requests";
    InterruptAddress = 0x0e, "LGN.4", true, "translated address is in the interrupt range";

    InterruptRequestReserved = 0x20, "INTR.1", false, "interrupt request has a reserved field set";
    InterruptIndex = 0x21, "INTR.2", false, "interrupt index is beyond the table";
    IrteNotPresent = 0x22, "INTR.3", true, "interrupt remapping entry is not present";
    IrteAccess = 0x23, "INTR.4", false, "interrupt remapping entry cannot be read";
    IrteReserved = 0x24, "INTR.5", true, "interrupt remapping entry has a reserved field set";
    CompatibilityBlocked = 0x25, "INTR.6", false, "compatibility format interrupt is blocked";
    SourceIdMismatch = 0x26, "INTR.7", true, "source-id verification failed";
    PidAccess = 0x27, "INTR.8", true, "posted interrupt descriptor cannot be accessed";
    PidReserved = 0x28, "INTR.9", true, "posted interrupt descriptor has a reserved field set";
    InterruptRangeRequest = 0x29, "INTR.10", false, "request to the interrupt range is not an interrupt";

    RootTableMode = 0x30, "RTA.1", false, "translation table mode is reserved or not supported";
    PasidInLegacyMode = 0x31, "RTA.2", false, "request with PASID in legacy mode";
    PageRequestInLegacyMode = 0x32, "RTA.3", false, "page request in legacy mode";
    AbortMode = 0x33, "RTA.4", false, "abort-DMA mode";

    ScalableRootAccess = 0x38, "SRT.1", false, "scalable-mode root entry cannot be read";
    ScalableRootNotPresent = 0x39, "SRT.2", false, "scalable-mode root entry is not present";
    ScalableRootReserved = 0x3a, "SRT.3", false, "scalable-mode root entry has a reserved bit set";

    ScalableContextAccess = 0x40, "SCT.1", false, "scalable-mode context entry cannot be read";
    ScalableContextNotPresent = 0x41, "SCT.2", true, "scalable-mode context entry is not present";
    ScalableContextReserved = 0x42, "SCT.3", true, "scalable-mode context entry has a reserved bit set";
    ScalableContextInvalid = 0x43, "SCT.4", true, "scalable-mode context entry is not valid";
    DeviceTlbDisabled = 0x44, "SCT.5", true, "DTE is clear";
    PasidDisabled = 0x45, "SCT.6", true, "PASIDE is clear";
    PasidTooLarge = 0x46, "SCT.7", true, "PASID is beyond the directory";
    PageRequestsDisabled = 0x47, "SCT.8", true, "PRE is clear";
    RidPasid = 0x48, "SCT.9", true, "PASID of the request is RID_PASID";

    PasidDirectoryAccess = 0x50, "SPD.1", false, "PASID directory entry cannot be read";
    PasidDirectoryNotPresent = 0x51, "SPD.2", true, "PASID directory entry is not present";
    PasidDirectoryReserved = 0x52, "SPD.3", true, "PASID directory entry has a reserved bit set";

    PasidAccess = 0x58, "SPT.1", false, "PASID entry cannot be read";
    PasidNotPresent = 0x59, "SPT.2", true, "PASID entry is not present";
    PasidReserved = 0x5a, "SPT.3", true, "PASID entry has a reserved bit set";
    PasidInvalid = 0x5b, "SPT.4", true, "PASID entry is not valid";
    ExecuteDisabled = 0x5c, "SPT.5", true, "ERE is clear";
    SupervisorDisabled = 0x5d, "SPT.6", true, "SRE is clear";

    FirstStageAccess = 0x70, "SFS.1", true, "first-stage entry cannot be read";
    FirstStageNotPresent = 0x71, "SFS.2", true, "first-stage entry is not present";
    FirstStageReserved = 0x72, "SFS.3", true, "first-stage entry has a reserved bit set";
    FirstStageRootAccess = 0x73, "SFS.4", true, "first-stage table cannot be read";
    FirstStageEntryWidth = 0x74, "SFS.5", true, "address of a first-stage entry is beyond the second stage's width";
    FirstStageRootRead = 0x75, "SFS.6", true, "second stage denies reading the first-stage table";
    FirstStageRead = 0x76, "SFS.7", true, "second stage denies reading a first-stage entry";
    FirstStageWrite = 0x77, "SFS.8", true, "second stage denies writing a first-stage entry's accessed or dirty bit";
    ScalableSecondStageAccess = 0x78, "SSS.1", true, "second-stage entry cannot be read";
    SecondStageNotPresent = 0x79, "SSS.2", true, "second-stage entry is not present";
    ScalableSecondStageReserved = 0x7a, "SSS.3", true, "second-stage entry has a reserved bit set";
    SecondStageRootAccess = 0x7b, "SSS.4", true, "second-stage table cannot be read";
    SecondStageNoSnoop = 0x7c, "SSS.5", true, "second-stage accessed or dirty bit must be set, but page walks are not snooped";
    SecondStageUpdate = 0x7d, "SSS.6", true, "second-stage accessed or dirty bit cannot be set";

    NotCanonical = 0x80, "SGN.1", true, "address is not canonical";
    Privilege = 0x81, "SGN.2", true, "user request to a supervisor page";
    Execute = 0x82, "SGN.3", true, "no execute permission";
    HostAddressWidth = 0x83, "SGN.4", true, "address is beyond the host address width";
    SecondStageWidth = 0x84, "SGN.5", true, "address is beyond the second stage's width";
    ScalableWrite = 0x85, "SGN.6", true, "no write permission (scalable mode)";
    ScalableRead = 0x86, "SGN.7", true, "no read permission (scalable mode)";
    ScalableInterruptAddress = 0x87, "SGN.8", true, "translated address is in the interrupt range (scalable mode)";
    FirstStageNoSnoop = 0x90, "SFS.9", true, "first-stage accessed or dirty bit must be set, but page walks are not snooped";
    FirstStageUpdate = 0x91, "SFS.10", true, "first-stage accessed or dirty bit cannot be set";
}

impl Reason {
    /// The FR field.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Reason> for FaultReason {
    fn from(r: Reason) -> FaultReason {
        FaultReason {
            code: r.code().into(),
            name: r.text(),
        }
    }
}

/// Type of the faulting request: T1 (bit 126) and T2 (bit 92) of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestType {
    /// 00.
    Write,
    /// 01: T2.
    PageRequest,
    /// 10: T1.
    Read,
    /// 11.
    AtomicOp,
}

/// A fault record as 128 bits: (low, high). VT-d 4.1 §11.4.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Record(pub [u64; 2]);

impl Record {
    /// F, in the high quadword.
    pub const FAULT: u64 = 1 << 63;
    /// T1, in the high quadword.
    pub const T1: u64 = 1 << 62;
    /// T2, in the high quadword.
    pub const T2: u64 = 1 << 28;
    /// PRIV, in the high quadword.
    pub const PRIVILEGED: u64 = 1 << 29;
    /// EXE, in the high quadword.
    pub const EXECUTE: u64 = 1 << 30;
    /// PP, in the high quadword.
    pub const PASID_PRESENT: u64 = 1 << 31;

    /// A record of an interrupt remapping fault: FI holds the index in bits 63:48.
    pub const fn interrupt(reason: Reason, source: u16, index: u16) -> Self {
        Record([
            (index as u64) << 48,
            Self::FAULT | (reason.code() as u64) << 32 | source as u64,
        ])
    }

    /// F.
    pub const fn is_set(self) -> bool {
        self.0[1] & Self::FAULT != 0
    }
    /// FR.
    pub const fn code(self) -> u8 {
        (self.0[1] >> 32) as u8
    }
    /// SID.
    pub const fn source(self) -> u16 {
        self.0[1] as u16
    }
    /// FI: page address (address translation), or index in bits 63:48 (interrupts).
    pub const fn info(self) -> u64 {
        self.0[0] & mask(63, 12)
    }
    /// PV, if PP is set.
    pub const fn pasid(self) -> Option<u32> {
        if self.0[1] & Self::PASID_PRESENT != 0 {
            Some((self.0[1] >> 40 & 0xf_ffff) as u32)
        } else {
            None
        }
    }
    /// AT: 0 untranslated, 1 translation request, 2 translated.
    pub const fn address_type(self) -> u8 {
        (self.0[1] >> 60 & 3) as u8
    }
    /// T1 and T2.
    pub const fn request_type(self) -> RequestType {
        match (self.0[1] & Self::T1 != 0, self.0[1] & Self::T2 != 0) {
            (false, false) => RequestType::Write,
            (false, true) => RequestType::PageRequest,
            (true, false) => RequestType::Read,
            (true, true) => RequestType::AtomicOp,
        }
    }
}
