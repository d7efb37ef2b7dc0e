//! How wide entries are fetched while somebody writes them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::vtd::memory::{Inaccessible, Swap, TableMemory, load_entry};

/// Two quadwords that another agent replaces after `after` loads: high first, then low, as Linux writes interrupt entries.
struct Racing {
    loads: AtomicUsize,
    after: usize,
}

const OLD: [u64; 2] = [1, 0x10];
const NEW: [u64; 2] = [2, 0x20];

impl TableMemory for Racing {
    fn load(&self, address: u64) -> Result<u64, Inaccessible> {
        let done = self.loads.fetch_add(1, Ordering::SeqCst);
        let from = if done < self.after { OLD } else { NEW };
        from.get(address as usize / 8).copied().ok_or(Inaccessible)
    }
    fn compare_exchange(&self, _: u64, _: u64, _: u64) -> Result<Swap, Inaccessible> {
        Err(Inaccessible)
    }
    fn store_u32(&self, _: u64, _: u32) -> Result<(), Inaccessible> {
        Err(Inaccessible)
    }
    fn store(&self, _: u64, _: u64) -> Result<(), Inaccessible> {
        Err(Inaccessible)
    }
}

#[test]
fn wide_entries_belong_together_unless_torn_fetches_are_asked_for() {
    for after in 0..6 {
        let memory = || Racing {
            loads: AtomicUsize::new(0),
            after,
        };
        let whole: [u64; 2] = load_entry(&memory(), 0, false).unwrap();
        assert!(whole == OLD || whole == NEW, "{after}: {whole:?}");
        let torn: [u64; 2] = load_entry(&memory(), 0, true).unwrap();
        // The last quadword is fetched first.
        let expected = match after {
            0 => NEW,
            1 => [NEW[0], OLD[1]],
            _ => OLD,
        };
        assert_eq!(torn, expected, "{after}");
    }
    let beyond: Result<[u64; 4], _> = load_entry(
        &Racing {
            loads: AtomicUsize::new(0),
            after: 0,
        },
        0,
        false,
    );
    assert_eq!(beyond, Err(Inaccessible));
    let wraps: Result<[u64; 2], _> = load_entry(
        &crate::vtd::testing::Lab::new(Config::full()).ram,
        u64::MAX - 7,
        false,
    );
    assert_eq!(wraps, Err(Inaccessible));
}
