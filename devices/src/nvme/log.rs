//! Log pages. NVMe 1.4 §5.14.1.

use super::bits::Status;
use super::{MAX_ERRORS, MAX_TRANSFER, NvmeController};

const ERRORS: u8 = 1;
const SMART: u8 = 2;
const FIRMWARE: u8 = 3;

impl NvmeController {
    /// `len` bytes at `offset` of a log page; what lies behind its end is zero.
    pub(super) fn log_page(&self, lid: u8, offset: u64, len: u64) -> Result<Vec<u8>, Status> {
        let page = match lid {
            ERRORS => self.error_log(),
            SMART => self.smart_log(),
            FIRMWARE => firmware_log(),
            _ => return Err(Status::LOG_PAGE),
        };
        if len > MAX_TRANSFER as u64 || offset & 3 != 0 || offset > page.len() as u64 {
            return Err(Status::INVALID_FIELD);
        }
        let mut data: Vec<u8> = page
            .into_iter()
            .skip(offset as usize)
            .take(len as usize)
            .collect();
        data.resize(len as usize, 0);
        Ok(data)
    }

    /// Lets events of the kind that names this log be reported again. NVMe 1.4 §5.2.
    pub(super) fn log_was_read(&mut self, lid: u8) {
        self.masked_events &= !match lid {
            ERRORS => 1,
            SMART => 2,
            _ => 0,
        };
    }

    fn error_log(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(64 * MAX_ERRORS);
        for e in &self.errors {
            page.extend(e.count.to_le_bytes());
            page.extend(e.sqid.to_le_bytes());
            page.extend(e.cid.to_le_bytes());
            page.extend((e.status.0 << 1).to_le_bytes());
            page.extend(0xffffu16.to_le_bytes());
            page.extend(e.lba.to_le_bytes());
            page.extend(e.nsid.to_le_bytes());
            page.resize(page.len().next_multiple_of(64), 0);
        }
        page.resize(64 * MAX_ERRORS, 0);
        page
    }

    fn smart_log(&self) -> Vec<u8> {
        let mut page = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        let r = &self.report;
        put(1, &300u16.to_le_bytes()); // composite temperature, kelvin
        put(3, &[100, 10]); // spare, threshold
        // Thousands of 512 bytes, rounded up.
        put(32, &r.bytes_read.div_ceil(512_000).to_le_bytes());
        put(48, &r.bytes_written.div_ceil(512_000).to_le_bytes());
        put(64, &r.reads.to_le_bytes());
        put(80, &r.writes.to_le_bytes());
        put(112, &1u64.to_le_bytes()); // power cycles
        put(160, &r.media_errors.to_le_bytes());
        put(176, &self.error_count.to_le_bytes());
        page
    }
}

fn firmware_log() -> Vec<u8> {
    let mut page = vec![0; 512];
    page[0] = 1;
    let version = env!("CARGO_PKG_VERSION")
        .bytes()
        .chain(std::iter::repeat(b' '));
    for (to, from) in page[8..16].iter_mut().zip(version) {
        *to = from;
    }
    page
}
