//! The rules for address translation, each by its section of the specification (revision 4.1), as a table: what is changed in otherwise
//! good tables, the request, and the fault that must come, with the contents of its record.

use super::*;
use crate::vtd::spec::context::ScalableContextEntry as Sce;
use crate::vtd::spec::fault::{Reason, RequestType};
use crate::vtd::spec::paging::{first, second};
use crate::vtd::spec::pasid::PasidEntry as Pe;
use crate::vtd::testing::{DEVICE, Lab, RAM, ROOT};
use crate::vtd::{AddressType, Blocked};

/// The domain of the good tables.
const DOMAIN: u16 = 7;
/// The PASID of requests without one.
const RID_PASID: u32 = 5;
/// A mapped page of 4 KiB, and what it is mapped to.
const PAGE: (u64, u64) = (0x1000, 0x20_3000);
/// A mapped page of 2 MiB, and what it is mapped to.
const LARGE: (u64, u64) = (0x4000_0000 + (2 << 20), 4 << 20);
/// A mapped page of 1 GiB, and what it is mapped to.
const HUGE: (u64, u64) = (0x1_0000_0000, 0x4000_0000);
/// Nothing is mapped there.
const HOLE: u64 = 0x1_4000_0000;
/// Beyond the end of memory, within the host address width.
const NOWHERE: u64 = 0x10_0000_0000;
const RW: u64 = second::R | second::W;

/// Which good tables a case begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Legacy, TT = 00, 4 levels.
    Legacy,
    /// Second stage only, 4 levels.
    Second,
    /// First stage only, 4 levels.
    First,
    /// Both, 4 and 4 levels.
    Nested,
}

enum Expect {
    /// This address.
    Address(u64),
    Fault(Reason),
    /// A fault that FPD hides.
    Hidden(Reason),
}

struct Case {
    /// The rule, and what exactly is tried.
    name: String,
    mode: Mode,
    /// Changes the capabilities.
    config: Change,
    setup: Box<dyn Fn(&Tables)>,
    request: Request,
    expect: Expect,
}

/// Good tables in a lab.
struct Tables {
    lab: Lab,
    mode: Mode,
    second: u64,
    first: u64,
}

impl Tables {
    fn new(mode: Mode, config: Config) -> Self {
        let lab = Lab::new(config);
        let second = lab.page();
        let first = lab.page();
        let t = Tables {
            lab,
            mode,
            second,
            first,
        };
        let nested = mode == Mode::Nested;
        for (level, (from, to)) in [(1, PAGE), (2, LARGE), (3, HUGE)] {
            t.lab
                .map_first(first, 4, from, to, level, first::RW | first::US);
            if !nested {
                t.lab.map_second(second, 4, from, to, level, RW);
            }
        }
        if nested {
            for at in (0..RAM).step_by(2 << 20) {
                t.lab.map_second(second, 4, at, at, 2, RW);
            }
            t.lab.map_second(second, 4, HUGE.1, HUGE.1, 3, RW);
        }
        if mode == Mode::Legacy {
            t.lab.set_context(DEVICE, 0, 2, DOMAIN, second);
        } else {
            t.lab.set_scalable_context(DEVICE, Sce::PASIDE, RID_PASID);
            let kind = match mode {
                Mode::First => 1,
                Mode::Second => 2,
                _ => 3,
            };
            let words = [
                second | 2 << 2 | kind << 6,
                u64::from(DOMAIN) | Pe::PWSNP,
                first,
            ];
            t.lab.set_pasid(DEVICE, RID_PASID, words);
            t.lab.set_pasid(DEVICE, 9, words);
        }
        t
    }

    fn xor(&self, at: u64, bits: u64) {
        self.lab.put(at, self.lab.get(at) ^ bits);
    }

    fn set(&self, at: u64, clear: u64, set: u64) {
        self.lab.put(at, self.lab.get(at) & !clear | set);
    }

    fn root(&self) -> u64 {
        ROOT
    }

    fn context(&self) -> u64 {
        if self.mode == Mode::Legacy {
            self.lab.context(DEVICE)
        } else {
            self.lab.scalable_context(DEVICE)
        }
    }

    fn directory(&self) -> u64 {
        self.lab.get(self.context()) & !0xfff
    }

    fn pasid(&self) -> u64 {
        self.lab.pasid_entry(DEVICE, RID_PASID)
    }

    /// The entry of a level on the way to a mapped address: level 4 is the root.
    fn second_entry(&self, address: u64, level: u32) -> u64 {
        *self
            .lab
            .entries(self.second, 4, address, level)
            .last()
            .unwrap()
    }

    fn first_entry(&self, address: u64, level: u32) -> u64 {
        *self
            .lab
            .entries(self.first, 4, address, level)
            .last()
            .unwrap()
    }
}

/// The cases of one section.
#[derive(Default)]
struct Suite(Vec<Case>);

impl Suite {
    fn add(
        &mut self,
        mode: Mode,
        name: impl Into<String>,
        setup: impl Fn(&Tables) + 'static,
        request: Request,
        expect: impl Into<Expect>,
    ) {
        self.with(mode, |_| {}, name, setup, request, expect);
    }

    fn with(
        &mut self,
        mode: Mode,
        config: Change,
        name: impl Into<String>,
        setup: impl Fn(&Tables) + 'static,
        request: Request,
        expect: impl Into<Expect>,
    ) {
        self.0.push(Case {
            name: name.into(),
            mode,
            config,
            setup: Box::new(setup),
            request,
            expect: expect.into(),
        });
    }

    /// Runs them; each is a fresh unit.
    fn run(self, section: &str, at_least: usize) {
        assert!(self.0.len() >= at_least, "{} cases", self.0.len());
        for case in &self.0 {
            run_case(section, case);
        }
    }
}

impl From<u64> for Expect {
    fn from(address: u64) -> Self {
        Expect::Address(address)
    }
}

impl From<Reason> for Expect {
    fn from(reason: Reason) -> Self {
        Expect::Fault(reason)
    }
}

fn run_case(section: &str, case: &Case) {
    let what = format!("{section}: {:?}: {}", case.mode, case.name);
    let mut config = uncached();
    (case.config)(&mut config);
    let tables = Tables::new(case.mode, config);
    (case.setup)(&tables);
    let lab = &tables.lab;
    lab.enable(u64::from(case.mode != Mode::Legacy));
    let result = lab.unit.translate(&case.request);
    let records = lab.take_records();
    match (&case.expect, result) {
        (Expect::Address(address), Ok(t)) => {
            assert_eq!(t.address, *address, "{what}");
            assert_eq!(records, [], "{what}");
        }
        (Expect::Fault(reason), Err(Blocked::Fault(f))) => {
            assert_eq!(
                f.reason,
                *reason,
                "{what}\n{}",
                lab.unit.explain(&case.request)
            );
            let [record] = records[..] else {
                panic!("{what}: records {records:x?}");
            };
            let r = &case.request;
            assert_eq!(record.code(), reason.code(), "{what}");
            assert_eq!(record.source(), r.source.0, "{what}");
            assert_eq!(record.info(), r.address & !0xfff, "{what}");
            assert_eq!(record.pasid(), r.pasid.map(|p| p.0), "{what}");
            assert_eq!(record.address_type(), r.address_type as u8, "{what}");
            let kind = match r.operation {
                Operation::Write => RequestType::Write,
                Operation::Atomic => RequestType::AtomicOp,
                _ => RequestType::Read,
            };
            assert_eq!(record.request_type(), kind, "{what}");
        }
        (Expect::Hidden(reason), Err(Blocked::Fault(f))) => {
            assert_eq!(f.reason, *reason, "{what}");
            assert_eq!(records, [], "{what}: hidden by FPD");
        }
        (_, got) => panic!("{what}: {got:x?}\n{}", lab.unit.explain(&case.request)),
    }
}

fn op(operation: Operation, address: u64) -> Request {
    Request::untranslated(DEVICE, address, operation)
}

fn typed(address_type: AddressType, address: u64) -> Request {
    Request {
        address_type,
        ..read(address)
    }
}

fn bits(ranges: &[(u32, u32)]) -> Vec<u32> {
    ranges.iter().flat_map(|(high, low)| *low..=*high).collect()
}

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
    s.add(
        Second,
        "SCT.9: RID_PASID beyond PDTS",
        |t| {
            t.set(t.context(), 7 << 9, 0);
            t.set(t.context() + 8, Sce::RID_PASID, 1 << 13);
        },
        read(PAGE.0),
        RidPasidTooLarge,
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
            |c| c.scalable_coherent = false,
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
        "SFS.5: FSPTPTR beyond the second stage",
        |t| {
            t.set(t.pasid(), 7 << 2, 1 << 2);
            t.set(t.pasid() + 16, !0xfff, 1 << 39);
        },
        read(PAGE.0),
        FirstStageEntryWidth,
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
