use super::*;
use crate::acpi::dmar::{Andd, Rhsa, Rmrr, Scope, ScopeKind, Structure};
use crate::acpi::tests::{full, image};
use crate::acpi::{Description, IoApic, Override, checksum};
use std::collections::BTreeSet;

#[test]
fn a_whole_pc_has_no_findings() {
    assert_eq!(tables(&image(&full())), []);
}

/// The same machine without what is optional.
#[test]
fn a_small_pc_has_no_findings() {
    let mut d = full();
    d.cpus = vec![0];
    d.bridges.truncate(1);
    (d.hpet, d.serial, d.rtc, d.dmar) = (None, None, false, None);
    assert_eq!(tables(&image(&d)), []);
}

/// A rule and a description that breaks it.
type Described = (&'static str, fn(&mut Description));

const DESCRIBED: &[Described] = &[
    ("apic-ids", |d| d.cpus.clear()),
    ("apic-ids", |d| d.cpus[1] = 0),
    ("io-apics", |d| d.io_apics.clear()),
    ("io-apics", |d| d.io_apics[0].gsi_base = 24),
    ("io-apics", |d| {
        d.io_apics.push(IoApic {
            gsi_base: 24,
            ..d.io_apics[0]
        });
    }),
    ("overrides", |d| {
        d.overrides.push(Override {
            gsi: 7,
            ..d.overrides[0]
        });
    }),
    ("sci", |d| d.overrides.truncate(1)),
    ("sci", |d| d.overrides[1].level = false),
    ("mcfg", |d| d.bridges[1].ecam = 0xb800_0000),
    ("mcfg", |d| d.bridges[1].ecam += 4096),
    ("bridge-windows", |d| {
        d.bridges[0].memory.push((0xbfff_0000, 0xbfff_ffff));
    }),
    ("bridge-windows", |d| d.bridges[0].memory[0].1 = 0xfec0_0000),
    ("bridge-windows", |d| {
        d.bridges[0].memory.push((0xe_0000, 0xe_ffff))
    }),
    ("bridge-windows", |d| {
        d.bridges[0].memory.push((0xfed9_1000, 0xfed9_1fff))
    }),
    ("fixed-hardware", |d| d.power.pm_timer = 0),
    ("dmar-order", |d| structures(d).swap(0, 3)),
    ("dmar-order", |d| structures(d).clear()),
    ("x2apic-opt-out", |d| dmar(d).interrupt_remapping = false),
    ("include-pci-all", |d| drhd(d, 1).include_pci_all = false),
    ("include-pci-all", |d| drhd(d, 0).include_pci_all = true),
    ("include-pci-all", |d| structures(d).swap(0, 1)),
    ("include-pci-all", |d| {
        structures(d).remove(2);
    }),
    ("include-pci-all", |d| {
        drhd(d, 1)
            .scopes
            .push(Scope::new(ScopeKind::Endpoint, 0, 0, 9, 0));
    }),
    ("drhd-registers", |d| drhd(d, 0).address += 8),
    ("drhd-registers", |d| drhd(d, 1).size = 1),
    ("drhd-registers", |d| drhd(d, 0).address = 0xfed9_1000),
    ("io-apic-scope", |d| {
        drhd(d, 1).scopes.remove(0);
    }),
    ("io-apic-scope", |d| drhd(d, 1).scopes[0].start_bus = 0),
    ("io-apic-scope", |d| d.io_apics[0].id = 4),
    ("scope-resolves", |d| d.io_apics[0].id = 4),
    ("scope-resolves", |d| {
        drhd(d, 1).scopes[1].enumeration_id = 1
    }),
    ("scope-resolves", |d| {
        drhd(d, 1).scopes[2].enumeration_id = 8
    }),
    ("scope-resolves", |d| drhd(d, 0).scopes[0].path[0].0 = 32),
    ("scope-resolves", |d| drhd(d, 0).scopes[0].path[0].1 = 8),
    ("scope-resolves", |d| drhd(d, 0).scopes[0].path.clear()),
    ("scope-resolves", |d| d.bridges[0].buses.0 = 1),
    ("scope-kinds", |d| match &mut structures(d)[4] {
        Structure::Atsr(a) => a.all_ports = true,
        other => panic!("{other:?}"),
    }),
    ("scope-kinds", |d| {
        drhd(d, 0).scopes[0].kind = ScopeKind::Other(9)
    }),
    ("scope-kinds", |d| match &mut structures(d)[8] {
        Structure::Satc(s) => s.scopes[0].kind = ScopeKind::Bridge,
        other => panic!("{other:?}"),
    }),
    ("scope-once", |d| {
        let scope = drhd(d, 0).scopes[0].clone();
        drhd(d, 0).scopes.push(scope);
    }),
    ("rmrr-region", |d| rmrr(d).limit = 0x7000_fffe),
    ("rmrr-region", |d| rmrr(d).base = 0x7001_0000),
    ("rmrr-region", |d| rmrr(d).scopes.clear()),
    ("rhsa", |d| {
        structures(d)[6] = Structure::Rhsa(Rhsa {
            address: 0xfed9_4000,
            proximity: 0,
        });
    }),
    ("andd", |d| {
        structures(d)[7] = Structure::Andd(Andd {
            number: 7,
            name: "\\_SB.NONE".into(),
        });
    }),
    ("andd", |d| {
        let andd = structures(d)[7].clone();
        structures(d).insert(7, andd);
    }),
];

fn dmar(d: &mut Description) -> &mut Dmar {
    d.dmar.as_mut().unwrap()
}

fn structures(d: &mut Description) -> &mut Vec<Structure> {
    &mut dmar(d).structures
}

fn drhd(d: &mut Description, index: usize) -> &mut crate::acpi::dmar::Drhd {
    match &mut structures(d)[index] {
        Structure::Drhd(drhd) => drhd,
        other => panic!("{other:?}"),
    }
}

fn rmrr(d: &mut Description) -> &mut Rmrr {
    match &mut structures(d)[3] {
        Structure::Rmrr(rmrr) => rmrr,
        other => panic!("{other:?}"),
    }
}

/// A rule, a table, and a change of its bytes that breaks the rule. The checksum is mended afterwards.
type Patched = (&'static str, &'static str, fn(&mut [u8]));

const PATCHED: &[Patched] = &[
    ("table-length", "HPET", |t| t[4] = 40),
    ("table-length", "MCFG", |t| t[4] -= 8),
    ("required-tables", "APIC", |t| t[0] = b'X'),
    ("required-tables", "HPET", |t| {
        t[..4].copy_from_slice(b"DMAR")
    }),
    ("pointers", "XSDT", |t| t[40] ^= 0xff),
    ("pointers", "XSDT", |t| t[0] = b'R'),
    ("pointers", "DMAR", |t| t[6] = 1),
    ("facs", "FACP", |t| t[36..40].fill(0)),
    ("acpi-mode", "FACP", |t| t[52] = 1),
    ("fixed-hardware", "FACP", |t| t[88] = 2),
    ("fixed-hardware", "FACP", |t| t[64] = 9),
    ("reset-register", "FACP", |t| t[117] = 32),
    ("reset-register", "FACP", |t| t[116] = 4),
    ("aml", "DSDT", |t| t[36] = 0xfe),
    ("madt", "APIC", |t| t[45] = 0),
    ("xapic-id", "APIC", |t| t[47] = 255),
    ("dmar", "DMAR", |t| t[50] = 3),
    ("dmar", "DMAR", |t| t[65] = 5),
    // The mnemonic of the motherboard's _HID: PNP0C02 becomes PNP0C03.
    ("ecam-reserved", "DSDT", |t| {
        let at = t
            .windows(5)
            .position(|w| w == [0x0c, 0x41, 0xd0, 0x0c, 0x02])
            .unwrap();
        t[at + 4] = 3;
    }),
    ("bridge-ecam", "MCFG", |t| t[44 + 11] = 7),
];

fn patched(signature: &str, change: fn(&mut [u8]), mend: bool) -> Image {
    let mut image = image(&full());
    let set = Set::read(&image);
    let mut all = set.xsdt.iter().chain(&set.tables);
    let table = all.find(|t| t.signature() == signature).unwrap();
    let start = (table.at - image.pieces[0].at) as usize;
    let bytes = &mut image.pieces[0].bytes[start..start + table.bytes.len()];
    change(bytes);
    if mend {
        // The length may have been changed.
        let length = (crate::acpi::get_u32(bytes, 4).unwrap() as usize).min(bytes.len());
        bytes[9] = bytes[9].wrapping_sub(checksum(&bytes[..length]));
    }
    image
}

fn found(image: &Image) -> Vec<&'static str> {
    tables(image).iter().map(|f| f.rule.id).collect()
}

#[test]
fn each_rule_finds_what_breaks_it() {
    for (n, (rule, change)) in DESCRIBED.iter().enumerate() {
        let mut d = full();
        change(&mut d);
        let found = found(&image(&d));
        assert!(found.contains(rule), "case {n}, {rule}: {found:?}");
    }
    for (n, (rule, table, change)) in PATCHED.iter().enumerate() {
        let found = found(&patched(table, *change, true));
        assert!(found.contains(rule), "patch {n}, {rule}: {found:?}");
    }
    let sum = found(&patched("DMAR", |t| t[40] ^= 1, false));
    assert_eq!(sum, ["table-checksum"]);
}

#[test]
fn the_root_pointer_is_held_to_its_rule() {
    for at in [8, 15, 20, 33] {
        let mut image = image(&full());
        image.pieces[0].bytes[at] ^= 1;
        assert!(found(&image).contains(&"rsdp"), "byte {at}");
    }
    let mut image = image(&full());
    image.rsdp += 1;
    assert!(found(&image).contains(&"pointers"));
}

#[test]
fn tables_apart() {
    let mut image = image(&full());
    // The second entry of the XSDT leads to the third table, so that this one is there twice.
    let set = Set::read(&image);
    let third = set.tables[2].at;
    let xsdt = (set.xsdt.unwrap().at - image.pieces[0].at) as usize;
    let bytes = &mut image.pieces[0].bytes;
    bytes[xsdt + 36 + 8..xsdt + 44 + 8].copy_from_slice(&third.to_le_bytes());
    assert!(found(&image).contains(&"tables-apart"));
}

/// Every rule has a case above.
#[test]
fn every_rule_can_be_broken() {
    let mut tested: BTreeSet<_> = DESCRIBED.iter().map(|c| c.0).collect();
    tested.extend(PATCHED.iter().map(|c| c.0));
    tested.extend(["table-checksum", "rsdp", "tables-apart"]);
    let all: BTreeSet<_> = rules().iter().map(|r| r.id).collect();
    assert_eq!(tested, all);
    assert_eq!(all.len(), rules().len(), "two rules have the same name");
}
