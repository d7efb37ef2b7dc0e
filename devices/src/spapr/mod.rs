//! sPAPR: what a pseries guest reaches by hypercall and RTAS, and its PCI host bridge.

pub mod drc;
pub mod eeh;
pub mod hcall;
pub mod iommu;
pub mod nvram;
pub mod phb;
pub mod rtas;
pub mod vty;
pub mod xics;

/// Bus address that message interrupts are written to. No dynamic DMA window may cover it.
pub const MSI_WINDOW: u64 = 0x400_0000_0000;
/// Bytes there.
pub const MSI_WINDOW_SIZE: u64 = 0x1_0000;
