//! The TCE hypercalls. LoPAR §14.5.4.2.
//!
//! Each checks everything, then changes the table, so that an error leaves no trace.

use vm_memory::{Bytes, GuestAddress};

use super::State;
use super::spec::{LIST_PAGE, Liobn, MAX_TCES_PER_CALL, Tce};
use super::window::Window;
use crate::memory::GuestRam;
use crate::spapr::hcall::{
    H_FUNCTION, H_GET_TCE, H_NOT_ENOUGH_RESOURCES, H_P4, H_PARAMETER, H_PUT_TCE,
    H_PUT_TCE_INDIRECT, H_STUFF_TCE, H_SUCCESS, Reply, Status,
};

type Answer = Result<Option<u64>, Status>;

impl State {
    /// Carries out a TCE hypercall; None for any other number.
    pub(super) fn hcall(&mut self, nr: u64, args: &[u64], ram: &GuestRam) -> Option<Reply> {
        let arg = |i: usize| args.get(i).copied().unwrap_or(0);
        let answer = match nr {
            H_PUT_TCE => self.put_tce(arg(0), arg(1), arg(2)),
            H_GET_TCE => self.get_tce(arg(0), arg(1)),
            H_PUT_TCE_INDIRECT => self.put_tce_indirect(arg(0), arg(1), arg(2), arg(3), ram),
            H_STUFF_TCE => self.stuff_tce(arg(0), arg(1), arg(2), arg(3)),
            _ => return None,
        };
        let count = self.hcalls.entry(nr).or_default();
        *count = count.saturating_add(1);
        Some(match answer {
            Ok(None) => H_SUCCESS.into(),
            Ok(Some(value)) => Reply::with(&[value]),
            Err(status) => {
                *self.hcall_errors.entry((nr, status.0)).or_default() += 1;
                status.into()
            }
        })
    }

    fn put_tce(&mut self, liobn: u64, ioba: u64, tce: u64) -> Answer {
        let ram_size = self.ram_size;
        let window = self.windows.get_mut(&liobn_of(liobn)?).ok_or(H_PARAMETER)?;
        let entry = window.entries_at(ioba, 1).ok_or(H_PARAMETER)?;
        check_tce(window, ram_size, tce)?;
        window
            .table
            .write(entry, &[tce], &mut self.budget)
            .map_err(|_| H_NOT_ENOUGH_RESOURCES)?;
        Ok(None)
    }

    fn get_tce(&self, liobn: u64, ioba: u64) -> Answer {
        let window = self.windows.get(&liobn_of(liobn)?).ok_or(H_PARAMETER)?;
        let entry = window.entries_at(ioba, 1).ok_or(H_PARAMETER)?;
        // H_PARTIAL (page not owned) cannot come up: an entry was checked when it was set, and partition RAM does not shrink.
        Ok(Some(window.table.get(entry).0))
    }

    fn put_tce_indirect(
        &mut self,
        liobn: u64,
        ioba: u64,
        list: u64,
        n: u64,
        ram: &GuestRam,
    ) -> Answer {
        if (liobn as i64) < 0 {
            // The Multi-TCE-Table option, which is not offered.
            return Err(H_FUNCTION);
        }
        let ram_size = self.ram_size;
        let window = self.windows.get_mut(&liobn_of(liobn)?).ok_or(H_PARAMETER)?;
        let list_in_ram = list
            .checked_add(LIST_PAGE)
            .is_some_and(|end| end <= ram_size);
        if n > MAX_TCES_PER_CALL || !list.is_multiple_of(LIST_PAGE) || !list_in_ram {
            return Err(H_PARAMETER);
        }
        let entry = window.entries_at(ioba, n).ok_or(H_PARAMETER)?;
        // Another CPU may be writing the list: what is checked must be what is used.
        let n = n as usize;
        let mut bytes = [0u8; LIST_PAGE as usize];
        let mut tces = [0u64; MAX_TCES_PER_CALL as usize];
        let (bytes, tces) = (&mut bytes[..n * 8], &mut tces[..n]);
        ram.read_slice(bytes, GuestAddress(list))
            .map_err(|_| H_PARAMETER)?;
        for (tce, cell) in tces.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *tce = u64::from_be_bytes(*cell);
            check_tce(window, ram_size, *tce)?;
        }
        window
            .table
            .write(entry, tces, &mut self.budget)
            .map_err(|_| H_NOT_ENOUGH_RESOURCES)?;
        Ok(None)
    }

    fn stuff_tce(&mut self, liobn: u64, ioba: u64, tce: u64, n: u64) -> Answer {
        let ram_size = self.ram_size;
        let window = self.windows.get_mut(&liobn_of(liobn)?).ok_or(H_PARAMETER)?;
        if n > MAX_TCES_PER_CALL {
            return Err(H_P4);
        }
        let entry = window.entries_at(ioba, n).ok_or(H_PARAMETER)?;
        check_tce(window, ram_size, tce)?;
        window
            .table
            .fill(entry, n as usize, tce, &mut self.budget)
            .map_err(|_| H_NOT_ENOUGH_RESOURCES)?;
        Ok(None)
    }
}

fn liobn_of(arg: u64) -> Result<Liobn, Status> {
    u32::try_from(arg).map(Liobn).map_err(|_| H_PARAMETER)
}

/// An entry that allows access must name one whole page of the partition's RAM. One that allows none may hold anything.
fn check_tce(window: &Window, ram_size: u64, tce: u64) -> Result<(), Status> {
    if !Tce(tce).is_mapped() {
        return Ok(());
    }
    let page = 1u64 << window.page_shift;
    let address = tce & !(Tce::READ | Tce::WRITE);
    let inside = address.checked_add(page).is_some_and(|end| end <= ram_size);
    if address & (page - 1) == 0 && inside {
        Ok(())
    } else {
        Err(H_PARAMETER)
    }
}
