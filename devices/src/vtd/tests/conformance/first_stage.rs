//! The first stage. VT-d 4.1 §3.6, §9.7.

use super::*;

#[test]
fn first_stage() {
    use Mode::First;
    use Reason::*;
    let mut s = Suite::default();
    for (level, (from, to)) in [(1u32, PAGE), (2, LARGE), (3, HUGE)] {
        s.add(
            First,
            format!("page of level {level}"),
            |_| {},
            write(from + 0xabc),
            to + 0xabc,
        );
        let leaf = move |t: &Tables| t.first_entry(from, level);
        for bit in bits(&[(51, 46)]) {
            s.add(
                First,
                format!("SFS.3: leaf {level}: address bit {bit}"),
                move |t| t.xor(leaf(t), 1 << bit),
                read(from),
                FirstStageReserved,
            );
        }
        for bit in 13..(12 + 9 * (level - 1)).max(13) {
            s.add(
                First,
                format!("SFS.3: leaf {level}: page offset bit {bit}"),
                move |t| t.xor(leaf(t), 1 << bit),
                read(from),
                FirstStageReserved,
            );
        }
        for bit in bits(&[(4, 3), (6, 5), (11, 8), (62, 52)]) {
            s.add(
                First,
                format!("leaf {level}: bit {bit} is ignored"),
                move |t| t.xor(leaf(t), 1 << bit),
                read(from),
                to,
            );
        }
        for l in level..=4 {
            let entry = move |t: &Tables| t.first_entry(from, l);
            let name = format!("level {l} above {level}");
            s.add(
                First,
                format!("SFS.2: {name}: P clear"),
                move |t| t.xor(entry(t), 1),
                read(from),
                FirstStageNotPresent,
            );
            s.add(
                First,
                format!("SFS.3: {name}: XD without NXE"),
                move |t| t.xor(entry(t), first::XD),
                read(from),
                FirstStageReserved,
            );
            s.add(
                First,
                format!("SGN.6: {name}: R/W clear"),
                move |t| t.xor(entry(t), first::RW),
                write(from),
                ScalableWrite,
            );
            s.add(
                First,
                format!("{name}: R/W clear, read"),
                move |t| t.xor(entry(t), first::RW),
                read(from),
                to,
            );
            s.add(
                First,
                format!("SGN.2: {name}: U/S clear"),
                move |t| t.xor(entry(t), first::US),
                read(from),
                Privilege,
            );
            let supervisor = move |t: &Tables| {
                t.xor(entry(t), first::US | first::RW);
                t.set(t.context() + 8, 0, Sce::RID_PRIV);
                t.set(t.pasid() + 16, 0, Pe::SRE);
            };
            s.add(
                First,
                format!("{name}: supervisor page, privileged write, WPE clear"),
                supervisor,
                write(from),
                to,
            );
            s.add(
                First,
                format!("SGN.6: {name}: supervisor write, WPE set"),
                move |t| {
                    supervisor(t);
                    t.set(t.pasid() + 16, 0, Pe::WPE);
                },
                write(from),
                ScalableWrite,
            );
            let execute = Request {
                execute: true,
                ..read(from)
            };
            let enabled = move |t: &Tables| t.set(t.pasid() + 16, 0, Pe::ERE | Pe::NXE);
            s.add(First, format!("{name}: execute"), enabled, execute, to);
            s.add(
                First,
                format!("SGN.3: {name}: execute, XD"),
                move |t| {
                    enabled(t);
                    t.xor(entry(t), first::XD);
                },
                execute,
                Execute,
            );
            s.add(
                First,
                format!("{name}: read, XD"),
                move |t| {
                    enabled(t);
                    t.xor(entry(t), first::XD);
                },
                read(from),
                to,
            );
            if l > level {
                s.add(
                    First,
                    format!("SFS.1: table below {name} is nowhere"),
                    move |t| t.set(entry(t), !0xfff, NOWHERE),
                    read(from),
                    FirstStageAccess,
                );
            }
        }
        s.add(
            First,
            format!("SFS.3: PS in level 4 above {level}"),
            move |t| t.xor(t.first_entry(from, 4), first::PS),
            read(from),
            FirstStageReserved,
        );
        let smep = move |t: &Tables| {
            t.set(t.context() + 8, 0, Sce::RID_PRIV);
            t.set(t.pasid() + 16, 0, Pe::SRE | Pe::ERE | Pe::SMEP);
        };
        let fetch = Request {
            execute: true,
            ..read(from)
        };
        s.add(
            First,
            format!("SGN.3: SMEP, user page of level {level}"),
            smep,
            fetch,
            Execute,
        );
        s.add(
            First,
            format!("SMEP, supervisor page of level {level}"),
            move |t| {
                smep(t);
                t.xor(leaf(t), first::US);
            },
            fetch,
            to,
        );
    }
    s.with(
        First,
        |c| c.first_stage_1g = false,
        "SFS.3: 1 GiB page without CAP.FS1GP",
        |_| {},
        read(HUGE.0),
        FirstStageReserved,
    );
    s.add(
        First,
        "SFS.2: hole",
        |_| {},
        read(HOLE),
        FirstStageNotPresent,
    );
    s.add(
        First,
        "SFS.4: FSPTPTR is nowhere",
        |t| t.set(t.pasid() + 16, !0xfff, NOWHERE),
        read(PAGE.0),
        FirstStageRootAccess,
    );
    for bit in 47..64 {
        s.add(
            First,
            format!("SGN.1: address bit {bit}"),
            |_| {},
            read(PAGE.0 | 1 << bit),
            NotCanonical,
        );
    }
    s.add(
        First,
        "canonical upper half",
        |_| {},
        read(0xffff_8000_0000_1000),
        FirstStageNotPresent,
    );
    for bit in 56..64 {
        s.add(
            First,
            format!("SGN.1: 5 levels, address bit {bit}"),
            |t| t.set(t.pasid() + 16, 0, 4),
            read(PAGE.0 | 1 << bit),
            NotCanonical,
        );
    }
    let no_snoop = |t: &Tables| t.set(t.pasid() + 8, Pe::PWSNP, 0);
    s.add(
        First,
        "SFS.9: A clear, page walks not snooped",
        no_snoop,
        read(PAGE.0),
        FirstStageNoSnoop,
    );
    let accessed = move |t: &Tables| {
        no_snoop(t);
        for l in 1..=4 {
            t.set(t.first_entry(PAGE.0, l), 0, first::A);
        }
    };
    s.add(
        First,
        "A set, page walks not snooped",
        accessed,
        read(PAGE.0),
        PAGE.1,
    );
    s.add(
        First,
        "SFS.9: D clear, page walks not snooped",
        accessed,
        write(PAGE.0),
        FirstStageNoSnoop,
    );
    s.add(
        First,
        "SFS.9: EA clear, page walks not snooped",
        move |t| {
            accessed(t);
            t.set(t.pasid() + 16, 0, Pe::EAFE);
        },
        read(PAGE.0),
        FirstStageNoSnoop,
    );
    s.add(
        First,
        "SGN.8: output in the interrupt range",
        |t| {
            t.lab
                .map_first(t.first, 4, 0x7000, 0xfee0_1000, 1, first::RW | first::US);
        },
        write(0x7000),
        ScalableInterruptAddress,
    );
    s.add(
        First,
        "interrupt range with PASID is an address",
        |t| {
            t.lab
                .map_first(t.first, 4, 0xfee0_0000, 0x5000, 1, first::RW | first::US);
        },
        write(0xfee0_0000).with_pasid(9),
        0x5000,
    );
    s.run("§3.6, §9.7", 200);
}
