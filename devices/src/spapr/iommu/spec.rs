//! Layouts and numbers of the sPAPR IOMMU, without behaviour. LoPAR §3.2.2 (TCEs), §7.3.14 (dynamic DMA windows), §14.5.4 (hypercalls).

use std::fmt;

use bitflags::bitflags;
use serde::Serialize;

use crate::dma::Access;

/// A logical I/O bus number: names one TCE table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Liobn(pub u32);

impl fmt::Debug for Liobn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "liobn {:#x}", self.0)
    }
}

/// A translation control entry: real page number in bits 0-51, access in bits 62-63. LoPAR §3.2.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tce(pub u64);

impl Tce {
    /// The device may read the page (bit 63).
    pub const READ: u64 = 1;
    /// The device may write the page (bit 62).
    pub const WRITE: u64 = 2;
    /// Bits of the real page number.
    pub const ADDRESS: u64 = !0xfff;

    /// Real address of the page.
    pub const fn address(self) -> u64 {
        self.0 & Self::ADDRESS
    }

    /// True if the device may do anything with the page.
    pub const fn is_mapped(self) -> bool {
        self.0 & (Self::READ | Self::WRITE) != 0
    }

    /// True if the device may do this with the page.
    pub const fn permits(self, access: Access) -> bool {
        match access {
            Access::Read => self.0 & Self::READ != 0,
            Access::Write => self.0 & Self::WRITE != 0,
        }
    }
}

/// Most entries that one H_PUT_TCE_INDIRECT or H_STUFF_TCE takes. LoPAR §14.5.4.2.
pub const MAX_TCES_PER_CALL: u64 = 512;
/// Most entries that H_STUFF_TCE takes where no rule limits it: all of a 32-bit window in 4 KiB pages, so that the call stays short.
pub const MAX_LAX_STUFF: u64 = 1 << 20;
/// Size and alignment of H_PUT_TCE_INDIRECT's list, in bytes.
pub const LIST_PAGE: u64 = 4096;
/// Page shift of a default window and of a VIO window.
pub const TCE_4K_SHIFT: u32 = 12;

bitflags! {
    /// I/O page sizes, as ibm,query-pe-dma-window returns them. LoPAR §7.3.14.1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PageSizes: u32 {
        /// 4 KiB.
        const K4 = 0x01;
        /// 64 KiB.
        const K64 = 0x02;
        /// 16 MiB.
        const M16 = 0x04;
        /// 32 MiB.
        const M32 = 0x08;
        /// 64 MiB.
        const M64 = 0x10;
        /// 128 MiB.
        const M128 = 0x20;
        /// 256 MiB.
        const M256 = 0x40;
        /// 16 GiB.
        const G16 = 0x80;
        /// 2 MiB (PAPR after LoPAR).
        const M2 = 0x100;
    }
}

impl PageSizes {
    /// The flag of a page of `1 << shift` bytes, if there is one.
    pub const fn of_shift(shift: u32) -> Option<Self> {
        Some(match shift {
            12 => Self::K4,
            16 => Self::K64,
            21 => Self::M2,
            24 => Self::M16,
            25 => Self::M32,
            26 => Self::M64,
            27 => Self::M128,
            28 => Self::M256,
            34 => Self::G16,
            _ => return None,
        })
    }
}

/// First status cell of an RTAS call. LoPAR §7.2.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RtasStatus(pub i32);

/// Success.
pub const RTAS_SUCCESS: RtasStatus = RtasStatus(0);
/// Hardware error; here also: no window left to create.
pub const RTAS_HARDWARE_ERROR: RtasStatus = RtasStatus(-1);
/// Parameter error.
pub const RTAS_PARAMETER_ERROR: RtasStatus = RtasStatus(-3);
