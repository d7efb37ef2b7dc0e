//! The first stage, alone or nested in the second. VT-d 4.1 §3.6 (first stage), §3.8 (nested), §9.7 (entries).

use super::second::Need;
use super::{Observer, Page, SecondStage, Stop, Target, Walker};
use crate::vtd::caches::{PageKey, Upper};
use crate::vtd::memory::{Swap, TableMemory};
use crate::vtd::request::{Fault, Operation, Request, Structure};
use crate::vtd::spec::fault::Reason;
use crate::vtd::spec::mask;
use crate::vtd::spec::paging::{ADDRESS, first, index, shift};
use crate::vtd::spec::pasid::PasidEntry;

/// First-stage tables of a PASID and the rules for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstStage {
    /// FSPTPTR: physical, or a guest address if nested.
    pub table: u64,
    /// 4 or 5.
    pub levels: u32,
    /// WPE: privileged writes respect R/W.
    pub write_protect: bool,
    /// NXE: XD means something.
    pub no_execute: bool,
    /// SMEP: privileged requests do not fetch from user pages.
    pub smep: bool,
    /// EAFE: EA is set with A.
    pub extended_accessed: bool,
    /// PWSNP.
    pub snooped: bool,
}

impl FirstStage {
    pub(super) fn of(entry: &PasidEntry) -> Self {
        FirstStage {
            table: entry.first_stage(),
            levels: 4 + u32::from(entry.paging_mode() & 1),
            write_protect: entry.first_stage_flag(PasidEntry::WPE),
            no_execute: entry.first_stage_flag(PasidEntry::NXE),
            smep: entry.first_stage_flag(PasidEntry::SMEP),
            extended_accessed: entry.first_stage_flag(PasidEntry::EAFE),
            snooped: entry.page_walk_snoop(),
        }
    }
}

/// What the entries passed so far allow.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    pub write: bool,
    pub user: bool,
    pub execute: bool,
}

impl Rights {
    pub const ALL: Rights = Rights {
        write: true,
        user: true,
        execute: true,
    };

    fn and(self, entry: u64) -> Self {
        Rights {
            write: self.write && entry & first::RW != 0,
            user: self.user && entry & first::US != 0,
            execute: self.execute && entry & first::XD == 0,
        }
    }
}

/// An entry's address: physical, and what the second stage made it from.
struct EntryAddress {
    guest: u64,
    physical: u64,
}

impl<M: TableMemory + ?Sized> Walker<'_, M> {
    pub(super) fn first_stage<O: Observer>(
        &self,
        target: &Target,
        stage: &FirstStage,
        nested: Option<&SecondStage>,
        request: &Request,
        o: &mut O,
    ) -> Result<Page, Stop> {
        let address = request.address;
        let sign = shift(stage.levels + 1) - 1;
        if (address as i64) << (63 - sign) >> (63 - sign) != address as i64 {
            return Err(Stop::Fault(Fault::new(Reason::NotCanonical)));
        }
        let generation = self.caches.paging.generation();
        let (mut table, mut level, mut rights) = (stage.table, stage.levels, Rights::ALL);
        let key = PageKey::new(target);
        if nested.is_none()
            && let Some(hit) = self.caches.paging.get(&key, address, stage.levels)
        {
            (table, level) = (hit.table, hit.level);
            rights = Rights {
                write: hit.write,
                user: hit.read,
                execute: hit.execute,
            };
        }
        loop {
            let root = level == stage.levels;
            let guest = table + 8 * index(address, level);
            let at = self.entry_address(target, nested, guest, root, o)?;
            let structure = Structure::FirstStage(level);
            let place = |reason| Fault::at(reason, structure, at.physical);
            let entry = self.memory.load(at.physical).map_err(|_| {
                place(if root {
                    Reason::FirstStageRootAccess
                } else {
                    Reason::FirstStageAccess
                })
            })?;
            o.fetched(structure, at.physical, &[entry]);
            if entry & first::P == 0 {
                return Err(Stop::Fault(place(Reason::FirstStageNotPresent)));
            }
            let leaf = level == 1 || entry & first::PS != 0 && (2..=3).contains(&level);
            if entry & self.first_reserved(stage, nested, level, leaf) != 0 {
                return Err(Stop::Fault(place(Reason::FirstStageReserved)));
            }
            if nested.is_some_and(|s| self.beyond_second_stage(s, entry & ADDRESS)) {
                return Err(Stop::Fault(place(Reason::FirstStageEntryWidth)));
            }
            rights = rights.and(entry);
            let mut now = entry | first::A;
            if stage.extended_accessed {
                now |= first::EA;
            }
            if leaf {
                return self.first_leaf(
                    FirstLeaf {
                        target,
                        stage,
                        nested,
                        request,
                        level,
                        rights,
                        entry,
                        at,
                        now,
                    },
                    o,
                );
            }
            self.set_first_bits(target, stage, nested, &at, entry, now, place, o)?;
            table = entry & ADDRESS;
            level -= 1;
            if nested.is_none() {
                let upper = Upper {
                    table,
                    level,
                    read: rights.user,
                    write: rights.write,
                    execute: rights.execute,
                };
                let paging = &self.caches.paging;
                paging.fill(&key, address, stage.levels, &upper, generation);
            }
        }
    }

    fn first_leaf<O: Observer>(&self, leaf: FirstLeaf<'_>, o: &mut O) -> Result<Page, Stop> {
        let FirstLeaf {
            target,
            stage,
            nested,
            request,
            level,
            rights,
            entry,
            at,
            mut now,
        } = leaf;
        let structure = Structure::FirstStage(level);
        let place = |reason| Fault::at(reason, structure, at.physical);
        let size = shift(level);
        let output = entry & ADDRESS & !mask(size - 1, 0) | request.address & mask(size - 1, 0);
        let mut page = Page {
            first_write: rights.write,
            user: rights.user,
            execute: rights.execute,
            global: entry & first::G != 0,
            ..Page::identity(output, size)
        };
        if let Some(reason) = page.denies(target, request, self.config.zero_length_read) {
            return Err(Stop::Fault(place(reason)));
        }
        if let Some(second) = nested {
            if self.beyond_second_stage(second, output) {
                return Err(Stop::Fault(place(Reason::SecondStageWidth)));
            }
            let need = Need {
                read: request.operation.reads(),
                write: request.operation.writes(),
                any: request.operation == Operation::ZeroLengthRead && self.config.zero_length_read,
                denied_read: Reason::ScalableRead,
                denied_write: Reason::ScalableWrite,
            };
            let inner = self.nested_walk(target, second, output, need, o)?;
            page.address = inner.address;
            page.shift = size.min(inner.shift);
            page.second_read = inner.read;
            page.second_write = inner.write;
            page.dirty = inner.dirty;
            page.snoop = inner.snoop;
        }
        if request.operation.writes() {
            now |= first::D;
        }
        self.set_first_bits(target, stage, nested, &at, entry, now, place, o)?;
        page.dirty &= now & first::D != 0;
        Ok(page)
    }

    fn nested_walk<O: Observer>(
        &self,
        target: &Target,
        second: &SecondStage,
        input: u64,
        need: Need,
        o: &mut O,
    ) -> Result<super::second::Leaf, Stop> {
        o.begin_nested(input);
        let result = self.second_stage(target, second, input, need, o);
        o.end_nested(result.as_ref().ok().map(|leaf| leaf.address));
        result
    }

    /// Where an entry is in physical memory. SFS.5 to SFS.7.
    fn entry_address<O: Observer>(
        &self,
        target: &Target,
        nested: Option<&SecondStage>,
        guest: u64,
        root: bool,
        o: &mut O,
    ) -> Result<EntryAddress, Stop> {
        let Some(second) = nested else {
            return Ok(EntryAddress {
                guest,
                physical: guest,
            });
        };
        if self.beyond_second_stage(second, guest) {
            return Err(Stop::Fault(Fault::new(Reason::FirstStageEntryWidth)));
        }
        let denied = if root {
            Reason::FirstStageRootRead
        } else {
            Reason::FirstStageRead
        };
        let need = Need {
            read: true,
            write: false,
            any: false,
            denied_read: denied,
            denied_write: denied,
        };
        let leaf = self.nested_walk(target, second, guest, need, o)?;
        Ok(EntryAddress {
            guest,
            physical: leaf.address,
        })
    }

    /// Sets accessed and dirty bits of a first-stage entry. SFS.8 to SFS.10.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of a walk, used at two places"
    )]
    fn set_first_bits<O: Observer>(
        &self,
        target: &Target,
        stage: &FirstStage,
        nested: Option<&SecondStage>,
        at: &EntryAddress,
        was: u64,
        now: u64,
        place: impl Fn(Reason) -> Fault,
        o: &mut O,
    ) -> Result<(), Stop> {
        if was == now {
            return Ok(());
        }
        if !stage.snooped {
            return Err(Stop::Fault(place(Reason::FirstStageNoSnoop)));
        }
        if let Some(second) = nested {
            // The table is a page of the second stage like any other: it must be writable, and becomes dirty.
            let need = Need {
                read: true,
                write: true,
                any: false,
                denied_read: Reason::FirstStageRead,
                denied_write: Reason::FirstStageWrite,
            };
            let leaf = self.nested_walk(target, second, at.guest, need, o)?;
            if leaf.address != at.physical {
                return Err(Stop::Changed(place(Reason::FirstStageUpdate)));
            }
        }
        match self.memory.compare_exchange(at.physical, was, now) {
            Ok(Swap::Done) => Ok(()),
            Ok(Swap::Changed) => Err(Stop::Changed(place(Reason::FirstStageUpdate))),
            Err(_) => Err(Stop::Fault(place(Reason::FirstStageUpdate))),
        }
    }

    /// Bits that must be zero in a present entry. VT-d 4.1 §9.7.
    fn first_reserved(
        &self,
        stage: &FirstStage,
        nested: Option<&SecondStage>,
        level: u32,
        leaf: bool,
    ) -> u64 {
        let c = self.config;
        // Addresses of a nested first stage are the guest's; the second stage's width judges them.
        let mut bits = if c.host_address_width < 52 && nested.is_none() {
            mask(51, c.host_address_width)
        } else {
            0
        };
        if !stage.no_execute {
            bits |= first::XD;
        }
        if !leaf {
            return if level > 1 { bits | first::PS } else { bits };
        }
        if level > 1 {
            // Bit 12 is PAT.
            bits |= mask(shift(level) - 1, 13);
        }
        if level == 3 && !c.first_stage_1g {
            bits |= first::PS;
        }
        bits
    }
}

/// The state of a walk at its leaf.
struct FirstLeaf<'a> {
    target: &'a Target,
    stage: &'a FirstStage,
    nested: Option<&'a SecondStage>,
    request: &'a Request,
    level: u32,
    rights: Rights,
    entry: u64,
    at: EntryAddress,
    now: u64,
}
