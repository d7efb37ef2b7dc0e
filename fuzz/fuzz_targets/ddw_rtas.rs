//! The four dynamic-window RTAS calls with any cells, mixed with TCE calls and translations, on several PEs and platforms.
//!
//! Held after every call: the status is the one that the state calls for, a failed call changes nothing, windows of a PE overlap neither
//! each other nor reserved ranges nor the default window's place, what query says can be created, the default window comes back with the
//! last dynamic one's removal, and tables hold as many chunks as their entries need.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_devices::dma::{Access, DmaRequest, Iova, SourceId, Translator};
use viommu_devices::memory::GuestRam;
use viommu_devices::spapr::hcall::*;
use viommu_devices::spapr::iommu::report::WindowReport;
use viommu_devices::spapr::iommu::rules::Personality;
use viommu_devices::spapr::iommu::spec::{Liobn, PageSizes};
use viommu_devices::spapr::iommu::store::{Budget, CHUNK};
use viommu_devices::spapr::iommu::{Members, PeConfig, SpaprIommu};
use vm_memory::GuestAddress;

/// Calls of one run.
const CALLS: usize = 48;
const RAM: u64 = 1 << 20;
const SUCCESS: i32 = 0;
const HARDWARE: i32 = -1;
const PARAMETER: i32 = -3;
const VIO: u32 = 0x7100_0000;
const VIO_SIZE: u64 = 1 << 24;

/// Bus unit id, configuration address, default LIOBN and function of each PE: two below one bridge, one below another.
const PES: [(u64, u32, u32, u16); 3] = [
    (0x0800_0000_2000_0000, 0x0001_0000, 0x8000_0000, 8),
    (0x0800_0000_2000_0000, 0x0002_0000, 0x8000_0001, 16),
    (0x0800_0000_2000_0001, 0x0001_0000, 0x8000_0010, 24),
];

/// The platforms that ship and keep LoPAR's rules, and others that put its data to use: windows below and around reserved ranges, one window only, many.
fn personality(n: u8) -> Personality {
    let kvm = Personality::KVM;
    match n % 5 {
        0 => kvm,
        4 => Personality::POWERVM,
        1 => Personality {
            windows: 1,
            page_sizes: PageSizes::K64,
            extensions: 2,
            ..kvm
        },
        2 => Personality {
            windows: 5,
            page_sizes: PageSizes::all(),
            largest_block: 1 << 26,
            extensions: 3,
            dynamic_base: 0,
            ..kvm
        },
        _ => Personality {
            windows: 3,
            page_sizes: kvm.page_sizes,
            largest_block: 1 << 30,
            default_base: 0x400_0001_0000,
            dynamic_base: 0x3ff_0000_0000,
            ..kvm
        },
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    platform: u8,
    calls: Vec<Call>,
}

#[derive(Arbitrary, Debug)]
enum Call {
    Query(u8, bool),
    Create(u8, u8, u8),
    /// Query, and then create a window of the largest block with this one of the page sizes.
    CreateLargest(u8, u8),
    Remove(u8),
    RemoveAny(u32),
    /// With the fourth argument, if any.
    Reset(u8, Option<u8>),
    /// One of the four calls with any cells, and room for so many outputs.
    Cells(u8, Vec<u32>, u8),
    Put(u8, u16, u8),
    PutAtEnd(u8, u16, u64),
    Stuff(u8, u16, u16, bool),
    /// So many entries, each in a chunk of its own.
    Scatter(u8, u16),
    Translate(u8, u64),
    /// The connector of a PE's bridge is isolated.
    BridgeReset(u8),
    MachineReset,
}

/// What a window should be.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    pe: Option<usize>,
    base: u64,
    size: u64,
    shift: u32,
    dynamic: bool,
    entries: BTreeMap<u64, u64>,
}

impl Window {
    /// Groups of entries, of such groups, and so on up to one of all.
    fn chunks(&self) -> usize {
        let mut groups: BTreeSet<u64> = self.entries.keys().copied().collect();
        let (mut all, mut chunks) = (self.size >> self.shift, 0);
        loop {
            groups = groups.iter().map(|n| n / CHUNK as u64).collect();
            chunks += groups.len();
            if all <= CHUNK as u64 {
                return chunks;
            }
            all = all.div_ceil(CHUNK as u64);
        }
    }

    /// First and last byte.
    fn span(&self) -> (u64, u64) {
        (self.base, self.base + (self.size - 1))
    }
}

struct Rig {
    iommu: SpaprIommu,
    ram: GuestRam,
    p: Personality,
    windows: BTreeMap<u32, Window>,
    /// The PEs in limited address mode.
    limited: [bool; PES.len()],
}

fn pe_args(pe: usize) -> [u32; 3] {
    let (buid, config, ..) = PES[pe];
    [config, (buid >> 32) as u32, buid as u32]
}

/// The PE that cells name: by its own address, or by that of its function.
fn pe_of(cells: &[u32]) -> Option<usize> {
    let &[config, high, low] = cells else {
        return None;
    };
    let buid = u64::from(high) << 32 | u64::from(low);
    PES.iter()
        .position(|pe| pe.0 == buid && (pe.1 == config || u32::from(pe.3) << 8 == config))
}

impl Rig {
    fn new(p: Personality) -> Self {
        let iommu = SpaprIommu::new(RAM, p);
        for (buid, config_addr, liobn, function) in PES {
            let config = PeConfig {
                buid,
                config_addr,
                liobn: Liobn(liobn),
                members: Members::Only(vec![SourceId(function)]),
            };
            iommu.add_pe(config).unwrap();
        }
        iommu.add_vio_window(Liobn(VIO), 0, VIO_SIZE).unwrap();
        let mut rig = Rig {
            iommu,
            ram: GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap(),
            p,
            windows: BTreeMap::new(),
            limited: [false; PES.len()],
        };
        rig.boot();
        rig
    }

    fn boot(&mut self) {
        let vio = Window {
            pe: None,
            base: 0,
            size: VIO_SIZE,
            shift: 12,
            dynamic: false,
            entries: BTreeMap::new(),
        };
        self.windows = BTreeMap::from([(VIO, vio)]);
        self.limited = [false; PES.len()];
        (0..PES.len()).for_each(|pe| self.put_default(pe));
    }

    fn put_default(&mut self, pe: usize) {
        let window = Window {
            pe: Some(pe),
            base: self.p.default_base,
            size: self.p.default_size,
            shift: self.p.default_page_shift,
            dynamic: false,
            entries: BTreeMap::new(),
        };
        self.windows.insert(PES[pe].2, window);
    }

    fn live(&self) -> Vec<WindowReport> {
        let mut live = self.iommu.report().windows;
        live.retain(|w| w.removed_ns.is_none());
        live
    }

    /// Compares what the unit reports with what should be.
    fn check(&self) {
        let report = self.iommu.report();
        assert!(report.windows.len() <= 1024 + 16 && report.ddw_calls.len() <= 1024);
        assert!(report.faults.len() <= 64);
        let live = self.live();
        assert_eq!(live.len(), self.windows.len());
        for w in live {
            let want = &self.windows[&w.liobn.0];
            assert_eq!(
                (w.bus_address, w.size, w.page_shift, w.dynamic, w.vio),
                (
                    want.base,
                    want.size,
                    want.shift,
                    want.dynamic,
                    want.pe.is_none()
                )
            );
            let mapped = want.entries.values().filter(|t| **t & 3 != 0).count();
            assert_eq!(w.entries_now, mapped as u64);
        }
        let chunks: usize = self.windows.values().map(Window::chunks).sum();
        assert_eq!(report.chunks, chunks);
        assert!(chunks <= Budget::for_ram(RAM).per_unit);
    }

    fn of(&self, pe: usize) -> impl Iterator<Item = &Window> {
        self.windows.values().filter(move |w| w.pe == Some(pe))
    }

    fn available(&self, pe: usize) -> u32 {
        self.p.windows - self.of(pe).count() as u32
    }

    /// First and last bytes that a new window of the PE must avoid.
    fn taken(&self, pe: usize) -> Vec<(u64, u64)> {
        let span = |base: u64, size: u64| (base, base + (size - 1));
        let reserved = self.p.reserved.iter().map(|r| span(r.base, r.size));
        let default = span(self.p.default_base, self.p.default_size);
        reserved
            .chain([default])
            .chain(self.of(pe).map(Window::span))
            .collect()
    }

    /// The lowest place for a new window: where dynamic windows begin, or behind something that is taken.
    fn place(&self, pe: usize, size: u64) -> Option<u64> {
        let taken = self.taken(pe);
        let from = if self.limited[pe] {
            self.p.limited_base
        } else {
            self.p.dynamic_base
        };
        let starts = taken.iter().filter_map(|t| t.1.checked_add(1)).chain([0]);
        starts
            .filter_map(|s| s.max(from).checked_next_multiple_of(size))
            .filter(|s| {
                s.checked_add(size - 1)
                    .is_some_and(|last| taken.iter().all(|t| t.1 < *s || last < t.0))
            })
            .min()
    }

    /// Makes a call; the outputs after the status. A failed call must leave the windows as they were and zeros in its outputs.
    fn call(&self, which: u8, args: &[u32], outputs: usize) -> (i32, Vec<u32>) {
        let before = self.live();
        let mut rets = vec![0xdead_beef; outputs + 1];
        match which % 4 {
            0 => self.iommu.query_pe_dma_window(args, &mut rets),
            1 => self.iommu.create_pe_dma_window(args, &mut rets),
            2 => self.iommu.remove_pe_dma_window(args, &mut rets),
            _ => self.iommu.reset_pe_dma_windows(args, &mut rets),
        }
        let status = rets.remove(0) as i32;
        if status != SUCCESS {
            assert!(rets.iter().all(|r| *r == 0));
            assert_eq!(before, self.live());
        }
        (status, rets)
    }

    /// The answer of a query, or the status.
    fn query(&self, args: &[u32], outputs: usize) -> Result<(u32, u64, u32), i32> {
        let (status, rets) = self.call(0, args, outputs);
        let expected = match outputs {
            4 => pe_of(args),
            5 if self.p.extensions >= 2 => pe_of(args),
            _ => None,
        };
        let Some(pe) = expected else {
            assert_eq!(status, PARAMETER);
            return Err(status);
        };
        assert_eq!(status, SUCCESS);
        let (block, rest) = match rets[..] {
            [_, block, sizes, mask] => (u64::from(block), [sizes, mask]),
            [_, high, low, sizes, mask] => (u64::from(high) << 32 | u64::from(low), [sizes, mask]),
            _ => unreachable!(),
        };
        assert_eq!(rets[0], self.available(pe));
        assert_eq!(rest, [self.p.page_sizes.bits(), self.p.migration_mask]);
        assert_eq!(block == 0, rets[0] == 0);
        Ok((rets[0], block, rest[0]))
    }

    fn expected_create(&self, args: &[u32], outputs: usize) -> Result<(usize, u64), i32> {
        let (Some(pe), 5, 3) = (args.get(..3).and_then(pe_of), args.len(), outputs) else {
            return Err(PARAMETER);
        };
        let (page, window) = (args[3], args[4]);
        let known = PageSizes::of_shift(page).is_some_and(|s| self.p.page_sizes.contains(s));
        if !known || window < page || window > 63 || 1u64 << (window - page) > self.p.largest_block
        {
            return Err(PARAMETER);
        }
        if self.available(pe) == 0 {
            return Err(HARDWARE);
        }
        let base = self.place(pe, 1 << window).ok_or(HARDWARE)?;
        Ok((pe, base))
    }

    fn create(&mut self, args: &[u32], outputs: usize) -> i32 {
        let expected = self.expected_create(args, outputs);
        let (status, rets) = self.call(1, args, outputs);
        let (pe, base) = match expected {
            Ok(expected) => expected,
            Err(want) => {
                assert_eq!(status, want);
                return status;
            }
        };
        assert_eq!(status, SUCCESS);
        assert_eq!(u64::from(rets[1]) << 32 | u64::from(rets[2]), base);
        assert!(!self.windows.contains_key(&rets[0]) && PES.iter().all(|pe| pe.2 != rets[0]));
        let window = Window {
            pe: Some(pe),
            base,
            size: 1 << args[4],
            shift: args[3],
            dynamic: true,
            entries: BTreeMap::new(),
        };
        let (first, last) = window.span();
        assert!(self.taken(pe).iter().all(|t| t.1 < first || last < t.0));
        self.windows.insert(rets[0], window);
        SUCCESS
    }

    fn remove(&mut self, args: &[u32], outputs: usize) {
        let (status, _) = self.call(2, args, outputs);
        let known = match (args, outputs) {
            (&[liobn], 0) => self
                .windows
                .get(&liobn)
                .and_then(|w| w.pe.map(|pe| (liobn, pe))),
            _ => None,
        };
        let Some((liobn, pe)) = known else {
            return assert_eq!(status, PARAMETER);
        };
        assert_eq!(status, SUCCESS);
        let gone = self.windows.remove(&liobn);
        let last = gone.is_some_and(|w| w.dynamic) && !self.of(pe).any(|w| w.dynamic);
        if last && !self.windows.contains_key(&PES[pe].2) {
            self.put_default(pe);
        }
    }

    fn reset(&mut self, args: &[u32], outputs: usize) {
        let (status, _) = self.call(3, args, outputs);
        let (cells, limited) = match args {
            [cells @ .., mode @ (0 | 1)] if args.len() == 4 && self.p.extensions >= 3 => {
                (cells, *mode == 1)
            }
            _ => (args, false),
        };
        match pe_of(cells) {
            Some(pe) if outputs == 0 => {
                assert_eq!(status, SUCCESS);
                self.limited[pe] = limited;
                self.windows.retain(|_, w| w.pe != Some(pe));
                self.put_default(pe);
            }
            _ => assert_eq!(status, PARAMETER),
        }
    }

    /// The LIOBN of one of the windows.
    fn pick(&self, n: u8) -> u32 {
        let liobns: Vec<u32> = self.windows.keys().copied().collect();
        liobns[usize::from(n) % liobns.len()]
    }

    /// H_STUFF_TCE of `n` entries from `entry` (in the window).
    fn stuff(&mut self, liobn: u32, entry: u64, tce: u64, n: u64) {
        let Some(w) = self.windows.get_mut(&liobn) else {
            return;
        };
        let all = w.size >> w.shift;
        let n = n.clamp(1, 512).min(all - entry);
        let page = 1u64 << w.shift;
        let good = tce & 3 == 0
            || (tce & !3).is_multiple_of(page)
                && (tce & !3).checked_add(page).is_some_and(|e| e <= RAM);
        let args = [liobn.into(), w.base + (entry << w.shift), tce, n];
        let reply = self.iommu.hcall(H_STUFF_TCE, &args, &self.ram).unwrap();
        match reply.status {
            H_SUCCESS => {
                assert!(good);
                for e in entry..entry + n {
                    if tce == 0 {
                        w.entries.remove(&e);
                    } else {
                        w.entries.insert(e, tce);
                    }
                }
            }
            H_NOT_ENOUGH_RESOURCES => assert!(good && tce != 0),
            status => assert!(!good && status == H_PARAMETER),
        }
    }

    /// Translates for one of the PEs: the window and entry say what must come.
    fn translate(&self, pe: usize, iova: u64) {
        let request = DmaRequest {
            source: SourceId(PES[pe].3),
            pasid: None,
            iova: Iova(iova),
            len: 1,
            access: Access::Read,
        };
        let got = self.iommu.for_phb(PES[pe].0).translate(&request);
        let inside = |w: &&Window| iova >= w.base && iova - w.base < w.size;
        let want = self.of(pe).find(inside).and_then(|w| {
            let offset = iova - w.base;
            let tce = *w.entries.get(&(offset >> w.shift))?;
            (tce & 1 != 0).then_some((tce & !0xfff) + (offset & ((1 << w.shift) - 1)))
        });
        assert_eq!(got.map(|p| p.gpa.0).ok(), want);
    }

    fn run(&mut self, call: &Call) {
        let pe = |n: u8| usize::from(n) % PES.len();
        match call {
            Call::Query(n, long) => {
                let _ = self.query(&pe_args(pe(*n)), if *long { 5 } else { 4 });
            }
            Call::Create(n, page, window) => {
                let shifts = [12, 16, 21, 24, 25, 26, 27, 28, 34];
                let page = shifts[usize::from(*page) % shifts.len()];
                let args = [&pe_args(pe(*n))[..], &[page, 12 + u32::from(window % 55)]].concat();
                self.create(&args, 3);
            }
            Call::CreateLargest(n, size) => {
                let args = pe_args(pe(*n));
                let Ok((available, block, sizes)) = self.query(&args, 4) else {
                    return;
                };
                let shifts: Vec<u32> = PageSizes::from_bits_truncate(sizes)
                    .iter()
                    .flat_map(|s| (12..35).find(|n| PageSizes::of_shift(*n) == Some(s)))
                    .collect();
                let page = shifts[usize::from(*size) % shifts.len()];
                let window = page + block.checked_ilog2().unwrap_or(0);
                let status = self.create(&[&args[..], &[page, window]].concat(), 3);
                assert_eq!(status == SUCCESS, available > 0);
            }
            Call::Remove(n) => self.remove(&[self.pick(*n)], 0),
            Call::RemoveAny(liobn) => self.remove(&[*liobn], 0),
            Call::Reset(n, mode) => {
                let mode = mode.map(|m| u32::from(m % 3));
                let args = pe_args(pe(*n)).into_iter().chain(mode);
                self.reset(&args.collect::<Vec<u32>>(), 0);
            }
            Call::Cells(which, cells, outputs) => {
                let cells = &cells[..cells.len().min(16)];
                let outputs = usize::from(outputs % 16);
                match which % 4 {
                    0 => drop(self.query(cells, outputs)),
                    1 => drop(self.create(cells, outputs)),
                    2 => self.remove(cells, outputs),
                    _ => self.reset(cells, outputs),
                }
            }
            Call::Put(n, entry, page) => {
                let liobn = self.pick(*n);
                let w = &self.windows[&liobn];
                let entry = u64::from(*entry) % (w.size >> w.shift);
                self.stuff(liobn, entry, u64::from(*page) << 12 | 3, 1);
            }
            Call::PutAtEnd(n, back, tce) => {
                let liobn = self.pick(*n);
                let w = &self.windows[&liobn];
                let all = w.size >> w.shift;
                self.stuff(liobn, all - 1 - u64::from(*back).min(all - 1), *tce, 1);
            }
            Call::Stuff(n, entry, count, set) => {
                let liobn = self.pick(*n);
                let w = &self.windows[&liobn];
                let entry = u64::from(*entry) % (w.size >> w.shift);
                // An entry without access costs a chunk too.
                self.stuff(liobn, entry, if *set { 0x5000 } else { 0 }, (*count).into());
            }
            Call::Scatter(n, count) => {
                let liobn = self.pick(*n);
                let w = &self.windows[&liobn];
                let all = w.size >> w.shift;
                for i in 0..u64::from(count % 1024) {
                    self.stuff(liobn, (i * CHUNK as u64 * 7) % all, 0x1000, 1);
                }
            }
            Call::Translate(n, iova) => {
                let starts: Vec<u64> = self.of(pe(*n)).map(|w| w.base).collect();
                let start = starts.get(*iova as usize % 4).copied().unwrap_or(0);
                self.translate(pe(*n), start.wrapping_add(*iova >> 2));
            }
            Call::BridgeReset(n) => {
                let buid = PES[pe(*n)].0;
                self.iommu.reset_bridge(buid);
                for pe in (0..PES.len()).filter(|pe| PES[*pe].0 == buid) {
                    self.limited[pe] = false;
                    self.windows.retain(|_, w| w.pe != Some(pe));
                    self.put_default(pe);
                }
            }
            Call::MachineReset => {
                self.iommu.reset();
                self.boot();
            }
        }
        self.check();
    }
}

fuzz_target!(|input: Input| {
    let mut rig = Rig::new(personality(input.platform));
    for call in input.calls.iter().take(CALLS) {
        rig.run(call);
    }
    rig.iommu.reset();
    rig.boot();
    rig.check();
});
