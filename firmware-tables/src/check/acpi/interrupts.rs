//! Rules of the MADT.

use std::collections::BTreeSet;

use super::{Facts, Report, Rule};
use crate::acpi::get_u16;
use crate::acpi::madt::Entry;

const MADT: Rule = Rule {
    id: "madt",
    text: "the MADT's structures fill it, each with the length of its kind",
    source: "ACPI 6.5 §5.2.12",
};
const CPU_IDS: Rule = Rule {
    id: "apic-ids",
    text: "there is a processor that can be used, and no two have the same APIC id or UID",
    source: "ACPI 6.5 §5.2.12.2, §5.2.12.12",
};
const XAPIC: Rule = Rule {
    id: "xapic-id",
    text: "APIC id 255 is the broadcast id, so no local APIC structure has it",
    source: "ACPI 6.5 §5.2.12.12; Intel SDM 3 §10.6.1",
};
const IO_APICS: Rule = Rule {
    id: "io-apics",
    text: "there is an I/O APIC that starts at interrupt 0, and no two have the same id, address or first interrupt",
    source: "ACPI 6.5 §5.2.12.3",
};
const OVERRIDES: Rule = Rule {
    id: "overrides",
    text: "an ISA interrupt (0 to 15) is overridden once",
    source: "ACPI 6.5 §5.2.12.5",
};
const SCI: Rule = Rule {
    id: "sci",
    text: "the SCI is level-triggered, so an ISA interrupt for it has an override that says so",
    source: "ACPI 6.5 §5.2.9 (SCI_INT), §5.2.12.5",
};

pub(super) const RULES: &[&Rule] = &[&MADT, &CPU_IDS, &XAPIC, &IO_APICS, &OVERRIDES, &SCI];

pub(super) fn check(facts: &Facts, report: &mut Report) {
    let Some(entries) = &facts.madt else {
        // That there is none is said elsewhere.
        report.require(facts.set.find("APIC").is_none(), &MADT, "APIC", || {
            "a length leads nowhere".into()
        });
        return;
    };
    processors(entries, report);
    io_apics(entries, report);
    let mut seen = BTreeSet::new();
    for o in overrides(entries) {
        report.require(o.irq < 16 && seen.insert(o.irq), &OVERRIDES, "APIC", || {
            format!("interrupt {}", o.irq)
        });
    }
    let fadt = facts.set.find("FACP");
    if let Some(sci) = fadt.and_then(|t| get_u16(&t.bytes, 46)) {
        let level = overrides(entries).any(|o| u16::from(o.irq) == sci && o.level);
        report.require(sci >= 16 || level, &SCI, "APIC", || {
            format!("SCI is interrupt {sci}")
        });
    }
}

fn overrides(entries: &[Entry]) -> impl Iterator<Item = &crate::acpi::Override> {
    entries.iter().filter_map(|e| match e {
        Entry::Override(o) => Some(o),
        _ => None,
    })
}

fn processors(entries: &[Entry], report: &mut Report) {
    let (mut ids, mut uids, mut usable) = (BTreeSet::new(), BTreeSet::new(), false);
    for entry in entries {
        let (uid, id, enabled) = match *entry {
            Entry::LocalApic { uid, id, enabled } => {
                report.require(id != 255, &XAPIC, "APIC", || format!("processor {uid}"));
                (u32::from(uid), u32::from(id), enabled)
            }
            Entry::LocalX2Apic { uid, id, enabled } => (uid, id, enabled),
            _ => continue,
        };
        usable |= enabled;
        let new = ids.insert(id) & uids.insert(uid);
        report.require(new, &CPU_IDS, "APIC", || {
            format!("APIC id {id}, UID {uid} again")
        });
    }
    report.require(usable, &CPU_IDS, "APIC", || {
        "no processor can be used".into()
    });
}

fn io_apics(entries: &[Entry], report: &mut Report) {
    let (mut ids, mut addresses, mut bases) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        let Entry::IoApic(io) = entry else { continue };
        let new = ids.insert(io.id) & addresses.insert(io.address) & bases.insert(io.gsi_base);
        report.require(new, &IO_APICS, "APIC", || format!("{io:x?}"));
    }
    report.require(bases.contains(&0), &IO_APICS, "APIC", || {
        "none starts at interrupt 0".into()
    });
}
