//! Soft TLB: guest effective page to host page, tagged by context so that a change of address space costs nothing.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use crate::ram::{HostPage, PAGE};

/// Entries of each table; a power of two.
pub const ENTRIES: usize = 1024;
/// Entries of the jump cache; a power of two.
const JUMPS: usize = 1 << 16;

/// Contexts are numbered below this; the number fits the high 12 bits of a tag.
pub const MAX_CONTEXTS: u64 = 4095;
const INVALID: u64 = u64::MAX;

/// The number of a context as a part of a tag.
pub fn context_tag(context: u64) -> u64 {
    context << 52
}

/// Number of the page that holds the last byte of `n` at `ea`: a tag but for its context.
#[inline(always)]
fn page_of(ea: u64, n: usize) -> u64 {
    ea.wrapping_add(n as u64 - 1) >> 12
}

/// Pages for one kind of access, by number of the page. Two tables of eight bytes to an entry, which a host addresses without a shift.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    /// Number of the effective page | [`context_tag`], or all ones.
    pub tags: [u64; ENTRIES],
    /// Host address minus effective address.
    pub addends: [usize; ENTRIES],
}

impl Default for Table {
    fn default() -> Self {
        Table {
            tags: [INVALID; ENTRIES],
            addends: [0; ENTRIES],
        }
    }
}

impl Table {
    #[inline(always)]
    fn hit<const N: usize>(&self, ea: u64, ctx: u64) -> Option<usize> {
        let i = index(ea);
        (self.tags[i] == page_of(ea, N) | ctx).then(|| (ea as usize).wrapping_add(self.addends[i]))
    }

    fn fill(&mut self, ea: u64, ctx: u64, host: HostPage) {
        let (page, i) = (ea & !(PAGE - 1), index(ea));
        self.tags[i] = page_of(ea, 1) | ctx;
        self.addends[i] = host.address().wrapping_sub(page as usize);
    }

    fn clear(&mut self) {
        self.tags.fill(INVALID);
    }
}

/// One entry of the jump cache.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Jump {
    /// Effective address of the block.
    pub pc: u64,
    /// Context and code mode.
    pub tag: u32,
    /// Number of the block.
    pub block: u32,
    /// Host address to jump to for it; 0 if there is no compiled tier.
    pub entry: usize,
}

const NO_JUMP: Jump = Jump {
    pc: u64::MAX,
    tag: 0,
    block: 0,
    entry: 0,
};

/// The tables of one CPU.
#[derive(Debug)]
#[repr(C)]
pub struct Tlb {
    /// For loads.
    pub read: Table,
    /// For stores.
    pub write: Table,
    jumps: Box<[Jump]>,
    /// Pages of which there may be entries in `jumps`.
    jump_pages: FxHashSet<u64>,
    /// Alignment of instructions.
    align: usize,
    /// Address of the first element of `jumps`, for compiled code.
    pub(crate) jumps_at: usize,
    epoch: u32,
    seen_shootdowns: u64,
    seen_code_pages: u64,
}

impl Default for Tlb {
    fn default() -> Self {
        let jumps = vec![NO_JUMP; JUMPS].into_boxed_slice();
        Tlb {
            read: Table::default(),
            write: Table::default(),
            jumps_at: jumps.as_ptr() as usize,
            jumps,
            jump_pages: FxHashSet::default(),
            align: 1,
            epoch: 0,
            seen_shootdowns: 0,
            seen_code_pages: 0,
        }
    }
}

#[inline(always)]
fn index(ea: u64) -> usize {
    (ea >> 12) as usize & (ENTRIES - 1)
}

/// Blocks of aligned instructions within 256 KiB do not meet, nor others within 64 KiB; compiled code computes the same.
#[inline(always)]
fn jump_index(pc: u64) -> usize {
    (pc >> 2 ^ pc >> 18 ^ pc << 14) as usize & (JUMPS - 1)
}

impl Tlb {
    /// Host address for a load of `N` bytes at `ea` in context `ctx`, if cached and within one page.
    #[inline(always)]
    pub fn read_hit<const N: usize>(&self, ea: u64, ctx: u64) -> Option<usize> {
        self.read.hit::<N>(ea, ctx)
    }

    /// Host address for a store, likewise.
    #[inline(always)]
    pub fn write_hit<const N: usize>(&self, ea: u64, ctx: u64) -> Option<usize> {
        self.write.hit::<N>(ea, ctx)
    }

    /// Caches a page for loads.
    pub fn fill_read(&mut self, ea: u64, ctx: u64, host: HostPage) {
        self.read.fill(ea, ctx, host);
    }

    /// Caches a page for stores.
    pub fn fill_write(&mut self, ea: u64, ctx: u64, host: HostPage) {
        self.write.fill(ea, ctx, host);
    }

    /// The jump cache's entry for `pc`.
    #[inline(always)]
    pub fn jump(&self, pc: u64) -> &Jump {
        &self.jumps[jump_index(pc)]
    }

    /// Instructions begin at multiples of `align` bytes.
    #[inline(always)]
    pub(super) fn set_align(&mut self, align: u64) {
        self.align = align.max(1) as usize;
    }

    /// Forgets all blocks if their numbers are from another epoch of the code cache than `epoch`.
    #[inline(always)]
    pub fn enter_epoch(&mut self, epoch: u32) {
        if self.epoch != epoch {
            self.forget_jumps();
            self.epoch = epoch;
        }
    }

    /// Remembers a block.
    pub fn set_jump(&mut self, jump: Jump) {
        self.jump_pages.insert(jump.pc & !(PAGE - 1));
        self.jumps[jump_index(jump.pc)] = jump;
    }

    fn forget_jumps(&mut self) {
        self.jumps.fill(NO_JUMP);
        self.jump_pages.clear();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.read.clear();
        self.write.clear();
        self.forget_jumps();
    }

    /// Forgets all stores.
    pub(super) fn forget_writes(&mut self) {
        self.write.clear();
    }

    /// Forgets stores to a page of the host, which now holds code.
    pub fn drop_writes_to(&mut self, host: HostPage) {
        for (tag, addend) in self.write.tags.iter_mut().zip(&self.write.addends) {
            if *tag != INVALID && addend.wrapping_add((*tag << 12) as usize) == host.address() {
                *tag = INVALID;
            }
        }
    }

    /// Forgets the pages in `ea .. ea + len`, in every context.
    pub fn drop_range(&mut self, ea: u64, len: u64) {
        if len > ENTRIES as u64 * PAGE {
            self.clear();
            return;
        }
        let mut page = ea & !(PAGE - 1);
        for _ in 0..len.div_ceil(PAGE).max(1) {
            for table in [&mut self.read, &mut self.write] {
                let tag = &mut table.tags[index(page)];
                if *tag << 12 == page {
                    *tag = INVALID;
                }
            }
            if self.jump_pages.remove(&page) {
                for pc in (page..=page | (PAGE - 1)).step_by(self.align) {
                    let jump = &mut self.jumps[jump_index(pc)];
                    if jump.pc & !(PAGE - 1) == page {
                        *jump = NO_JUMP;
                    }
                }
            }
            page = page.wrapping_add(PAGE);
        }
    }

    /// True if [`Tlb::catch_up`] has nothing to do.
    #[inline(always)]
    pub fn is_up_to_date(&self, shootdowns: &Shootdowns, code: &super::CodeCache) -> bool {
        self.seen_shootdowns == shootdowns.end() && self.seen_code_pages == code.code_pages_made()
    }

    /// Applies what other CPUs asked for since the last call. `forget` is called for whole contexts (`None`: all).
    pub fn catch_up(
        &mut self,
        shootdowns: &Shootdowns,
        code: &super::CodeCache,
        mut forget: impl FnMut(Option<u32>),
    ) {
        if self.seen_shootdowns != shootdowns.end() {
            match shootdowns.since(self.seen_shootdowns) {
                None => {
                    self.clear();
                    forget(None);
                }
                Some(list) => {
                    for s in list {
                        match *s {
                            Shootdown::Range { ea, len } => self.drop_range(ea, len),
                            Shootdown::Context(pid) => forget(Some(pid)),
                            Shootdown::All => {
                                self.clear();
                                forget(None);
                            }
                        }
                    }
                }
            }
            self.seen_shootdowns = shootdowns.end();
        }
        if self.seen_code_pages != code.code_pages_made() {
            match code.code_pages_since(self.seen_code_pages) {
                Some(list) => {
                    for host in list {
                        self.drop_writes_to(host);
                    }
                }
                None => self.write.clear(),
            }
            self.seen_code_pages = code.code_pages_made();
        }
    }
}

/// A change of translations that all CPUs must apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shootdown {
    /// Pages in a range of effective addresses, in every context.
    Range {
        /// First byte.
        ea: u64,
        /// Bytes.
        len: u64,
    },
    /// Everything of one process.
    Context(u32),
    /// Everything.
    All,
}

/// A bounded log of [`Shootdown`]s with running numbers.
#[derive(Debug, Default)]
pub struct Shootdowns {
    log: VecDeque<Shootdown>,
    dropped: u64,
}

impl Shootdowns {
    const CAP: usize = 512;

    /// Appends.
    pub fn push(&mut self, s: Shootdown) {
        if self.log.len() == Self::CAP {
            self.log.pop_front();
            self.dropped += 1;
        }
        self.log.push_back(s);
    }

    /// Number of the next entry.
    pub fn end(&self) -> u64 {
        self.dropped + self.log.len() as u64
    }

    /// The entries from number `from` on, or `None` if some of them are gone.
    pub fn since(&self, from: u64) -> Option<impl Iterator<Item = &Shootdown>> {
        let skip = usize::try_from(from.checked_sub(self.dropped)?).ok()?;
        Some(self.log.iter().skip(skip))
    }
}
