//! The unit as a machine holds it: messages, I/O APIC entries, its own events, counters, reset.

use std::collections::BTreeSet;

use super::*;
use crate::dma::SourceId;
use crate::effects::Msi;
use crate::vtd::spec::fault::Reason;
use crate::vtd::spec::queue::types;
use crate::vtd::spec::registers::{Register, global};
use crate::vtd::testing::{DEVICE, IRT, IRT_SIZE, Lab, QUEUE};
use crate::vtd::{Fault, Interrupt, Invalidation, Operation, Outcome, Request, Vtd};

const IO_APIC: SourceId = SourceId(0xf0f8);

fn interrupts(config: Config) -> Lab {
    let lab = Lab::new(config);
    // Entry 0x8005: vector 0x45, lowest priority to logical destination 3, level, from the I/O APIC alone.
    lab.put(IRT + 0x8005 * 16, 3 << 40 | 0x45 << 16 | 1 << 5 | 0b1_1101);
    lab.put(IRT + 0x8005 * 16 + 8, u64::from(IO_APIC.0) | 1 << 18);
    lab.set_register(Register::IRTA, IRT | 15);
    lab.enable_queue();
    lab
}

fn deliver(outcome: Result<Outcome, Fault>) -> Interrupt {
    match outcome {
        Ok(Outcome::Deliver(interrupt)) => interrupt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_of_compatibility_format() {
    let lab = interrupts(uncached());
    let msi = Msi {
        address: 0xfee1_200c,
        data: 0x8531,
    };
    let expected = Interrupt {
        vector: 0x31,
        destination: 0x12,
        logical: true,
        redirection_hint: true,
        delivery_mode: 5,
        level: true,
    };
    assert_eq!(deliver(lab.unit.message(DEVICE, msi)), expected);
    let elsewhere = Msi {
        address: 0x1_fee0_0000,
        data: 0,
    };
    assert_eq!(lab.unit.message(DEVICE, elsewhere), Ok(Outcome::Memory));
    lab.command(global::SIRTP);
    lab.command(global::IRE);
    assert_eq!(
        lab.unit.message(DEVICE, msi).unwrap_err().reason,
        Reason::CompatibilityBlocked
    );
    assert_eq!(
        lab.unit.message(DEVICE, elsewhere),
        Ok(Outcome::Memory),
        "a plain write"
    );
    lab.command(global::CFI);
    assert_eq!(deliver(lab.unit.message(DEVICE, msi)), expected);
}

#[test]
fn io_apic_entries() {
    let lab = interrupts(uncached());
    // Fixed, level, to physical APIC 7; then lowest priority to logical 7.
    let physical = deliver(lab.unit.io_apic(IO_APIC, 7 << 56 | 1 << 15 | 0x33));
    let expected = Interrupt {
        vector: 0x33,
        destination: 7,
        logical: false,
        redirection_hint: false,
        delivery_mode: 0,
        level: true,
    };
    assert_eq!(physical, expected);
    let logical = deliver(lab.unit.io_apic(IO_APIC, 7 << 56 | 1 << 11 | 1 << 8 | 0x33));
    assert_eq!(
        logical,
        Interrupt {
            logical: true,
            redirection_hint: true,
            delivery_mode: 1,
            level: false,
            ..expected
        }
    );
    lab.command(global::SIRTP);
    lab.command(global::IRE);
    // Bit 48 is the format, 63:49 and 11 the index; the vector (a pin number, say) and the delivery mode are no subhandle.
    let entry = 5 << 49 | 1 << 48 | 1 << 15 | 1 << 11 | 0x14;
    let remapped = Interrupt {
        vector: 0x45,
        destination: 3,
        logical: true,
        redirection_hint: true,
        delivery_mode: 1,
        level: true,
    };
    assert_eq!(deliver(lab.unit.io_apic(IO_APIC, entry)), remapped);
    assert_eq!(deliver(lab.unit.io_apic(IO_APIC, entry | 1 << 8)), remapped);
    let stranger = lab.unit.io_apic(DEVICE, entry).unwrap_err();
    assert_eq!(stranger.reason, Reason::SourceIdMismatch);
    assert_eq!(
        lab.unit.io_apic(IO_APIC, 7 << 56).unwrap_err().reason,
        Reason::CompatibilityBlocked
    );
    let c = lab.unit.counters().interrupts;
    assert_eq!((c.unchanged, c.remapped, c.posted, c.blocked), (2, 2, 0, 2));
}

#[test]
fn posted_messages() {
    let lab = Lab::new(uncached());
    let descriptor = lab.page();
    lab.put(descriptor + 32, 0x9 << 32 | 0xf2 << 16);
    lab.put(IRT, descriptor << 32 | 0x51 << 16 | 1 << 15 | 1);
    lab.put(IRT + 8, 0);
    lab.set_register(Register::IRTA, IRT | IRT_SIZE | 1 << 11);
    lab.command(global::SIRTP);
    lab.command(global::IRE);
    let msi = Msi {
        address: 0xfee0_0010,
        data: 0,
    };
    let notified = deliver(lab.unit.message(DEVICE, msi));
    assert_eq!((notified.vector, notified.destination), (0xf2, 9));
    assert_eq!(lab.unit.message(DEVICE, msi), Ok(Outcome::Posted));
    assert_eq!(lab.unit.counters().interrupts.posted, 2);
}

#[test]
fn the_units_own_events() {
    let lab = Lab::new(uncached());
    lab.set_register(Register::FEDATA, 0x4061);
    lab.set_register(Register::FEADDR, 0xfee3_4000);
    lab.set_register(Register::FEUADDR, 0x1200);
    lab.set_register(Register::FECTL, 0);
    lab.enable(0);
    assert!(!lab.unit.has_actions());
    let request = Request::untranslated(DEVICE, 0x1000, Operation::Read);
    assert!(lab.unit.translate(&request).is_err());
    assert!(lab.unit.has_actions());
    let actions = lab.unit.take_actions();
    assert!(!lab.unit.has_actions());
    let [event] = lab.unit.finish(actions)[..] else {
        panic!()
    };
    assert_eq!((event.vector, event.destination), (0x61, 0x1234));
    let nowhere = Msi {
        address: 0x1234,
        data: 0,
    };
    assert_eq!(Interrupt::of_event(nowhere), None);
}

#[test]
fn invalidations_of_device_tlbs_that_are_not_there() {
    let lab = Lab::new(uncached());
    lab.set_register(Register::IEDATA, 0x62);
    lab.set_register(Register::IEADDR, 0xfee0_0000);
    lab.set_register(Register::IECTL, 0);
    lab.enable(0);
    // More than are carried out at a time, and a wait with interrupt behind them.
    for n in 0..70 {
        let at = QUEUE + n * 32;
        lab.put(at, u64::from(types::DEVICE_TLB) | u64::from(DEVICE.0) << 32);
        lab.put(at + 8, n << 12);
        lab.put(at + 16, 0);
        lab.put(at + 24, 0);
    }
    lab.put(QUEUE + 70 * 32, u64::from(types::WAIT) | 1 << 4);
    let actions = lab.set_register(Register::IQT, 71 * 32);
    assert!(actions.device_tlb.len() < 70);
    let [event] = lab.unit.finish(actions)[..] else {
        panic!()
    };
    assert_eq!(event.vector, 0x62);
    assert_eq!(lab.register(Register::IQH), 71 * 32);
    let counted = lab.unit.counters().invalidations;
    assert_eq!(counted[&Invalidation::DeviceTlb], 70);
    assert_eq!(counted[&Invalidation::Wait], 1);
}

#[test]
fn what_is_counted() {
    let lab = Lab::new(Config::full());
    let read = |source, at| {
        let request = Request::untranslated(source, at, Operation::Read);
        lab.unit.translate(&request).is_ok()
    };
    let (other, passing) = (SourceId(0x20), SourceId(0x28));
    assert!(read(DEVICE, 0x1000), "off");
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x50_0000, 1, 3);
    lab.set_context(DEVICE, 0, 2, 7, root);
    lab.set_context(other, 0, 2, 0x1234, root);
    lab.set_context(passing, 2, 2, 9, 0);
    lab.enable(0);
    for source in [DEVICE, DEVICE, DEVICE, other, passing] {
        assert!(read(source, 0x1000));
    }
    assert!(!read(DEVICE, 0x2000), "no page");
    assert!(!read(SourceId(0x30), 0x1000), "no context");
    lab.invalidate_all();
    lab.submit([u64::from(types::IOTLB) | 3 << 4 | 7 << 16, 0x1000]);
    let c = lab.unit.counters();
    assert_eq!((c.untranslated, c.pass_through), (1, 1));
    assert_eq!((c.iotlb_hits, c.iotlb_misses), (2, 3));
    assert_eq!(c.domains, BTreeSet::from([7, 9, 0x1234]));
    assert_eq!(c.faults, 2);
    let codes = [
        (Reason::ContextNotPresent.code(), 1),
        (Reason::Read.code(), 1),
    ];
    assert_eq!(c.faults_by_code, codes.into_iter().collect());
    let kinds = [
        (Invalidation::ContextGlobal, 1),
        (Invalidation::IotlbGlobal, 1),
        (Invalidation::IotlbPages, 1),
        (Invalidation::RootTable, 1),
        (Invalidation::Wait, 1),
    ];
    assert_eq!(c.invalidations, kinds.into_iter().collect());
    // They outlive a snapshot, and read well in a report.
    let again = Vtd::restore(&lab.unit.save().unwrap(), lab.ram.clone()).unwrap();
    assert_eq!(again.counters(), c);
    let json = serde_json::to_string(&c).unwrap();
    assert!(json.contains(r#""faults_by_code":{"2":1,"6":1}"#), "{json}");
    assert!(json.contains(r#""iotlb_pages":1"#), "{json}");
}

#[test]
fn many_threads_are_counted() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x50_0000, 1, 3);
    lab.set_context(DEVICE, 0, 2, 7, root);
    lab.enable(0);
    let request = Request::untranslated(DEVICE, 0x1000, Operation::Read);
    lab.unit.translate(&request).unwrap();
    // More threads than there are counters of their own.
    for _ in 0..20 {
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..100 {
                        lab.unit.translate(&request).unwrap();
                    }
                });
            }
        });
    }
    assert_eq!(lab.unit.counters().iotlb_hits, 8000);
}

#[test]
fn reset_is_power_on() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x60_0000, 1, 3);
    lab.set_context(DEVICE, 0, 2, 7, root);
    lab.set_register(Register::PHMBASE, 0x40_0000);
    lab.set_register(Register::PHMLIMIT, 0x40_0000);
    lab.set_register(Register::PMEN, 1 << 31);
    lab.enable(0);
    let request = Request::untranslated(DEVICE, 0x1000, Operation::Read);
    assert_eq!(lab.unit.translate(&request).unwrap().address, 0x60_0000);
    let fresh = Vtd::new(lab.unit.config().clone(), lab.ram.clone()).unwrap();
    assert_ne!(lab.unit.read(0x1c, 4), fresh.read(0x1c, 4));
    lab.unit.reset();
    for offset in (0..crate::vtd::REGISTERS_SIZE).step_by(4) {
        assert_eq!(
            lab.unit.read(offset, 4),
            fresh.read(offset, 4),
            "{offset:#x}"
        );
    }
    assert_eq!(lab.unit.translate(&request).unwrap().address, 0x1000);
    assert!(lab.unit.save().unwrap().caches().is_empty());
    let protected = Request::untranslated(DEVICE, 0x40_0000, Operation::Read);
    assert!(lab.unit.translate(&protected).is_ok());
}

/// Threads that come and go count on, and do not end up on the line that the ones without a number share.
#[test]
fn numbers_of_threads_are_used_again() {
    let lab = Lab::new(Config::full());
    for _ in 0..200 {
        let unit = lab.unit.clone();
        let number = std::thread::spawn(move || {
            for _ in 0..3 {
                assert!(unit.translate(&read(0x1000)).is_ok());
            }
            crate::vtd::counters::thread_number()
        });
        assert!(number.join().unwrap() < 64);
    }
    assert_eq!(lab.unit.counters().untranslated, 600);
}

/// Faults of several threads, while a driver clears records: each is recorded once, or counted as lost. §7.2.1.
#[test]
fn no_fault_disappears_among_threads() {
    const EACH: u64 = 2000;
    let lab = Lab::new(Config::full());
    lab.enable(0);
    let taken = |seen: &mut Vec<u64>| {
        for n in 0..lab.unit.config().fault_records as u16 {
            if lab.register(Register::FRCD(n, true)) >> 63 == 1 {
                seen.push(lab.register(Register::FRCD(n, false)) >> 12);
                lab.set_register(Register::FRCD(n, true), 1 << 63);
            }
        }
        lab.set_register(Register::FSTS, 1);
    };
    let mut seen = Vec::new();
    std::thread::scope(|s| {
        let threads = [0, 1].map(|t| {
            let unit = lab.unit.clone();
            s.spawn(move || {
                for n in 0..EACH {
                    let r = Request::untranslated(DEVICE, (t * EACH + n) << 12, Operation::Read);
                    assert!(unit.translate(&r).is_err());
                }
            })
        });
        while threads.iter().any(|t| !t.is_finished()) {
            taken(&mut seen);
        }
    });
    taken(&mut seen);
    let counters = lab.unit.counters();
    assert_eq!(seen.len() as u64 + counters.lost_faults, 2 * EACH);
    assert_eq!(counters.faults, 2 * EACH);
    let recorded = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), recorded, "none twice");
}
