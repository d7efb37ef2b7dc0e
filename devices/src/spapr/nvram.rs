//! NVRAM behind `nvram-fetch` and `nvram-store`. LoPAR §7.

use vm_memory::{Bytes, GuestAddress};

use super::rtas::{RTAS_HARDWARE_ERROR, RTAS_PARAMETER, RtasReply};
use crate::memory::GuestRam;

#[cfg(test)]
mod tests;

/// Size in bytes.
pub const NVRAM_SIZE: usize = 64 << 10;

/// The bytes.
#[derive(Clone, Debug)]
pub struct Nvram {
    bytes: Vec<u8>,
}

impl Default for Nvram {
    fn default() -> Self {
        Nvram {
            bytes: vec![0; NVRAM_SIZE],
        }
    }
}

impl Nvram {
    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts content from the start; what does not fit is dropped, the rest is zero.
    pub fn load(&mut self, content: &[u8]) {
        self.bytes.fill(0);
        for (slot, &byte) in self.bytes.iter_mut().zip(content) {
            *slot = byte;
        }
    }

    /// `nvram-fetch` (index, buffer, length) -> status, bytes fetched. LoPAR §7.
    pub fn fetch(&self, args: &[u32], ram: &GuestRam) -> RtasReply {
        let &[index, buffer, len] = args else {
            return RTAS_PARAMETER.into();
        };
        let Some(part) = range(index, len).and_then(|r| self.bytes.get(r)) else {
            return RTAS_PARAMETER.into();
        };
        match ram.write_slice(part, GuestAddress(buffer.into())) {
            Ok(()) => RtasReply::with(&[len]),
            Err(_) => RTAS_HARDWARE_ERROR.into(),
        }
    }

    /// `nvram-store` (index, buffer, length) -> status, bytes stored. Nothing is stored on failure. LoPAR §7.
    pub fn store(&mut self, args: &[u32], ram: &GuestRam) -> RtasReply {
        let &[index, buffer, len] = args else {
            return RTAS_PARAMETER.into();
        };
        let Some(part) = range(index, len).and_then(|r| self.bytes.get_mut(r)) else {
            return RTAS_PARAMETER.into();
        };
        let mut new = vec![0; part.len()];
        if ram
            .read_slice(&mut new, GuestAddress(buffer.into()))
            .is_err()
        {
            return RTAS_HARDWARE_ERROR.into();
        }
        part.copy_from_slice(&new);
        RtasReply::with(&[len])
    }
}

fn range(index: u32, len: u32) -> Option<std::ops::Range<usize>> {
    Some(index as usize..index.checked_add(len)? as usize)
}
