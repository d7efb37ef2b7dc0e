//! Dynamic DMA windows: the four RTAS calls. LoPAR §7.3.14.
//!
//! `args` and `rets` are the cells of the call in host byte order; `rets[0]` is the status. A call that fails changes nothing.

use super::report::DdwCall;
use super::rules::{Laxities, Refusable, Reserved};
use super::spec::{
    Liobn, PageSizes, RTAS_HARDWARE_ERROR, RTAS_PARAMETER_ERROR, RTAS_SUCCESS, RtasStatus,
};
use super::window::{Kind, Window, place};
use super::{MAX_CALLS, State};

type Outcome = Result<(), RtasStatus>;

/// Largest block that fits the 32-bit cell of the five-output query, as a power of two.
const LARGEST_BLOCK_32: u64 = 1 << 31;

impl State {
    /// Runs `call`, writes the status, leaves zeros in the outputs of a failed call and remembers it.
    pub(super) fn ddw(
        &mut self,
        name: &'static str,
        args: &[u32],
        rets: &mut [u32],
        kind: Refusable,
        call: fn(&mut State, &[u32], &mut [u32]) -> Outcome,
    ) {
        rets.fill(0);
        let Some((first, outputs)) = rets.split_first_mut() else {
            return;
        };
        let status = match self.refusals.next(kind) {
            Some(status) => RtasStatus(status),
            None => call(self, args, outputs).err().unwrap_or(RTAS_SUCCESS),
        };
        if status != RTAS_SUCCESS {
            outputs.fill(0);
        }
        *first = status.0 as u32;
        if self.calls.len() < MAX_CALLS {
            // RTAS itself limits a call to 16 cells; so does the record.
            let few = |cells: &[u32]| cells.iter().copied().take(16).collect();
            self.calls.push(DdwCall {
                at_ns: self.now_ns,
                name,
                args: few(args),
                status,
                outputs: few(outputs),
            });
        } else {
            self.calls_dropped = self.calls_dropped.saturating_add(1);
        }
    }

    fn pe_of(&self, config_addr: u32, buid_hi: u32, buid_lo: u32) -> Result<usize, RtasStatus> {
        let buid = u64::from(buid_hi) << 32 | u64::from(buid_lo);
        self.pes
            .iter()
            .position(|pe| pe.config().buid == buid && pe.config().has_address(config_addr))
            .ok_or(RTAS_PARAMETER_ERROR)
    }

    fn windows_available(&self, pe: usize) -> u32 {
        let have = self.pes.get(pe).map_or(0, |pe| pe.windows.len());
        self.personality
            .windows
            .saturating_sub(u32::try_from(have).unwrap_or(u32::MAX))
    }

    /// ibm,query-pe-dma-window. LoPAR §7.3.14.1.
    pub(super) fn query(&mut self, args: &[u32], outputs: &mut [u32]) -> Outcome {
        let &[config_addr, buid_hi, buid_lo] = args else {
            return Err(RTAS_PARAMETER_ERROR);
        };
        let constant = self.personality.laxities.contains(Laxities::CONSTANT_QUERY);
        let available = if constant {
            let buid = u64::from(buid_hi) << 32 | u64::from(buid_lo);
            let known = self.pes.iter().any(|pe| pe.config().buid == buid);
            known
                .then_some(self.personality.windows)
                .ok_or(RTAS_PARAMETER_ERROR)?
        } else {
            self.windows_available(self.pe_of(config_addr, buid_hi, buid_lo)?)
        };
        let p = &self.personality;
        let block = if available == 0 { 0 } else { p.largest_block };
        let (sizes, migration) = (p.page_sizes.bits(), p.migration_mask);
        match outputs {
            [a, b, c, d] => {
                (*a, *b, *c, *d) = (
                    available,
                    block.min(LARGEST_BLOCK_32) as u32,
                    sizes,
                    migration,
                )
            }
            [a, hi, lo, c, d] if p.extensions >= 2 => {
                (*a, *hi, *lo, *c, *d) = (
                    available,
                    (block >> 32) as u32,
                    block as u32,
                    sizes,
                    migration,
                );
            }
            _ => return Err(RTAS_PARAMETER_ERROR),
        }
        Ok(())
    }

    /// ibm,create-pe-dma-window. LoPAR §7.3.14.2.
    pub(super) fn create(&mut self, args: &[u32], outputs: &mut [u32]) -> Outcome {
        let &[config_addr, buid_hi, buid_lo, page_shift, window_shift] = args else {
            return Err(RTAS_PARAMETER_ERROR);
        };
        let [out_liobn, out_hi, out_lo] = outputs else {
            return Err(RTAS_PARAMETER_ERROR);
        };
        let pe = self.pe_of(config_addr, buid_hi, buid_lo)?;
        let page = PageSizes::of_shift(page_shift).ok_or(RTAS_PARAMETER_ERROR)?;
        if !self.personality.page_sizes.contains(page) || window_shift < page_shift {
            return Err(RTAS_PARAMETER_ERROR);
        }
        let size = 1u64.checked_shl(window_shift).ok_or(RTAS_PARAMETER_ERROR)?;
        let lax = self.personality.laxities;
        if lax.contains(Laxities::COUNT_OF_32_BITS) {
            let count = (size >> page_shift) as u32;
            if count == 0 {
                return Err(RTAS_HARDWARE_ERROR);
            }
        } else if size >> page_shift > self.personality.largest_block {
            return Err(RTAS_PARAMETER_ERROR);
        }
        if self.windows_available(pe) == 0 {
            return Err(RTAS_HARDWARE_ERROR);
        }
        let base = self.place_for(pe, size).ok_or(RTAS_HARDWARE_ERROR)?;
        let liobn = self.free_liobn(pe).ok_or(RTAS_HARDWARE_ERROR)?;
        self.insert_window(Some(pe), liobn, base, size, page_shift, Kind::Dynamic);
        (*out_liobn, *out_hi, *out_lo) = (liobn.0, (base >> 32) as u32, base as u32);
        Ok(())
    }

    /// ibm,remove-pe-dma-window. LoPAR §7.3.14.3.
    pub(super) fn remove(&mut self, args: &[u32], outputs: &mut [u32]) -> Outcome {
        let (&[liobn], []) = (args, outputs) else {
            return Err(RTAS_PARAMETER_ERROR);
        };
        let liobn = Liobn(liobn);
        let pe = self
            .pes
            .iter()
            .position(|pe| pe.windows.contains(&liobn))
            .ok_or(RTAS_PARAMETER_ERROR)?;
        let dynamic = self
            .windows
            .get(&liobn)
            .is_some_and(|w| w.kind == Kind::Dynamic);
        self.remove_window(pe, liobn);
        let stays_away = self
            .personality
            .laxities
            .contains(Laxities::DEFAULT_STAYS_AWAY);
        if dynamic && !stays_away && !self.has_dynamic(pe) {
            self.restore_default(pe);
        }
        Ok(())
    }

    /// ibm,reset-pe-dma-window: the state at boot. With the third extension a fourth argument of 1 puts the PE into limited address
    /// mode, and 0 or its absence takes it out. LoPAR §7.3.14.4.
    pub(super) fn reset_windows(&mut self, args: &[u32], outputs: &mut [u32]) -> Outcome {
        let (pe, limited) = match (args, outputs) {
            (&[config_addr, buid_hi, buid_lo], []) => {
                (self.pe_of(config_addr, buid_hi, buid_lo)?, false)
            }
            (&[config_addr, buid_hi, buid_lo, mode @ (0 | 1)], [])
                if self.personality.extensions >= 3 =>
            {
                (self.pe_of(config_addr, buid_hi, buid_lo)?, mode == 1)
            }
            _ => return Err(RTAS_PARAMETER_ERROR),
        };
        self.reset_pe(pe);
        if let Some(pe) = self.pes.get_mut(pe) {
            pe.limited = limited;
        }
        Ok(())
    }

    fn has_dynamic(&self, pe: usize) -> bool {
        let Some(pe) = self.pes.get(pe) else {
            return false;
        };
        pe.windows.iter().any(|liobn| {
            let window = self.windows.get(liobn);
            window.is_some_and(|w| w.kind == Kind::Dynamic)
        })
    }

    /// Puts the default window back in its old place if it is gone.
    fn restore_default(&mut self, pe: usize) {
        let Some(liobn) = self.pes.get(pe).map(|pe| pe.config().liobn) else {
            return;
        };
        if !self.windows.contains_key(&liobn) {
            self.insert_default(pe);
        }
    }

    /// Adds the default window of a PE, which is not there.
    pub(super) fn insert_default(&mut self, pe: usize) {
        let Some(liobn) = self.pes.get(pe).map(|pe| pe.config().liobn) else {
            return;
        };
        let p = self.personality;
        let (base, size) = (p.default_base, p.default_size);
        let shift = p.default_page_shift;
        self.insert_window(Some(pe), liobn, base, size, shift, Kind::Default);
    }

    /// Removes the dynamic windows, restores the default window and empties it.
    pub(super) fn reset_pe(&mut self, pe: usize) {
        let Some(state) = self.pes.get(pe) else {
            return;
        };
        let default = state.config().liobn;
        let dynamic: Vec<Liobn> = state
            .windows
            .iter()
            .copied()
            .filter(|l| *l != default)
            .collect();
        for liobn in dynamic {
            self.remove_window(pe, liobn);
        }
        if let Some(pe) = self.pes.get_mut(pe) {
            pe.limited = false;
        }
        self.restore_default(pe);
        if let Some(window) = self.windows.get_mut(&default) {
            window.table.clear(&mut self.chunks);
            window.show();
        }
    }

    /// A bus address clear of the PE's windows, of the default window's place even while that is gone, and of reserved ranges.
    fn place_for(&self, pe: usize, size: u64) -> Option<u64> {
        let p = &self.personality;
        let mut taken = p.reserved.to_vec();
        taken.push(Reserved {
            base: p.default_base,
            size: p.default_size,
        });
        let windows = self.pes.get(pe)?.windows.iter();
        let windows = windows.filter_map(|l| self.windows.get(l));
        taken.extend(windows.map(|w| Reserved {
            base: w.base,
            size: w.size,
        }));
        let from = if self.pes.get(pe)?.limited {
            p.limited_base
        } else {
            p.dynamic_base
        };
        place(from, size, &taken)
    }

    /// The lowest LIOBN above the PE's default that names nothing, nor a default window that may come back.
    fn free_liobn(&self, pe: usize) -> Option<Liobn> {
        let default = self.pes.get(pe)?.config().liobn;
        (default.0.checked_add(1)?..=u32::MAX)
            .take(self.windows.len() + self.pes.len() + 1)
            .map(Liobn)
            .find(|l| !self.names(*l))
    }

    fn remove_window(&mut self, pe: usize, liobn: Liobn) {
        if let Some(pe) = self.pes.get_mut(pe) {
            pe.windows.retain(|l| *l != liobn);
        }
        if let Some(mut window) = self.windows.remove(&liobn) {
            self.remember(window.report(Some(self.now_ns)));
            window.hide();
            window.table.clear(&mut self.chunks);
        }
    }

    /// Adds a window that has been checked not to collide.
    pub(super) fn insert_window(
        &mut self,
        pe: Option<usize>,
        liobn: Liobn,
        base: u64,
        size: u64,
        page_shift: u32,
        kind: Kind,
    ) {
        let mut window = Window::new(liobn, base, size, page_shift, kind, self.next_order);
        window.created_ns = self.now_ns;
        self.next_order += 1;
        if let Some(pe) = pe.and_then(|pe| self.pes.get_mut(pe)) {
            pe.windows.push(liobn);
            window.show_in(&pe.endpoint);
        }
        self.windows.insert(liobn, window);
    }
}
