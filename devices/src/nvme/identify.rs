//! Identify. NVMe 1.4 §5.15.

use super::bits::{Status, VERSION};
use super::{BLOCK, MAX_AERS, MAX_ERRORS, MDTS, NvmeController};

const SIZE: usize = 4096;

/// A data structure of fields at offsets.
struct Page(Vec<u8>);

impl Page {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    /// Text, padded with spaces to `len`.
    fn text(&mut self, at: usize, len: usize, text: &str) {
        let bytes = text
            .bytes()
            .map(|b| if b.is_ascii_graphic() { b } else { b' ' });
        let padded: Vec<u8> = bytes.chain(std::iter::repeat(b' ')).take(len).collect();
        self.put(at, &padded);
    }
}

impl NvmeController {
    pub(super) fn identify(&self, cns: u8, nsid: u32) -> Result<Vec<u8>, Status> {
        let mut page = Page(vec![0; SIZE]);
        match cns {
            0 => self.identify_namespace(&mut page, nsid)?,
            1 => self.identify_controller(&mut page),
            2 => {
                if nsid >= 0xffff_fffe {
                    return Err(Status::INVALID_NAMESPACE);
                }
                let ids = (1..=self.namespaces.len() as u32).filter(|&id| id > nsid);
                for (i, id) in ids.take(SIZE / 4).enumerate() {
                    page.put(4 * i, &id.to_le_bytes());
                }
            }
            3 => {
                self.namespace_index(nsid)?;
                // EUI64 (type 1), then NGUID (type 2). NVMe 1.4 figure 249.
                page.put(0, &[1, 8]);
                page.put(4, &self.eui64(nsid));
                page.put(12, &[2, 16]);
                page.put(16, &self.nguid(nsid));
            }
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok(page.0)
    }

    /// NVMe 1.4 figure 247.
    fn identify_controller(&self, page: &mut Page) {
        page.put(0, &0x1b36u16.to_le_bytes()); // VID
        page.put(2, &0x1af4u16.to_le_bytes()); // SSVID
        page.text(4, 20, &self.serial); // SN
        page.text(24, 40, "viommu NVMe controller"); // MN
        page.text(64, 8, env!("CARGO_PKG_VERSION")); // FR
        page.put(72, &[6]); // RAB
        page.put(73, &[0x00, 0x54, 0x52]); // IEEE
        page.put(77, &[MDTS]); // MDTS
        page.put(80, &VERSION.to_le_bytes()); // VER
        page.put(111, &[1]); // CNTRLTYPE: I/O
        page.put(258, &[3]); // ACL
        page.put(259, &[MAX_AERS as u8 - 1]); // AERL
        page.put(260, &[0x03]); // FRMW: one slot, read-only
        page.put(261, &[0x04]); // LPA: offsets in Get Log Page
        page.put(262, &[MAX_ERRORS as u8 - 1]); // ELPE
        page.put(266, &343u16.to_le_bytes()); // WCTEMP
        page.put(268, &373u16.to_le_bytes()); // CCTEMP
        page.put(512, &[0x66]); // SQES
        page.put(513, &[0x44]); // CQES
        page.put(516, &(self.namespaces.len() as u32).to_le_bytes()); // NN
        page.put(520, &0x000du16.to_le_bytes()); // ONCS: Compare, Dataset Management, Write Zeroes
        page.put(525, &[0x07]); // VWC: present, Flush of all namespaces
        let nqn = format!("nqn.2014.08.org.nvmexpress:viommu:{}", self.serial);
        page.put(
            768,
            nqn.as_bytes().get(..nqn.len().min(223)).unwrap_or_default(),
        ); // SUBNQN
        page.put(2048, &2500u16.to_le_bytes()); // PSD0: 25 W
    }

    /// NVMe 1.4 figure 245.
    fn identify_namespace(&self, page: &mut Page, nsid: u32) -> Result<(), Status> {
        let index = self.namespace_index(nsid)?;
        let disk = self
            .namespaces
            .get(index)
            .ok_or(Status::INVALID_NAMESPACE)?;
        let blocks = (disk.len() / BLOCK).to_le_bytes();
        page.put(0, &blocks); // NSZE
        page.put(8, &blocks); // NCAP
        page.put(16, &blocks); // NUSE
        page.put(99, &[u8::from(disk.read_only())]); // NSATTR: write protected
        page.put(104, &self.nguid(nsid));
        page.put(120, &self.eui64(nsid));
        page.put(128, &(BLOCK.trailing_zeros() << 16).to_le_bytes()); // LBAF0
        Ok(())
    }

    /// A stable identifier made of serial number and namespace (FNV-1a), in the locally administered range.
    fn eui64(&self, nsid: u32) -> [u8; 8] {
        let hash = self
            .serial
            .bytes()
            .chain(nsid.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
            });
        let mut id = hash.to_be_bytes();
        id[..3].copy_from_slice(&[0x52, 0x54, 0x00]);
        id
    }

    fn nguid(&self, nsid: u32) -> [u8; 16] {
        let mut id = [0; 16];
        id[4..8].copy_from_slice(&nsid.to_be_bytes());
        id[8..].copy_from_slice(&self.eui64(nsid));
        id
    }

    pub(super) fn namespace_index(&self, nsid: u32) -> Result<usize, Status> {
        let index = (nsid as usize)
            .checked_sub(1)
            .filter(|&i| i < self.namespaces.len());
        index.ok_or(Status::INVALID_NAMESPACE)
    }
}
