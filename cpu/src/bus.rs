//! What a CPU needs from the machine around it.

/// Nothing answers at this address: the CPU takes its architecture's machine check, or reads all-ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError;

/// The machine as a CPU sees it besides RAM.
pub trait Bus {
    /// Reads 1, 2, 4 or 8 bytes of device memory at `gpa`, in address order.
    ///
    /// # Errors
    /// [`BusError`] if nothing is there.
    fn mmio_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), BusError>;

    /// Writes 1, 2, 4 or 8 bytes of device memory at `gpa`, in address order.
    ///
    /// # Errors
    /// [`BusError`] if nothing is there.
    fn mmio_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), BusError>;

    /// The 4 KiB page of RAM at `gpa` now has cached code: the machine reports device writes to it with
    /// [`crate::engine::CodeCache::invalidate_page`] before the next run of any CPU.
    fn watch_code(&mut self, gpa: u64);
}
