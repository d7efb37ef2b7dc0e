//! A partitionable endpoint as translations see it: windows in words that are read without a lock.
//!
//! The owner keeps [`super::window::Window`]s and shows each in a [`Slot`] while it exists. What is read here may be torn until
//! [`super::gate::Gate::try_read`] says that it belongs together, so nothing here relies on it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rules::MAX_WINDOWS;
use super::spec::Tce;
use super::store::{CHUNK, ChunkId, Store};
use super::table::Tree;
use super::window::{TCE_INVALID, TCE_NO_READ, TCE_NO_WRITE};
use super::{NO_WINDOW, PeConfig};
use crate::dma::{Access, DmaRequest, FaultReason, Gpa, Piece, SourceId};
use crate::spapr::eeh::PeHealth;

/// IOMMU pages that one translation joins at most.
const MAX_RUN: u64 = 256;

const TOP_SHIFT: u32 = 8;
const ROOT_SHIFT: u32 = 32;

/// Bytes and faults of a window.
#[derive(Debug, Default)]
pub struct WindowCounters {
    /// Bytes that devices read.
    pub read: AtomicU64,
    /// Bytes that devices wrote.
    pub written: AtomicU64,
    /// Requests that its entries refused.
    pub faults: AtomicU64,
}

/// A place for a window.
#[derive(Debug, Default)]
pub struct Slot {
    base: AtomicU64,
    /// 0: no window is here.
    size: AtomicU64,
    /// Page shift (7:0), the table's [`Tree::top_shift`] (15:8), its root (63:32).
    table: AtomicU64,
    /// Of the window that is here.
    pub counters: WindowCounters,
}

/// What a slot says.
#[derive(Clone, Copy, Debug)]
struct Shown {
    size: u64,
    page_shift: u32,
    tree: Tree,
}

impl Slot {
    /// Shows a window from now on.
    pub fn show(&self, base: u64, size: u64) {
        for counter in [
            &self.counters.read,
            &self.counters.written,
            &self.counters.faults,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.base.store(base, Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
    }

    /// Shows the window's table as it is now.
    pub fn show_table(&self, page_shift: u32, tree: Tree) {
        let word = u64::from(tree.root.0) << ROOT_SHIFT
            | u64::from(tree.top_shift) << TOP_SHIFT
            | u64::from(page_shift);
        self.table.store(word, Ordering::Relaxed);
    }

    /// Shows no window any more.
    pub fn hide(&self) {
        self.size.store(0, Ordering::Relaxed);
        self.table.store(0, Ordering::Relaxed);
    }

    /// True if it shows this window.
    #[cfg(any(test, feature = "testing"))]
    pub fn shows(&self, base: u64, size: u64, page_shift: u32, tree: Tree) -> bool {
        let s = self.shown();
        let place = (self.base.load(Ordering::Relaxed), s.size, s.page_shift);
        place == (base, size, page_shift) && s.tree == tree
    }

    fn is_free(&self) -> bool {
        self.size.load(Ordering::Relaxed) == 0
    }

    fn shown(&self) -> Shown {
        let table = self.table.load(Ordering::Relaxed);
        Shown {
            size: self.size.load(Ordering::Relaxed),
            page_shift: table as u32 & 0x3f,
            tree: Tree {
                root: ChunkId((table >> ROOT_SHIFT) as u32),
                top_shift: (table >> TOP_SHIFT) as u32 & 0x3f,
            },
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Endpoint {
    /// As the platform set it up.
    pub config: PeConfig,
    /// Stops its DMA after an error, if someone watches it.
    pub health: OnceLock<PeHealth>,
    slots: [Slot; MAX_WINDOWS as usize],
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The window whose entries refuse it, by its slot.
    pub window: Option<usize>,
    /// In words.
    pub reason: FaultReason,
}

impl Endpoint {
    /// Without windows.
    pub fn new(config: PeConfig) -> Self {
        Endpoint {
            config,
            health: OnceLock::new(),
            slots: std::array::from_fn(|_| Slot::default()),
        }
    }

    /// True if the function belongs to it.
    #[inline]
    pub fn has(&self, source: SourceId) -> bool {
        self.config.members.contains(source)
    }

    /// A slot for a new window: for the owner only.
    pub fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(Slot::is_free)
    }

    /// How many windows are shown.
    #[cfg(any(test, feature = "testing"))]
    pub fn shown(&self) -> usize {
        self.slots.iter().filter(|s| !s.is_free()).count()
    }

    /// A slot by its number.
    pub fn slot(&self, number: usize) -> Option<&Slot> {
        self.slots.get(number)
    }

    /// A DMA error.
    pub fn error(&self) {
        if let Some(health) = self.health.get() {
            health.error();
        }
    }

    /// The window that holds `iova`: its slot, by number too, and the offset in it.
    #[inline(always)]
    pub fn find(&self, iova: u64) -> Option<(usize, &Slot, u64)> {
        for (number, slot) in self.slots.iter().enumerate() {
            let offset = iova.wrapping_sub(slot.base.load(Ordering::Relaxed));
            if offset < slot.size.load(Ordering::Relaxed) {
                return Some((number, slot, offset));
            }
        }
        None
    }

    /// Translates a request that lies in one page and is permitted.
    #[inline(always)]
    pub fn translate_in_page(&self, store: &Store, request: &DmaRequest) -> Option<Piece> {
        let (_, slot, offset) = self.find(request.iova.0)?;
        let shown = slot.shown();
        let tce = shown.tree.get(store, offset >> shown.page_shift);
        let page = 1u64 << shown.page_shift;
        let in_page = offset & (page - 1);
        let len = request.len.max(1);
        if !tce.permits(request.access) || len > page - in_page {
            return None;
        }
        Some(Piece {
            gpa: Gpa(tce.address() | in_page),
            len,
        })
    }

    /// Translates a prefix of a request.
    ///
    /// # Errors
    /// At its first byte.
    pub fn translate(&self, store: &Store, request: &DmaRequest) -> Result<Piece, Refused> {
        let found = self.find(request.iova.0);
        let Some((number, slot, offset)) = found else {
            return Err(Refused {
                window: None,
                reason: NO_WINDOW,
            });
        };
        let (shown, access) = (slot.shown(), request.access);
        let entry = offset >> shown.page_shift;
        let (leaf, at) = shown.tree.leaf(store, entry);
        let tce = Tce(store.word(leaf, at));
        if !tce.permits(access) {
            return Err(Refused {
                window: Some(number),
                reason: why(tce, access),
            });
        }
        let page = 1u64 << shown.page_shift;
        let in_page = offset & (page - 1);
        let want = request.len.clamp(1, shown.size.wrapping_sub(offset).max(1));
        let mut len = page - in_page;
        if len < want {
            let want = want.saturating_add(in_page);
            len = shown.run(store, (leaf, at), entry, tce, access, want) - in_page;
        }
        Ok(Piece {
            gpa: Gpa(tce.address() | in_page),
            len: len.min(want),
        })
    }
}

/// Why an entry does not permit an access.
#[cold]
fn why(tce: Tce, access: Access) -> FaultReason {
    match access {
        _ if !tce.is_mapped() => TCE_INVALID,
        Access::Read => TCE_NO_READ,
        Access::Write => TCE_NO_WRITE,
    }
}

impl Shown {
    /// Bytes from the start of a page whose entry is known, up to about `want`, that lie in a row.
    #[inline(never)]
    fn run(
        self,
        store: &Store,
        (mut leaf, mut at): (ChunkId, usize),
        entry: u64,
        tce: Tce,
        access: Access,
        want: u64,
    ) -> u64 {
        let page = 1u64 << self.page_shift;
        let (mut have, mut run) = (page, 1);
        while have < want && run < MAX_RUN {
            at += 1;
            if at == CHUNK {
                (leaf, at) = self.tree.leaf(store, entry.wrapping_add(run));
            }
            let next = Tce(store.word(leaf, at));
            if !next.permits(access) || next.address() != tce.address().wrapping_add(have) {
                break;
            }
            have = have.saturating_add(page);
            run += 1;
        }
        have
    }
}
