//! Memory decoding: processor address, PCI address, BAR.

use super::Phb;
use crate::dma::Gpa;
use crate::effects::Effects;
use crate::pci::PciDevice;
use crate::pci::regs::{BAR0, COMMAND, COMMAND_MEMORY};

/// A decoded BAR in PCI memory space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    start: u64,
    size: u64,
    devfn: u8,
    bar: u8,
}

impl Phb {
    /// Reads bytes at a processor address. False, and `data` untouched, if the address is in no window of this bridge. What no BAR
    /// claims reads all ones.
    pub fn mmio_read(&mut self, gpa: Gpa, data: &mut [u8]) -> bool {
        let Some(pci) = self.to_pci(gpa, data.len()) else {
            return false;
        };
        let hit = self.find(pci, data.len());
        let Some((range, offset)) = hit.filter(|_| self.health.check_mmio(false, pci)) else {
            data.fill(0xff);
            return true;
        };
        self.counters.reads += 1;
        let mut effects = Effects::default();
        if let Some(slot) = self.slots.get_mut(&range.devfn) {
            let mut rest = data;
            let mut at = offset;
            while !rest.is_empty() {
                let (part, after) = rest.split_at_mut(piece(at, rest.len()));
                slot.device.bar_read(range.bar, at, part, &mut effects);
                at += part.len() as u64;
                rest = after;
            }
        }
        self.apply(range.devfn, effects);
        true
    }

    /// Writes bytes at a processor address. False if the address is in no window of this bridge. What no BAR claims is dropped.
    pub fn mmio_write(&mut self, gpa: Gpa, data: &[u8]) -> bool {
        let Some(pci) = self.to_pci(gpa, data.len()) else {
            return false;
        };
        let hit = self.find(pci, data.len());
        let Some((range, offset)) = hit.filter(|_| self.health.check_mmio(true, pci)) else {
            return true;
        };
        self.counters.writes += 1;
        let mut effects = Effects::default();
        if let Some(slot) = self.slots.get_mut(&range.devfn) {
            let mut rest = data;
            let mut at = offset;
            while !rest.is_empty() {
                let (part, after) = rest.split_at(piece(at, rest.len()));
                slot.device.bar_write(range.bar, at, part, &mut effects);
                at += part.len() as u64;
                rest = after;
            }
        }
        self.apply(range.devfn, effects);
        true
    }

    fn to_pci(&self, gpa: Gpa, len: usize) -> Option<u64> {
        [self.config.mmio32, self.config.mmio64]
            .iter()
            .find_map(|w| {
                let at = gpa.0.checked_sub(w.gpa.0)?;
                let room = w.size.checked_sub(at)?;
                if (len as u64) > room || room == 0 {
                    return None;
                }
                w.pci.checked_add(at)
            })
    }

    /// Of BARs that overlap, the one with the lowest `devfn` and index answers.
    fn find(&mut self, pci: u64, len: usize) -> Option<(Range, u64)> {
        let hit = self.ranges.iter().find_map(|r| {
            let offset = pci.checked_sub(r.start)?;
            let room = r.size.checked_sub(offset)?;
            (room != 0 && len as u64 <= room).then_some((*r, offset))
        });
        if hit.is_none() {
            self.counters.unclaimed += 1;
        }
        hit
    }

    /// Reads all BARs and command registers again. Call after anything that may have changed them.
    pub(super) fn rebuild_decode(&mut self) {
        self.ranges.clear();
        for (&devfn, slot) in &self.slots {
            let device = slot.device.as_ref();
            if device.config_read(COMMAND, 2) as u16 & COMMAND_MEMORY == 0 {
                continue;
            }
            for bar in 0..6 {
                let size = device.bar_size(bar);
                if size != 0 {
                    self.ranges.push(Range {
                        start: bar_address(device, bar),
                        size,
                        devfn,
                        bar,
                    });
                }
            }
        }
    }
}

fn bar_address(device: &dyn PciDevice, bar: u8) -> u64 {
    let at = BAR0 + 4 * u16::from(bar);
    let low = device.config_read(at, 4);
    let high = if low & 6 == 4 {
        device.config_read(at + 4, 4)
    } else {
        0
    };
    u64::from(high) << 32 | u64::from(low & !15)
}

/// Bytes of the next naturally aligned access, at most 8.
fn piece(offset: u64, left: usize) -> usize {
    let aligned = 1usize << offset.trailing_zeros().min(3);
    let fitting = 1usize << left.max(1).ilog2().min(3);
    aligned.min(fitting).min(left.max(1))
}
