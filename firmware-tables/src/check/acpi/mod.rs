//! Rules that a PC's ACPI tables must hold.

mod dmar;
mod interrupts;
mod pci;
mod structure;

use super::{Finding, Report, Rule, Span};
use crate::acpi::aml::{self, Namespace, Resource, Value};
use crate::acpi::dmar::Dmar;
use crate::acpi::madt::{self, Entry};
use crate::acpi::{Image, Set, Table, get_u8, get_u16, get_u64};

/// Every rule, in the order in which they are checked.
pub fn rules() -> Vec<&'static Rule> {
    [structure::RULES, interrupts::RULES, pci::RULES, dmar::RULES].concat()
}

/// Holds the tables of a PC against every rule. An empty list means that nothing was found. A finding's path is a table, or an object in it.
pub fn tables(image: &Image) -> Vec<Finding> {
    let mut report = Report(Vec::new());
    let facts = Facts::of(image);
    structure::check(image, &facts, &mut report);
    interrupts::check(&facts, &mut report);
    pci::check(&facts, &mut report);
    dmar::check(&facts, &mut report);
    report.0
}

/// What the tables say, as far as it can be read.
struct Facts {
    set: Set,
    namespace: Namespace,
    /// `None` without a readable MADT.
    madt: Option<Vec<Entry>>,
    /// `None` without a readable DMAR table.
    dmar: Option<Dmar>,
    ecams: Vec<Ecam>,
    bridges: Vec<HostBridge>,
}

/// An entry of the MCFG.
struct Ecam {
    segment: u16,
    buses: (u8, u8),
    base: u64,
}

impl Ecam {
    /// Its memory; `None` if it passes the end of the address space.
    fn span(&self) -> Option<Span> {
        let buses = u64::from(self.buses.1.checked_sub(self.buses.0)?) + 1;
        let start = self.base.checked_add(u64::from(self.buses.0) << 20)?;
        Span::new(start, buses << 20)
    }
}

/// A host bridge of the DSDT.
struct HostBridge {
    path: String,
    segment: u64,
    buses: (u64, u64),
    resources: Vec<Resource>,
}

impl Facts {
    fn of(image: &Image) -> Facts {
        let set = Set::read(image);
        let body = |t: &Table| t.bytes.get(36..).unwrap_or_default().to_vec();
        let namespace = set.find("DSDT").map(body).map(|b| aml::read(&b));
        let namespace = namespace.unwrap_or_default();
        let mcfg = set
            .find("MCFG")
            .and_then(|t| t.bytes.get(44..))
            .unwrap_or_default();
        let ecam = |e: &[u8; 16]| Ecam {
            base: get_u64(e, 0).unwrap_or_default(),
            segment: get_u16(e, 8).unwrap_or_default(),
            buses: (e[10], e[11]),
        };
        Facts {
            madt: set.find("APIC").and_then(|t| madt::read(&t.bytes)),
            dmar: set
                .find("DMAR")
                .and_then(|t| crate::acpi::dmar::read(&t.bytes).ok()),
            ecams: mcfg.as_chunks::<16>().0.iter().map(ecam).collect(),
            bridges: bridges(&namespace),
            namespace,
            set,
        }
    }

    /// I/O APICs of the MADT: id and address.
    fn io_apics(&self) -> impl Iterator<Item = (u8, u32)> {
        self.madt.iter().flatten().filter_map(|e| match e {
            Entry::IoApic(io) => Some((io.id, io.address)),
            _ => None,
        })
    }

    /// HPET blocks: number and address.
    fn hpets(&self) -> impl Iterator<Item = (u8, u64)> {
        self.set
            .tables
            .iter()
            .filter(|t| t.signature() == "HPET")
            .filter_map(|t| Some((get_u8(&t.bytes, 52)?, get_u64(&t.bytes, 44)?)))
    }
}

fn bridges(space: &Namespace) -> Vec<HostBridge> {
    let bridge = |path: &str| {
        let value = |name| space.value(&format!("{path}.{name}"));
        let integer = |name| match value(name) {
            Some(Value::Integer(n)) => *n,
            _ => 0,
        };
        let resources = match value("_CRS") {
            Some(Value::Buffer(bytes)) => aml::resources(bytes),
            _ => Vec::new(),
        };
        let buses = resources.iter().find_map(|r| match r {
            Resource::Bus(first, last) => Some((*first, *last)),
            _ => None,
        });
        HostBridge {
            path: path.to_owned(),
            segment: integer("_SEG"),
            buses: buses.unwrap_or((integer("_BBN"), 255)),
            resources,
        }
    };
    let mut out: Vec<_> = space.devices("PNP0A08").map(bridge).collect();
    out.extend(space.devices("PNP0A03").map(bridge));
    out
}

#[cfg(test)]
mod tests;
