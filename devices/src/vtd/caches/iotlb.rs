//! The IOTLB. VT-d 4.1 §6.2.4 (tags), §6.5.2.3, §6.5.2.4 (what invalidations take).

use super::sync::{AtomicU64, Ordering};
use super::table::Table;
use super::{CLASS_SHIFT, FIRST, NESTED, SECOND, domain_of, kind_of, overlaps, pasid_of, tag};
use crate::vtd::spec::mask;
use crate::vtd::spec::paging::ADDRESS;
use crate::vtd::walk::{Page, Stages, Target};

/// Log2 of the page sizes that the IOTLB keeps apart.
const SHIFTS: [u32; 3] = [12, 21, 30];
/// A page-selective invalidation of at most this many pages looks for each of them instead of at each entry.
const FEW_PAGES: u64 = 8;

/// The tag of a target's pages in the IOTLB.
#[derive(Clone, Copy, Debug)]
pub struct PageKey {
    pub(super) kind: u64,
    pub(super) tag: u64,
}

impl PageKey {
    /// Domain for the second stage; domain and PASID for the others.
    #[inline]
    pub fn new(target: &Target) -> Self {
        let (kind, pasid) = match target.stages {
            Stages::PassThrough => (0, 0),
            Stages::Second(_) => (SECOND, 0),
            Stages::First(_) => (FIRST, target.pasid),
            Stages::Nested(..) => (NESTED, target.pasid),
        };
        PageKey {
            kind,
            tag: tag(kind, target.domain, pasid),
        }
    }
}

/// Flags beside the address in an IOTLB value.
mod flag {
    pub const FIRST_WRITE: u64 = 1;
    pub const USER: u64 = 1 << 1;
    pub const EXECUTE: u64 = 1 << 2;
    pub const SECOND_READ: u64 = 1 << 3;
    pub const SECOND_WRITE: u64 = 1 << 4;
    pub const DIRTY: u64 = 1 << 5;
    pub const SNOOP: u64 = 1 << 6;
    pub const GLOBAL: u64 = 1 << 7;
    /// No page: the second stage had none (CM).
    pub const ABSENT: u64 = 1 << 8;
}

/// An IOTLB hit without a page: the second stage had none when it was looked at (CAP.CM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent;

/// Translations. VT-d 4.1 §6.2.4.
#[derive(Debug)]
pub struct Iotlb {
    pub(super) table: Table<2, 1>,
    /// Bit (4 * kind + class) is set once such an entry has been filled, so that a look-up skips what is never there.
    pub(super) present: AtomicU64,
}

impl Iotlb {
    /// See [`Table::generation`].
    #[inline]
    pub fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// The page of an address.
    #[inline]
    pub fn get(&self, key: &PageKey, address: u64) -> Option<Result<Page, Absent>> {
        let present = self.present.load(Ordering::Relaxed) >> (4 * key.kind);
        for (class, size) in SHIFTS.into_iter().enumerate() {
            if present & 1 << class == 0 {
                continue;
            }
            let words = [key.tag | (class as u64) << CLASS_SHIFT, address >> size];
            if let Some([value]) = self.table.get(&words) {
                return Some(decode(value, address, size));
            }
        }
        None
    }

    /// Keeps a page.
    pub fn fill(&self, key: &PageKey, address: u64, page: &Page, generation: u64) {
        let set = |on, bit| if on { bit } else { 0 };
        let Some(class) = SHIFTS.iter().rposition(|s| *s <= page.shift) else {
            return;
        };
        let size = SHIFTS[class];
        let value = page.address & ADDRESS & !mask(size - 1, 0)
            | set(page.first_write, flag::FIRST_WRITE)
            | set(page.user, flag::USER)
            | set(page.execute, flag::EXECUTE)
            | set(page.second_read, flag::SECOND_READ)
            | set(page.second_write, flag::SECOND_WRITE)
            | set(page.dirty, flag::DIRTY)
            | set(page.snoop, flag::SNOOP)
            | set(page.global, flag::GLOBAL);
        self.put(key, class, address, value, generation);
    }

    /// Remembers that the second stage has no page there.
    pub fn fill_absent(&self, key: &PageKey, address: u64, generation: u64) {
        self.put(key, 0, address, flag::ABSENT, generation);
    }

    fn put(&self, key: &PageKey, class: usize, address: u64, value: u64, generation: u64) {
        if !self.table.is_on() {
            return;
        }
        let bit = 1 << (4 * key.kind + class as u64);
        if self.present.load(Ordering::Relaxed) & bit == 0 {
            self.present.fetch_or(bit, Ordering::AcqRel);
        }
        let words = [
            key.tag | (class as u64) << CLASS_SHIFT,
            address >> SHIFTS[class],
        ];
        self.table.fill(words, [value], generation);
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.table.clear();
    }

    /// Forgets a domain. VT-d 4.1 §6.5.2.3.
    pub fn remove_domain(&self, domain: u16) {
        self.table.remove(|key, _| domain_of(key[0]) == domain);
    }

    /// Forgets the second-stage pages of a domain in 2^bits bytes at `address`, and all its first-stage and nested ones: those are
    /// tagged with the first stage's addresses, which say nothing about the second stage's. VT-d 4.1 §6.5.2.3.
    pub fn remove_pages(&self, domain: u16, address: u64, bits: u32) {
        // First the new generation: a fill that is not in `present` yet drops its entry.
        self.table.begin_removal();
        let present = self.present.load(Ordering::Acquire);
        let pages = 1u64.checked_shl(bits - 12).unwrap_or(u64::MAX);
        let firsts = present >> (4 * NESTED) | present >> (4 * FIRST);
        if firsts & 0xf == 0 && pages <= FEW_PAGES {
            for (class, size) in SHIFTS.into_iter().enumerate() {
                if present >> (4 * SECOND) & 1 << class == 0 {
                    continue;
                }
                let key = tag(SECOND, domain, 0) | (class as u64) << CLASS_SHIFT;
                let base = address & !mask(bits - 1, 0);
                for n in 0..(pages << 12 >> size).max(1) {
                    self.table.remove_key(&[key, (base >> size) + n]);
                }
            }
            return;
        }
        self.table.remove(|key, _| {
            domain_of(key[0]) == domain
                && (kind_of(key[0]) != SECOND
                    || overlaps(key[1], size_of_key(key[0]), address, bits))
        });
    }

    /// Forgets the first-stage and nested pages of a PASID that meet 2^bits bytes at an address; without an address all of them, and
    /// the domain's second-stage ones, which have no PASID in their tag. VT-d 4.1 §6.5.2.4.
    pub fn remove_pasid(&self, domain: u16, pasid: u32, range: Option<(u64, u32)>) {
        self.table.remove(|key, _| {
            domain_of(key[0]) == domain
                && match range {
                    None => kind_of(key[0]) == SECOND || pasid_of(key[0]) == pasid,
                    Some((address, bits)) => {
                        kind_of(key[0]) != SECOND
                            && pasid_of(key[0]) == pasid
                            && overlaps(key[1], size_of_key(key[0]), address, bits)
                    }
                }
        });
    }
}

const fn size_of_key(key: u64) -> u32 {
    SHIFTS[(key >> CLASS_SHIFT & 3) as usize % SHIFTS.len()]
}

#[inline]
fn decode(value: u64, address: u64, size: u32) -> Result<Page, Absent> {
    if value & flag::ABSENT != 0 {
        return Err(Absent);
    }
    Ok(Page {
        address: value & ADDRESS | address & mask(size - 1, 0),
        shift: size,
        first_write: value & flag::FIRST_WRITE != 0,
        user: value & flag::USER != 0,
        execute: value & flag::EXECUTE != 0,
        second_read: value & flag::SECOND_READ != 0,
        second_write: value & flag::SECOND_WRITE != 0,
        dirty: value & flag::DIRTY != 0,
        snoop: value & flag::SNOOP != 0,
        global: value & flag::GLOBAL != 0,
    })
}
