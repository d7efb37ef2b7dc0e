//! Device models and IOMMUs: everything that hangs on a bus of an emulated machine.
//!
//! This crate knows no CPU and no machine. A device that masters the bus does so through [`dma`]; which IOMMU stands in front of it,
//! or whether there is one, it cannot tell. Guest memory is [`memory::GuestRam`]. What a device wants from its surroundings (a message
//! signalled interrupt, an interrupt line, more time) it returns as [`effects::Effects`], which the owner of the device carries out
//! after the borrow has ended.

pub mod block;
pub mod date;
pub mod dma;
pub mod edu;
pub mod effects;
pub mod memory;
pub mod nvme;
pub mod pc;
pub mod pci;
pub mod spapr;
pub mod virtio;
pub mod vtd;
