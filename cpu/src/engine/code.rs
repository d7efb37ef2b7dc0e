//! Code cache: blocks of micro-operations by physical page.

use std::collections::VecDeque;
use std::time::Instant;

use super::uop::{Op, Uop, uop};
use rustc_hash::FxHashMap;

use super::{Engine, EngineStats, FrontEnd};
use crate::jit::Jit;
use crate::ram::{HostPage, PAGE};

/// Micro-operations kept before the cache is emptied (16 bytes each, 128 MiB).
const CAP_UOPS: usize = 8 << 20;
/// Bytes of compiled code kept before the cache is emptied.
const CAP_COMPILED: usize = 64 << 20;
const NONE: u32 = u32::MAX;
const WORDS: usize = PAGE as usize / 4;

/// A decoded block. Its code lies in one page, or is one instruction in two.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Index of its first micro-operation.
    pub start: u32,
    /// Guest instructions in it.
    pub instructions: u32,
    /// Its first byte's place in its page.
    pub offset: u32,
    /// False once its page has changed.
    pub alive: bool,
    /// It is one instruction that goes on in the next page: true only as long as that page is where it was, so that every way to the block
    /// leads through the dispatcher.
    pub straddles: bool,
    /// How often the interpreter has run it.
    pub runs: u16,
    /// Host address of its compiled form, or 0.
    pub entry: usize,
    /// Numbers of the successors in the same page: taken, not taken.
    links: [u32; 2],
}

impl Block {
    /// The successor at a side (0: taken, 1: not taken) that [`CodeCache::link`] remembered.
    #[inline(always)]
    pub fn link(&self, side: usize) -> Option<u32> {
        let n = self.links[side & 1];
        (n != NONE).then_some(n)
    }
}

#[derive(Debug, Default)]
struct PageCode {
    /// The block at each byte of the page, by [`key`].
    blocks: FxHashMap<u32, u32>,
    /// Blocks of the page before that end here.
    ending: Vec<u32>,
    /// A bit for each word that some block covers.
    covered: [u64; WORDS / 64],
}

impl PageCode {
    /// Bytes `first ..= last` of the page are cached code.
    fn cover(&mut self, first: usize, last: usize) {
        for w in first / 4..=(last / 4).min(WORDS - 1) {
            self.covered[w / 64] |= 1 << (w % 64);
        }
    }

    fn covers(&self, first: usize, last: usize) -> bool {
        (first / 4..=(last / 4).min(WORDS - 1)).any(|w| self.covered[w / 64] >> (w % 64) & 1 != 0)
    }
}

/// A place in a page and a code mode.
fn key(offset: u32, mode: u8) -> u32 {
    offset | u32::from(mode) << 12
}

/// A guest instruction within its block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// How many come before it.
    pub index: u8,
    /// Its length in bytes.
    pub len: u8,
    /// Its first byte, from the block's.
    pub offset: u16,
}

impl Place {
    /// The instruction after it, from the block's first byte.
    pub fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

/// What a front end hands over: micro-operations, each with the place of its guest instruction.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The operations; the last one ends the block.
    pub uops: Vec<Uop>,
    /// For each operation its instruction.
    pub places: Vec<Place>,
    /// Guest instructions. 0 if the first one goes on behind the code given.
    pub instructions: u32,
    /// Bytes from the first one to the end of the last one.
    pub bytes: u32,
}

impl Decoded {
    /// Empty again.
    pub(super) fn clear(&mut self) {
        self.uops.clear();
        self.places.clear();
        self.instructions = 0;
        self.bytes = 0;
    }
}

/// What [`CodeCache::cut`] replaced.
#[derive(Debug)]
pub(super) struct Cut {
    at: usize,
    replaced: Uop,
}

/// Outcome of [`CodeCache::compile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compile {
    /// The block has a compiled form.
    Done,
    /// There is no compiled tier.
    Never,
    /// No room: the cache is to be emptied.
    Full,
}

/// Blocks of all CPUs.
#[derive(Debug)]
pub struct CodeCache {
    uops: Vec<Uop>,
    places: Vec<Place>,
    blocks: Vec<Block>,
    /// Where the second page of a block that straddles two is.
    second: FxHashMap<u32, u64>,
    pages: FxHashMap<u64, PageCode>,
    epoch: u32,
    engine: Engine,
    pub(crate) cap_compiled: usize,
    compiled: Option<Box<Jit>>,
    made: VecDeque<HostPage>,
    made_dropped: u64,
    pub(super) stats: EngineStats,
    measured: bool,
}

impl Default for CodeCache {
    fn default() -> Self {
        CodeCache {
            uops: Vec::new(),
            places: Vec::new(),
            blocks: Vec::new(),
            second: FxHashMap::default(),
            pages: FxHashMap::default(),
            epoch: 1,
            engine: Engine::default(),
            cap_compiled: CAP_COMPILED,
            compiled: None,
            made: VecDeque::new(),
            made_dropped: 0,
            stats: EngineStats::default(),
            measured: false,
        }
    }
}

impl CodeCache {
    const CAP_MADE: usize = 256;

    /// Counters.
    pub fn stats(&self) -> EngineStats {
        self.stats
    }

    /// Changes when numbers of blocks become invalid: when the whole cache is emptied.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A block by number.
    #[inline(always)]
    pub fn block(&self, n: u32) -> &Block {
        &self.blocks[n as usize]
    }

    /// A block by number, to change it.
    #[inline(always)]
    pub(crate) fn block_mut(&mut self, n: u32) -> &mut Block {
        &mut self.blocks[n as usize]
    }

    /// The micro-operations of a block.
    pub fn uops_of(&self, n: u32) -> (&[Uop], &[Place]) {
        let start = self.blocks[n as usize].start as usize;
        let end = self
            .blocks
            .get(n as usize + 1)
            .map_or(self.uops.len(), |b| b.start as usize);
        (&self.uops[start..end], &self.places[start..end])
    }

    /// A micro-operation.
    #[inline(always)]
    pub fn uop(&self, i: usize) -> Uop {
        self.uops[i]
    }

    /// The guest instruction of micro-operation `i`.
    #[inline(always)]
    pub fn place_of(&self, i: usize) -> Place {
        self.places[i]
    }

    /// Which tiers run: to be set before the first block.
    pub fn set_engine(&mut self, engine: Engine) {
        self.engine = engine;
    }

    /// Measures the host's time for translation from now on.
    pub fn measure(&mut self) {
        self.measured = true;
    }

    /// Runs `work` and counts its time as translation, if that is measured.
    pub(super) fn timed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        if !self.measured {
            return work(self);
        }
        let start = Instant::now();
        let done = work(self);
        self.stats.translation += start.elapsed();
        done
    }

    /// True if blocks are to be run on both tiers.
    #[inline(always)]
    pub(super) fn verifies(&self) -> bool {
        self.engine == Engine::Verify
    }

    /// Counts a comparison.
    pub(super) fn count_verified(&mut self) {
        self.stats.blocks_verified += 1;
    }

    /// Prepares the compiled tier for CPUs of type `F`, if it is wanted and the host has it.
    #[inline(always)]
    pub(super) fn start<F: FrontEnd>(&mut self) {
        if self.engine != Engine::Interpreter && self.compiled.is_none() {
            self.compiled = Jit::new::<F>(self.cap_compiled).map(Box::new);
            if self.compiled.is_none() {
                self.engine = Engine::Interpreter;
            }
        }
    }

    /// Compiles a block.
    pub(super) fn compile(&mut self, n: u32) -> Compile {
        let Some(mut jit) = self.compiled.take() else {
            return Compile::Never;
        };
        let entry = self.timed(|code| jit.compile(code, n));
        self.compiled = Some(jit);
        let Some(entry) = entry else {
            return Compile::Full;
        };
        self.block_mut(n).entry = entry;
        self.stats.blocks_compiled += 1;
        Compile::Done
    }

    /// The compiled tier, if it runs.
    pub(crate) fn compiled(&self) -> Option<&Jit> {
        self.compiled.as_deref()
    }

    /// The host address at which compiled code may jump to a block: its compiled form, or the way back to the dispatcher.
    #[inline(always)]
    pub(super) fn entry_of(&self, n: u32) -> usize {
        match (self.blocks[n as usize].entry, &self.compiled) {
            (0, Some(jit)) => jit.dispatcher(),
            (entry, _) => entry,
        }
    }

    /// Makes the jump at `site` in compiled code lead to block `to` directly, if that is compiled.
    pub(super) fn link_compiled(&mut self, site: u64, to: u32) {
        let entry = self.blocks[to as usize].entry;
        if entry != 0
            && let Some(jit) = &mut self.compiled
        {
            jit.link(site, entry);
        }
    }

    /// Remembers that block `to` follows block `from` (`side` 0: taken, 1: not taken).
    pub fn link(&mut self, from: u32, side: usize, to: u32) {
        if let Some(b) = self.blocks.get_mut(from as usize) {
            b.links[side & 1] = to;
        }
    }

    /// The block at `gpa` for a code mode, if it is cached.
    pub fn find(&self, gpa: u64, mode: u8) -> Option<u32> {
        let page = self.pages.get(&(gpa / PAGE))?;
        let n = page.blocks.get(&key((gpa % PAGE) as u32, mode)).copied()?;
        // Of two pages, only the other one may have changed.
        self.block(n).alive.then_some(n)
    }

    /// Where the second page of a block that straddles two was when it was decoded.
    pub(super) fn second_page_of(&self, n: u32) -> Option<u64> {
        self.second.get(&n).copied()
    }

    fn page_of_code(&mut self, gpa: u64, host: HostPage) -> &mut PageCode {
        self.pages.entry(gpa / PAGE).or_insert_with(|| {
            if self.made.len() == Self::CAP_MADE {
                self.made.pop_front();
                self.made_dropped += 1;
            }
            self.made.push_back(host);
            PageCode::default()
        })
    }

    /// Adds a block at `gpa` and returns its number. `host` is the page it lies in, `second` the address and page where it goes on, if it
    /// straddles two. With `keep` false the block is for one use: see [`CodeCache::forget_last`].
    pub fn add(
        &mut self,
        gpa: u64,
        mode: u8,
        host: HostPage,
        second: Option<(u64, HostPage)>,
        decoded: &Decoded,
        keep: bool,
    ) -> u32 {
        if self.uops.len() + decoded.uops.len() > CAP_UOPS {
            self.reset();
        }
        let number = self.blocks.len() as u32;
        self.blocks.push(Block {
            start: self.uops.len() as u32,
            instructions: decoded.instructions,
            offset: (gpa % PAGE) as u32,
            alive: true,
            straddles: second.is_some(),
            runs: 0,
            entry: 0,
            links: [NONE; 2],
        });
        self.uops.extend_from_slice(&decoded.uops);
        self.places.extend_from_slice(&decoded.places);
        if keep {
            self.stats.blocks_decoded += 1;
            self.stats.instructions_decoded += u64::from(decoded.instructions);
            let first = (gpa % PAGE) as usize;
            let last = first + (decoded.bytes as usize).max(1) - 1;
            let page = self.page_of_code(gpa, host);
            page.cover(first, last.min(PAGE as usize - 1));
            page.blocks.insert(key(first as u32, mode), number);
            if let Some((gpa, host)) = second {
                let page = self.page_of_code(gpa, host);
                page.cover(0, last.saturating_sub(PAGE as usize));
                page.ending.push(number);
                self.second.insert(number, gpa & !(PAGE - 1));
            }
        }
        number
    }

    /// The first micro-operation of block `n` from its instruction number `from` on.
    pub(super) fn first_uop(&self, n: u32, from: u64) -> usize {
        let start = self.blocks[n as usize].start as usize;
        if from == 0 {
            return start;
        }
        let (_, places) = self.uops_of(n);
        start + places.partition_point(|p| u64::from(p.index) < from)
    }

    /// Makes block `n` end before its instruction number `count`, which it jumps to, until [`CodeCache::mend`]. `None` if no micro-operation
    /// is that instruction's own.
    pub(super) fn cut(&mut self, n: u32, count: u64) -> Option<Cut> {
        let at = self.first_uop(n, count);
        let place = *self.places.get(at)?;
        if u64::from(place.index) != count {
            return None;
        }
        let jump = uop(Op::Jmp, 0, 0, 0, 0, u64::from(place.offset));
        let replaced = std::mem::replace(&mut self.uops[at], jump);
        Some(Cut { at, replaced })
    }

    /// Makes a block whole again.
    pub(super) fn mend(&mut self, cut: Cut) {
        if let Some(u) = self.uops.get_mut(cut.at) {
            *u = cut.replaced;
        }
    }

    /// Takes back the block that [`CodeCache::add`] made last, with `keep` false.
    pub fn forget_last(&mut self) {
        if let Some(b) = self.blocks.pop() {
            self.uops.truncate(b.start as usize);
            self.places.truncate(b.start as usize);
        }
    }

    /// True if code of the page at `gpa` is cached.
    pub fn has_code(&self, gpa: u64) -> bool {
        self.pages.contains_key(&(gpa / PAGE))
    }

    /// A CPU stores `len` bytes at `gpa`, in one page: drops the page's code if they overlap a block.
    pub fn note_store(&mut self, gpa: u64, len: u64) {
        let Some(page) = self.pages.get(&(gpa / PAGE)) else {
            return;
        };
        let first = (gpa % PAGE) as usize;
        if page.covers(first, first + len.max(1) as usize - 1) {
            self.invalidate_page(gpa);
        }
    }

    /// Drops the code of the page at `gpa`.
    pub fn invalidate_page(&mut self, gpa: u64) {
        let Some(page) = self.pages.remove(&(gpa / PAGE)) else {
            return;
        };
        self.stats.pages_invalidated += 1;
        for n in page.blocks.values().chain(&page.ending) {
            if let Some(block) = self.blocks.get_mut(*n as usize) {
                block.alive = false;
                if let Some(jit) = &mut self.compiled {
                    jit.retire(block.entry);
                }
            }
        }
    }

    /// Drops everything.
    pub fn reset(&mut self) {
        self.uops.clear();
        self.places.clear();
        self.blocks.clear();
        self.second.clear();
        self.pages.clear();
        if let Some(jit) = &mut self.compiled {
            jit.reset();
        }
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.stats.resets += 1;
    }

    /// How many pages have become code pages so far.
    pub fn code_pages_made(&self) -> u64 {
        self.made_dropped + self.made.len() as u64
    }

    /// The pages that became code pages from number `from` on, or `None` if some of them are forgotten.
    pub fn code_pages_since(&self, from: u64) -> Option<impl Iterator<Item = HostPage>> {
        let skip = usize::try_from(from.checked_sub(self.made_dropped)?).ok()?;
        Some(self.made.iter().skip(skip).copied())
    }
}
