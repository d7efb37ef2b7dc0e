//! The PC: x86-64 processors, a PCI Express host bridge and Intel VT-d.
//!
//! [`boot::Boot`] turns a [`config::PcConfig`] into what lies in memory and how the first processor starts; [`map`] says where things are.

pub mod boot;
pub mod config;
pub mod load;
pub mod map;
pub mod slots;
pub mod tables;

#[cfg(test)]
mod tests;

pub use boot::Boot;
pub use config::{ConfigError, PcConfig, PcDevice};
pub use slots::Slot;
