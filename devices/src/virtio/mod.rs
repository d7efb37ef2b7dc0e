//! Virtio 1.2 devices: the PCI transport, and the block device. Modern interface only.

mod block;
mod chain;
mod memory;
mod pci;
#[cfg(test)]
mod tests;

pub use block::VirtioBlock;
pub use chain::{Chain, ChainError, MAX_DESCRIPTORS};
pub use memory::IovaMemory;
pub use pci::{VirtioDevice, VirtioPci, VirtioReport};
