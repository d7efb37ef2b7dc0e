//! PCI: what a function is to its host bridge, configuration space, BARs, MSI and MSI-X, address translation services.

pub mod ats;
pub mod bars;
pub mod bridge;
pub mod config;
pub mod host;
pub mod intx;
pub mod msi;
pub mod msix;
pub mod regs;
pub mod requester;

#[cfg(test)]
mod tests;

use crate::dma::PageResponse;
use crate::effects::Effects;

/// A PCI function. Its host bridge owns it, decodes BARs (by [`PciDevice::config_read`] of the BAR registers and the command register)
/// and carries out the [`Effects`].
pub trait PciDevice: Send {
    /// A short name for reports: `nvme0`.
    fn name(&self) -> &str;

    /// Reads 1, 2 or 4 bytes of configuration space at `offset` (aligned to `size`, below 4096). Unimplemented bytes read 0.
    fn config_read(&self, offset: u16, size: u8) -> u32;

    /// Writes 1, 2 or 4 bytes of configuration space.
    fn config_write(&mut self, offset: u16, size: u8, value: u32, effects: &mut Effects);

    /// Size of BAR `index` (0 to 5) in bytes, a power of two, or 0 if there is none. The upper half of a 64-bit BAR has size 0.
    fn bar_size(&self, index: u8) -> u64;

    /// Reads `data.len()` bytes (1, 2, 4 or 8) at `offset` of memory BAR `index`; bytes in address order (registers little-endian).
    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8], effects: &mut Effects);

    /// Writes `data.len()` bytes (1, 2, 4 or 8) at `offset` of memory BAR `index`.
    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8], effects: &mut Effects);

    /// Does deferred work. Called at the time asked for with [`Effects::run_after`]; `now_ns` is virtual time.
    fn run(&mut self, _now_ns: u64, _effects: &mut Effects) {}

    /// The answer to the group of page requests with this number. Comes to those only who sent some.
    fn page_response(&mut self, _group: u16, _answer: PageResponse, _effects: &mut Effects) {}

    /// Back to the state after power-on, configuration space included.
    fn reset(&mut self);
}
