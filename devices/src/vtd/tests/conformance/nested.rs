//! Nested translation. VT-d 4.1 §3.8.

use super::*;

#[test]
fn nested() {
    use Mode::Nested;
    use Reason::*;
    let mut s = Suite::default();
    for (level, (from, to)) in [(1u32, PAGE), (2, LARGE), (3, HUGE)] {
        s.add(
            Nested,
            format!("page of level {level}"),
            |_| {},
            write(from + 0xabc),
            to + 0xabc,
        );
        // The second stage maps memory by 2 MiB; take it away below what is looked at.
        let second = move |t: &Tables| t.second_entry(to, if to < RAM { 2 } else { 3 });
        if level > 1 {
            s.add(
                Nested,
                format!("SSS.2: no second-stage page behind level {level}"),
                move |t| t.set(second(t), 3, 0),
                read(from),
                SecondStageNotPresent,
            );
            s.add(
                Nested,
                format!("SGN.6: second stage read-only behind level {level}"),
                move |t| t.set(second(t), 2, 0),
                write(from),
                ScalableWrite,
            );
            s.add(
                Nested,
                format!("SGN.7: second stage write-only behind level {level}"),
                move |t| t.set(second(t), 1, 0),
                read(from),
                ScalableRead,
            );
            s.add(
                Nested,
                format!("SSS.3: second-stage reserved bit behind level {level}"),
                move |t| t.xor(second(t), 1 << 51),
                read(from),
                ScalableSecondStageReserved,
            );
        }
        s.add(
            Nested,
            format!("SGN.6: first stage read-only, level {level}"),
            move |t| t.xor(t.first_entry(from, level), first::RW),
            write(from),
            ScalableWrite,
        );
        s.add(
            Nested,
            format!("SGN.2: supervisor page, level {level}"),
            move |t| t.xor(t.first_entry(from, level), first::US),
            write(from),
            Privilege,
        );
        s.add(
            Nested,
            format!("SFS.2: first stage not present, level {level}"),
            move |t| t.xor(t.first_entry(from, level), 1),
            write(from),
            FirstStageNotPresent,
        );
        for bit in bits(&[(51, 48)]) {
            s.add(
                Nested,
                format!("SFS.5: leaf {level}: address bit {bit} beyond AW"),
                move |t| t.xor(t.first_entry(from, level), 1 << bit),
                read(from),
                FirstStageEntryWidth,
            );
        }
    }
    // Tables of the first stage in a second-stage page of their own.
    fn alone(t: &Tables, flags: u64) {
        let root = t.first;
        let leaf = t.second_entry(root, 2);
        let small = t.lab.page();
        for n in 0..512 {
            let at = (root & !0x1f_ffff) + n * 4096;
            t.lab
                .put(small + 8 * n, at | if at == root { flags } else { RW });
        }
        t.lab.put(leaf, small | RW);
    }
    s.add(
        Nested,
        "first-stage root in a page of its own",
        |t| alone(t, RW),
        read(PAGE.0),
        PAGE.1,
    );
    s.add(
        Nested,
        "SFS.6: root may not be read",
        |t| alone(t, second::W),
        read(PAGE.0),
        FirstStageRootRead,
    );
    s.add(
        Nested,
        "SFS.8: root may not be written for A",
        |t| alone(t, second::R),
        read(PAGE.0),
        FirstStageWrite,
    );
    s.add(
        Nested,
        "A set already: root need not be written",
        |t| {
            alone(t, second::R);
            t.set(t.first_entry(PAGE.0, 4), 0, first::A);
        },
        read(PAGE.0),
        PAGE.1,
    );
    s.add(
        Nested,
        "SSS.2: root not present in the second stage",
        |t| alone(t, 0),
        read(PAGE.0),
        SecondStageNotPresent,
    );
    s.add(
        Nested,
        "SFS.7: a lower table may not be read",
        |t| {
            let table = t.lab.get(t.first_entry(PAGE.0, 4)) & !0xfff;
            let small = t.lab.page();
            let leaf = t.second_entry(table, 2);
            for n in 0..512 {
                let at = (table & !0x1f_ffff) + n * 4096;
                t.lab
                    .put(small + 8 * n, at | if at == table { second::W } else { RW });
            }
            t.lab.put(leaf, small | RW);
        },
        read(PAGE.0),
        FirstStageRead,
    );
    s.add(
        Nested,
        "SPT.4: FSPTPTR beyond the second stage",
        |t| {
            t.set(t.pasid(), 7 << 2, 1 << 2);
            t.set(t.pasid() + 16, !0xfff, 1 << 39);
        },
        read(PAGE.0),
        PasidInvalid,
    );
    s.add(
        Nested,
        "SFS.4: FSPTPTR leads nowhere",
        |t| {
            t.lab.map_second(t.second, 4, NOWHERE, NOWHERE, 3, RW);
            t.set(t.pasid() + 16, !0xfff, NOWHERE);
        },
        read(PAGE.0),
        FirstStageRootAccess,
    );
    s.add(
        Nested,
        "SSS.5: second-stage A clear, not snooped",
        |t| {
            t.set(t.pasid(), 0, Pe::SSADE);
            t.set(t.pasid() + 8, Pe::PWSNP, 0);
        },
        read(PAGE.0),
        SecondStageNoSnoop,
    );
    s.add(
        Nested,
        "SGN.8: output in the interrupt range",
        |t| {
            t.lab
                .map_second(t.second, 4, 0x8000_0000, 0xfee0_0000, 1, RW);
            t.lab
                .map_first(t.first, 4, 0x7000, 0x8000_0000, 1, first::RW | first::US);
        },
        write(0x7000),
        ScalableInterruptAddress,
    );
    for bit in 47..64 {
        s.add(
            Nested,
            format!("SGN.1: address bit {bit}"),
            |_| {},
            read(PAGE.0 | 1 << bit),
            NotCanonical,
        );
    }
    s.run("§3.8", 50);
}
