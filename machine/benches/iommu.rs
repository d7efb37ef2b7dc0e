//! What single translations and hypercalls of the sPAPR IOMMU cost: `cargo bench -p viommu --bench iommu`.
//!
//! Other programs can only add to a time, so the best of many short samples is what a call costs; the median beside it says how busy the
//! machine was. The exit status is 1 if a bound is not kept. `-- NAME COUNT` runs one case COUNT times and measures nothing, for a
//! profiler.
//!
//! A table of 2^20 entries has 8 MiB, more than most processors' second-level cache holds. Read in order, its lines come before they are
//! asked for; at random each costs a cache miss, which is what "8 MiB of words" measures without any table.

#[path = "common/unit.rs"]
mod unit;

use std::cell::Cell;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use viommu_devices::dma::{Access, DmaPort, DmaRequest, Identity, Iova, Translator};
use viommu_devices::spapr::hcall::{H_GET_TCE, H_PUT_TCE, H_PUT_TCE_INDIRECT, H_STUFF_TCE};
use vm_memory::{Bytes, GuestAddress};

use unit::{DEFAULT, RW, SOURCE, Unit};

const PAGE: u64 = 4096;
/// An entry for some page.
const TCE: u64 = (5 * PAGE) | RW;
const BATCH: u64 = 512;
/// Bytes of the default window that the hypercalls go through.
const SPAN: u64 = 256 << 20;
/// A sample takes some ten microseconds, so that most see no interruption.
const SAMPLE_NS: u32 = 15_000;
const SAMPLES: usize = 4000;

struct Case {
    name: &'static str,
    /// Wanted nanoseconds, at most.
    bound: f64,
    run: Box<dyn Fn()>,
}

/// Numbers below `count`, a power of two, that jump about.
fn at_random(count: u64) -> impl Fn() -> u64 {
    let state = Cell::new(0u64);
    move || {
        let next = state.get().wrapping_mul(6_364_136_223_846_793_005);
        state.set(next.wrapping_add(1));
        (state.get() >> 24) & (count - 1)
    }
}

/// Numbers below `count`, a power of two, one after the other.
fn in_order(count: u64) -> impl Fn() -> u64 {
    let state = Cell::new(0u64);
    move || {
        state.set(state.get().wrapping_add(1) & (count - 1));
        state.get()
    }
}

fn request(iova: u64) -> DmaRequest {
    DmaRequest {
        source: SOURCE,
        pasid: None,
        iova: Iova(iova),
        len: 8,
        access: Access::Read,
    }
}

/// Translates a word in the pages that `page` names, each of `1 << shift` bytes, from `base` on.
fn translate(
    translator: Arc<dyn Translator>,
    base: u64,
    shift: u32,
    page: impl Fn() -> u64 + 'static,
) -> Box<dyn Fn()> {
    Box::new(move || {
        let request = request(base + (page() << shift) + 8);
        black_box(translator.translate(black_box(&request))).expect("mapped");
    })
}

fn translations() -> Vec<Case> {
    let case = |name, bound, run: Box<dyn Fn()>| Case { name, bound, run };
    let small = Unit::new();
    small.call(H_PUT_TCE, &[DEFAULT, 0, RW]);
    let base = small.mapped(24, 30);
    let single = Unit::new();
    let only = single.mapped(12, 12);
    let marked = small.translator();
    let large = Unit::new();
    let all = large.mapped(12, 32);
    let words: Vec<u64> = (0..1 << 20).collect();
    let word = at_random(1 << 20);
    let port = DmaPort::new(SOURCE, small.translator(), small.ram.clone());
    vec![
        case(
            "translate, a window of 1 entry",
            10.0,
            translate(single.translator(), only, 12, || 0),
        ),
        case(
            "translate, 1 entry of the default window",
            f64::INFINITY,
            translate(small.translator(), 0, 12, || 0),
        ),
        case(
            "the same without an IOMMU",
            f64::INFINITY,
            translate(Arc::new(Identity), 0, 12, || 0),
        ),
        case(
            "translate, 64 pages of 16 MiB, at random",
            10.0,
            translate(small.translator(), base, 24, at_random(64)),
        ),
        case(
            "translate, 2^20 entries, in order",
            10.0,
            translate(large.translator(), all, 12, in_order(1 << 20)),
        ),
        case(
            "translate, 2^20 entries, at random",
            f64::INFINITY,
            translate(large.translator(), all, 12, at_random(1 << 20)),
        ),
        case(
            "8 MiB of words, at random",
            f64::INFINITY,
            Box::new(move || {
                black_box(words[word() as usize]);
            }),
        ),
        case(
            "translate, 1 entry, marked as in flight",
            f64::INFINITY,
            Box::new(move || {
                let token = marked.enter();
                black_box(marked.translate(&request(8))).expect("mapped");
                marked.leave(token);
            }),
        ),
        case(
            "read 8 bytes through a port",
            f64::INFINITY,
            Box::new(move || {
                let mut word = [0; 8];
                port.read(Iova(8), &mut word).expect("mapped");
                black_box(word);
            }),
        ),
    ]
}

fn hypercalls() -> Vec<Case> {
    /// With a list of entries at `LIST`.
    fn unit() -> Unit {
        let unit = Unit::new();
        for i in 0..BATCH {
            let tce = ((i * PAGE) | RW).to_be_bytes();
            let at = GuestAddress(LIST + 8 * i);
            unit.ram.write_slice(&tce, at).expect("memory");
        }
        unit
    }
    const LIST: u64 = 0x10_0000;
    let case = |name, bound, call: fn(&Unit, u64), step: u64| {
        let (unit, next) = (unit(), in_order(SPAN / step));
        Case {
            name,
            bound,
            run: Box::new(move || call(&unit, next() * step)),
        }
    };
    vec![
        case(
            "H_PUT_TCE",
            30.0,
            |u, at| u.call(H_PUT_TCE, &[DEFAULT, at, TCE]),
            PAGE,
        ),
        case(
            "H_GET_TCE",
            f64::INFINITY,
            |u, at| u.call(H_GET_TCE, &[DEFAULT, at]),
            PAGE,
        ),
        case(
            "H_PUT_TCE, set and clear one entry",
            f64::INFINITY,
            |u, _| {
                u.call(H_PUT_TCE, &[DEFAULT, 0, TCE]);
                u.call(H_PUT_TCE, &[DEFAULT, 0, 0]);
            },
            PAGE,
        ),
        case(
            "H_PUT_TCE_INDIRECT x512",
            2000.0,
            |u, at| u.call(H_PUT_TCE_INDIRECT, &[DEFAULT, at, LIST, BATCH]),
            BATCH * PAGE,
        ),
        case(
            "H_STUFF_TCE x512, set and clear",
            2000.0,
            |u, at| {
                u.call(H_STUFF_TCE, &[DEFAULT, at, TCE, BATCH]);
                u.call(H_STUFF_TCE, &[DEFAULT, at, 0, BATCH]);
            },
            BATCH * PAGE,
        ),
        case(
            "create and remove a window of 2^50 bytes",
            5000.0,
            |u, _| {
                let (liobn, _) = u.create(12, 50);
                let mut out = [1];
                u.iommu.remove_pe_dma_window(&[liobn as u32], &mut out);
                assert_eq!(out[0], 0, "removal");
            },
            PAGE,
        ),
    ]
}

/// Nanoseconds of one run, the best and the median of the samples.
fn measure(run: &dyn Fn()) -> (f64, f64) {
    let sample = |n: u32| {
        let start = Instant::now();
        for _ in 0..n {
            run();
        }
        start.elapsed().as_nanos() as f64 / f64::from(n)
    };
    // What follows from a first look, which also fills caches and tables.
    let once = (0..20).map(|_| sample(1000)).fold(f64::INFINITY, f64::min);
    let n = (f64::from(SAMPLE_NS) / once).ceil().max(1.0) as u32;
    let mut times: Vec<f64> = (0..SAMPLES).map(|_| sample(n)).collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[SAMPLES / 2])
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let cases = || translations().into_iter().chain(hypercalls());
    if let [name, count] = &arguments[..] {
        let Some(case) = cases().find(|c| c.name == name) else {
            eprintln!("no case {name:?}");
            return ExitCode::from(2);
        };
        for _ in 0..count.parse::<u64>().unwrap_or(1) {
            (case.run)();
        }
        return ExitCode::SUCCESS;
    }
    let mut kept = true;
    for case in cases() {
        let (best, median) = measure(&*case.run);
        let bound = if case.bound.is_finite() {
            format!("(<= {})", case.bound)
        } else {
            String::new()
        };
        println!(
            "{:42} {best:7.1} ns  {bound:9}  median {median:.1} ns",
            case.name
        );
        kept &= best <= case.bound;
    }
    if kept {
        println!("every bound is kept");
        ExitCode::SUCCESS
    } else {
        println!("a bound is not kept");
        ExitCode::FAILURE
    }
}
