//! The disk behind the controller, in view of the target.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use viommu_devices::block::Disk;

#[derive(Default)]
pub struct DiskState {
    /// Contents.
    pub data: Vec<u8>,
    /// Written since the last flush.
    pub dirty: bool,
    /// What fails: bit 0 reads, 1 writes, 2 flushes.
    pub refuse: u8,
    /// Calls so far.
    pub operations: u64,
}

/// The disk behind the controller, in view of the target.
#[derive(Clone, Default)]
pub struct Spy(Arc<Mutex<DiskState>>);

impl Spy {
    pub fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap()
    }

    fn operation(&self, bit: u8) -> io::Result<MutexGuard<'_, DiskState>> {
        let mut state = self.state();
        state.operations += 1;
        if state.refuse >> bit & 1 != 0 {
            return Err(io::Error::other("refused"));
        }
        Ok(state)
    }
}

impl Disk for Spy {
    fn len(&self) -> u64 {
        self.state().data.len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.operation(0)?;
        buf.copy_from_slice(&state.data[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let mut state = self.operation(1)?;
        state.data[offset as usize..][..buf.len()].copy_from_slice(buf);
        state.dirty = true;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.operation(2)?.dirty = false;
        Ok(())
    }

    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.operation(1)?;
        state.data[offset as usize..][..len as usize].fill(0);
        state.dirty = true;
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }
}
