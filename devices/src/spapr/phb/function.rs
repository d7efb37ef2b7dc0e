//! What can be learnt of a function from its configuration space, for the device tree and for interrupt set-up.

use super::Phb;
use crate::pci::PciDevice;
use crate::pci::regs::*;

/// A memory BAR, for the device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarInfo {
    /// 0 to 5.
    pub index: u8,
    /// Bytes.
    pub size: u64,
    /// 64 bits wide.
    pub is_64bit: bool,
    /// Prefetchable.
    pub prefetchable: bool,
}

/// A function, for the device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Device (7:3) and function (2:0).
    pub devfn: u8,
    /// Name for reports.
    pub name: String,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision id.
    pub revision: u8,
    /// Class code, 24 bits.
    pub class: u32,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// INTx pin, 0 if none, 1 to 4.
    pub interrupt_pin: u8,
    /// Vectors of the MSI capability, 0 if none.
    pub msi_count: u32,
    /// Vectors of the MSI-X capability, 0 if none.
    pub msix_count: u32,
    /// Memory BARs in order.
    pub bars: Vec<BarInfo>,
}

/// Offset of the first capability with this id.
pub(super) fn find_capability(device: &dyn PciDevice, id: u8) -> Option<u16> {
    if device.config_read(STATUS, 2) as u16 & STATUS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = device.config_read(CAPABILITIES, 1) as u16 & 0xfc;
    // 48 capabilities of 4 bytes fill the space: a longer list is a loop.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        if device.config_read(at, 1) == u32::from(id) {
            return Some(at);
        }
        at = device.config_read(at + 1, 1) as u16 & 0xfc;
    }
    None
}

/// Vectors of the MSI capability.
pub(super) fn msi_vectors(device: &dyn PciDevice) -> u32 {
    let vectors = |cap: u16| 1 << (device.config_read(cap + 2, 2) >> 1 & 7).min(5);
    find_capability(device, CAP_MSI).map_or(0, vectors)
}

/// Vectors of the MSI-X capability.
pub(super) fn msix_vectors(device: &dyn PciDevice) -> u32 {
    let vectors = |cap: u16| (device.config_read(cap + 2, 2) & 0x7ff) + 1;
    find_capability(device, CAP_MSIX).map_or(0, vectors)
}

fn bars(device: &dyn PciDevice) -> Vec<BarInfo> {
    let mut bars = Vec::new();
    for index in 0..6 {
        let size = device.bar_size(index);
        if size != 0 {
            let low = device.config_read(BAR0 + 4 * u16::from(index), 4);
            bars.push(BarInfo {
                index,
                size,
                is_64bit: low & 6 == 4,
                prefetchable: low & 8 != 0,
            });
        }
    }
    bars
}

impl Phb {
    /// All functions, in order of `devfn`.
    pub fn functions(&self) -> Vec<FunctionInfo> {
        self.slots
            .iter()
            .map(|(&devfn, slot)| info(devfn, slot.device.as_ref()))
            .collect()
    }
}

fn info(devfn: u8, device: &dyn PciDevice) -> FunctionInfo {
    let class = device.config_read(REVISION, 4);
    FunctionInfo {
        devfn,
        name: device.name().to_owned(),
        vendor: device.config_read(VENDOR_ID, 2) as u16,
        device: device.config_read(DEVICE_ID, 2) as u16,
        revision: class as u8,
        class: class >> 8,
        subsystem_vendor: device.config_read(SUBSYSTEM_VENDOR, 2) as u16,
        subsystem: device.config_read(SUBSYSTEM_ID, 2) as u16,
        interrupt_pin: device.config_read(INTERRUPT_PIN, 1) as u8,
        msi_count: msi_vectors(device),
        msix_count: msix_vectors(device),
        bars: bars(device),
    }
}
