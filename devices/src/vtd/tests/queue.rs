//! The invalidation queue, what each descriptor invalidates, device TLBs, page requests, translation requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::memory::GuestRam;
use crate::vtd::ats::{Completion, Failure};
use crate::vtd::caches::CacheContents;
use crate::vtd::memory::{Inaccessible, Swap, TableMemory};
use crate::vtd::spec::context::ScalableContextEntry as Sce;
use crate::vtd::spec::fault::{Reason, RequestType};
use crate::vtd::spec::page_request::ResponseCode;
use crate::vtd::spec::paging::{first, second};
use crate::vtd::spec::pasid::PasidEntry as Pe;
use crate::vtd::spec::queue::{QueueError, types};
use crate::vtd::spec::registers::{Register, fsts, global};
use crate::vtd::testing::{DEVICE, Lab, PAGE_QUEUE, QUEUE, STATUS};
use crate::vtd::{PageGroupResponse, PageRequest, PageRequestOutcome, Vtd};

const RW: u64 = second::R | second::W;

fn kind(t: u8) -> u64 {
    u64::from(t & 0xf) | u64::from(t >> 4) << 9
}

/// FSTS and IQERCD.
fn error(lab: &Lab) -> (u32, u64) {
    (
        lab.register(Register::FSTS) as u32,
        lab.register(Register::IQERCD) & 0xf,
    )
}

/// §6.5.2: every reserved bit of every descriptor stops the queue, as do unknown types; clearing IQE goes on.
#[test]
fn reserved_bits_of_descriptors() {
    let good: [(u8, u64, u64); 9] = [
        (types::CONTEXT_CACHE, 1 << 4, 0),
        (types::IOTLB, 1 << 4, 0),
        (types::DEVICE_TLB, 0, 0),
        (types::INTERRUPT_ENTRY_CACHE, 0, 0),
        (types::WAIT, 0, 0),
        (types::PASID_IOTLB, 2 << 4, 0),
        (types::PASID_CACHE, 3 << 4, 0),
        (types::PASID_DEVICE_TLB, 0, 0),
        (types::PAGE_GROUP_RESPONSE, 0, 0),
    ];
    let mut tried = 0;
    for (t, low, high) in good {
        let reserved = super::super::spec::queue::reserved(t).unwrap();
        for bit in 0..256u32 {
            let word = bit as usize / 64;
            if word < 2 && reserved[word] & 1 << (bit % 64) == 0 {
                continue;
            }
            let lab = Lab::new(Config::full());
            lab.enable(1);
            let mut words = [kind(t) | low, high, 0, 0];
            words[word] |= 1 << (bit % 64);
            lab.submit_raw(words);
            assert_eq!(
                error(&lab),
                (fsts::IQE, QueueError::Reserved as u64),
                "type {t}, bit {bit}"
            );
            assert_eq!(lab.register(Register::IQH), 0, "the head stays");
            tried += 1;
        }
        let lab = Lab::new(Config::full());
        lab.enable(1);
        lab.submit([kind(t) | low, high]);
        assert_eq!(error(&lab), (0, 0), "type {t}");
        assert_eq!(lab.register(Register::IQH), 32);
    }
    assert!(tried > 1000, "{tried}");
    for t in (0..128).filter(|t| !(1..=9).contains(t)) {
        let lab = Lab::new(Config::full());
        lab.enable(1);
        lab.submit([kind(t), 0]);
        assert_eq!(
            error(&lab),
            (fsts::IQE, QueueError::InvalidType as u64),
            "type {t}"
        );
    }
}

/// Reserved values of fields.
#[test]
fn reserved_values_of_descriptors() {
    let full = Config::full;
    let cases: [(&str, Config, [u64; 2], Option<QueueError>); 26] = [
        (
            "context granularity 0",
            full(),
            [kind(1), 0],
            Some(QueueError::Reserved),
        ),
        (
            "IOTLB granularity 0",
            full(),
            [kind(2), 0],
            Some(QueueError::Reserved),
        ),
        (
            "PASID IOTLB granularity 0",
            full(),
            [kind(6), 0],
            Some(QueueError::Reserved),
        ),
        (
            "PASID IOTLB granularity 1",
            full(),
            [kind(6) | 1 << 4, 0],
            Some(QueueError::Reserved),
        ),
        (
            "PASID cache granularity 2",
            full(),
            [kind(7) | 2 << 4, 0],
            Some(QueueError::Reserved),
        ),
        ("AM 18", full(), [kind(2) | 3 << 4, 18], None),
        (
            "AM 19 > MAMV",
            full(),
            [kind(2) | 3 << 4, 19],
            Some(QueueError::Reserved),
        ),
        (
            "page without PSI",
            Config {
                psi: false,
                ..full()
            },
            [kind(2) | 3 << 4, 0],
            Some(QueueError::Reserved),
        ),
        (
            "MAMV is not for the PASID IOTLB",
            full(),
            [kind(6) | 3 << 4, 63],
            None,
        ),
        ("MIP", full(), [kind(3) | 0x1f << 16, 0], None),
        (
            "PFSID without ECAP.DIT",
            full(),
            [kind(3) | 1 << 12, 0],
            Some(QueueError::Reserved),
        ),
        (
            "PASID device TLB, MIP",
            full(),
            [kind(8) | 0x1f << 4, 0],
            None,
        ),
        (
            "PASID device TLB, PFSID without ECAP.DIT",
            full(),
            [kind(8) | 1 << 52, 0],
            Some(QueueError::Reserved),
        ),
        ("IM 15", full(), [kind(4) | 1 << 4 | 15 << 27, 0], None),
        (
            "IM 16 > MHMV",
            full(),
            [kind(4) | 1 << 4 | 16 << 27, 0],
            Some(QueueError::Reserved),
        ),
        (
            "response code 2",
            full(),
            [kind(9) | 2 << 12, 0],
            Some(QueueError::Reserved),
        ),
        ("response code 1", full(), [kind(9) | 1 << 12, 0], None),
        ("PD", full(), [kind(5) | 1 << 7, 0], None),
        (
            "PD without ECAP.PDS",
            Config {
                page_request_drain: false,
                ..full()
            },
            [kind(5) | 1 << 7, 0],
            Some(QueueError::Reserved),
        ),
        (
            "device TLB without ECAP.DT",
            no_dt(),
            [kind(3), 0],
            Some(QueueError::InvalidType),
        ),
        (
            "PASID device TLB without ECAP.DT",
            no_dt(),
            [kind(8), 0],
            Some(QueueError::InvalidType),
        ),
        (
            "response without ECAP.PRS",
            no_dt(),
            [kind(9), 0],
            Some(QueueError::InvalidType),
        ),
        (
            "IEC without ECAP.IR",
            Config {
                interrupt_remapping: false,
                eim: false,
                esirtps: false,
                posted_interrupts: false,
                ..full()
            },
            [kind(4), 0],
            Some(QueueError::InvalidType),
        ),
        (
            "PASID IOTLB without ECAP.SMTS",
            Config::legacy(),
            [kind(6) | 2 << 4, 0],
            Some(QueueError::InvalidType),
        ),
        (
            "PASID cache without ECAP.SMTS",
            Config::legacy(),
            [kind(7), 0],
            Some(QueueError::InvalidType),
        ),
        (
            "128-bit IOTLB",
            Config::legacy(),
            [kind(2) | 1 << 4, 0],
            None,
        ),
    ];
    for (name, config, words, expected) in cases {
        let mode = u64::from(config.scalable);
        let lab = Lab::new(config);
        lab.enable(mode);
        lab.submit(words);
        let expected = expected.map_or((0, 0), |e| (fsts::IQE, e as u64));
        assert_eq!(error(&lab), expected, "{name}");
    }
}

fn no_dt() -> Config {
    Config {
        device_tlb: false,
        page_requests: false,
        page_request_drain: false,
        ..Config::full()
    }
}

/// §6.5.2.10: where the queue and its tail may be.
#[test]
fn queue_geometry() {
    let lab = Lab::new(Config::full());
    lab.enable(0);
    lab.set_register(Register::IQT, 0x10);
    assert_eq!(error(&lab), (fsts::IQE, QueueError::MisalignedTail as u64));
    let lab = Lab::new(Config::full());
    lab.enable(0);
    lab.set_register(Register::IQT, 0x1000);
    assert_eq!(error(&lab), (fsts::IQE, QueueError::InvalidTail as u64));
    let lab = Lab::new(Config::full());
    lab.set_register(Register::RTADDR, 0x1000 | 1 << 10);
    lab.command(global::SRTP);
    lab.set_register(Register::IQA, QUEUE);
    lab.command(global::QIE);
    lab.set_register(Register::IQT, 0x10);
    assert_eq!(error(&lab), (fsts::IQE, QueueError::InvalidWidth as u64));
    let lab = Lab::new(Config::full());
    lab.set_register(Register::IQA, 0x3000_0000_0000);
    lab.command(global::QIE);
    lab.set_register(Register::IQT, 0x10);
    assert_eq!(error(&lab), (fsts::IQE, QueueError::Fetch as u64));
    // Eight pages.
    let lab = Lab::new(Config::full());
    lab.set_register(Register::IQA, QUEUE | 3 | 1 << 11);
    lab.command(global::QIE);
    lab.set_register(Register::IQT, 0x7fe0);
    assert_eq!(
        error(&lab),
        (fsts::IQE, QueueError::InvalidType as u64),
        "zeros are no descriptor"
    );
}

/// A repaired descriptor is fetched again once IQE is cleared.
#[test]
fn the_queue_goes_on_after_an_error() {
    let lab = Lab::new(Config::full());
    lab.enable(0);
    lab.submit([0, 0]);
    lab.submit([kind(types::WAIT) | 1 << 5 | 7 << 32, STATUS]);
    assert_eq!(lab.get(STATUS), 0);
    lab.put(QUEUE, kind(types::IOTLB) | 1 << 4);
    lab.set_register(Register::FSTS, fsts::IQE.into());
    assert_eq!(lab.get(STATUS), 7);
    assert_eq!(error(&lab), (0, 0));
    assert_eq!(lab.register(Register::IQH), 64);
}

/// §6.5.2.8: status, interrupt, and only one event until IWC is cleared.
#[test]
fn wait_descriptors() {
    for config in [Config::full(), Config::legacy()] {
        let lab = Lab::new(config);
        lab.set_register(Register::IEDATA, 0x31);
        lab.set_register(Register::IEADDR, 0xfee0_2000);
        lab.set_register(Register::IEUADDR, 1);
        lab.enable(0);
        // The queue wraps.
        for _ in 0..300 {
            assert!(lab.wait());
        }
        lab.put(STATUS, u64::MAX);
        let held = lab.submit([
            kind(types::WAIT) | 3 << 4 | 1 << 6 | 0xabcd_0123 << 32,
            STATUS,
        ]);
        assert_eq!(lab.get(STATUS), 0xffff_ffff_abcd_0123, "4 bytes");
        assert!(held.messages.is_empty());
        assert_eq!(lab.register(Register::ICS), 1);
        assert_eq!(lab.register(Register::IECTL), 3 << 30);
        let sent = lab.set_register(Register::IECTL, 0);
        assert_eq!(sent.messages[0].address, 0x1_fee0_2000);
        assert_eq!(sent.messages[0].data, 0x31);
        let again = lab.submit([kind(types::WAIT) | 1 << 4, 0]);
        assert!(again.messages.is_empty(), "IWC is set");
        lab.set_register(Register::ICS, 1);
        assert_eq!(lab.register(Register::ICS), 0);
        assert_eq!(
            lab.submit([kind(types::WAIT) | 1 << 4, 0]).messages.len(),
            1
        );
        let neither = lab.submit([kind(types::WAIT), STATUS]);
        assert!(neither.is_empty());
        // A status address without memory loses the write, no more.
        lab.submit([kind(types::WAIT) | 1 << 5, 0x7fff_ffff_fffc]);
        assert_eq!(error(&lab), (0, 0));
    }
}

/// A lab with two domains of each kind, everything cached.
fn cached() -> (Lab, CacheContents) {
    let lab = Lab::new(Config {
        caches: crate::vtd::CacheConfig {
            paging_structure: 64,
            ..Default::default()
        },
        ..Config::full()
    });
    let first_root = lab.page();
    lab.map_first(first_root, 4, 0x1000, 0x5000, 1, first::RW | first::US);
    lab.map_first(
        first_root,
        4,
        0x20_0000,
        0x20_0000,
        2,
        first::RW | first::US,
    );
    for (source, domain) in [(0x10u16, 1u64), (0x11, 2), (0x18, 1)] {
        let second_root = lab.identity_second(4, RW);
        let source = SourceId(source);
        lab.set_scalable_context(source, Sce::PASIDE, 9);
        for (pasid, pgtt) in [(0u32, 2u64), (1, 1), (2, 1), (3, 3)] {
            let did = domain + 16 * pgtt;
            lab.set_pasid(
                source,
                pasid,
                [
                    second_root | 2 << 2 | pgtt << 6,
                    did | Pe::PWSNP,
                    first_root,
                ],
            );
        }
    }
    lab.enable(1);
    for source in [0x10, 0x11, 0x18] {
        for pasid in 0..4 {
            for address in [0x1000, 0x20_1000] {
                let r = Request::untranslated(SourceId(source), address, Operation::Write)
                    .with_pasid(pasid);
                lab.unit.translate(&r).unwrap();
            }
        }
    }
    let contents = lab.unit.save().unwrap().caches().clone();
    (lab, contents)
}

/// What each descriptor leaves, as (context, PASID, IOTLB, paging-structure) entries.
#[test]
fn what_each_descriptor_invalidates() {
    let count = |c: &CacheContents| c.counts();
    let (_, all) = cached();
    // 3 requesters; 4 PASIDs each; per domain 2 second-stage pages, 2 each for three PASIDs with a first stage.
    let start = [3, 12, 16, count(&all)[3], 0];
    assert_eq!(count(&all), start);
    let cases: [(&str, [u64; 2], [usize; 3]); 20] = [
        ("context, global", [kind(1) | 1 << 4, 0], [0, 12, 16]),
        (
            "context, device",
            [kind(1) | 3 << 4 | 0x10 << 32, 0],
            [2, 12, 16],
        ),
        (
            "context, device, FM 3",
            [kind(1) | 3 << 4 | 0x10 << 32 | 3 << 48, 0],
            [1, 12, 16],
        ),
        (
            "context, device, another",
            [kind(1) | 3 << 4 | 0x20 << 32, 0],
            [3, 12, 16],
        ),
        ("PASID cache, global", [kind(7) | 3 << 4, 0], [3, 0, 16]),
        ("PASID cache, domain", [kind(7) | 33 << 16, 0], [3, 10, 16]),
        (
            "PASID cache, PASID",
            [kind(7) | 1 << 4 | 17 << 16 | 1 << 32, 0],
            [3, 10, 16],
        ),
        (
            "PASID cache, another PASID",
            [kind(7) | 1 << 4 | 17 << 16 | 9 << 32, 0],
            [3, 12, 16],
        ),
        ("IOTLB, global", [kind(2) | 1 << 4, 0], [3, 12, 0]),
        (
            "IOTLB, second-stage domain",
            [kind(2) | 2 << 4 | 33 << 16, 0],
            [3, 12, 14],
        ),
        (
            "IOTLB, page",
            [kind(2) | 3 << 4 | 33 << 16, 0x1000 | 1 << 6],
            [3, 12, 15],
        ),
        (
            "IOTLB, page in another 2 MiB",
            [kind(2) | 3 << 4 | 33 << 16, 0x20_0000 | 1 << 6],
            [3, 12, 15],
        ),
        (
            "IOTLB, nested domain by page",
            [kind(2) | 3 << 4 | 49 << 16, 0x1000],
            [3, 12, 14],
        ),
        (
            "IOTLB, first-stage domain by page",
            [kind(2) | 3 << 4 | 17 << 16, 0x1000],
            [3, 12, 12],
        ),
        (
            "PASID IOTLB of a second stage",
            [kind(6) | 2 << 4 | 33 << 16, 0],
            [3, 12, 14],
        ),
        (
            "PASID IOTLB, page, of a second stage",
            [kind(6) | 3 << 4 | 33 << 16, 0x1000 | 1 << 6],
            [3, 12, 16],
        ),
        (
            "PASID IOTLB",
            [kind(6) | 2 << 4 | 17 << 16 | 1 << 32, 0],
            [3, 12, 14],
        ),
        (
            "PASID IOTLB, page",
            [kind(6) | 3 << 4 | 17 << 16 | 1 << 32, 0x1000 | 1 << 6],
            [3, 12, 15],
        ),
        (
            "PASID IOTLB, large page",
            [kind(6) | 3 << 4 | 17 << 16 | 1 << 32, 0x3f_f000 | 1 << 6],
            [3, 12, 15],
        ),
        (
            "PASID IOTLB, nested",
            [kind(6) | 2 << 4 | 49 << 16 | 3 << 32, 0],
            [3, 12, 14],
        ),
    ];
    for (name, descriptor, left) in cases {
        let (lab, _) = cached();
        lab.submit(descriptor);
        assert!(lab.wait(), "{name}");
        let now = count(lab.unit.save().unwrap().caches());
        assert_eq!(now[..3], left[..3], "{name}");
        if name == "IOTLB, global" {
            assert_eq!(now[3], 0, "{name}");
        } else if descriptor[1] & 1 << 6 != 0
            || descriptor[0] & 0xf == 1
            || descriptor[0] & 0xf == 7
        {
            assert_eq!(now[3], start[3], "{name}: IH, or not its business");
        } else if descriptor[0] & 0xf == 2 || !(name.contains("nested") || name.contains("second"))
        {
            // Upper levels of a nested first stage are not kept, and those of the second stage have no PASID.
            assert!(now[3] < start[3], "{name}: upper levels go too");
        }
    }
}

/// §11.4.6: the same by register, while the queue is off.
#[test]
fn register_based_invalidation() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x5000, 1, RW);
    lab.map_second(root, 4, 0x2000, 0x6000, 1, RW);
    lab.set_context(DEVICE, 0, 2, 3, root);
    lab.set_register(Register::RTADDR, 0x1000);
    lab.command(global::SRTP);
    lab.command(global::TE);
    let fill = || {
        lab.unit.translate(&read(0x1000)).unwrap();
        lab.unit.translate(&read(0x2000)).unwrap();
        let c = lab.unit.save().unwrap().caches().counts();
        assert_eq!((c[0], c[2]), (1, 2));
    };
    let left = || {
        let c = lab.unit.save().unwrap().caches().counts();
        (c[0], c[2])
    };
    for (command, actual, expected) in [
        (1u64 << 61, 1u64, (0, 2)),
        (2 << 61 | 3, 2, (0, 2)),
        (2 << 61 | 4, 2, (1, 2)),
        (3 << 61 | 0x10 << 16, 3, (0, 2)),
        (3 << 61 | 0x11 << 16, 3, (1, 2)),
        (3 << 61 | 0x14 << 16 | 1 << 32, 3, (0, 2)),
    ] {
        fill();
        lab.set_register(Register::CCMD, 1 << 63 | command);
        let ccmd = lab.register(Register::CCMD);
        assert_eq!((ccmd >> 63, ccmd >> 59 & 3), (0, actual), "{command:#x}");
        assert_eq!(left(), expected, "{command:#x}");
    }
    for (iva, command, actual, expected) in [
        (0u64, 1u64 << 60, 1u64, (1, 0)),
        (0, 2 << 60 | 3 << 32, 2, (1, 0)),
        (0, 2 << 60 | 9 << 32, 2, (1, 2)),
        (0x1000, 3 << 60 | 3 << 32, 3, (1, 1)),
        (0x3000, 3 << 60 | 3 << 32, 3, (1, 2)),
        (0x0002, 3 << 60 | 3 << 32, 3, (1, 0)),
        (0x1000 | 20, 3 << 60 | 3 << 32, 0, (1, 2)),
        (0, 0, 0, (1, 2)),
    ] {
        fill();
        lab.set_register(Register::IVA, iva);
        lab.set_register(Register::IOTLB, 1 << 63 | command | 3 << 48);
        let iotlb = lab.register(Register::IOTLB);
        assert_eq!((iotlb >> 63, iotlb >> 57 & 3), (0, actual), "{command:#x}");
        assert_eq!(left(), expected, "{command:#x}");
    }
    fill();
    lab.enable_queue();
    lab.set_register(Register::IOTLB, 1 << 63 | 1 << 60);
    assert_eq!(
        (lab.register(Register::IOTLB) >> 57, left()),
        (8, (1, 2)),
        "not while the queue is on"
    );
}

/// §6.5.2.5, §6.5.2.6, §6.5.2.8, §6.5.2.10: waits behind device TLBs, fences, time-outs, wrong answers.
#[test]
fn device_tlbs() {
    let lab = Lab::new(Config::full());
    lab.set_register(Register::FECTL, 0);
    lab.enable(1);
    let sent = lab.submit([kind(types::DEVICE_TLB) | 0x10 << 32, 0x5000]);
    let [first] = sent.device_tlb[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (first.source, first.address, first.bits, first.pasid),
        (0x10, 0x5000, 12, None)
    );
    let sent = lab.submit([
        kind(types::PASID_DEVICE_TLB) | 0x11 << 16 | 9 << 32,
        1 | 1 << 11 | 0x7000,
    ]);
    let [second] = sent.device_tlb[..] else {
        panic!("{sent:?}")
    };
    // 0x7000 with S: bits 12 to 14 are ones, so 2^16 bytes.
    assert_eq!((second.source, second.address, second.bits), (0x11, 0, 16));
    assert_eq!((second.pasid, second.global), (Some(9), true));
    let all = lab.submit([
        kind(types::DEVICE_TLB) | 0x12 << 32,
        1 | 0x7fff_ffff_ffff_f000,
    ]);
    assert_eq!((all.device_tlb[0].address, all.device_tlb[0].bits), (0, 64));
    lab.unit.device_tlb_done(all.device_tlb[0].tag, 0x12);
    lab.submit([kind(types::WAIT) | 1 << 5 | 1 << 32, STATUS]);
    lab.submit([kind(types::WAIT) | 1 << 5 | 1 << 6 | 2 << 32, STATUS + 4]);
    lab.submit([kind(types::WAIT) | 1 << 5 | 3 << 32, STATUS + 8]);
    assert_eq!(
        lab.register(Register::IQH),
        5 * 32,
        "fetching stops behind the fence"
    );
    let status = || [0, 4, 8].map(|n| lab.ram.read_obj::<u32>(GuestAddress(STATUS + n)).unwrap());
    lab.unit.device_tlb_done(first.tag, first.source);
    assert_eq!(status(), [0, 0, 0]);
    lab.unit.device_tlb_done(second.tag, second.source);
    assert_eq!(status(), [1, 2, 3]);
    assert_eq!(lab.register(Register::IQH), 6 * 32);
    // An answer that nobody waits for.
    let actions = lab.unit.device_tlb_done(99, 0x77);
    assert_eq!(actions.messages.len(), 1);
    assert_eq!(lab.register(Register::FSTS) as u32, fsts::ICE);
    assert_eq!(lab.register(Register::IQERCD), 0x77 << 48);
    lab.set_register(Register::FSTS, fsts::ICE.into());
    assert_eq!(lab.register(Register::IQERCD), 0);
    // A time-out drops the wait and stops the queue until ITE is cleared.
    lab.put(STATUS, 0);
    let lost = lab
        .submit([kind(types::DEVICE_TLB) | 0x10 << 32, 0])
        .device_tlb[0];
    lab.submit([kind(types::WAIT) | 1 << 5 | 1 << 32, STATUS]);
    let actions = lab.unit.device_tlb_timed_out(lost.tag);
    assert_eq!(actions.messages.len(), 1);
    assert_eq!(lab.register(Register::FSTS) as u32, fsts::ITE);
    assert_eq!(lab.register(Register::IQERCD), 0x10 << 32);
    let head = lab.register(Register::IQH);
    lab.submit([kind(types::WAIT) | 1 << 5 | 5 << 32, STATUS + 4]);
    assert_eq!(lab.register(Register::IQH), head, "stopped");
    lab.set_register(Register::FSTS, fsts::ITE.into());
    assert_eq!(lab.register(Register::IQH), head + 32);
    assert_eq!(status()[..2], [0, 5], "the dropped wait never completes");
}

/// A driver that never answers is not let grow the unit.
#[test]
fn pending_device_tlbs_are_bounded() {
    let lab = Lab::new(Config::full());
    lab.enable(0);
    let mut sent = Vec::new();
    for _ in 0..100 {
        sent.extend(
            lab.submit([kind(types::DEVICE_TLB) | 0x10 << 32, 0])
                .device_tlb,
        );
    }
    assert_eq!(sent.len(), 64);
    for d in sent.clone() {
        sent.extend(lab.unit.device_tlb_done(d.tag, d.source).device_tlb);
    }
    assert_eq!(sent.len(), 100);
}

fn page_request(source: SourceId, pasid: u32, last: bool) -> PageRequest {
    PageRequest {
        source: source.0,
        pasid: Some(pasid),
        execute: false,
        privileged: true,
        read: true,
        write: true,
        last,
        group: 0x155,
        address: 0xabc_d000,
    }
}

/// §7.4: what is written where, the event, overflow, responses.
#[test]
fn page_requests() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.set_scalable_context(DEVICE, Sce::PASIDE | Sce::DTE | Sce::PRE, 0);
    lab.set_pasid(DEVICE, 4, [1 << 6, 2 | Pe::PWSNP, root | Pe::SRE]);
    lab.enable(1);
    lab.set_register(Register::PQA, PAGE_QUEUE);
    lab.set_register(Register::PECTL, 0);
    lab.set_register(Register::PEDATA, 0x55);
    lab.set_register(Register::PEADDR, 0xfee0_3000);
    let request = page_request(DEVICE, 4, true);
    assert_eq!(lab.unit.page_request(&request), PageRequestOutcome::Queued);
    assert_eq!(
        lab.get(PAGE_QUEUE),
        1 | 1 << 8 | 0x10 << 16 | 4 << 32 | 1 << 53
    );
    assert_eq!(lab.get(PAGE_QUEUE + 8), 7 | 0x155 << 3 | 0xabc_d000);
    assert_eq!(lab.register(Register::PQT), 32);
    assert_eq!(lab.register(Register::PRS), 1);
    assert_eq!(lab.unit.take_actions().messages[0].data, 0x55);
    for _ in 1..127 {
        assert_eq!(lab.unit.page_request(&request), PageRequestOutcome::Queued);
    }
    assert!(lab.unit.take_actions().is_empty(), "PPR was set already");
    let full = lab.unit.page_request(&request);
    let PageRequestOutcome::Rejected(Some(response)) = full else {
        panic!("{full:?}")
    };
    assert_eq!(
        (response.code, response.group),
        (ResponseCode::Success, 0x155)
    );
    assert_eq!(lab.register(Register::PRS), 3, "PRO");
    assert_eq!(
        lab.unit.page_request(&page_request(DEVICE, 4, false)),
        PageRequestOutcome::Rejected(None)
    );
    lab.set_register(Register::PQH, lab.register(Register::PQT));
    assert!(
        matches!(
            lab.unit.page_request(&request),
            PageRequestOutcome::Rejected(_)
        ),
        "PRO is still set"
    );
    lab.set_register(Register::PRS, 3);
    assert_eq!(lab.unit.page_request(&request), PageRequestOutcome::Queued);
    assert_eq!(lab.register(Register::PQT), 0, "wrapped");
    let sent = lab.submit([
        kind(types::PAGE_GROUP_RESPONSE) | 1 << 4 | 1 << 12 | 0x10 << 16 | 4 << 32,
        1 << 2 | 0x155 << 3,
    ]);
    assert_eq!(
        sent.responses,
        [PageGroupResponse {
            source: 0x10,
            pasid: Some(4),
            group: 0x155,
            code: ResponseCode::InvalidRequest
        }]
    );
}

/// Requests that the tables do not allow: a record of type page request, and "invalid request".
#[test]
fn refused_page_requests() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.set_scalable_context(DEVICE, Sce::PASIDE | Sce::DTE, 0);
    lab.set_pasid(DEVICE, 4, [1 << 6, 2 | Pe::PWSNP, root | Pe::SRE]);
    lab.enable(1);
    lab.set_register(Register::PQA, PAGE_QUEUE);
    for (pasid, reason) in [
        (4, Reason::PageRequestsDisabled),
        (5, Reason::PasidNotPresent),
    ] {
        let outcome = lab.unit.page_request(&page_request(DEVICE, pasid, true));
        let PageRequestOutcome::Rejected(Some(r)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(r.code, ResponseCode::InvalidRequest);
        let [record] = lab.take_records()[..] else {
            panic!()
        };
        assert_eq!(record.code(), reason.code());
        assert_eq!(record.request_type(), RequestType::PageRequest);
        assert_eq!(record.pasid(), Some(pasid));
    }
    let lab = Lab::new(Config::full());
    lab.enable(0);
    lab.unit.page_request(&page_request(DEVICE, 4, true));
    assert_eq!(
        lab.take_records()[0].code(),
        Reason::PageRequestInLegacyMode.code()
    );
}

/// Memory in which a driver submits a wait with PD at the moment that the unit writes a page request.
struct Interrupted {
    ram: GuestRam,
    unit: OnceLock<Vtd<Shared>>,
    done: AtomicBool,
}

#[derive(Clone)]
struct Shared(Arc<Interrupted>);

impl TableMemory for Shared {
    fn load(&self, address: u64) -> Result<u64, Inaccessible> {
        TableMemory::load(&self.0.ram, address)
    }

    fn compare_exchange(&self, address: u64, old: u64, new: u64) -> Result<Swap, Inaccessible> {
        TableMemory::compare_exchange(&self.0.ram, address, old, new)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), Inaccessible> {
        TableMemory::store_u32(&self.0.ram, address, value)
    }

    fn store(&self, address: u64, value: u64) -> Result<(), Inaccessible> {
        if address == PAGE_QUEUE && !self.0.done.swap(true, Ordering::SeqCst) {
            let unit = self.0.unit.get().expect("the test's");
            set(unit, Register::IQT, 32);
            let status: u32 = self.0.ram.read_obj(GuestAddress(STATUS)).unwrap();
            assert_eq!(status, 0, "the request is not in the queue yet");
        }
        TableMemory::store(&self.0.ram, address, value)
    }
}

fn set<M: TableMemory>(unit: &Vtd<M>, register: Register, value: u64) {
    let (at, size, _) = Register::MAP.iter().find(|m| m.2 == register).unwrap();
    unit.write(*at, *size as u8, value);
}

/// §7.10: a wait completes only once the page requests before it are in the queue.
#[test]
fn a_wait_drains_page_requests() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.set_scalable_context(DEVICE, Sce::PASIDE | Sce::DTE | Sce::PRE, 0);
    lab.set_pasid(DEVICE, 4, [1 << 6, 2 | Pe::PWSNP, root | Pe::SRE]);
    lab.put(QUEUE, kind(types::WAIT) | 1 << 5 | 1 << 7 | 9 << 32);
    lab.put(QUEUE + 8, STATUS);
    let memory = Shared(Arc::new(Interrupted {
        ram: lab.ram.clone(),
        unit: OnceLock::new(),
        done: AtomicBool::new(false),
    }));
    let unit = Vtd::new(Config::full(), memory.clone()).unwrap();
    assert!(memory.0.unit.set(unit.clone()).is_ok());
    set(&unit, Register::RTADDR, 0x1000 | 1 << 10);
    set(&unit, Register::IQA, QUEUE | 1 << 11);
    set(&unit, Register::PQA, PAGE_QUEUE);
    for command in [global::SRTP, global::QIE, global::QIE | global::TE] {
        set(&unit, Register::GCMD, command.into());
    }
    let request = page_request(DEVICE, 4, true);
    assert_eq!(unit.page_request(&request), PageRequestOutcome::Queued);
    assert!(memory.0.done.load(Ordering::SeqCst));
    unit.run();
    assert_eq!(lab.get(STATUS), 9);
    assert_eq!(lab.get(PAGE_QUEUE) >> 16 & 0xffff, 0x10);
}

/// PCI Express ATS; §4.1: a hole is an answer, broken tables are not, and neither is a requester without DTE.
#[test]
fn translation_requests() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 4, 0x1000, 0x5000, 1, RW);
    lab.map_second(root, 4, 0x20_0000, 0x60_0000, 2, RW);
    let read_only = lab.map_second(root, 4, 0x3000, 0x7000, 1, second::R);
    lab.set_context(DEVICE, 1, 2, 3, root);
    lab.enable(0);
    let page = lab.unit.translation_request(&write(0x1234)).unwrap();
    assert_eq!(
        (page.address, page.bits, page.read, page.write),
        (0x5000, 12, true, true)
    );
    assert_eq!(page.encode(), 0x5003);
    let large = lab.unit.translation_request(&read(0x20_1234)).unwrap();
    assert_eq!(
        (large.address, large.bits, large.write),
        (0x60_0000, 21, false)
    );
    assert_eq!(large.encode(), 0x60_0000 | 0xf_f000 | 1 << 11 | 1);
    let weaker = lab.unit.translation_request(&write(0x3000)).unwrap();
    assert_eq!((weaker.read, weaker.write), (true, false));
    let hole = lab.unit.translation_request(&read(0x9000)).unwrap();
    assert_eq!(hole.encode() & 0x3, 0);
    assert_eq!(hole, Completion { bits: 12, ..hole });
    assert!(
        lab.take_records().is_empty(),
        "no fault for what a page request can mend"
    );
    lab.put(read_only, 1 << 51 | 3);
    lab.invalidate_all();
    assert_eq!(
        lab.unit.translation_request(&read(0x3000)),
        Err(Failure::CompleterAbort)
    );
    assert_eq!(lab.take_records()[0].address_type(), 1);
    lab.set_context(DEVICE, 0, 2, 3, root);
    lab.invalidate_all();
    assert_eq!(
        lab.unit.translation_request(&read(0x1000)),
        Err(Failure::UnsupportedRequest)
    );
    assert_eq!(lab.take_records()[0].code(), Reason::RequestBlocked.code());
    lab.set_register(Register::GCMD, 0);
    assert_eq!(
        lab.unit.translation_request(&read(0x1000)),
        Err(Failure::UnsupportedRequest)
    );
}
