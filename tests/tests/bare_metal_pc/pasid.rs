//! DMA with PASID: each PASID has its own entry, tables and faults. VT-d 4.1 §3.4.3.

use super::guest::{BUFFER, Guest, PASID_CAPABILITY, command};
use super::unit::{
    AW_39, FIRST_STAGE, Kind, OPTIONS, P, PASIDE, Path, R, RW, SECOND_STAGE, US, Unit, W, why,
};

/// Tables of requests without PASID, of PASID 5 (first stage) and of PASID 70 (by another directory entry).
const WITHOUT: Path = second_stage(0x110_0000);
const FIVE: Path = Path {
    levels: 4,
    seen: 0x111_0000,
    tables: 0x111_0000,
    flags: P | RW | US,
};
const SEVENTY: Path = second_stage(0x112_0000);
/// The same address for all.
const IOVA: u64 = 0x12_3456_7000;
const PAGES: u64 = 0x120_0000;

const fn second_stage(at: u64) -> Path {
    Path {
        levels: 3,
        seen: at,
        tables: at,
        flags: R | W,
    }
}

const fn page(n: u64) -> u64 {
    PAGES + n * 0x1000
}

#[test]
fn each_pasid_has_its_own_tables() {
    let mut g = Guest::new();
    let mut unit = Unit::default();
    for path in [&WITHOUT, &FIVE, &SEVENTY] {
        path.lay(&mut g, IOVA);
    }
    g.store(WITHOUT.leaf(IOVA), page(0) | R | W);
    g.store(FIVE.leaf(IOVA), page(1) | P | RW | US);
    g.store(SEVENTY.leaf(IOVA), page(2) | R | W);
    g.store_text(page(0), "no-pasid");
    g.store_text(page(1), "five");
    g.store_text(page(2), "seventy");
    unit.context(&mut g, PASIDE);
    unit.pasid(&mut g, 0, 1, [WITHOUT.tables | AW_39 | SECOND_STAGE, 0]);
    unit.pasid(&mut g, 5, 2, [FIRST_STAGE, FIVE.tables]);
    unit.pasid(&mut g, 70, 3, [SEVENTY.tables | AW_39 | SECOND_STAGE, 0]);
    unit.enable(&mut g);

    g.show_config("capability", PASID_CAPABILITY);
    g.choose_pasid(5);
    g.read("disabled", IOVA, BUFFER, 8, command::PASID);
    g.configure16(PASID_CAPABILITY + 6, 1);
    // Into three places of the buffer, and out to another place of each page.
    g.read("read", IOVA, BUFFER, 8, 0);
    g.read("read.5", IOVA, BUFFER + 8, 8, command::PASID);
    g.choose_pasid(70);
    g.read("read.70", IOVA, BUFFER + 16, 8, command::PASID);
    g.write("write.70", BUFFER + 16, IOVA + 8, 8, command::PASID);
    g.choose_pasid(5);
    g.write("write.5", BUFFER + 8, IOVA + 8, 8, command::PASID);
    g.write("write", BUFFER, IOVA + 8, 8, 0);
    for n in 0..3 {
        g.show(&format!("page.{n}"), page(n) + 8);
    }
    // Both move to another page; one is flushed.
    g.store(FIVE.leaf(IOVA), page(3) | P | RW | US);
    g.store(SEVENTY.leaf(IOVA), page(4) | R | W);
    unit.flush_pasid(&mut g, 5, 2);
    g.write("moved.5", BUFFER + 8, IOVA + 16, 8, command::PASID);
    g.choose_pasid(70);
    g.write("kept.70", BUFFER + 16, IOVA + 16, 8, command::PASID);
    for n in 1..5 {
        g.show(&format!("moved.{n}"), page(n) + 16);
    }
    // No entry, a PASID beyond the directory's table, and no PASIDs at all.
    g.choose_pasid(6);
    g.write("six", BUFFER, IOVA, 8, command::PASID);
    unit.show_fault(&mut g, "six");
    g.choose_pasid(200);
    g.read("far", IOVA, BUFFER, 8, command::PASID);
    unit.show_fault(&mut g, "far");
    unit.context(&mut g, 0);
    unit.flush_all(&mut g);
    g.choose_pasid(5);
    g.write("off", BUFFER, IOVA, 8, command::PASID);
    unit.show_fault(&mut g, "off");
    g.write("still", BUFFER, IOVA + 24, 8, 0);
    g.show("still.bytes", page(0) + 24);
    let ran = g.run(&OPTIONS);

    // Id, version 1, the next is ATS.
    ran.has(&[
        ("capability", 0x1081_001b),
        ("disabled", 5),
        ("read", 1),
        ("read.5", 1),
        ("read.70", 1),
        ("write", 1),
        ("write.5", 1),
        ("write.70", 1),
        ("moved.1", 0),
        ("moved.4", 0),
        ("six", 2),
        ("six.at", IOVA),
        ("six.why", why(0x59, Kind::Write, Some(6))),
        ("far", 2),
        ("far.at", IOVA),
        ("far.why", why(0x51, Kind::Read, Some(200))),
        ("off", 2),
        ("off.at", IOVA),
        ("off.why", why(0x45, Kind::Write, Some(5))),
        ("still", 1),
    ]);
    ran.has_text(&[
        ("page.0", "no-pasid"),
        ("page.1", "five"),
        ("page.2", "seventy"),
        ("moved.3", "five"),
        ("moved.2", "seventy"),
        ("still.bytes", "no-pasid"),
    ]);
    ran.counted(&[
        ("/faults", 3),
        ("/faults_by_code/89", 1),
        ("/faults_by_code/81", 1),
        ("/faults_by_code/69", 1),
        ("/invalidations/pasid_iotlb_all", 1),
        ("/invalidations/context_global", 1),
        ("/invalidations/wait", 2),
        ("/domains/0", 1),
        ("/domains/1", 2),
        ("/domains/2", 3),
    ]);
}
