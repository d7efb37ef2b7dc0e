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
#[derive(Debug)]
pub(super) struct CodeMemory {
    writable: MmapMut,
    executable: Mmap,
    used: usize,
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

    /// Forgets what lies after the first `used` bytes.
    pub(super) fn truncate(&mut self, used: usize) {
        self.used = self.used.min(used);
    }

    /// Adds code at [`CodeMemory::next`]; false if there is no room.
    pub(super) fn push(&mut self, code: &[u8]) -> bool {
        let Some(room) = self.writable.get_mut(self.used..self.used + code.len()) else {
            return false;
        };
        room.copy_from_slice(code);
        // Blocks start at cache half-lines.
        self.used = (self.used + code.len()).next_multiple_of(16);
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
