//! What the unit remembers between requests. VT-d 4.1 §6.2.
//!
//! Tags are the specification's: context cache by source-id; PASID cache by source-id and PASID; IOTLB and paging-structure cache by
//! domain (second stage), or domain and PASID (first stage, nested). Only valid entries are kept, or with CAP.CM also ones that are not
//! present.

pub mod front;
pub mod grace;
mod iotlb;
pub mod sync;
pub mod table;

use serde::{Deserialize, Serialize};

pub use self::iotlb::{Absent, Iotlb, PageKey};

use self::front::Front;
use self::sync::{AtomicU64, Ordering};
use self::table::{Entry, Table};
use super::config::CacheConfig;
use super::memory::TableMemory;
use super::spec::paging::{ADDRESS, shift};
use super::spec::{context::ContextEntry, mask};
use super::walk::Walker;
use crate::dma::SourceId;

const VALID: u64 = 1 << 63;
const KIND_SHIFT: u32 = 60;
const CLASS_SHIFT: u32 = 56;
const PASID_SHIFT: u32 = 16;

const SECOND: u64 = 1;
const FIRST: u64 = 2;
const NESTED: u64 = 3;

/// All caches of a unit.
#[derive(Debug)]
pub struct Caches {
    /// Answers of all that follow for DMA.
    pub front: Front,
    /// Context cache.
    pub context: ContextCache,
    /// PASID cache.
    pub pasid: PasidCache,
    /// IOTLB.
    pub iotlb: Iotlb,
    /// Paging-structure cache.
    pub paging: PagingCache,
    /// Interrupt entry cache.
    pub interrupt: InterruptCache,
}

/// What the caches hold, for a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheContents {
    context: Vec<Entry<1, 2>>,
    pasid: Vec<Entry<1, 3>>,
    iotlb: Vec<Entry<2, 1>>,
    paging: Vec<Entry<2, 1>>,
    interrupt: Vec<Entry<1, 2>>,
}

impl CacheContents {
    /// Entries of the context cache, PASID cache, IOTLB, paging-structure cache and interrupt entry cache.
    pub fn counts(&self) -> [usize; 5] {
        [
            self.context.len(),
            self.pasid.len(),
            self.iotlb.len(),
            self.paging.len(),
            self.interrupt.len(),
        ]
    }

    /// True if the unit could have cached the context and PASID entries: walks rely on that.
    pub(super) fn are_valid<M: TableMemory>(&self, walker: &Walker<'_, M>) -> bool {
        self.context.iter().all(|([key], words)| {
            walker.may_cache_context(key & ContextCache::SCALABLE != 0, *words)
        }) && self
            .pasid
            .iter()
            .all(|(_, words)| walker.may_cache_pasid(*words))
    }

    /// Entries of all caches together.
    pub fn len(&self) -> usize {
        self.counts().iter().sum()
    }

    /// True if nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Caches {
    /// Empty caches.
    pub fn new(config: &CacheConfig) -> Self {
        // It would hide that one of the others is off.
        let all = [config.context, config.pasid, config.iotlb]
            .iter()
            .all(|n| *n != 0);
        Caches {
            front: Front::new(if all { config.iotlb } else { 0 }),
            context: ContextCache(Table::new(config.context)),
            pasid: PasidCache(Table::new(config.pasid)),
            iotlb: Iotlb {
                table: Table::new(config.iotlb),
                present: AtomicU64::new(0),
            },
            paging: PagingCache(Table::new(config.paging_structure)),
            interrupt: InterruptCache(Table::new(config.interrupt)),
        }
    }

    /// Caches that hold nothing.
    pub fn off() -> Self {
        Caches::new(&CacheConfig::OFF)
    }

    /// Forgets all that DMA remapping uses.
    pub fn clear_translations(&self) {
        self.context.0.clear();
        self.pasid.0.clear();
        self.iotlb.table.clear();
        self.paging.0.clear();
        self.front.forget();
    }

    /// What is in them. Nothing else may use them meanwhile.
    pub fn contents(&self) -> CacheContents {
        CacheContents {
            context: self.context.0.entries(),
            pasid: self.pasid.0.entries(),
            iotlb: self.iotlb.table.entries(),
            paging: self.paging.0.entries(),
            interrupt: self.interrupt.0.entries(),
        }
    }

    /// Fills empty caches with what [`Caches::contents`] gave; what does not fit is dropped, as a cache may.
    pub fn restore(&self, contents: &CacheContents) {
        fn put<const K: usize, const V: usize>(table: &Table<K, V>, entries: &[Entry<K, V>]) {
            for (key, value) in entries {
                table.fill(*key, *value, table.generation());
            }
        }
        put(&self.context.0, &contents.context);
        put(&self.pasid.0, &contents.pasid);
        put(&self.iotlb.table, &contents.iotlb);
        put(&self.paging.0, &contents.paging);
        put(&self.interrupt.0, &contents.interrupt);
        self.iotlb.present.store(u64::MAX, Ordering::SeqCst);
    }
}

/// Context entries by source-id. VT-d 4.1 §6.2.1.
#[derive(Debug)]
pub struct ContextCache(Table<1, 2>);

impl ContextCache {
    const SCALABLE: u64 = 1 << 16;

    fn key(scalable: bool, source: SourceId) -> [u64; 1] {
        let mode = if scalable { Self::SCALABLE } else { 0 };
        [VALID | mode | u64::from(source.0)]
    }

    /// The first two quadwords of an entry.
    #[inline]
    pub fn get(&self, scalable: bool, source: SourceId) -> Option<[u64; 2]> {
        self.0.get(&Self::key(scalable, source))
    }

    /// See [`Table::generation`].
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// Keeps an entry.
    pub fn fill(&self, scalable: bool, source: SourceId, words: [u64; 2], generation: u64) {
        if self.0.is_on() {
            self.0.fill(Self::key(scalable, source), words, generation);
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Forgets the entries of a domain (legacy mode; an entry that is not present belongs to domain 0).
    pub fn remove_domain(&self, domain: u16) {
        self.0.remove(|[key], value| {
            key & Self::SCALABLE != 0 || {
                let entry = ContextEntry(*value);
                entry.domain() == domain || !entry.present() && domain == 0
            }
        });
    }

    /// Forgets the entries of functions that equal `source` in the bits that the function mask leaves.
    pub fn remove_source(&self, source: u16, function_mask: u8) {
        // FM 0 compares all, 1 ignores bit 2, 2 ignores bits 2:1, 3 ignores bits 2:0.
        let ignored = [0, 0b100, 0b110, 0b111][usize::from(function_mask & 3)];
        self.0
            .remove(|[key], _| (*key as u16 ^ source) & !ignored == 0);
    }
}

/// PASID table entries by source-id and PASID. VT-d 4.1 §6.2.2.
#[derive(Debug)]
pub struct PasidCache(Table<1, 3>);

impl PasidCache {
    fn key(source: SourceId, pasid: u32) -> [u64; 1] {
        [VALID | u64::from(pasid) << PASID_SHIFT | u64::from(source.0)]
    }

    /// The first three quadwords of an entry.
    #[inline]
    pub fn get(&self, source: SourceId, pasid: u32) -> Option<[u64; 3]> {
        self.0.get(&Self::key(source, pasid))
    }

    /// See [`Table::generation`].
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// Keeps an entry.
    pub fn fill(&self, source: SourceId, pasid: u32, words: [u64; 3], generation: u64) {
        if self.0.is_on() {
            self.0.fill(Self::key(source, pasid), words, generation);
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Forgets the entries of a domain, of one PASID if one is given. An entry that is not present belongs to domain 0.
    pub fn remove_domain(&self, domain: u16, pasid: Option<u32>) {
        self.0.remove(|[key], value| {
            let owner = if value[0] & 1 != 0 {
                value[1] as u16
            } else {
                0
            };
            let its_pasid = (key >> PASID_SHIFT & mask(19, 0)) as u32;
            owner == domain && pasid.is_none_or(|p| p == its_pasid)
        });
    }
}

const fn tag(kind: u64, domain: u16, pasid: u32) -> u64 {
    VALID | kind << KIND_SHIFT | (pasid as u64) << PASID_SHIFT | domain as u64
}

const fn domain_of(key: u64) -> u16 {
    key as u16
}

const fn pasid_of(key: u64) -> u32 {
    (key >> PASID_SHIFT & mask(19, 0)) as u32
}

const fn kind_of(key: u64) -> u64 {
    key >> KIND_SHIFT & 3
}

/// True if `[number << shift, ...)` of one page meets the naturally aligned range of 2^bits bytes at `address`.
const fn overlaps(number: u64, size: u32, address: u64, bits: u32) -> bool {
    let common = if size > bits { size } else { bits };
    common >= 64 || (number << size) >> common == address >> common
}

/// Where a cached walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The table.
    pub table: u64,
    /// Its level.
    pub level: u32,
    /// R (second stage) or U/S (first stage) in every entry above.
    pub read: bool,
    /// W or R/W in every entry above.
    pub write: bool,
    /// XD in no entry above.
    pub execute: bool,
}

/// Upper levels of paging structures. VT-d 4.1 §6.2.5.
#[derive(Debug)]
pub struct PagingCache(Table<2, 1>);

impl PagingCache {
    const LEVEL_SHIFT: u32 = 44;
    const LEVELS_SHIFT: u32 = 40;

    /// See [`Table::generation`].
    #[inline]
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn key(tag: u64, address: u64, levels: u32, level: u32) -> [u64; 2] {
        let word =
            tag | u64::from(level) << Self::LEVEL_SHIFT | u64::from(levels) << Self::LEVELS_SHIFT;
        [word, address >> shift(level + 1)]
    }

    /// The lowest table known on the way to an address.
    #[inline]
    pub fn get(&self, key: &PageKey, address: u64, levels: u32) -> Option<Upper> {
        if !self.0.is_on() {
            return None;
        }
        (1..levels).find_map(|level| {
            let [value] = self.0.get(&Self::key(key.tag, address, levels, level))?;
            Some(Upper {
                table: value & ADDRESS,
                level,
                read: value & 1 != 0,
                write: value & 2 != 0,
                execute: value & 4 != 0,
            })
        })
    }

    /// Keeps a table.
    pub fn fill(&self, key: &PageKey, address: u64, levels: u32, upper: &Upper, generation: u64) {
        if self.0.is_on() {
            let value = upper.table
                | u64::from(upper.read)
                | u64::from(upper.write) << 1
                | u64::from(upper.execute) << 2;
            let words = Self::key(key.tag, address, levels, upper.level);
            self.0.fill(words, [value], generation);
        }
    }

    /// The key of a domain's second stage, whatever a request's stages are.
    pub const fn second_key(domain: u16) -> PageKey {
        PageKey {
            kind: SECOND,
            tag: tag(SECOND, domain, 0),
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Forgets a domain.
    pub fn remove_domain(&self, domain: u16) {
        self.0.remove(|key, _| domain_of(key[0]) == domain);
    }

    /// Forgets a domain's first-stage tables, and its second-stage ones on the way to 2^bits bytes at an address, if given.
    /// VT-d 4.1 §6.5.2.3.
    pub fn remove_pages(&self, domain: u16, range: Option<(u64, u32)>) {
        if self.0.is_on() {
            self.0.remove(|key, _| {
                domain_of(key[0]) == domain
                    && (kind_of(key[0]) != SECOND
                        || range
                            .is_some_and(|(a, bits)| overlaps(key[1], Self::size(key[0]), a, bits)))
            });
        }
    }

    /// Forgets a PASID's first-stage tables; those on the way to 2^bits bytes at an address, if given.
    pub fn remove_pasid(&self, domain: u16, pasid: u32, range: Option<(u64, u32)>) {
        if self.0.is_on() {
            self.0.remove(|key, _| {
                kind_of(key[0]) == FIRST
                    && domain_of(key[0]) == domain
                    && pasid_of(key[0]) == pasid
                    && range.is_none_or(|(a, bits)| overlaps(key[1], Self::size(key[0]), a, bits))
            });
        }
    }

    fn size(key: u64) -> u32 {
        shift((key >> Self::LEVEL_SHIFT & 7) as u32 + 1)
    }
}

/// Interrupt remapping table entries by index. VT-d 4.1 §6.2.3.
#[derive(Debug)]
pub struct InterruptCache(Table<1, 2>);

impl InterruptCache {
    fn key(index: u16) -> [u64; 1] {
        [VALID | u64::from(index)]
    }

    /// An entry.
    #[inline]
    pub fn get(&self, index: u16) -> Option<[u64; 2]> {
        self.0.get(&Self::key(index))
    }

    /// See [`Table::generation`].
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// Keeps an entry.
    pub fn fill(&self, index: u16, words: [u64; 2], generation: u64) {
        if self.0.is_on() {
            self.0.fill(Self::key(index), words, generation);
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Forgets 2^bits entries at an index aligned to that.
    pub fn remove(&self, index: u16, bits: u32) {
        self.0
            .remove(|[key], _| overlaps(*key & 0xffff, 0, u64::from(index), bits));
    }
}
