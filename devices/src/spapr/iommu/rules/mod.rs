//! How a platform interprets the rules: everything in which platforms differ, as data.

mod parse;
mod refusal;
#[cfg(test)]
mod tests;

use bitflags::bitflags;

use super::spec::{PageSizes, TCE_4K_SHIFT};
use crate::spapr::{MSI_WINDOW, MSI_WINDOW_SIZE};

pub use parse::BadPersonality;
pub(super) use refusal::Refusals;
pub use refusal::{BadRefusal, Refusable, Refusal};

/// Where bus addresses of 32-bit BARs begin: a default window ends here at the latest.
pub const DEFAULT_WINDOW_TOP: u64 = 0x8000_0000;
/// Most windows that a personality may allow a PE: each costs the host a little memory.
pub const MAX_WINDOWS: u32 = 16;
/// Most TCEs that a personality may allow a window: a window of 2^63 bytes in pages of 4 KiB.
pub const MAX_BLOCK: u64 = 1 << 51;
/// Most entries of `ibm,ddw-extensions`.
pub const MAX_EXTENSIONS: u32 = 3;

/// A range of bus addresses that no dynamic window may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// First bus address.
    pub base: u64,
    /// Bytes, at least 1.
    pub size: u64,
}

bitflags! {
    /// Rules of LoPAR that a platform does not keep.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Laxities: u32 {
        /// An IOBA inside a page stands for the page (instead of H_PARAMETER).
        const IOBA_INSIDE_PAGE = 0x01;
        /// An entry may have any address and any reserved bits (instead of H_PARAMETER).
        const ANY_TCE = 0x02;
        /// A list outside RAM reads as zeros (instead of H_PARAMETER).
        const ANY_LIST = 0x04;
        /// A list or count that passes the window's end is applied up to the end before H_PARAMETER.
        const PARTIAL = 0x08;
        /// H_STUFF_TCE takes more than 512 entries (instead of H_P4), up to [`super::spec::MAX_LAX_STUFF`].
        const ANY_COUNT = 0x10;
        /// ibm,query-pe-dma-window gives the same answer in every state, and does not look at the configuration address.
        const CONSTANT_QUERY = 0x20;
        /// A window's count of TCEs has 32 bits: what does not fit is lost, and a count of zero is refused with -1.
        const COUNT_OF_32_BITS = 0x40;
        /// The default window does not come back when the last dynamic window goes.
        const DEFAULT_STAYS_AWAY = 0x80;
    }
}

/// What a platform offers a partitionable endpoint.
///
/// As text it is a name ([`Personality::NAMED`]), options (`windows=1,pages=64K+16M`), or a name followed by options that change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality {
    /// For messages and reports.
    pub name: &'static str,
    /// Windows that a PE may have at a time, the default window included.
    pub windows: u32,
    /// Page sizes of dynamic windows.
    pub page_sizes: PageSizes,
    /// Most TCEs in a dynamic window. The five-output form of ibm,query-pe-dma-window says at most 2^31.
    pub largest_block: u64,
    /// Migration mask that ibm,query-pe-dma-window returns.
    pub migration_mask: u32,
    /// Bus address of the default window.
    pub default_base: u64,
    /// Bytes of the default window.
    pub default_size: u64,
    /// Page shift of the default window.
    pub default_page_shift: u32,
    /// Where dynamic windows begin on the bus.
    pub dynamic_base: u64,
    /// Where dynamic windows begin in limited address mode.
    pub limited_base: u64,
    /// Bus addresses that dynamic windows keep clear of.
    pub reserved: &'static [Reserved],
    /// Count of entries in `ibm,ddw-extensions` (1: reset token; 2: six-output query; 3: limited address mode). LoPAR §7.3.14.
    pub extensions: u32,
    /// It handles errors of PEs (EEH): a DMA error stops the PE. Without, it fails in the device only.
    pub eeh: bool,
    /// Rules that it does not keep.
    pub laxities: Laxities,
}

impl Personality {
    /// pseries as KVM offers it, where LoPAR leaves the choice: two windows, 4K, 64K, 2M and 16M pages.
    pub const KVM: Personality = Personality {
        name: "kvm",
        windows: 2,
        page_sizes: PageSizes::K4
            .union(PageSizes::K64)
            .union(PageSizes::M16)
            .union(PageSizes::M2),
        largest_block: 1 << 38,
        migration_mask: 0,
        default_base: 0,
        default_size: 1 << 30,
        default_page_shift: TCE_4K_SHIFT,
        dynamic_base: 0x0800_0000_0000_0000,
        limited_base: 1 << 32,
        // 32-bit space (default window and 32-bit BARs), and where message signalled interrupts are written to.
        reserved: &[
            Reserved {
                base: 0,
                size: 1 << 32,
            },
            Reserved {
                base: MSI_WINDOW,
                size: MSI_WINDOW_SIZE,
            },
        ],
        extensions: 1,
        eeh: false,
        laxities: Laxities::empty(),
    };

    /// PowerVM as Linux meets it: one window, so the default window must be removed first; 64K pages only; all extensions; error handling.
    pub const POWERVM: Personality = Personality {
        name: "powervm",
        windows: 1,
        page_sizes: PageSizes::K64,
        default_size: 2 << 30,
        extensions: MAX_EXTENSIONS,
        eeh: true,
        ..Personality::KVM
    };

    /// QEMU's answers where they differ from LoPAR's. Three states that break QEMU itself are not imitated: a refused create that leaves
    /// its window, two windows at one bus address, and a window over the message window.
    pub const QEMU_COMPAT: Personality = Personality {
        name: "qemu-compat",
        laxities: Laxities::all(),
        ..Personality::KVM
    };

    /// All that have a name.
    pub const NAMED: [Personality; 3] = [
        Personality::KVM,
        Personality::POWERVM,
        Personality::QEMU_COMPAT,
    ];
}
