//! Costs of the VT-d unit: `cargo bench -p viommu-devices --features testing --bench vtd`.
//!
//! Wanted on one core: IOTLB hit <= 15 ns; second-stage miss of 4 levels <= 120 ns; nested 4x4 miss <= 600 ns; page-selective
//! invalidation and wait <= 300 ns; two threads at least 1.8 times one while a third invalidates.

#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use viommu_devices::vtd::spec::paging::first;
use viommu_devices::vtd::spec::pasid::PasidEntry as Pe;
use viommu_devices::vtd::spec::queue::types;
use viommu_devices::vtd::spec::registers::Register;
use viommu_devices::vtd::testing::{DEVICE, Lab, STATUS};
use viommu_devices::vtd::{CacheConfig, Config, Operation, Request, Vtd};

/// Offset of the tail register.
const IQT: u64 = 0x88;

/// 4 KiB pages of the second stage, 4 levels, legacy mode.
fn legacy(caches: CacheConfig) -> Lab {
    let lab = Lab::new(Config {
        caches,
        ..Config::full()
    });
    let root = lab.page();
    for page in 0..512 {
        lab.map_second(root, 4, page << 12, 0x20_0000 + (page << 12), 1, 3);
    }
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.enable(0);
    lab
}

fn nested(caches: CacheConfig) -> Lab {
    let lab = Lab::new(Config {
        caches,
        ..Config::full()
    });
    let (f, s) = (lab.page(), lab.page());
    lab.map_first(
        f,
        4,
        0x1000,
        0x5000,
        1,
        first::RW | first::US | first::A | first::D,
    );
    for page in 0..4096 {
        lab.map_second(s, 4, page << 12, page << 12, 1, 3);
    }
    lab.set_scalable_context(DEVICE, 8, 0);
    lab.set_pasid(DEVICE, 0, [s | 2 << 2 | 3 << 6, 1 | Pe::PWSNP, f]);
    lab.enable(1);
    lab
}

fn request(address: u64) -> Request {
    Request::untranslated(DEVICE, address, Operation::Read)
}

fn single(c: &mut Criterion) {
    let lab = legacy(CacheConfig::default());
    c.bench_function("iotlb hit", |b| {
        b.iter(|| lab.unit.translate(black_box(&request(0x5123))))
    });
    c.bench_function("iotlb hit, in flight", |b| {
        b.iter(|| {
            let _guard = lab.unit.enter();
            lab.unit.translate(black_box(&request(0x5123)))
        })
    });
    // Of the caches only the context cache is on: a miss in the IOTLB is a walk of four levels.
    let miss = CacheConfig {
        context: 256,
        pasid: 256,
        ..CacheConfig::OFF
    };
    let walking = legacy(miss);
    c.bench_function("second-stage miss, 4 levels", |b| {
        b.iter(|| walking.unit.translate(black_box(&request(0x5123))))
    });
    let both = nested(miss);
    c.bench_function("nested miss, 4x4 levels", |b| {
        b.iter(|| both.unit.translate(black_box(&request(0x1123))))
    });
    let mut tail = 0;
    for n in 0..128 {
        let at = 0x2000 + 32 * n;
        let (low, high) = if n % 2 == 0 {
            (u64::from(types::IOTLB) | 3 << 4 | 1 << 16, 0x5000)
        } else {
            (u64::from(types::WAIT) | 1 << 5 | 1 << 32, STATUS)
        };
        lab.put(at, low);
        lab.put(at + 8, high);
    }
    c.bench_function("page-selective invalidation and wait", |b| {
        b.iter(|| {
            tail = (tail + 64) & 0xfff;
            lab.set_register(Register::IQT, tail)
        })
    });
}

/// Translations a second of `threads` threads, each to its own pages, while another invalidates a page now and then.
fn rate(unit: &Vtd, threads: u64) -> f64 {
    let stop = AtomicBool::new(false);
    let total = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|s| {
        for t in 0..threads {
            let (stop, total) = (&stop, &total);
            s.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    for page in 0..64 {
                        let _guard = unit.enter();
                        let _ = black_box(unit.translate(&request((64 * t + page) << 12)));
                    }
                    n += 64;
                }
                total.fetch_add(n, Ordering::Relaxed);
            });
        }
        s.spawn(|| {
            let mut tail = unit.read(IQT, 8);
            while !stop.load(Ordering::Relaxed) {
                tail = (tail + 64) & 0xfff;
                unit.write(IQT, 8, tail);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        std::thread::sleep(Duration::from_millis(1000));
        stop.store(true, Ordering::Relaxed);
    });
    total.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

fn threads(_: &mut Criterion) {
    let lab = legacy(CacheConfig::default());
    for n in 0..128 {
        let low = if n % 2 == 0 {
            u64::from(types::IOTLB) | 3 << 4 | 1 << 16
        } else {
            u64::from(types::WAIT) | 1 << 5 | 1 << 32
        };
        lab.put(0x2000 + 32 * n, low);
        lab.put(
            0x2000 + 32 * n + 8,
            if n % 2 == 0 { 0x5000 } else { STATUS },
        );
    }
    let (one, two) = (rate(&lab.unit, 1), rate(&lab.unit, 2));
    println!(
        "threads: one {one:.3e}/s, two {two:.3e}/s: {:.2} times, while a third invalidates",
        two / one
    );
}

criterion_group!(benches, single, threads);
criterion_main!(benches);
