//! A sparse TCE table: its cost is what is mapped in it, not its size.
//!
//! Entries live in chunks of [`CHUNK`]; a chunk exists while one of its entries is not zero. A hint remembers the last chunk found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use super::spec::Tce;

/// Entries in a chunk.
pub const CHUNK: usize = 512;
/// Empty chunks that a table keeps for its next mapping.
const SPARE: usize = 4;
const CHUNK_U64: u64 = CHUNK as u64;

/// Chunks that tables may hold: a guest that spreads its mappings thin gets H_NOT_ENOUGH_RESOURCES instead of the host's memory.
///
/// A table may map all RAM twice with 4 KiB pages, and 8192 chunks (32 MiB) more; all tables of a unit together four times that.
#[derive(Clone, Copy, Debug)]
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

/// The caps of [`Budget`] do not allow the chunks that a change needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TCE table has reached its cap")]
pub struct TableFull;

#[derive(Debug)]
struct Chunk {
    key: u64,
    used: usize,
    tces: [u64; CHUNK],
}

/// TCEs of one window.
#[derive(Debug)]
pub struct TceTable {
    len: u64,
    slots: Vec<Option<Box<Chunk>>>,
    free: Vec<u32>,
    spare: Vec<Box<Chunk>>,
    index: BTreeMap<u64, u32>,
    hint: AtomicU32,
    mapped: u64,
    peak: u64,
}

/// The part of a change that falls in one chunk.
struct Segment {
    key: u64,
    in_chunk: usize,
    in_list: usize,
    len: usize,
}

fn segments(first: u64, n: usize) -> impl Iterator<Item = Segment> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= n {
            return None;
        }
        let entry = first + done as u64;
        let in_chunk = (entry % CHUNK_U64) as usize;
        let len = (CHUNK - in_chunk).min(n - done);
        let segment = Segment {
            key: entry / CHUNK_U64,
            in_chunk,
            in_list: done,
            len,
        };
        done += len;
        Some(segment)
    })
}

impl TceTable {
    /// An empty table of `len` entries. Allocates nothing.
    pub fn new(len: u64) -> Self {
        TceTable {
            len,
            slots: Vec::new(),
            free: Vec::new(),
            spare: Vec::new(),
            index: BTreeMap::new(),
            hint: AtomicU32::new(0),
            mapped: 0,
            peak: 0,
        }
    }

    /// Entries that the table has room for.
    pub fn size(&self) -> u64 {
        self.len
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
        self.index.len()
    }

    /// An entry; zero if it was never set or lies outside.
    pub fn get(&self, entry: u64) -> Tce {
        let key = entry / CHUNK_U64;
        Tce(self
            .chunk(key)
            .map_or(0, |c| c.tces[(entry % CHUNK_U64) as usize]))
    }

    /// Every entry that is not zero, in order.
    pub fn entries(&self) -> impl Iterator<Item = (u64, Tce)> {
        self.index.keys().flat_map(move |&key| {
            let tces = self.chunk(key).map(|c| &c.tces[..]).unwrap_or_default();
            tces.iter()
                .enumerate()
                .filter(|(_, t)| **t != 0)
                .map(move |(i, t)| (key * CHUNK_U64 + i as u64, Tce(*t)))
        })
    }

    fn chunk(&self, key: u64) -> Option<&Chunk> {
        let hint = self.hint.load(Ordering::Relaxed);
        if let Some(Some(c)) = self.slots.get(hint as usize)
            && c.key == key
        {
            return Some(c);
        }
        let slot = *self.index.get(&key)?;
        self.hint.store(slot, Ordering::Relaxed);
        self.slots.get(slot as usize)?.as_deref()
    }

    /// Sets entries `first ..` to `tces`.
    ///
    /// # Errors
    /// [`TableFull`]; nothing has changed then.
    pub fn write(
        &mut self,
        first: u64,
        tces: &[u64],
        budget: &mut Budget,
    ) -> Result<(), TableFull> {
        self.apply(first, tces.len(), |i| tces[i], budget)
    }

    /// Sets `n` entries from `first` to `tce`.
    ///
    /// # Errors
    /// [`TableFull`]; nothing has changed then.
    pub fn fill(
        &mut self,
        first: u64,
        n: usize,
        tce: u64,
        budget: &mut Budget,
    ) -> Result<(), TableFull> {
        self.apply(first, n, |_| tce, budget)
    }

    fn apply(
        &mut self,
        first: u64,
        n: usize,
        value: impl Fn(usize) -> u64,
        budget: &mut Budget,
    ) -> Result<(), TableFull> {
        debug_assert!(
            first
                .checked_add(n as u64)
                .is_some_and(|end| end <= self.len)
        );
        let sets = |s: &Segment| (s.in_list..s.in_list + s.len).any(|i| value(i) != 0);
        let missing = segments(first, n)
            .filter(|s| self.chunk(s.key).is_none() && sets(s))
            .count();
        if missing > 0
            && (self.chunks() + missing > budget.per_table
                || budget.used + missing > budget.per_unit)
        {
            return Err(TableFull);
        }
        for s in segments(first, n) {
            if self.chunk(s.key).is_none() {
                if !sets(&s) {
                    continue;
                }
                self.allocate(s.key, budget);
            }
            let Some(&slot) = self.index.get(&s.key) else {
                continue;
            };
            let Some(Some(c)) = self.slots.get_mut(slot as usize) else {
                continue;
            };
            for (i, tce) in c.tces[s.in_chunk..s.in_chunk + s.len]
                .iter_mut()
                .enumerate()
            {
                let new = value(s.in_list + i);
                c.used = c.used - usize::from(*tce != 0) + usize::from(new != 0);
                self.mapped = self.mapped - u64::from(Tce(*tce).is_mapped())
                    + u64::from(Tce(new).is_mapped());
                *tce = new;
            }
            if c.used == 0 {
                self.release(s.key, budget);
            }
        }
        self.peak = self.peak.max(self.mapped);
        Ok(())
    }

    fn allocate(&mut self, key: u64, budget: &mut Budget) {
        let mut chunk = self.spare.pop().unwrap_or_else(|| {
            Box::new(Chunk {
                key,
                used: 0,
                tces: [0; CHUNK],
            })
        });
        chunk.key = key;
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(chunk);
            slot
        } else {
            self.slots.push(Some(chunk));
            (self.slots.len() - 1) as u32
        };
        self.index.insert(key, slot);
        budget.used += 1;
    }

    fn release(&mut self, key: u64, budget: &mut Budget) {
        let Some(slot) = self.index.remove(&key) else {
            return;
        };
        if let Some(chunk) = self.slots.get_mut(slot as usize).and_then(Option::take)
            && self.spare.len() < SPARE
        {
            self.spare.push(chunk);
        }
        self.free.push(slot);
        budget.used -= 1;
    }

    /// Sets [`TceTable::peak`] to an earlier one, if it was higher.
    pub(super) fn restore_peak(&mut self, peak: u64) {
        self.peak = self.peak.max(peak);
    }

    /// Makes every entry zero and gives the chunks back.
    pub fn clear(&mut self, budget: &mut Budget) {
        budget.used -= self.chunks();
        let peak = self.peak;
        *self = TceTable::new(self.len);
        self.peak = peak;
    }
}
