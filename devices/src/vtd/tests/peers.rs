//! One test for each defect known of other emulators (QEMU 10.2, OpenVMM of August 2026): this unit does not have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::dma::{DmaPort, Iova};
use crate::vtd::spec::fault::Reason;
use crate::vtd::spec::paging::{first, second};
use crate::vtd::spec::pasid::PasidEntry as Pe;
use crate::vtd::spec::queue::types;
use crate::vtd::spec::registers::{Register, fsts};
use crate::vtd::testing::{Lab, QUEUE, STATUS};
use crate::vtd::{Blocked, CacheConfig};

/// QEMU: a write to a page that is cached read-only is dropped without a fault record.
#[test]
fn a_write_to_a_page_cached_read_only_is_recorded() {
    for caches in [CacheConfig::default(), CacheConfig::ADVERSARIAL] {
        let lab = Lab::new(Config {
            caches,
            ..Config::full()
        });
        let root = lab.page();
        let leaf = lab.map_second(root, 4, 0x1000, 0x5000, 1, second::R);
        lab.set_context(DEVICE, 0, 2, 1, root);
        lab.enable(0);
        assert!(lab.unit.translate(&read(0x1000)).is_ok());
        assert!(lab.unit.translate(&write(0x1000)).is_err());
        let [record] = lab.take_records()[..] else {
            panic!()
        };
        assert_eq!(
            (record.code(), record.info()),
            (Reason::Write.code(), 0x1000)
        );
        // More permission without a flush: the careful cache looks again, the adversarial one need not.
        lab.put(leaf, 0x5000 | 3);
        let granted = lab.unit.translate(&write(0x1000)).is_ok();
        assert_eq!(granted, caches == CacheConfig::default());
    }
}

/// QEMU: a write after a cached read never sets the dirty bit.
#[test]
fn a_write_after_a_cached_read_sets_the_dirty_bit() {
    let lab = Lab::new(Config::full());
    let (f, s) = (lab.page(), lab.page());
    let first_leaf = lab.map_first(f, 4, 0x1000, 0x5000, 1, first::RW | first::US);
    let second_leaf = lab.map_second(s, 4, 0x1000, 0x5000, 1, 3);
    lab.set_scalable_context(DEVICE, 8, 2);
    lab.set_pasid(
        DEVICE,
        0,
        [s | 2 << 2 | 2 << 6 | Pe::SSADE, 1 | Pe::PWSNP, 0],
    );
    lab.set_pasid(DEVICE, 1, [1 << 6, 1 | Pe::PWSNP, f | Pe::EAFE]);
    lab.enable(1);
    for (pasid, leaf, a, d) in [
        (0, second_leaf, second::A, second::D),
        (1, first_leaf, first::A | first::EA, first::D),
    ] {
        let r = read(0x1000).with_pasid(pasid);
        let w = write(0x1000).with_pasid(pasid);
        lab.unit.translate(&r).unwrap();
        assert_eq!(lab.get(leaf) & (a | d), a);
        lab.unit.translate(&r).unwrap();
        lab.unit.translate(&w).unwrap();
        assert_eq!(lab.get(leaf) & (a | d), a | d);
        // Dirty tracking: software clears D and flushes; the next write sets it again.
        lab.put(leaf, lab.get(leaf) & !d);
        lab.invalidate_all();
        lab.unit.translate(&r).unwrap();
        assert_eq!(lab.get(leaf) & d, 0);
        lab.unit.translate(&w).unwrap();
        assert_eq!(lab.get(leaf) & d, d);
    }
}

/// Every level's accessed bit is set; other bits are not touched.
#[test]
fn accessed_bits_of_all_levels() {
    let lab = Lab::new(uncached());
    let s = lab.page();
    lab.map_second(s, 5, 0x1000, 0x5000, 1, 3);
    lab.set_scalable_context(DEVICE, 8, 0);
    lab.set_pasid(
        DEVICE,
        0,
        [s | 3 << 2 | 2 << 6 | Pe::SSADE, 1 | Pe::PWSNP, 0],
    );
    lab.enable(1);
    let entries = lab.entries(s, 5, 0x1000, 1);
    let before: Vec<u64> = entries.iter().map(|e| lab.get(*e)).collect();
    lab.unit.translate(&write(0x1000)).unwrap();
    for (level, (at, was)) in entries.iter().zip(before).enumerate() {
        let expected = if level == 4 {
            second::A | second::D
        } else {
            second::A
        };
        assert_eq!(lab.get(*at), was | expected);
    }
}

/// QEMU: the accessed/dirty update writes the whole entry back, so it can bring back an entry that the CPU just cleared.
/// Here a thread clears and sets the entry while requests set its bits: a cleared entry stays clear.
#[test]
fn an_update_does_not_bring_back_a_cleared_entry() {
    let lab = Lab::new(uncached());
    let s = lab.page();
    let leaf = lab.map_second(s, 4, 0x1000, 0x5000, 1, 3);
    lab.set_scalable_context(DEVICE, 8, 0);
    lab.set_pasid(
        DEVICE,
        0,
        [s | 2 << 2 | 2 << 6 | Pe::SSADE, 1 | Pe::PWSNP, 0],
    );
    lab.enable(1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = lab.unit.translate(&write(0x1000));
            }
        });
        for n in 0..20_000u64 {
            lab.ram
                .store(
                    (0x5000u64 | 3).to_le(),
                    GuestAddress(leaf),
                    Ordering::SeqCst,
                )
                .unwrap();
            lab.ram
                .store((n << 52).to_le(), GuestAddress(leaf), Ordering::SeqCst)
                .unwrap();
            let now: u64 = lab.ram.load(GuestAddress(leaf), Ordering::SeqCst).unwrap();
            assert_eq!(u64::from_le(now), n << 52);
        }
        stop.store(true, Ordering::Relaxed);
    });
    lab.take_records();
}

/// QEMU: with `dma-drain`, an invalidation completes before the DMA that uses the old translation does.
#[test]
fn an_invalidation_waits_for_the_dma_in_flight() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x5000, 1, 3);
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.enable(0);
    let woken = Arc::new(AtomicU32::new(0));
    let counter = woken.clone();
    lab.unit.set_waker(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let guard = lab.unit.enter();
    let old = lab.unit.translate(&write(0x1000)).unwrap();
    lab.submit([u64::from(types::IOTLB) | 1 << 4, 0]);
    assert!(!lab.wait(), "the DMA has not ended");
    assert!(lab.unit.run().run_again);
    // The wait is the second descriptor, of 32 bytes each.
    assert_eq!(lab.register(Register::IQH), 32);
    // A DMA that begins now does not hold it up.
    let late = lab.unit.enter();
    lab.ram.write_obj(7u64, GuestAddress(old.address)).unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 0);
    drop(guard);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert!(!lab.unit.run().run_again);
    assert_eq!(lab.get(STATUS) as u32, 0x1234);
    drop(late);
    // The same for a command: TES stays set until the DMA has ended.
    let guard = lab.unit.enter();
    lab.set_register(Register::GCMD, 0);
    assert_eq!(lab.register(Register::GSTS) >> 31, 1);
    drop(guard);
    assert_eq!(lab.register(Register::GSTS) >> 31, 0);
}

/// The port of a device holds the guard over translation and access.
#[test]
fn ports_are_in_flight_while_they_access() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x5000, 1, 3);
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.enable(0);
    let port = DmaPort::new(DEVICE, Arc::new(lab.unit.clone()), lab.ram.clone());
    port.write(Iova(0x1ff8), &[1; 8]).unwrap();
    assert_eq!(lab.get(0x5ff8), 0x0101_0101_0101_0101);
    let fault = port.write(Iova(0x1ff8), &[2; 16]).unwrap_err();
    assert_eq!((fault.request.iova.0, fault.reason.code), (0x2000, 5));
    assert_eq!(crate::vtd::reason_of(&fault), Some(Reason::Write));
    let flight = port.in_flight();
    assert!(!lab.wait());
    drop(flight);
    lab.unit.run();
    assert_eq!(lab.get(STATUS) as u32, 0x1234);
}

/// OpenVMM: a queue of 4 KiB with IQT = 0x1000 loops for ever.
#[test]
fn a_tail_at_the_size_of_the_queue_is_an_error() {
    let lab = Lab::new(Config::full());
    lab.enable(0);
    for n in 0..128 {
        lab.put(QUEUE + 32 * n, u64::from(types::WAIT));
    }
    lab.set_register(Register::IQT, 0x1000);
    assert_eq!(lab.register(Register::FSTS) as u32, fsts::IQE);
    assert_eq!(lab.register(Register::IQERCD), 1);
}

/// OpenVMM: a request beyond the context entry's address width aliases a lower address.
#[test]
fn an_address_beyond_the_width_does_not_alias() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 3, 0x1000, 0x5000, 1, 3);
    lab.set_context(DEVICE, 0, 1, 1, root);
    lab.enable(0);
    assert!(lab.unit.translate(&read(0x1000)).is_ok());
    let beyond = lab.unit.translate(&read(1 << 39 | 0x1000));
    let Err(Blocked::Fault(f)) = beyond else {
        panic!("{beyond:?}")
    };
    assert_eq!(f.reason, Reason::AddressBeyondWidth);
    assert_eq!(lab.take_records()[0].info(), 1 << 39 | 0x1000);
}

/// QEMU: an 8-byte register access met an assertion. All of them are in `units::every_offset_and_width`.
#[test]
fn eight_byte_accesses() {
    let lab = Lab::new(Config::full());
    for offset in (0..0x1000).step_by(4) {
        lab.unit.read(offset, 8);
        lab.unit.write(offset, 8, u64::MAX);
    }
}

/// QEMU 10.2: the drain bit of a wait descriptor is taken for reserved.
#[test]
fn a_wait_may_drain_page_requests() {
    let lab = Lab::new(Config::full());
    lab.enable(0);
    lab.submit([u64::from(types::WAIT) | 1 << 5 | 1 << 7 | 9 << 32, STATUS]);
    assert_eq!(lab.get(STATUS), 9);
}

/// QEMU: one record, and further faults of the same requester fall together.
#[test]
fn faults_of_one_requester_are_all_recorded() {
    let lab = Lab::new(uncached());
    lab.enable(0);
    for n in 0..4 {
        assert!(lab.unit.translate(&read(n << 12)).is_err());
    }
    let records = lab.take_records();
    let pages: Vec<u64> = records.iter().map(|r| r.info() >> 12).collect();
    assert_eq!(pages, [0, 1, 2, 3]);
}

/// CAP.CM: what is not present is cached until it is invalidated, and its use afterwards is counted. Without CM it is not.
#[test]
fn caching_mode() {
    for caching_mode in [false, true] {
        let lab = Lab::new(Config {
            caching_mode,
            ..Config::full()
        });
        let root = lab.page();
        let leaf = lab.map_second(root, 4, 0x1000, 0, 1, 0);
        lab.set_context(DEVICE, 0, 2, 1, root);
        lab.enable(0);
        assert!(lab.unit.translate(&read(0x1000)).is_err());
        lab.put(leaf, 0x5000 | 3);
        assert_eq!(lab.unit.translate(&read(0x1000)).is_err(), caching_mode);
        assert_eq!(
            lab.unit.counters().caching_mode_violations,
            u64::from(caching_mode)
        );
        lab.invalidate_all();
        assert!(lab.unit.translate(&read(0x1000)).is_ok());
        // A context entry likewise.
        let other = SourceId(0x20);
        let r = Request::untranslated(other, 0x1000, Operation::Read);
        assert!(lab.unit.translate(&r).is_err());
        lab.set_context(other, 0, 2, 1, root);
        assert_eq!(lab.unit.translate(&r).is_err(), caching_mode);
        lab.submit([u64::from(types::CONTEXT_CACHE) | 2 << 4, 0]);
        assert!(
            lab.unit.translate(&r).is_ok(),
            "it was tagged with domain 0"
        );
    }
}

/// No other model has it: upper levels stay cached until an invalidation without IH.
#[test]
fn a_missing_flush_of_upper_levels_shows() {
    let caches = CacheConfig {
        paging_structure: 64,
        ..CacheConfig::default()
    };
    let lab = Lab::new(Config {
        caches,
        ..Config::full()
    });
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x5000, 1, 3);
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.enable(0);
    assert_eq!(lab.unit.translate(&read(0x1000)).unwrap().address, 0x5000);
    // A new table in place of the level 1 table.
    let table = lab.page();
    lab.put(table + 8, 0x6000 | 3);
    let upper = lab.entries(root, 4, 0x1000, 2)[2];
    lab.put(upper, table | 3);
    let psi = u64::from(types::IOTLB) | 3 << 4 | 1 << 16;
    lab.submit([psi, 0x1000 | 1 << 6]);
    assert_eq!(
        lab.unit.translate(&read(0x1000)).unwrap().address,
        0x5000,
        "IH: only the leaf was flushed"
    );
    lab.submit([psi, 0x1000]);
    assert_eq!(lab.unit.translate(&read(0x1000)).unwrap().address, 0x6000);
}

/// Accessed bits of first-stage entries are also writes to the second stage's pages.
#[test]
fn nested_updates_dirty_the_second_stage() {
    let lab = Lab::new(uncached());
    let s = lab.identity_second(4, 3);
    let f = lab.page();
    lab.map_first(f, 4, 0x1000, 0x60_0000, 1, first::RW | first::US);
    lab.set_scalable_context(DEVICE, 8, 0);
    lab.set_pasid(
        DEVICE,
        0,
        [s | 2 << 2 | 3 << 6 | Pe::SSADE, 1 | Pe::PWSNP, f],
    );
    lab.enable(1);
    lab.unit.translate(&read(0x1000)).unwrap();
    let page_of = |a| *lab.entries(s, 4, a, 2).last().unwrap();
    assert_eq!(
        lab.get(page_of(f)) & second::D,
        second::D,
        "first-stage tables were written"
    );
    assert_eq!(
        lab.get(page_of(0x60_0000)) & (second::A | second::D),
        second::A,
        "the page was only read"
    );
    lab.unit.translate(&write(0x1000)).unwrap();
    assert_eq!(lab.get(page_of(0x60_0000)) & second::D, second::D);
}
