//! Descriptions of a machine that are handed to guests, and the rules that they must hold.
//!
//! Pure: a plain description comes in, bytes go out; bytes come in, a tree or a list of findings goes out. Nothing here knows a machine,
//! a device or a CPU.

pub mod acpi;
pub mod check;
pub mod fdt;
