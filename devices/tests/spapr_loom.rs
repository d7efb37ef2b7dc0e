//! The gate of the sPAPR IOMMU under a model checker: every interleaving of small cases, with weak memory.
//!
//! The source is the unit's own; only its atomics are exchanged.

#![allow(
    dead_code,
    missing_docs,
    unsafe_code,
    reason = "the cases use a part of the module; a page that threads share is unsafe to declare"
)]

mod sync {
    pub use loom::sync::Mutex;
    pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

    pub fn pause() {
        loom::thread::yield_now();
    }
}

#[path = "../src/spapr/iommu/gate.rs"]
mod gate;

use std::sync::Arc;

use gate::Gate;
use loom::cell::UnsafeCell;
use sync::{AtomicU64, Ordering};

/// The guest's page behind the window. The checker fails if an access by a device and one by the driver have no order.
struct Page(UnsafeCell<()>);

// SAFETY: nothing is in it, and the checker's cell itself says whether accesses race.
unsafe impl Sync for Page {}
// SAFETY: as above.
unsafe impl Send for Page {}

/// A window of one entry: both words change together, as a window's place and its table do.
struct Model {
    gate: Gate,
    window: AtomicU64,
    entry: AtomicU64,
    page: Page,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Model {
            gate: Gate::default(),
            window: AtomicU64::new(1),
            entry: AtomicU64::new(1),
            page: Page(UnsafeCell::new(())),
        })
    }

    /// A DMA to where window and entry say, if they say something.
    fn dma(&self) {
        let token = self.gate.enter();
        let read = self.gate.try_read(|| {
            let window = self.window.load(Ordering::Relaxed);
            (window, self.entry.load(Ordering::Relaxed))
        });
        if let Some((window, entry)) = read {
            assert_eq!(window, entry, "a torn read");
            if window != 0 {
                self.page.0.with(|_| ());
            }
        }
        self.gate.leave(token);
    }

    /// Sets both words to `value` by a call of the guest.
    fn set(&self, value: u64) {
        self.gate.change(|| {
            self.window.store(value, Ordering::Relaxed);
            self.entry.store(value, Ordering::Relaxed);
        });
        self.gate.wait();
    }

    /// Clears both words. Once the call has returned, the driver uses the page for something else.
    fn unmap(&self) {
        self.set(0);
        self.page.0.with_mut(|_| ());
    }
}

fn bounded(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 5_000;
    builder.check(f);
}

#[test]
fn no_stale_use_after_the_call() {
    bounded(3, || {
        let m = Model::new();
        let device = m.clone();
        let t = loom::thread::spawn(move || device.dma());
        m.unmap();
        t.join().unwrap();
    });
}

#[test]
fn no_stale_use_by_a_second_dma() {
    bounded(2, || {
        let m = Model::new();
        let device = m.clone();
        let t = loom::thread::spawn(move || {
            device.dma();
            device.dma();
        });
        m.unmap();
        t.join().unwrap();
    });
}

#[test]
fn two_devices() {
    bounded(2, || {
        let m = Model::new();
        let (a, b) = (m.clone(), m.clone());
        let t = loom::thread::spawn(move || a.dma());
        let u = loom::thread::spawn(move || b.dma());
        m.unmap();
        t.join().unwrap();
        u.join().unwrap();
    });
}

/// What is set again after it was cleared is read whole too.
#[test]
fn no_torn_read_over_two_changes() {
    bounded(2, || {
        let m = Model::new();
        let device = m.clone();
        let t = loom::thread::spawn(move || device.dma());
        m.set(0);
        m.set(2);
        t.join().unwrap();
        let read = m.gate.try_read(|| m.entry.load(Ordering::Relaxed));
        assert_eq!(read, Some(2));
    });
}

/// A DMA may be counted on the side that an earlier call has waited for already.
#[test]
fn a_dma_that_is_counted_late() {
    bounded(3, || {
        let m = Model::new();
        let (device, other) = (m.clone(), m.clone());
        let first = m.gate.enter();
        let t = loom::thread::spawn(move || device.dma());
        let u = loom::thread::spawn(move || other.gate.wait());
        m.gate.leave(first);
        m.unmap();
        t.join().unwrap();
        u.join().unwrap();
    });
}

/// Two calls wait at once, for one DMA.
#[test]
fn two_that_wait() {
    bounded(2, || {
        let m = Model::new();
        let (device, other) = (m.clone(), m.clone());
        let token = m.gate.enter();
        let t = loom::thread::spawn(move || device.gate.leave(token));
        let u = loom::thread::spawn(move || other.gate.wait());
        m.gate.wait();
        t.join().unwrap();
        u.join().unwrap();
    });
}
