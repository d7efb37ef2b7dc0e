//! Memory decoding: ECAM, and from a processor address through root ports to a BAR.

use super::{PcHost, Place};
use crate::effects::Effects;
use crate::pci::PciDevice;
use crate::pci::regs::{BAR0, COMMAND, COMMAND_MEMORY};

/// A decoded BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    start: u64,
    size: u64,
    place: Place,
    bar: u8,
}

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
        let Some((range, mut at)) = self.find(gpa, data.len()) else {
            data.fill(0xff);
            return true;
        };
        self.counters.reads += 1;
        let mut effects = Effects::default();
        if let Some(function) = self.functions.get_mut(&range.place) {
            let mut rest = data;
            while !rest.is_empty() {
                let (part, after) = rest.split_at_mut(piece(at, rest.len()));
                function.device.bar_read(range.bar, at, part, &mut effects);
                at += part.len() as u64;
                rest = after;
            }
        }
        self.apply(range.place, effects);
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
        let Some((range, mut at)) = self.find(gpa, data.len()) else {
            return true;
        };
        self.counters.writes += 1;
        let mut effects = Effects::default();
        if let Some(function) = self.functions.get_mut(&range.place) {
            let mut rest = data;
            while !rest.is_empty() {
                let (part, after) = rest.split_at(piece(at, rest.len()));
                function.device.bar_write(range.bar, at, part, &mut effects);
                at += part.len() as u64;
                rest = after;
            }
        }
        self.apply(range.place, effects);
        true
    }

    /// Of BARs that overlap, the one with the lowest place and index answers.
    fn find(&mut self, gpa: u64, len: usize) -> Option<(Range, u64)> {
        let hit = self.ranges.iter().find_map(|r| {
            let offset = gpa.checked_sub(r.start)?;
            let room = r.size.checked_sub(offset)?;
            (room != 0 && len as u64 <= room).then_some((*r, offset))
        });
        if hit.is_none() {
            self.counters.unclaimed += 1;
        }
        hit
    }

    /// Reads all BARs, command registers and windows again. Call after anything that may have changed them.
    pub(super) fn rebuild_decode(&mut self) {
        self.ranges.clear();
        for (&place, function) in &self.functions {
            let device = function.device.as_ref();
            if device.config_read(COMMAND, 2) as u16 & COMMAND_MEMORY == 0 {
                continue;
            }
            for bar in 0..6 {
                let size = device.bar_size(bar);
                if size == 0 {
                    continue;
                }
                let start = bar_address(device, bar);
                let passed = match place.port {
                    None => true,
                    Some(port) => self
                        .ports
                        .get(&port)
                        .is_some_and(|p| p.passes(start, start.saturating_add(size - 1))),
                };
                if passed {
                    self.ranges.push(Range {
                        start,
                        size,
                        place,
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
