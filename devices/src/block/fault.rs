//! A disk that fails where it is told to.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::Disk;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::read_at`].
    Read,
    /// [`Disk::write_at`], [`Disk::write_zeroes`] and [`Disk::discard`].
    Write,
    /// [`Disk::flush`].
    Flush,
}

/// The list of faults of a [`FaultyDisk`]; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Arc<Mutex<Vec<(Operation, Range<u64>)>>>,
}

impl Faults {
    /// Lets every operation of this kind that touches a byte of the range fail (a flush: whatever the range).
    pub fn add(&self, operation: Operation, range: Range<u64>) {
        self.list
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push((operation, range));
    }

    /// Lets nothing fail any more.
    pub fn clear(&self) {
        self.list.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }

    fn check(&self, operation: Operation, offset: u64, len: u64) -> io::Result<()> {
        let list = self.list.lock().unwrap_or_else(|e| e.into_inner());
        let hit = list.iter().any(|(o, r)| {
            *o == operation
                && (operation == Operation::Flush
                    || offset < r.end && r.start < offset.saturating_add(len))
        });
        if hit {
            Err(io::Error::other("injected fault"))
        } else {
            Ok(())
        }
    }
}

/// A disk with injected faults, for tests of what stands in front of it.
pub struct FaultyDisk {
    inner: Box<dyn Disk>,
    faults: Faults,
}

impl FaultyDisk {
    /// Puts `faults` in front of a disk.
    pub fn new(inner: Box<dyn Disk>, faults: Faults) -> Self {
        FaultyDisk { inner, faults }
    }
}

impl Disk for FaultyDisk {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_only(&self) -> bool {
        self.inner.read_only()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.faults
            .check(Operation::Read, offset, buf.len() as u64)?;
        self.inner.read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.faults
            .check(Operation::Write, offset, buf.len() as u64)?;
        self.inner.write_at(offset, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.faults.check(Operation::Flush, 0, 0)?;
        self.inner.flush()
    }

    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.faults.check(Operation::Write, offset, len)?;
        self.inner.write_zeroes(offset, len)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.faults.check(Operation::Write, offset, len)?;
        self.inner.discard(offset, len)
    }
}
