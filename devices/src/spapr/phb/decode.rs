//! Memory decoding: processor address, PCI address, BAR.

use super::Phb;
use crate::dma::Gpa;
use crate::effects::Effects;
use crate::pci::bars::Target;

impl Phb {
    /// Reads bytes at a processor address. False, and `data` untouched, if the address is in no window of this bridge. What no BAR
    /// claims reads all ones.
    pub fn mmio_read(&mut self, gpa: Gpa, data: &mut [u8]) -> bool {
        let Some(pci) = self.to_pci(gpa, data.len()) else {
            return false;
        };
        let target = self.find(pci, data.len());
        let Some(target) = target.filter(|_| self.health.check_mmio(false, pci)) else {
            data.fill(0xff);
            return true;
        };
        self.counters.reads += 1;
        let mut effects = Effects::default();
        if let Some(slot) = self.slots.get_mut(&target.place) {
            target.read(slot.device.as_mut(), data, &mut effects);
        }
        self.apply(target.place, effects);
        true
    }

    /// Writes bytes at a processor address. False if the address is in no window of this bridge. What no BAR claims is dropped.
    pub fn mmio_write(&mut self, gpa: Gpa, data: &[u8]) -> bool {
        let Some(pci) = self.to_pci(gpa, data.len()) else {
            return false;
        };
        let target = self.find(pci, data.len());
        let Some(target) = target.filter(|_| self.health.check_mmio(true, pci)) else {
            return true;
        };
        self.counters.writes += 1;
        let mut effects = Effects::default();
        if let Some(slot) = self.slots.get_mut(&target.place) {
            target.write(slot.device.as_mut(), data, &mut effects);
        }
        self.apply(target.place, effects);
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
    fn find(&mut self, pci: u64, len: usize) -> Option<Target<u8>> {
        let target = self.bars.find(pci, len);
        self.counters.unclaimed += u64::from(target.is_none());
        target
    }

    /// Reads all BARs and command registers again. Call after anything that may have changed them.
    pub(super) fn rebuild_decode(&mut self) {
        self.bars.clear();
        for (&devfn, slot) in &self.slots {
            self.bars.add(devfn, slot.device.as_ref(), |_, _| true);
        }
    }
}
