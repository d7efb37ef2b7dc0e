//! A firmware configuration device at ports 0x510 and 0x511, as QEMU documents it (docs/specs/fw_cfg.rst): a selector, a byte stream, a
//! directory of files. There is no DMA interface, and items are read-only.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// Port of the selector, 16 bits; the data port follows.
pub const BASE: u16 = 0x510;

/// Item: signature.
pub const SIGNATURE: u16 = 0x00;
/// Item: features.
pub const ID: u16 = 0x01;
/// Item: RAM in bytes, 64 bits.
pub const RAM_SIZE: u16 = 0x03;
/// Item: number of processors, 16 bits.
pub const NB_CPUS: u16 = 0x05;
/// Item: greatest number of processors, 16 bits.
pub const MAX_CPUS: u16 = 0x0f;
/// Item: directory of files.
pub const FILE_DIR: u16 = 0x19;
/// First item that is a file.
pub const FILE_FIRST: u16 = 0x20;

/// Bytes of a name in the directory, with the zero at its end.
const NAME: usize = 56;

/// The device.
#[derive(Clone, Debug, Default)]
pub struct FwCfg {
    items: BTreeMap<u16, Vec<u8>>,
    files: Vec<(String, u16)>,
    selected: u16,
    offset: usize,
}

impl FwCfg {
    /// A device with its signature, an empty directory and the number of processors.
    pub fn new(cpus: u16, ram: u64) -> Self {
        let mut device = FwCfg::default();
        device.set(SIGNATURE, b"QEMU");
        device.set(ID, &1u32.to_le_bytes());
        device.set(RAM_SIZE, &ram.to_le_bytes());
        device.set(NB_CPUS, &cpus.to_le_bytes());
        device.set(MAX_CPUS, &cpus.to_le_bytes());
        device.write_directory();
        device
    }

    /// Sets an item.
    pub fn set(&mut self, key: u16, bytes: &[u8]) {
        self.items.insert(key, bytes.to_vec());
    }

    /// Adds a file; a name is cut to 55 bytes. Returns its item.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> u16 {
        let key = FILE_FIRST.saturating_add(self.files.len() as u16);
        self.set(key, bytes);
        self.files.push((name.to_owned(), key));
        self.write_directory();
        key
    }

    fn write_directory(&mut self) {
        // Sorted by name, as their drivers expect.
        self.files.sort();
        let mut bytes = (self.files.len() as u32).to_be_bytes().to_vec();
        for (name, key) in &self.files {
            let size = self.items.get(key).map_or(0, Vec::len) as u32;
            bytes.extend(size.to_be_bytes());
            bytes.extend(key.to_be_bytes());
            bytes.extend([0; 2]);
            let mut field = [0; NAME];
            for (to, from) in field.iter_mut().take(NAME - 1).zip(name.bytes()) {
                *to = from;
            }
            bytes.extend(field);
        }
        self.items.insert(FILE_DIR, bytes);
    }

    /// Reads bytes. False if the port is not one of its.
    pub fn read(&mut self, port: u16, data: &mut [u8]) -> bool {
        match (port.wrapping_sub(BASE), data) {
            (0, data) => data.fill(0),
            (1, [byte]) => {
                *byte = self
                    .items
                    .get(&self.selected)
                    .and_then(|item| item.get(self.offset))
                    .copied()
                    .unwrap_or(0);
                self.offset = self.offset.saturating_add(1);
            }
            _ => return false,
        }
        true
    }

    /// Writes the selector. False if the port is not one of its.
    pub fn write(&mut self, port: u16, data: &[u8]) -> bool {
        match (port.wrapping_sub(BASE), data) {
            (0, &[low, high]) => {
                // Bits 15 and 14 choose another architecture's items and writing: there is neither.
                self.selected = u16::from_le_bytes([low, high]);
                self.offset = 0;
                true
            }
            (0 | 1, _) => true,
            _ => false,
        }
    }
}
