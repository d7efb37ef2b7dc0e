//! The model: windows and entries in maps, with none of the unit's structure. Same answers, same state, no half state after an error.

use std::collections::{BTreeMap, BTreeSet};

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::dma::DmaPort;
use crate::spapr::{MSI_WINDOW, MSI_WINDOW_SIZE};

/// One call. A window is a number for [`Model::pick`]; an offset counts from the window's start, or from its end if negative.
#[derive(Clone, Debug)]
pub enum Op {
    /// H_PUT_TCE.
    Put {
        /// Window.
        window: usize,
        /// Offset.
        ioba: u64,
        /// Entry.
        tce: u64,
    },
    /// H_STUFF_TCE.
    Stuff {
        /// Window.
        window: usize,
        /// Offset.
        ioba: u64,
        /// Entry.
        tce: u64,
        /// Entries.
        n: u64,
    },
    /// H_PUT_TCE_INDIRECT.
    Indirect {
        /// Window.
        window: usize,
        /// Offset.
        ioba: u64,
        /// Where the list is; the entries are written there first if it is in RAM.
        list: u64,
        /// Entries.
        tces: Vec<u64>,
        /// Entries named in the call.
        n: u64,
    },
    /// H_GET_TCE.
    Get {
        /// Window.
        window: usize,
        /// Offset.
        ioba: u64,
    },
    /// ibm,query-pe-dma-window.
    Query,
    /// ibm,create-pe-dma-window.
    Create {
        /// Page shift.
        page_shift: u32,
        /// Window shift.
        window_shift: u32,
    },
    /// ibm,remove-pe-dma-window.
    Remove {
        /// Window.
        window: usize,
    },
    /// ibm,reset-pe-dma-window.
    Reset {
        /// The fourth argument: limited address mode.
        mode: Option<bool>,
    },
    /// The bridge's connector is isolated.
    ResetBridge,
    /// A translation.
    Translate {
        /// Window.
        window: usize,
        /// Offset.
        ioba: u64,
        /// Bytes, at least 1.
        len: u64,
        /// A write.
        write: bool,
    },
    /// Data through the function's DMA port.
    Dma {
        /// Window.
        window: usize,
        /// Offset.
        ioba: u64,
        /// Bytes.
        len: u16,
        /// What to write; a read if `None`.
        write: Option<u8>,
    },
}

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    base: u128,
    size: u128,
    shift: u32,
    tces: BTreeMap<u128, u64>,
}

impl Plain {
    fn new(base: u64, size: u64, shift: u32) -> Self {
        Plain {
            base: base.into(),
            size: size.into(),
            shift,
            tces: BTreeMap::new(),
        }
    }

    /// What the unit's caps count: the groups of 512 entries that these bus addresses lie in, the groups of 512 such groups, and so on
    /// up to one group of all. As the number of entries of a group, and the group's number.
    fn chunks(&self, at: impl Iterator<Item = u128>) -> BTreeSet<(u128, u128)> {
        let all = self.size >> self.shift;
        let sizes = || (1..).map(|n| 512u128.pow(n));
        let groups = |entry: u128| {
            let below_all = sizes().take_while(move |size| *size < all);
            let whole = sizes().find(|size| *size >= all);
            below_all.chain(whole).map(move |size| (size, entry / size))
        };
        at.flat_map(|a| groups((a - self.base) >> self.shift))
            .collect()
    }

    fn used(&self) -> BTreeSet<(u128, u128)> {
        self.chunks(self.tces.keys().copied())
    }
}

/// What the unit should be, for a personality without laxities.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    p: Personality,
    limited: bool,
    windows: BTreeMap<u32, Plain>,
    caps: (usize, usize),
}

impl Model {
    /// The state of a new unit.
    pub fn boot(u: &Unit) -> Self {
        let p = u.iommu.lock().personality;
        let vio = Plain::new(0, VIO_SIZE, 12);
        let budget = u.budget();
        let mut model = Model {
            p,
            limited: false,
            windows: BTreeMap::from([(VIO, vio)]),
            caps: (budget.per_table, budget.per_unit),
        };
        model.put_default();
        model
    }

    /// Brings the default window back, empty, if it is gone.
    fn put_default(&mut self) {
        let p = &self.p;
        let default = Plain::new(p.default_base, p.default_size, p.default_page_shift);
        self.windows.entry(DEFAULT).or_insert(default);
    }

    /// The LIOBN argument and base that an operation means by its window number; some name nothing.
    pub fn pick(&self, n: usize) -> (u64, u64) {
        let all = [VIO, DEFAULT, DEFAULT + 1, DEFAULT + 2, 77].map(u64::from);
        let bad = [
            1 << 32 | u64::from(DEFAULT),
            1 << 63 | u64::from(DEFAULT + 1),
        ];
        let liobn = *all.iter().chain(&bad).cycle().nth(n % 7).unwrap_or(&77);
        (liobn, self.window(liobn).map_or(0, |w| w.base as u64))
    }

    fn window(&self, liobn: u64) -> Option<&Plain> {
        self.windows.get(&u32::try_from(liobn).ok()?)
    }

    fn ioba(&self, n: usize, offset: u64) -> (u64, u64) {
        let (liobn, base) = self.pick(n);
        let end = self.window(liobn).map_or(0, |w| (w.base + w.size) as u64);
        let from = if (offset as i64) < 0 { end } else { base };
        (liobn, from.wrapping_add(offset))
    }

    fn set(&mut self, liobn: u64, ioba: u64, tces: &[u64]) -> Status {
        let used: usize = self.windows.values().map(|w| w.used().len()).sum();
        let window = u32::try_from(liobn)
            .ok()
            .and_then(|l| self.windows.get_mut(&l));
        let Some(w) = window else {
            return H_PARAMETER;
        };
        let (ioba, page) = (u128::from(ioba), 1u128 << w.shift);
        let end = ioba + page * tces.len() as u128;
        if ioba < w.base
            || ioba >= w.base + w.size
            || end > w.base + w.size
            || !ioba.is_multiple_of(page)
        {
            return H_PARAMETER;
        }
        for t in tces {
            let address = u128::from(t & !3);
            if t & 3 != 0 && (!address.is_multiple_of(page) || address + page > RAM.into()) {
                return H_PARAMETER;
            }
        }
        let at = |i: usize| ioba + page * i as u128;
        let set = (0..tces.len()).filter(|i| tces[*i] != 0).map(at);
        let mine = w.used();
        let new = w.chunks(set).difference(&mine).count();
        if new > 0 && (mine.len() + new > self.caps.0 || used + new > self.caps.1) {
            return H_NOT_ENOUGH_RESOURCES;
        }
        for (i, t) in tces.iter().enumerate() {
            if *t == 0 {
                w.tces.remove(&at(i))
            } else {
                w.tces.insert(at(i), *t)
            };
        }
        H_SUCCESS
    }

    fn stuff(&mut self, liobn: u64, ioba: u64, tce: u64, n: u64) -> Status {
        match n {
            n if n > 512 && self.window(liobn).is_some() => H_P4,
            n if n > 512 => H_PARAMETER,
            // The value is checked even if it goes nowhere.
            0 if tce & 3 != 0 => match self.clone().set(liobn, ioba, &[tce]) {
                H_PARAMETER => H_PARAMETER,
                _ => H_SUCCESS,
            },
            n => self.set(liobn, ioba, &vec![tce; n as usize]),
        }
    }

    fn indirect(&mut self, u: &Unit, liobn: u64, ioba: u64, list: u64, n: u64) -> Status {
        if (liobn as i64) < 0 {
            return H_FUNCTION;
        }
        if n > 512 || !list.is_multiple_of(4096) || u128::from(list) + 4096 > RAM.into() {
            return H_PARAMETER;
        }
        let mut bytes = vec![0; n as usize * 8];
        u.ram
            .read_slice(&mut bytes, GuestAddress(list))
            .expect("a list in RAM");
        let (cells, _) = bytes.as_chunks::<8>();
        let tces: Vec<u64> = cells.iter().map(|c| u64::from_be_bytes(*c)).collect();
        self.set(liobn, ioba, &tces)
    }

    fn pe_windows(&self) -> usize {
        self.windows.len() - 1
    }

    fn create(&mut self, page_shift: u32, window_shift: u32) -> Result<(u32, u64), i32> {
        // The order of the bits of query's page sizes.
        let bit = [12, 16, 24, 25, 26, 27, 28, 34, 21];
        let bit = bit.iter().position(|s| *s == page_shift);
        if bit.is_none_or(|b| self.p.page_sizes.bits() >> b & 1 == 0)
            || window_shift < page_shift
            || window_shift > 63
            || 1u128 << (window_shift - page_shift) > self.p.largest_block.into()
        {
            return Err(-3);
        }
        if self.pe_windows() >= self.p.windows as usize {
            return Err(-1);
        }
        let size = 1u128 << window_shift;
        // The lowest multiple of the size that meets neither a window nor the message window: the start, or where one of them ends.
        let from: u128 = if self.limited {
            1 << 32
        } else {
            self.p.dynamic_base.into()
        };
        let message = Plain::new(MSI_WINDOW, MSI_WINDOW_SIZE, 12);
        let taken: Vec<_> = self.windows.values().chain([&message]).collect();
        let ends = taken.iter().map(|w| w.base + w.size);
        let starts = ends.chain([0]).map(|e| e.max(from).next_multiple_of(size));
        let free = |base: &u128| {
            let clear = |w: &&Plain| *base >= w.base + w.size || w.base >= base + size;
            base + size <= 1 << 64 && taken.iter().all(clear)
        };
        let base = starts.filter(free).min().ok_or(-1)?;
        let liobn = (DEFAULT + 1..).find(|l| !self.windows.contains_key(l));
        let liobn = liobn.expect("a free LIOBN");
        self.windows
            .insert(liobn, Plain::new(base as u64, size as u64, page_shift));
        Ok((liobn, base as u64))
    }

    fn remove(&mut self, liobn: u32) -> i32 {
        if liobn == VIO || self.windows.remove(&liobn).is_none() {
            return -3;
        }
        if liobn != DEFAULT && self.windows.keys().all(|l| *l == VIO || *l == DEFAULT) {
            self.put_default();
        }
        0
    }

    fn reset(&mut self, mode: Option<bool>) -> i32 {
        if mode.is_some() && self.p.extensions < 3 {
            return -3;
        }
        self.windows.retain(|l, _| *l == VIO);
        self.put_default();
        self.limited = mode == Some(true);
        0
    }

    fn query(&self, u: &Unit) {
        let free = self.p.windows - self.pe_windows() as u32;
        let block = if free == 0 { 0 } else { self.p.largest_block };
        let (sizes, migration) = (self.p.page_sizes.bits(), self.p.migration_mask);
        let block32 = block.min(1 << 31) as u32;
        assert_eq!(u.query(), [0, free, block32, sizes, migration]);
        let (hi, lo) = ((block >> 32) as u32, block as u32);
        let six = match self.p.extensions {
            0 | 1 => [-3i32 as u32, 0, 0, 0, 0, 0],
            _ => [0, free, hi, lo, sizes, migration],
        };
        assert_eq!(u.query_six(), six);
    }

    /// Where a byte goes.
    fn byte(&self, iova: u64, write: bool) -> Option<u64> {
        let iova = u128::from(iova);
        let mut windows = self
            .windows
            .iter()
            .filter(|(l, _)| **l != VIO)
            .map(|(_, w)| w);
        let w = windows.find(|w| iova >= w.base && iova < w.base + w.size)?;
        let page = 1u128 << w.shift;
        let tce = *w.tces.get(&(iova - iova % page))?;
        (tce & if write { 2 } else { 1 } != 0).then_some((tce & !0xfff) + (iova % page) as u64)
    }

    fn translate(&self, u: &Unit, iova: u64, len: u64, write: bool) {
        let access = if write { Access::Write } else { Access::Read };
        let Ok((gpa, got)) = u.translate(iova, len, access) else {
            return assert_eq!(self.byte(iova, write), None);
        };
        assert!(got >= 1 && got <= len);
        for at in (0..got).step_by(0x1000).chain([got - 1]) {
            assert_eq!(self.byte(iova + at, write), Some(gpa + at));
        }
        // It stops early only where the next byte is elsewhere.
        if got < len {
            let next = iova.checked_add(got).and_then(|a| self.byte(a, write));
            assert_ne!(next, Some(gpa + got));
        }
    }

    fn dma(&self, u: &Unit, iova: u64, len: u16, write: Option<u8>) {
        let port = DmaPort::new(SOURCE, std::sync::Arc::new(u.iommu.clone()), u.ram.clone());
        let at = |i: usize| iova.wrapping_add(i as u64);
        let byte = |place: u64| {
            let byte = u.ram.read_obj::<u8>(GuestAddress(place));
            byte.expect("RAM")
        };
        let len = usize::from(len);
        let places: Vec<u64> = (0..len)
            .map_while(|i| self.byte(at(i), write.is_some()))
            .collect();
        let done = if let Some(value) = write {
            let data: Vec<u8> = (0..len).map(|i| (i / 3) as u8 ^ value).collect();
            // The first byte that may not be written may still be readable: it must stay.
            let end = self.byte(at(places.len()), false);
            let before = end.map(byte);
            let done = port.write(Iova(iova), &data);
            let written: BTreeMap<u64, u8> = places.iter().copied().zip(data).collect();
            assert!(written.iter().all(|(place, value)| byte(*place) == *value));
            if let Some(end) = end.filter(|e| places.len() < len && !written.contains_key(e)) {
                assert_eq!(Some(byte(end)), before);
            }
            done
        } else {
            let mut data = vec![0; len];
            let done = port.read(Iova(iova), &mut data);
            assert!(places.iter().zip(&data).all(|(p, d)| byte(*p) == *d));
            done
        };
        assert_eq!(done.is_ok(), places.len() == len);
        if let Err(fault) = done {
            assert_eq!(fault.request.iova.0, at(places.len()));
        }
    }

    /// Compares every window and entry.
    fn check(&self, u: &Unit) {
        let real = u.snapshot();
        assert_eq!(real.len(), self.windows.len());
        for (liobn, base, size, shift, entries) in real {
            let w = &self.windows[&liobn.0];
            assert_eq!((w.base, w.size, w.shift), (base.into(), size.into(), shift));
            let entries: BTreeMap<u128, u64> = entries
                .into_iter()
                .map(|(e, t)| (u128::from(base) + (u128::from(e) << shift), t.0))
                .collect();
            assert_eq!(w.tces, entries);
        }
        let chunks: usize = self.windows.values().map(|w| w.used().len()).sum();
        assert_eq!(u.budget().used, chunks);
    }
}

/// Makes one call on the unit and on the model, and compares their answers and states.
pub fn step(u: &Unit, m: &mut Model, op: &Op) {
    let before = m.clone();
    let failed = match op {
        Op::Put { window, ioba, tce } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            let want = m.set(liobn, ioba, &[*tce]);
            assert_eq!(u.put(liobn, ioba, *tce), want);
            want != H_SUCCESS
        }
        Op::Stuff {
            window,
            ioba,
            tce,
            n,
        } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            let want = m.stuff(liobn, ioba, *tce, *n);
            assert_eq!(u.stuff(liobn, ioba, *tce, *n), want);
            want != H_SUCCESS
        }
        Op::Indirect {
            window,
            ioba,
            list,
            tces,
            n,
        } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            if list.saturating_add(8 * tces.len() as u64) <= RAM {
                u.list(*list, tces);
            }
            let want = m.indirect(u, liobn, ioba, *list, *n);
            assert_eq!(u.indirect(liobn, ioba, *list, *n), want);
            want != H_SUCCESS
        }
        Op::Get { window, ioba } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            let ok = m.clone().set(liobn, ioba, &[0]) == H_SUCCESS;
            let tce = m.window(liobn).and_then(|w| w.tces.get(&ioba.into()));
            let want = tce.copied().unwrap_or(0);
            let want = if ok { Ok(want) } else { Err(H_PARAMETER) };
            assert_eq!(u.get(liobn, ioba), want);
            true
        }
        Op::Query => {
            m.query(u);
            true
        }
        Op::Create {
            page_shift,
            window_shift,
        } => {
            let want = m.create(*page_shift, *window_shift);
            assert_eq!(u.create(*page_shift, *window_shift), want);
            want.is_err()
        }
        Op::Remove { window } => {
            let liobn = m.pick(*window).0 as u32;
            let want = m.remove(liobn);
            assert_eq!(u.remove(liobn), want);
            want != 0
        }
        Op::Reset { mode } => {
            let want = m.reset(*mode);
            let status = match mode {
                None => u.reset_windows(),
                Some(mode) => u.reset_mode((*mode).into()),
            };
            assert_eq!(status, want);
            want != 0
        }
        Op::ResetBridge => {
            assert_eq!(m.reset(None), 0);
            u.iommu.reset_bridge(BUID);
            false
        }
        Op::Translate {
            window,
            ioba,
            len,
            write,
        } => {
            m.translate(u, m.ioba(*window, *ioba).1, *len, *write);
            true
        }
        Op::Dma {
            window,
            ioba,
            len,
            write,
        } => {
            m.dma(u, m.ioba(*window, *ioba).1, *len, *write);
            true
        }
    };
    if failed {
        assert_eq!(*m, before);
    }
    m.check(u);
}
