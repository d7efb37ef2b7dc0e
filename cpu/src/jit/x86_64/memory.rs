//! Memory for compiled code: mapped twice, once to write and once to execute, so that no page is ever both at one address.
#![allow(
    unsafe_code,
    reason = "mapping a file that only this process has is unsafe by type"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapMut, MmapOptions};
use rustix::fs::{MemfdFlags, memfd_create};

/// A bounded area of code. Pages take host memory once they are written.
///
/// Code that runs grows from the start; code that is out of the way grows from the end, so that the former lies close together.
#[derive(Debug)]
pub(super) struct CodeMemory {
    writable: MmapMut,
    executable: Mmap,
    used: usize,
    /// Where the code that is out of the way begins.
    cold: usize,
}

impl CodeMemory {
    /// Reserves `cap` bytes.
    ///
    /// # Errors
    /// The host refuses.
    pub(super) fn new(cap: usize) -> io::Result<Self> {
        let file = File::from(memfd_create("viommu-code", MemfdFlags::CLOEXEC)?);
        file.set_len(cap as u64)?;
        // SAFETY: the file has no name and its descriptor does not leave this function: only these two mappings reach it. The executable
        // one is never read as a Rust slice.
        let (writable, executable) = unsafe {
            (
                MmapOptions::new().len(cap).map_mut(&file)?,
                MmapOptions::new().len(cap).map_exec(&file)?,
            )
        };
        Ok(CodeMemory {
            writable,
            executable,
            used: 0,
            cold: cap,
        })
    }

    /// Where the next code will lie.
    pub(super) fn next(&self) -> usize {
        self.executable.as_ptr() as usize + self.used
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Where `len` bytes of code out of the way will lie.
    pub(super) fn next_cold(&self, len: usize) -> usize {
        (self.executable.as_ptr() as usize + self.cold).wrapping_sub(len)
    }

    /// Forgets what lies after the first `used` bytes.
    pub(super) fn truncate(&mut self, used: usize) {
        self.used = self.used.min(used);
        self.cold = self.writable.len();
    }

    /// Adds code at [`CodeMemory::next`], and its part out of the way at [`CodeMemory::next_cold`]; false if there is no room.
    pub(super) fn push(&mut self, code: &[u8], cold: &[u8]) -> bool {
        // Blocks start at quarters of a cache line.
        let end = (self.used + code.len()).next_multiple_of(16);
        let Some(cold_start) = self.cold.checked_sub(cold.len()).filter(|c| *c >= end) else {
            return false;
        };
        self.writable[self.used..][..code.len()].copy_from_slice(code);
        self.writable[cold_start..self.cold].copy_from_slice(cold);
        (self.used, self.cold) = (end, cold_start);
        true
    }

    /// Replaces code at an address that [`CodeMemory::next`] gave, or within what was pushed there. Elsewhere nothing happens.
    pub(super) fn patch(&mut self, address: usize, code: &[u8]) {
        let at = address.wrapping_sub(self.executable.as_ptr() as usize);
        if at < self.used
            && let Some(room) = self.writable.get_mut(at..at + code.len())
        {
            room.copy_from_slice(code);
        }
    }
}
