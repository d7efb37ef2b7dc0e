//! Tables of VT-d in every mode, with any bits flipped between requests of every kind.
//!
//! Without caches, each answer and each fault code is that of the slow model in `viommu_devices::vtd::reference`. With caches of any
//! size, careful or adversarial, each answer is that of a fresh walk once the driver has invalidated what it changed, and a snapshot on
//! the way changes nothing. A fault is recorded with its code, requester and address, or counted as suppressed or lost.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_devices::vtd::testing::plan::{Asked, DOMAINS, PAGES, Plan, compare};
use viommu_devices::vtd::testing::{DEVICE, Lab, ROOT};
use viommu_devices::vtd::{AddressType, Blocked, CacheConfig, Config, Operation, Request, Vtd};

/// Steps of one run.
const STEPS: usize = 24;

#[derive(Arbitrary, Debug)]
struct Input {
    /// TTM in bits 1:0 (mostly a mode that translates), PGTT or TT, AW, FSPM, levels of leaves.
    mode: u8,
    kind: u8,
    width: u8,
    leaves: u8,
    first_flags: u8,
    second_flags: u8,
    pasid_flags: u8,
    /// SSADE, PWSNP, FSPM, XD, and what the unit lacks.
    flags: u8,
    lacks: u8,
    caches: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Request {
        page: u8,
        offset: u16,
        operation: u8,
        pasid: u8,
        /// Privileged, execute, address type.
        kind: u8,
    },
    /// Any address.
    Address(u64, bool),
    /// Flips a bit of an entry.
    Damage(u8, u8),
    /// The unit with caches is saved and brought back.
    Restore,
}

impl Input {
    fn plan(&self) -> Plan {
        let flag = |bit: u8| self.flags >> bit & 1 != 0;
        let s = self.second_flags;
        Plan {
            mode: match self.mode % 8 {
                n @ (0 | 1) => n.into(),
                2 | 3 => 0,
                6 => 2,
                7 => 3,
                _ => 1,
            },
            kind: u64::from(self.kind % 8),
            width: u64::from(self.width % 3) + 1,
            five_level: flag(0),
            first_leaf: u32::from(self.leaves % 3) + 1,
            second_leaf: u32::from(self.leaves / 3 % 3) + 1,
            first_flags: u64::from(self.first_flags & 0x66) | 2 | u64::from(flag(1)) << 63,
            second_flags: if s & 0xf0 == 0 { u64::from(s & 3) } else { 3 } | u64::from(s & 4) << 9,
            pasid_flags: u64::from(self.pasid_flags & 0xf3),
            ad: flag(2),
            snooped: flag(3),
            damage: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn config(&self, caches: CacheConfig) -> Config {
        let lacks = |bit: u8| self.lacks >> bit & 1 != 0;
        let full = Config::full();
        Config {
            second_stage_1g: !lacks(0),
            first_stage_1g: !lacks(1),
            first_stage_5_level: !lacks(2),
            nested: !lacks(3),
            snoop_control: !lacks(4),
            zero_length_read: !lacks(5),
            extended_accessed: !lacks(6),
            caching_mode: false,
            guest_address_width: if lacks(7) { 48 } else { 57 },
            caches,
            ..full
        }
    }

    fn caches(&self) -> CacheConfig {
        let adversarial = CacheConfig {
            torn_fetch: false,
            ..CacheConfig::ADVERSARIAL
        };
        match self.caches % 4 {
            0 => CacheConfig::default(),
            1 => adversarial,
            2 => CacheConfig {
                iotlb: 8,
                context: 4,
                pasid: 4,
                paging_structure: 16,
                ..adversarial
            },
            _ => CacheConfig {
                iotlb: 0,
                paging_structure: 64,
                ..CacheConfig::default()
            },
        }
    }
}

impl Step {
    fn request(&self, plan: &Plan) -> Option<Request> {
        Some(match *self {
            Step::Request {
                page,
                offset,
                operation,
                pasid,
                kind,
            } => {
                let operations = [
                    Operation::Read,
                    Operation::Write,
                    Operation::Atomic,
                    Operation::ZeroLengthRead,
                ];
                let operation = operations[usize::from(operation % 4)];
                let pasids = [None, None, Some(0), Some(5), Some(70), Some(0xf_ffff)];
                let asked = Asked {
                    page: PAGES[usize::from(page) % PAGES.len()],
                    operation,
                    pasid: pasids[usize::from(pasid) % pasids.len()],
                    privileged: kind & 1 != 0,
                    execute: kind & 2 != 0 && !operation.writes(),
                    address_type: match kind >> 2 & 7 {
                        6 => AddressType::TranslationRequest,
                        7 => AddressType::Translated,
                        _ => AddressType::Untranslated,
                    },
                };
                let request = plan.request(&asked);
                Request {
                    address: request.address ^ u64::from(offset & 0x1f0) << 8,
                    ..request
                }
            }
            Step::Address(address, write) => {
                let operation = if write {
                    Operation::Write
                } else {
                    Operation::Read
                };
                Request::untranslated(DEVICE, address, operation)
            }
            _ => return None,
        })
    }
}

/// A blocked request has left its record, and nothing else has.
fn check_record(lab: &Lab, request: &Request, before: u64) {
    let counters = lab.unit.counters();
    let records = lab.take_records();
    let recorded = counters.faults - counters.suppressed_faults - before;
    assert_eq!(records.len() as u64, recorded);
    for record in records {
        assert_eq!(record.source(), request.source.0);
        assert_eq!(record.info(), request.address & !0xfff);
        assert_eq!(record.pasid(), request.pasid.map(|p| p.0));
    }
}

fn recorded(lab: &Lab) -> u64 {
    let c = lab.unit.counters();
    c.faults - c.suppressed_faults
}

/// The answer of the caches is that of a walk.
fn same(unit: &Vtd, request: &Request) {
    match (unit.translate(request), unit.walk(request)) {
        (Ok(c), Ok(f)) => {
            assert_eq!(c.address, f.address, "{request:x?}");
            assert_eq!(
                (c.read, c.write, c.execute, c.pass_through),
                (f.read, f.write, f.execute, f.pass_through),
                "{request:x?}"
            );
            assert!(c.page_shift <= f.page_shift);
        }
        (Err(Blocked::Fault(c)), Err(f)) => assert_eq!(c.reason, f.reason, "{request:x?}"),
        (c, f) => panic!("{request:x?}: cached {c:x?}, fresh {f:x?}"),
    }
}

fuzz_target!(|input: Input| {
    let plan = input.plan();
    let (lab, entries) = plan.lab(input.config(CacheConfig::OFF));
    let domains: Vec<u64> = match plan.mode {
        1 => DOMAINS
            .iter()
            .map(|(pasid, _)| lab.pasid_entry(DEVICE, *pasid) + 8)
            .collect(),
        _ => Vec::new(),
    };
    let rtaddr = ROOT | plan.mode << 10;
    // A second lab with caches, whose tables are damaged alike. Its queue needs a mode that translates.
    let mut cached = (plan.mode < 2).then(|| plan.lab(input.config(input.caches())));
    for step in input.steps.iter().take(STEPS) {
        if let Some(request) = step.request(&plan) {
            let before = recorded(&lab);
            compare(&lab, rtaddr, &request);
            check_record(&lab, &request, before);
            if let Some((other, _)) = &cached {
                same(&other.unit, &request);
                same(&other.unit, &request);
            }
        }
        match *step {
            Step::Damage(entry, bit) => {
                let at = entries[usize::from(entry) % entries.len()];
                // Two tables with one domain id are a driver's mistake, which is not what is tried here.
                let bit = if domains.contains(&at) { bit | 16 } else { bit } % 64;
                lab.put(at, lab.get(at) ^ 1 << bit);
                if let Some((other, entries)) = &cached {
                    let at = entries[usize::from(entry) % entries.len()];
                    other.put(at, other.get(at) ^ 1 << bit);
                    other.invalidate_all();
                }
            }
            Step::Restore => {
                if let Some((other, _)) = &mut cached {
                    other.unit.take_actions();
                    let snapshot = other.unit.save().expect("nothing is in flight");
                    other.unit =
                        Vtd::restore(&snapshot, other.ram.clone()).expect("its own snapshot");
                    assert_eq!(other.unit.save().expect("nothing is in flight"), snapshot);
                }
            }
            _ => {}
        }
    }
});
