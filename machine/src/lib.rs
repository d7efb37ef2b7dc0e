//! viommu: a full-system emulator whose point is the IOMMU. This crate joins CPUs, devices and firmware tables into machines.

#![deny(clippy::print_stdout, clippy::print_stderr)] // they panic when a pipe is closed: see cli::output

pub mod cli;
pub mod clock;
pub mod config;
pub mod devices;
pub mod guest;
pub mod host;
pub mod observe;
pub mod pc;
pub mod pseries;
pub mod ram;
pub mod run;
pub mod selftest;
