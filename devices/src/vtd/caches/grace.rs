//! Grace periods: an invalidation completes only after every DMA that could have used what it removed. VT-d 4.1 §6.5.3 (drain).
//!
//! A DMA is in flight between [`Grace::enter`] and [`Grace::leave`]. It marks a slot with the number of the current epoch and clears
//! it; two atomic read-modify-writes of a cache line that no other thread uses, no lock. An invalidation first removes its entries from the caches, then begins a new epoch
//! ([`Grace::advance`]) and is complete once no slot holds an older one ([`Grace::passed`]).
//!
//! Why a DMA that is not waited for cannot have seen a removed entry: `enter` and `advance` both read-modify-write the slot. Either
//! `advance` comes after the DMA's mark, and `passed` sees the mark until the DMA has left; or the mark comes after, and then the DMA
//! also sees everything that came before `advance`, the removal included.
//!
//! Why nobody who waits for a DMA is forgotten: who waits says so in a flag, then calls [`Grace::sweep`] and looks once more;
//! [`Grace::leave`] read-modify-writes the slot, and then the flag is looked at. Whichever comes first in the slot, the other sees it.

use super::sync::{AtomicU64, Ordering, SLOTS};

/// Two cache lines each (processors fetch pairs), so that threads do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot(AtomicU64);

/// Where a DMA is marked; give it back to [`Grace::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(usize);

impl Ticket {
    /// As a number, for interfaces that know no tickets.
    pub const fn number(self) -> usize {
        self.0
    }
    /// The ticket of a number.
    pub const fn from_number(number: usize) -> Self {
        Ticket(number)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Grace {
    /// Current epoch, from 1.
    epoch: Slot,
    /// Slots ever used: what a check must look at.
    used: Slot,
    slots: Box<[Slot]>,
    /// DMAs without a slot.
    overflow: Slot,
}

impl Default for Grace {
    fn default() -> Self {
        Grace {
            epoch: Slot(AtomicU64::new(1)),
            used: Slot::default(),
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            overflow: Slot::default(),
        }
    }
}

impl Grace {
    /// Marks a DMA as in flight. `hint` chooses the slot to try first: a small number that other threads do not use.
    #[inline]
    pub fn enter(&self, hint: usize) -> Ticket {
        let first = hint % SLOTS;
        let epoch = self.epoch.0.load(Ordering::Acquire);
        // Acquire: who relies on another thread's mark of the slot as used also sees what came before a check that missed it.
        if self.used.0.load(Ordering::Acquire) > first as u64 && self.mark(first, epoch) {
            return Ticket(first);
        }
        self.enter_elsewhere(first)
    }

    #[inline]
    fn mark(&self, slot: usize, epoch: u64) -> bool {
        self.slots[slot]
            .0
            .compare_exchange(0, epoch, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn enter_elsewhere(&self, first: usize) -> Ticket {
        for n in 0..SLOTS {
            let slot = (first + n) % SLOTS;
            // A slot counts as used before it is marked for the first time, so a check that misses it precedes the mark.
            self.used.0.fetch_max(slot as u64 + 1, Ordering::AcqRel);
            let epoch = self.epoch.0.load(Ordering::Acquire);
            if self.mark(slot, epoch) {
                return Ticket(slot);
            }
        }
        self.overflow.0.fetch_add(1, Ordering::AcqRel);
        Ticket(SLOTS)
    }

    /// Ends a DMA.
    #[inline]
    pub fn leave(&self, ticket: Ticket) {
        match self.slots.get(ticket.0) {
            Some(slot) => {
                slot.0.swap(0, Ordering::AcqRel);
            }
            None => {
                self.overflow.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Begins an epoch and returns its number.
    pub fn advance(&self) -> u64 {
        let target = self.epoch.0.fetch_add(1, Ordering::AcqRel) + 1;
        self.sweep();
        target
    }

    /// Orders what this thread did before whatever a DMA does after it leaves.
    pub fn sweep(&self) {
        let used = self.used.0.fetch_add(0, Ordering::AcqRel) as usize;
        for slot in self.slots.iter().take(used) {
            slot.0.fetch_add(0, Ordering::AcqRel);
        }
        self.overflow.0.fetch_add(0, Ordering::AcqRel);
    }

    /// True if no DMA in flight began before epoch `target`, which [`Grace::advance`] returned to this thread or to one that this thread
    /// synchronized with. DMAs without a slot count as old ones.
    pub fn passed(&self, target: u64) -> bool {
        let used = self.used.0.load(Ordering::Acquire) as usize;
        self.slots.iter().take(used).all(|slot| {
            let epoch = slot.0.load(Ordering::Acquire);
            epoch == 0 || epoch >= target
        }) && self.overflow.0.load(Ordering::Acquire) == 0
    }
}
