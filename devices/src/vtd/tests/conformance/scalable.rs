//! Scalable-mode context entries, PASID directory and table. VT-d 4.1 §9.4 to §9.6.

use super::*;

#[test]
fn scalable_context_entries() {
    use Mode::Second;
    use Reason::*;
    let mut s = Suite::default();
    s.add(Second, "good tables", |_| {}, read(PAGE.0 + 8), PAGE.1 + 8);
    s.add(
        Second,
        "SCT.2: P clear",
        |t| t.xor(t.context(), 1),
        read(PAGE.0),
        ScalableContextNotPresent,
    );
    s.add(
        Second,
        "SCT.2: hidden by FPD",
        |t| t.xor(t.context(), 3),
        read(PAGE.0),
        Expect::Hidden(ScalableContextNotPresent),
    );
    for bit in bits(&[(8, 5), (63, 46)]) {
        s.add(
            Second,
            format!("SCT.3: bit {bit}"),
            move |t| t.xor(t.context(), 1 << bit),
            read(PAGE.0),
            ScalableContextReserved,
        );
    }
    for bit in bits(&[(63, 21)]) {
        s.add(
            Second,
            format!("SCT.3: bit {}", bit + 64),
            move |t| t.xor(t.context() + 8, 1 << bit),
            read(PAGE.0),
            ScalableContextReserved,
        );
    }
    for bit in 0..128u64 {
        s.add(
            Second,
            format!("SCT.3: bit {}", bit + 128),
            move |t| t.xor(t.context() + 16 + bit / 64 * 8, 1 << (bit % 64)),
            read(PAGE.0),
            ScalableContextReserved,
        );
    }
    s.add(
        Second,
        "SCT.3: hidden by FPD",
        |t| t.xor(t.context(), 0x22),
        read(PAGE.0),
        Expect::Hidden(ScalableContextReserved),
    );
    let no_dt: Change = |c| {
        c.device_tlb = false;
        c.page_requests = false;
        c.page_request_drain = false;
    };
    s.with(
        Second,
        no_dt,
        "SCT.3: DTE without ECAP.DT",
        |t| t.set(t.context(), 0, Sce::DTE),
        read(PAGE.0),
        ScalableContextReserved,
    );
    let no_prs: Change = |c| {
        c.page_requests = false;
        c.page_request_drain = false;
    };
    s.with(
        Second,
        no_prs,
        "SCT.3: PRE without ECAP.PRS",
        |t| t.set(t.context(), 0, Sce::PRE),
        read(PAGE.0),
        ScalableContextReserved,
    );
    s.with(
        Second,
        |c| c.rid_pasid = false,
        "SCT.3: RID_PASID without ECAP.RPS",
        |_| {},
        read(PAGE.0),
        ScalableContextReserved,
    );
    s.with(
        Second,
        |c| c.rid_priv = false,
        "SCT.3: RID_PRIV without ECAP.RPRIVS",
        |t| t.set(t.context() + 8, 0, Sce::RID_PRIV),
        read(PAGE.0),
        ScalableContextReserved,
    );
    s.with(
        Second,
        |c| c.pasid_bits = 16,
        "SCT.4: PDTS beyond PSS",
        |t| t.set(t.context(), 7 << 9, 4 << 9),
        read(PAGE.0),
        ScalableContextInvalid,
    );
    s.add(
        Second,
        "SCT.5: translation request without DTE",
        |_| {},
        typed(AddressType::TranslationRequest, PAGE.0),
        DeviceTlbDisabled,
    );
    s.add(
        Second,
        "SCT.5: translated request without DTE",
        |_| {},
        typed(AddressType::Translated, PAGE.0),
        DeviceTlbDisabled,
    );
    s.add(
        Second,
        "translated request with DTE",
        |t| t.set(t.context(), 0, Sce::DTE),
        typed(AddressType::Translated, 0x9000),
        0x9000,
    );
    s.add(
        Second,
        "SGN.4: translated beyond HAW",
        |t| t.set(t.context(), 0, Sce::DTE),
        typed(AddressType::Translated, 1 << 46),
        HostAddressWidth,
    );
    s.add(
        Second,
        "SCT.6: PASID without PASIDE",
        |t| t.set(t.context(), Sce::PASIDE, 0),
        read(PAGE.0).with_pasid(9),
        PasidDisabled,
    );
    s.add(
        Second,
        "PASID with PASIDE",
        |_| {},
        read(PAGE.0).with_pasid(9),
        PAGE.1,
    );
    s.add(
        Second,
        "SCT.7: PASID beyond PDTS",
        |t| t.set(t.context(), 7 << 9, 0),
        read(PAGE.0).with_pasid(1 << 13),
        PasidTooLarge,
    );
    s.add(
        Second,
        "SCT.7: largest PASID of PDTS",
        |t| t.set(t.context(), 7 << 9, 0),
        read(PAGE.0).with_pasid((1 << 13) - 1),
        PasidDirectoryNotPresent,
    );
    for request in [read(PAGE.0), read(PAGE.0).with_pasid(9)] {
        s.add(
            Second,
            "SCT.4: RID_PASID beyond PDTS",
            |t| {
                t.set(t.context(), 7 << 9, 0);
                t.set(t.context() + 8, Sce::RID_PASID, 1 << 13);
            },
            request,
            ScalableContextInvalid,
        );
        s.add(
            Second,
            "SCT.4: PRE without DTE",
            |t| t.set(t.context(), 0, Sce::PRE),
            request,
            ScalableContextInvalid,
        );
    }
    s.add(
        Second,
        "PRE with DTE",
        |t| t.set(t.context(), 0, Sce::PRE | Sce::DTE),
        read(PAGE.0),
        PAGE.1,
    );
    s.add(
        Second,
        "SCT.9: a request with the PASID of those without",
        |_| {},
        read(PAGE.0).with_pasid(RID_PASID),
        RidPasid,
    );
    s.add(
        Second,
        "SCT.9: hidden by FPD",
        |t| t.xor(t.context(), 2),
        read(PAGE.0).with_pasid(RID_PASID),
        Expect::Hidden(RidPasid),
    );
    s.with(
        Second,
        |c| c.rid_pasid = false,
        "SCT.9: without ECAP.RPS RID_PASID is 0",
        |t| t.set(t.context() + 8, Sce::RID_PASID, 0),
        read(PAGE.0).with_pasid(0),
        RidPasid,
    );
    s.add(
        Second,
        "SGN.8: translated request to the interrupt range",
        |t| t.set(t.context(), 0, Sce::DTE),
        typed(AddressType::Translated, 0xfee0_1000),
        ScalableInterruptAddress,
    );
    s.run("§9.4", 200);
}

#[test]
fn pasid_entries() {
    use Mode::*;
    use Reason::*;
    let mut s = Suite::default();
    s.add(
        Second,
        "SPD.1: directory is nowhere",
        |t| t.set(t.context(), !0xfff, NOWHERE),
        read(PAGE.0),
        PasidDirectoryAccess,
    );
    s.add(
        Second,
        "SPD.2: P clear",
        |t| t.xor(t.directory(), 1),
        read(PAGE.0),
        PasidDirectoryNotPresent,
    );
    s.add(
        Second,
        "SPD.2: hidden by its FPD",
        |t| t.xor(t.directory(), 3),
        read(PAGE.0),
        Expect::Hidden(PasidDirectoryNotPresent),
    );
    for bit in bits(&[(11, 2), (63, 46)]) {
        s.add(
            Second,
            format!("SPD.3: bit {bit}"),
            move |t| t.xor(t.directory(), 1 << bit),
            read(PAGE.0),
            PasidDirectoryReserved,
        );
    }
    s.add(
        Second,
        "SPT.1: table is nowhere",
        |t| t.set(t.directory(), !0xfff, NOWHERE),
        read(PAGE.0),
        PasidAccess,
    );
    s.add(
        Second,
        "SPT.2: P clear",
        |t| t.xor(t.pasid(), 1),
        read(PAGE.0),
        PasidNotPresent,
    );
    s.add(
        Second,
        "SPT.2: hidden by its FPD",
        |t| t.xor(t.pasid(), 3),
        read(PAGE.0),
        Expect::Hidden(PasidNotPresent),
    );
    for mode in [First, Second, Nested] {
        for bit in bits(&[(5, 5), (11, 10), (63, 46)]) {
            s.add(
                mode,
                format!("SPT.3: bit {bit}"),
                move |t| t.xor(t.pasid(), 1 << bit),
                read(PAGE.0),
                PasidReserved,
            );
        }
        for bit in bits(&[(22, 16), (63, 25)]) {
            s.add(
                mode,
                format!("SPT.3: bit {}", bit + 64),
                move |t| t.xor(t.pasid() + 8, 1 << bit),
                read(PAGE.0),
                PasidReserved,
            );
        }
        for bit in bits(&[(11, 8), (63, 46)]) {
            s.add(
                mode,
                format!("SPT.3: bit {}", bit + 128),
                move |t| t.xor(t.pasid() + 16, 1 << bit),
                read(PAGE.0),
                PasidReserved,
            );
        }
    }
    for bit in 192..512u64 {
        s.add(
            Second,
            format!("SPT.3: bit {bit}"),
            move |t| t.xor(t.pasid() + bit / 64 * 8, 1 << (bit % 64)),
            read(PAGE.0),
            PasidReserved,
        );
    }
    let absent: [(&str, Change, u64, u64); 8] = [
        (
            "SSADE without ECAP.SSADS",
            |c| c.second_stage_ad = false,
            0,
            Pe::SSADE,
        ),
        (
            "PWSNP without ECAP.SMPWCS",
            |c| {
                c.scalable_coherent = false;
                c.second_stage_ad = false;
                c.extended_accessed = false;
            },
            8,
            Pe::PWSNP,
        ),
        (
            "PGSNP without ECAP.SC",
            |c| c.snoop_control = false,
            8,
            Pe::PGSNP,
        ),
        ("SRE without ECAP.SRS", no_srs, 16, Pe::SRE),
        ("WPE without ECAP.SRS", no_srs, 16, Pe::WPE),
        ("SMEP without ECAP.SRS", no_srs, 16, Pe::SMEP),
        (
            "ERE without ECAP.ERS",
            |c| c.execute_requests = false,
            16,
            Pe::ERE,
        ),
        (
            "EAFE without ECAP.EAFS",
            |c| c.extended_accessed = false,
            16,
            Pe::EAFE,
        ),
    ];
    for (name, config, word, flag) in absent {
        s.with(
            Second,
            config,
            format!("SPT.3: {name}"),
            move |t| {
                t.set(t.pasid() + 8, Pe::PWSNP, 0);
                t.set(t.pasid() + word, 0, flag);
            },
            read(PAGE.0),
            PasidReserved,
        );
    }
    s.with(
        Second,
        |c| c.memory_type = true,
        "memory type fields with ECAP.MTS",
        |t| t.set(t.pasid() + 8, 0, Pe::MEMORY_TYPE),
        read(PAGE.0),
        PAGE.1,
    );
    for pgtt in [0u64, 5, 6, 7] {
        s.add(
            Second,
            format!("SPT.4: PGTT {pgtt}"),
            move |t| t.set(t.pasid(), 7 << 6, pgtt << 6),
            read(PAGE.0),
            PasidInvalid,
        );
    }
    for aw in [0u64, 4, 5, 6, 7] {
        for mode in [Second, Nested] {
            s.add(
                mode,
                format!("SPT.4: AW {aw}"),
                move |t| t.set(t.pasid(), 7 << 2, aw << 2),
                read(PAGE.0),
                PasidInvalid,
            );
        }
        s.add(
            First,
            format!("AW {aw} is ignored"),
            move |t| t.set(t.pasid(), 7 << 2, aw << 2),
            read(PAGE.0),
            PAGE.1,
        );
    }
    for fspm in [2u64, 3] {
        for mode in [First, Nested] {
            s.add(
                mode,
                format!("SPT.4: FSPM {fspm}"),
                move |t| t.set(t.pasid() + 16, 3 << 2, fspm << 2),
                read(PAGE.0),
                PasidInvalid,
            );
        }
    }
    s.with(
        First,
        |c| c.first_stage_5_level = false,
        "SPT.4: FSPM 1 without CAP.FS5LP",
        |t| t.set(t.pasid() + 16, 0, 4),
        read(PAGE.0),
        PasidInvalid,
    );
    s.with(
        Nested,
        |c| c.nested = false,
        "SPT.4: nested without ECAP.NEST",
        |_| {},
        read(PAGE.0),
        PasidInvalid,
    );
    s.with(
        Second,
        |c| c.pass_through = false,
        "SPT.4: pass-through without ECAP.PT",
        |t| t.set(t.pasid(), 7 << 6, 4 << 6),
        read(PAGE.0),
        PasidInvalid,
    );
    s.add(
        Second,
        "pass-through",
        |t| t.set(t.pasid(), 7 << 6, 4 << 6),
        write(HOLE),
        HOLE,
    );
    s.add(
        Second,
        "SGN.4: pass-through beyond HAW",
        |t| t.set(t.pasid(), 7 << 6, 4 << 6),
        write(1 << 46),
        HostAddressWidth,
    );
    let execute = Request {
        execute: true,
        ..read(PAGE.0).with_pasid(9)
    };
    let privileged = Request {
        privileged: true,
        ..read(PAGE.0).with_pasid(9)
    };
    for mode in [First, Nested] {
        s.add(
            mode,
            "SPT.5: execute without ERE",
            |_| {},
            execute,
            ExecuteDisabled,
        );
        s.add(
            mode,
            "SPT.6: privileged without SRE",
            |_| {},
            privileged,
            SupervisorDisabled,
        );
        s.add(
            mode,
            "SPT.6: RID_PRIV without SRE",
            |t| t.set(t.context() + 8, 0, Sce::RID_PRIV),
            read(PAGE.0),
            SupervisorDisabled,
        );
    }
    s.add(
        Second,
        "ERE means nothing to the second stage",
        |_| {},
        execute,
        PAGE.1,
    );
    s.add(
        Second,
        "SRE means nothing to the second stage",
        |_| {},
        privileged,
        PAGE.1,
    );
    s.run("§9.5, §9.6", 560);
}

fn no_srs(c: &mut Config) {
    c.supervisor_requests = false;
    c.rid_priv = false;
}
