//! What a device asks of its surroundings, as values.

/// A message signalled interrupt: a 32-bit write of `data` to `address` on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Msi {
    /// Bus address, as the guest's driver wrote it into the capability.
    pub address: u64,
    /// Data, in host byte order.
    pub data: u32,
}

/// Collected while a device runs, carried out by its owner after the borrow of the device has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Messages to send, oldest first.
    pub msis: Vec<Msi>,
    /// New level of the INTx pin, if it changed (true: asserted).
    pub intx: Option<bool>,
    /// Ask for [`crate::pci::PciDevice::run`] after this many nanoseconds of virtual time (0: as soon as the access is complete).
    pub run_after_ns: Option<u64>,
}

impl Effects {
    /// Sends a message.
    pub fn msi(&mut self, address: u64, data: u32) {
        self.msis.push(Msi { address, data });
    }
    /// Asks for a run after `ns`, or earlier if one was asked for already.
    pub fn run_after(&mut self, ns: u64) {
        self.run_after_ns = Some(self.run_after_ns.map_or(ns, |old| old.min(ns)));
    }
    /// True if nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.msis.is_empty() && self.intx.is_none() && self.run_after_ns.is_none()
    }
}
