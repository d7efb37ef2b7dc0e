//! Physical region pages: where in memory the data of a command lies. NVMe 1.4 §4.3.

use super::bits::Status;
use super::cmds::Prps;
use crate::dma::{DmaPort, Iova};

/// Pieces of memory, none across a page boundary.
pub type Segments = Vec<(Iova, usize)>;

/// Finds the memory of `len` bytes of data, with pages of `page` bytes (a power of two, at least 4096).
///
/// The caller bounds `len` by the largest data transfer, and so the number of entries that are read.
///
/// # Errors
/// PRP Offset Invalid, or Data Transfer Error if a list cannot be read.
pub fn segments(port: &DmaPort, prps: Prps, len: usize, page: u64) -> Result<Segments, Status> {
    let mut out = Segments::new();
    if len == 0 {
        return Ok(out);
    }
    if prps.prp1.0 & 3 != 0 {
        return Err(Status::PRP_OFFSET);
    }
    let first = ((page - (prps.prp1.0 & (page - 1))) as usize).min(len);
    out.push((prps.prp1, first));
    let mut left = len - first;
    if left == 0 {
        return Ok(out);
    }
    if left as u64 <= page {
        if prps.prp2.0 & (page - 1) != 0 {
            return Err(Status::PRP_OFFSET);
        }
        out.push((prps.prp2, left));
        return Ok(out);
    }
    if prps.prp2.0 & 7 != 0 {
        return Err(Status::PRP_OFFSET);
    }
    let mut list = prps.prp2.0;
    while left > 0 {
        let pages = (left as u64).div_ceil(page);
        let slots = (page - (list & (page - 1))) / 8;
        // The last slot of a list's page is a pointer to the next list if more than one page is left by then.
        let chained = pages > slots;
        let mut bytes = vec![0; 8 * pages.min(slots) as usize];
        port.read(Iova(list), &mut bytes)
            .map_err(|_| Status::DATA_TRANSFER)?;
        let (entries, _) = bytes.as_chunks::<8>();
        for (i, entry) in entries.iter().enumerate() {
            let entry = u64::from_le_bytes(*entry);
            if entry & (page - 1) != 0 {
                return Err(Status::PRP_OFFSET);
            }
            if chained && i + 1 == entries.len() {
                list = entry;
                break;
            }
            let n = left.min(page as usize);
            out.push((Iova(entry), n));
            left -= n;
        }
    }
    Ok(out)
}

/// Reads guest memory into `buf`.
///
/// # Errors
/// Data Transfer Error.
pub fn read(port: &DmaPort, segments: &Segments, buf: &mut [u8]) -> Result<(), Status> {
    let mut at = 0;
    for &(iova, n) in segments {
        let part = buf.get_mut(at..at + n).ok_or(Status::INTERNAL)?;
        port.read(iova, part).map_err(|_| Status::DATA_TRANSFER)?;
        at += n;
    }
    Ok(())
}

/// Writes `buf` to guest memory.
///
/// # Errors
/// Data Transfer Error; a prefix may be written.
pub fn write(port: &DmaPort, segments: &Segments, buf: &[u8]) -> Result<(), Status> {
    let mut at = 0;
    for &(iova, n) in segments {
        let part = buf.get(at..at + n).ok_or(Status::INTERNAL)?;
        port.write(iova, part).map_err(|_| Status::DATA_TRANSFER)?;
        at += n;
    }
    Ok(())
}
