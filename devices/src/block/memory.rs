//! A disk in memory.

use std::collections::BTreeMap;
use std::io;

use super::{Disk, OpenError, check, check_len, parts};

const CHUNK: u64 = 64 << 10;

/// A disk that starts as zeroes, takes memory only where something else was written, and forgets everything at the end.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    len: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl MemoryDisk {
    /// A disk of `len` bytes.
    ///
    /// # Errors
    /// The length is 0 or not a multiple of a sector.
    pub fn new(len: u64) -> Result<Self, OpenError> {
        check_len("in memory", len)?;
        Ok(MemoryDisk {
            len,
            chunks: BTreeMap::new(),
        })
    }

    /// A disk with these contents.
    ///
    /// # Errors
    /// The length is 0 or not a multiple of a sector.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        let mut disk = Self::new(bytes.len() as u64)?;
        for (i, chunk) in bytes.chunks(CHUNK as usize).enumerate() {
            if chunk.iter().any(|&b| b != 0) {
                let mut whole = vec![0; CHUNK as usize];
                whole[..chunk.len()].copy_from_slice(chunk);
                disk.chunks.insert(i as u64, whole.into());
            }
        }
        Ok(disk)
    }

    /// Host memory taken by contents, in bytes.
    pub fn resident(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK
    }
}

impl Disk for MemoryDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check(self.len, offset, buf.len() as u64)?;
        for (chunk, within, at, n) in parts(offset, buf.len() as u64, CHUNK) {
            let to = &mut buf[at as usize..][..n];
            match self.chunks.get(&chunk) {
                Some(from) => to.copy_from_slice(&from[within..within + n]),
                None => to.fill(0),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, buf: &[u8]) -> io::Result<()> {
        check(self.len, offset, buf.len() as u64)?;
        for (chunk, within, at, n) in parts(offset, buf.len() as u64, CHUNK) {
            let to = self
                .chunks
                .entry(chunk)
                .or_insert_with(|| vec![0; CHUNK as usize].into());
            to[within..within + n].copy_from_slice(&buf[at as usize..][..n]);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        check(self.len, offset, len)?;
        let (first, end) = (offset.div_ceil(CHUNK), (offset + len) / CHUNK);
        if first < end {
            let mut tail = self.chunks.split_off(&first);
            self.chunks.append(&mut tail.split_off(&end));
        }
        let edges = [
            offset / CHUNK,
            offset.saturating_add(len.saturating_sub(1)) / CHUNK,
        ];
        for (&chunk, bytes) in self.chunks.range_mut(edges[0]..=edges[1]) {
            let start = chunk * CHUNK;
            let from = offset.max(start) - start;
            let to = (offset + len).min(start + CHUNK).saturating_sub(start);
            if from < to {
                bytes[from as usize..to as usize].fill(0);
            }
        }
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }
}
