//! Disks: what stands behind a block device model.
//!
//! Every backend is synchronous and has no clock. Offsets and lengths are in bytes; a request that does not fit is an
//! [`io::ErrorKind::InvalidInput`] error and has no effect.

mod fault;
mod memory;
mod raw;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use fault::{Faults, FaultyDisk, Operation};
pub use memory::MemoryDisk;
pub use raw::RawDisk;
pub use snapshot::SnapshotDisk;

/// Bytes in the smallest unit a disk's length is counted in.
pub const SECTOR: u64 = 512;

/// Why a disk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file does not exist, or may not be opened this way.
    #[error("cannot open disk image {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The file may be read but not written, and writing was asked for.
    #[error("disk image {} is read-only; open it read-only or as a snapshot", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("disk {name} has no bytes")]
    Empty {
        /// File name, or what the disk is called.
        name: String,
    },
    /// The length is not a whole number of sectors.
    #[error("disk {name} has {len} bytes, which is not a multiple of {SECTOR}")]
    Unaligned {
        /// File name, or what the disk is called.
        name: String,
        /// Its length in bytes.
        len: u64,
    },
}

/// A row of bytes that keeps what is written to it.
pub trait Disk: Send {
    /// Length in bytes, a multiple of [`SECTOR`]; never changes.
    fn len(&self) -> u64;

    /// True if there are no bytes. No disk that was opened is.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if every write fails.
    fn read_only(&self) -> bool;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// The range does not fit, or the host cannot read; `buf` is then unspecified.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes `buf` at `offset`.
    ///
    /// # Errors
    /// The range does not fit, the disk is read-only, or the host cannot write; part of `buf` may be written in the last case.
    fn write_at(&mut self, offset: u64, buf: &[u8]) -> io::Result<()>;

    /// Returns when everything written is on stable storage (fsync).
    ///
    /// # Errors
    /// The host cannot tell that it is.
    fn flush(&mut self) -> io::Result<()>;

    /// Makes a range read as zeroes.
    ///
    /// # Errors
    /// As [`Disk::write_at`].
    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        check(self.len(), offset, len)?;
        let zeroes = vec![0; len.min(64 << 10) as usize];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(zeroes.len() as u64);
            self.write_at(offset + done, &zeroes[..n as usize])?;
            done += n;
        }
        Ok(())
    }

    /// Says that the contents of a range are no longer needed. A backend may do nothing.
    ///
    /// # Errors
    /// The range does not fit, or the disk is read-only.
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        check(self.len(), offset, len)?;
        if self.read_only() {
            Err(read_only())
        } else {
            Ok(())
        }
    }
}

/// Checks that `len` bytes at `offset` are within a disk of `size` bytes.
fn check(size: u64, offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "beyond the end of the disk",
        )),
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is read-only")
}

fn check_len(name: &str, len: u64) -> Result<(), OpenError> {
    if len == 0 {
        Err(OpenError::Empty {
            name: name.to_owned(),
        })
    } else if !len.is_multiple_of(SECTOR) {
        Err(OpenError::Unaligned {
            name: name.to_owned(),
            len,
        })
    } else {
        Ok(())
    }
}

/// The parts of `len` bytes at `offset` that lie in one chunk each: (chunk, offset in the chunk, offset in the range, bytes).
fn parts(offset: u64, len: u64, chunk: u64) -> impl Iterator<Item = (u64, usize, u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = offset + done;
        let within = at % chunk;
        let n = (chunk - within).min(len - done);
        let part = (at / chunk, within as usize, done, n as usize);
        done += n;
        Some(part)
    })
}
