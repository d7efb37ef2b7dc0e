//! How a platform interprets the rules: everything in which platforms differ, as data.

use super::spec::{PageSizes, TCE_4K_SHIFT};
use crate::spapr::{MSI_WINDOW, MSI_WINDOW_SIZE};

/// A range of bus addresses that no dynamic window may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// First bus address.
    pub base: u64,
    /// Bytes, at least 1.
    pub size: u64,
}

/// What a platform offers a partitionable endpoint.
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
    /// Bus addresses that dynamic windows keep clear of.
    pub reserved: &'static [Reserved],
    /// Count of entries in `ibm,ddw-extensions` (1: reset token; 2: six-output query; 3: limited address mode). LoPAR §7.3.14.
    pub extensions: u32,
}

impl Personality {
    /// pseries as KVM and QEMU offer it, where LoPAR leaves the choice: two windows, 4K, 64K, 2M and 16M pages.
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
    };
}
