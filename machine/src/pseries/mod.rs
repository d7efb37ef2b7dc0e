//! The pseries machine: a partition as PAPR describes it, with PCI host bridges.
//!
//! [`machine::Machine`] owns the vCPUs and a [`platform::Platform`], which is everything else. A vCPU's hypercall comes back as an exit
//! and goes through the table of [`hcall`], RTAS through that of [`rtas`]; device memory goes through the platform's bus, and so do
//! hypercalls that need no vCPU.

pub mod build;
pub mod config;
pub mod elf;
pub mod hcall;
pub mod load;
pub mod machine;
pub mod map;
pub mod platform;
pub mod random;
pub mod rtas;
pub mod slots;
pub mod tree;

#[cfg(test)]
mod tests;

pub use crate::config::{DeviceConfig, DiskConfig, DiskMode, End, OnReboot, ResourceError};
pub use crate::host::{self, Host, HostInput, Unattended};
pub use config::{ConfigError, Features, MachineConfig};
pub use machine::Machine;
