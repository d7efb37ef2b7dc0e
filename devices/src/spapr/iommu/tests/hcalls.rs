//! Every return code of each TCE hypercall, and the caps.

use super::*;

#[test]
fn other_hypercalls_are_not_ours() {
    let u = unit();
    assert_eq!(u.iommu.hcall(H_CEDE, &[], &u.ram), None);
    assert!(u.iommu.report().hcalls.is_empty());
}

#[test]
fn put_and_get() {
    let u = unit();
    assert_eq!(u.put(DEFAULT, 0x3000, 0x5000 | RW), H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 0x3000), Ok(0x5003));
    assert_eq!(u.get(DEFAULT, 0x4000), Ok(0));
    assert_eq!(u.get(VIO, 0x3000), Ok(0), "each LIOBN has its own table");
    assert_eq!(u.put(VIO, 0x3000, 0x6000 | RW), H_SUCCESS);
    assert_eq!(u.get(VIO, 0x3000), Ok(0x6003));
    assert_eq!(
        u.put(DEFAULT, 0x3000, 0x7700),
        H_SUCCESS,
        "no access: any address"
    );
    assert_eq!(u.get(DEFAULT, 0x3000), Ok(0x7700));
    assert_eq!(
        u.put(DEFAULT, (1 << 30) - 0x1000, RAM - 0x1000 + RW),
        H_SUCCESS,
        "last entry, last page"
    );
}

#[test]
fn put_and_get_refuse() {
    let u = unit();
    let bad: [(u64, u64, u64); 9] = [
        (0x1234, 0, 1),
        (u64::from(DEFAULT) | 1 << 32, 0, 1),
        (1 << 63 | u64::from(DEFAULT), 0, 1),
        (DEFAULT.into(), 1 << 30, 1),
        (DEFAULT.into(), u64::MAX, 1),
        (DEFAULT.into(), 0x800, 1),
        (DEFAULT.into(), 0, RAM | 1),
        (DEFAULT.into(), 0, 0xffff_ffff_ffff_f003),
        (DEFAULT.into(), 0, 0x1000 | 4 | 1),
    ];
    for (liobn, ioba, tce) in bad {
        assert_eq!(
            u.unchanged(|| u.status(H_PUT_TCE, &[liobn, ioba, tce])),
            H_PARAMETER,
            "{liobn:#x} {ioba:#x} {tce:#x}"
        );
    }
    for (liobn, ioba, _) in &bad[..6] {
        assert_eq!(u.status(H_GET_TCE, &[*liobn, *ioba]), H_PARAMETER);
    }
    assert_eq!(
        u.status(H_PUT_TCE, &[]),
        H_PARAMETER,
        "missing arguments are zero, and LIOBN 0 names nothing"
    );
}

#[test]
fn stuff() {
    let u = unit();
    assert_eq!(u.stuff(DEFAULT, 0x1ff000, 0x9000 | 1, 512), H_SUCCESS);
    assert_eq!(
        (u.get(DEFAULT, 0x1fe000), u.get(DEFAULT, 0x1ff000)),
        (Ok(0), Ok(0x9001))
    );
    assert_eq!(
        (u.get(DEFAULT, 0x3fe000), u.get(DEFAULT, 0x3ff000)),
        (Ok(0x9001), Ok(0))
    );
    assert_eq!(u.iommu.report().chunks, 3, "two leaves, and one above");
    assert_eq!(u.stuff(DEFAULT, 0x1ff000, 0, 512), H_SUCCESS);
    assert_eq!(u.iommu.report().chunks, 0, "cleared entries cost nothing");
    assert_eq!(u.stuff(DEFAULT, 0, 0x9001, 0), H_SUCCESS);

    let d = u64::from(DEFAULT);
    let end = 1 << 30;
    for (args, want) in [
        ([1, 0, 0, 1], H_PARAMETER),
        ([1, 0, 0, 513], H_PARAMETER),
        ([1 << 63, 0, 0, 1], H_PARAMETER),
        ([d, 0, 0, 513], H_P4),
        ([d, 0, 0, u64::MAX], H_P4),
        ([d, end - 0x1000, 0x9001, 2], H_PARAMETER),
        ([d, end, 0, 0], H_PARAMETER),
        ([d, 0x10, 0, 1], H_PARAMETER),
        ([d, 0, RAM | 2, 1], H_PARAMETER),
    ] {
        assert_eq!(
            u.unchanged(|| u.status(H_STUFF_TCE, &args)),
            want,
            "{args:x?}"
        );
    }
}

#[test]
fn stuff_with_the_wrong_page_shift_fails() {
    let u = unit();
    let (liobn, base) = u.create(16, 24).unwrap();
    assert_eq!(u.stuff(liobn, base + 0x1000, 0, 1), H_PARAMETER);
    assert_eq!(u.stuff(liobn, base + 0x10000, 0, 1), H_SUCCESS);
    assert_eq!(
        u.put(liobn, base, 0x1000 | RW),
        H_PARAMETER,
        "a 4K page is no 64K page"
    );
    assert_eq!(u.put(liobn, base, 0x10000 | RW), H_SUCCESS);
}

#[test]
fn indirect() {
    let u = unit();
    let d = u64::from(DEFAULT);
    let tces: Vec<u64> = (0..512).map(|i| i << 12 | 3).collect();
    u.list(0x8000, &tces);
    assert_eq!(u.indirect(d, 0x1f0000, 0x8000, 512), H_SUCCESS);
    for (i, t) in tces.iter().enumerate() {
        assert_eq!(u.get(DEFAULT, 0x1f0000 + 0x1000 * i as u64), Ok(*t));
    }
    assert_eq!(u.indirect(d, 0, 0x8000, 0), H_SUCCESS);
    for (args, want) in [
        ([1, 0, 0x8000, 1], H_PARAMETER),
        ([1 << 32 | d, 0, 0x8000, 1], H_PARAMETER),
        ([1 << 63 | d, 0, 0x8000, 1], H_FUNCTION),
        ([u64::MAX, 0, 0x8000, 1], H_FUNCTION),
        ([d, 0, 0x8000, 513], H_PARAMETER),
        ([d, 0, 0x8000, u64::MAX], H_PARAMETER),
        ([d, 0, 0x8008, 1], H_PARAMETER),
        ([d, 0, RAM, 1], H_PARAMETER),
        ([d, 0, !0xfff, 1], H_PARAMETER),
        ([d, 4, 0x8000, 1], H_PARAMETER),
        ([d, (1 << 30) - 0x3000, 0x8000, 4], H_PARAMETER),
    ] {
        assert_eq!(
            u.unchanged(|| u.indirect(args[0], args[1], args[2], args[3])),
            want,
            "{args:x?}"
        );
    }
    u.list(0x8000 + 8 * 100, &[RAM | 1]);
    assert_eq!(
        u.unchanged(|| u.indirect(d, 0, 0x8000, 512)),
        H_PARAMETER,
        "the last bad entry is seen before the first is set"
    );
    assert_eq!(u.indirect(d, 0, 0x8000, 100), H_SUCCESS);
}

#[test]
fn tables_are_capped() {
    let u = Unit::with(1 << 20, Personality::KVM);
    let (liobn, base) = u.create(12, 50).unwrap();
    let cap = Budget::for_ram(1 << 20).per_table;
    let chunk = 512 << 12;
    // Of five levels; all but one leaf that will fit, next to each other.
    let used = || u.iommu.report().chunks;
    let mut leaves = 0;
    while used() + 1 < cap {
        assert_eq!(u.put(liobn, base + leaves * chunk, RW), H_SUCCESS);
        leaves += 1;
    }
    assert_eq!((leaves + leaves.div_ceil(512) + 3) as usize, cap - 1);
    let next = base + (leaves + 1) * chunk;
    u.list(0x1000, &[0x1003; 512]);
    assert_eq!(
        u.unchanged(|| u.indirect(liobn.into(), next + 0x1000, 0x1000, 512)),
        H_NOT_ENOUGH_RESOURCES
    );
    assert_eq!(
        u.unchanged(|| u.stuff(liobn, next + 0x1000, RW, 512)),
        H_NOT_ENOUGH_RESOURCES
    );
    assert_eq!(
        u.unchanged(|| u.put(liobn, base + (1 << 49), RW)),
        H_NOT_ENOUGH_RESOURCES,
        "far away a leaf needs more chunks above it"
    );
    assert_eq!(u.stuff(liobn, next, RW, 512), H_SUCCESS);
    assert_eq!(
        u.unchanged(|| u.put(liobn, next + chunk, RW)),
        H_NOT_ENOUGH_RESOURCES
    );
    assert_eq!(
        u.put(liobn, next, 0x2003),
        H_SUCCESS,
        "what exists may change"
    );
    assert_eq!(u.put(liobn, base, 0), H_SUCCESS);
    assert_eq!(u.put(liobn, next + chunk, RW), H_SUCCESS);
    assert_eq!(u.iommu.report().hcall_errors["H_PUT_TCE -44"], 2);
    assert_eq!(u.remove(liobn), 0);
    assert_eq!(u.iommu.report().chunks, 0);
}

#[test]
fn the_unit_is_capped_too() {
    let mut chunks = Chunks::new(1 << 20, 1 << 20);
    (chunks.budget.per_table, chunks.budget.per_unit) = (6, 9);
    // Of three levels.
    let (mut a, mut b) = (TceTable::new(1 << 20), TceTable::new(1 << 20));
    for i in 0..3 {
        assert_eq!(a.fill(i * 512, 1, 1, &mut chunks), Ok(false));
    }
    assert_eq!(b.write(511, &[1, 1], &mut chunks), Ok(false));
    assert_eq!((a.chunks(), b.chunks()), (5, 4));
    assert_eq!(b.fill(5000, 1, 1, &mut chunks), Err(TableFull));
    a.clear(&mut chunks);
    assert_eq!((chunks.budget.used, a.mapped(), a.peak()), (4, 0, 3));
    assert_eq!(b.fill(5000, 1, 1, &mut chunks), Ok(false));
    assert_eq!(
        b.fill(1 << 19, 1, 1, &mut chunks),
        Err(TableFull),
        "six, and two more"
    );
}

/// What one table has given back another one uses, and finds it empty.
#[test]
fn chunks_are_used_again() {
    let mut chunks = Chunks::new(1 << 20, 1 << 20);
    let (mut a, mut b) = (TceTable::new(1 << 40), TceTable::new(300));
    for round in 0..3 {
        for i in 0..100 {
            assert_eq!(a.write(i << 30 | i, &[i + 1], &mut chunks), Ok(false));
        }
        if round == 1 {
            for i in 0..100 {
                // Entry i was i + 1: two of its lowest bits allow access.
                let mapped = (i + 1) & 3 != 0;
                assert_eq!(a.write(i << 30 | i, &[0], &mut chunks), Ok(mapped));
            }
        }
        a.clear(&mut chunks);
        assert_eq!(chunks.budget.used, 0);
        assert_eq!(b.fill(299, 1, 7, &mut chunks), Ok(false));
        assert_eq!(b.entries(chunks.store()).count(), 1);
        assert_eq!(b.set(299, 7, &mut chunks), Ok(false), "the same");
        assert_eq!(b.fill(299, 1, 0, &mut chunks), Ok(true));
        assert_eq!((b.chunks(), b.entries(chunks.store()).count()), (0, 0));
    }
}

#[test]
fn entries_are_counted_by_call() {
    let u = unit();
    let list = || u.indirect(DEFAULT.into(), 0, 0x1000, 8);
    u.list(0x1000, &[RW; 8]);
    assert_eq!(u.put(DEFAULT, 0, RW), H_SUCCESS);
    assert_eq!(list(), H_SUCCESS);
    assert_eq!(u.stuff(DEFAULT, 0, 0, 512), H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 0), Ok(0));
    // Those that fail set none.
    assert_eq!(u.stuff(DEFAULT, 0, 0, 513), H_P4);
    u.refuse(&["indirect:1=-44"]);
    assert_eq!(list(), H_NOT_ENOUGH_RESOURCES);
    let report = u.iommu.report();
    let wanted = [
        ("H_PUT_TCE", 1),
        ("H_PUT_TCE_INDIRECT", 8),
        ("H_STUFF_TCE", 512),
    ];
    assert_eq!(report.hcall_entries, wanted.into());
    assert_eq!(report.hcalls["H_PUT_TCE_INDIRECT"], 2);
    assert_eq!(report.hcalls["H_GET_TCE"], 1);
}
