//! Saving and restoring the unit: windows, entries, PE states, and what was counted.
//!
//! A snapshot is restored into a unit that was built from the same arguments (personality, PEs, VIO windows); what the arguments say is
//! in it only to be compared. The history for reports (removed windows, lists of calls and of faults) is not part of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::rules::{Personality, Refusals};
use super::spec::Liobn;
use super::store::Store;
use super::table::{ChunkCount, TableFull};
use super::window::{Kind, Window};
use super::{Pe, PeConfig, SpaprIommu, State, hcalls};
use crate::spapr::eeh::SavedHealth;

/// Number of the form, its first field. Raised whenever the form changes.
pub const VERSION: u32 = 3;

/// Why a snapshot cannot be restored. The unit is as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Of another version of the form.
    #[error("a snapshot of form {0}, this program has form {VERSION}")]
    Version(u32),
    /// No snapshot, or damaged.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// The unit was built otherwise.
    #[error("the snapshot is of another machine: its {0} differ")]
    OtherMachine(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    personality: String,
    memory: Memory,
    next_order: u64,
    now_ns: u64,
    refusals: Refusals,
    hcalls: BTreeMap<u64, u64>,
    hcall_entries: BTreeMap<u64, u64>,
    hcall_errors: BTreeMap<(u64, i64), u64>,
    pes: Vec<SavedPe>,
    windows: Vec<SavedWindow>,
}

#[derive(Serialize, Deserialize)]
struct SavedPe {
    buid: u64,
    config_addr: u32,
    default: u32,
    /// In the order in which they came into being.
    windows: Vec<u32>,
    limited: bool,
    health: Option<SavedHealth>,
}

#[derive(Serialize, Deserialize)]
struct SavedWindow {
    liobn: u32,
    base: u64,
    size: u64,
    page_shift: u32,
    kind: Kind,
    order: u64,
    created_ns: u64,
    peak: u64,
    bytes_read: u64,
    bytes_written: u64,
    faults: u64,
    entries: Vec<(u64, u64)>,
}

fn damaged(what: impl std::fmt::Display) -> RestoreError {
    RestoreError::Damaged(what.to_string())
}

/// All of a personality, for comparison only.
fn fingerprint(personality: &Personality) -> String {
    format!("{personality:?}")
}

fn save_pe(pe: &Pe) -> SavedPe {
    let Pe {
        endpoint, // shows what is saved here
        windows,
        limited,
    } = pe;
    let PeConfig {
        buid,
        config_addr,
        liobn,
        members: _, // an argument
    } = &endpoint.config;
    SavedPe {
        buid: *buid,
        config_addr: *config_addr,
        default: liobn.0,
        windows: windows.iter().map(|l| l.0).collect(),
        limited: *limited,
        health: endpoint.health.get().map(|h| h.save()),
    }
}

fn save_window(window: &Window, store: &Store) -> SavedWindow {
    let [bytes_read, bytes_written, faults] = window.counters();
    SavedWindow {
        liobn: window.liobn.0,
        base: window.base,
        size: window.size,
        page_shift: window.page_shift,
        kind: window.kind,
        order: window.order,
        created_ns: window.created_ns,
        peak: window.table.peak(),
        bytes_read,
        bytes_written,
        faults,
        entries: window.table.entries(store).map(|(e, t)| (e, t.0)).collect(),
    }
}

/// An empty window, and the chunks that its entries will need.
fn restore_window(saved: &SavedWindow) -> Result<(Window, usize), RestoreError> {
    let (shift, size) = (saved.page_shift, saved.size);
    let good = (12..=34).contains(&shift)
        && size != 0
        && size.is_multiple_of(1 << shift)
        && saved.base.is_multiple_of(1 << shift)
        && saved.base.checked_add(size - 1).is_some();
    if !good {
        return Err(damaged("a window's place"));
    }
    let liobn = Liobn(saved.liobn);
    let mut window = Window::new(liobn, saved.base, size, shift, saved.kind, saved.order);
    window.created_ns = saved.created_ns;
    let mut count = ChunkCount::new(window.table.tree());
    let mut next = 0;
    for &(entry, tce) in &saved.entries {
        if entry < next || entry >= window.table.size() || tce == 0 {
            return Err(damaged("an entry"));
        }
        next = entry + 1;
        count.add(entry, |_| true);
    }
    Ok((window, count.chunks()))
}

impl State {
    fn save(&self) -> Saved {
        let State {
            memory,
            personality,
            refusals,
            pes,
            windows,
            chunks,
            next_order,
            now_ns,
            past: _, // history
            past_dropped: _,
            calls: _,
            calls_dropped: _,
            hcalls,
            hcall_errors,
        } = self;
        Saved {
            version: VERSION,
            personality: fingerprint(personality),
            memory: memory.clone(),
            next_order: *next_order,
            now_ns: *now_ns,
            refusals: refusals.clone(),
            hcalls: hcalls.calls().collect(),
            hcall_entries: hcalls.entries().collect(),
            hcall_errors: hcall_errors.clone(),
            pes: pes.iter().map(save_pe).collect(),
            windows: windows
                .values()
                .map(|w| save_window(w, chunks.store()))
                .collect(),
        }
    }

    /// Checks that the unit was built from the same arguments.
    fn same_machine(&self, saved: &Saved) -> Result<(), RestoreError> {
        if saved.personality != fingerprint(&self.personality) {
            return Err(RestoreError::OtherMachine("rules"));
        }
        let same_pe = |(pe, saved): (&Pe, &SavedPe)| {
            let c = pe.config();
            (c.buid, c.config_addr, c.liobn.0) == (saved.buid, saved.config_addr, saved.default)
                && pe.endpoint.health.get().is_some() == saved.health.is_some()
        };
        if self.pes.len() != saved.pes.len() || !self.pes.iter().zip(&saved.pes).all(same_pe) {
            return Err(RestoreError::OtherMachine("PEs"));
        }
        let ours = self.windows.values().filter(|w| w.kind == Kind::Vio);
        let ours = ours.map(|w| (w.liobn.0, w.base, w.size));
        let theirs = saved.windows.iter().filter(|w| w.kind == Kind::Vio);
        if !ours.eq(theirs.map(|w| (w.liobn, w.base, w.size))) {
            return Err(RestoreError::OtherMachine("VIO windows"));
        }
        Ok(())
    }

    /// The windows of a PE, checked: each exists, belongs to no other PE and overlaps none.
    fn restore_refs(
        &self,
        saved: &SavedPe,
        windows: &BTreeMap<Liobn, Window>,
        owned: &mut BTreeSet<Liobn>,
    ) -> Result<Vec<Liobn>, RestoreError> {
        let mut refs: Vec<&Window> = Vec::new();
        for liobn in saved.windows.iter().copied().map(Liobn) {
            let window = windows
                .get(&liobn)
                .ok_or_else(|| damaged("a window is missing"))?;
            let p = &self.personality;
            let place = (window.base, window.size, window.page_shift);
            let default = (p.default_base, p.default_size, p.default_page_shift);
            let good = match window.kind {
                Kind::Default => liobn.0 == saved.default && place == default,
                Kind::Dynamic => liobn.0 != saved.default,
                Kind::Vio => false,
            };
            let last = window.base + (window.size - 1);
            let clear = |r: &&Window| last < r.base || r.base + (r.size - 1) < window.base;
            if !good || !owned.insert(liobn) || !refs.iter().all(clear) {
                return Err(damaged("a PE's windows"));
            }
            refs.push(window);
        }
        if refs.len() > self.personality.windows as usize {
            return Err(damaged("too many windows"));
        }
        Ok(refs.iter().map(|w| w.liobn).collect())
    }

    fn restore(&mut self, saved: Saved) -> Result<(), RestoreError> {
        self.same_machine(&saved)?;
        if !saved.memory.is_whole() {
            return Err(damaged("memory"));
        }
        let caps = self.chunks.caps(saved.memory.total());
        let (mut windows, mut chunks) = (BTreeMap::new(), 0usize);
        for window in &saved.windows {
            let (window, needed) = restore_window(window)?;
            chunks += needed;
            if needed > caps.per_table || chunks > caps.per_unit {
                return Err(damaged(TableFull));
            }
            if windows.insert(window.liobn, window).is_some() {
                return Err(damaged("two windows of one name"));
            }
        }
        let mut owned = BTreeSet::new();
        let refs = saved
            .pes
            .iter()
            .map(|pe| self.restore_refs(pe, &windows, &mut owned))
            .collect::<Result<Vec<_>, _>>()?;
        if windows
            .values()
            .any(|w| w.kind != Kind::Vio && !owned.contains(&w.liobn))
        {
            return Err(damaged("a window of no PE"));
        }
        // Nothing fails from here on.
        for window in self.windows.values_mut() {
            window.hide();
            window.table.clear(&mut self.chunks);
        }
        self.windows = windows;
        self.set_memory(saved.memory);
        for ((pe, saved), refs) in self.pes.iter_mut().zip(&saved.pes).zip(refs) {
            for liobn in &refs {
                if let Some(window) = self.windows.get_mut(liobn) {
                    window.show_in(&pe.endpoint);
                }
            }
            pe.windows = refs;
            pe.limited = saved.limited;
            if let (Some(health), Some(saved)) = (pe.endpoint.health.get(), &saved.health) {
                health.restore(saved);
            }
        }
        for saved in &saved.windows {
            if let Some(window) = self.windows.get_mut(&Liobn(saved.liobn)) {
                window.restore(saved.peak, &saved.entries, &mut self.chunks);
                window.restore_counters([saved.bytes_read, saved.bytes_written, saved.faults]);
            }
        }
        self.refusals = saved.refusals;
        self.next_order = saved.next_order;
        self.now_ns = saved.now_ns;
        self.hcalls = hcalls::Counts::from_maps(&saved.hcalls, &saved.hcall_entries);
        self.hcall_errors = saved.hcall_errors;
        self.past = VecDeque::new();
        self.past_dropped = 0;
        self.calls = Vec::new();
        self.calls_dropped = 0;
        Ok(())
    }
}

impl SpaprIommu {
    /// The state as bytes: postcard, of form [`VERSION`].
    ///
    /// # Errors
    /// In words; none is known.
    pub fn save(&self) -> Result<Vec<u8>, String> {
        postcard::to_stdvec(&self.lock().save()).map_err(|e| e.to_string())
    }

    /// Takes the state of a snapshot. The unit must have been built from the same arguments. Returns after DMA in flight has ended.
    ///
    /// # Errors
    /// [`RestoreError`]; the unit is then as before.
    pub fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        let (version, _) = postcard::take_from_bytes::<u32>(bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        let saved: Saved = postcard::from_bytes(bytes).map_err(damaged)?;
        self.change(|state| state.restore(saved))
    }
}
