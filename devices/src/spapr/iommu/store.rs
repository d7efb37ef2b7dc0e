//! Storage of all TCE tables of a unit, and how much of it they may use.
//!
//! Storage is chunks of [`CHUNK`] words. It is reserved at once for the most that tables may use, and the host gives memory when a chunk
//! is used for the first time; so a word has one address for good, and a translation finds it without a lock. A chunk that is in no
//! table holds zeros.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromZeros;

/// Words in a chunk.
pub const CHUNK: usize = 512;
const CHUNK_U64: u64 = CHUNK as u64;

/// Chunks that tables may hold: a guest that spreads its mappings thin gets H_NOT_ENOUGH_RESOURCES instead of the host's memory.
///
/// A table may map all RAM twice with 4 KiB pages, and 8192 chunks (32 MiB) more; all tables of a unit together four times that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most chunks of one table.
    pub per_table: usize,
    /// Most chunks of all tables.
    pub per_unit: usize,
    /// Chunks in use.
    pub used: usize,
}

impl Budget {
    /// The caps for a partition with `ram_size` bytes of RAM.
    pub fn for_ram(ram_size: u64) -> Self {
        let dense = usize::try_from(ram_size.div_ceil(4096 * CHUNK_U64)).unwrap_or(usize::MAX / 16);
        let per_table = dense.saturating_mul(2).saturating_add(8192);
        Budget {
            per_table,
            per_unit: per_table.saturating_mul(4),
            used: 0,
        }
    }
}

/// Number of a chunk; [`ChunkId::NONE`] is none, and reads as zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkId(pub u32);

impl ChunkId {
    /// No chunk.
    pub const NONE: ChunkId = ChunkId(0);
}

/// The words, for who reads them.
#[derive(Debug)]
pub struct Store {
    words: Box<[AtomicU64]>,
}

impl Store {
    /// For `chunks` chunks, or fewer if the host cannot reserve so much.
    fn new(chunks: usize) -> Self {
        let mut chunks = chunks.clamp(1, u32::MAX as usize - 1);
        loop {
            // One more: that of `ChunkId::NONE`.
            if let Ok(words) = <[AtomicU64]>::new_box_zeroed_with_elems((chunks + 1) * CHUNK) {
                return Store { words };
            }
            chunks /= 2;
        }
    }

    /// Chunks, without that of [`ChunkId::NONE`].
    fn capacity(&self) -> usize {
        self.words.len() / CHUNK - 1
    }

    /// A word of a chunk; 0 if there is none. `index` is below [`CHUNK`].
    #[inline]
    pub fn word(&self, chunk: ChunkId, index: usize) -> u64 {
        let word = self.words.get(chunk.0 as usize * CHUNK + index);
        word.map_or(0, |w| w.load(Ordering::Relaxed))
    }

    /// The words of a chunk.
    #[inline]
    pub fn chunk(&self, chunk: ChunkId) -> &[AtomicU64] {
        let first = chunk.0 as usize * CHUNK;
        self.words.get(first..first + CHUNK).unwrap_or_default()
    }
}

/// The storage, for the one who changes it: which chunks are free, and how much is in use.
#[derive(Debug)]
pub struct Chunks {
    store: Arc<Store>,
    /// Words of each chunk that are not zero.
    used: Vec<u16>,
    /// The last chunk given back. Its first word has the one before it, and so on.
    free: ChunkId,
    /// Chunks from here on were never used.
    fresh: u32,
    /// Caps, and the chunks in use.
    pub budget: Budget,
}

impl Chunks {
    /// Storage for a partition that will never have more than `most_ram` bytes of RAM, and has `ram` now.
    pub fn new(ram: u64, most_ram: u64) -> Self {
        let store = Store::new(Budget::for_ram(most_ram.max(ram)).per_unit);
        let mut chunks = Chunks {
            used: vec![0; store.capacity() + 1],
            store: Arc::new(store),
            free: ChunkId::NONE,
            fresh: 1,
            budget: Budget::for_ram(ram),
        };
        chunks.set_ram(ram);
        chunks
    }

    /// The words.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The caps for `ram` bytes of RAM.
    pub fn caps(&self, ram: u64) -> Budget {
        let budget = Budget::for_ram(ram);
        Budget {
            per_unit: budget.per_unit.min(self.store.capacity()),
            used: self.budget.used,
            ..budget
        }
    }

    /// Sets the caps for `ram` bytes of RAM.
    pub fn set_ram(&mut self, ram: u64) {
        self.budget = self.caps(ram);
    }

    /// True if a table with `have` chunks may get `more`.
    pub fn has_room(&self, have: usize, more: usize) -> bool {
        have.saturating_add(more) <= self.budget.per_table
            && self.budget.used.saturating_add(more) <= self.budget.per_unit
    }

    /// A chunk of zeros; [`ChunkId::NONE`] if there is none, which [`Chunks::has_room`] says before.
    pub fn take(&mut self) -> ChunkId {
        let chunk = if self.free != ChunkId::NONE {
            let chunk = self.free;
            if let Some(link) = self.store.chunk(chunk).first() {
                self.free = ChunkId(link.load(Ordering::Relaxed) as u32);
                link.store(0, Ordering::Relaxed);
            }
            chunk
        } else if (self.fresh as usize) < self.used.len() {
            self.fresh += 1;
            ChunkId(self.fresh - 1)
        } else {
            return ChunkId::NONE;
        };
        self.budget.used += 1;
        chunk
    }

    /// Takes back a chunk whose words are zeros.
    pub fn give_back(&mut self, chunk: ChunkId) {
        let Some(link) = self.store.chunk(chunk).first() else {
            return;
        };
        link.store(self.free.0.into(), Ordering::Relaxed);
        self.free = chunk;
        self.budget.used = self.budget.used.saturating_sub(1);
    }

    /// Words of a chunk that are not zero.
    #[inline]
    pub fn used(&self, chunk: ChunkId) -> u16 {
        self.used.get(chunk.0 as usize).copied().unwrap_or(0)
    }

    /// Adds to [`Chunks::used`] and takes from it, for words that the caller has set.
    #[inline]
    pub fn count(&mut self, chunk: ChunkId, added: u16, removed: u16) {
        if let Some(used) = self.used.get_mut(chunk.0 as usize) {
            *used = used.saturating_add(added).saturating_sub(removed);
        }
    }

    /// Sets a word of a chunk, and gives what it was. Nothing happens to [`ChunkId::NONE`].
    #[inline]
    pub fn set(&mut self, chunk: ChunkId, index: usize, value: u64) -> u64 {
        if chunk == ChunkId::NONE {
            return 0;
        }
        let Some(word) = self.store.chunk(chunk).get(index) else {
            return 0;
        };
        let old = word.load(Ordering::Relaxed);
        word.store(value, Ordering::Relaxed);
        self.count(chunk, u16::from(value != 0), u16::from(old != 0));
        old
    }
}
