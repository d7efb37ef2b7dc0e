//! Counters of a machine. They cost an addition each.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Translations;
use super::cost::{self, Cost, CostSummary};

/// Counts of everything a guest asked for.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    usual_hypercalls: Usual,
    other_hypercalls: BTreeMap<u64, Kind>,
    rtas: BTreeMap<String, Kind>,
    /// Translations of DMA requests.
    pub translations: Translations,
    /// Instructions retired by all vCPUs.
    pub instructions: u64,
    /// Loads from device memory.
    pub mmio_reads: u64,
    /// Stores to device memory.
    pub mmio_writes: u64,
    /// Accesses to addresses where nothing answers.
    pub mmio_errors: u64,
    /// Reads of ports.
    pub port_reads: u64,
    /// Writes to ports.
    pub port_writes: u64,
    /// Accesses to ports where nothing answers.
    pub port_errors: u64,
    /// Why vCPUs stopped running instructions.
    pub exits: Exits,
}

/// Why vCPUs stopped running instructions, each so many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Exits {
    /// For a hypercall, but not H_RTAS. TCE hypercalls, and unknown ones, are answered without a stop.
    pub hypercalls: u64,
    /// For H_RTAS.
    pub rtas: u64,
    /// For a load or store of device memory.
    pub mmio: u64,
    /// Because the turn was over.
    pub turns: u64,
    /// Every vCPU waited: time was skipped.
    pub idle: u64,
}

impl Exits {
    /// A vCPU stopped by itself: because its turn was over, or else after it had accessed a device.
    pub fn count(&mut self, turn_over: bool) {
        if turn_over {
            self.turns += 1;
        } else {
            self.mmio += 1;
        }
    }
}

/// How often something was called, and how often it did not succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Calls {
    /// All calls.
    pub calls: u64,
    /// Those with a negative status.
    pub failed: u64,
}

/// Calls of one number or name.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    calls: Calls,
    cost: Cost,
}

/// Hypercalls with a number of LoPAR's, which are multiples of 4, by a quarter of it.
#[derive(Clone, Debug)]
struct Usual(Box<[Kind; 512]>);

impl Default for Usual {
    fn default() -> Self {
        Usual(Box::new([Kind::default(); 512]))
    }
}

impl Usual {
    #[inline]
    fn get_mut(&mut self, nr: u64) -> Option<&mut Kind> {
        // An odd number's low bits come out on top.
        self.0.get_mut(nr.rotate_right(2) as usize)
    }
}

/// More different numbers or names than this are counted together: a guest can invent any.
const MOST_KINDS: usize = 512;

impl Counters {
    /// A hypercall begins: the clock for [`Counters::hypercall_ends`], if this one is to be measured.
    #[inline]
    pub fn hypercall_begins(&mut self, nr: u64) -> Option<Instant> {
        let calls = &mut self.kind(nr).calls.calls;
        *calls += 1;
        Cost::start(*calls - 1)
    }

    /// A hypercall ended with `status`.
    #[inline]
    pub fn hypercall_ends(&mut self, nr: u64, status: i64, began: Option<Instant>) {
        if status < 0 || began.is_some() {
            self.kind(nr).ends(status, began);
        }
    }

    #[inline]
    fn kind(&mut self, nr: u64) -> &mut Kind {
        let usual = self.usual_hypercalls.get_mut(nr);
        usual.unwrap_or_else(|| other_kind(&mut self.other_hypercalls, nr))
    }

    /// An RTAS call begins: the clock for [`Counters::rtas_ends`], if this one is to be measured.
    pub fn rtas_begins(&self, name: &str) -> Option<Instant> {
        let known = self.rtas.get(name);
        Cost::start(known.map_or(0, |kind| kind.calls.calls))
    }

    /// An RTAS call ended with `status`.
    pub fn rtas_ends(&mut self, name: &str, status: i64, began: Option<Instant>) {
        if !self.rtas.contains_key(name) && self.rtas.len() < MOST_KINDS {
            self.rtas.insert(name.to_owned(), Kind::default());
        }
        if let Some(kind) = self.rtas.get_mut(name) {
            kind.calls.calls += 1;
            kind.ends(status, began);
        }
    }

    /// Hypercalls by name (`0x...` for an unknown number).
    pub fn hypercalls_by_name(&self) -> BTreeMap<String, Calls> {
        self.kinds().map(|(name, k)| (name, k.calls)).collect()
    }

    /// What they took of the host's time.
    pub fn hypercall_costs(&self) -> BTreeMap<String, CostSummary> {
        cost::summaries(self.kinds().map(|(name, k)| (name, k.cost)))
    }

    fn kinds(&self) -> impl Iterator<Item = (String, &Kind)> {
        let name = |nr: u64| {
            viommu_devices::spapr::hcall::name(nr).map_or_else(|| format!("{nr:#x}"), str::to_owned)
        };
        let usual = (0..).step_by(4).zip(self.usual_hypercalls.0.iter());
        usual
            .filter(|(_, kind)| kind.calls.calls > 0)
            .chain(self.other_hypercalls.iter().map(|(&nr, kind)| (nr, kind)))
            .map(move |(nr, kind)| (name(nr), kind))
    }

    /// RTAS calls by name.
    pub fn rtas_by_name(&self) -> BTreeMap<String, Calls> {
        let kinds = self.rtas.iter();
        kinds.map(|(name, k)| (name.clone(), k.calls)).collect()
    }

    /// What they took of the host's time.
    pub fn rtas_costs(&self) -> BTreeMap<String, CostSummary> {
        cost::summaries(self.rtas.iter().map(|(name, k)| (name.clone(), k.cost)))
    }
}

fn other_kind(others: &mut BTreeMap<u64, Kind>, nr: u64) -> &mut Kind {
    let nr = if others.len() < MOST_KINDS || others.contains_key(&nr) {
        nr
    } else {
        u64::MAX
    };
    others.entry(nr).or_default()
}

impl Kind {
    fn ends(&mut self, status: i64, began: Option<Instant>) {
        self.calls.failed += u64::from(status < 0);
        if let Some(began) = began {
            self.cost.add(began.elapsed());
        }
    }
}
