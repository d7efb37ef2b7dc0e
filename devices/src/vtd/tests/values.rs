//! Snapshots and explanations.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::vtd::explain::Explanation;
use crate::vtd::snapshot::{RestoreError, Snapshot};
use crate::vtd::spec::paging::{first, second};
use crate::vtd::spec::pasid::PasidEntry as Pe;
use crate::vtd::spec::queue::types;
use crate::vtd::spec::registers::Register;
use crate::vtd::testing::{DEVICE, Lab, QUEUE, ROOT};
use crate::vtd::{CacheConfig, Vtd};

/// A unit in use: nested tables, cached pages, a record, a pending device-TLB invalidation.
fn busy() -> Lab {
    let lab = Lab::new(Config {
        caches: CacheConfig {
            paging_structure: 16,
            ..CacheConfig::default()
        },
        ..Config::full()
    });
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
    lab.unit.translate(&write(0x1000)).unwrap();
    assert!(lab.unit.translate(&read(0x2000)).is_err());
    lab.submit([u64::from(types::DEVICE_TLB) | 0x10 << 32, 0]);
    lab.submit([u64::from(types::WAIT) | 1 << 5 | 1 << 32, 0x3000]);
    lab
}

#[test]
fn a_snapshot_comes_back_whole() {
    let lab = busy();
    let saved = lab.unit.save().unwrap();
    let bytes = postcard::to_stdvec(&saved).unwrap();
    let read_back: Snapshot = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(saved, read_back);
    let json = serde_json::to_string(&saved).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), saved);
    let again = Vtd::restore(&read_back, lab.ram.clone()).unwrap();
    assert_eq!(again.save().unwrap(), saved);
    for (at, size, register) in Register::MAP {
        assert_eq!(
            again.read(*at, *size as u8),
            lab.unit.read(*at, *size as u8),
            "{register:?}"
        );
    }
    // It goes on where it was: the page is cached, the device's answer completes the wait.
    lab.put(ROOT, 0);
    assert!(again.translate(&write(0x1000)).is_ok());
    again.device_tlb_done(0, 0x10);
    assert_eq!(
        lab.ram.read_obj::<u32>(GuestAddress(0x3000)).unwrap(),
        1u32.to_le()
    );
}

#[test]
fn a_busy_unit_is_not_saved() {
    let lab = busy();
    let guard = lab.unit.enter();
    assert!(lab.unit.save().is_err());
    drop(guard);
    assert!(lab.unit.save().is_ok());
    lab.set_register(Register::FECTL, 0);
    lab.take_records();
    assert!(lab.unit.translate(&read(0x3000)).is_err());
    assert!(lab.unit.save().is_err(), "a message was not taken");
    lab.unit.take_actions();
    assert!(lab.unit.save().is_ok());
}

#[test]
fn impossible_snapshots_are_refused() {
    let lab = busy();
    let value = serde_json::to_value(lab.unit.save().unwrap()).unwrap();
    let restore = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut v = value.clone();
        change(&mut v);
        let snapshot: Snapshot = serde_json::from_value(v).unwrap();
        Vtd::restore(&snapshot, lab.ram.clone()).err()
    };
    assert_eq!(restore(&|_| {}), None);
    assert_eq!(
        restore(&|v| v["version"] = 3.into()),
        Some(RestoreError::Version(3))
    );
    assert!(matches!(
        restore(&|v| v["config"]["mamv"] = 99.into()),
        Some(RestoreError::Config(_))
    ));
    assert!(matches!(
        restore(&|v| v["config"]["fault_records"] = 5.into()),
        Some(RestoreError::Contents(_))
    ));
    assert!(matches!(
        restore(&|v| v["state"]["next_record"] = 4.into()),
        Some(RestoreError::Contents(_))
    ));
    for (field, value) in [("iqh", 1u64 << 19), ("pqt", u64::MAX), ("iqa", 1 << 63)] {
        let error = restore(&|v| v["state"][field] = value.into());
        assert!(matches!(error, Some(RestoreError::Contents(_))), "{field}");
    }
    assert!(restore(&|v| v["rtaddr"] = u64::MAX.into()).is_some());
    for (cache, at) in [("context", 0), ("context", 1), ("pasid", 0), ("pasid", 2)] {
        let error = restore(&|v| v["caches"][cache][0][1][at] = u64::MAX.into());
        assert!(matches!(error, Some(RestoreError::Contents(_))), "{cache}");
    }
    assert!(matches!(
        restore(&|v| v["config"]["caches"]["iotlb"] = (1usize << 40).into()),
        Some(RestoreError::Config(_))
    ));
}

fn explained(e: &Explanation) -> Vec<&Step> {
    e.steps.iter().collect()
}

use crate::vtd::Structure;
use crate::vtd::explain::Step;

#[test]
fn a_walk_is_explained_as_a_tree() {
    let lab = busy();
    let e = lab.unit.explain(&write(0x1234));
    let structures: Vec<Structure> = explained(&e).iter().map(|s| s.structure).collect();
    let mut expected = vec![
        Structure::ScalableRootEntry,
        Structure::ScalableContextEntry,
        Structure::PasidDirectoryEntry,
        Structure::PasidEntry,
    ];
    expected.extend((1..=4).rev().map(Structure::FirstStage));
    assert_eq!(structures, expected);
    for step in &e.steps[4..] {
        assert_eq!(
            step.nested.len(),
            1,
            "the second stage says where the entry is"
        );
        assert_eq!(step.nested[0].steps.len(), 3, "2 MiB pages of 4 levels");
        assert_eq!(step.nested[0].output, Some(step.address));
        assert_eq!(step.raw.len(), 1);
    }
    assert_eq!(
        e.steps[3].fields.iter().find(|(n, _)| *n == "PGTT"),
        Some(&("PGTT", 3))
    );
    assert_eq!(e.page[0].output, Some(0x60_0234));
    assert_eq!(e.translation.map(|t| t.address), Some(0x60_0234));
    let text = e.to_string();
    for part in [
        "00:02.0",
        "FirstStage(4)",
        "second stage of 0x600234",
        "PGTT=0x3",
        "=> 0x600234",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    let json: serde_json::Value = serde_json::to_value(&e).unwrap();
    assert_eq!(json["translation"]["address"], 0x60_0234);
    assert_eq!(
        json["steps"][4]["nested"][0]["steps"][0]["structure"]["SecondStage"],
        4
    );
}

#[test]
fn an_explanation_says_where_and_why_it_ends() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    let leaf = lab.map_second(root, 4, 0x1000, 0x5000, 1, second::R);
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.enable(0);
    let e = lab.unit.explain(&write(0x1000));
    let place = e.fault.unwrap().place.unwrap();
    assert_eq!(
        (place.structure, place.address),
        (Structure::SecondStage(1), leaf)
    );
    let text = e.to_string();
    assert!(
        text.ends_with(&format!(
            "=> fault 0x05 (LGN.2): no write permission, at SecondStage(1) {leaf:#x}\n"
        )),
        "{text}"
    );
    assert!(
        lab.take_records().is_empty(),
        "an explanation is no request"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any register writes and any queue contents: no panic, and the snapshot of what comes of it is a round trip.
    #[test]
    fn any_register_writes(
        writes in prop::collection::vec((0u64..0x1000, any::<bool>(), any::<u64>(), any::<bool>()), 1..40),
        descriptors in prop::collection::vec((0u64..12, any::<u64>(), any::<u64>()), 8),
    ) {
        let lab = Lab::new(Config::full());
        for (n, (kind, low, high)) in descriptors.iter().enumerate() {
            let low = if n % 2 == 0 { low & 0xffff_ffff_0000 } else { *low } & !0xe0f | kind;
            lab.put(QUEUE + 32 * n as u64, low);
            lab.put(QUEUE + 32 * n as u64 + 8, *high);
        }
        lab.set_register(Register::IQA, QUEUE | 1 << 11);
        lab.command(1 << 26);
        for (offset, wide, value, likely) in writes {
            // Half of the writes go to registers that do something.
            let offset = if likely { [0x18, 0x20, 0x28, 0x34, 0x88, 0x90, 0xb8, 0xc00, 0xc08, 0xc0][(offset % 10) as usize] } else { offset & !3 };
            lab.unit.write(offset, if wide { 8 } else { 4 }, value);
            let _ = lab.unit.translate(&write(value));
        }
        lab.unit.take_actions();
        let saved = lab.unit.save().unwrap();
        let restored = Vtd::restore(&saved, lab.ram.clone()).unwrap();
        prop_assert_eq!(restored.save().unwrap(), saved);
    }
}
