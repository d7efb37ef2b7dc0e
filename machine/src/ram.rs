//! Guest RAM of a machine, and what its CPUs' code caches need to know of it.

use viommu_cpu::engine::Shared;
use viommu_devices::memory::{GuestRam, WriteWatch};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MmapRegion};

use crate::config::ResourceError;

/// Maps RAM in ranges (first address, bytes): the host gives pages of it when they are touched. Empty ranges are left out.
///
/// # Errors
/// [`ResourceError::HostMemory`].
pub fn map(ranges: &[(u64, u64)]) -> Result<GuestRam, ResourceError> {
    let bytes = ranges.iter().map(|r| r.1).sum();
    let host = |reason: String| ResourceError::HostMemory { bytes, reason };
    let ranges: Vec<(GuestAddress, usize)> = ranges
        .iter()
        .filter(|(_, size)| *size != 0)
        .map(|&(start, size)| Ok((GuestAddress(start), usize::try_from(size)?)))
        .collect::<Result<_, std::num::TryFromIntError>>()
        .map_err(|e| host(e.to_string()))?;
    GuestRam::from_ranges(&ranges).map_err(|e| host(e.to_string()))
}

/// Watches the page at `gpa`: code of it is cached.
pub fn watch_code(ram: &GuestRam, gpa: u64) {
    for region in ram.iter() {
        let offset = gpa.checked_sub(region.start_addr().0);
        if let Some(offset) = offset.filter(|&o| o < region.len()) {
            watch(region).watch(offset as usize);
        }
    }
}

/// Drops cached code of watched pages that anything but a CPU wrote.
pub fn sync_code(ram: &GuestRam, shared: &mut Shared) {
    for region in ram.iter() {
        for offset in watch(region).take_written() {
            shared.invalidate_page(region.start_addr().0 + offset as u64);
        }
    }
}

fn watch(region: &GuestRegionMmap<WriteWatch>) -> &WriteWatch {
    // The region's own method of this name gives a slice, which counts references.
    MmapRegion::bitmap(region)
}
