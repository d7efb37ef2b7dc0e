//! A DMA window: a range of bus addresses with a TCE table behind it, and where to place a new one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, Slot};
use super::report::WindowReport;
use super::rules::Reserved;
use super::spec::Liobn;
use super::store::Chunks;
use super::table::TceTable;
use crate::dma::FaultReason;

/// The entry has both access bits clear. LoPAR §3.2.2.2.
pub const TCE_INVALID: FaultReason = FaultReason {
    code: 0,
    name: "TCE allows no access",
};
/// The entry is write-only.
pub const TCE_NO_READ: FaultReason = FaultReason {
    code: 0,
    name: "TCE does not permit reading",
};
/// The entry is read-only.
pub const TCE_NO_WRITE: FaultReason = FaultReason {
    code: 0,
    name: "TCE does not permit writing",
};

/// Whose window it is, and what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A PE's `ibm,dma-window`.
    Default,
    /// Made by ibm,create-pe-dma-window.
    Dynamic,
    /// Of a virtual device's `ibm,my-dma-window`.
    Vio,
}

/// One window.
#[derive(Debug)]
pub struct Window {
    /// Name of the table.
    pub liobn: Liobn,
    /// First bus address.
    pub base: u64,
    /// Bytes: a multiple of the page size.
    pub size: u64,
    /// Pages are `1 << page_shift` bytes.
    pub page_shift: u32,
    /// Default, dynamic or VIO.
    pub kind: Kind,
    /// Place in the order in which windows came into being.
    pub order: u64,
    /// When it came into being, in nanoseconds of virtual time.
    pub created_ns: u64,
    /// The entries. After a change call `show`.
    pub table: TceTable,
    /// Where translations see it; none of a VIO window.
    shown: Option<(Arc<Endpoint>, usize)>,
}

impl Window {
    /// An empty window that no translation sees.
    pub fn new(
        liobn: Liobn,
        base: u64,
        size: u64,
        page_shift: u32,
        kind: Kind,
        order: u64,
    ) -> Self {
        Window {
            liobn,
            base,
            size,
            page_shift,
            kind,
            order,
            created_ns: 0,
            table: TceTable::new(size >> page_shift),
            shown: None,
        }
    }

    /// Lets translations of an endpoint see it. Nothing happens if the endpoint has no room, which its rules prevent.
    pub(super) fn show_in(&mut self, endpoint: &Arc<Endpoint>) {
        if let Some(number) = endpoint.free_slot() {
            if let Some(slot) = endpoint.slot(number) {
                slot.show(self.base, self.size);
            }
            self.shown = Some((endpoint.clone(), number));
            self.show();
        }
    }

    fn slot(&self) -> Option<&Slot> {
        let (endpoint, number) = self.shown.as_ref()?;
        endpoint.slot(*number)
    }

    /// Lets translations see the table as it is now.
    #[inline]
    pub(super) fn show(&self) {
        if let Some(slot) = self.slot() {
            slot.show_table(self.page_shift, self.table.tree());
        }
    }

    /// True if translations of the endpoint see it in this slot.
    pub(super) fn is_in(&self, endpoint: &Endpoint, slot: usize) -> bool {
        let shown = self.shown.as_ref();
        shown.is_some_and(|(e, number)| std::ptr::eq(e.as_ref(), endpoint) && *number == slot)
    }

    /// Lets no translation see it any more.
    pub(super) fn hide(&mut self) {
        if let Some(slot) = self.slot() {
            slot.hide();
        }
        self.shown = None;
    }

    /// True if translations of the endpoint see this window as it is.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn is_shown_by(&self, endpoint: &Arc<Endpoint>) -> bool {
        let shown = self.shown.as_ref();
        let here = shown.filter(|(e, _)| Arc::ptr_eq(e, endpoint));
        here.and_then(|(e, number)| e.slot(*number))
            .is_some_and(|s| s.shows(self.base, self.size, self.page_shift, self.table.tree()))
    }

    /// Number of the entry whose page begins at `ioba`, if it lies in the window.
    pub fn entry_at(&self, ioba: u64) -> Option<u64> {
        let offset = ioba.checked_sub(self.base)?;
        let entry = offset >> self.page_shift;
        let aligned = offset & ((1 << self.page_shift) - 1) == 0;
        (aligned && entry < self.table.size()).then_some(entry)
    }

    /// Fills an empty window with entries that are inside and for which there is room.
    pub(super) fn restore(&mut self, peak: u64, entries: &[(u64, u64)], chunks: &mut Chunks) {
        for (entry, tce) in entries {
            let full = self.table.write(*entry, &[*tce], chunks);
            debug_assert_eq!(full, Ok(false));
        }
        self.table.restore_peak(peak);
        self.show();
    }

    /// Sets the counters to earlier ones.
    pub(super) fn restore_counters(&self, [read, written, faults]: [u64; 3]) {
        if let Some(slot) = self.slot() {
            let c = &slot.counters;
            c.read.store(read, Ordering::Relaxed);
            c.written.store(written, Ordering::Relaxed);
            c.faults.store(faults, Ordering::Relaxed);
        }
    }

    /// Bytes read and written by devices, and refused requests.
    pub(super) fn counters(&self) -> [u64; 3] {
        self.slot().map_or([0; 3], |slot| {
            let c = &slot.counters;
            [&c.read, &c.written, &c.faults].map(|c| c.load(Ordering::Relaxed))
        })
    }

    /// For the report; `removed_ns` is the time of its removal, none if it still exists.
    pub fn report(&self, removed_ns: Option<u64>) -> WindowReport {
        let removed = removed_ns.is_some();
        let [bytes_read, bytes_written, faults] = self.counters();
        WindowReport {
            liobn: self.liobn,
            bus_address: self.base,
            size: self.size,
            page_shift: self.page_shift,
            dynamic: self.kind == Kind::Dynamic,
            vio: self.kind == Kind::Vio,
            order: self.order,
            created_ns: self.created_ns,
            removed_ns,
            entries_now: if removed { 0 } else { self.table.mapped() },
            entries_at_removal: if removed { self.table.mapped() } else { 0 },
            entries_peak: self.table.peak(),
            bytes_read,
            bytes_written,
            faults,
        }
    }
}

/// Lowest bus address from `from` for `size` bytes (a power of two), aligned to them, clear of every range in `taken`.
pub fn place(from: u64, size: u64, taken: &[Reserved]) -> Option<u64> {
    let align_up = |a: u64| a.checked_next_multiple_of(size);
    let mut at = align_up(from)?;
    // Each round leaves at least one range behind for good.
    for _ in 0..=taken.len() {
        let last = at.checked_add(size - 1)?;
        let hit = taken
            .iter()
            .find(|r| r.base <= last && at <= r.base.saturating_add(r.size - 1));
        match hit {
            None => return Some(at),
            Some(r) => at = align_up(r.base.checked_add(r.size)?)?,
        }
    }
    None
}
