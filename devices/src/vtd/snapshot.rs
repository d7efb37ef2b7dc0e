//! The whole unit as a value, to be saved and brought back.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::caches::{CacheContents, Caches};
use super::memory::TableMemory;
use super::state::State;
use super::{Config, ConfigError, Counters, Vtd};

/// The version that [`Vtd::save`] writes.
pub const VERSION: u32 = 2;

/// Everything that a unit holds: configuration, registers, pending work, caches. Guest memory is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    config: Config,
    state: State,
    status: u32,
    rtaddr: u64,
    irta: u64,
    counters: Counters,
    caches: CacheContents,
    /// Answers in front of the caches: who asks next is answered as without the snapshot.
    front: Vec<([u64; 2], u64)>,
}

impl Snapshot {
    /// What was cached.
    pub fn caches(&self) -> &CacheContents {
        &self.caches
    }
}

/// A unit cannot be saved now: DMA is in flight, or actions were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the unit is busy: let DMA end, call run, and carry out what it returns first")]
pub struct Busy;

/// Why a snapshot cannot be brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Another version.
    #[error("the snapshot has version {0}, but this program reads version {VERSION}")]
    Version(u32),
    /// A configuration that no unit has.
    #[error("the snapshot's configuration is not possible: {0}")]
    Config(#[from] ConfigError),
    /// Contents that no unit has.
    #[error("the snapshot's {0} is not possible")]
    Contents(&'static str),
}

impl<M: TableMemory> Vtd<M> {
    /// Saves the unit. No DMA may be in flight.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn save(&self) -> Result<Snapshot, Busy> {
        self.settle();
        let target = self.inner.grace.advance();
        if !self.inner.grace.passed(target) {
            return Err(Busy);
        }
        let g = self.lock();
        if g.fetching
            || g.writing
            || g.draining.is_some()
            || !g.late.is_empty()
            || !g.actions.is_empty()
        {
            return Err(Busy);
        }
        Ok(Snapshot {
            version: VERSION,
            config: self.inner.config.clone(),
            state: g.state.clone(),
            status: self.inner.live.status.load(Ordering::SeqCst),
            rtaddr: self.inner.live.rtaddr.load(Ordering::SeqCst),
            irta: self.inner.live.irta.load(Ordering::SeqCst),
            counters: self.inner.tally.counters(),
            caches: self.inner.caches.contents(),
            front: self.inner.caches.front.entries(),
        })
    }

    /// A unit as it was saved, over memory that holds what it held then.
    ///
    /// # Errors
    /// [`RestoreError`]; a snapshot may come from anywhere.
    pub fn restore(snapshot: &Snapshot, memory: M) -> Result<Self, RestoreError> {
        let Snapshot {
            version,
            config,
            state,
            status,
            rtaddr,
            irta,
            counters,
            caches,
            front,
        } = snapshot;
        if *version != VERSION {
            return Err(RestoreError::Version(*version));
        }
        if state.records.len() != config.fault_records || state.next_record >= config.fault_records
        {
            return Err(RestoreError::Contents("list of fault records"));
        }
        // What registers and tables cannot hold must not come in here either.
        let pointers = [
            *rtaddr,
            *irta,
            state.rtaddr,
            state.irta,
            state.iqa,
            state.pqa,
        ];
        let offsets = [state.iqh, state.iqt, state.pqh, state.pqt];
        if pointers.iter().any(|p| p >> 52 != 0) || offsets.iter().any(|o| o >> 19 != 0) {
            return Err(RestoreError::Contents("register contents"));
        }
        let cached = caches.len();
        let c = &config.caches;
        if cached > c.iotlb + c.context + c.pasid + c.paging_structure + c.interrupt {
            return Err(RestoreError::Contents("cache contents"));
        }
        let unit = Vtd::new(config.clone(), memory)?;
        unit.inner.live.status.store(*status, Ordering::SeqCst);
        unit.inner.live.rtaddr.store(*rtaddr, Ordering::SeqCst);
        unit.inner.live.irta.store(*irta, Ordering::SeqCst);
        {
            let mut g = unit.lock();
            g.state = state.clone();
            unit.inner.tally.restore(counters);
        }
        if !caches.are_valid(&unit.walker(&Caches::off())) {
            return Err(RestoreError::Contents("cache contents"));
        }
        unit.protect();
        unit.inner.caches.restore(caches);
        let new = &unit.inner.caches.front;
        for (key, answer) in front.iter().filter(|(key, _)| key[0] != 0) {
            new.fill(*key, *answer, new.generation());
        }
        Ok(unit)
    }
}
