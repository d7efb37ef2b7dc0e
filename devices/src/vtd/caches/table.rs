//! A set-associative cache that is read without locks.
//!
//! Each entry is a few atomic words under a sequence number: even when at rest, odd while being written. A reader that sees the number
//! change takes it for a miss. A fill is told the generation of the cache at the time its walk began, and drops the entry if an
//! invalidation has begun since.
//!
//! Why no invalidation misses a fill: both read-modify-write the generation, the fill after it has locked its line, the invalidation
//! before it looks at any. If the fill comes first, the invalidation sees the locked line, or what came of it; otherwise the fill sees
//! the new generation.

use super::sync::{AtomicU64, Ordering, WAYS, fence, pause};

/// Key and value words of an entry. A key is never all zero.
pub type Entry<const K: usize, const V: usize> = ([u64; K], [u64; V]);

/// One entry, as described above.
#[derive(Debug)]
pub struct Line<const K: usize, const V: usize> {
    sequence: AtomicU64,
    key: [AtomicU64; K],
    value: [AtomicU64; V],
}

impl<const K: usize, const V: usize> Default for Line<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const K: usize, const V: usize> Line<K, V> {
    /// An empty one.
    pub fn new() -> Self {
        Line {
            sequence: AtomicU64::new(0),
            key: std::array::from_fn(|_| AtomicU64::new(0)),
            value: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The value, if the key is this one and nobody writes.
    #[inline(always)]
    pub fn get(&self, key: &[u64; K]) -> Option<[u64; V]> {
        let before = self.sequence.load(Ordering::Acquire);
        if before & 1 != 0 {
            return None;
        }
        for (word, wanted) in self.key.iter().zip(key) {
            if word.load(Ordering::Relaxed) != *wanted {
                return None;
            }
        }
        let value = std::array::from_fn(|i| self.value[i].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        (self.sequence.load(Ordering::Relaxed) == before).then_some(value)
    }

    /// Replaces key and value. For who has locked the line.
    pub fn set(&self, key: &[u64; K], value: &[u64; V]) {
        for (word, v) in self.value.iter().zip(value) {
            word.store(*v, Ordering::Relaxed);
        }
        for (word, k) in self.key.iter().zip(key) {
            word.store(*k, Ordering::Relaxed);
        }
    }

    /// Key and value, while nobody writes.
    pub fn contents(&self) -> Entry<K, V> {
        let value = std::array::from_fn(|i| self.value[i].load(Ordering::Relaxed));
        (self.key(), value)
    }

    /// Makes the sequence odd, if nobody else has.
    pub fn try_lock(&self) -> Option<u64> {
        let s = self.sequence.load(Ordering::Relaxed);
        if s & 1 != 0 {
            return None;
        }
        self.sequence
            .compare_exchange(s, s + 1, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .inspect(|_| fence(Ordering::Release))
    }

    /// Waits until nobody else writes the line; that is a matter of a few stores.
    fn lock(&self) -> u64 {
        loop {
            if let Some(was) = self.try_lock() {
                return was;
            }
            pause();
        }
    }

    /// Gives the line back; `was` is what the lock returned.
    pub fn unlock(&self, was: u64) {
        self.sequence.store(was + 2, Ordering::Release);
    }

    fn key(&self) -> [u64; K] {
        std::array::from_fn(|i| self.key[i].load(Ordering::Relaxed))
    }

    fn clear(&self) {
        for word in &self.key {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// A cache of entries with `K` key words and `V` value words.
#[derive(Debug)]
pub struct Table<const K: usize, const V: usize> {
    lines: Box<[Line<K, V>]>,
    /// Sets minus 1.
    mask: usize,
    /// Invalidations so far.
    generation: AtomicU64,
    /// Which way a set replaces next.
    turn: AtomicU64,
}

impl<const K: usize, const V: usize> Table<K, V> {
    /// A cache of `size` entries: a power of two, or 0 for a cache that holds nothing.
    pub fn new(size: usize) -> Self {
        let sets = (size / WAYS).max(1);
        let lines = if size == 0 { 0 } else { sets * WAYS };
        Table {
            lines: (0..lines).map(|_| Line::new()).collect(),
            mask: sets - 1,
            generation: AtomicU64::new(0),
            turn: AtomicU64::new(0),
        }
    }

    /// True if the cache can hold anything.
    pub fn is_on(&self) -> bool {
        !self.lines.is_empty()
    }

    #[inline]
    fn set(&self, key: &[u64; K]) -> &[Line<K, V>] {
        let mut hash = 0u64;
        for word in key {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let first = ((hash >> 32) as usize & self.mask) * WAYS;
        self.lines.get(first..first + WAYS).unwrap_or(&[])
    }

    /// The value of a key.
    #[inline(always)]
    pub fn get(&self, key: &[u64; K]) -> Option<[u64; V]> {
        self.set(key).iter().find_map(|line| line.get(key))
    }

    /// The generation to hand to [`Table::fill`]; ask before the walk.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Keeps a value that was found by a walk begun at `generation`.
    pub fn fill(&self, key: [u64; K], value: [u64; V], generation: u64) {
        let set = self.set(&key);
        let turn = self.turn.load(Ordering::Relaxed);
        let same = set.iter().find(|line| line.key() == key);
        let free = || set.iter().find(|line| line.key() == [0; K]);
        let Some(line) = same.or_else(free).or_else(|| set.get(turn as usize % WAYS)) else {
            return;
        };
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        // Somebody else is writing this line: their entry is as good as this one.
        let Some(was) = line.try_lock() else {
            return;
        };
        line.set(&key, &value);
        if self.generation.fetch_add(0, Ordering::AcqRel) != generation {
            line.clear();
        }
        line.unlock(was);
    }

    /// Begins an invalidation: fills whose walk began before drop their entries from now on.
    pub fn begin_removal(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Removes the entries of which `matches` is true.
    pub fn remove(&self, mut matches: impl FnMut(&[u64; K], &[u64; V]) -> bool) {
        self.begin_removal();
        for line in &self.lines {
            Self::remove_line(line, &mut matches);
        }
    }

    /// Removes the entry of one key, if it is there.
    pub fn remove_key(&self, key: &[u64; K]) {
        self.begin_removal();
        for line in self.set(key) {
            Self::remove_line(line, &mut |k, _| k == key);
        }
    }

    fn remove_line(line: &Line<K, V>, matches: &mut impl FnMut(&[u64; K], &[u64; V]) -> bool) {
        // An empty line at rest stays empty unless a fill takes it, and that fill sees the new generation.
        if line.sequence.load(Ordering::Acquire) & 1 == 0 && line.key() == [0; K] {
            return;
        }
        let was = line.lock();
        let key = line.key();
        let value = std::array::from_fn(|i| line.value[i].load(Ordering::Relaxed));
        if key != [0; K] && matches(&key, &value) {
            line.clear();
        }
        line.unlock(was);
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.remove(|_, _| true);
    }

    /// Every entry, in the order of the lines. For snapshots, while nothing else uses the cache.
    pub fn entries(&self) -> Vec<Entry<K, V>> {
        self.lines
            .iter()
            .filter(|line| line.key() != [0; K])
            .map(Line::contents)
            .collect()
    }
}
