//! Where a guest executes its instructions, and what the CPUs' engine does for it.

use std::collections::BTreeMap;

use object::{Object, ObjectSymbol, SymbolKind};
use serde::Serialize;
use viommu_cpu::engine::EngineStats;
use viommu_cpu::{ppc64, x86_64};

use super::Exits;

/// Where the kernel maps the memory that it runs in real mode at the same address without these bits.
const KERNEL: u64 = 0xc000 << 48;
/// Functions that a profile keeps.
const FUNCTIONS: usize = 200;
/// Symbols that are read of a file.
const MAX_SYMBOLS: usize = 1 << 21;

/// Names of kernel functions by address.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// In the order of addresses.
    names: Vec<(u64, String)>,
}

impl Symbols {
    /// Those of an ELF file; none if it has none or is none.
    pub fn of_elf(file: &[u8]) -> Symbols {
        let Ok(elf) = object::File::parse(file) else {
            return Symbols::default();
        };
        let is_code = |kind| matches!(kind, SymbolKind::Text | SymbolKind::Unknown);
        let names = elf
            .symbols()
            .filter(|s| s.is_definition() && s.address() != 0 && is_code(s.kind()))
            .filter_map(|s| Some((s.address(), s.name().ok()?.to_owned())));
        Symbols::new(names.take(MAX_SYMBOLS).collect())
    }

    /// Those of a System.map or of /proc/kallsyms: `ADDRESS TYPE NAME` on each line.
    ///
    /// # Errors
    /// A line is not like that.
    pub fn of_map(text: &str) -> Result<Symbols, String> {
        let mut names = Vec::new();
        for (n, line) in text.lines().take(MAX_SYMBOLS).enumerate() {
            let mut words = line.split_whitespace();
            let (address, kind, name) = (words.next(), words.next(), words.next());
            let address = address.and_then(|a| u64::from_str_radix(a, 16).ok());
            let (Some(address), Some(kind), Some(name)) = (address, kind, name) else {
                return Err(format!("line {} is not `ADDRESS TYPE NAME`", n + 1));
            };
            if matches!(kind, "t" | "T" | "w" | "W") {
                names.push((address, name.to_owned()));
            }
        }
        if names.iter().all(|(address, _)| *address == 0) {
            return Err("no addresses of functions in it".to_owned());
        }
        Ok(Symbols::new(names))
    }

    fn new(mut names: Vec<(u64, String)>) -> Symbols {
        names.sort();
        names.dedup_by_key(|(address, _)| *address);
        Symbols { names }
    }

    /// The function that has the instruction at `pc`.
    fn name(&self, pc: u64) -> Option<&str> {
        let pc = if pc < KERNEL { pc | KERNEL } else { pc };
        let after = self.names.partition_point(|(address, _)| *address <= pc);
        let (_, name) = self.names.get(after.checked_sub(1)?)?;
        Some(name)
    }
}

/// Where instructions were executed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Instructions of a vCPU from one sample to the next.
    pub every: u64,
    /// Samples of all vCPUs.
    pub samples: u64,
    /// Those in each function, the most first. Of programs there is one, `[programs]`; what has no name is `[unknown]`.
    pub functions: Vec<Function>,
    /// Interrupts that vCPUs took, by vector.
    pub vectors: BTreeMap<String, u64>,
    /// Why vCPUs stopped running instructions.
    pub exits: Exits,
}

/// A function of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Samples in it.
    pub samples: u64,
}

/// A vCPU that notes where it is.
pub trait Sampled {
    /// Instructions by address, and whether a program's: how often they were noted.
    fn samples(&self) -> impl Iterator<Item = ((u64, bool), u64)>;

    /// Interrupts and exceptions that it took, by vector.
    fn vectors(&self) -> impl Iterator<Item = (u64, u64)>;
}

impl Sampled for ppc64::Cpu {
    fn samples(&self) -> impl Iterator<Item = ((u64, bool), u64)> {
        ppc64::Cpu::samples(self)
    }

    fn vectors(&self) -> impl Iterator<Item = (u64, u64)> {
        let vectors = self.counters().interrupts.iter();
        vectors.map(|(vector, n)| (*vector, *n))
    }
}

impl Sampled for x86_64::Cpu {
    fn samples(&self) -> impl Iterator<Item = ((u64, bool), u64)> {
        x86_64::Cpu::samples(self)
    }

    fn vectors(&self) -> impl Iterator<Item = (u64, u64)> {
        let counters = self.counters();
        let all = counters.exceptions.iter().chain(&counters.interrupts);
        all.map(|(vector, n)| (u64::from(*vector), *n))
    }
}

impl Profile {
    /// What the vCPUs noted, and why they stopped.
    pub fn of(cpus: &[impl Sampled], every: u64, symbols: &Symbols, exits: Exits) -> Profile {
        let mut functions = BTreeMap::<&str, u64>::new();
        let mut vectors = BTreeMap::<String, u64>::new();
        for cpu in cpus {
            for ((pc, program), n) in cpu.samples() {
                let name = if program {
                    "[programs]"
                } else {
                    symbols.name(pc).unwrap_or("[unknown]")
                };
                *functions.entry(name).or_default() += n;
            }
            for (vector, n) in cpu.vectors() {
                *vectors.entry(format!("{vector:#x}")).or_default() += n;
            }
        }
        let samples = functions.values().sum();
        let mut functions: Vec<Function> = functions
            .into_iter()
            .map(|(name, samples)| Function {
                name: name.to_owned(),
                samples,
            })
            .collect();
        functions.sort_by(|a, b| b.samples.cmp(&a.samples).then(a.name.cmp(&b.name)));
        functions.truncate(FUNCTIONS);
        Profile {
            every,
            samples,
            functions,
            vectors,
            exits,
        }
    }
}

/// What the engine did: see [`EngineStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EngineSummary {
    /// Blocks decoded.
    pub blocks_decoded: u64,
    /// Guest instructions decoded.
    pub instructions_decoded: u64,
    /// Blocks compiled.
    pub blocks_compiled: u64,
    /// Runs of blocks that were compared on both tiers.
    pub blocks_verified: u64,
    /// Pages of which cached code was thrown away.
    pub pages_invalidated: u64,
    /// Times that all code was thrown away because there was no room.
    pub resets: u64,
    /// Times compiled code was entered.
    pub entries: u64,
    /// Blocks that the jump cache did not have.
    pub jump_misses: u64,
    /// Loads and stores that the soft TLB did not have.
    pub tlb_misses: u64,
    /// Host time for decoding and compiling, in seconds.
    pub translation_seconds: f64,
}

impl From<EngineStats> for EngineSummary {
    fn from(s: EngineStats) -> Self {
        EngineSummary {
            blocks_decoded: s.blocks_decoded,
            instructions_decoded: s.instructions_decoded,
            blocks_compiled: s.blocks_compiled,
            blocks_verified: s.blocks_verified,
            pages_invalidated: s.pages_invalidated,
            resets: s.resets,
            entries: s.entries,
            jump_misses: s.jump_misses,
            tlb_misses: s.tlb_misses,
            translation_seconds: s.translation.as_secs_f64(),
        }
    }
}
