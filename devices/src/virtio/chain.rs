//! The buffers of one descriptor chain, as two rows of bytes.

use virtio_queue::desc::split::Descriptor;

use crate::dma::{DmaFault, DmaPort, Iova};

/// Descriptors of one chain, at most; longer chains are not carried out.
pub const MAX_DESCRIPTORS: usize = 1024;

/// A chain: what the device may read, and what it may write.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    readable: Vec<(Iova, u64)>,
    writable: Vec<(Iova, u64)>,
}

/// Why a part of a chain was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The bus faulted.
    #[error(transparent)]
    Fault(#[from] DmaFault),
    /// The chain is shorter.
    #[error("beyond the end of the descriptor chain")]
    Short,
}

impl Chain {
    /// Collects a chain. None if it is too long.
    pub fn collect(descriptors: impl Iterator<Item = Descriptor>) -> Option<Self> {
        let mut chain = Chain::default();
        for (i, d) in descriptors.enumerate() {
            if i >= MAX_DESCRIPTORS {
                return None;
            }
            let list = if d.is_write_only() {
                &mut chain.writable
            } else {
                &mut chain.readable
            };
            list.push((Iova(d.addr().0), d.len().into()));
        }
        Some(chain)
    }

    /// Bytes the device may read.
    pub fn readable_len(&self) -> u64 {
        self.readable.iter().map(|b| b.1).sum()
    }

    /// Bytes the device may write.
    pub fn writable_len(&self) -> u64 {
        self.writable.iter().map(|b| b.1).sum()
    }

    /// Reads what is `offset` bytes into the readable part.
    ///
    /// # Errors
    /// The bus faulted, or the part is too short.
    pub fn read(&self, port: &DmaPort, offset: u64, buf: &mut [u8]) -> Result<(), ChainError> {
        each(&self.readable, offset, buf.len(), |iova, at, n| {
            port.read(iova, buf.get_mut(at..at + n).ok_or(ChainError::Short)?)
                .map_err(ChainError::from)
        })
    }

    /// Writes to `offset` bytes into the writable part.
    ///
    /// # Errors
    /// The bus faulted, or the part is too short.
    pub fn write(&self, port: &DmaPort, offset: u64, buf: &[u8]) -> Result<(), ChainError> {
        each(&self.writable, offset, buf.len(), |iova, at, n| {
            port.write(iova, buf.get(at..at + n).ok_or(ChainError::Short)?)
                .map_err(ChainError::from)
        })
    }
}

fn each(
    list: &[(Iova, u64)],
    mut skip: u64,
    len: usize,
    mut f: impl FnMut(Iova, usize, usize) -> Result<(), ChainError>,
) -> Result<(), ChainError> {
    let mut done = 0;
    for &(iova, size) in list {
        if done == len {
            break;
        }
        if skip >= size {
            skip -= size;
            continue;
        }
        let n = (size - skip).min((len - done) as u64) as usize;
        f(Iova(iova.0.wrapping_add(skip)), done, n)?;
        done += n;
        skip = 0;
    }
    if done == len {
        Ok(())
    } else {
        Err(ChainError::Short)
    }
}
