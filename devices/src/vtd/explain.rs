//! A walk as a tree, for people and for programs: each structure, its address and value, its fields, and where and why the walk ends.

use std::fmt;

use serde::Serialize;

use super::Vtd;
use super::memory::TableMemory;
use super::request::{Fault, Request, Structure, Translation};
use super::spec::context::{ContextEntry, ScalableContextEntry};
use super::spec::paging::{ADDRESS, first, second};
use super::spec::pasid::{PasidDirectoryEntry, PasidEntry};
use super::spec::root::RootEntry;
use super::walk::Observer;

/// One structure of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which structure.
    pub structure: Structure,
    /// Where the entry is.
    pub address: u64,
    /// Its quadwords.
    pub raw: Vec<u64>,
    /// Its fields, by their names in the specification.
    pub fields: Vec<(&'static str, u64)>,
    /// The second-stage walks that led to `address`, and those that its accessed and dirty bits needed.
    pub nested: Vec<Nested>,
}

/// A second-stage walk inside a first-stage one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nested {
    /// The guest address that was translated.
    pub input: u64,
    /// What it became, if it did.
    pub output: Option<u64>,
    /// Its entries.
    pub steps: Vec<Step>,
}

/// A walk and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The requester, as bus:device.function.
    pub source: String,
    /// PASID of the request.
    pub pasid: Option<u32>,
    /// Its address.
    pub address: u64,
    /// The entries, in order.
    pub steps: Vec<Step>,
    /// Second-stage walks after the last entry: of the page itself.
    pub page: Vec<Nested>,
    /// The page, if the walk succeeded.
    pub translation: Option<Translation>,
    /// The fault, if not.
    pub fault: Option<Fault>,
}

impl<M: TableMemory> Vtd<M> {
    /// Walks for a request as if nothing were cached, and shows each step. Records no fault, and leaves memory as it is: no accessed and
    /// no dirty bit is set.
    pub fn explain(&self, request: &Request) -> Explanation {
        let mut tree = Tree::default();
        let result = self.look(request, &mut tree);
        Explanation {
            source: format!("{:?}", request.source),
            pasid: request.pasid.map(|p| p.0),
            address: request.address,
            steps: tree.steps,
            page: tree.pending,
            translation: result.ok(),
            fault: result.err(),
        }
    }
}

#[derive(Default)]
struct Tree {
    steps: Vec<Step>,
    /// Nested walks that belong to the next step.
    pending: Vec<Nested>,
    /// The nested walk under way.
    open: Option<Nested>,
}

impl Observer for Tree {
    fn fetched(&mut self, structure: Structure, address: u64, words: &[u64]) {
        let step = Step {
            structure,
            address,
            raw: words.to_vec(),
            fields: fields(structure, words),
            nested: Vec::new(),
        };
        match &mut self.open {
            Some(nested) => nested.steps.push(step),
            None => self.steps.push(Step {
                nested: std::mem::take(&mut self.pending),
                ..step
            }),
        }
    }

    fn begin_nested(&mut self, input: u64) {
        self.open = Some(Nested {
            input,
            output: None,
            steps: Vec::new(),
        });
    }

    fn end_nested(&mut self, output: Option<u64>) {
        self.pending
            .extend(self.open.take().map(|n| Nested { output, ..n }));
    }
}

fn fields(structure: Structure, words: &[u64]) -> Vec<(&'static str, u64)> {
    let word = |i: usize| words.get(i).copied().unwrap_or(0);
    let bit = |value: u64, mask: u64| u64::from(value & mask != 0);
    match structure {
        Structure::RootEntry | Structure::ScalableRootEntry => {
            let e = RootEntry(word(0));
            vec![("P", e.present().into()), ("CTP", e.context_table())]
        }
        Structure::ContextEntry => {
            let e = ContextEntry([word(0), word(1)]);
            vec![
                ("P", e.present().into()),
                ("FPD", e.fault_processing_disabled().into()),
                ("TT", word(0) >> 2 & 3),
                ("SSPTPTR", e.second_stage()),
                ("AW", e.address_width().into()),
                ("DID", e.domain().into()),
            ]
        }
        Structure::ScalableContextEntry => {
            let e = ScalableContextEntry([word(0), word(1), word(2), word(3)]);
            vec![
                ("P", e.present().into()),
                ("FPD", e.fault_processing_disabled().into()),
                ("DTE", e.device_tlb_enabled().into()),
                ("PASIDE", e.pasid_enabled().into()),
                ("PRE", e.page_requests_enabled().into()),
                ("PDTS", word(0) >> 9 & 7),
                ("PASIDDIRPTR", e.pasid_directory()),
                ("RID_PASID", e.rid_pasid().into()),
                ("RID_PRIV", e.rid_privileged().into()),
            ]
        }
        Structure::PasidDirectoryEntry => {
            let e = PasidDirectoryEntry(word(0));
            vec![
                ("P", e.present().into()),
                ("FPD", e.fault_processing_disabled().into()),
                ("SMPTBLPTR", e.table()),
            ]
        }
        Structure::PasidEntry => {
            let e = PasidEntry([word(0), word(1), word(2)]);
            let flag = |f| u64::from(e.first_stage_flag(f));
            vec![
                ("P", e.present().into()),
                ("FPD", e.fault_processing_disabled().into()),
                ("AW", e.address_width().into()),
                ("PGTT", word(0) >> 6 & 7),
                ("SSADE", e.second_stage_ad().into()),
                ("SSPTPTR", e.second_stage()),
                ("DID", e.domain().into()),
                ("PWSNP", e.page_walk_snoop().into()),
                ("PGSNP", bit(word(1), PasidEntry::PGSNP)),
                ("SRE", flag(PasidEntry::SRE)),
                ("ERE", flag(PasidEntry::ERE)),
                ("FSPM", e.paging_mode().into()),
                ("WPE", flag(PasidEntry::WPE)),
                ("NXE", flag(PasidEntry::NXE)),
                ("SMEP", flag(PasidEntry::SMEP)),
                ("EAFE", flag(PasidEntry::EAFE)),
                ("FSPTPTR", e.first_stage()),
            ]
        }
        Structure::FirstStage(_) => vec![
            ("P", bit(word(0), first::P)),
            ("R/W", bit(word(0), first::RW)),
            ("U/S", bit(word(0), first::US)),
            ("A", bit(word(0), first::A)),
            ("D", bit(word(0), first::D)),
            ("PS", bit(word(0), first::PS)),
            ("G", bit(word(0), first::G)),
            ("EA", bit(word(0), first::EA)),
            ("XD", bit(word(0), first::XD)),
            ("ADDR", word(0) & ADDRESS),
        ],
        Structure::SecondStage(_) => vec![
            ("R", bit(word(0), second::R)),
            ("W", bit(word(0), second::W)),
            ("PS", bit(word(0), second::PS)),
            ("A", bit(word(0), second::A)),
            ("D", bit(word(0), second::D)),
            ("SNP", bit(word(0), second::SNP)),
            ("ADDR", word(0) & ADDRESS),
        ],
        Structure::Irte | Structure::PostedDescriptor => vec![],
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request of {} to {:#x}", self.source, self.address)?;
        match self.pasid {
            Some(p) => writeln!(f, ", PASID {p:#x}")?,
            None => writeln!(f)?,
        }
        for step in &self.steps {
            write_step(f, step, 1)?;
        }
        for nested in &self.page {
            write_nested(f, nested, 1)?;
        }
        match (&self.translation, &self.fault) {
            (Some(t), _) => writeln!(
                f,
                "  => {:#x} in a page of 2^{} bytes, read {}, write {}, execute {}",
                t.address, t.page_shift, t.read, t.write, t.execute
            ),
            (None, Some(fault)) => {
                let (code, name) = (fault.reason.code(), fault.reason.condition());
                write!(
                    f,
                    "  => fault {code:#04x} ({name}): {}",
                    fault.reason.text()
                )?;
                match fault.place {
                    Some(p) => writeln!(f, ", at {:?} {:#x}", p.structure, p.address),
                    None => writeln!(f),
                }
            }
            (None, None) => Ok(()),
        }
    }
}

fn write_step(f: &mut fmt::Formatter<'_>, step: &Step, depth: usize) -> fmt::Result {
    for nested in &step.nested {
        write_nested(f, nested, depth)?;
    }
    write!(
        f,
        "{:depth$}{:?} at {:#x}:",
        "",
        step.structure,
        step.address,
        depth = 2 * depth
    )?;
    for word in &step.raw {
        write!(f, " {word:#018x}")?;
    }
    for (name, value) in step.fields.iter().filter(|(_, v)| *v != 0) {
        write!(f, " {name}={value:#x}")?;
    }
    writeln!(f)
}

fn write_nested(f: &mut fmt::Formatter<'_>, nested: &Nested, depth: usize) -> fmt::Result {
    writeln!(
        f,
        "{:depth$}second stage of {:#x}:",
        "",
        nested.input,
        depth = 2 * depth
    )?;
    for step in &nested.steps {
        write_step(f, step, depth + 1)?;
    }
    match nested.output {
        Some(output) => writeln!(f, "{:depth$}is {output:#x}", "", depth = 2 * depth),
        None => writeln!(f, "{:depth$}faults", "", depth = 2 * depth),
    }
}
