//! TCE hypercalls, with windows that come and go and DMA through them, against the model in `viommu_devices::spapr::iommu::testing`:
//! every status, every entry, every translated byte, and no half state after an error.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_devices::spapr::iommu::rules::{MAX_BLOCK, Personality};
use viommu_devices::spapr::iommu::spec::PageSizes;
use viommu_devices::spapr::iommu::testing::{Model, Op, RAM, Unit, step};

/// Calls of one run.
const CALLS: usize = 64;

#[derive(Arbitrary, Debug)]
struct Input {
    platform: u8,
    /// Small caps of table chunks: of one table, and beyond it of all.
    caps: Option<(u8, u8)>,
    calls: Vec<Call>,
}

/// Those that ship and keep LoPAR's rules, and others with more windows and page sizes, or with little.
fn personality(n: u8) -> Personality {
    match n % 4 {
        0 => Personality::KVM,
        1 => Personality::POWERVM,
        2 => Personality {
            windows: 4,
            page_sizes: PageSizes::all(),
            largest_block: MAX_BLOCK,
            migration_mask: 0xf,
            extensions: 3,
            ..Personality::KVM
        },
        _ => Personality {
            windows: 2,
            page_sizes: PageSizes::K4,
            largest_block: 256,
            default_base: 1 << 30,
            default_size: 1 << 30,
            extensions: 2,
            ..Personality::KVM
        },
    }
}

/// Where in a window.
#[derive(Arbitrary, Clone, Debug)]
enum Offset {
    Page(u8),
    Page64(u8),
    /// Each in a chunk of its own.
    Far(u8),
    /// Pages before the end.
    End(u8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Entry {
    Zero,
    /// The real page is the offset in the window, so that neighbours are contiguous.
    Same(u8),
    Page(u16, u8),
    Page64(u8, u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Count {
    Few(u8),
    Most(u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum List {
    Page(u8),
    /// Pages before the end of RAM.
    End(u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Call {
    Put(u8, Offset, Entry),
    Stuff(u8, Offset, Entry, Count),
    Indirect(u8, Offset, List, Vec<Entry>, Option<Count>),
    Get(u8, Offset),
    Query,
    Create(u8, u8),
    CreateAny(u32, u32),
    Remove(u8),
    /// The fourth argument.
    Reset(Option<bool>),
    /// The bridge's connector is isolated.
    ResetBridge,
    /// The unit's state goes to another unit.
    Restore,
    Translate(u8, Offset, u32, bool),
    Dma(u8, Offset, u16, Option<u8>),
    /// A translation from here to the end of RAM.
    TranslateAll(u8, Offset, bool),
    /// Contiguous pages with these accesses, two bits each, and a translation over all of them.
    Neighbours(u8, Offset, u16, bool),
}

impl Offset {
    fn value(&self) -> u64 {
        match *self {
            // Few places, so that calls meet.
            Offset::Page(n) => u64::from(n % 32) << 12,
            Offset::Page64(n) => u64::from(n % 32) << 16,
            Offset::Far(n) => u64::from(n) << 21,
            Offset::End(n) => (u64::from(n) << 12).wrapping_neg(),
            Offset::Any(n) => n,
        }
    }
}

impl Entry {
    /// Entry `i` of a list that begins at an offset.
    fn value(self, at: &Offset, i: usize) -> u64 {
        let page = if matches!(at, Offset::Page64(_)) {
            16
        } else {
            12
        };
        match self {
            Entry::Zero => 0,
            Entry::Same(access) => {
                let offset = at.value().wrapping_add((i as u64) << page);
                (offset % RAM) & !0xfff | u64::from(access & 3)
            }
            // Few pages beyond RAM.
            Entry::Page(n, access) => u64::from(n % 4100) << 12 | u64::from(access & 3),
            Entry::Page64(n, access) => u64::from(n) << 16 | u64::from(access & 3),
            Entry::Any(n) => n,
        }
    }
}

impl Count {
    fn value(&self) -> u64 {
        match *self {
            Count::Few(n) => n.into(),
            Count::Most(n) => 500 + u64::from(n % 20),
            Count::Any(n) => n,
        }
    }
}

impl List {
    fn value(&self) -> u64 {
        match *self {
            List::Page(n) => u64::from(n) << 12,
            List::End(n) => RAM - (u64::from(n) << 12),
            List::Any(n) => n,
        }
    }
}

impl Call {
    /// The call, and the one before it if it takes two. Restoring is no call of the unit.
    fn ops(&self) -> (Option<Op>, Option<Op>) {
        match self {
            Call::Neighbours(w, at, accesses, write) => {
                let entries = (0..8).map(|i| Entry::Same((accesses >> (2 * i)) as u8));
                let list = Call::Indirect(*w, at.clone(), List::Page(3), entries.collect(), None);
                let all = Call::TranslateAll(*w, at.clone(), *write);
                (list.op(), all.op())
            }
            _ => (None, self.op()),
        }
    }

    fn op(&self) -> Option<Op> {
        // Mostly windows that can exist.
        let numbers = [1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 3, 3, 4, 5, 6];
        let window = |n: &u8| numbers[usize::from(*n % 16)];
        let op = match self {
            Call::Restore => return None,
            Call::Put(w, at, tce) => Op::Put {
                window: window(w),
                ioba: at.value(),
                tce: tce.value(at, 0),
            },
            Call::Stuff(w, at, tce, n) => Op::Stuff {
                window: window(w),
                ioba: at.value(),
                tce: tce.value(at, 0),
                n: n.value(),
            },
            Call::Indirect(w, at, list, tces, n) => {
                let tces = tces.iter().take(520).enumerate();
                let tces: Vec<u64> = tces.map(|(i, t)| t.value(at, i)).collect();
                Op::Indirect {
                    window: window(w),
                    ioba: at.value(),
                    list: list.value(),
                    n: n.as_ref().map_or(tces.len() as u64, Count::value),
                    tces,
                }
            }
            Call::Get(w, at) => Op::Get {
                window: window(w),
                ioba: at.value(),
            },
            Call::Query => Op::Query,
            Call::Create(page, window) => Op::Create {
                page_shift: [12, 16, 21, 24, 12, 16, 25, 34][usize::from(page & 7)],
                window_shift: 12 + u32::from(window % 52),
            },
            Call::CreateAny(page_shift, window_shift) => Op::Create {
                page_shift: *page_shift,
                window_shift: *window_shift,
            },
            Call::Remove(w) => Op::Remove { window: window(w) },
            Call::Reset(mode) => Op::Reset { mode: *mode },
            Call::ResetBridge => Op::ResetBridge,
            Call::Translate(w, at, len, write) => Op::Translate {
                window: window(w),
                ioba: at.value(),
                len: u64::from(len % (4 << 20)) + 1,
                write: *write,
            },
            Call::TranslateAll(w, at, write) | Call::Neighbours(w, at, _, write) => Op::Translate {
                window: window(w),
                ioba: at.value(),
                len: RAM,
                write: *write,
            },
            Call::Dma(w, at, len, write) => Op::Dma {
                window: window(w),
                ioba: at.value(),
                len: len % 0x2800,
                write: *write,
            },
        };
        Some(op)
    }
}

fuzz_target!(|input: Input| {
    let mut u = Unit::with(RAM, personality(input.platform));
    if let Some((table, more)) = input.caps {
        let table = usize::from(table % 8) + 1;
        u.set_caps(table, table + usize::from(more % 8));
    }
    let mut m = Model::boot(&u);
    for call in input.calls.iter().take(CALLS) {
        if matches!(call, Call::Restore) {
            u = u.restored();
        }
        let (first, op) = call.ops();
        for op in first.iter().chain(&op) {
            step(&u, &mut m, op);
        }
    }
});
