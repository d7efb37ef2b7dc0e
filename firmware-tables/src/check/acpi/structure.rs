//! Rules of any set of tables: pointers, lengths, checksums, and the fixed hardware.

use super::{Facts, Report, Rule, Span};
use crate::acpi::{Image, Table, checksum, get_u8, get_u32, get_u64};
use crate::check::overlaps;

const ROOT: Rule = Rule {
    id: "rsdp",
    text: "the root pointer is of revision 2 and 36 bytes, on 16 bytes, and its first 20 bytes and all of it sum to 0",
    source: "ACPI 6.5 §5.2.5.3",
};
const POINTERS: Rule = Rule {
    id: "pointers",
    text: "every address that a table gives for another leads to a whole table",
    source: "ACPI 6.5 §5.2.8, §5.2.9",
};
const LENGTH: Rule = Rule {
    id: "table-length",
    text: "a table has a header of 36 bytes and the fixed fields of its kind",
    source: "ACPI 6.5 §5.2.6",
};
const CHECKSUM: Rule = Rule {
    id: "table-checksum",
    text: "all bytes of a table sum to 0",
    source: "ACPI 6.5 §5.2.6",
};
const APART: Rule = Rule {
    id: "tables-apart",
    text: "tables do not overlap",
    source: "ACPI 6.5 §5.2",
};
const REQUIRED: Rule = Rule {
    id: "required-tables",
    text: "there is one FADT, one MADT and one DSDT, and at most one MCFG and DMAR",
    source: "ACPI 6.5 §5.2.9, §5.2.12; VT-d 4.1 §8.1",
};
const FACS: Rule = Rule {
    id: "facs",
    text: "the FADT names a FACS of 64 bytes on a multiple of 64",
    source: "ACPI 6.5 §5.2.10",
};
const NO_SMI: Rule = Rule {
    id: "acpi-mode",
    text: "without an SMI port there are no values for it, since ACPI mode is always on",
    source: "ACPI 6.5 §4.8.2.5, §5.2.9",
};
const FIXED: Rule = Rule {
    id: "fixed-hardware",
    text: "unless hardware is reduced, PM1a event (4 bytes), PM1a control (2 bytes) and timer (4 bytes) are at ports, and both forms of an address agree",
    source: "ACPI 6.5 §4.8.3, §5.2.9",
};
const RESET: Rule = Rule {
    id: "reset-register",
    text: "a supported reset register is a byte in port or memory space with an address",
    source: "ACPI 6.5 §4.8.3.6",
};
const AML: Rule = Rule {
    id: "aml",
    text: "the DSDT's declarations can be read to the end",
    source: "ACPI 6.5 §20.2",
};

pub(super) const RULES: &[&Rule] = &[
    &ROOT, &POINTERS, &LENGTH, &CHECKSUM, &APART, &REQUIRED, &FACS, &NO_SMI, &FIXED, &RESET, &AML,
];

pub(super) fn check(image: &Image, facts: &Facts, report: &mut Report) {
    root(image, facts, report);
    for fault in &facts.set.faults {
        report.add(&POINTERS, "RSDP", fault.to_string());
    }
    let mut spans = Vec::new();
    for table in facts.set.xsdt.iter().chain(&facts.set.tables) {
        let name = table.signature();
        header(table, &name, report);
        spans.extend(Span::new(table.at, table.bytes.len() as u64).map(|s| (s, name)));
    }
    for (a, b) in overlaps(&mut spans) {
        report.add(&APART, &a, format!("overlaps {b}"));
    }
    let is_xsdt = facts.set.xsdt.as_ref().map(Table::signature);
    report.require(
        is_xsdt.is_none_or(|s| s == "XSDT"),
        &POINTERS,
        "RSDP",
        || "it does not lead to an XSDT".into(),
    );
    for (name, least, most) in [
        ("FACP", 1, 1),
        ("APIC", 1, 1),
        ("DSDT", 1, 1),
        ("MCFG", 0, 1),
        ("DMAR", 0, 1),
    ] {
        let count = facts.set.tables.iter().filter(|t| t.signature() == name);
        let count = count.count();
        report.require((least..=most).contains(&count), &REQUIRED, name, || {
            format!("there are {count}")
        });
    }
    if let Some(fadt) = facts.set.find("FACP") {
        fixed(&fadt.bytes, facts, report);
    }
    let unread = facts.namespace.unread;
    report.require(unread == 0, &AML, "DSDT", || {
        format!("{unread} bytes cannot be read")
    });
}

fn root(image: &Image, facts: &Facts, report: &mut Report) {
    let rsdp = &facts.set.rsdp;
    let Some(first) = rsdp.get(..20) else {
        return; // said by POINTERS
    };
    let holds = checksum(first) == 0
        && checksum(rsdp) == 0
        && get_u8(rsdp, 15) == Some(2)
        && get_u32(rsdp, 20) == Some(36)
        && image.rsdp.is_multiple_of(16);
    report.require(holds, &ROOT, "RSDP", || {
        format!("{rsdp:02x?} at {:#x}", image.rsdp)
    });
}

fn header(table: &Table, name: &str, report: &mut Report) {
    let length = table.bytes.len();
    let (least, summed) = match name {
        "FACS" => (64, false),
        "FACP" => (244, true),
        "APIC" | "MCFG" => (44, true),
        "DMAR" => (48, true),
        "HPET" => (56, true),
        _ => (36, true),
    };
    report.require(length >= least, &LENGTH, name, || {
        format!("{length} bytes; at least {least}")
    });
    if name == "XSDT" || name == "MCFG" {
        let (from, entry) = if name == "XSDT" { (36, 8) } else { (44, 16) };
        let whole = length.saturating_sub(from).is_multiple_of(entry);
        report.require(whole, &LENGTH, name, || {
            format!("{length} bytes: the last entry is cut")
        });
    }
    report.require(
        !summed || checksum(&table.bytes) == 0,
        &CHECKSUM,
        name,
        || format!("the sum is {:#04x}", checksum(&table.bytes)),
    );
}

/// FADT fields by offset. ACPI 6.5 table 5.9.
fn fixed(fadt: &[u8], facts: &Facts, report: &mut Report) {
    const REDUCED: u32 = 1 << 20;
    const RESET_SUPPORTED: u32 = 1 << 10;
    let narrow = |at| u64::from(get_u32(fadt, at).unwrap_or_default());
    let byte = |at| get_u8(fadt, at).unwrap_or_default();
    let flags = get_u32(fadt, 112).unwrap_or_default();
    let facs = facts.set.find("FACS");
    let good = facs.is_some_and(|t| t.at.is_multiple_of(64) && t.bytes.len() >= 64);
    report.require(good || flags & REDUCED != 0, &FACS, "FACP", || {
        facs.map_or("none".into(), |t| {
            format!("at {:#x}, {} bytes", t.at, t.bytes.len())
        })
    });
    let no_smi = narrow(48) == 0;
    report.require(
        !no_smi || (byte(52), byte(53), byte(54)) == (0, 0, 0),
        &NO_SMI,
        "FACP",
        || format!("ACPI_ENABLE {:#x}, ACPI_DISABLE {:#x}", byte(52), byte(53)),
    );
    if flags & REDUCED == 0 {
        // Offsets of the port, of its length and of its other form, which later tables have; the length that it must have.
        for (what, at, length_at, wide, length) in [
            ("PM1a_EVT", 56, 88, 148, 4),
            ("PM1a_CNT", 64, 89, 172, 2),
            ("PM_TMR", 76, 91, 208, 4),
        ] {
            let port = narrow(at);
            let other = get_u64(fadt, wide + 4).filter(|_| byte(wide) == 1);
            let agree = other.is_none_or(|o| o == port || o == 0 || port == 0);
            let there = port != 0 || other.is_some_and(|o| o != 0);
            report.require(
                there && agree && byte(length_at) == length,
                &FIXED,
                "FACP",
                || {
                    format!(
                        "{what} at {port:#x} and {other:x?}, {} bytes",
                        byte(length_at)
                    )
                },
            );
        }
    }
    if flags & RESET_SUPPORTED != 0 {
        let (space, bits) = (byte(116), byte(117));
        let address = get_u64(fadt, 120).unwrap_or_default();
        report.require(
            space <= 1 && bits == 8 && address != 0,
            &RESET,
            "FACP",
            || format!("space {space}, {bits} bits at {address:#x}"),
        );
    }
}
