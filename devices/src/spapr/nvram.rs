//! NVRAM behind `nvram-fetch` and `nvram-store`. LoPAR §7.

use vm_memory::{Bytes, GuestAddress};

use super::rtas::{RTAS_HARDWARE_ERROR, RTAS_PARAMETER, RtasReply};
use crate::memory::GuestRam;

#[cfg(test)]
mod tests;

/// Size in bytes.
pub const NVRAM_SIZE: usize = 64 << 10;

/// Header of a partition that holds nothing and spans the whole NVRAM: signature 0x7f (free space), checksum, length in 16-byte blocks
/// (big-endian), name. The checksum folds the sum of the other bytes with the carries added back. CHRP, "Non-Volatile Memory".
const FREE_PARTITION: [u8; 16] = {
    let blocks = ((NVRAM_SIZE / 16) as u16).to_be_bytes();
    let mut header = [b'w'; 16];
    header[0] = 0x7f;
    header[2] = blocks[0];
    header[3] = blocks[1];
    let mut sum = 0x7f;
    let mut i = 2;
    while i < 16 {
        sum += ((header[i] as u32) << 8) + header[i + 1] as u32;
        i += 2;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    header[1] = ((sum + (sum >> 8) + (sum << 8)) >> 8) as u8;
    header
};

/// The bytes.
#[derive(Clone, Debug)]
pub struct Nvram {
    bytes: Vec<u8>,
}

impl Default for Nvram {
    fn default() -> Self {
        let mut bytes = vec![0; NVRAM_SIZE];
        bytes[..FREE_PARTITION.len()].copy_from_slice(&FREE_PARTITION);
        Nvram { bytes }
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
