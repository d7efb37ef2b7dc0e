//! Tables in words, for people.

use std::fmt::Write;

use super::aml::{self, Kind, Namespace, Resource, Value};
use super::dmar::{self, Dmar, Scope, ScopeKind, Structure};
use super::image::{get_u8, get_u16, get_u32, get_u64};
use super::madt::{self, Entry};
use super::{Image, Set, Table, checksum};

/// All tables of an image. What cannot be read is said.
pub fn print(image: &Image) -> String {
    let set = Set::read(image);
    let mut out = String::new();
    if let Some(xsdt) = &set.xsdt {
        line(
            &mut out,
            format_args!(
                "RSDP at {:#x}: revision {}, XSDT at {:#x}",
                image.rsdp,
                get_u8(&set.rsdp, 15).unwrap_or_default(),
                xsdt.at
            ),
        );
    }
    for table in set.xsdt.iter().chain(&set.tables) {
        print_table(&mut out, table);
    }
    for fault in &set.faults {
        line(&mut out, format_args!("error: {fault}"));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

fn print_table(out: &mut String, table: &Table) {
    let bytes = &table.bytes;
    let signature = table.signature();
    let sum = if signature != "FACS" && checksum(bytes) != 0 {
        ", WRONG CHECKSUM"
    } else {
        ""
    };
    let header = match table.header().filter(|_| signature != "FACS") {
        Some(h) => format!(", revision {}, {} {}", h.revision, h.oem, h.oem_table),
        None => String::new(),
    };
    line(
        out,
        format_args!(
            "\n{signature} at {:#x}: {} bytes{header}{sum}",
            table.at,
            bytes.len()
        ),
    );
    match signature.as_str() {
        "XSDT" => {
            for entry in bytes.get(36..).unwrap_or_default().as_chunks::<8>().0 {
                line(out, format_args!("  {:#x}", u64::from_le_bytes(*entry)));
            }
        }
        "FACP" => fadt(out, bytes),
        "APIC" => print_madt(out, bytes),
        "MCFG" => mcfg(out, bytes),
        "HPET" => hpet(out, bytes),
        "DMAR" => match dmar::read(bytes) {
            Ok(dmar) => print_dmar(out, &dmar),
            Err(error) => line(out, format_args!("  error: {error}")),
        },
        "DSDT" | "SSDT" => {
            print_namespace(out, &aml::read(bytes.get(36..).unwrap_or_default()));
        }
        _ => {}
    }
}

fn fadt(out: &mut String, t: &[u8]) {
    let port = |at| get_u32(t, at).unwrap_or_default();
    line(
        out,
        format_args!(
            "  SCI {}, SMI port {:#x}, PM1a_EVT {:#x}, PM1a_CNT {:#x}, PM timer {:#x}, flags {:#x}, boot flags {:#x}",
            get_u16(t, 46).unwrap_or_default(),
            port(48),
            port(56),
            port(64),
            port(76),
            port(112),
            get_u16(t, 109).unwrap_or_default(),
        ),
    );
    line(
        out,
        format_args!(
            "  FACS {:#x}, DSDT {:#x}, reset by {:#x} to port {:#x}",
            port(36),
            get_u64(t, 140).unwrap_or_default(),
            get_u8(t, 128).unwrap_or_default(),
            get_u64(t, 120).unwrap_or_default(),
        ),
    );
}

fn print_madt(out: &mut String, t: &[u8]) {
    line(
        out,
        format_args!(
            "  local APICs at {:#x}, flags {:#x}",
            get_u32(t, 36).unwrap_or_default(),
            get_u32(t, 40).unwrap_or_default()
        ),
    );
    let Some(entries) = madt::read(t) else {
        line(out, format_args!("  error: a length leads nowhere"));
        return;
    };
    let off = |enabled: bool| if enabled { "" } else { ", disabled" };
    for entry in entries {
        match entry {
            Entry::LocalApic { uid, id, enabled } => {
                line(
                    out,
                    format_args!("  processor {uid}: APIC id {id}{}", off(enabled)),
                );
            }
            Entry::LocalX2Apic { uid, id, enabled } => {
                line(
                    out,
                    format_args!("  processor {uid}: x2APIC id {id}{}", off(enabled)),
                );
            }
            Entry::IoApic(io) => line(
                out,
                format_args!(
                    "  I/O APIC {} at {:#x}, interrupts from {}",
                    io.id, io.address, io.gsi_base
                ),
            ),
            Entry::Override(o) => line(
                out,
                format_args!(
                    "  ISA interrupt {} is interrupt {}, {}, active {}",
                    o.irq,
                    o.gsi,
                    if o.level { "level" } else { "edge" },
                    if o.active_low { "low" } else { "high" }
                ),
            ),
            Entry::LocalNmi { pin } => {
                line(out, format_args!("  NMI at LINT{pin} of all APICs"));
            }
            Entry::LocalX2Nmi { pin } => {
                line(out, format_args!("  NMI at LINT{pin} of all x2APICs"));
            }
            Entry::Unknown(kind, bytes) => {
                line(
                    out,
                    format_args!("  structure of type {kind}: {bytes:02x?}"),
                );
            }
        }
    }
}

fn mcfg(out: &mut String, t: &[u8]) {
    for e in t.get(44..).unwrap_or_default().as_chunks::<16>().0 {
        line(
            out,
            format_args!(
                "  segment {}, buses {:#04x} to {:#04x}, bus 0 at {:#x}",
                get_u16(e, 8).unwrap_or_default(),
                e[10],
                e[11],
                get_u64(e, 0).unwrap_or_default()
            ),
        );
    }
}

fn hpet(out: &mut String, t: &[u8]) {
    let id = get_u32(t, 36).unwrap_or_default();
    line(
        out,
        format_args!(
            "  block {} at {:#x}: {} timers, {}-bit counter, vendor {:#06x}",
            get_u8(t, 52).unwrap_or_default(),
            get_u64(t, 44).unwrap_or_default(),
            (id >> 8 & 31) + 1,
            if id >> 13 & 1 != 0 { 64 } else { 32 },
            id >> 16
        ),
    );
}

/// A DMAR table's contents, a structure a line and its scopes below.
fn print_dmar(out: &mut String, dmar: &Dmar) {
    let flag = |on: bool, name| if on { name } else { "" };
    line(
        out,
        format_args!(
            "  host address width {} bits{}{}{}",
            dmar.host_address_width,
            flag(dmar.interrupt_remapping, ", INTR_REMAP"),
            flag(dmar.x2apic_opt_out, ", X2APIC_OPT_OUT"),
            flag(dmar.dma_control_opt_in, ", DMA_CTRL_PLATFORM_OPT_IN_FLAG")
        ),
    );
    for structure in &dmar.structures {
        let detail = match structure {
            Structure::Drhd(d) => format!(
                "registers at {:#x} ({} KiB){}",
                d.address,
                4u64 << d.size,
                flag(d.include_pci_all, ", INCLUDE_PCI_ALL")
            ),
            Structure::Rmrr(r) => format!("memory {:#x} to {:#x}", r.base, r.limit),
            Structure::Atsr(a) => flag(a.all_ports, "ALL_PORTS").to_owned(),
            Structure::Rhsa(r) => format!(
                "registers at {:#x}, proximity domain {}",
                r.address, r.proximity
            ),
            Structure::Andd(a) => format!("device {} is {}", a.number, a.name.escape_debug()),
            Structure::Satc(s) => flag(s.required, "ATC_REQUIRED").to_owned(),
            Structure::Sidp(_) => String::new(),
            Structure::Unknown(kind, bytes) => format!("of type {kind}: {bytes:02x?}"),
        };
        let (segment, scopes) = structure.scopes().map_or((None, &[][..]), |(s, scopes)| {
            (Some(format!("segment {s}")), scopes)
        });
        let words = [segment.unwrap_or_default(), detail];
        let words: Vec<_> = words.into_iter().filter(|w| !w.is_empty()).collect();
        line(
            out,
            format_args!("  {}: {}", structure.name(), words.join(", ")),
        );
        for scope in scopes {
            line(out, format_args!("    {}", scope_text(scope)));
        }
    }
}

fn scope_text(scope: &Scope) -> String {
    let what = match scope.kind {
        ScopeKind::Endpoint => "PCI endpoint".to_owned(),
        ScopeKind::Bridge => "PCI bridge and all behind it".to_owned(),
        ScopeKind::IoApic => format!("I/O APIC {}", scope.enumeration_id),
        ScopeKind::Hpet => format!("HPET {}", scope.enumeration_id),
        ScopeKind::Namespace => format!("ACPI device {}", scope.enumeration_id),
        ScopeKind::Other(code) => format!("type {code}, id {}", scope.enumeration_id),
    };
    let path: Vec<_> = scope
        .path
        .iter()
        .map(|(device, function)| format!("{device:02x}.{function:x}"))
        .collect();
    let flags = match scope.flags {
        0 => String::new(),
        flags => format!(", flags {flags:#04x}"),
    };
    format!(
        "{what} at {:02x}:{}{flags}",
        scope.start_bus,
        path.join("/")
    )
}

fn print_namespace(out: &mut String, space: &Namespace) {
    for object in &space.objects {
        let detail = match &object.kind {
            Kind::Device => ": device".to_owned(),
            Kind::Processor => ": processor".to_owned(),
            Kind::Method(args) => format!(": method of {args} arguments"),
            Kind::Other => String::new(),
            Kind::Name(value) if object.path.ends_with("_HID") || object.path.ends_with("_CID") => {
                let id = aml::hardware_id(value);
                format!(" = {}", id.unwrap_or_else(|| value_text(value)))
            }
            Kind::Name(Value::Buffer(bytes)) if object.path.ends_with("_CRS") => {
                let list = aml::resources(bytes);
                format!(
                    " = {}",
                    list.iter()
                        .map(resource_text)
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }
            Kind::Name(value) => format!(" = {}", value_text(value)),
        };
        line(out, format_args!("  {}{detail}", object.path));
    }
    if space.unread != 0 {
        line(
            out,
            format_args!("  {} bytes could not be read", space.unread),
        );
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Integer(n) => format!("{n:#x}"),
        Value::Text(text) => format!("{text:?}"),
        Value::Buffer(bytes) => format!("{bytes:02x?}"),
        Value::Reference(name) => name.clone(),
        Value::Package(list) => {
            let list: Vec<_> = list.iter().map(value_text).collect();
            format!("{{{}}}", list.join(", "))
        }
    }
}

fn resource_text(resource: &Resource) -> String {
    match resource {
        Resource::Memory(first, last) => format!("memory {first:#x}-{last:#x}"),
        Resource::Io(first, last) => format!("ports {first:#x}-{last:#x}"),
        Resource::Bus(first, last) => format!("buses {first:#x}-{last:#x}"),
        Resource::Interrupts(list) => format!("interrupts {list:?}"),
        Resource::Other(tag) => format!("descriptor {tag:#04x}"),
    }
}
