//! The MSI capability: 64-bit addresses, up to 32 vectors, no per-vector mask. PCI 3.0 §6.8.1.

use super::config::ConfigSpace;
use super::regs::{CAP_MSI, MSI_64BIT, MSI_ENABLE};
use crate::effects::Effects;

/// Sends messages as the MSI capability says. All state is in the configuration space.
#[derive(Clone, Debug)]
pub struct Msi {
    capability: u16,
    log2_vectors: u16,
}

impl Msi {
    /// Adds the capability for `vectors` vectors (rounded up to a power of two, 1 to 32).
    pub fn new(config: &mut ConfigSpace, vectors: u8) -> Self {
        let log2_vectors = vectors.clamp(1, 32).next_power_of_two().trailing_zeros() as u16;
        let control = MSI_64BIT | log2_vectors << 1;
        let mut body = [0u8; 12];
        body[..2].copy_from_slice(&control.to_le_bytes());
        // Enable and the three bits of multiple-message enable; address below bit 2 is zero.
        let writable = [
            0x71, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        let capability = config.add_capability(CAP_MSI, &body, &writable);
        Msi {
            capability,
            log2_vectors,
        }
    }

    /// True if software enabled MSI.
    pub fn enabled(&self, config: &ConfigSpace) -> bool {
        self.capability != 0 && config.get_u16(self.capability + 2) & MSI_ENABLE != 0
    }

    /// Vectors software gave the function (a power of two).
    pub fn vectors(&self, config: &ConfigSpace) -> u32 {
        let granted = config.get_u16(self.capability + 2) >> 4 & 7;
        1 << granted.min(self.log2_vectors)
    }

    /// Sends the message of `vector`; vectors beyond those granted share the last one. Returns false if MSI is off.
    pub fn trigger(&self, config: &ConfigSpace, vector: u16, effects: &mut Effects) -> bool {
        if !self.enabled(config) {
            return false;
        }
        let low = u64::from(config.get_u32(self.capability + 4));
        let high = u64::from(config.get_u32(self.capability + 8));
        let vectors = self.vectors(config);
        let data = u32::from(config.get_u16(self.capability + 12)) & !(vectors - 1)
            | u32::from(vector).min(vectors - 1);
        effects.msi(high << 32 | low, data);
        true
    }
}
