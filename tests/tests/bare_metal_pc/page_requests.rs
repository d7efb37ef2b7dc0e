//! Page requests: a device with ATS and PRI asks for pages that are not there, software answers. VT-d 4.1 §4.1, §7.4, §7.6.

use super::guest::{
    ATS_CAPABILITY, BUFFER, EDU_SOURCE, Guest, PASID_CAPABILITY, PRI_CAPABILITY, command,
};
use super::unit::{
    DTE, FIRST_STAGE, FS_A, FS_D, Kind, OPTIONS, P, PAGE_REQUESTS, PASIDE, PQA, PQH, PQT, PRE, PRS,
    Path, RW, US, Unit, why,
};

const TABLES: Path = Path {
    levels: 4,
    seen: 0x110_0000,
    tables: 0x110_0000,
    flags: P | RW | US,
};
const IOVA: u64 = 0x1234_5678_9000;
const PAGES: u64 = 0x120_0000;
const PASID: u64 = 5;
const DOMAIN: u64 = 2;
const ATS: u64 = command::PASID | command::ATS;
const PRI: u64 = ATS | command::PRI;

/// Response codes. VT-d 4.1 §7.6.
const SUCCESS: u64 = 0;
const INVALID: u64 = 1;
const FAILURE: u64 = 15;

const fn iova(n: u64) -> u64 {
    IOVA + n * 0x1000
}

const fn page(n: u64) -> u64 {
    PAGES + n * 0x1000
}

/// The unit and the device with everything on; nothing is mapped but page 0, which is in the device's buffer.
fn ready(g: &mut Guest, unit: &mut Unit) {
    TABLES.lay(g, IOVA);
    g.store(TABLES.leaf(iova(0)), page(0) | P | RW | US);
    g.store_text(page(0), "payload");
    unit.context(g, DTE | PASIDE | PRE);
    unit.pasid(g, PASID, DOMAIN, [FIRST_STAGE, TABLES.tables]);
    // Translated requests carry no PASID: theirs is RID_PASID, which passes addresses unchanged.
    unit.pasid(g, 0, 1, [4 << 6, 0]);
    g.store(PQA, PAGE_REQUESTS);
    unit.enable(g);
    g.configure16(PASID_CAPABILITY + 6, 1);
    g.configure16(ATS_CAPABILITY + 6, 1 << 15);
    g.configure32(PRI_CAPABILITY + 12, 1);
    g.configure16(PRI_CAPABILITY + 4, 1);
    g.choose_pasid(PASID as u32);
    g.read("ready", iova(0), BUFFER, 8, ATS);
}

/// The first two words of a page request for a write. VT-d 4.1 §7.4.1.1.
fn request(address: u64, group: u64) -> [u64; 2] {
    let low = PASID << 32 | u64::from(EDU_SOURCE) << 16 | 1 << 8 | 1;
    [low, address | group << 3 | 1 << 2 | 1 << 1]
}

#[test]
fn a_page_that_is_asked_for_is_mapped_and_the_dma_goes_on() {
    let mut g = Guest::new();
    let mut unit = Unit::default();
    ready(&mut g, &mut unit);
    // Before: an untranslated request faults, one for a translation does not.
    g.write("untranslated", BUFFER, iova(1), 8, command::PASID);
    unit.show_fault(&mut g, "untranslated");
    g.write("unasked", BUFFER, iova(1), 8, ATS);
    g.show("unasked.tail", PQT);
    g.show32("unasked.status", PRS);
    // The request, and nothing written before its answer.
    g.write("waiting", BUFFER, iova(1), 8, PRI);
    g.wait32(PRS, 1, 1);
    g.show("waiting.tail", PQT);
    g.show("waiting.low", PAGE_REQUESTS);
    g.show("waiting.high", PAGE_REQUESTS + 8);
    g.store32(PRS, 1);
    g.store(PQH, 0x20);
    g.show32("handled.status", PRS);
    g.show_status("still");
    g.show("still.bytes", page(1));
    g.show_config("pri.waiting", PRI_CAPABILITY + 4);
    // The answer.
    g.store(TABLES.leaf(iova(1)), page(1) | P | RW | US);
    unit.respond(&mut g, PASID, 0, SUCCESS);
    g.show_status("answered");
    g.show("answered.bytes", page(1));
    g.show("answered.leaf", TABLES.leaf(iova(1)));
    // An answer to nothing.
    unit.respond(&mut g, PASID, 99, SUCCESS);
    g.show_config("pri.unexpected", PRI_CAPABILITY + 4);
    let ran = g.run(&OPTIONS);

    let [low, high] = request(iova(1), 0);
    ran.has(&[
        ("ready", 1),
        ("untranslated", 2),
        ("untranslated.at", iova(1)),
        ("untranslated.why", why(0x71, Kind::Write, Some(PASID))),
        ("unasked", 6),
        ("unasked.tail", 0),
        ("unasked.status", 0),
        ("waiting", 7),
        ("waiting.tail", 0x20),
        ("waiting.low", low),
        ("waiting.high", high),
        ("handled.status", 0),
        ("still", 7),
        ("still.bytes", 0),
        // Answers carry PASIDs; enabled.
        ("pri.waiting", 0x8000_0001),
        ("answered", 1),
        ("answered.leaf", page(1) | P | RW | US | FS_A | FS_D),
        ("pri.unexpected", 0x8002_0001),
    ]);
    ran.has_text(&[("answered.bytes", "payload")]);
    ran.counted(&[
        ("/faults", 1),
        ("/faults_by_code/113", 1),
        ("/invalidations/page_group_response", 2),
        ("/invalidations/wait", 2),
    ]);
}

#[test]
fn a_page_that_is_refused_stays_as_it_is() {
    let mut g = Guest::new();
    let mut unit = Unit::default();
    ready(&mut g, &mut unit);
    g.write("asked", BUFFER, iova(1), 8, PRI);
    unit.respond(&mut g, PASID, 0, INVALID);
    g.show_status("invalid");
    // The unit answers by itself where page requests are not allowed.
    unit.context(&mut g, DTE | PASIDE);
    unit.flush_all(&mut g);
    g.write("not-allowed", BUFFER, iova(1), 8, PRI);
    unit.show_fault(&mut g, "not-allowed");
    g.show("not-allowed.tail", PQT);
    // No device TLBs: translation requests fault.
    unit.context(&mut g, PASIDE);
    unit.flush_all(&mut g);
    g.write("no-tlb", BUFFER, iova(1), 8, ATS);
    unit.show_fault(&mut g, "no-tlb");
    // A failure stops the device from asking.
    unit.context(&mut g, DTE | PASIDE | PRE);
    unit.flush_all(&mut g);
    g.write("asked-again", BUFFER, iova(1), 8, PRI);
    unit.respond(&mut g, PASID, 2, FAILURE);
    g.show_status("failure");
    g.show_config("pri", PRI_CAPABILITY + 4);
    g.write("stopped", BUFFER, iova(1), 8, PRI);
    g.show("tail", PQT);
    g.show("bytes", page(1));
    let ran = g.run(&OPTIONS);

    ran.has(&[
        ("ready", 1),
        ("asked", 7),
        ("invalid", 8),
        ("not-allowed", 8),
        ("not-allowed.at", iova(1)),
        ("not-allowed.why", why(0x47, Kind::PageRequest, Some(PASID))),
        ("not-allowed.tail", 0x20),
        ("no-tlb", 6),
        ("no-tlb.at", iova(1)),
        ("no-tlb.why", why(0x44, Kind::Translation, Some(PASID))),
        ("asked-again", 7),
        ("failure", 8),
        // Response failure, stopped; disabled.
        ("pri", 0x8101_0000),
        ("stopped", 5),
        ("tail", 0x40),
        ("bytes", 0),
    ]);
    ran.counted(&[
        ("/faults", 2),
        ("/faults_by_code/71", 1),
        ("/faults_by_code/68", 1),
        ("/invalidations/page_group_response", 2),
    ]);
}
