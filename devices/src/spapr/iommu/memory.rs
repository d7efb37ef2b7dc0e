//! Which real addresses are the partition's memory: entries and lists must lie there.

use serde::{Deserialize, Serialize};

use super::window::Window;
use super::{SpaprIommu, State};

/// Memory of the partition: ranges in order that neither touch nor overlap. It begins as one from address 0; blocks come and go by
/// dynamic reconfiguration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// First address and the one after the last.
    ranges: Vec<(u64, u64)>,
}

impl Memory {
    /// `size` bytes from address 0.
    pub fn new(size: u64) -> Self {
        let mut memory = Memory::default();
        memory.add(0, size);
        memory
    }

    /// Bytes of all ranges.
    pub fn total(&self) -> u64 {
        let sizes = self.ranges.iter().map(|(start, end)| end - start);
        sizes.fold(0, u64::saturating_add)
    }

    /// True if all of `len` bytes from `address` are memory.
    #[inline]
    pub fn holds(&self, address: u64, len: u64) -> bool {
        let Some(end) = address.checked_add(len) else {
            return false;
        };
        self.ranges.iter().any(|r| r.0 <= address && end <= r.1)
    }

    /// Adds `size` bytes from `start`; up to the last address if that would pass it.
    pub fn add(&mut self, start: u64, size: u64) {
        let (mut start, mut end) = (start, start.saturating_add(size));
        if start == end {
            return;
        }
        self.ranges.retain(|&(s, e)| {
            let apart = e < start || end < s;
            if !apart {
                (start, end) = (start.min(s), end.max(e));
            }
            apart
        });
        let at = self.ranges.partition_point(|r| r.0 < start);
        self.ranges.insert(at, (start, end));
    }

    /// Takes `size` bytes from `start` away.
    pub fn remove(&mut self, start: u64, size: u64) {
        let end = start.saturating_add(size);
        if start == end {
            return;
        }
        let parts = self.ranges.iter().flat_map(|&(s, e)| {
            let (before, after) = ((s, e.min(start)), (s.max(end), e));
            [before, after].into_iter().filter(|p| p.0 < p.1)
        });
        self.ranges = parts.collect();
    }

    /// True if the ranges are as this type keeps them: for what comes from outside.
    pub fn is_whole(&self) -> bool {
        let filled = self.ranges.iter().all(|r| r.0 < r.1);
        filled && self.ranges.windows(2).all(|w| w[0].1 < w[1].0)
    }
}

impl State {
    pub(super) fn set_memory(&mut self, memory: Memory) {
        self.chunks.set_ram(memory.total());
        self.memory = memory;
    }
}

impl SpaprIommu {
    /// Memory of the partition ends at `ram_size` from now on: entries may name pages below it. Entries that name pages above stay;
    /// H_GET_TCE answers H_PARTIAL for them.
    pub fn set_ram_size(&self, ram_size: u64) {
        self.lock().set_memory(Memory::new(ram_size));
    }

    /// Gives the partition `size` more bytes of memory at `start`.
    pub fn add_memory(&self, start: u64, size: u64) {
        let mut state = self.lock();
        let mut memory = state.memory.clone();
        memory.add(start, size);
        state.set_memory(memory);
    }

    /// Takes `size` bytes of memory at `start` away. False, and nothing changes, while an entry still names some of it.
    pub fn remove_memory(&self, start: u64, size: u64) -> bool {
        let mut state = self.lock();
        let end = start.saturating_add(size);
        let store = state.chunks.store();
        let named = |w: &Window| {
            let page = 1u64 << w.page_shift;
            w.table.entries(store).any(|(_, tce)| {
                tce.is_mapped() && tce.address() < end && start < tce.address().saturating_add(page)
            })
        };
        if state.windows.values().any(named) {
            return false;
        }
        let mut memory = state.memory.clone();
        memory.remove(start, size);
        state.set_memory(memory);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The same as a bit for each of 64 units.
        #[test]
        fn as_a_set(changes in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..20), 1..40)) {
            let (mut memory, mut bits) = (Memory::new(8), 0xffu64);
            for (add, start, size) in changes {
                let size = size.min(64 - start);
                let mask = ((1u128 << size) - 1) << start;
                if add {
                    memory.add(start, size);
                    bits |= mask as u64;
                } else {
                    memory.remove(start, size);
                    bits &= !(mask as u64);
                }
                prop_assert!(memory.is_whole(), "{memory:?}");
                prop_assert_eq!(memory.total(), u64::from(bits.count_ones()));
                for at in 0..64 {
                    for len in 1..=64 - at {
                        let mask = (((1u128 << len) - 1) << at) as u64;
                        prop_assert_eq!(memory.holds(at, len), bits & mask == mask, "{} {}", at, len);
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_passes_the_last_address() {
        let mut memory = Memory::default();
        memory.add(u64::MAX - 1, 100);
        assert!(memory.holds(u64::MAX - 1, 1));
        assert!(!memory.holds(u64::MAX - 1, 2) && !memory.holds(u64::MAX, 2));
        memory.remove(0, u64::MAX);
        assert_eq!(memory, Memory::default());
    }
}
