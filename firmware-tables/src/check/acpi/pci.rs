//! Rules of host bridges and configuration space.

use super::{Facts, Report, Rule, Span};
use crate::acpi::aml::{self, Resource, Value};
use crate::check::overlaps;

const ECAM: Rule = Rule {
    id: "mcfg",
    text: "configuration space is on 1 MiB, its buses in order, and no two entries overlap",
    source: "PCI Firmware Specification 3.3 §4.1.2",
};
const RESERVED: Rule = Rule {
    id: "ecam-reserved",
    text: "configuration space is reserved by a motherboard resource (PNP0C02)",
    source: "PCI Firmware Specification 3.3 §4.1.2; Linux does not use it otherwise (arch/x86/pci/mmconfig-shared.c)",
};
const COVERED: Rule = Rule {
    id: "bridge-ecam",
    text: "each host bridge's buses have configuration space in memory, without which ATS and PASID are out of reach",
    source: "PCI Express 6.0 §7.2.2",
};
const WINDOWS: Rule = Rule {
    id: "bridge-windows",
    text: "memory windows of host bridges do not overlap each other, configuration space, APICs, HPETs, remapping units or tables",
    source: "PCI Firmware Specification 3.3 §4.6.2; VT-d 4.1 §8.3",
};

pub(super) const RULES: &[&Rule] = &[&ECAM, &RESERVED, &COVERED, &WINDOWS];

fn span_of(first: u64, last: u64) -> Option<Span> {
    Span::new(first, last.checked_sub(first)?.checked_add(1)?)
}

pub(super) fn check(facts: &Facts, report: &mut Report) {
    let reserved = reserved(facts);
    let mut spans = Vec::new();
    for ecam in &facts.ecams {
        let name = format!("segment {}, bus {:#04x}", ecam.segment, ecam.buses.0);
        let Some(span) = ecam.span().filter(|_| ecam.base.is_multiple_of(1 << 20)) else {
            report.add(&ECAM, "MCFG", format!("{name}: {:#x}", ecam.base));
            continue;
        };
        let holds = reserved.iter().any(|r| span.within(*r));
        report.require(holds, &RESERVED, "MCFG", || {
            format!("{name}: {:#x} is in no PNP0C02", span.start)
        });
        spans.push((span, name));
    }
    for (a, b) in overlaps(&mut spans) {
        report.add(&ECAM, "MCFG", format!("{a} overlaps {b}"));
    }
    for bridge in &facts.bridges {
        let holds = facts.ecams.iter().any(|e| {
            u64::from(e.segment) == bridge.segment
                && u64::from(e.buses.0) <= bridge.buses.0
                && bridge.buses.1 <= u64::from(e.buses.1)
        });
        report.require(holds, &COVERED, &bridge.path, || {
            format!("buses {:#x} to {:#x}", bridge.buses.0, bridge.buses.1)
        });
    }
    windows(facts, spans, report);
}

/// Memory of all motherboard resources.
fn reserved(facts: &Facts) -> Vec<Span> {
    let space = &facts.namespace;
    let crs = |device: &str| match space.value(&format!("{device}._CRS")) {
        Some(Value::Buffer(bytes)) => aml::resources(bytes),
        _ => Vec::new(),
    };
    space
        .devices("PNP0C02")
        .flat_map(crs)
        .filter_map(|r| match r {
            Resource::Memory(first, last) => span_of(first, last),
            _ => None,
        })
        .collect()
}

fn windows(facts: &Facts, mut spans: Vec<(Span, String)>, report: &mut Report) {
    let mut add = |start: u64, size: u64, name: String| {
        spans.extend(Span::new(start, size).map(|s| (s, name)));
    };
    for (id, address) in facts.io_apics() {
        add(address.into(), 4096, format!("I/O APIC {id}"));
    }
    for (number, address) in facts.hpets() {
        add(address, 1024, format!("HPET {number}"));
    }
    let madt = facts.set.find("APIC");
    if let Some(address) = madt.and_then(|t| crate::acpi::get_u32(&t.bytes, 36)) {
        add(address.into(), 4096, "local APICs".into());
    }
    for drhd in super::dmar::drhds(facts) {
        add(
            drhd.address,
            4096 << drhd.size,
            format!("DRHD at {:#x}", drhd.address),
        );
    }
    for table in &facts.set.tables {
        add(table.at, table.bytes.len() as u64, table.signature());
    }
    for bridge in &facts.bridges {
        for resource in &bridge.resources {
            if let Resource::Memory(first, last) = resource {
                spans.extend(span_of(*first, *last).map(|s| (s, bridge.path.clone())));
            }
        }
    }
    for (a, b) in overlaps(&mut spans) {
        report.add(&WINDOWS, &a, format!("overlaps {b}"));
    }
}
