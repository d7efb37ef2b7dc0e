//! The second stage. VT-d 4.1 §3.7 (translation), §3.7.2 (accessed and dirty bits), §9.8 (entries).

use super::{Observer, Page, Stages, Stop, Target, Walker};
use crate::vtd::caches::{PagingCache, Upper};
use crate::vtd::memory::{Swap, TableMemory};
use crate::vtd::request::{Fault, Operation, Request, Structure};
use crate::vtd::spec::fault::Reason;
use crate::vtd::spec::mask;
use crate::vtd::spec::paging::{ADDRESS, index, second, shift};
use crate::vtd::spec::pasid::PasidEntry;

/// Second-stage tables of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondStage {
    /// SSPTPTR.
    pub table: u64,
    /// 3, 4 or 5.
    pub levels: u32,
    /// SSADE: accessed and dirty bits are kept.
    pub accessed_dirty: bool,
    /// PWSNP, or legacy mode.
    pub snooped: bool,
}

impl SecondStage {
    pub(super) fn of(entry: &PasidEntry) -> Self {
        SecondStage {
            table: entry.second_stage(),
            levels: u32::from(entry.address_width()) + 2,
            accessed_dirty: entry.second_stage_ad(),
            snooped: entry.page_walk_snoop(),
        }
    }
}

/// What an access of the second stage is for, and the reasons if it is denied.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub read: bool,
    pub write: bool,
    /// A zero length read: any permission will do.
    pub any: bool,
    pub denied_read: Reason,
    pub denied_write: Reason,
}

/// A second-stage leaf.
#[derive(Clone, Copy)]
pub(super) struct Leaf {
    pub address: u64,
    pub shift: u32,
    pub read: bool,
    pub write: bool,
    pub dirty: bool,
    pub snoop: bool,
}

impl<M: TableMemory + ?Sized> Walker<'_, M> {
    pub(super) fn second_only<O: Observer>(
        &self,
        target: &Target,
        stage: &SecondStage,
        request: &Request,
        o: &mut O,
    ) -> Result<Page, Stop> {
        if self.beyond_second_stage(stage, request.address) {
            return Err(Stop::Fault(Fault::new(if target.scalable {
                Reason::SecondStageWidth
            } else {
                Reason::AddressBeyondWidth
            })));
        }
        let (denied_write, denied_read) = if target.scalable {
            (Reason::ScalableWrite, Reason::ScalableRead)
        } else {
            (Reason::Write, Reason::Read)
        };
        let zero_length = request.operation == Operation::ZeroLengthRead;
        let need = Need {
            read: request.operation.reads(),
            write: request.operation.writes(),
            any: zero_length && self.config.zero_length_read,
            denied_read,
            denied_write,
        };
        let leaf = self.second_stage(target, stage, request.address, need, o)?;
        Ok(Page {
            second_read: leaf.read,
            second_write: leaf.write,
            dirty: leaf.dirty,
            snoop: leaf.snoop,
            ..Page::identity(leaf.address, leaf.shift)
        })
    }

    /// True if an input address is beyond MGAW or the width of the tables.
    pub(super) fn beyond_second_stage(&self, stage: &SecondStage, input: u64) -> bool {
        let width = self.config.guest_address_width.min(shift(stage.levels + 1));
        input & !mask(width - 1, 0) != 0
    }

    /// Walks the second stage for an input address that is not beyond it.
    pub(super) fn second_stage<O: Observer>(
        &self,
        target: &Target,
        stage: &SecondStage,
        input: u64,
        need: Need,
        o: &mut O,
    ) -> Result<Leaf, Stop> {
        let generation = self.caches.paging.generation();
        let iotlb_generation = self.caches.iotlb.generation();
        let key = PagingCache::second_key(target.domain);
        let (mut table, mut level, mut read, mut write) = (stage.table, stage.levels, true, true);
        if let Some(hit) = self.caches.paging.get(&key, input, stage.levels) {
            (table, level, read, write) = (hit.table, hit.level, hit.read, hit.write);
        }
        loop {
            let at = table + 8 * index(input, level);
            let structure = Structure::SecondStage(level);
            let place = |reason| Fault::at(reason, structure, at);
            let entry = self
                .memory
                .load(at)
                .map_err(|_| place(unreadable(target, level == stage.levels)))?;
            o.fetched(structure, at, &[entry]);
            if entry & (second::R | second::W) == 0 {
                if self.config.caching_mode && matches!(target.stages, Stages::Second(_)) {
                    let iotlb = &self.caches.iotlb;
                    iotlb.fill_absent(&key, input, iotlb_generation);
                }
                return Err(Stop::Fault(place(not_present(target, need.write))));
            }
            let leaf = level == 1 || entry & second::PS != 0 && (2..=3).contains(&level);
            if entry & self.second_reserved(level, leaf) != 0 {
                return Err(Stop::Fault(place(if target.scalable {
                    Reason::ScalableSecondStageReserved
                } else {
                    Reason::SecondStageReserved
                })));
            }
            read &= entry & second::R != 0;
            write &= entry & second::W != 0;
            // SSS.2 is also for entries that together permit nothing.
            if target.scalable && !read && !write {
                return Err(Stop::Fault(place(not_present(target, need.write))));
            }
            if need.write && !write {
                return Err(Stop::Fault(place(need.denied_write)));
            }
            if need.read && !read && !(need.any && write) {
                return Err(Stop::Fault(place(need.denied_read)));
            }
            let mut now = entry;
            if stage.accessed_dirty {
                now |= second::A;
                if leaf && need.write {
                    now |= second::D;
                }
                self.set_second_bits(stage, at, entry, now, place)?;
            }
            if leaf {
                let size = shift(level);
                return Ok(Leaf {
                    address: now & ADDRESS & !mask(size - 1, 0) | input & mask(size - 1, 0),
                    shift: size,
                    read,
                    write,
                    dirty: !stage.accessed_dirty || now & second::D != 0,
                    snoop: now & second::SNP != 0,
                });
            }
            table = entry & ADDRESS;
            level -= 1;
            let upper = Upper {
                table,
                level,
                read,
                write,
                execute: true,
            };
            let paging = &self.caches.paging;
            paging.fill(&key, input, stage.levels, &upper, generation);
        }
    }

    fn set_second_bits(
        &self,
        stage: &SecondStage,
        at: u64,
        was: u64,
        now: u64,
        place: impl Fn(Reason) -> Fault,
    ) -> Result<(), Stop> {
        if was == now {
            return Ok(());
        }
        if !stage.snooped {
            return Err(Stop::Fault(place(Reason::SecondStageNoSnoop)));
        }
        match self.memory.compare_exchange(at, was, now) {
            Ok(Swap::Done) => Ok(()),
            Ok(Swap::Changed) => Err(Stop::Changed(place(Reason::SecondStageUpdate))),
            Err(_) => Err(Stop::Fault(place(Reason::SecondStageUpdate))),
        }
    }

    /// Bits that must be zero in a present entry. VT-d 4.1 §9.8.
    fn second_reserved(&self, level: u32, leaf: bool) -> u64 {
        let c = self.config;
        let mut bits = if c.host_address_width < 52 {
            mask(51, c.host_address_width)
        } else {
            0
        };
        if !leaf {
            // PS where it may not be; SNP and TM are for leaves.
            return bits | second::PS | second::SNP | second::TM;
        }
        if !c.snoop_control {
            bits |= second::SNP;
        }
        if !c.device_tlb {
            bits |= second::TM;
        }
        if level > 1 {
            bits |= mask(shift(level) - 1, 12);
            let supported = match level {
                2 => c.second_stage_2m,
                _ => c.second_stage_1g,
            };
            if !supported {
                bits |= second::PS;
            }
        }
        bits
    }
}

fn unreadable(target: &Target, root: bool) -> Reason {
    match (target.scalable, root) {
        (false, true) => Reason::ContextInvalid,
        (false, false) => Reason::SecondStageAccess,
        (true, true) => Reason::SecondStageRootAccess,
        (true, false) => Reason::ScalableSecondStageAccess,
    }
}

/// LGN.2, LGN.3, SSS.2.
pub(super) fn not_present(target: &Target, write: bool) -> Reason {
    match (target.scalable, write) {
        (true, _) => Reason::SecondStageNotPresent,
        (false, true) => Reason::Write,
        (false, false) => Reason::Read,
    }
}
