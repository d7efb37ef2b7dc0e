use super::*;

/// Everything measured once: viommu's value is half of QEMU's.
fn full() -> Samples {
    let mut s = Samples::default();
    let pieces = PIECES[1..].iter().map(|p| p.name);
    let boots = [
        ENTRY,
        INIT,
        OFF,
        TOTAL,
        CPU,
        PEAK,
        MIPS_INIT,
        MIPS_OFF,
        READ_DDW,
        READ_DEFAULT,
    ];
    for what in pieces.chain(boots) {
        for (who, value) in [
            (Viommu, 1.0),
            (Interpreter, 3.0),
            (Qemu, 2.0),
            (QemuVof, 2.0),
        ] {
            s.push(what, who, value);
        }
    }
    s
}

#[test]
fn every_table_and_every_target() {
    let text = all(&full(), &full()).unwrap();
    for wanted in [
        "| kernel entry to init, s | 1.00 | 3.00 | 2.00 | 2.00 | 0.50 | 0.50 |",
        "| 20000 blocks, each in another page than the one before | 1.00 | 2.00 | 0.50 | 0.50 |",
        "| H_PUT_TCE_INDIRECT x512 | 1.00 | 2.00 | 0.50 | 0.50 |",
        "| disable_ddw, s | 1.00 | 2.00 | 0.50 | 0.50 |",
        "| kernel entry to init | at most 0.8 | 0.50 | yes |",
        "| rate of 20000 blocks | at least 3 | 0.50 | **no** |",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
    }
    assert_eq!(text.matches("| yes |").count(), 11, "{text}");
}

#[test]
fn limits_are_where_they_are_said_to_be() {
    assert!(Wanted::AtMost(0.5).holds(0.5) && !Wanted::AtMost(0.5).holds(0.51));
    assert!(Wanted::AtLeast(3.0).holds(3.0) && !Wanted::AtLeast(3.0).holds(2.99));
    assert!(!Wanted::Below(1.0).holds(1.0) && Wanted::Below(1.0).holds(0.99));
}

#[test]
fn a_part_of_the_measurements_gives_a_part_of_the_tables() {
    let mut s = Samples::default();
    s.push(READ_DDW, Viommu, 1.0);
    s.push(READ_DDW, QemuVof, 2.0);
    assert!(all(&s, &s).is_err(), "the other read is missing");
    s.push(READ_DEFAULT, Viommu, 1.0);
    s.push(READ_DEFAULT, QemuVof, 2.0);
    let text = all(&s, &s).unwrap();
    assert!(
        !text.contains("### Boot") && text.contains("### NVMe"),
        "{text}"
    );
}

#[test]
fn tables_go_between_the_marks() {
    let document = format!("top\n{BEGIN}\nold\n{END}\nbottom\n");
    let once = insert(&document, "new\n").unwrap();
    assert_eq!(once, format!("top\n{BEGIN}\n\nnew\n\n{END}\nbottom\n"));
    assert_eq!(insert(&once, "new\n").unwrap(), once);
    assert!(insert("no marks", "new").is_err());
}
