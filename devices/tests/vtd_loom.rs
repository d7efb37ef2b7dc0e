//! The lock-free parts of the VT-d unit under a model checker: every interleaving of small cases, with weak memory.
//!
//! The sources are the unit's own; only their atomics, and the sizes of their tables, are exchanged.

#![allow(
    dead_code,
    missing_docs,
    clippy::modulo_one,
    reason = "the cases use parts of the modules, with tables of one entry"
)]

mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

    pub fn pause() {
        loom::thread::yield_now();
    }

    pub const SLOTS: usize = 2;
    pub const WAYS: usize = 1;
}

#[path = "../src/vtd/caches/front.rs"]
mod front;
#[path = "../src/vtd/caches/grace.rs"]
mod grace;
#[path = "../src/vtd/caches/table.rs"]
mod table;

use std::sync::Arc;

use front::Front;
use grace::Grace;
use sync::{AtomicU64, Ordering};
use table::Table;

/// A page table of one entry: bit 0 present, bit 1 dirty, address above.
const PRESENT: u64 = 1;
const DIRTY: u64 = 2;
const KEY: [u64; 1] = [1];
/// The same page in the front.
const PAGE: [u64; 2] = [1, 7];

struct Model {
    cache: Table<1, 1>,
    front: Front,
    grace: Grace,
    entry: AtomicU64,
    /// Set by the driver once its wait has completed and the page is used for something else.
    reused: AtomicU64,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Model {
            cache: Table::new(1),
            front: Front::new(1),
            grace: Grace::default(),
            entry: AtomicU64::new(0x1000 | PRESENT),
            reused: AtomicU64::new(0),
        })
    }

    /// A DMA: translated by the cache or a walk that fills it. The access checks that the page is not yet used for something else.
    fn dma(&self, hint: usize) {
        let ticket = self.grace.enter(hint);
        let generation = self.cache.generation();
        let translated = match self.cache.get(&KEY) {
            Some([value]) => Some(value),
            None => {
                let entry = self.entry.load(Ordering::SeqCst);
                (entry & PRESENT != 0).then(|| {
                    self.cache.fill(KEY, [entry], generation);
                    entry
                })
            }
        };
        if translated.is_some() {
            assert_eq!(
                self.reused.load(Ordering::SeqCst),
                0,
                "stale use after a completed wait"
            );
        }
        self.grace.leave(ticket);
    }

    /// The same through the front: answers of the cache are kept there, and asked for first.
    fn dma_in_front(&self, hint: usize) {
        let ticket = self.grace.enter(hint);
        let now = self.front.generation();
        let translated = self.front.get(PAGE, now).or_else(|| {
            // A walk that the cache has nothing of: the front alone decides over what comes later.
            let found = self.cache.get(&KEY).map(|[value]| value).or_else(|| {
                let entry = self.entry.load(Ordering::SeqCst);
                (entry & PRESENT != 0).then_some(entry)
            });
            found.inspect(|entry| self.front.fill(PAGE, *entry, now))
        });
        if translated.is_some() {
            assert_eq!(
                self.reused.load(Ordering::SeqCst),
                0,
                "stale use after a completed wait"
            );
        }
        self.grace.leave(ticket);
    }

    /// A driver unmaps the page and invalidates; if the wait completes at once, it uses the page for something else. Returns the epoch
    /// waited for: the model checker tries both outcomes, so there is no need to loop.
    fn unmap(&self) -> u64 {
        self.entry.store(0, Ordering::SeqCst);
        self.cache.remove_key(&KEY);
        self.front.forget();
        let target = self.grace.advance();
        if self.grace.passed(target) {
            self.reused.store(1, Ordering::SeqCst);
        }
        target
    }

    /// Once all DMA has ended, the wait completes, and nothing is cached.
    fn check_end(&self, target: u64) {
        assert!(self.grace.passed(target));
        assert_eq!(self.cache.get(&KEY), None);
        assert_eq!(self.front.get(PAGE, self.front.generation()), None);
    }
}

fn bounded(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 5_000;
    builder.check(f);
}

#[test]
fn no_stale_use_after_a_completed_wait() {
    bounded(3, || {
        let m = Model::new();
        let device = m.clone();
        let t = loom::thread::spawn(move || device.dma(0));
        let target = m.unmap();
        t.join().unwrap();
        m.check_end(target);
    });
}

#[test]
fn no_stale_use_by_a_second_dma() {
    bounded(2, || {
        let m = Model::new();
        let device = m.clone();
        let t = loom::thread::spawn(move || {
            device.dma(0);
            device.dma(0);
        });
        let target = m.unmap();
        t.join().unwrap();
        m.check_end(target);
    });
}

#[test]
fn two_devices_share_slots() {
    bounded(2, || {
        let m = Model::new();
        let (a, b) = (m.clone(), m.clone());
        let t = loom::thread::spawn(move || a.dma(0));
        let u = loom::thread::spawn(move || b.dma(0));
        let target = m.unmap();
        t.join().unwrap();
        u.join().unwrap();
        m.check_end(target);
    });
}

/// The cache holds the page before; the front is filled from it while it is unmapped.
#[test]
fn no_stale_answer_in_front() {
    bounded(3, || {
        let m = Model::new();
        m.cache.fill(KEY, [0x1000 | PRESENT], m.cache.generation());
        let device = m.clone();
        let t = loom::thread::spawn(move || device.dma_in_front(0));
        let target = m.unmap();
        t.join().unwrap();
        m.check_end(target);
    });
}

/// The second DMA finds what the first left in front.
#[test]
fn no_stale_answer_in_front_by_a_second_dma() {
    bounded(2, || {
        let m = Model::new();
        let device = m.clone();
        let t = loom::thread::spawn(move || {
            device.dma_in_front(0);
            device.dma_in_front(0);
        });
        let target = m.unmap();
        t.join().unwrap();
        m.check_end(target);
    });
}

/// Two devices fill one line of the front, and each reads what it or the other put there.
#[test]
fn answers_in_front_are_read_whole() {
    bounded(3, || {
        let front = Arc::new(Front::new(1));
        let other = front.clone();
        let t = loom::thread::spawn(move || {
            other.fill([2, 20], 200, other.generation());
            other.forget();
            other.fill([1, 11], 111, other.generation());
        });
        let now = front.generation();
        front.fill([1, 10], 100, now);
        for (key, value) in [([1, 10], 100), ([2, 20], 200), ([1, 11], 111)] {
            if let Some(found) = front.get(key, front.generation()) {
                assert_eq!(found, value);
            }
        }
        t.join().unwrap();
        assert_eq!(front.get([2, 20], front.generation()), None);
    });
}

/// Somebody waits for a DMA: either it has ended when they look again, or its end sees that they wait.
#[test]
fn nobody_who_waits_is_forgotten() {
    bounded(3, || {
        let m = Model::new();
        let waiting = Arc::new(AtomicU64::new(0));
        let (device, flag) = (m.clone(), waiting.clone());
        let t = loom::thread::spawn(move || {
            let ticket = device.grace.enter(0);
            device.grace.leave(ticket);
            flag.load(Ordering::SeqCst) != 0
        });
        let target = m.grace.advance();
        let mut passed = m.grace.passed(target);
        if !passed {
            waiting.store(1, Ordering::SeqCst);
            m.grace.sweep();
            passed = m.grace.passed(target);
        }
        let woken = t.join().unwrap();
        assert!(passed || woken);
    });
}

/// A reader never puts the key of one entry together with the value of another.
#[test]
fn entries_are_read_whole() {
    bounded(3, || {
        let cache: Arc<Table<1, 2>> = Arc::new(Table::new(1));
        let writer = cache.clone();
        let t = loom::thread::spawn(move || {
            writer.fill([1], [10, 11], writer.generation());
            writer.fill([2], [20, 21], writer.generation());
        });
        for key in [1, 2] {
            if let Some(value) = cache.get(&[key]) {
                assert_eq!(value, [10 * key, 10 * key + 1]);
            }
        }
        t.join().unwrap();
    });
}

/// A dirty bit is set by compare-and-swap against the walked entry; software clears it by an exchange. No write goes unseen, and a
/// cleared entry does not come back.
#[test]
fn no_lost_dirty_bit() {
    bounded(3, || {
        let m = Model::new();
        let written = Arc::new(AtomicU64::new(0));
        let (device, count) = (m.clone(), written.clone());
        let t = loom::thread::spawn(move || {
            loop {
                let entry = device.entry.load(Ordering::SeqCst);
                if entry & PRESENT == 0 {
                    break;
                }
                let new = entry | DIRTY;
                let swapped =
                    device
                        .entry
                        .compare_exchange(entry, new, Ordering::SeqCst, Ordering::SeqCst);
                if swapped.is_ok() {
                    count.store(1, Ordering::SeqCst);
                    break;
                }
            }
        });
        // Software write-protects nothing here: it takes the dirty bit, then the whole entry.
        let first = m.entry.fetch_and(!DIRTY, Ordering::SeqCst);
        let last = m.entry.swap(0, Ordering::SeqCst);
        t.join().unwrap();
        let seen = (first | last) & DIRTY != 0;
        assert_eq!(
            seen,
            written.load(Ordering::SeqCst) == 1,
            "each write is seen once"
        );
        assert_eq!(
            m.entry.load(Ordering::SeqCst),
            0,
            "a cleared entry stays clear"
        );
    });
}
