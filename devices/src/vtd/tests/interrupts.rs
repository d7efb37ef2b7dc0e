//! Interrupt remapping and posting. VT-d 4.1 chapter 5, §9.9 to §9.11.

use std::sync::{Arc, OnceLock};

use super::*;
use crate::dma::SourceId;
use crate::memory::GuestRam;
use crate::vtd::interrupt::{Delivery, Interrupt, InterruptRequest};
use crate::vtd::memory::{Inaccessible, Swap, TableMemory};
use crate::vtd::spec::fault::Reason;
use crate::vtd::spec::queue::types;
use crate::vtd::spec::registers::{Register, global};
use crate::vtd::testing::{DEVICE, IRT, IRT_SIZE, Lab, QUEUE, STATUS, place};
use crate::vtd::{CacheConfig, Config, Vtd};

const EIME: u64 = 1 << 11;
/// Vector 0x31 to x2APIC 0x1234, source-id verified.
const GOOD: [u64; 2] = [0x1234 << 32 | 0x31 << 16 | 1, 0x10 | 1 << 18];
/// Address and data of a request with handle 5.
const REQUEST: InterruptRequest = InterruptRequest {
    source: DEVICE,
    address: 0xfee0_0010 | 5 << 5,
    data: 0,
};

fn lab(config: Config, eime: bool) -> Lab {
    let lab = Lab::new(config);
    lab.put(IRT + 5 * 16, GOOD[0]);
    lab.put(IRT + 5 * 16 + 8, GOOD[1]);
    lab.set_register(Register::IRTA, IRT | IRT_SIZE | if eime { EIME } else { 0 });
    lab.command(global::SIRTP);
    lab.enable_queue();
    lab.command(global::IRE);
    lab
}

fn set(lab: &Lab, entry: [u64; 2]) {
    lab.put(IRT + 5 * 16, entry[0]);
    lab.put(IRT + 5 * 16 + 8, entry[1]);
}

/// The fault, and that its record says what it should.
fn fault(lab: &Lab, request: InterruptRequest) -> Reason {
    let fault = lab.unit.remap_interrupt(&request).expect_err("a fault");
    let [record] = lab.take_records()[..] else {
        panic!("{fault:?}")
    };
    assert_eq!(record.code(), fault.reason.code());
    assert_eq!(record.source(), request.source.0);
    fault.reason
}

#[test]
fn remapped_interrupts() {
    let l = lab(uncached(), true);
    let good = Interrupt {
        vector: 0x31,
        destination: 0x1234,
        logical: false,
        redirection_hint: false,
        delivery_mode: 0,
        level: false,
    };
    assert_eq!(
        l.unit.remap_interrupt(&REQUEST),
        Ok(Delivery::Remapped(good))
    );
    set(&l, [GOOD[0] | 0b1_1100 | 1 << 5, GOOD[1]]);
    let all = Interrupt {
        logical: true,
        redirection_hint: true,
        level: true,
        delivery_mode: 1,
        ..good
    };
    assert_eq!(
        l.unit.remap_interrupt(&REQUEST),
        Ok(Delivery::Remapped(all))
    );
    // A subhandle is added to the handle; bit 2 of the address is bit 15 of the handle.
    set(&l, GOOD);
    let sub = InterruptRequest {
        address: 0xfee0_0018 | 2 << 5,
        data: 3,
        ..REQUEST
    };
    assert_eq!(l.unit.remap_interrupt(&sub), Ok(Delivery::Remapped(good)));
    let high = InterruptRequest {
        address: REQUEST.address | 4,
        ..REQUEST
    };
    assert_eq!(fault(&l, high), Reason::InterruptIndex);
    // xAPIC ids are in bits 15:8.
    let x = lab(uncached(), false);
    set(&x, [0x1200 << 32 | 0x31 << 16 | 1, GOOD[1]]);
    let expected = Interrupt {
        destination: 0x12,
        ..good
    };
    assert_eq!(
        x.unit.remap_interrupt(&REQUEST),
        Ok(Delivery::Remapped(expected))
    );
    // Off, or not of the remappable format.
    x.set_register(Register::GCMD, u64::from(global::QIE));
    assert_eq!(x.unit.remap_interrupt(&REQUEST), Ok(Delivery::Unchanged));
}

#[test]
fn compatibility_format() {
    let compat = InterruptRequest {
        address: 0xfee0_1000,
        data: 0x41,
        source: DEVICE,
    };
    let l = lab(uncached(), false);
    assert_eq!(fault(&l, compat), Reason::CompatibilityBlocked);
    l.command(global::CFI);
    assert_eq!(l.unit.remap_interrupt(&compat), Ok(Delivery::Unchanged));
    let l = lab(uncached(), true);
    l.command(global::CFI);
    assert_eq!(
        fault(&l, compat),
        Reason::CompatibilityBlocked,
        "always with EIME"
    );
}

#[test]
fn interrupt_faults_and_their_records() {
    let l = lab(uncached(), true);
    for bit in 16..32 {
        let r = InterruptRequest {
            address: REQUEST.address | 8,
            data: 1 << bit,
            ..REQUEST
        };
        assert_eq!(
            fault(&l, r),
            Reason::InterruptRequestReserved,
            "data bit {bit}"
        );
    }
    for index in [4096u32, 0x7fff] {
        let r = InterruptRequest {
            address: 0xfee0_0010 | (index & 0x7fff) << 5,
            ..REQUEST
        };
        assert!(l.unit.remap_interrupt(&r).is_err());
        let [record] = l.take_records()[..] else {
            panic!()
        };
        assert_eq!((record.code(), record.0[0] >> 48), (0x21, index.into()));
    }
    let absent = InterruptRequest {
        address: 0xfee0_0010 | 6 << 5,
        ..REQUEST
    };
    assert_eq!(fault(&l, absent), Reason::IrteNotPresent);
    l.put(IRT + 6 * 16, 2);
    assert_eq!(
        l.unit.remap_interrupt(&absent).unwrap_err().reason,
        Reason::IrteNotPresent
    );
    assert!(l.take_records().is_empty(), "FPD");
    let nowhere = lab(uncached(), true);
    nowhere.set_register(Register::IRTA, 0x10_0000_0000 | IRT_SIZE | EIME);
    nowhere.command(global::SIRTP);
    assert_eq!(fault(&nowhere, REQUEST), Reason::IrteAccess);
    // Entries beyond the host address width are beyond the table.
    let last = lab(uncached(), true);
    last.set_register(Register::IRTA, 0x3fff_ffff_f000 | IRT_SIZE | EIME);
    last.command(global::SIRTP);
    let beyond = InterruptRequest {
        address: 0xfee0_0010 | 256 << 5,
        ..REQUEST
    };
    assert_eq!(fault(&last, REQUEST), Reason::IrteAccess);
    assert_eq!(fault(&last, beyond), Reason::InterruptIndex);
}

/// §6.4: an entry is not kept by a request that it does not let pass.
#[test]
fn faulty_entries_are_not_cached() {
    let l = lab(Config::full(), true);
    set(&l, [GOOD[0], GOOD[1] ^ 1]);
    assert_eq!(fault(&l, REQUEST), Reason::SourceIdMismatch);
    set(&l, GOOD);
    assert!(l.unit.remap_interrupt(&REQUEST).is_ok());
}

/// Memory in which a driver invalidates the interrupt entry cache, and waits, at the moment that an interrupt is posted.
#[derive(Clone)]
struct Posting {
    ram: GuestRam,
    unit: Arc<OnceLock<Vtd<Posting>>>,
}

impl TableMemory for Posting {
    fn load(&self, address: u64) -> Result<u64, Inaccessible> {
        TableMemory::load(&self.ram, address)
    }

    fn compare_exchange(&self, address: u64, old: u64, new: u64) -> Result<Swap, Inaccessible> {
        if let Some(unit) = self.unit.get() {
            unit.write(place(Register::IQT).0, 8, 64);
            let status = TableMemory::load(&self.ram, STATUS)?;
            assert_eq!(status, 0, "the old entry is still at work");
        }
        TableMemory::compare_exchange(&self.ram, address, old, new)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), Inaccessible> {
        self.ram.store_u32(address, value)
    }

    fn store(&self, address: u64, value: u64) -> Result<(), Inaccessible> {
        TableMemory::store(&self.ram, address, value)
    }
}

/// §6.5.5: an invalidation of the interrupt entry cache is complete once nothing is posted any more by the old entry.
#[test]
fn interrupts_are_drained() {
    let l = lab(Config::full(), true);
    let descriptor = l.page();
    set(
        &l,
        [descriptor >> 6 << 38 | 0x31 << 16 | 1 << 15 | 1, GOOD[1]],
    );
    l.put(QUEUE, u64::from(types::INTERRUPT_ENTRY_CACHE));
    l.put(QUEUE + 32, u64::from(types::WAIT) | 1 << 5 | 9 << 32);
    l.put(QUEUE + 40, STATUS);
    let memory = Posting {
        ram: l.ram.clone(),
        unit: Arc::default(),
    };
    let unit = Vtd::new(Config::full(), memory.clone()).unwrap();
    for (register, value) in [
        (Register::IRTA, IRT | IRT_SIZE | EIME),
        (Register::IQA, QUEUE | 1 << 11),
        (Register::GCMD, (global::SIRTP | global::QIE).into()),
        (Register::GCMD, (global::IRE | global::QIE).into()),
    ] {
        let (at, size) = place(register);
        unit.write(at, size as u8, value);
    }
    assert!(memory.unit.set(unit.clone()).is_ok());
    let posted = unit.remap_interrupt(&REQUEST);
    assert!(
        matches!(posted, Ok(Delivery::Posted(Some(_)))),
        "{posted:?}"
    );
    assert_eq!(l.get(descriptor), 1 << 0x31);
    unit.run();
    assert_eq!(l.get(STATUS), 9);
}

#[test]
fn reserved_bits_of_entries() {
    let mut tried = 0;
    for (eime, reserved_low) in [(true, 0u64), (false, 0xffff << 48 | 0xff << 32)] {
        let entry = [0x1200 << 32 | 0x31 << 16 | 1, GOOD[1]];
        for bit in (12..15)
            .chain(24..32)
            .chain((32..64).filter(|b| reserved_low & 1 << b != 0))
        {
            let l = lab(uncached(), eime);
            set(&l, [entry[0] ^ 1 << bit, entry[1]]);
            assert_eq!(fault(&l, REQUEST), Reason::IrteReserved, "bit {bit}");
            tried += 1;
        }
        for bit in 20..64 {
            let l = lab(uncached(), eime);
            set(&l, [entry[0], entry[1] ^ 1 << bit]);
            assert_eq!(fault(&l, REQUEST), Reason::IrteReserved, "bit {}", bit + 64);
            tried += 1;
        }
        for dlm in [3u64, 6] {
            let l = lab(uncached(), eime);
            set(&l, [entry[0] | dlm << 5, entry[1]]);
            assert_eq!(fault(&l, REQUEST), Reason::IrteReserved, "DLM {dlm}");
        }
        let l = lab(uncached(), eime);
        set(&l, [entry[0], entry[1] | 3 << 18]);
        assert_eq!(fault(&l, REQUEST), Reason::IrteReserved, "SVT 3");
    }
    let posted = [0x31 << 16 | 1 << 15 | 1, GOOD[1]];
    for bit in (2..8).chain(12..14).chain(24..38) {
        let l = lab(uncached(), true);
        set(&l, [posted[0] ^ 1 << bit, posted[1]]);
        assert_eq!(
            fault(&l, REQUEST),
            Reason::IrteReserved,
            "posted, bit {bit}"
        );
        tried += 1;
    }
    for bit in 20..32 {
        let l = lab(uncached(), true);
        set(&l, [posted[0], posted[1] ^ 1 << bit]);
        assert_eq!(
            fault(&l, REQUEST),
            Reason::IrteReserved,
            "posted, bit {}",
            bit + 64
        );
        tried += 1;
    }
    let l = lab(
        Config {
            posted_interrupts: false,
            ..uncached()
        },
        true,
    );
    set(&l, posted);
    assert_eq!(
        fault(&l, REQUEST),
        Reason::IrteReserved,
        "IM without CAP.PI"
    );
    assert!(tried > 140, "{tried}");
}

/// §9.9: SVT and SQ.
#[test]
fn source_id_verification() {
    let cases = [
        (0u64, 0u64, 0x77u64, 0x10u16, true),
        (1, 0, 0x10, 0x10, true),
        (1, 0, 0x10, 0x11, false),
        (1, 1, 0x10, 0x14, true),
        (1, 1, 0x10, 0x12, false),
        (1, 2, 0x10, 0x16, true),
        (1, 2, 0x10, 0x11, false),
        (1, 3, 0x10, 0x17, true),
        (1, 3, 0x10, 0x18, false),
        (2, 0, 0x0205, 0x0200, true),
        (2, 0, 0x0205, 0x05ff, true),
        (2, 0, 0x0205, 0x0600, false),
        (2, 0, 0x0205, 0x01ff, false),
    ];
    for (svt, sq, sid, source, allowed) in cases {
        let l = lab(uncached(), true);
        set(&l, [GOOD[0], sid | sq << 16 | svt << 18]);
        let r = InterruptRequest {
            source: SourceId(source),
            ..REQUEST
        };
        if allowed {
            assert!(
                l.unit.remap_interrupt(&r).is_ok(),
                "{svt} {sq} {sid:x} {source:x}"
            );
        } else {
            assert_eq!(
                fault(&l, r),
                Reason::SourceIdMismatch,
                "{svt} {sq} {sid:x} {source:x}"
            );
        }
    }
    // An I/O APIC is held to its own id, unless configured otherwise.
    let ioapic = InterruptRequest {
        source: SourceId(0xfff8),
        ..REQUEST
    };
    assert_eq!(
        fault(&lab(uncached(), true), ioapic),
        Reason::SourceIdMismatch
    );
    let config = Config {
        unverified_requester: Some(SourceId(0xfff8)),
        ..uncached()
    };
    assert!(lab(config, true).unit.remap_interrupt(&ioapic).is_ok());
}

/// §5.2.3: request bits, ON, SN, URG, and the notification.
#[test]
fn posted_interrupts() {
    let l = lab(uncached(), true);
    let pid = l.page();
    let entry = |vector: u64, urgent: bool| {
        set(
            &l,
            [
                (pid & 0xffff_ffc0) << 32 | u64::from(urgent) << 14 | vector << 16 | 1 << 15 | 1,
                GOOD[1] | pid >> 32 << 32,
            ],
        );
    };
    l.put(pid + 32, 0x77 << 32 | 0xf2 << 16);
    entry(0x85, false);
    let Ok(Delivery::Posted(Some(n))) = l.unit.remap_interrupt(&REQUEST) else {
        panic!()
    };
    assert_eq!((n.vector, n.destination), (0xf2, 0x77));
    assert_eq!(l.get(pid + 16), 1 << 5, "vector 0x85");
    assert_eq!(l.get(pid + 32), 0x77 << 32 | 0xf2 << 16 | 1, "ON");
    entry(0x03, false);
    assert_eq!(
        l.unit.remap_interrupt(&REQUEST),
        Ok(Delivery::Posted(None)),
        "ON was set"
    );
    assert_eq!(l.get(pid), 1 << 3);
    l.put(pid + 32, 0x77 << 32 | 0xf2 << 16 | 2);
    assert_eq!(
        l.unit.remap_interrupt(&REQUEST),
        Ok(Delivery::Posted(None)),
        "SN"
    );
    entry(0x03, true);
    assert!(
        matches!(
            l.unit.remap_interrupt(&REQUEST),
            Ok(Delivery::Posted(Some(_)))
        ),
        "URG"
    );
    for bit in (2..16).chain(24..32) {
        l.put(pid + 32, 1 << bit);
        assert_eq!(fault(&l, REQUEST), Reason::PidReserved, "bit {bit}");
    }
    set(&l, [1 << 15 | 1, GOOD[1] | 0x10 << 32]);
    assert_eq!(fault(&l, REQUEST), Reason::PidAccess);
}

/// §6.2.3, §6.5.2.7: an entry is used until it is invalidated; CAP.ESIRTPS.
#[test]
fn interrupt_entry_cache() {
    let vector = |l: &Lab| match l.unit.remap_interrupt(&REQUEST) {
        Ok(Delivery::Remapped(i)) => i.vector,
        other => panic!("{other:?}"),
    };
    let l = lab(Config::full(), true);
    let iec = u64::from(types::INTERRUPT_ENTRY_CACHE);
    assert_eq!(vector(&l), 0x31);
    set(&l, [GOOD[0] ^ 3 << 16, GOOD[1]]);
    assert_eq!(vector(&l), 0x31, "stale: nothing was invalidated");
    l.submit([iec | 1 << 4 | 4 << 32, 0]);
    assert_eq!(vector(&l), 0x31, "another index");
    l.submit([iec | 1 << 4 | 1 << 27 | 4 << 32, 0]);
    assert_eq!(vector(&l), 0x32, "indices 4 and 5");
    set(&l, GOOD);
    l.submit([iec, 0]);
    assert_eq!(vector(&l), 0x31, "global");
    set(&l, [0, 0]);
    assert_eq!(vector(&l), 0x31);
    l.command(global::SIRTP);
    assert!(l.unit.remap_interrupt(&REQUEST).is_err(), "ESIRTPS");
    set(&l, GOOD);
    assert_eq!(vector(&l), 0x31, "what is not present was not cached");
    let kept = lab(
        Config {
            esirtps: false,
            ..Config::full()
        },
        true,
    );
    assert_eq!(vector(&kept), 0x31);
    set(&kept, [0, 0]);
    kept.command(global::SIRTP);
    assert_eq!(vector(&kept), 0x31, "without ESIRTPS it stays");
    let cm = lab(
        Config {
            caching_mode: true,
            ..Config::full()
        },
        true,
    );
    set(&cm, [0, 0]);
    assert!(cm.unit.remap_interrupt(&REQUEST).is_err());
    set(&cm, GOOD);
    assert!(cm.unit.remap_interrupt(&REQUEST).is_err(), "CAP.CM: it was");
    cm.submit([iec, 0]);
    assert_eq!(vector(&cm), 0x31);
    let torn = lab(
        Config {
            caches: CacheConfig::ADVERSARIAL,
            ..Config::full()
        },
        true,
    );
    assert_eq!(vector(&torn), 0x31);
}
