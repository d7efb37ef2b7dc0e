//! Root tables, modes, legacy context entries. VT-d 4.1 §9.1 to §9.3, §11.4.5.

use super::*;

#[test]
fn root_entries() {
    use Mode::*;
    use Reason::*;
    let mut s = Suite::default();
    s.add(Legacy, "good tables", |_| {}, read(PAGE.0 + 5), PAGE.1 + 5);
    s.add(
        Legacy,
        "LRT.2: P clear",
        |t| t.xor(t.root(), 1),
        read(PAGE.0),
        RootNotPresent,
    );
    for bit in bits(&[(11, 1), (63, 46)]) {
        s.add(
            Legacy,
            format!("LRT.3: bit {bit}"),
            move |t| t.xor(t.root(), 1 << bit),
            read(PAGE.0),
            RootReserved,
        );
        s.add(
            Second,
            format!("SRT.3: bit {bit}"),
            move |t| t.xor(t.root(), 1 << bit),
            read(PAGE.0),
            ScalableRootReserved,
        );
    }
    for bit in 0..64 {
        s.add(
            Legacy,
            format!("LRT.3: bit {}", bit + 64),
            move |t| t.xor(t.root() + 8, 1 << bit),
            read(PAGE.0),
            RootReserved,
        );
    }
    s.add(
        Second,
        "SRT.2: LP clear",
        |t| t.xor(t.root(), 1),
        read(PAGE.0),
        ScalableRootNotPresent,
    );
    let upper = Request::untranslated(SourceId(0x80), PAGE.0, Operation::Read);
    s.add(
        Second,
        "SRT.2: UP clear",
        |_| {},
        upper,
        ScalableRootNotPresent,
    );
    s.add(
        Second,
        "SRT.3: upper half",
        |t| t.set(t.root() + 8, 0, 3),
        upper,
        ScalableRootReserved,
    );
    s.add(
        Legacy,
        "LCT.1: context table is nowhere",
        |t| t.set(t.root(), !1, NOWHERE),
        read(PAGE.0),
        ContextAccess,
    );
    s.add(
        Second,
        "SCT.1: context table is nowhere",
        |t| t.set(t.root(), !1, NOWHERE),
        read(PAGE.0),
        ScalableContextAccess,
    );
    let other = Request::untranslated(SourceId(0x0710), PAGE.0, Operation::Write);
    s.add(Legacy, "LRT.2: another bus", |_| {}, other, RootNotPresent);
    s.add(
        Second,
        "SRT.2: another bus",
        |_| {},
        other,
        ScalableRootNotPresent,
    );
    s.run("§9.1, §9.2", 130);
}

#[test]
fn root_table_modes() {
    let none: Change = |_| {};
    let cases: [(u64, Change, Request, Reason); 9] = [
        (2, none, read(PAGE.0), Reason::RootTableMode),
        (3, none, read(PAGE.0), Reason::AbortMode),
        (3, none, write(PAGE.0), Reason::AbortMode),
        (
            3,
            |c| c.abort_dma = false,
            read(PAGE.0),
            Reason::RootTableMode,
        ),
        (
            1,
            |c| {
                *c = Config {
                    caches: c.caches,
                    ..Config::legacy()
                }
            },
            read(PAGE.0),
            Reason::RootTableMode,
        ),
        (
            0,
            none,
            read(PAGE.0).with_pasid(1),
            Reason::PasidInLegacyMode,
        ),
        (
            0,
            none,
            write(PAGE.0).with_pasid(0),
            Reason::PasidInLegacyMode,
        ),
        (
            0,
            none,
            typed(AddressType::Translated, PAGE.0).with_pasid(3),
            Reason::PasidInLegacyMode,
        ),
        (0, none, read(PAGE.0), Reason::RootAccess),
    ];
    for (n, (mode, change, request, reason)) in cases.into_iter().enumerate() {
        let mut config = uncached();
        change(&mut config);
        let lab = Lab::new(config);
        let root = if n == 8 { NOWHERE } else { ROOT };
        lab.set_register(
            crate::vtd::spec::registers::Register::RTADDR,
            root | mode << 10,
        );
        lab.command(1 << 30);
        lab.command(1 << 31);
        let Err(Blocked::Fault(f)) = lab.unit.translate(&request) else {
            panic!("§11.4.5, case {n}");
        };
        assert_eq!(f.reason, reason, "§11.4.5, case {n}");
        let [record] = lab.take_records()[..] else {
            panic!("§11.4.5, case {n}")
        };
        assert_eq!(
            (record.code(), record.pasid()),
            (reason.code(), request.pasid.map(|p| p.0))
        );
    }
    let lab = Lab::new(uncached());
    lab.set_register(
        crate::vtd::spec::registers::Register::RTADDR,
        NOWHERE | 1 << 10,
    );
    lab.command(1 << 30);
    lab.command(1 << 31);
    assert!(lab.unit.translate(&read(0)).is_err());
    assert_eq!(
        lab.take_records()[0].code(),
        Reason::ScalableRootAccess.code(),
        "SRT.1"
    );
}

#[test]
fn context_entries() {
    use Mode::Legacy;
    use Reason::*;
    let mut s = Suite::default();
    s.add(
        Legacy,
        "LCT.2: P clear",
        |t| t.xor(t.context(), 1),
        read(PAGE.0),
        ContextNotPresent,
    );
    s.add(
        Legacy,
        "LCT.2: P clear, FPD set",
        |t| t.xor(t.context(), 3),
        read(PAGE.0),
        Expect::Hidden(ContextNotPresent),
    );
    for bit in bits(&[(11, 4), (63, 46)]) {
        s.add(
            Legacy,
            format!("LCT.3: bit {bit}"),
            move |t| t.xor(t.context(), 1 << bit),
            read(PAGE.0),
            ContextReserved,
        );
    }
    for bit in bits(&[(7, 7), (63, 24)]) {
        s.add(
            Legacy,
            format!("LCT.3: bit {}", bit + 64),
            move |t| t.xor(t.context() + 8, 1 << bit),
            read(PAGE.0),
            ContextReserved,
        );
    }
    for bit in 3..7 {
        s.add(
            Legacy,
            format!("bit {} is ignored", bit + 64),
            move |t| t.xor(t.context() + 8, 1 << bit),
            read(PAGE.0),
            PAGE.1,
        );
    }
    for bit in 16..24 {
        let small: Change = |c| c.domain_bits = 8;
        s.with(
            Legacy,
            small,
            format!("LCT.3: DID bit {} of 8 bits", bit - 8),
            move |t| t.xor(t.context() + 8, 1 << bit),
            read(PAGE.0),
            ContextReserved,
        );
    }
    for aw in [0u64, 4, 5, 6, 7] {
        s.add(
            Legacy,
            format!("LCT.4.1: AW {aw}"),
            move |t| t.set(t.context() + 8, 7, aw),
            read(PAGE.0),
            ContextInvalid,
        );
    }
    s.with(
        Legacy,
        |c| c.second_stage_levels = vec![3],
        "LCT.4.1: AW not offered",
        |_| {},
        read(PAGE.0),
        ContextInvalid,
    );
    s.add(
        Legacy,
        "LCT.4.2: TT 11",
        |t| t.set(t.context(), 0xc, 0xc),
        read(PAGE.0),
        ContextInvalid,
    );
    s.with(
        Legacy,
        |c| c.pass_through = false,
        "LCT.4.2: TT 10 without ECAP.PT",
        |t| t.set(t.context(), 0xc, 8),
        read(PAGE.0),
        ContextInvalid,
    );
    let no_dt: Change = |c| {
        c.device_tlb = false;
        c.page_requests = false;
        c.page_request_drain = false;
    };
    s.with(
        Legacy,
        no_dt,
        "LCT.4.2: TT 01 without ECAP.DT",
        |t| t.set(t.context(), 0xc, 4),
        read(PAGE.0),
        ContextInvalid,
    );
    s.add(
        Legacy,
        "LCT.4.3: SSPTPTR is nowhere",
        |t| t.set(t.context(), !3, NOWHERE),
        read(PAGE.0),
        ContextInvalid,
    );
    for tt in [0u64, 2] {
        let set = move |t: &Tables| t.set(t.context(), 0xc, tt << 2);
        s.add(
            Legacy,
            format!("LCT.5: translation request, TT {tt}"),
            set,
            typed(AddressType::TranslationRequest, PAGE.0),
            RequestBlocked,
        );
        s.add(
            Legacy,
            format!("LCT.5: translated request, TT {tt}"),
            set,
            typed(AddressType::Translated, PAGE.0),
            RequestBlocked,
        );
    }
    s.add(
        Legacy,
        "LCT.5: hidden by FPD",
        |t| t.xor(t.context(), 2),
        typed(AddressType::Translated, PAGE.0),
        Expect::Hidden(RequestBlocked),
    );
    s.add(
        Legacy,
        "LCT.3: hidden by FPD",
        |t| t.xor(t.context(), 0x12),
        read(PAGE.0),
        Expect::Hidden(ContextReserved),
    );
    s.add(
        Legacy,
        "LCT.4: hidden by FPD",
        |t| t.xor(t.context(), 0xe),
        read(PAGE.0),
        Expect::Hidden(ContextInvalid),
    );
    s.add(
        Legacy,
        "TT 01 translates",
        |t| t.set(t.context(), 0xc, 4),
        read(PAGE.0),
        PAGE.1,
    );
    s.add(
        Legacy,
        "TT 01: translated requests pass",
        |t| t.set(t.context(), 0xc, 4),
        typed(AddressType::Translated, 0x5678),
        0x5678,
    );
    s.add(
        Legacy,
        "LGN.1.3: translated beyond HAW",
        |t| t.set(t.context(), 0xc, 4),
        typed(AddressType::Translated, 1 << 46),
        AddressBeyondWidth,
    );
    let pass = |t: &Tables| t.set(t.context(), 0xc, 8);
    s.add(Legacy, "TT 10 passes", pass, write(HOLE), HOLE);
    s.add(
        Legacy,
        "TT 10 ignores SSPTPTR",
        |t| t.set(t.context(), !3, 8 | 1 << 50),
        write(HOLE),
        HOLE,
    );
    s.add(
        Legacy,
        "LGN.1.2: TT 10 beyond HAW",
        pass,
        write(1 << 46),
        AddressBeyondWidth,
    );
    s.run("§9.3", 95);
}
