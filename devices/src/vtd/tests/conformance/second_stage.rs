//! The second stage. VT-d 4.1 §3.7, §9.8.

use super::*;

#[test]
fn second_stage_of_legacy_mode() {
    use Mode::Legacy;
    use Reason::*;
    second_stage_common(
        Legacy,
        SecondStageReserved,
        SecondStageAccess,
        Write,
        Read,
        AddressBeyondWidth,
        InterruptAddress,
    );
    let mut s = Suite::default();
    s.add(Legacy, "LGN.2: write to a hole", |_| {}, write(HOLE), Write);
    s.add(Legacy, "LGN.3: read of a hole", |_| {}, read(HOLE), Read);
    s.add(
        Legacy,
        "LGN.2: AtomicOp to a hole",
        |_| {},
        op(Operation::Atomic, HOLE),
        Write,
    );
    s.add(
        Legacy,
        "accessed and dirty bits are ignored",
        |t| t.xor(t.second_entry(PAGE.0, 1), second::A | second::D),
        write(PAGE.0),
        PAGE.1,
    );
    s.run("§3.7", 4);
}

#[test]
fn second_stage_of_scalable_mode() {
    use Mode::Second;
    use Reason::*;
    second_stage_common(
        Second,
        ScalableSecondStageReserved,
        ScalableSecondStageAccess,
        ScalableWrite,
        ScalableRead,
        SecondStageWidth,
        ScalableInterruptAddress,
    );
    let mut s = Suite::default();
    s.add(
        Second,
        "SSS.2: write to a hole",
        |_| {},
        write(HOLE),
        SecondStageNotPresent,
    );
    s.add(
        Second,
        "SSS.2: read of a hole",
        |_| {},
        read(HOLE),
        SecondStageNotPresent,
    );
    s.add(
        Second,
        "SSS.4: SSPTPTR is nowhere",
        |t| t.set(t.pasid(), !0xfff, NOWHERE),
        read(PAGE.0),
        SecondStageRootAccess,
    );
    s.add(
        Second,
        "SSS.5: A clear without snooping",
        |t| {
            t.set(t.pasid(), 0, Pe::SSADE);
            t.set(t.pasid() + 8, Pe::PWSNP, 0);
        },
        read(PAGE.0),
        SecondStageNoSnoop,
    );
    s.add(
        Second,
        "SSS.2: hidden by FPD of the PASID entry",
        |t| t.set(t.pasid(), 0, 2),
        read(HOLE),
        Expect::Hidden(SecondStageNotPresent),
    );
    s.add(
        Second,
        "SSS.2: hidden by FPD of the directory",
        |t| t.set(t.directory(), 0, 2),
        read(HOLE),
        Expect::Hidden(SecondStageNotPresent),
    );
    s.add(
        Second,
        "SSS.2: hidden by FPD of the context entry",
        |t| t.set(t.context(), 0, 2),
        read(HOLE),
        Expect::Hidden(SecondStageNotPresent),
    );
    s.add(
        Second,
        "SSS.2: with PASID",
        |_| {},
        read(HOLE).with_pasid(9),
        SecondStageNotPresent,
    );
    s.run("§3.7", 8);
}

/// What both modes have in common, with their codes.
fn second_stage_common(
    mode: Mode,
    reserved: Reason,
    access: Reason,
    no_write: Reason,
    no_read: Reason,
    width: Reason,
    interrupt: Reason,
) {
    let mut s = Suite::default();
    let pages = [(1u32, PAGE), (2, LARGE), (3, HUGE)];
    for (level, (from, to)) in pages {
        s.add(
            mode,
            format!("page of level {level}"),
            |_| {},
            write(from + 0xabc),
            to + 0xabc,
        );
        let leaf = move |t: &Tables| t.second_entry(from, level);
        for bit in bits(&[(51, 46)]) {
            s.add(
                mode,
                format!("leaf {level}: address bit {bit}"),
                move |t| t.xor(leaf(t), 1 << bit),
                read(from),
                reserved,
            );
        }
        for bit in 12..12 + 9 * (level - 1) {
            s.add(
                mode,
                format!("leaf {level}: page offset bit {bit}"),
                move |t| t.xor(leaf(t), 1 << bit),
                read(from),
                reserved,
            );
        }
        for bit in bits(&[(6, 2), (10, 8), (11, 11), (63, 52)]) {
            s.add(
                mode,
                format!("leaf {level}: bit {bit} is ignored"),
                move |t| t.xor(leaf(t), 1 << bit),
                read(from),
                to,
            );
        }
        s.with(
            mode,
            |c| c.snoop_control = false,
            format!("leaf {level}: SNP without ECAP.SC"),
            move |t| t.xor(leaf(t), second::SNP),
            read(from),
            reserved,
        );
        let no_dt: Change = |c| {
            c.device_tlb = false;
            c.page_requests = false;
            c.page_request_drain = false;
        };
        s.with(
            mode,
            no_dt,
            format!("leaf {level}: TM without ECAP.DT"),
            move |t| t.xor(leaf(t), second::TM),
            read(from),
            reserved,
        );
        for upper in level + 1..=4 {
            let entry = move |t: &Tables| t.second_entry(from, upper);
            for bit in bits(&[(51, 46), (11, 11), (62, 62)]) {
                s.add(
                    mode,
                    format!("level {upper} above a leaf of {level}: bit {bit}"),
                    move |t| t.xor(entry(t), 1 << bit),
                    read(from),
                    reserved,
                );
            }
            if upper == 4 {
                s.add(
                    mode,
                    format!("PS in a level {upper} entry"),
                    move |t| t.xor(entry(t), second::PS),
                    read(from),
                    reserved,
                );
            }
            let moved = move |t: &Tables| t.set(entry(t), !0xfff, NOWHERE);
            s.add(
                mode,
                format!("table below level {upper} is nowhere"),
                moved,
                read(from),
                access,
            );
            s.add(
                mode,
                format!("level {upper}: W clear"),
                move |t| t.xor(entry(t), second::W),
                write(from),
                no_write,
            );
            s.add(
                mode,
                format!("level {upper}: W clear, read"),
                move |t| t.xor(entry(t), second::W),
                read(from),
                to,
            );
            s.add(
                mode,
                format!("level {upper}: R clear"),
                move |t| t.xor(entry(t), second::R),
                read(from),
                no_read,
            );
        }
        s.add(
            mode,
            format!("leaf {level}: W clear"),
            move |t| t.xor(leaf(t), second::W),
            write(from),
            no_write,
        );
        s.add(
            mode,
            format!("leaf {level}: W clear, AtomicOp"),
            move |t| t.xor(leaf(t), second::W),
            op(Operation::Atomic, from),
            no_write,
        );
        s.add(
            mode,
            format!("leaf {level}: R clear"),
            move |t| t.xor(leaf(t), second::R),
            read(from),
            no_read,
        );
        s.add(
            mode,
            format!("leaf {level}: R clear, AtomicOp"),
            move |t| t.xor(leaf(t), second::R),
            op(Operation::Atomic, from),
            no_read,
        );
        s.add(
            mode,
            format!("leaf {level}: R clear, write"),
            move |t| t.xor(leaf(t), second::R),
            write(from),
            to,
        );
        s.add(
            mode,
            format!("leaf {level}: R clear, zero length read"),
            move |t| t.xor(leaf(t), second::R),
            op(Operation::ZeroLengthRead, from),
            to,
        );
        s.with(
            mode,
            |c| c.zero_length_read = false,
            format!("leaf {level}: R clear, zero length read, no CAP.ZLR"),
            move |t| t.xor(leaf(t), second::R),
            op(Operation::ZeroLengthRead, from),
            no_read,
        );
    }
    s.with(
        mode,
        |c| c.second_stage_1g = false,
        "1 GiB page without SSLPS",
        |_| {},
        read(HUGE.0),
        reserved,
    );
    let none: Change = |c| {
        c.second_stage_1g = false;
        c.second_stage_2m = false;
    };
    s.with(
        mode,
        none,
        "2 MiB page without SSLPS",
        |_| {},
        read(LARGE.0),
        reserved,
    );
    for bit in 48..64 {
        s.add(
            mode,
            format!("address bit {bit} beyond AW"),
            |_| {},
            read(PAGE.0 | 1 << bit),
            width,
        );
    }
    s.with(
        mode,
        |c| c.guest_address_width = 36,
        "address beyond MGAW",
        |_| {},
        read(PAGE.0 | 1 << 36),
        width,
    );
    s.with(
        mode,
        |c| c.guest_address_width = 36,
        "address within MGAW",
        |_| {},
        read(PAGE.0),
        PAGE.1,
    );
    s.add(
        mode,
        "3-level tables: bit 39 is beyond them",
        |t| {
            let at = t.second_entry(PAGE.0, 4);
            if t.mode == Mode::Legacy {
                t.set(t.context() + 8, 7, 1);
                t.set(t.context(), !3, t.lab.get(at) & !3);
            } else {
                t.set(t.pasid(), !0xfff | 7 << 2, t.lab.get(at) & !0xfff | 1 << 2);
            }
        },
        read(PAGE.0 | 1 << 39),
        width,
    );
    let to_interrupts = |t: &Tables| {
        t.lab.map_second(t.second, 4, 0x7000, 0xfee0_1000, 1, RW);
    };
    s.add(
        mode,
        "output in the interrupt range",
        to_interrupts,
        write(0x7000),
        interrupt,
    );
    s.add(
        mode,
        "output in the interrupt range, read",
        to_interrupts,
        read(0x7000),
        interrupt,
    );
    s.add(
        mode,
        "interrupt range as input",
        |_| {},
        read(0xfee0_0000),
        Reason::InterruptRangeRequest,
    );
    s.run("§3.7, §9.8", 230);
}
