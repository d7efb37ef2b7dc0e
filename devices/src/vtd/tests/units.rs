//! Configuration, register file, faults and their event.

use super::*;
use crate::effects::Msi;
use crate::vtd::config::ConfigError;
use crate::vtd::spec::fault::{Reason, Record};
use crate::vtd::spec::registers::{Register, fsts, global};
use crate::vtd::testing::{Lab, ROOT, place};
use crate::vtd::{Blocked, Vtd};

#[test]
fn capabilities_follow_the_configuration() {
    let full = Config::full().capabilities().unwrap();
    assert_eq!(full.cap.sagaw(), 0b01110);
    assert_eq!(full.cap.mgaw(), 56);
    assert_eq!(
        (
            full.cap.nfr(),
            full.cap.fro(),
            full.cap.nd(),
            full.cap.sslps()
        ),
        (3, 0x40, 6, 3)
    );
    assert_eq!(full.ecap.iro(), 0xc0);
    assert_eq!(full.ecap.pss(), 19);
    assert!(full.ecap.smts() && full.ecap.nest() && full.ecap.ssads() && full.cap.esrtps());
    let legacy = Config::legacy().capabilities().unwrap();
    assert_eq!(legacy.cap.sagaw(), 0b00110);
    assert!(!legacy.ecap.smts() && legacy.ecap.qi() && legacy.ecap.ir());
    let lab = Lab::new(Config::full());
    assert_eq!(lab.register(Register::CAP), u64::from(full.cap));
    assert_eq!(lab.register(Register::ECAP), u64::from(full.ecap));
    assert_eq!(lab.register(Register::VER), 0x50);
}

#[test]
fn contradictions_are_refused() {
    let bad: [(&str, Change); 26] = [
        ("host width", |c| c.host_address_width = 53),
        ("host width", |c| c.host_address_width = 0),
        ("guest width", |c| c.guest_address_width = 58),
        ("guest width", |c| c.guest_address_width = 0),
        ("levels", |c| c.second_stage_levels = vec![6]),
        ("levels", |c| c.second_stage_levels = vec![]),
        ("1G without 2M", |c| c.second_stage_2m = false),
        ("domain bits", |c| c.domain_bits = 7),
        ("domain bits", |c| c.domain_bits = 18),
        ("records", |c| c.fault_records = 0),
        ("records", |c| c.fault_records = 129),
        ("mamv", |c| c.mamv = 64),
        ("mhmv", |c| c.mhmv = 16),
        ("pasid bits", |c| c.pasid_bits = 21),
        ("pasid bits", |c| c.pasid_bits = 1),
        ("cache size", |c| c.caches.iotlb = 1000),
        ("cache size", |c| c.caches.context = 1 << 17),
        ("version", |c| c.version = (16, 0)),
        ("scalable without QI", |c| c.queued_invalidation = false),
        ("scalable features", |c| c.scalable = false),
        ("nested", |c| c.second_stage = false),
        ("first-stage features", |c| {
            c.first_stage = false;
            c.nested = false;
        }),
        ("RID_PRIV", |c| c.supervisor_requests = false),
        ("PRQ", |c| c.device_tlb = false),
        ("PRQ drain", |c| c.page_requests = false),
        ("EIM", |c| c.interrupt_remapping = false),
    ];
    for (name, change) in bad {
        let mut config = Config::full();
        change(&mut config);
        let error = config.capabilities().expect_err(name);
        assert!(!error.to_string().is_empty());
        let ram =
            crate::memory::GuestRam::from_ranges(&[(vm_memory::GuestAddress(0), 4096)]).unwrap();
        assert_eq!(Vtd::new(config, ram).err(), Some(error), "{name}");
    }
    let mut config = Config::full();
    config.mamv = 64;
    assert_eq!(
        config.capabilities(),
        Err(ConfigError::Range {
            name: "mamv",
            value: 64,
            low: 0,
            high: 63
        })
    );
}

#[test]
fn registers_after_reset() {
    let lab = Lab::new(Config::full());
    for (_, _, register) in Register::MAP {
        let expected = match register {
            Register::VER | Register::CAP | Register::ECAP => continue,
            Register::FECTL | Register::IECTL | Register::PECTL => 1 << 31,
            _ => 0,
        };
        assert_eq!(lab.register(*register), expected, "{register:?}");
    }
}

#[test]
fn which_bits_of_a_register_are_writable() {
    let haw = 0x3fff_ffff_f000;
    let cases: [(Register, u64); 23] = [
        (Register::VER, 0),
        (Register::GSTS, 0),
        (Register::RTADDR, haw | 0xc00),
        (Register::FEDATA, 0xffff),
        (Register::FEADDR, 0xffff_fffc),
        (Register::FEUADDR, 0xffff_ffff),
        (Register::PLMBASE, 0xffe0_0000),
        (Register::PLMLIMIT, 0xffe0_0000),
        (Register::PHMBASE, haw & !0x1f_ffff),
        (Register::PHMLIMIT, haw & !0x1f_ffff),
        (Register::IQH, 0),
        (Register::IQT, 0x7_fff0),
        (Register::IQA, haw | 0x807),
        (Register::IEDATA, 0xffff),
        (Register::IEADDR, 0xffff_fffc),
        (Register::IQERCD, 0),
        (Register::IRTA, haw | 0x80f),
        (Register::PQH, 0x7_ffe0),
        (Register::PQT, 0x7_ffe0),
        (Register::PQA, haw | 7),
        (Register::PEDATA, 0xffff),
        (Register::PEADDR, 0xffff_fffc),
        (Register::IVA, 0),
    ];
    for (register, writable) in cases {
        let lab = Lab::new(Config::full());
        let before = lab.register(register);
        let (at, size) = place(register);
        lab.unit.write(at, size as u8, u64::MAX);
        let fixed = if register == Register::VER { before } else { 0 };
        assert_eq!(lab.register(register), writable | fixed, "{register:?}");
        // The same by halves.
        let lab = Lab::new(Config::full());
        for half in 0..size / 4 {
            lab.unit.write(at + 4 * half, 4, 0xffff_ffff);
        }
        assert_eq!(
            lab.register(register),
            writable | fixed,
            "{register:?} by halves"
        );
        if size == 8 {
            let lab = Lab::new(Config::full());
            lab.unit.write(at + 4, 4, 0xffff_ffff);
            assert_eq!(
                lab.register(register),
                (writable | fixed) & !0xffff_ffff,
                "{register:?}, upper half"
            );
        }
    }
}

/// §11.2: 32- and 64-bit accesses; others read what is there and write nothing. No offset and no width panics.
#[test]
fn every_offset_and_width() {
    let lab = Lab::new(Config::full());
    let cap = lab.register(Register::CAP);
    assert_eq!(lab.unit.read(0x8, 4), cap & 0xffff_ffff);
    assert_eq!(lab.unit.read(0xc, 4), cap >> 32);
    assert_eq!(lab.unit.read(0x9, 1), cap >> 8 & 0xff);
    assert_eq!(lab.unit.read(0xa, 2), cap >> 16 & 0xffff);
    assert_eq!(
        lab.unit.read(0xc, 8),
        cap >> 32 | lab.unit.read(0x10, 4) << 32
    );
    lab.unit.write(0x38, 8, 0x1234 << 32);
    assert_eq!(
        lab.register(Register::FECTL),
        0,
        "both registers of an 8-byte write"
    );
    assert_eq!(lab.register(Register::FEDATA), 0x1234);
    lab.unit.write(0x3c, 2, 0xffff);
    lab.unit.write(0x3d, 4, 0xffff);
    lab.unit.write(0x3c, 1, 0xff);
    assert_eq!(lab.register(Register::FEDATA), 0x1234, "ignored");
    for offset in (0..0x1010).chain(u64::MAX - 16..=u64::MAX) {
        for size in [0, 1, 2, 3, 4, 8, 16, 255] {
            lab.unit.read(offset, size);
            for value in [0, u64::MAX, 0x5555_5555_5555_5555] {
                let lab = if offset & !0xf == 0x10 {
                    &Lab::new(Config::full())
                } else {
                    &lab
                };
                lab.unit.write(offset, size, value);
            }
        }
    }
}

#[test]
fn commands_and_their_status() {
    let lab = Lab::new(Config::full());
    assert_eq!(lab.register(Register::GCMD), 0);
    lab.set_register(Register::RTADDR, ROOT);
    lab.command(global::SRTP);
    assert_eq!(lab.register(Register::GSTS), u64::from(global::SRTP));
    lab.command(global::TE);
    assert_eq!(
        lab.register(Register::GSTS),
        u64::from(global::SRTP | global::TE)
    );
    lab.command(global::WBF);
    assert_eq!(
        lab.register(Register::GSTS),
        u64::from(global::SRTP | global::TE),
        "WBFS is clear again"
    );
    lab.set_register(Register::GCMD, 0);
    assert_eq!(
        lab.register(Register::GSTS),
        u64::from(global::SRTP),
        "TE off, RTPS stays"
    );
    for bit in [global::IRE, global::CFI, global::QIE] {
        lab.set_register(Register::GCMD, bit.into());
        assert_eq!(lab.register(Register::GSTS) as u32 & !global::SRTP, bit);
    }
    let plain = Lab::new(Config {
        interrupt_remapping: false,
        eim: false,
        esirtps: false,
        queued_invalidation: false,
        device_tlb: false,
        ..Config::legacy()
    });
    plain.set_register(Register::GCMD, 0x07 << 24 | 1 << 23);
    assert_eq!(
        plain.register(Register::GSTS),
        0,
        "what is absent does not come on"
    );
}

/// §11.4.5: RTADDR takes effect with SRTP, and with CAP.ESRTPS the caches are empty then.
#[test]
fn set_root_table_pointer() {
    for esrtps in [false, true] {
        let lab = Lab::new(Config {
            esrtps,
            ..Config::full()
        });
        let second = lab.page();
        lab.map_second(second, 4, 0x1000, 0x5000, 1, 3);
        lab.set_context(DEVICE, 0, 2, 1, second);
        lab.enable(0);
        assert_eq!(lab.unit.translate(&read(0x1000)).unwrap().address, 0x5000);
        lab.set_register(Register::RTADDR, lab.page());
        assert!(lab.unit.translate(&read(0x1000)).is_ok(), "not before SRTP");
        lab.command(global::SRTP);
        assert_eq!(lab.unit.translate(&read(0x1000)).is_err(), esrtps);
    }
}

/// §11.4.8: protected regions block requests without a record: all of them, or in the first version those that no table translates.
#[test]
fn protected_memory() {
    for version in [(1, 0), (2, 0)] {
        protected_memory_of(version);
    }
}

fn protected_memory_of(version: (u8, u8)) {
    let lab = Lab::new(Config {
        version,
        ..Config::full()
    });
    let all = version.0 > 1;
    lab.set_register(Register::PLMBASE, 0x40_0000);
    lab.set_register(Register::PLMLIMIT, 0x40_0000);
    lab.set_register(Register::PHMBASE, 0x1_0000_0000);
    lab.set_register(Register::PHMLIMIT, 0x1_0020_0000);
    assert!(lab.unit.translate(&read(0x40_0000)).is_ok());
    lab.set_register(Register::PMEN, 1 << 31);
    assert_eq!(lab.register(Register::PMEN), 1 << 31 | 1, "PRS");
    lab.set_register(Register::PLMBASE, 0);
    assert_eq!(
        lab.register(Register::PLMBASE),
        0x40_0000,
        "locked while EPM is set"
    );
    let blocked = |a| lab.unit.translate(&write(a)) == Err(Blocked::Protected);
    for (address, expected) in [
        (0x3f_ffff, false),
        (0x40_0000, true),
        (0x5f_ffff, true),
        (0x60_0000, false),
        (0xffff_ffff, false),
        (0x1_0000_0000, true),
        (0x1_003f_ffff, true),
        (0x1_0040_0000, false),
    ] {
        assert_eq!(blocked(address), expected, "{address:#x}");
    }
    let second = lab.page();
    lab.map_second(second, 4, 0x1000, 0x40_0000, 1, 3);
    lab.set_context(DEVICE, 0, 2, 1, second);
    lab.enable(0);
    assert_eq!(
        lab.unit.translate(&read(0x1000)).is_err(),
        all,
        "remapped requests"
    );
    lab.map_second(second, 4, 0x2000, 0x20_0000, 1, 3);
    assert!(lab.unit.translate(&read(0x2000)).is_ok());
    lab.set_context(DEVICE, 2, 2, 1, 0);
    lab.invalidate_all();
    assert!(blocked(0x40_0000), "pass-through is");
    lab.set_context(DEVICE, 1, 2, 1, second);
    lab.invalidate_all();
    let translated = Request {
        address_type: crate::vtd::AddressType::Translated,
        ..read(0x40_0000)
    };
    assert_eq!(
        lab.unit.translate(&translated),
        Err(Blocked::Protected),
        "translated requests are"
    );
    assert_eq!(lab.unit.translate(&read(0x1000)).is_err(), all);
    // What is cached while the regions are off is not used once they are on.
    lab.set_register(Register::PMEN, 0);
    for _ in 0..2 {
        assert!(lab.unit.translate(&read(0x1000)).is_ok());
    }
    lab.set_register(Register::PMEN, 1 << 31);
    assert_eq!(lab.unit.translate(&read(0x1000)).is_err(), all);
    lab.set_context(DEVICE, 2, 2, 1, 0);
    lab.invalidate_all();
    assert!(lab.take_records().is_empty());
    lab.set_register(Register::PMEN, 0);
    assert_eq!(lab.register(Register::PMEN), 0);
    assert!(!blocked(0x40_0000));
}

fn faulty() -> Lab {
    let lab = Lab::new(uncached());
    lab.set_register(Register::FEDATA, 0x4041);
    lab.set_register(Register::FEADDR, 0xfee0_1000);
    lab.set_register(Register::FEUADDR, 0x12);
    lab.enable(0);
    lab
}

const EVENT: Msi = Msi {
    address: 0x12_fee0_1000,
    data: 0x4041,
};

/// §7.2.1: records fill up in order, then PFO; no more until it is cleared.
#[test]
fn fault_records_fill_up_and_overflow() {
    let lab = faulty();
    for n in 0..4u16 {
        let r = Request::untranslated(SourceId(0x100 * n), 0x1000 * u64::from(n), Operation::Write);
        assert!(lab.unit.translate(&r).is_err());
    }
    assert_eq!(lab.register(Register::FSTS), u64::from(fsts::PPF));
    assert!(lab.unit.translate(&read(0x9000)).is_err());
    assert_eq!(
        lab.register(Register::FSTS),
        u64::from(fsts::PPF | fsts::PFO)
    );
    assert_eq!(lab.unit.counters().lost_faults, 1);
    for n in 0..4u16 {
        let record = Record([
            lab.register(Register::FRCD(n, false)),
            lab.register(Register::FRCD(n, true)),
        ]);
        assert_eq!(
            (record.source(), record.info()),
            (0x100 * n, 0x1000 * u64::from(n))
        );
        assert_eq!(record.code(), Reason::RootNotPresent.code());
    }
    // One free register does not help while PFO is set.
    lab.set_register(Register::FRCD(0, true), Record::FAULT);
    assert_eq!(lab.register(Register::FRCD(0, true)) & Record::FAULT, 0);
    assert!(lab.unit.translate(&read(0x9000)).is_err());
    assert_eq!(lab.unit.counters().lost_faults, 2);
    lab.set_register(Register::FSTS, fsts::PFO.into());
    assert!(lab.unit.translate(&read(0xa000)).is_err());
    assert_eq!(lab.register(Register::FRCD(0, false)), 0xa000);
    assert_eq!(lab.register(Register::FSTS) as u32 & fsts::PPF, fsts::PPF);
    assert_eq!(lab.take_records().len(), 4);
    assert_eq!(lab.register(Register::FSTS) & 0xff, 0);
}

/// §7.3: one event for the first condition; masked ones are held back; the address has 64 bits.
#[test]
fn fault_events() {
    let lab = faulty();
    assert!(lab.unit.translate(&read(0)).is_err());
    assert!(lab.unit.take_actions().is_empty(), "masked after reset");
    assert_eq!(lab.register(Register::FECTL), 3 << 30, "IP");
    let actions = lab.set_register(Register::FECTL, 0);
    assert_eq!(actions.messages, [EVENT]);
    assert_eq!(lab.register(Register::FECTL), 0);
    assert!(lab.unit.translate(&read(0)).is_err());
    assert!(lab.unit.take_actions().is_empty(), "PPF was set already");
    lab.take_records();
    assert!(lab.unit.translate(&read(0)).is_err());
    assert_eq!(lab.unit.take_actions().messages, [EVENT]);
    // Cleared before it is unmasked: nothing to tell.
    lab.take_records();
    lab.set_register(Register::FECTL, 1 << 31);
    assert!(lab.unit.translate(&read(0)).is_err());
    assert_eq!(lab.register(Register::FECTL), 3 << 30);
    lab.take_records();
    assert_eq!(
        lab.register(Register::FECTL),
        1 << 31,
        "IP follows the status"
    );
    assert!(lab.set_register(Register::FECTL, 0).is_empty());
}

/// §11.4.14: what the record says of a request with PASID.
#[test]
fn records_of_requests_with_pasid() {
    let lab = Lab::new(uncached());
    lab.set_scalable_context(DEVICE, 8, 0);
    lab.enable(1);
    let request = Request {
        privileged: true,
        execute: true,
        ..read(0x1234_5678_9abc).with_pasid(0xabcde)
    };
    assert!(lab.unit.translate(&request).is_err());
    let [record] = lab.take_records()[..] else {
        panic!()
    };
    assert_eq!(record.pasid(), Some(0xabcde));
    assert_eq!(record.info(), 0x1234_5678_9000);
    let flags = Record::PRIVILEGED | Record::EXECUTE | Record::PASID_PRESENT | Record::T1;
    assert_eq!(record.0[1] & flags, flags);
    let without = Request {
        pasid: None,
        ..request
    };
    assert!(lab.unit.translate(&without).is_err());
    let [record] = lab.take_records()[..] else {
        panic!()
    };
    assert_eq!(
        record.0[1] & (Record::PRIVILEGED | Record::EXECUTE),
        0,
        "only with PASID"
    );
}

#[test]
fn each_reason_has_its_code() {
    for reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        assert!(!reason.text().is_empty() && reason.condition().contains('.'));
    }
    assert_eq!(Reason::from_code(0), None);
    assert_eq!(Reason::ALL.len(), 73);
}
