//! Numbers of address spaces for the soft TLB, so that a change of CR3, of privilege or of EFLAGS.AC costs nothing.
//!
//! In the lower half of the addresses a number stands for a PCID and for whose rights an access has; in the upper half for the rights alone:
//! there, pages are almost always global. Those that are not are remembered, and dropped when CR3 is loaded.

use rustc_hash::FxHashSet;

use super::Cpu;
use super::regs::*;
use crate::engine::tlb::MAX_CONTEXTS;

/// Spaces: the PCIDs, and one without paging.
const SPACES: usize = 4097;
/// The space without paging.
const UNPAGED: usize = 4096;
/// Most pages of the upper half that are remembered as not global.
const MAX_PRIVATE: usize = 256;
/// Most regions that are remembered as mapped by a large page.
const MAX_LARGE: usize = 1 << 16;

/// Whose rights an access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// CPL 3.
    User,
    /// CPL 0 to 2, or an access to a system table.
    Supervisor,
    /// CPL 0 to 2 with EFLAGS.AC, if SMAP is on: it does not hold.
    SupervisorAc,
}

/// The numbers that are given out.
#[derive(Debug)]
pub(super) struct Contexts {
    /// By space and rights; 0: none yet.
    ids: Box<[[u16; 3]]>,
    /// Of the upper half: user, supervisor.
    upper: [u16; 2],
    next: u16,
    space: usize,
    /// Pages of the upper half that are cached and not global.
    private: Vec<u64>,
    /// Regions of 2 MiB (4 MiB with 32-bit paging) with pieces of a large page in the cache.
    large: FxHashSet<u64>,
    /// A page of 1 GiB is in the cache.
    huge: bool,
}

impl Default for Contexts {
    fn default() -> Self {
        Contexts {
            ids: vec![[0; 3]; SPACES].into_boxed_slice(),
            upper: [1, 2],
            next: 3,
            space: UNPAGED,
            private: Vec::new(),
            large: FxHashSet::default(),
            huge: false,
        }
    }
}

impl Cpu {
    /// Brings rights and context numbers up to date with CPL, EFLAGS.AC, CR0, CR3 and CR4.
    pub(super) fn update_contexts(&mut self) {
        let rights = if self.cpl() == 3 {
            Rights::User
        } else if self.cr4 & CR4_SMAP != 0 && self.system_flags & FLAG_AC != 0 {
            Rights::SupervisorAc
        } else {
            Rights::Supervisor
        };
        self.set_rights(rights);
    }

    /// Makes the following accesses with these rights; returns those before.
    pub(super) fn set_rights(&mut self, rights: Rights) -> Rights {
        let before = self.rights;
        self.rights = rights;
        self.contexts.space = if self.cr0 & CR0_PG == 0 {
            UNPAGED
        } else if self.cr4 & CR4_PCIDE != 0 {
            (self.cr3 & 0xfff) as usize
        } else {
            0
        };
        let user = rights == Rights::User;
        // Fetches do not depend on EFLAGS.AC.
        let fetch = if user {
            Rights::User
        } else {
            Rights::Supervisor
        };
        let (data, code) = (self.context(rights), self.context(fetch));
        let upper = u64::from(self.contexts.upper[usize::from(!user)]);
        self.core.set_contexts([data, upper], [code, upper]);
        before
    }

    fn context(&mut self, rights: Rights) -> u64 {
        let c = &self.contexts;
        let id = c.ids[c.space][rights as usize];
        if id != 0 {
            return u64::from(id);
        }
        if u64::from(c.next) + 2 > MAX_CONTEXTS {
            self.forget_translations();
        }
        let c = &mut self.contexts;
        let id = c.next;
        c.next += 1;
        c.ids[c.space][rights as usize] = id;
        u64::from(id)
    }

    /// Forgets all translations; [`Cpu::update_contexts`] is to follow.
    fn forget_translations(&mut self) {
        self.core.tlb.clear();
        let c = &mut self.contexts;
        c.ids.fill([0; 3]);
        c.next = 3;
        c.private.clear();
        c.large.clear();
        c.huge = false;
    }

    /// Drops every translation.
    pub(super) fn flush_all(&mut self) {
        self.forget_translations();
        self.update_contexts();
    }

    /// Drops the translations of `pcid` that are not global.
    pub(super) fn flush_pcid(&mut self, pcid: u64) {
        self.contexts.ids[(pcid & 0xfff) as usize] = [0; 3];
        self.drop_private();
        self.update_contexts();
    }

    /// Drops all translations that are not global.
    pub(super) fn flush_not_global(&mut self) {
        self.contexts.ids.fill([0; 3]);
        self.drop_private();
        self.update_contexts();
    }

    /// CR3 now names another space: pages of the upper half that are not global are another's.
    pub(super) fn drop_private(&mut self) {
        let private = std::mem::take(&mut self.contexts.private);
        if private.len() >= MAX_PRIVATE {
            self.forget_translations();
            return;
        }
        for page in &private {
            self.core.tlb.drop_range(*page, 4096);
        }
        self.contexts.private = private;
        self.contexts.private.clear();
    }

    /// Drops the page that holds `linear`, in every space: INVLPG.
    pub(super) fn flush_page(&mut self, linear: u64) {
        if self.contexts.huge {
            self.flush_all();
            return;
        }
        let shift = self.large_shift();
        if self.contexts.large.remove(&(linear >> shift)) {
            let size = 1 << shift;
            self.core.tlb.drop_range(linear & !(size - 1), size);
        } else {
            self.core.tlb.drop_range(linear, 1);
        }
    }

    fn large_shift(&self) -> u32 {
        if self.cr4 & CR4_PAE == 0 { 22 } else { 21 }
    }

    /// A translation of the page at `linear` is to be cached: a piece of a page of `1 << shift` bytes.
    pub(super) fn note_cached(&mut self, linear: u64, shift: u32, global: bool) {
        if shift > 22 {
            self.contexts.huge = true;
        } else if shift > 12 {
            if self.contexts.large.len() >= MAX_LARGE {
                self.flush_large();
            }
            let region = linear >> self.large_shift();
            self.contexts.large.insert(region);
        }
        let page = linear & !0xfff;
        if linear >> 63 != 0
            && !global
            && self.contexts.private.len() < MAX_PRIVATE
            && self.contexts.private.last() != Some(&page)
        {
            self.contexts.private.push(page);
        }
    }

    fn flush_large(&mut self) {
        self.core.tlb.clear();
        self.contexts.large.clear();
        self.contexts.private.clear();
    }
}
