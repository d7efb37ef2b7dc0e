//! What single translations and hypercalls of the sPAPR IOMMU cost. `cargo bench -p viommu --bench iommu`

#[path = "common/unit.rs"]
mod unit;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use viommu_devices::dma::{Access, DmaRequest, Iova, Translator};
use viommu_devices::spapr::hcall::{H_GET_TCE, H_PUT_TCE, H_PUT_TCE_INDIRECT, H_STUFF_TCE};
use vm_memory::{Bytes, GuestAddress};

use unit::{DEFAULT, RW, SOURCE, Unit};

const PAGE: u64 = 4096;
/// An entry for some page.
const TCE: u64 = (5 * PAGE) | RW;
const BATCH: u64 = 512;
/// Bytes of the default window that the hypercalls go through.
const SPAN: u64 = 256 << 20;

/// Translations at addresses that jump about in a window of `size` bytes, all of it mapped.
fn translate(c: &mut Criterion, name: &str, unit: &Unit, base: u64, size: u64) {
    let mut at = 0u64;
    c.bench_function(name, |b| {
        b.iter(|| {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let request = DmaRequest {
                source: SOURCE,
                pasid: None,
                iova: Iova(base + (((at >> 20) % size) & !7)),
                len: 8,
                access: Access::Read,
            };
            black_box(unit.iommu.translate(&request)).expect("mapped")
        });
    });
}

fn translations(c: &mut Criterion) {
    let unit = Unit::new();
    unit.call(H_PUT_TCE, &[DEFAULT, 0, RW]);
    translate(c, "translate, 1 entry", &unit, 0, PAGE);
    let base = unit.mapped(24, 30);
    translate(c, "translate, 16 MiB pages", &unit, base, 1 << 30);
    let unit = Unit::new();
    let base = unit.mapped(12, 32);
    translate(c, "translate, 2^20 entries", &unit, base, 1 << 32);
}

fn hypercalls(c: &mut Criterion) {
    let unit = Unit::new();
    let mut ioba = 0;
    // The multiple of `step` that follows.
    let mut next = |step: u64| {
        ioba = (ioba / step + 1) * step % SPAN;
        ioba
    };
    c.bench_function("H_PUT_TCE", |b| {
        b.iter(|| unit.call(H_PUT_TCE, &[DEFAULT, next(PAGE), TCE]));
    });
    c.bench_function("H_GET_TCE", |b| {
        b.iter(|| unit.call(H_GET_TCE, &[DEFAULT, next(PAGE)]));
    });
    let list = 0x10_0000;
    for i in 0..BATCH {
        let tce = (i * PAGE) | RW;
        unit.ram
            .write_slice(&tce.to_be_bytes(), GuestAddress(list + 8 * i))
            .expect("memory");
    }
    c.bench_function("H_PUT_TCE_INDIRECT x512", |b| {
        b.iter(|| {
            unit.call(
                H_PUT_TCE_INDIRECT,
                &[DEFAULT, next(BATCH * PAGE), list, BATCH],
            )
        });
    });
    c.bench_function("H_STUFF_TCE x512, set and clear", |b| {
        b.iter(|| {
            let at = next(BATCH * PAGE);
            unit.call(H_STUFF_TCE, &[DEFAULT, at, TCE, BATCH]);
            unit.call(H_STUFF_TCE, &[DEFAULT, at, 0, BATCH]);
        });
    });
}

fn windows(c: &mut Criterion) {
    let unit = Unit::new();
    c.bench_function("create and remove a window of 2^50 bytes", |b| {
        b.iter(|| {
            let (liobn, _) = unit.create(12, 50);
            let mut out = [1];
            unit.iommu.remove_pe_dma_window(&[liobn as u32], &mut out);
            assert_eq!(out[0], 0, "removal");
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = translations, hypercalls, windows
}
criterion_main!(benches);
