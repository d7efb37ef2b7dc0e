//! A DMA window: a range of bus addresses with a TCE table behind it, and where to place a new one.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::report::WindowReport;
use super::rules::Reserved;
use super::spec::{Liobn, Tce};
use super::table::TceTable;
use crate::dma::{Access, FaultReason, Gpa, Piece};

/// IOMMU pages that one translation joins at most.
const MAX_RUN: u32 = 256;

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
    /// The entries.
    pub table: TceTable,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    faults: AtomicU64,
}

impl Window {
    /// An empty window.
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
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// Number of the entry whose page begins at `ioba`, if it lies in the window.
    pub fn entry_at(&self, ioba: u64) -> Option<u64> {
        let offset = ioba.checked_sub(self.base)?;
        let entry = offset >> self.page_shift;
        let aligned = offset & ((1 << self.page_shift) - 1) == 0;
        (aligned && entry < self.table.size()).then_some(entry)
    }

    /// Translates a prefix of `len` bytes at `offset` bytes into the window; `offset` must be inside.
    ///
    /// # Errors
    /// What the first entry does not allow.
    pub fn translate(&self, offset: u64, len: u64, access: Access) -> Result<Piece, FaultReason> {
        let page = 1u64 << self.page_shift;
        let entry = offset >> self.page_shift;
        let tce = self.table.get(entry);
        if !tce.permits(access) {
            self.faults.fetch_add(1, Ordering::Relaxed);
            return Err(match access {
                _ if !tce.is_mapped() => TCE_INVALID,
                Access::Read => TCE_NO_READ,
                Access::Write => TCE_NO_WRITE,
            });
        }
        let in_page = offset & (page - 1);
        let gpa = tce.address() | in_page;
        let want = len.clamp(1, (self.size - offset).max(1));
        let mut have = page - in_page;
        for run in 1..u64::from(MAX_RUN) {
            if have >= want
                || !self.joins(self.table.get(entry + run), gpa.wrapping_add(have), access)
            {
                break;
            }
            have += page;
        }
        Ok(Piece {
            gpa: Gpa(gpa),
            len: have.min(want),
        })
    }

    fn joins(&self, tce: Tce, gpa: u64, access: Access) -> bool {
        tce.permits(access) && tce.address() == gpa
    }

    /// Sets the counters to earlier ones.
    pub(super) fn restore_counters(&mut self, read: u64, written: u64, faults: u64) {
        self.bytes_read = AtomicU64::new(read);
        self.bytes_written = AtomicU64::new(written);
        self.faults = AtomicU64::new(faults);
    }

    /// Counts bytes that moved.
    pub fn moved(&self, access: Access, bytes: u64) {
        let counter = match access {
            Access::Read => &self.bytes_read,
            Access::Write => &self.bytes_written,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// For the report; `removed_ns` is the time of its removal, none if it still exists.
    pub fn report(&self, removed_ns: Option<u64>) -> WindowReport {
        let removed = removed_ns.is_some();
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
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
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
