//! sPAPR: what a pseries guest reaches by hypercall and RTAS, and its PCI host bridge.

pub mod hcall;
pub mod iommu;
pub mod nvram;
pub mod phb;
pub mod rtas;
pub mod vty;
pub mod xics;
