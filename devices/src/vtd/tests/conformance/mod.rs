//! The rules for address translation, each by its section of the specification (revision 4.1), as a table: what is changed in otherwise
//! good tables, the request, and the fault that must come, with the contents of its record.

mod first_stage;
mod legacy;
mod nested;
mod scalable;
mod second_stage;

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
