//! Base address registers as a host bridge decodes them: from an address to a function's BAR, and accesses to it.

use super::PciDevice;
use super::regs::{BAR0, COMMAND, COMMAND_MEMORY};
use crate::effects::Effects;

/// The memory BARs below a host bridge. `P` says which function is meant.
#[derive(Clone, Debug)]
pub struct Bars<P>(Vec<Bar<P>>);

#[derive(Clone, Copy, Debug)]
struct Bar<P> {
    start: u64,
    size: u64,
    place: P,
    index: u8,
}

/// A place in a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<P> {
    /// The function.
    pub place: P,
    /// Number of the BAR, 0 to 5.
    pub index: u8,
    /// Bytes from its start.
    pub offset: u64,
}

impl<P> Default for Bars<P> {
    fn default() -> Self {
        Bars(Vec::new())
    }
}

impl<P: Copy> Bars<P> {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds the BARs of a function that decodes memory, as they are now; of them those for which `passes` is true, which gets the first
    /// address and the last.
    pub fn add(&mut self, place: P, device: &dyn PciDevice, passes: impl Fn(u64, u64) -> bool) {
        if device.config_read(COMMAND, 2) as u16 & COMMAND_MEMORY == 0 {
            return;
        }
        for index in 0..6 {
            let size = device.bar_size(index);
            if size == 0 {
                continue;
            }
            let start = address(device, index);
            if passes(start, start.saturating_add(size - 1)) {
                self.0.push(Bar {
                    start,
                    size,
                    place,
                    index,
                });
            }
        }
    }

    /// The BAR that has all of `len` bytes at an address; of several the one that was added first.
    pub fn find(&self, address: u64, len: usize) -> Option<Target<P>> {
        self.0.iter().find_map(|bar| {
            let offset = address.checked_sub(bar.start)?;
            let room = bar.size.checked_sub(offset)?;
            (room != 0 && len as u64 <= room).then_some(Target {
                place: bar.place,
                index: bar.index,
                offset,
            })
        })
    }
}

impl<P> Target<P> {
    /// Reads bytes from there, by naturally aligned accesses of at most 8.
    pub fn read(&self, device: &mut dyn PciDevice, mut data: &mut [u8], effects: &mut Effects) {
        let mut at = self.offset;
        while !data.is_empty() {
            let (piece, rest) = data.split_at_mut(next(at, data.len()));
            device.bar_read(self.index, at, piece, effects);
            at += piece.len() as u64;
            data = rest;
        }
    }

    /// Writes bytes there, likewise.
    pub fn write(&self, device: &mut dyn PciDevice, mut data: &[u8], effects: &mut Effects) {
        let mut at = self.offset;
        while !data.is_empty() {
            let (piece, rest) = data.split_at(next(at, data.len()));
            device.bar_write(self.index, at, piece, effects);
            at += piece.len() as u64;
            data = rest;
        }
    }
}

/// What a BAR's registers hold.
fn address(device: &dyn PciDevice, index: u8) -> u64 {
    let at = BAR0 + 4 * u16::from(index);
    let low = device.config_read(at, 4);
    let high = if low & 6 == 4 {
        device.config_read(at + 4, 4)
    } else {
        0
    };
    u64::from(high) << 32 | u64::from(low & !15)
}

/// Bytes of the next access, of `left`.
fn next(offset: u64, left: usize) -> usize {
    let aligned = 1usize << offset.trailing_zeros().min(3);
    let fitting = 1usize << left.max(1).ilog2().min(3);
    aligned.min(fitting).min(left.max(1))
}
