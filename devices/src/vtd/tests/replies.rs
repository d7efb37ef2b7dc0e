//! What devices with a device TLB get: completions of translation requests, what page requests do. VT-d 4.1 §6.5.3.1, §7.1.3, §7.4.

use super::*;
use crate::vtd::ats::{Completion, Failure};
use crate::vtd::spec::context::ScalableContextEntry as Sce;
use crate::vtd::spec::paging::{first, second};
use crate::vtd::spec::pasid::PasidEntry as Pe;
use crate::vtd::spec::registers::Register;
use crate::vtd::testing::{Lab, PAGE_QUEUE, ROOT};
use crate::vtd::{CacheConfig, PageRequest, PageRequestOutcome};

/// Nothing is there, or it is beyond what memory has.
const NOWHERE: u64 = 0x10_0000_0000;

#[derive(Debug, PartialEq)]
enum Reply {
    /// Success with these of R, W, U.
    Success(u64),
    UnsupportedRequest,
    CompleterAbort,
}
use Reply::{CompleterAbort, Success, UnsupportedRequest};

/// Tables of one kind: the whole of it, and where its parts are.
struct Tables {
    lab: Lab,
    context: u64,
    directory: u64,
    pasid: u64,
    second: u64,
    first: u64,
    second_leaf: u64,
    first_leaf: u64,
}

/// `kind` is 0 for legacy mode, PGTT for scalable mode. 0x1000 is mapped to 0x60_0000.
fn tables(kind: u64) -> Tables {
    let lab = Lab::new(uncached());
    let first_table = lab.page();
    let first_leaf = lab.map_first(first_table, 4, 0x1000, 0x60_0000, 1, first::RW | first::US);
    let second_table = lab.identity_second(4, 3);
    let second_leaf = if kind == 3 {
        *lab.entries(second_table, 4, 0x60_0000, 2).last().unwrap()
    } else {
        // The 2 MiB page makes room for one of 4 KiB.
        let table = lab.page();
        let upper = *lab.entries(second_table, 4, 0x1000, 2).last().unwrap();
        lab.put(upper, table | 3);
        lab.map_second(second_table, 4, 0x1000, 0x60_0000, 1, 3)
    };
    let mut t = Tables {
        context: lab.context(DEVICE),
        directory: 0,
        pasid: 0,
        second: second_table,
        first: first_table,
        second_leaf,
        first_leaf,
        lab,
    };
    let lab = &t.lab;
    if kind == 0 {
        lab.set_context(DEVICE, 1, 2, 1, second_table);
    } else {
        t.directory = lab.set_scalable_context(DEVICE, Sce::DTE | Sce::PASIDE, 5);
        t.context = lab.scalable_context(DEVICE);
        t.pasid = lab.pasid_entry(DEVICE, 5);
        let words = [
            second_table | 2 << 2 | kind << 6,
            1 | Pe::PWSNP,
            first_table,
        ];
        lab.set_pasid(DEVICE, 5, words);
        lab.set_pasid(DEVICE, 6, words);
    }
    lab.enable(u64::from(kind != 0));
    t
}

type Break = fn(&Tables);

/// §7.1.3: each kind of condition has its completion; only what is no success leaves a record, and SFS.10.
#[test]
fn completions_of_translation_requests() {
    fn set(t: &Tables, at: u64, clear: u64, set: u64) {
        t.lab.put(at, t.lab.get(at) & !clear | set);
    }
    let cases: Vec<(&str, u64, Break, Request, Reply)> = vec![
        ("legacy", 0, |_| {}, write(0x1000), Success(3)),
        ("NW", 0, |_| {}, read(0x1000), Success(1)),
        (
            "LRT.1",
            0,
            |t| {
                t.lab.set_register(Register::RTADDR, NOWHERE);
                t.lab.command(1 << 30);
            },
            write(0x1000),
            CompleterAbort,
        ),
        (
            "LRT.2",
            0,
            |t| set(t, ROOT, 1, 0),
            write(0x1000),
            UnsupportedRequest,
        ),
        (
            "LRT.3",
            0,
            |t| set(t, ROOT, 0, 2),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "LCT.1",
            0,
            |t| set(t, ROOT, !0xfff, NOWHERE),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "LCT.2",
            0,
            |t| set(t, t.context, 1, 0),
            write(0x1000),
            UnsupportedRequest,
        ),
        (
            "LCT.3",
            0,
            |t| set(t, t.context, 0, 1 << 4),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "LCT.4",
            0,
            |t| set(t, t.context + 8, 7, 6),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "LCT.5",
            0,
            |t| set(t, t.context, 3 << 2, 0),
            write(0x1000),
            UnsupportedRequest,
        ),
        (
            "LSS.1",
            0,
            |t| set(t, t.second, !0xfff, NOWHERE | 3),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "LSS.2",
            0,
            |t| set(t, t.second_leaf, 0, 1 << 51),
            write(0x1000),
            CompleterAbort,
        ),
        ("LGN.1", 0, |_| {}, write(1 << 48), Success(0)),
        (
            "LGN.2",
            0,
            |t| set(t, t.second_leaf, second::W, 0),
            write(0x1000),
            Success(1),
        ),
        (
            "LGN.3",
            0,
            |t| set(t, t.second_leaf, second::R, 0),
            write(0x1000),
            Success(2),
        ),
        (
            "LGN.4",
            0,
            |t| set(t, t.second_leaf, !0xfff, 0xfee0_1000),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "RTA.1",
            0,
            |t| {
                t.lab.set_register(Register::RTADDR, ROOT | 2 << 10);
                t.lab.command(1 << 30);
            },
            write(0x1000),
            CompleterAbort,
        ),
        (
            "RTA.2",
            0,
            |_| {},
            write(0x1000).with_pasid(6),
            UnsupportedRequest,
        ),
        (
            "RTA.4",
            0,
            |t| {
                t.lab.set_register(Register::RTADDR, ROOT | 3 << 10);
                t.lab.command(1 << 30);
            },
            write(0x1000),
            UnsupportedRequest,
        ),
        ("S.1, legacy", 0, |_| {}, write(0xfee0_1000), Success(6)),
        ("S.2, legacy", 0, |_| {}, read(0xfee0_1000), Success(0)),
        ("scalable", 2, |_| {}, write(0x1000), Success(3)),
        (
            "SRT.2",
            2,
            |t| set(t, ROOT, 1, 0),
            write(0x1000),
            UnsupportedRequest,
        ),
        (
            "SRT.3",
            2,
            |t| set(t, ROOT, 0, 2),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SCT.1",
            2,
            |t| set(t, ROOT, !0xfff, NOWHERE),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SCT.2",
            2,
            |t| set(t, t.context, 1, 0),
            write(0x1000),
            UnsupportedRequest,
        ),
        (
            "SCT.3",
            2,
            |t| set(t, t.context, 0, 1 << 5),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SCT.4",
            2,
            |t| set(t, t.context, Sce::DTE, Sce::PRE),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SCT.5",
            2,
            |t| set(t, t.context, Sce::DTE, 0),
            write(0x1000),
            UnsupportedRequest,
        ),
        (
            "SCT.6",
            2,
            |t| set(t, t.context, Sce::PASIDE, 0),
            write(0x1000).with_pasid(6),
            UnsupportedRequest,
        ),
        (
            "SCT.7",
            2,
            |t| set(t, t.context, 7 << 9, 0),
            write(0x1000).with_pasid(1 << 13),
            UnsupportedRequest,
        ),
        (
            "SCT.9",
            2,
            |_| {},
            write(0x1000).with_pasid(5),
            UnsupportedRequest,
        ),
        (
            "SPD.1",
            2,
            |t| set(t, t.context, !0xfff, NOWHERE),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SPD.2",
            2,
            |t| set(t, t.directory, 1, 0),
            write(0x1000),
            Success(0),
        ),
        (
            "SPD.3",
            2,
            |t| set(t, t.directory, 0, 4),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SPT.1",
            2,
            |t| set(t, t.directory, !0xfff, NOWHERE),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SPT.2",
            2,
            |t| set(t, t.pasid, 1, 0),
            write(0x1000),
            Success(0),
        ),
        (
            "SPT.3",
            2,
            |t| set(t, t.pasid, 0, 1 << 5),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SPT.4",
            2,
            |t| set(t, t.pasid, 7 << 6, 0),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SPT.5",
            1,
            |_| {},
            Request {
                execute: true,
                ..read(0x1000).with_pasid(6)
            },
            Success(0),
        ),
        (
            "SPT.6",
            1,
            |_| {},
            Request {
                privileged: true,
                ..write(0x1000).with_pasid(6)
            },
            Success(0),
        ),
        (
            "first stage",
            1,
            |_| {},
            write(0x1000).with_pasid(6),
            Success(3),
        ),
        (
            "SFS.1",
            1,
            |t| set(t, t.first, !0xfff, NOWHERE | 7),
            write(0x1000),
            Success(0),
        ),
        (
            "SFS.2",
            1,
            |t| set(t, t.first_leaf, 1, 0),
            write(0x1000),
            Success(0),
        ),
        (
            "SFS.3",
            1,
            |t| set(t, t.first_leaf, 0, 1 << 51),
            write(0x1000),
            Success(0),
        ),
        (
            "SFS.4",
            1,
            |t| set(t, t.pasid + 16, !0xfff, NOWHERE),
            write(0x1000),
            Success(0),
        ),
        (
            "SFS.5",
            3,
            |t| set(t, t.first_leaf, !0xfff, 1 << 50 | 7),
            write(0x1000),
            Success(0),
        ),
        (
            "SFS.9",
            1,
            |t| set(t, t.pasid + 8, Pe::PWSNP, 0),
            write(0x1000),
            Success(0),
        ),
        (
            "SSS.1",
            2,
            |t| set(t, t.second, !0xfff, NOWHERE | 3),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SSS.2",
            2,
            |t| set(t, t.second_leaf, 3, 0),
            write(0x1000),
            Success(0),
        ),
        (
            "SSS.3",
            2,
            |t| set(t, t.second_leaf, 0, 1 << 51),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SSS.4",
            2,
            |t| set(t, t.pasid, 0x3fff_ffff_f000, NOWHERE),
            write(0x1000),
            CompleterAbort,
        ),
        (
            "SSS.5",
            2,
            |t| {
                set(t, t.pasid, 0, Pe::SSADE);
                set(t, t.pasid + 8, Pe::PWSNP, 0);
            },
            write(0x1000),
            CompleterAbort,
        ),
        ("SGN.1", 1, |_| {}, write(1 << 47), Success(0)),
        (
            "SGN.2",
            1,
            |t| set(t, t.first_leaf, first::US, 0),
            write(0x1000),
            Success(0),
        ),
        ("SGN.4", 4, |_| {}, write(1 << 46), Success(0)),
        ("SGN.5", 2, |_| {}, write(1 << 48), Success(0)),
        (
            "SGN.6",
            1,
            |t| set(t, t.first_leaf, first::RW, 0),
            write(0x1000),
            Success(1),
        ),
        (
            "SGN.6, nested",
            3,
            |t| set(t, t.second_leaf, second::W, 0),
            write(0x1000),
            Success(1),
        ),
        (
            "SGN.7",
            2,
            |t| set(t, t.second_leaf, second::R, 0),
            write(0x1000),
            Success(2),
        ),
        (
            "SGN.8",
            2,
            |t| set(t, t.second_leaf, !0xfff, 0xfee0_1000),
            write(0x1000),
            CompleterAbort,
        ),
        ("pass-through", 4, |_| {}, write(0x1000), Success(3)),
        ("S.1", 2, |_| {}, write(0xfee0_1000), Success(6)),
        ("S.2", 4, |_| {}, read(0xfee0_1000), Success(0)),
        (
            "with PASID the interrupt range is as others",
            2,
            |_| {},
            write(0xfee0_1000).with_pasid(6),
            Success(0),
        ),
    ];
    for (rule, kind, break_it, request, expected) in cases {
        let t = tables(kind);
        break_it(&t);
        let reply = match t.lab.unit.translation_request(&request) {
            Ok(c) => Success(c.encode() & 7),
            Err(Failure::UnsupportedRequest) => UnsupportedRequest,
            Err(Failure::CompleterAbort) => CompleterAbort,
        };
        assert_eq!(reply, expected, "{rule}");
        let records = t.lab.take_records();
        let recorded = !matches!(expected, Success(_));
        assert_eq!(records.len(), usize::from(recorded), "{rule}: {records:x?}");
        assert!(records.iter().all(|r| r.address_type() == 1), "{rule}");
    }
}

/// The data of a completion to the interrupt range. PCI Express ATS §10.2.3.4.
#[test]
fn interrupts_are_for_untranslated_requests() {
    let t = tables(2);
    let c = t.lab.unit.translation_request(&write(0xfee0_1000)).unwrap();
    assert!(c.untranslated_only && c.write && !c.read);
    assert_eq!(c.encode(), 0b110);
    assert_eq!(Completion { bits: 12, ..c }, c, "S = 0");
}

fn page_request(pasid: Option<u32>, privileged: bool) -> PageRequest {
    PageRequest {
        source: DEVICE.0,
        pasid,
        execute: privileged,
        privileged,
        read: true,
        write: true,
        last: true,
        group: 1,
        address: 0x1000,
    }
}

/// §6.5.3.1: software need not invalidate a page that it permits more than before if it was asked to by a page request; the request
/// itself does. With caches that are used as long as the rules allow, the device would not get on otherwise.
#[test]
fn page_requests_invalidate() {
    for kind in [1u64, 2, 3] {
        for pasid in [None, Some(6)] {
            let lab = Lab::new(Config {
                caches: CacheConfig::ADVERSARIAL,
                ..Config::full()
            });
            let first_table = lab.page();
            let second_table = lab.identity_second(4, 3);
            let first_leaf = lab.map_first(first_table, 4, 0x1000, 0x60_0000, 1, first::US);
            let second_leaf = *lab.entries(second_table, 4, 0, 2).last().unwrap();
            lab.set_scalable_context(DEVICE, Sce::DTE | Sce::PASIDE | Sce::PRE, 5);
            let words = [
                second_table | 2 << 2 | kind << 6,
                1 | Pe::PWSNP,
                first_table,
            ];
            lab.set_pasid(DEVICE, 5, words);
            lab.set_pasid(DEVICE, 6, words);
            if kind == 2 {
                lab.put(second_leaf, lab.get(second_leaf) & !second::W);
            }
            lab.enable(1);
            lab.set_register(Register::PQA, PAGE_QUEUE);
            let asked = Request {
                pasid: pasid.map(crate::dma::Pasid),
                ..write(0x1000)
            };
            let may_write = || lab.unit.translation_request(&asked).unwrap().write;
            assert!(!may_write());
            let (leaf, flag) = if kind == 2 {
                (second_leaf, second::W)
            } else {
                (first_leaf, first::RW)
            };
            lab.put(leaf, lab.get(leaf) | flag);
            assert!(!may_write(), "{kind}: nothing was invalidated");
            let request = page_request(pasid, false);
            assert_eq!(lab.unit.page_request(&request), PageRequestOutcome::Queued);
            assert!(may_write(), "{kind}, {pasid:?}");
        }
    }
}

/// §7.1.3: what a request would want to do there is not a page request's business: SPT.5 and SPT.6 are not for it. SCT.9 is.
#[test]
fn page_requests_ask_for_anything() {
    let t = tables(1);
    let lab = &t.lab;
    lab.put(t.context, lab.get(t.context) | Sce::PRE);
    lab.set_register(Register::PQA, PAGE_QUEUE);
    for (pasid, expected) in [(None, true), (Some(6), true), (Some(5), false)] {
        let outcome = lab.unit.page_request(&page_request(pasid, pasid.is_some()));
        assert_eq!(outcome == PageRequestOutcome::Queued, expected, "{pasid:?}");
    }
    assert_eq!(lab.take_records()[0].code(), 0x48);
}

/// §7.5: no event for an overflow while a request is pending.
#[test]
fn one_event_for_page_requests() {
    let t = tables(1);
    let lab = &t.lab;
    lab.put(t.context, lab.get(t.context) | Sce::PRE);
    lab.set_register(Register::PQA, PAGE_QUEUE);
    lab.set_register(Register::PECTL, 0);
    let request = page_request(Some(6), false);
    let mut events = 0;
    for _ in 0..128 {
        lab.unit.page_request(&request);
        events += lab.unit.take_actions().messages.len();
    }
    assert_eq!((events, lab.register(Register::PRS)), (1, 3));
    // An overflow alone is told of.
    lab.set_register(Register::PRS, 3);
    lab.unit.page_request(&request);
    assert_eq!(lab.unit.take_actions().messages.len(), 1);
    assert_eq!(lab.register(Register::PRS), 2);
}
