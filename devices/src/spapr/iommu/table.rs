//! A sparse TCE table: its cost is what is mapped in it, not its size.
//!
//! A table is a tree of chunks ([`super::store`]). A leaf has entries, another chunk the numbers of chunks below it; a chunk exists while
//! one of its words is not zero. The depth follows from the table's size: a table of 2^51 entries has six levels.

use std::sync::atomic::Ordering;

use super::spec::Tce;
use super::store::{CHUNK, ChunkId, Chunks, Store};

/// Bits of an entry's number that one level decodes.
const BITS: u32 = CHUNK.trailing_zeros();
/// Levels of the deepest table.
pub const MAX_LEVELS: u32 = u64::BITS.div_ceil(BITS);

/// The caps of [`super::store::Budget`] do not allow the chunks that a change needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TCE table has reached its cap")]
pub struct TableFull;

/// Where an entry's word is in a chunk of a level, counted from the leaves.
#[inline]
fn index(entry: u64, level: u32) -> usize {
    (entry >> (level * BITS)) as usize % CHUNK
}

/// The tree of a table, for who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Its top; none while nothing is set.
    pub root: ChunkId,
    /// Bits of an entry's number below those that the top decodes.
    pub top_shift: u32,
}

impl Tree {
    /// 1 ..= [`MAX_LEVELS`].
    fn levels(self) -> u32 {
        self.top_shift / BITS + 1
    }

    /// The chunk of `level`, counted from the leaves, on the way to an entry; none if there is none.
    #[inline]
    fn chunk(self, store: &Store, entry: u64, level: u32) -> ChunkId {
        let mut chunk = self.root;
        for above in (level + 1..self.levels()).rev() {
            chunk = ChunkId(store.word(chunk, index(entry, above)) as u32);
        }
        chunk
    }

    /// The leaf of an entry, and the entry's place in it.
    #[inline(always)]
    pub fn leaf(self, store: &Store, entry: u64) -> (ChunkId, usize) {
        let mut chunk = self.root;
        let mut shift = self.top_shift;
        while shift != 0 {
            chunk = ChunkId(store.word(chunk, (entry >> shift) as usize % CHUNK) as u32);
            shift = shift.saturating_sub(BITS);
        }
        (chunk, index(entry, 0))
    }

    /// An entry; zero if it was never set. It has to be inside the table.
    #[inline(always)]
    pub fn get(self, store: &Store, entry: u64) -> Tce {
        let (leaf, at) = self.leaf(store, entry);
        Tce(store.word(leaf, at))
    }
}

/// TCEs of one window.
#[derive(Debug)]
pub struct TceTable {
    len: u64,
    tree: Tree,
    chunks: usize,
    mapped: u64,
    peak: u64,
}

/// The part of a change that falls in one leaf.
struct Segment {
    first: u64,
    in_list: usize,
    len: usize,
}

fn segments(first: u64, n: usize) -> impl Iterator<Item = Segment> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= n {
            return None;
        }
        let first = first + done as u64;
        let segment = Segment {
            first,
            in_list: done,
            len: (CHUNK - index(first, 0)).min(n - done),
        };
        done += segment.len;
        Some(segment)
    })
}

/// Counts the chunks on the ways to entries, which come in order.
#[derive(Debug)]
pub struct ChunkCount {
    levels: u32,
    /// The last chunk counted of each level, by the bits of its entries that are the same.
    last: [Option<u64>; MAX_LEVELS as usize],
    chunks: usize,
}

impl ChunkCount {
    /// None yet, for a tree like this one.
    pub fn new(tree: Tree) -> Self {
        ChunkCount {
            levels: tree.levels(),
            last: [None; MAX_LEVELS as usize],
            chunks: 0,
        }
    }

    /// Adds the chunks of the levels that `counts` on the way to an entry, but for those that are counted already.
    pub fn add(&mut self, entry: u64, counts: impl Fn(u32) -> bool) {
        for (level, last) in (0..self.levels).zip(&mut self.last) {
            let number = entry.checked_shr((level + 1) * BITS).unwrap_or(0);
            if *last != Some(number) && counts(level) {
                *last = Some(number);
                self.chunks += 1;
            }
        }
    }

    /// How many there are.
    pub fn chunks(&self) -> usize {
        self.chunks
    }
}

impl TceTable {
    /// An empty table of `len` entries, at least 1. Uses no chunk.
    pub fn new(len: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        TceTable {
            len,
            tree: Tree {
                root: ChunkId::NONE,
                top_shift: bits.saturating_sub(1) / BITS * BITS,
            },
            chunks: 0,
            mapped: 0,
            peak: 0,
        }
    }

    /// Entries that the table has room for.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// What a reader needs.
    pub fn tree(&self) -> Tree {
        self.tree
    }

    /// Entries that allow any access.
    pub fn mapped(&self) -> u64 {
        self.mapped
    }

    /// The most that [`TceTable::mapped`] has been.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Chunks in use.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Every entry that is not zero, in order.
    pub fn entries<'a>(&self, store: &'a Store) -> impl Iterator<Item = (u64, Tce)> + use<'a> {
        let (tree, len) = (self.tree, self.len);
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < len {
                let absent = (0..tree.levels())
                    .rev()
                    .find(|level| tree.chunk(store, at, *level) == ChunkId::NONE);
                if let Some(level) = absent {
                    at = after(at, (level + 1) * BITS)?;
                    continue;
                }
                let entry = at;
                at += 1;
                let tce = tree.get(store, entry);
                if tce.0 != 0 {
                    return Some((entry, tce));
                }
            }
            None
        })
    }

    /// Sets an entry. True if DMA in flight may still use another one that was there before.
    ///
    /// # Errors
    /// [`TableFull`]; nothing has changed then.
    #[inline]
    pub fn set(&mut self, entry: u64, tce: u64, chunks: &mut Chunks) -> Result<bool, TableFull> {
        let (leaf, at) = self.tree.leaf(chunks.store(), entry);
        if leaf == ChunkId::NONE {
            return self.write(entry, &[tce], chunks);
        }
        let old = chunks.set(leaf, at, tce);
        self.count(Tce(tce).is_mapped().into(), Tce(old).is_mapped().into());
        self.peak = self.peak.max(self.mapped);
        if chunks.used(leaf) == 0 {
            self.release(entry, chunks);
        }
        Ok(Tce(old).is_mapped() && old != tce)
    }

    fn count(&mut self, mapped: u64, unmapped: u64) {
        self.mapped = self.mapped.saturating_add(mapped).saturating_sub(unmapped);
    }

    /// Sets entries `first ..` to `tces`. True if DMA in flight may still use one that was there before.
    ///
    /// # Errors
    /// [`TableFull`]; nothing has changed then.
    pub fn write(
        &mut self,
        first: u64,
        tces: &[u64],
        chunks: &mut Chunks,
    ) -> Result<bool, TableFull> {
        self.apply(first, tces.len(), |i| tces[i], chunks)
    }

    /// Sets `n` entries from `first` to `tce`. True if DMA in flight may still use one that was there before.
    ///
    /// # Errors
    /// [`TableFull`]; nothing has changed then.
    pub fn fill(
        &mut self,
        first: u64,
        n: usize,
        tce: u64,
        chunks: &mut Chunks,
    ) -> Result<bool, TableFull> {
        self.apply(first, n, |_| tce, chunks)
    }

    fn apply(
        &mut self,
        first: u64,
        n: usize,
        value: impl Fn(usize) -> u64,
        chunks: &mut Chunks,
    ) -> Result<bool, TableFull> {
        debug_assert!(
            first
                .checked_add(n as u64)
                .is_some_and(|end| end <= self.len)
        );
        let sets = |s: &Segment| (s.in_list..s.in_list + s.len).any(|i| value(i) != 0);
        let missing = self.missing(segments(first, n).filter(sets), chunks.store());
        if missing > 0 && !chunks.has_room(self.chunks, missing) {
            return Err(TableFull);
        }
        let mut replaced = false;
        for s in segments(first, n) {
            let (mut leaf, _) = self.tree.leaf(chunks.store(), s.first);
            if leaf == ChunkId::NONE {
                if !sets(&s) {
                    continue;
                }
                leaf = self.make_leaf(s.first, chunks);
            }
            replaced |= self.set_segment(leaf, &s, &value, chunks);
            if chunks.used(leaf) == 0 {
                self.release(s.first, chunks);
            }
        }
        self.peak = self.peak.max(self.mapped);
        Ok(replaced)
    }

    /// Chunks that have to be made before all of these segments have leaves.
    fn missing(&self, segments: impl Iterator<Item = Segment>, store: &Store) -> usize {
        let mut count = ChunkCount::new(self.tree);
        for s in segments {
            if self.tree.leaf(store, s.first).0 == ChunkId::NONE {
                count.add(s.first, |level| {
                    self.tree.chunk(store, s.first, level) == ChunkId::NONE
                });
            }
        }
        count.chunks()
    }

    fn take(&mut self, chunks: &mut Chunks) -> ChunkId {
        let chunk = chunks.take();
        self.chunks += usize::from(chunk != ChunkId::NONE);
        chunk
    }

    /// Makes the chunks that are missing on the way to an entry's leaf.
    fn make_leaf(&mut self, entry: u64, chunks: &mut Chunks) -> ChunkId {
        if self.tree.root == ChunkId::NONE {
            self.tree.root = self.take(chunks);
        }
        let mut chunk = self.tree.root;
        for level in (1..self.tree.levels()).rev() {
            let at = index(entry, level);
            let mut below = ChunkId(chunks.store().word(chunk, at) as u32);
            if below == ChunkId::NONE {
                below = self.take(chunks);
                chunks.set(chunk, at, below.0.into());
            }
            chunk = below;
        }
        chunk
    }

    /// Sets the entries of a segment. True if any allowed access before.
    fn set_segment(
        &mut self,
        leaf: ChunkId,
        s: &Segment,
        value: &impl Fn(usize) -> u64,
        chunks: &mut Chunks,
    ) -> bool {
        if leaf == ChunkId::NONE {
            return false;
        }
        let at = index(s.first, 0);
        let words = chunks.store().chunk(leaf).get(at..at + s.len);
        let (mut set, mut cleared, mut mapped, mut unmapped) = (0u16, 0u16, 0u64, 0u64);
        for (i, word) in words.unwrap_or_default().iter().enumerate() {
            let (old, new) = (word.load(Ordering::Relaxed), value(s.in_list + i));
            word.store(new, Ordering::Relaxed);
            set += u16::from(new != 0);
            cleared += u16::from(old != 0);
            mapped += u64::from(Tce(new).is_mapped());
            unmapped += u64::from(Tce(old).is_mapped());
        }
        chunks.count(leaf, set, cleared);
        self.count(mapped, unmapped);
        unmapped > 0
    }

    /// Gives back the leaf of an entry, which holds zeros, and what was above it only for its sake.
    fn release(&mut self, entry: u64, chunks: &mut Chunks) {
        for level in 0..self.tree.levels() {
            let chunk = self.tree.chunk(chunks.store(), entry, level);
            if chunks.used(chunk) != 0 {
                return;
            }
            if level + 1 == self.tree.levels() {
                self.tree.root = ChunkId::NONE;
            } else {
                let above = self.tree.chunk(chunks.store(), entry, level + 1);
                chunks.set(above, index(entry, level + 1), 0);
            }
            chunks.give_back(chunk);
            self.chunks -= 1;
        }
    }

    /// Sets [`TceTable::peak`] to an earlier one, if it was higher.
    pub(super) fn restore_peak(&mut self, peak: u64) {
        self.peak = self.peak.max(peak);
    }

    /// Makes every entry zero and gives the chunks back.
    pub fn clear(&mut self, chunks: &mut Chunks) {
        if self.tree.root != ChunkId::NONE {
            give_back_all(self.tree.root, self.tree.levels() - 1, chunks);
        }
        *self = TceTable {
            peak: self.peak,
            ..TceTable::new(self.len)
        };
    }
}

/// The entry after those that share the bits above the lowest `bits` with `entry`.
fn after(entry: u64, bits: u32) -> Option<u64> {
    let low = 1u64.checked_shl(bits)? - 1;
    (entry | low).checked_add(1)
}

/// Empties a chunk of a level, and those below it, and gives them back.
fn give_back_all(chunk: ChunkId, level: u32, chunks: &mut Chunks) {
    for at in 0..CHUNK {
        let word = chunks.store().word(chunk, at);
        if word != 0 {
            if level > 0 {
                give_back_all(ChunkId(word as u32), level - 1, chunks);
            }
            chunks.set(chunk, at, 0);
        }
    }
    chunks.give_back(chunk);
}
