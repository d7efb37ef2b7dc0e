//! Memory for compiled code: mapped twice, once to write and once to execute, so that no page is ever both at one address.
#![allow(
    unsafe_code,
    reason = "mapping a file that only this process has is unsafe by type"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapMut, MmapOptions};
use rustix::fs::{MemfdFlags, memfd_create};

const ALIGN: usize = 16;
/// Between blocks: a trap, with which nothing else in a block begins that follows a jump.
const PADDING: u8 = 0xcc;
/// Instructions that do nothing, by length.
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

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
        let end = (self.used + code.len()).next_multiple_of(ALIGN);
        let Some(cold_start) = self.cold.checked_sub(cold.len()).filter(|c| *c >= end) else {
            return false;
        };
        let (block, padding) = self.writable[self.used..end].split_at_mut(code.len());
        block.copy_from_slice(code);
        padding.fill(PADDING);
        self.writable[cold_start..self.cold].copy_from_slice(cold);
        (self.used, self.cold) = (end, cold_start);
        true
    }

    /// The place of the bytes of code from address `from` up to `to`, if they are in use.
    fn range(&self, from: usize, to: usize) -> Option<std::ops::Range<usize>> {
        let start = self.executable.as_ptr() as usize;
        let (from, to) = (from.checked_sub(start)?, to.checked_sub(start)?);
        (from <= to && to <= self.used).then_some(from..to)
    }

    /// True if nothing but padding is between two addresses; also if nothing is.
    pub(super) fn is_padding(&self, from: usize, to: usize) -> bool {
        to.wrapping_sub(from) < ALIGN
            && self
                .range(from, to)
                .is_some_and(|r| self.writable[r].iter().all(|b| *b == PADDING))
    }

    /// Makes code that does nothing between two addresses.
    pub(super) fn fill_with_nops(&mut self, from: usize, to: usize) {
        let Some(range) = self.range(from, to) else {
            return;
        };
        for piece in self.writable[range].chunks_mut(NOPS.len()) {
            if let Some(nop) = NOPS.get(piece.len() - 1) {
                piece.copy_from_slice(nop);
            }
        }
    }

    /// The four bytes of code at an address.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let bytes = &self.writable[self.range(at, at + 4)?];
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
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
