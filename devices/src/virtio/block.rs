//! The block device. Virtio 1.2 §5.2.

use virtio_bindings::virtio_blk::*;

use super::chain::Chain;
use super::pci::VirtioDevice;
use crate::block::Disk;
use crate::dma::DmaPort;

const SECTOR: u64 = 512;
/// Largest request, so that one notification moves a bounded number of bytes.
const MAX_REQUEST: u64 = 32 << 20;
const BUFFER: usize = 256 << 10;
/// Ranges in one discard or write-zeroes request, and the sectors of each.
const MAX_RANGES: u64 = 16;
const MAX_RANGE_SECTORS: u32 = 1 << 16;
const QUEUE_SIZE: u16 = 256;

/// A virtio block device over a [`Disk`].
pub struct VirtioBlock {
    disk: Box<dyn Disk>,
    id: [u8; 20],
    buffer: Vec<u8>,
}

/// Why a request failed, as its status byte.
struct Failed(u32);

const IO: Failed = Failed(VIRTIO_BLK_S_IOERR);
const UNSUPPORTED: Failed = Failed(VIRTIO_BLK_S_UNSUPP);

impl VirtioBlock {
    /// A device that answers GET_ID with `serial`, cut to 20 bytes.
    pub fn new(disk: Box<dyn Disk>, serial: &str) -> Self {
        let mut id = [0; 20];
        for (to, from) in id.iter_mut().zip(serial.bytes()) {
            *to = from;
        }
        VirtioBlock {
            disk,
            id,
            buffer: vec![0; BUFFER],
        }
    }

    /// Carries out a request; how many bytes went to the data part of the chain.
    fn request(&mut self, chain: &Chain, port: &DmaPort) -> Result<u64, Failed> {
        let mut header = [0; 16];
        chain.read(port, 0, &mut header).map_err(|_| IO)?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let kind = u32::from_le_bytes([k0, k1, k2, k3]);
        let sector = u64::from_le_bytes(sector);
        let data_in = chain.writable_len() - 1;
        let data_out = chain.readable_len() - 16;
        let range = |len: u64| {
            let offset = sector.checked_mul(SECTOR).ok_or(IO)?;
            let fits = offset
                .checked_add(len)
                .is_some_and(|end| end <= self.disk.len());
            if fits && len.is_multiple_of(SECTOR) && len <= MAX_REQUEST {
                Ok(offset)
            } else {
                Err(IO)
            }
        };
        match kind {
            VIRTIO_BLK_T_IN => {
                let offset = range(data_in)?;
                let mut done = 0;
                while done < data_in {
                    let n = (data_in - done).min(BUFFER as u64);
                    let part = &mut self.buffer[..n as usize];
                    self.disk.read_at(offset + done, part).map_err(|_| IO)?;
                    chain.write(port, done, part).map_err(|_| IO)?;
                    done += n;
                }
                Ok(data_in)
            }
            VIRTIO_BLK_T_OUT => {
                let offset = range(data_out)?;
                if self.disk.read_only() {
                    return Err(IO);
                }
                let mut done = 0;
                while done < data_out {
                    let n = (data_out - done).min(BUFFER as u64);
                    let part = &mut self.buffer[..n as usize];
                    chain.read(port, 16 + done, part).map_err(|_| IO)?;
                    self.disk.write_at(offset + done, part).map_err(|_| IO)?;
                    done += n;
                }
                Ok(0)
            }
            VIRTIO_BLK_T_FLUSH => self.disk.flush().map(|()| 0).map_err(|_| IO),
            VIRTIO_BLK_T_GET_ID => {
                let n = data_in.min(20);
                chain
                    .write(port, 0, &self.id[..n as usize])
                    .map_err(|_| IO)?;
                Ok(n)
            }
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
                self.ranges(kind == VIRTIO_BLK_T_DISCARD, chain, port, data_out)
            }
            _ => Err(UNSUPPORTED),
        }
    }

    /// Virtio 1.2 §5.2.6: segments of sector (8), sectors (4), flags (4).
    fn ranges(
        &mut self,
        discard: bool,
        chain: &Chain,
        port: &DmaPort,
        len: u64,
    ) -> Result<u64, Failed> {
        if len == 0 || !len.is_multiple_of(16) || len / 16 > MAX_RANGES || self.disk.read_only() {
            return Err(IO);
        }
        for i in 0..len / 16 {
            let mut segment = [0; 16];
            chain
                .read(port, 16 + 16 * i, &mut segment)
                .map_err(|_| IO)?;
            let [
                s0,
                s1,
                s2,
                s3,
                s4,
                s5,
                s6,
                s7,
                n0,
                n1,
                n2,
                n3,
                f0,
                f1,
                f2,
                f3,
            ] = segment;
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
            let flags = u32::from_le_bytes([f0, f1, f2, f3]);
            if flags & !1 != 0 || discard && flags != 0 {
                return Err(UNSUPPORTED);
            }
            if sectors > MAX_RANGE_SECTORS {
                return Err(IO);
            }
            let (offset, len) = (
                sector.checked_mul(SECTOR).ok_or(IO)?,
                u64::from(sectors) * SECTOR,
            );
            let result = if discard {
                self.disk.discard(offset, len)
            } else {
                self.disk.write_zeroes(offset, len)
            };
            result.map_err(|_| IO)?;
        }
        Ok(0)
    }
}

impl VirtioDevice for VirtioBlock {
    fn kind(&self) -> u16 {
        2
    }

    fn class(&self) -> u32 {
        0x01_0000
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn features(&self) -> u64 {
        let ro = if self.disk.read_only() {
            1 << VIRTIO_BLK_F_RO
        } else {
            1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES
        };
        1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH | ro
    }

    /// Virtio 1.2 §5.2.4.
    fn config(&self) -> Vec<u8> {
        let mut c = vec![0u8; 60];
        let mut put = |at: usize, bytes: &[u8]| c[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &(self.disk.len() / SECTOR).to_le_bytes());
        put(12, &(u32::from(QUEUE_SIZE) - 2).to_le_bytes()); // seg_max
        put(20, &(SECTOR as u32).to_le_bytes()); // blk_size
        put(36, &MAX_RANGE_SECTORS.to_le_bytes()); // discard: sectors, segments, alignment
        put(40, &(MAX_RANGES as u32).to_le_bytes());
        put(44, &1u32.to_le_bytes());
        put(48, &MAX_RANGE_SECTORS.to_le_bytes()); // write zeroes: sectors, segments, may unmap
        put(52, &(MAX_RANGES as u32).to_le_bytes());
        put(56, &[1]);
        c
    }

    fn handle(&mut self, _queue: u16, chain: &Chain, port: &DmaPort) -> u32 {
        // Without a header and a byte for the status there is nothing to do and nobody to tell.
        if chain.readable_len() < 16 || chain.writable_len() < 1 {
            return 0;
        }
        let (status, written) = match self.request(chain, port) {
            Ok(n) => (VIRTIO_BLK_S_OK, n),
            Err(Failed(status)) => (status, 0),
        };
        match chain.write(port, chain.writable_len() - 1, &[status as u8]) {
            Ok(()) => u32::try_from(written + 1).unwrap_or(u32::MAX),
            Err(_) => 0,
        }
    }
}
