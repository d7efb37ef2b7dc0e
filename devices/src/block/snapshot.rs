//! A disk that leaves its base as it was.

use std::collections::BTreeMap;
use std::io;

use super::{Disk, check, parts};

const CHUNK: u64 = 4096;

/// Writes go to memory, reads come from there or from the base, which is never written.
pub struct SnapshotDisk {
    pub(super) base: Box<dyn Disk>,
    chunks: BTreeMap<u64, Box<[u8]>>,
    cap: u64,
}

impl SnapshotDisk {
    /// An overlay over `base` that holds at most `cap` bytes, counted in chunks of 4 KiB; a write that needs more fails with
    /// [`io::ErrorKind::StorageFull`].
    pub fn new(base: Box<dyn Disk>, cap: u64) -> Self {
        SnapshotDisk {
            base,
            chunks: BTreeMap::new(),
            cap,
        }
    }

    /// Bytes of the overlay in use.
    pub fn resident(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK
    }

    fn chunk(&mut self, index: u64, whole: bool) -> io::Result<&mut [u8]> {
        if !self.chunks.contains_key(&index) {
            if self.resident() + CHUNK > self.cap {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "the snapshot's overlay is full",
                ));
            }
            let mut bytes = vec![0; CHUNK as usize];
            let start = index * CHUNK;
            if !whole {
                let n = (self.base.len() - start).min(CHUNK) as usize;
                self.base.read_at(start, &mut bytes[..n])?;
            }
            self.chunks.insert(index, bytes.into());
        }
        self.chunks
            .get_mut(&index)
            .map(|b| &mut **b)
            .ok_or_else(|| io::Error::other("no chunk"))
    }
}

impl Disk for SnapshotDisk {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check(self.len(), offset, buf.len() as u64)?;
        // One read of the base, then the chunks of the overlay over it: the common case is a long read of an untouched range.
        self.base.read_at(offset, buf)?;
        let Some(last) = (buf.len() as u64)
            .checked_sub(1)
            .map(|n| (offset + n) / CHUNK)
        else {
            return Ok(());
        };
        if self.chunks.range(offset / CHUNK..=last).next().is_none() {
            return Ok(());
        }
        for (chunk, within, at, n) in parts(offset, buf.len() as u64, CHUNK) {
            if let Some(from) = self.chunks.get(&chunk) {
                buf[at as usize..][..n].copy_from_slice(&from[within..within + n]);
            }
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, buf: &[u8]) -> io::Result<()> {
        check(self.len(), offset, buf.len() as u64)?;
        for (chunk, within, at, n) in parts(offset, buf.len() as u64, CHUNK) {
            let to = self.chunk(chunk, n as u64 == CHUNK)?;
            to[within..within + n].copy_from_slice(&buf[at as usize..][..n]);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
