//! Whole answers in front of the other caches: requester, PASID and page to address and permissions, in one look-up.
//!
//! It holds nothing that the caches behind it could not answer, and forgets everything whenever one of them forgets anything or a
//! command changes what requests look at. So it changes no rule of VT-d 4.1 §6.2; it saves the way through context cache, PASID cache
//! and IOTLB.
//!
//! Each answer is stored under the generation that was current before its look-up began, and is an answer in that generation only. A
//! generation begins after the caches behind have forgotten. So whoever sees the new one also sees them empty, and what was looked up
//! before is stored under an old one.

use super::sync::{AtomicU64, Ordering};
use super::table::Line;

/// A line of its own, so that neighbours do not disturb each other.
#[derive(Debug)]
#[repr(align(64))]
struct Answer(Line<3, 1>);

/// Away from what others write.
#[derive(Debug)]
#[repr(align(128))]
struct Generation(AtomicU64);

/// See the module. A key is a requester's word, never 0, and a page number.
#[derive(Debug)]
pub struct Front {
    generation: Generation,
    lines: Box<[Answer]>,
}

impl Front {
    /// Room for `size` answers: a power of two, or 0.
    pub fn new(size: usize) -> Self {
        Front {
            generation: Generation(AtomicU64::new(0)),
            lines: (0..size).map(|_| Answer(Line::new())).collect(),
        }
    }

    /// The generation to hand to the rest; ask before the first look at anything.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.0.load(Ordering::Acquire)
    }

    /// Begins a generation: for after the caches behind have forgotten, and before it is waited for DMA in flight.
    pub fn forget(&self) {
        self.generation.0.fetch_add(1, Ordering::AcqRel);
    }

    #[inline]
    fn line(&self, key: [u64; 2]) -> Option<&Line<3, 1>> {
        let spread = (key[0].wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).wrapping_add(key[1]);
        let last = self.lines.len().wrapping_sub(1);
        self.lines.get(spread as usize & last).map(|a| &a.0)
    }

    /// The answer for a key.
    #[inline]
    pub fn get(&self, key: [u64; 2], generation: u64) -> Option<u64> {
        let [value] = self.line(key)?.get(&[key[0], key[1], generation])?;
        Some(value)
    }

    /// Keeps an answer that was looked for since `generation`.
    pub fn fill(&self, key: [u64; 2], value: u64, generation: u64) {
        if let Some(line) = self.line(key)
            // Somebody else is writing this line: their answer is as good as this one.
            && let Some(was) = line.try_lock()
        {
            line.set(&[key[0], key[1], generation], &[value]);
            line.unlock(was);
        }
    }

    /// Every answer of the current generation. For snapshots, while nothing else uses the unit.
    pub fn entries(&self) -> Vec<([u64; 2], u64)> {
        let now = self.generation();
        let entries = self.lines.iter().filter_map(|line| {
            let ([requester, page, generation], [value]) = line.0.contents();
            (requester != 0 && generation == now).then_some(([requester, page], value))
        });
        entries.collect()
    }
}
