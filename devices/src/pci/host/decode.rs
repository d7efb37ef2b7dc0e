//! Memory decoding: ECAM, and from a processor address through root ports to a BAR.

use super::{PcHost, Place};
use crate::effects::Effects;
use crate::pci::bars::Target;

impl PcHost {
    fn in_windows(&self, gpa: u64, len: usize) -> bool {
        [self.config.memory32, self.config.memory64]
            .iter()
            .any(|w| w.contains(gpa, len as u64))
    }

    /// Reads bytes at a processor address. False, and `data` untouched, if it is not the bridge's. What no BAR claims reads ones.
    pub fn mmio_read(&mut self, gpa: u64, data: &mut [u8]) -> bool {
        if self.ecam_read(gpa, data) {
            return true;
        }
        if !self.in_windows(gpa, data.len()) {
            return false;
        }
        let Some(target) = self.find(gpa, data.len()) else {
            data.fill(0xff);
            return true;
        };
        self.counters.reads += 1;
        let mut effects = Effects::default();
        if let Some(function) = self.functions.get_mut(&target.place) {
            target.read(function.device.as_mut(), data, &mut effects);
        }
        self.apply(target.place, effects);
        true
    }

    /// Writes bytes at a processor address. False if it is not the bridge's. What no BAR claims is dropped.
    pub fn mmio_write(&mut self, gpa: u64, data: &[u8]) -> bool {
        if self.ecam_write(gpa, data) {
            return true;
        }
        if !self.in_windows(gpa, data.len()) {
            return false;
        }
        let Some(target) = self.find(gpa, data.len()) else {
            return true;
        };
        self.counters.writes += 1;
        let mut effects = Effects::default();
        if let Some(function) = self.functions.get_mut(&target.place) {
            target.write(function.device.as_mut(), data, &mut effects);
        }
        self.apply(target.place, effects);
        true
    }

    /// Of BARs that overlap, the one with the lowest place and index answers.
    fn find(&mut self, gpa: u64, len: usize) -> Option<Target<Place>> {
        let target = self.bars.find(gpa, len);
        self.counters.unclaimed += u64::from(target.is_none());
        target
    }

    /// Reads all BARs, command registers and windows again. Call after anything that may have changed them.
    pub(super) fn rebuild_decode(&mut self) {
        self.bars.clear();
        for (&place, function) in &self.functions {
            let passes = |first, last| {
                place
                    .port
                    .is_none_or(|port| self.ports.get(&port).is_some_and(|p| p.passes(first, last)))
            };
            self.bars.add(place, function.device.as_ref(), passes);
        }
    }
}
