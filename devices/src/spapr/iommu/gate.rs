//! How translations read tables without a lock while the one owner changes them.
//!
//! **Readers** ([`Gate::try_read`]) look at a generation before and after: it is odd while a change is under way, and higher after it. If
//! it was even and is the same, all that was read belongs together; if not, they read again. Everything they read is an atomic, in memory
//! that lives as long as the unit, so that what a late reader finds may be wrong but is never invalid.
//!
//! Why what was read belongs together: a reader that finds one word of a change has synchronized with it, by the release fence before
//! the words and the acquire fence after the reads, so its second look finds the odd generation or a later one. A reader whose first look
//! finds the generation that ended a change has acquired all words of that change.
//!
//! **The owner** makes changes one at a time, under its own lock ([`Gate::change`]), and then waits for every DMA in flight
//! ([`Gate::wait`]), since that may still use what it read before. A DMA is in flight between [`Gate::enter`] and [`Gate::leave`].
//!
//! Why a DMA that is not waited for cannot have read what was removed: `enter` and `wait` both read-modify-write one word. Either `wait`
//! comes after the DMA's mark and sees it; or the mark comes after, and then the DMA also sees everything before `wait`, the generation
//! included. Why one that is waited for has ended: whoever sees a count of zero after its own `wait` sees a value that `leave` wrote, or
//! one that was made from it by read-modify-writes only, so every access of the DMA comes before.
//!
//! `devices/tests/spapr_loom.rs` runs this file under a model checker.

use super::sync::{AtomicU64, Mutex, Ordering, fence, pause};

/// Times that a reader tries again while the owner makes one change after the other.
const TRIES: u32 = 64;
/// DMAs of the other side are counted in the upper half of the word.
const SIDE_BITS: u64 = 32;

/// Two cache lines, so that the readers' marks do not disturb the generation.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(AtomicU64);

/// See the module.
#[derive(Debug)]
pub struct Gate {
    generation: Apart,
    /// DMAs in flight, in two counts of 32 bits: while one is waited for, new DMAs go to the other.
    in_flight: Apart,
    /// Bit 0: the count that new DMAs go to.
    side: Apart,
    waiter: Mutex<()>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            generation: Apart::default(),
            in_flight: Apart::default(),
            side: Apart::default(),
            waiter: Mutex::new(()),
        }
    }
}

impl Gate {
    /// What `read` gives, if no change was under way meanwhile.
    #[inline(always)]
    pub fn try_read<T>(&self, read: impl FnOnce() -> T) -> Option<T> {
        let before = self.generation.0.load(Ordering::Acquire);
        if before & 1 != 0 {
            return None;
        }
        let value = read();
        fence(Ordering::Acquire);
        (self.generation.0.load(Ordering::Relaxed) == before).then_some(value)
    }

    /// The same, if need be after several tries. None if there was always a change: then the owner's lock gives a turn.
    #[inline]
    pub fn read<T>(&self, read: impl Fn() -> T) -> Option<T> {
        (0..TRIES).find_map(|_| {
            let value = self.try_read(&read);
            if value.is_none() {
                pause();
            }
            value
        })
    }

    /// Makes a change. The caller holds the owner's lock.
    #[inline]
    pub fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        let before = self.generation.0.load(Ordering::Relaxed);
        self.generation
            .0
            .store(before.wrapping_add(1), Ordering::Relaxed);
        // Whoever reads something of the change also sees that one is under way.
        fence(Ordering::Release);
        let result = change();
        self.generation
            .0
            .store(before.wrapping_add(2), Ordering::Release);
        result
    }

    /// Marks a DMA as in flight; what it gives ends it by [`Gate::leave`].
    #[inline]
    pub fn enter(&self) -> usize {
        let side = self.side.0.load(Ordering::Relaxed) & 1;
        self.in_flight
            .0
            .fetch_add(1 << (side * SIDE_BITS), Ordering::AcqRel);
        side as usize
    }

    /// Ends a DMA.
    #[inline]
    pub fn leave(&self, side: usize) {
        let side = side as u64 & 1;
        self.in_flight
            .0
            .fetch_sub(1 << (side * SIDE_BITS), Ordering::AcqRel);
    }

    /// Returns once every DMA that is in flight now has ended. The caller holds no lock, and is not within a DMA of its own.
    #[inline]
    pub fn wait(&self) {
        if self.in_flight.0.fetch_add(0, Ordering::AcqRel) != 0 {
            self.wait_for_both();
        }
    }

    /// Each count reaches zero once; whatever was in flight has ended by then. New DMAs go to the other count meanwhile.
    #[cold]
    fn wait_for_both(&self) {
        let _only = self.waiter.lock().unwrap_or_else(|e| e.into_inner());
        let first = self.side.0.load(Ordering::Relaxed) & 1;
        for side in [first, first ^ 1] {
            self.side.0.store(side ^ 1, Ordering::Relaxed);
            let count = |word: u64| word >> (side * SIDE_BITS) & u64::from(u32::MAX);
            while count(self.in_flight.0.load(Ordering::Acquire)) != 0 {
                pause();
            }
        }
    }
}
