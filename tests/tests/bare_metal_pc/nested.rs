//! Nested translation: the first stage's tables and pages are at addresses that go through the second stage. VT-d 4.1 §3.8.

use super::guest::{BUFFER, Guest};
use super::unit::{
    AW_39, FS_A, FS_D, Kind, NESTED, OPTIONS, P, Path, R, RW, SS_A, SS_D, SSADE, US, Unit, W, why,
};

/// What the first stage's tables call memory, and where it is: page by page, in reverse order.
const INNER: u64 = 0x20_0000;
const fn inner(n: u64) -> u64 {
    INNER + n * 0x1000
}
const fn outer(n: u64) -> u64 {
    0x130_0000 + n * 0x1000
}

/// The second stage: from inner addresses to memory.
const SECOND: Path = Path {
    levels: 3,
    seen: 0x110_0000,
    tables: 0x110_0000,
    flags: R | W,
};
/// The first stage: its tables are the inner pages 0 to 3.
const FIRST: Path = Path {
    levels: 4,
    seen: outer(0),
    tables: inner(0),
    flags: P | RW | US,
};
const IOVA: u64 = 0x5566_7740_0000;
const DOMAIN: u64 = 9;
/// Pages in which the device's data is, by inner number.
const DATA: u64 = 8;
const ABSENT: u64 = 9;
const FIXED: u64 = 10;
const ELSEWHERE: u64 = 11;

const fn iova(n: u64) -> u64 {
    IOVA + n * 0x1000
}

/// Tables with these pages for the first stage: writable, not in the second, read-only in the second, none, read-only in the first.
fn tables(g: &mut Guest) {
    SECOND.lay(g, INNER);
    for n in [0, 1, 2, 3, DATA] {
        g.store(SECOND.leaf(inner(n)), outer(n) | R | W);
    }
    g.store(SECOND.leaf(inner(FIXED)), outer(FIXED) | R);
    FIRST.lay(g, IOVA);
    let user = P | RW | US;
    g.store(FIRST.leaf(iova(0)), inner(DATA) | user);
    g.store(FIRST.leaf(iova(1)), inner(ABSENT) | user);
    g.store(FIRST.leaf(iova(2)), inner(FIXED) | user);
    g.store(FIRST.leaf(iova(4)), inner(DATA) | P | US);
}

#[test]
fn dma_goes_through_both_stages() {
    let mut g = Guest::new();
    let mut unit = Unit::default();
    tables(&mut g);
    g.store_text(outer(DATA), "inside");
    g.store_text(outer(FIXED), "constant");
    unit.context(&mut g, 0);
    let entry = [SECOND.tables | AW_39 | NESTED | SSADE, FIRST.tables];
    unit.pasid(&mut g, 0, DOMAIN, entry);
    unit.enable(&mut g);

    g.read("read", iova(0), BUFFER, 8, 0);
    g.show("read.leaf", FIRST.leaf(iova(0)));
    g.show("read.page", SECOND.leaf(inner(DATA)));
    g.write("written", BUFFER, iova(0) + 8, 8, 0);
    g.show("written.bytes", outer(DATA) + 8);
    g.show("written.leaf", FIRST.leaf(iova(0)));
    // The unit wrote into the first stage's last table, so that page is dirty too; the one above it has its accessed bit from the walk.
    g.show("table.page", SECOND.leaf(inner(3)));
    g.show("written.page", SECOND.leaf(inner(DATA)));
    // Moved by the second stage alone.
    g.store(SECOND.leaf(inner(DATA)), outer(ELSEWHERE) | R | W);
    unit.flush_domain(&mut g, DOMAIN);
    g.write("moved", BUFFER, iova(0) + 8, 8, 0);
    g.show("moved.bytes", outer(ELSEWHERE) + 8);
    g.show("moved.before", outer(ELSEWHERE));
    for (n, name) in [
        (1, "outer-absent"),
        (2, "outer-read-only"),
        (3, "inner-absent"),
        (4, "inner-read-only"),
    ] {
        g.write(name, BUFFER, iova(n), 8, 0);
        unit.show_fault(&mut g, name);
    }
    g.show("constant", outer(FIXED));
    g.read("readable", iova(2), BUFFER, 8, 0);
    // The second stage does not let the unit set an accessed bit in the first stage's table.
    g.store(FIRST.leaf(iova(0)), inner(DATA) | P | RW | US);
    g.store(SECOND.leaf(inner(3)), outer(3) | R);
    unit.flush_domain(&mut g, DOMAIN);
    g.write("bit", BUFFER, iova(0), 8, 0);
    unit.show_fault(&mut g, "bit");
    g.show("bit.leaf", FIRST.leaf(iova(0)));
    let ran = g.run(&OPTIONS);

    let leaf = |bits: u64| inner(DATA) | P | RW | US | bits;
    let page = |n: u64, bits: u64| outer(n) | R | W | bits;
    ran.has(&[
        ("read", 1),
        ("read.leaf", leaf(FS_A)),
        ("read.page", page(DATA, SS_A)),
        ("written", 1),
        ("written.leaf", leaf(FS_A | FS_D)),
        ("table.page", page(3, SS_A | SS_D)),
        ("written.page", page(DATA, SS_A | SS_D)),
        ("moved", 1),
        ("moved.before", 0),
        ("outer-absent", 2),
        ("outer-absent.at", iova(1)),
        ("outer-absent.why", why(0x79, Kind::Write, None)),
        ("outer-read-only", 2),
        ("outer-read-only.at", iova(2)),
        ("outer-read-only.why", why(0x85, Kind::Write, None)),
        ("inner-absent", 2),
        ("inner-absent.at", iova(3)),
        ("inner-absent.why", why(0x71, Kind::Write, None)),
        ("inner-read-only", 2),
        ("inner-read-only.at", iova(4)),
        ("inner-read-only.why", why(0x85, Kind::Write, None)),
        ("readable", 1),
        ("bit", 2),
        ("bit.at", iova(0)),
        ("bit.why", why(0x77, Kind::Write, None)),
        ("bit.leaf", leaf(0)),
    ]);
    ran.has_text(&[
        ("written.bytes", "inside"),
        ("moved.bytes", "inside"),
        ("constant", "constant"),
    ]);
    ran.counted(&[
        ("/faults", 5),
        ("/faults_by_code/121", 1),
        ("/faults_by_code/133", 2),
        ("/faults_by_code/113", 1),
        ("/faults_by_code/119", 1),
        ("/invalidations/iotlb_domain", 2),
        ("/domains/0", DOMAIN),
    ]);
}
