//! What happened so far, for reports. Counting takes no lock and shares no cache line between threads on the way of a hit.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::walk::{Answer, Observer};

/// What happened to a unit so far. Two runs of the same requests count the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that the IOTLB answered.
    pub iotlb_hits: u64,
    /// Requests that needed a walk of paging structures.
    pub iotlb_misses: u64,
    /// Requests of pass-through domains.
    pub pass_through: u64,
    /// Requests while translation was off.
    pub untranslated: u64,
    /// Requests to a protected memory region.
    pub protected: u64,
    /// Requests and interrupts that were blocked by a fault.
    pub faults: u64,
    /// The same by fault reason (FR of a fault record).
    pub faults_by_code: BTreeMap<u8, u64>,
    /// Faults not recorded because of FPD.
    pub suppressed_faults: u64,
    /// Faults not recorded because no register was free.
    pub lost_faults: u64,
    /// Faults from a cached entry that is present by now: with CAP.CM, software did not flush after it made it so.
    pub caching_mode_violations: u64,
    /// Invalidations and waits by kind.
    pub invalidations: BTreeMap<Invalidation, u64>,
    /// Interrupt requests by what became of them.
    pub interrupts: Interrupts,
    /// Domains that requests were walked for.
    pub domains: BTreeSet<u16>,
}

/// Interrupt requests by what became of them; blocked ones are faults 0x20 to 0x28.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupts {
    /// Interrupt remapping was off, or the request had compatibility format.
    pub unchanged: u64,
    /// Remapped by an entry.
    pub remapped: u64,
    /// Posted into a descriptor.
    pub posted: u64,
    /// Blocked.
    pub blocked: u64,
}

macro_rules! invalidations {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// An invalidation as software asked for it, by the queue or by registers. VT-d 4.1 §6.5.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Invalidation { $($(#[doc = $doc])* $name,)* }

        impl Invalidation {
            /// Every kind.
            pub const ALL: &'static [Invalidation] = &[$(Invalidation::$name,)*];
        }
    };
}

invalidations! {
    /// Context cache, all of it.
    ContextGlobal,
    /// Context cache, a domain.
    ContextDomain,
    /// Context cache, a function or several.
    ContextDevice,
    /// IOTLB, all of it.
    IotlbGlobal,
    /// IOTLB, a domain.
    IotlbDomain,
    /// IOTLB, pages of a domain.
    IotlbPages,
    /// PASID cache, all of it.
    PasidCacheGlobal,
    /// PASID cache, a domain or one of its PASIDs.
    PasidCacheDomain,
    /// IOTLB, a PASID of a domain.
    PasidIotlbAll,
    /// IOTLB, pages of a PASID of a domain.
    PasidIotlbPages,
    /// Device TLB.
    DeviceTlb,
    /// Interrupt entry cache, all of it.
    InterruptGlobal,
    /// Interrupt entry cache, entries.
    InterruptIndex,
    /// Set root table pointer, where it invalidates (CAP.ESRTPS).
    RootTable,
    /// Set interrupt remapping table pointer, where it invalidates (CAP.ESIRTPS).
    InterruptTable,
    /// A wait descriptor.
    Wait,
    /// An answer to a group of page requests.
    PageGroupResponse,
}

/// Threads that count on lines of their own; the others share one.
const SHARDS: usize = 64;
/// Quadwords of the set of domains.
const DOMAIN_WORDS: usize = (1 << 16) / 64;

/// A small number for each thread; one below [`SHARDS`] is no other thread's as long as this one lives.
#[inline]
pub(super) fn thread_number() -> usize {
    NUMBER.with(|number| match number.get() {
        usize::MAX => take_number(number),
        known => known,
    })
}

/// Numbers below [`SHARDS`] that threads have.
static TAKEN: AtomicU64 = AtomicU64::new(0);
thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    static LEASE: Lease = const { Lease };
}

/// Gives a thread's number back when the thread ends.
struct Lease;

impl Drop for Lease {
    fn drop(&mut self) {
        // What the thread still does is counted with the shared ones.
        let number = NUMBER.replace(SHARDS);
        if number < SHARDS {
            TAKEN.fetch_and(!(1 << number), Ordering::Release);
        }
    }
}

#[cold]
fn take_number(number: &Cell<usize>) -> usize {
    /// Beyond the numbers of their own, so that threads look for a place at different ones.
    static NEXT: AtomicUsize = AtomicUsize::new(SHARDS);
    let lowest_free = |taken: u64| (taken != u64::MAX).then(|| taken | (taken + 1));
    // Acquire: what the thread that had the number before counted is to be added to.
    let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, lowest_free);
    let new = match taken {
        Ok(before) if LEASE.try_with(|_| ()).is_ok() => before.trailing_ones() as usize,
        Ok(before) => {
            TAKEN.fetch_and(!(1 << before.trailing_ones()), Ordering::Release);
            SHARDS
        }
        Err(_) => NEXT.fetch_add(1, Ordering::Relaxed),
    };
    number.set(new);
    new
}

/// Answers of one thread.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([AtomicU64; 4]);

const HITS: usize = 0;
const MISSES: usize = 1;
const PASS_THROUGH: usize = 2;
const UNTRANSLATED: usize = 3;

/// The counters as the unit keeps them.
#[derive(Debug)]
pub(super) struct Tally {
    /// By thread number; the last is for all whose number is another thread's too.
    shards: Box<[Shard]>,
    domains: Box<[AtomicU64]>,
    protected: AtomicU64,
    faults: Box<[AtomicU64]>,
    suppressed: AtomicU64,
    caching_mode: AtomicU64,
    invalidations: Box<[AtomicU64]>,
    /// Unchanged, remapped, posted, blocked.
    interrupts: [AtomicU64; 4],
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn one_more(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            shards: (0..=SHARDS).map(|_| Shard::default()).collect(),
            domains: zeros(DOMAIN_WORDS),
            protected: AtomicU64::new(0),
            faults: zeros(256),
            suppressed: AtomicU64::new(0),
            caching_mode: AtomicU64::new(0),
            invalidations: zeros(Invalidation::ALL.len()),
            interrupts: Default::default(),
        }
    }
}

impl Tally {
    /// Only one thread writes to a shard below the last, so a load and a store will do.
    #[inline]
    fn answer(&self, what: usize) {
        let number = thread_number();
        if number < SHARDS {
            let cell = &self.shards[number].0[what];
            cell.store(
                cell.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::Relaxed,
            );
        } else {
            one_more(&self.shards[SHARDS].0[what]);
        }
    }

    fn domain(&self, domain: u16) {
        let cell = &self.domains[usize::from(domain / 64)];
        let bit = 1 << (domain % 64);
        if cell.load(Ordering::Relaxed) & bit == 0 {
            cell.fetch_or(bit, Ordering::Relaxed);
        }
    }

    #[inline]
    pub fn hit(&self) {
        self.answer(HITS);
    }

    pub fn untranslated(&self) {
        self.answer(UNTRANSLATED);
    }

    pub fn protected(&self) {
        one_more(&self.protected);
    }

    pub fn fault(&self, code: u8) {
        one_more(&self.faults[usize::from(code)]);
    }

    pub fn suppressed(&self) {
        one_more(&self.suppressed);
    }

    pub fn caching_mode_violation(&self) {
        one_more(&self.caching_mode);
    }

    pub fn invalidation(&self, kind: Invalidation) {
        one_more(&self.invalidations[kind as usize]);
    }

    pub fn unchanged(&self) {
        one_more(&self.interrupts[0]);
    }

    pub fn remapped(&self) {
        one_more(&self.interrupts[1]);
    }

    pub fn posted(&self) {
        one_more(&self.interrupts[2]);
    }

    pub fn interrupt_blocked(&self) {
        one_more(&self.interrupts[3]);
    }

    /// What was counted; `lost_faults` is kept elsewhere.
    pub fn counters(&self) -> Counters {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let answers = |what: usize| {
            self.shards
                .iter()
                .fold(0u64, |sum, s| sum.wrapping_add(get(&s.0[what])))
        };
        let faults_by_code: BTreeMap<u8, u64> = (0..=u8::MAX)
            .zip(self.faults.iter().map(get))
            .filter(|(_, n)| *n != 0)
            .collect();
        let [unchanged, remapped, posted, blocked] = self.interrupts.each_ref().map(get);
        Counters {
            iotlb_hits: answers(HITS),
            iotlb_misses: answers(MISSES),
            pass_through: answers(PASS_THROUGH),
            untranslated: answers(UNTRANSLATED),
            protected: get(&self.protected),
            faults: faults_by_code
                .values()
                .fold(0u64, |sum, n| sum.wrapping_add(*n)),
            faults_by_code,
            suppressed_faults: get(&self.suppressed),
            lost_faults: 0,
            caching_mode_violations: get(&self.caching_mode),
            invalidations: Invalidation::ALL
                .iter()
                .map(|kind| (*kind, get(&self.invalidations[*kind as usize])))
                .filter(|(_, n)| *n != 0)
                .collect(),
            interrupts: Interrupts {
                unchanged,
                remapped,
                posted,
                blocked,
            },
            domains: (0..=u16::MAX)
                .filter(|d| get(&self.domains[usize::from(d / 64)]) >> (d % 64) & 1 != 0)
                .collect(),
        }
    }

    /// Goes on from what was counted before a snapshot. For a unit that is not in use yet.
    pub fn restore(&self, counters: &Counters) {
        let Counters {
            iotlb_hits,
            iotlb_misses,
            pass_through,
            untranslated,
            protected,
            // The sum of the next.
            faults: _,
            faults_by_code,
            suppressed_faults,
            lost_faults: _,
            caching_mode_violations,
            invalidations,
            interrupts,
            domains,
        } = counters;
        let set = |cell: &AtomicU64, value: u64| cell.store(value, Ordering::Relaxed);
        let shared = &self.shards[SHARDS].0;
        set(&shared[HITS], *iotlb_hits);
        set(&shared[MISSES], *iotlb_misses);
        set(&shared[PASS_THROUGH], *pass_through);
        set(&shared[UNTRANSLATED], *untranslated);
        set(&self.protected, *protected);
        for (code, n) in faults_by_code {
            set(&self.faults[usize::from(*code)], *n);
        }
        set(&self.suppressed, *suppressed_faults);
        set(&self.caching_mode, *caching_mode_violations);
        for (kind, n) in invalidations {
            set(&self.invalidations[*kind as usize], *n);
        }
        let Interrupts {
            unchanged,
            remapped,
            posted,
            blocked,
        } = *interrupts;
        for (cell, n) in self
            .interrupts
            .iter()
            .zip([unchanged, remapped, posted, blocked])
        {
            set(cell, n);
        }
        for domain in domains {
            self.domain(*domain);
        }
    }
}

/// Counts the answers of a unit's own walker.
pub(super) struct Counting<'a>(pub &'a Tally);

impl Observer for Counting<'_> {
    #[inline]
    fn answered(&mut self, answer: Answer, domain: u16) {
        match answer {
            Answer::Hit => self.0.hit(),
            Answer::Walk => {
                self.0.answer(MISSES);
                self.0.domain(domain);
            }
            Answer::PassThrough => {
                self.0.answer(PASS_THROUGH);
                self.0.domain(domain);
            }
        }
    }
}
