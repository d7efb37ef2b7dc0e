//! Dirty tracking: accessed and dirty bits of the second stage, set by DMA and harvested. VT-d 4.1 §3.7.2.

use super::guest::{BUFFER, Guest};
use super::unit::{AW_39, Kind, OPTIONS, Path, R, SECOND_STAGE, SS_A, SS_D, SSADE, Unit, W, why};

const TABLES: Path = Path {
    levels: 3,
    seen: 0x110_0000,
    tables: 0x110_0000,
    flags: R | W,
};
const IOVA: u64 = 0x40_2020_0000;
const PAGES: u64 = 0x120_0000;
const DOMAIN: u64 = 7;

const fn iova(page: u64) -> u64 {
    IOVA + page * 0x1000
}

const fn page(n: u64) -> u64 {
    PAGES + n * 0x1000
}

#[test]
fn dirty_bits_come_with_dma_and_again_after_a_harvest_and_a_flush() {
    let mut g = Guest::new();
    let mut unit = Unit::default();
    TABLES.lay(&mut g, IOVA);
    let leaf = |n: u64| TABLES.leaf(iova(n));
    g.store(leaf(0), page(0) | R | W);
    g.store(leaf(1), page(1) | R | W);
    g.store(leaf(2), page(2) | R);
    g.store_text(page(0), "source");
    g.store_text(page(2), "constant");
    unit.context(&mut g, 0);
    let entry = TABLES.tables | AW_39 | SECOND_STAGE | SSADE;
    unit.pasid(&mut g, 0, DOMAIN, [entry, 0]);
    unit.enable(&mut g);

    g.read("read", iova(0), BUFFER, 8, 0);
    g.show("read.entry", leaf(0));
    g.show("untouched.entry", leaf(1));
    g.write("written", BUFFER, iova(1), 8, 0);
    g.show("written.entry", leaf(1));
    g.show("written.bytes", page(1));
    // Harvest, and write before the flush: what the unit knows to be dirty stays clean in memory.
    g.store(leaf(1), page(1) | R | W | SS_A);
    g.write("unflushed", BUFFER, iova(1) + 8, 8, 0);
    g.show("unflushed.entry", leaf(1));
    unit.flush_domain(&mut g, DOMAIN);
    g.write("flushed", BUFFER, iova(1) + 16, 8, 0);
    g.show("flushed.entry", leaf(1));
    // A page that was cached by a read gets its bit by a write.
    g.read("again", iova(0), BUFFER, 8, 0);
    g.write("upgraded", BUFFER, iova(0) + 8, 8, 0);
    g.show("upgraded.entry", leaf(0));
    // Without permission, and without a page.
    g.write("forbidden", BUFFER, iova(2), 8, 0);
    unit.show_fault(&mut g, "forbidden");
    g.show("forbidden.entry", leaf(2));
    g.show("forbidden.bytes", page(2));
    g.write("absent", BUFFER, iova(3), 8, 0);
    unit.show_fault(&mut g, "absent");
    // Without SSADE, nothing is tracked.
    unit.pasid(&mut g, 0, DOMAIN, [entry & !SSADE, 0]);
    g.store(leaf(1), page(1) | R | W);
    unit.flush_all(&mut g);
    g.write("untracked", BUFFER, iova(1) + 24, 8, 0);
    g.show("untracked.entry", leaf(1));
    g.show("untracked.bytes", page(1) + 24);
    let ran = g.run(&OPTIONS);

    let tracked = |n: u64, bits: u64| page(n) | R | W | bits;
    ran.has(&[
        ("read", 1),
        ("read.entry", tracked(0, SS_A)),
        ("untouched.entry", tracked(1, 0)),
        ("written", 1),
        ("written.entry", tracked(1, SS_A | SS_D)),
        ("unflushed", 1),
        ("unflushed.entry", tracked(1, SS_A)),
        ("flushed", 1),
        ("flushed.entry", tracked(1, SS_A | SS_D)),
        ("again", 1),
        ("upgraded", 1),
        ("upgraded.entry", tracked(0, SS_A | SS_D)),
        ("forbidden", 2),
        ("forbidden.at", iova(2)),
        ("forbidden.why", why(0x85, Kind::Write, None)),
        ("absent", 2),
        ("absent.at", iova(3)),
        ("absent.why", why(0x79, Kind::Write, None)),
        ("untracked", 1),
        ("untracked.entry", tracked(1, 0)),
    ]);
    assert_eq!(ran.value("forbidden.entry") & SS_D, 0);
    ran.has_text(&[
        ("written.bytes", "source"),
        ("forbidden.bytes", "constant"),
        ("untracked.bytes", "source"),
    ]);
    ran.counted(&[
        ("/faults", 2),
        ("/faults_by_code/133", 1),
        ("/faults_by_code/121", 1),
        ("/invalidations/iotlb_domain", 1),
        ("/invalidations/iotlb_global", 1),
        ("/invalidations/pasid_cache_global", 1),
        ("/invalidations/wait", 2),
        ("/domains/0", DOMAIN),
    ]);
    assert_eq!(
        ran.refused(),
        [
            ("write", "0x4020202000", 0x85),
            ("write", "0x4020203000", 0x79)
        ]
    );
}
