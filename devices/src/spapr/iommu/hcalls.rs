//! The TCE hypercalls. LoPAR §14.5.4.2.
//!
//! Each checks everything, then changes the table, so that an error leaves no trace (but for the laxities that say so).

use std::collections::BTreeMap;

use vm_memory::{Bytes, GuestAddress};

use super::State;
use super::memory::Memory;
use super::rules::{Laxities, Refusable};
use super::spec::{LIST_PAGE, Liobn, MAX_LAX_STUFF, MAX_TCES_PER_CALL, Tce};
use super::window::Window;
use crate::memory::GuestRam;
use crate::spapr::hcall::{
    H_FUNCTION, H_GET_TCE, H_NOT_ENOUGH_RESOURCES, H_P4, H_PARAMETER, H_PARTIAL, H_PUT_TCE,
    H_PUT_TCE_INDIRECT, H_STUFF_TCE, H_SUCCESS, Status,
};

/// How a call ends that sets entries: true if DMA in flight may still use one that was there before.
type Done = Result<bool, Status>;

/// Answer of a TCE hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TceReply {
    /// For r3.
    pub status: Status,
    /// For r4: the entry, of H_GET_TCE.
    pub tce: Option<Tce>,
}

impl From<Status> for TceReply {
    fn from(status: Status) -> Self {
        TceReply { status, tce: None }
    }
}

/// Which call a number means.
pub(super) fn kind(nr: u64) -> Option<Refusable> {
    KINDS.into_iter().find(|(_, n)| *n == nr).map(|(k, _)| k)
}

/// How many calls there were of each kind, and how many entries those set that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    calls: [u64; KINDS.len()],
    entries: [u64; KINDS.len()],
}

const KINDS: [(Refusable, u64); 4] = [
    (Refusable::Put, H_PUT_TCE),
    (Refusable::Get, H_GET_TCE),
    (Refusable::Indirect, H_PUT_TCE_INDIRECT),
    (Refusable::Stuff, H_STUFF_TCE),
];

impl Counts {
    fn add(&mut self, kind: Refusable, entries: u64) {
        let mut counts = self.calls.iter_mut().zip(&mut self.entries).zip(KINDS);
        if let Some(((calls, set), _)) = counts.find(|(_, k)| k.0 == kind) {
            *calls = calls.saturating_add(1);
            *set = set.saturating_add(entries);
        }
    }

    /// Number of the call, and how many there were, of those that there were.
    pub(super) fn calls(&self) -> impl Iterator<Item = (u64, u64)> {
        by_number(self.calls)
    }

    /// Number of the call, and how many entries it set, of those that set any.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, u64)> {
        by_number(self.entries)
    }

    /// From what [`Counts::calls`] and [`Counts::entries`] gave.
    pub(super) fn from_maps(calls: &BTreeMap<u64, u64>, entries: &BTreeMap<u64, u64>) -> Self {
        let of = |map: &BTreeMap<u64, u64>| KINDS.map(|(_, nr)| map.get(&nr).copied().unwrap_or(0));
        Counts {
            calls: of(calls),
            entries: of(entries),
        }
    }
}

/// The counts that are not zero, by the call's number.
fn by_number(counts: [u64; KINDS.len()]) -> impl Iterator<Item = (u64, u64)> {
    let counts = KINDS.into_iter().zip(counts);
    counts.map(|((_, nr), n)| (nr, n)).filter(|(_, n)| *n > 0)
}

impl State {
    /// Carries out a hypercall that sets entries. The status, and whether DMA in flight may still use entries that were there
    /// before.
    #[inline]
    pub(super) fn set_call(
        &mut self,
        kind: Refusable,
        args: &[u64],
        ram: &GuestRam,
    ) -> (Status, bool) {
        let arg = |i: usize| args.get(i).copied().unwrap_or(0);
        let done = match self.refusals.next(kind) {
            Some(status) => Err(Status(status.into())),
            None => match kind {
                Refusable::Put => self.put_tce(arg(0), arg(1), arg(2)),
                Refusable::Indirect => self.put_tce_indirect(arg(0), arg(1), arg(2), arg(3), ram),
                _ => self.stuff_tce(arg(0), arg(1), arg(2), arg(3)),
            },
        };
        let (status, entries, replaced) = match (done, kind) {
            // With this laxity a call fails after it has set the entries that fit.
            (Err(status), _) => {
                let partial = self.personality.laxities.contains(Laxities::PARTIAL);
                (status, 0, partial)
            }
            (Ok(replaced), Refusable::Put) => (H_SUCCESS, 1, replaced),
            (Ok(replaced), _) => (H_SUCCESS, arg(3), replaced),
        };
        self.count(kind, status, entries);
        (status, replaced)
    }

    /// Carries out H_GET_TCE.
    pub(super) fn get_call(&mut self, args: &[u64]) -> TceReply {
        let arg = |i: usize| args.get(i).copied().unwrap_or(0);
        let reply = match self.refusals.next(Refusable::Get) {
            Some(status) => Status(status.into()).into(),
            None => match self.get_tce(arg(0), arg(1)) {
                Ok((status, tce)) => TceReply {
                    status,
                    tce: Some(tce),
                },
                Err(status) => status.into(),
            },
        };
        self.count(Refusable::Get, reply.status, 0);
        reply
    }

    #[inline]
    fn count(&mut self, kind: Refusable, status: Status, entries: u64) {
        self.hcalls.add(kind, entries);
        if status != H_SUCCESS {
            self.count_failure(kind, status);
        }
    }

    #[cold]
    fn count_failure(&mut self, kind: Refusable, status: Status) {
        if let Some((_, nr)) = KINDS.into_iter().find(|(k, _)| *k == kind) {
            *self.hcall_errors.entry((nr, status.0)).or_default() += 1;
        }
    }

    fn put_tce(&mut self, liobn: u64, ioba: u64, tce: u64) -> Done {
        let lax = self.personality.laxities;
        let window = window_of(&mut self.windows, liobn)?;
        let (entry, _) = entries(window, ioba, 1, lax)?;
        check_tce(window, &self.memory, tce, lax)?;
        let replaced = window
            .table
            .set(entry, tce, &mut self.chunks)
            .map_err(|_| H_NOT_ENOUGH_RESOURCES)?;
        window.show();
        Ok(replaced)
    }

    /// The entry, with H_PARTIAL if its page is not the partition's.
    fn get_tce(&mut self, liobn: u64, ioba: u64) -> Result<(Status, Tce), Status> {
        let lax = self.personality.laxities;
        let window = window_of(&mut self.windows, liobn)?;
        let (entry, _) = entries(window, ioba, 1, lax)?;
        let tce = window.table.tree().get(self.chunks.store(), entry);
        // An entry was checked when it was set, but memory may have been taken from the partition since.
        let status = match check_tce(window, &self.memory, tce.0, lax) {
            Ok(()) => H_SUCCESS,
            Err(_) => H_PARTIAL,
        };
        Ok((status, tce))
    }

    #[inline(never)]
    fn put_tce_indirect(
        &mut self,
        liobn: u64,
        ioba: u64,
        list: u64,
        n: u64,
        ram: &GuestRam,
    ) -> Done {
        let lax = self.personality.laxities;
        if (liobn as i64) < 0 {
            // The Multi-TCE-Table option, which is not offered.
            return Err(H_FUNCTION);
        }
        let window = window_of(&mut self.windows, liobn)?;
        let list_is_good = self.memory.holds(list, LIST_PAGE) || lax.contains(Laxities::ANY_LIST);
        if n > MAX_TCES_PER_CALL || !list.is_multiple_of(LIST_PAGE) || !list_is_good {
            return Err(H_PARAMETER);
        }
        let (entry, fitting) = entries(window, ioba, n, lax)?;
        // Another CPU may be writing the list: what is checked must be what is used.
        let mut bytes = [0u8; LIST_PAGE as usize];
        let mut tces = [0u64; MAX_TCES_PER_CALL as usize];
        let (bytes, tces) = (&mut bytes[..fitting * 8], &mut tces[..fitting]);
        if ram.read_slice(bytes, GuestAddress(list)).is_err() {
            if !lax.contains(Laxities::ANY_LIST) {
                return Err(H_PARAMETER);
            }
            bytes.fill(0);
        }
        for (tce, cell) in tces.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *tce = u64::from_be_bytes(*cell);
            check_tce(window, &self.memory, *tce, lax)?;
        }
        let replaced = window
            .table
            .write(entry, tces, &mut self.chunks)
            .map_err(|_| H_NOT_ENOUGH_RESOURCES)?;
        window.show();
        whole(fitting, n).map(|()| replaced)
    }

    fn stuff_tce(&mut self, liobn: u64, ioba: u64, tce: u64, n: u64) -> Done {
        let lax = self.personality.laxities;
        let window = window_of(&mut self.windows, liobn)?;
        let most = if lax.contains(Laxities::ANY_COUNT) {
            MAX_LAX_STUFF
        } else {
            MAX_TCES_PER_CALL
        };
        if n > most {
            return Err(H_P4);
        }
        let (entry, fitting) = entries(window, ioba, n, lax)?;
        check_tce(window, &self.memory, tce, lax)?;
        let replaced = window
            .table
            .fill(entry, fitting, tce, &mut self.chunks)
            .map_err(|_| H_NOT_ENOUGH_RESOURCES)?;
        window.show();
        whole(fitting, n).map(|()| replaced)
    }
}

fn window_of(windows: &mut BTreeMap<Liobn, Window>, liobn: u64) -> Result<&mut Window, Status> {
    let liobn = u32::try_from(liobn).map_err(|_| H_PARAMETER)?;
    windows.get_mut(&Liobn(liobn)).ok_or(H_PARAMETER)
}

/// The entry at `ioba` and how many of `n` from there may be set: all, or with [`Laxities::PARTIAL`] those up to the window's end.
/// `n` has been checked to be small.
fn entries(window: &Window, ioba: u64, n: u64, lax: Laxities) -> Result<(u64, usize), Status> {
    let ioba = if lax.contains(Laxities::IOBA_INSIDE_PAGE) {
        ioba & !((1 << window.page_shift) - 1)
    } else {
        ioba
    };
    let entry = window.entry_at(ioba).ok_or(H_PARAMETER)?;
    let room = window.table.size() - entry;
    if n > room && !lax.contains(Laxities::PARTIAL) {
        return Err(H_PARAMETER);
    }
    Ok((entry, n.min(room) as usize))
}

/// The answer once `done` of `n` entries are set.
fn whole(done: usize, n: u64) -> Result<(), Status> {
    if done as u64 == n {
        Ok(())
    } else {
        Err(H_PARAMETER)
    }
}

/// An entry that allows access must name one whole page of the partition's RAM. One that allows none may hold anything.
fn check_tce(window: &Window, memory: &Memory, tce: u64, lax: Laxities) -> Result<(), Status> {
    if !Tce(tce).is_mapped() || lax.contains(Laxities::ANY_TCE) {
        return Ok(());
    }
    let page = 1u64 << window.page_shift;
    let address = tce & !(Tce::READ | Tce::WRITE);
    if address & (page - 1) == 0 && memory.holds(address, page) {
        Ok(())
    } else {
        Err(H_PARAMETER)
    }
}
