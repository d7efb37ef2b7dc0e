//! Enhanced error handling: what a partitionable endpoint (PE) may still do after an error. LoPAR §7.3.11, §4.4.
//!
//! [`PeHealth`] is shared by the two that stop a PE's traffic: the IOMMU (its DMA) and the host bridge (loads and stores to it). A DMA
//! error of a PE whose error handling the guest has enabled stops both. The guest then lets loads and stores through again, or resets
//! the PE, by RTAS calls, which the host bridge serves.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::dma::{Access, FaultReason};

/// The PE is stopped.
pub const STOPPED: FaultReason = FaultReason {
    code: 0,
    name: "the PE is stopped after an error (EEH)",
};
/// The guest asked for this error.
pub const INJECTED: FaultReason = FaultReason {
    code: 0,
    name: "error injected by ibm,errinjct",
};

const MMIO_STOPPED: u8 = 1;
const DMA_STOPPED: u8 = 2;
const RESET_ACTIVE: u8 = 4;

/// State of a PE as ibm,read-slot-reset-state2 gives it. LoPAR §7.3.11.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PeState {
    /// Reset is not active, loads and stores and DMA are allowed.
    Normal = 0,
    /// Reset is active.
    Reset = 1,
    /// Loads, stores and DMA are stopped.
    Stopped = 2,
    /// DMA is stopped; loads and stores are allowed.
    DmaStopped = 4,
}

/// An error to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Injection {
    /// At the next load from (or store to) memory of the PE, if `address` and the access agree in the bits of `mask`.
    Mmio {
        /// A store, not a load.
        store: bool,
        /// PCI address.
        address: u64,
        /// Bits that count.
        mask: u64,
    },
    /// At the next DMA, if `address` and its bus address agree in the bits of `mask`.
    Dma {
        /// Which way.
        access: Access,
        /// Bus address.
        address: u64,
        /// Bits that count.
        mask: u64,
    },
}

/// What happened to a PE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EehCounters {
    /// Errors that stopped it.
    pub freezes: u64,
    /// Resets by the guest.
    pub resets: u64,
    /// Loads that got all ones because it was stopped.
    pub loads_refused: u64,
    /// Stores that were dropped because it was stopped.
    pub stores_dropped: u64,
}

/// State of a PE in a snapshot: what decides, and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedHealth {
    enabled: bool,
    stops: u8,
    injection: Option<Injection>,
    /// Freezes, resets, refused loads, dropped stores.
    counters: [u64; 4],
}

#[derive(Debug, Default)]
struct Shared {
    enabled: AtomicBool,
    stops: AtomicU8,
    armed: AtomicBool,
    injection: Mutex<Option<Injection>>,
    freezes: AtomicU64,
    resets: AtomicU64,
    loads_refused: AtomicU64,
    stores_dropped: AtomicU64,
}

/// Health of one PE. Cheap to clone; clones are the same PE's.
#[derive(Clone, Debug, Default)]
pub struct PeHealth {
    shared: Arc<Shared>,
}

impl PeHealth {
    fn stops(&self) -> u8 {
        self.shared.stops.load(Ordering::Relaxed)
    }

    fn set_stops(&self, stops: u8) {
        self.shared.stops.store(stops, Ordering::Relaxed);
    }

    /// The guest enabled (or disabled) error handling.
    pub fn enable(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Relaxed);
    }

    /// What ibm,read-slot-reset-state2 says.
    pub fn state(&self) -> PeState {
        match self.stops() {
            s if s & RESET_ACTIVE != 0 => PeState::Reset,
            0 => PeState::Normal,
            s if s & MMIO_STOPPED != 0 => PeState::Stopped,
            _ => PeState::DmaStopped,
        }
    }

    /// An error: stops the PE if its error handling is enabled. True if it is stopped now and was not before.
    pub fn error(&self) -> bool {
        if !self.shared.enabled.load(Ordering::Relaxed) {
            return false;
        }
        let both = MMIO_STOPPED | DMA_STOPPED;
        let before = self.shared.stops.fetch_or(both, Ordering::Relaxed);
        let fresh = before & both != both;
        if fresh {
            self.shared.freezes.fetch_add(1, Ordering::Relaxed);
        }
        fresh
    }

    /// Lets loads and stores through again.
    pub fn allow_mmio(&self) {
        self.set_stops(self.stops() & !MMIO_STOPPED);
    }

    /// Lets DMA through again.
    pub fn allow_dma(&self) {
        self.set_stops(self.stops() & !DMA_STOPPED);
    }

    /// Asserts the PE's reset. Nothing passes meanwhile.
    pub fn assert_reset(&self) {
        self.shared.resets.fetch_add(1, Ordering::Relaxed);
        self.set_stops(RESET_ACTIVE | MMIO_STOPPED | DMA_STOPPED);
    }

    /// Releases the PE's reset: it is as after power-on. An error without a reset stays.
    pub fn release_reset(&self) {
        if self.stops() & RESET_ACTIVE != 0 {
            self.set_stops(0);
        }
    }

    /// Power-on state. Counters stay.
    pub fn power_on(&self) {
        self.set_stops(0);
        self.enable(false);
        self.arm(None);
    }

    /// Sets the error to come, or none.
    pub fn arm(&self, injection: Option<Injection>) {
        *self.injection() = injection;
        self.shared
            .armed
            .store(injection.is_some(), Ordering::Relaxed);
    }

    fn injection(&self) -> std::sync::MutexGuard<'_, Option<Injection>> {
        self.shared
            .injection
            .lock()
            .unwrap_or_else(|e| e.into_inner())
    }

    /// Takes the armed error if it is this one.
    #[inline]
    fn strike(&self, hit: impl Fn(&Injection) -> bool) -> bool {
        self.shared.armed.load(Ordering::Relaxed) && self.strike_armed(hit)
    }

    #[cold]
    #[inline(never)]
    fn strike_armed(&self, hit: impl Fn(&Injection) -> bool) -> bool {
        let mut injection = self.injection();
        let struck = injection.as_ref().is_some_and(hit);
        if struck {
            *injection = None;
            self.shared.armed.store(false, Ordering::Relaxed);
        }
        struck
    }

    /// False if [`PeHealth::check_dma`] lets every DMA pass.
    #[inline]
    pub fn minds_dma(&self) -> bool {
        self.stops() & DMA_STOPPED != 0 || self.shared.armed.load(Ordering::Relaxed)
    }

    /// Whether a DMA may pass.
    ///
    /// # Errors
    /// [`STOPPED`], or [`INJECTED`], which has stopped the PE.
    #[inline]
    pub fn check_dma(&self, access: Access, iova: u64) -> Result<(), FaultReason> {
        if self.stops() & DMA_STOPPED != 0 {
            return Err(STOPPED);
        }
        let now = access;
        if self.strike(|i| matches!(*i, Injection::Dma { access, address, mask } if access == now && (address ^ iova) & mask == 0)) {
            self.error();
            return Err(INJECTED);
        }
        Ok(())
    }

    /// True if DMA is stopped; for messages, which are not translated.
    pub fn dma_stopped(&self) -> bool {
        self.stops() & DMA_STOPPED != 0
    }

    /// Whether a load or store may pass. If not, loads get all ones and stores are dropped.
    pub fn check_mmio(&self, is_store: bool, at: u64) -> bool {
        if self.stops() & MMIO_STOPPED == 0
            && self.strike(|i| matches!(*i, Injection::Mmio { store, address, mask } if store == is_store && (address ^ at) & mask == 0))
        {
            self.error();
        }
        if self.stops() & MMIO_STOPPED == 0 {
            return true;
        }
        let counter = if is_store {
            &self.shared.stores_dropped
        } else {
            &self.shared.loads_refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// For a snapshot.
    pub(super) fn save(&self) -> SavedHealth {
        let EehCounters {
            freezes,
            resets,
            loads_refused,
            stores_dropped,
        } = self.counters();
        SavedHealth {
            enabled: self.shared.enabled.load(Ordering::Relaxed),
            stops: self.stops(),
            injection: *self.injection(),
            counters: [freezes, resets, loads_refused, stores_dropped],
        }
    }

    /// Takes the state of a snapshot.
    pub(super) fn restore(&self, saved: &SavedHealth) {
        let SavedHealth {
            enabled,
            stops,
            injection,
            counters: [freezes, resets, loads_refused, stores_dropped],
        } = *saved;
        self.enable(enabled);
        self.set_stops(stops & (MMIO_STOPPED | DMA_STOPPED | RESET_ACTIVE));
        self.arm(injection);
        let s = &self.shared;
        for (counter, value) in [
            (&s.freezes, freezes),
            (&s.resets, resets),
            (&s.loads_refused, loads_refused),
            (&s.stores_dropped, stores_dropped),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> EehCounters {
        let count = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let s = &self.shared;
        EehCounters {
            freezes: count(&s.freezes),
            resets: count(&s.resets),
            loads_refused: count(&s.loads_refused),
            stores_dropped: count(&s.stores_dropped),
        }
    }
}
