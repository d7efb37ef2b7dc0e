//! The PC: x86-64 processors, a PCI Express host bridge and Intel VT-d.

pub mod load;
pub mod map;
