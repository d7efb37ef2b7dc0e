//! Rules of the DMAR table.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Report, Rule};
use crate::acpi::dmar::{self, Dmar, Drhd, Scope, ScopeKind, Structure};

const READABLE: Rule = Rule {
    id: "dmar",
    text: "the DMAR table's structures and scopes fill it, each with the length of its kind",
    source: "VT-d 4.1 §8.1, §8.2",
};
const ORDER: Rule = Rule {
    id: "dmar-order",
    text: "structures come in the order of their types, and there is a DRHD",
    source: "VT-d 4.1 §8.2, §8.3",
};
const OPT_OUT: Rule = Rule {
    id: "x2apic-opt-out",
    text: "X2APIC_OPT_OUT is set with INTR_REMAP only",
    source: "VT-d 4.1 §8.1",
};
const ALL: Rule = Rule {
    id: "include-pci-all",
    text: "each segment has one DRHD with INCLUDE_PCI_ALL, after its other DRHDs, and that one names no PCI devices",
    source: "VT-d 4.1 §8.3",
};
const REGISTERS: Rule = Rule {
    id: "drhd-registers",
    text: "a register set is on a multiple of its size, and no two DRHDs have the same",
    source: "VT-d 4.1 §8.3",
};
const IO_APIC: Rule = Rule {
    id: "io-apic-scope",
    text: "with INTR_REMAP, each I/O APIC of the MADT is in the scope of one DRHD, with a bus, device and function that are not all 0",
    source: "VT-d 4.1 §8.3.1.1; Linux leaves interrupt remapping off otherwise (drivers/iommu/intel/irq_remapping.c)",
};
const RESOLVES: Rule = Rule {
    id: "scope-resolves",
    text: "a scope's path has steps of devices below 32 and functions below 8, from a bus of its segment, and its id names an I/O APIC, HPET or ANDD that is there",
    source: "VT-d 4.1 §8.3.1",
};
const KINDS: Rule = Rule {
    id: "scope-kinds",
    text: "a structure has the scopes that it may have: RMRR and SATC endpoints (RMRR bridges too), ATSR bridges unless ALL_PORTS, SIDP endpoints and bridges",
    source: "VT-d 4.1 §8.4, §8.5, §8.8, §8.9",
};
const ONCE: Rule = Rule {
    id: "scope-once",
    text: "a device is in the scope of one DRHD",
    source: "VT-d 4.1 §8.3",
};
const REGION: Rule = Rule {
    id: "rmrr-region",
    text: "a reserved region is whole pages and not empty",
    source: "VT-d 4.1 §8.4",
};
const AFFINITY: Rule = Rule {
    id: "rhsa",
    text: "an affinity names the register set of a DRHD",
    source: "VT-d 4.1 §8.6",
};
const NAMES: Rule = Rule {
    id: "andd",
    text: "an ACPI device has a number of its own, and its name is a device of the DSDT",
    source: "VT-d 4.1 §8.7",
};

pub(super) const RULES: &[&Rule] = &[
    &READABLE, &ORDER, &OPT_OUT, &ALL, &REGISTERS, &IO_APIC, &RESOLVES, &KINDS, &ONCE, &REGION,
    &AFFINITY, &NAMES,
];

const PATH: &str = "DMAR";

/// The DRHDs of the table, in order.
pub(super) fn drhds(facts: &Facts) -> impl Iterator<Item = &Drhd> {
    structures(facts.dmar.as_ref()).filter_map(|s| match s {
        Structure::Drhd(drhd) => Some(drhd),
        _ => None,
    })
}

fn structures(dmar: Option<&Dmar>) -> impl Iterator<Item = &Structure> {
    dmar.into_iter().flat_map(|d| &d.structures)
}

pub(super) fn check(facts: &Facts, report: &mut Report) {
    let Some(dmar) = &facts.dmar else {
        if let Some(table) = facts.set.find("DMAR")
            && let Err(error) = dmar::read(&table.bytes)
        {
            report.add(&READABLE, PATH, error.to_string());
        }
        return;
    };
    let kinds: Vec<_> = dmar.structures.iter().map(Structure::kind).collect();
    report.require(
        kinds.is_sorted() && kinds.first() == Some(&0),
        &ORDER,
        PATH,
        || format!("types {kinds:?}"),
    );
    report.require(
        dmar.interrupt_remapping || !dmar.x2apic_opt_out,
        &OPT_OUT,
        PATH,
        || "INTR_REMAP is not set".into(),
    );
    include_all(facts, report);
    registers(facts, report);
    if dmar.interrupt_remapping {
        io_apics(facts, report);
    }
    once(facts, report);
    for structure in &dmar.structures {
        scopes(structure, facts, report);
        others(structure, facts, report);
    }
}

fn is_pci(scope: &Scope) -> bool {
    matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge)
}

fn include_all(facts: &Facts, report: &mut Report) {
    let mut segments: BTreeMap<u16, Vec<&Drhd>> = BTreeMap::new();
    for bridge in &facts.bridges {
        if let Ok(segment) = u16::try_from(bridge.segment) {
            segments.entry(segment).or_default();
        }
    }
    for drhd in drhds(facts) {
        segments.entry(drhd.segment).or_default().push(drhd);
    }
    for (segment, units) in segments {
        let all: Vec<_> = units.iter().filter(|d| d.include_pci_all).collect();
        let last = units.last().is_some_and(|d| d.include_pci_all);
        report.require(all.len() == 1 && last, &ALL, PATH, || {
            format!("segment {segment}: {} of {} DRHDs", all.len(), units.len())
        });
        for drhd in all {
            report.require(!drhd.scopes.iter().any(is_pci), &ALL, PATH, || {
                format!("segment {segment}: {:#x} names a PCI device", drhd.address)
            });
        }
    }
}

fn registers(facts: &Facts, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for drhd in drhds(facts) {
        let aligned = drhd.address != 0 && drhd.address.is_multiple_of(4096 << drhd.size);
        report.require(
            aligned && seen.insert(drhd.address),
            &REGISTERS,
            PATH,
            || format!("{:#x}, 2^{} pages", drhd.address, drhd.size),
        );
    }
}

fn io_apics(facts: &Facts, report: &mut Report) {
    for (id, _) in facts.io_apics() {
        let found: Vec<&Scope> = drhds(facts)
            .flat_map(|d| &d.scopes)
            .filter(|s| s.kind == ScopeKind::IoApic && s.enumeration_id == id)
            .collect();
        let named = |s: &Scope| s.start_bus != 0 || s.path.iter().any(|step| *step != (0, 0));
        let holds = found.len() == 1 && found.iter().all(|s| named(s));
        report.require(holds, &IO_APIC, PATH, || {
            format!("I/O APIC {id} is in {} scopes: {found:?}", found.len())
        });
    }
}

fn once(facts: &Facts, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for drhd in drhds(facts) {
        for s in &drhd.scopes {
            let place = (
                drhd.segment,
                s.kind.code(),
                s.enumeration_id,
                s.start_bus,
                &s.path,
            );
            report.require(seen.insert(place), &ONCE, PATH, || format!("{s:?}"));
        }
    }
}

fn scopes(structure: &Structure, facts: &Facts, report: &mut Report) {
    let Some((segment, scopes)) = structure.scopes() else {
        return;
    };
    let allowed = |kind| match structure {
        Structure::Rmrr(_) | Structure::Sidp(_) => {
            matches!(kind, ScopeKind::Endpoint | ScopeKind::Bridge)
        }
        Structure::Atsr(atsr) => kind == ScopeKind::Bridge && !atsr.all_ports,
        Structure::Satc(_) => kind == ScopeKind::Endpoint,
        _ => !matches!(kind, ScopeKind::Other(_)),
    };
    for s in scopes {
        let name = || format!("{} of segment {segment}: {s:?}", structure.name());
        report.require(allowed(s.kind), &KINDS, PATH, name);
        report.require(resolves(s, segment, facts), &RESOLVES, PATH, name);
    }
}

fn resolves(s: &Scope, segment: u16, facts: &Facts) -> bool {
    let path = !s.path.is_empty() && s.path.iter().all(|&(d, f)| d < 32 && f < 8);
    path && match s.kind {
        // Without a namespace that can be read nothing is known of buses.
        ScopeKind::Endpoint | ScopeKind::Bridge => {
            facts.bridges.is_empty()
                || facts.bridges.iter().any(|b| {
                    b.segment == u64::from(segment)
                        && (b.buses.0..=b.buses.1).contains(&u64::from(s.start_bus))
                })
        }
        ScopeKind::IoApic => facts.io_apics().any(|(id, _)| id == s.enumeration_id),
        ScopeKind::Hpet => facts.hpets().any(|(number, _)| number == s.enumeration_id),
        ScopeKind::Namespace => structures(facts.dmar.as_ref())
            .any(|o| matches!(o, Structure::Andd(a) if a.number == s.enumeration_id)),
        ScopeKind::Other(_) => true,
    }
}

/// Rules of what is no DRHD and no scope.
fn others(structure: &Structure, facts: &Facts, report: &mut Report) {
    match structure {
        Structure::Rmrr(r) => {
            let whole = r.base.is_multiple_of(4096) && r.limit & 0xfff == 0xfff;
            report.require(
                whole && r.base < r.limit && !r.scopes.is_empty(),
                &REGION,
                PATH,
                || {
                    format!(
                        "{:#x} to {:#x}, {} devices",
                        r.base,
                        r.limit,
                        r.scopes.len()
                    )
                },
            );
        }
        Structure::Rhsa(r) => {
            let known = drhds(facts).any(|d| d.address == r.address);
            report.require(known, &AFFINITY, PATH, || format!("{:#x}", r.address));
        }
        Structure::Andd(a) => {
            let same = structures(facts.dmar.as_ref())
                .filter(|o| matches!(o, Structure::Andd(b) if b.number == a.number));
            let unique = same.count() == 1;
            let there = facts
                .namespace
                .find(&absolute(&a.name))
                .is_some_and(|o| o.kind == crate::acpi::aml::Kind::Device);
            report.require(unique && there, &NAMES, PATH, || {
                format!("{} is {:?}", a.number, a.name)
            });
        }
        _ => {}
    }
}

/// A path as the namespace has it: each part filled up with underscores to four characters.
fn absolute(name: &str) -> String {
    let parts = name.trim_start_matches('\\').split('.');
    let parts: Vec<_> = parts.map(|p| format!("{p:_<4}")).collect();
    format!("\\{}", parts.join("."))
}
