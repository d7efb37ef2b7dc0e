//! The PC: x86-64 processors, a PCI Express host bridge and Intel VT-d.
//!
//! [`boot::Boot`] turns a [`config::PcConfig`] into what lies in memory and how the first processor starts; [`map`] says where things are.
//! [`machine::Machine`] owns the processors and a [`platform::Platform`], which is everything else and their bus.

pub mod boot;
pub mod build;
pub mod config;
pub mod faults;
pub mod interrupts;
pub mod isa;
pub mod load;
pub mod machine;
pub mod map;
pub mod platform;
pub mod report;
pub mod slots;
pub mod tables;

#[cfg(test)]
mod tests;

pub use boot::Boot;
pub use config::{ConfigError, PcConfig, PcDevice};
pub use machine::Machine;
pub use slots::Slot;
