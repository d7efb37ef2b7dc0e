//! Counters of a machine. They cost an addition each.

use std::collections::BTreeMap;
use std::time::Instant;

use super::cost::{self, Cost, CostSummary};

/// Counts of everything a guest asked for.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Those with a number of LoPAR's, which are multiples of 4, by a quarter of it.
    usual_hypercalls: Vec<Kind>,
    other_hypercalls: BTreeMap<u64, Kind>,
    rtas: BTreeMap<String, Calls>,
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
    /// For a hypercall, but not H_RTAS.
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

/// Hypercalls of one number.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    calls: Calls,
    cost: Cost,
}

/// Numbers of hypercalls, in quarters, that have a place of their own.
const USUAL: u64 = 512;
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
            let kind = self.kind(nr);
            kind.calls.failed += u64::from(status < 0);
            if let Some(began) = began {
                kind.cost.add(began);
            }
        }
    }

    fn kind(&mut self, nr: u64) -> &mut Kind {
        if is_usual(nr) {
            if self.usual_hypercalls.is_empty() {
                self.usual_hypercalls = vec![Kind::default(); USUAL as usize];
            }
            if let Some(kind) = self.usual_hypercalls.get_mut(nr as usize / 4) {
                return kind;
            }
        }
        let others = &mut self.other_hypercalls;
        let nr = if others.len() < MOST_KINDS || others.contains_key(&nr) {
            nr
        } else {
            u64::MAX
        };
        others.entry(nr).or_default()
    }

    /// An RTAS call ended with `status`.
    pub fn rtas(&mut self, name: &str, status: i64) {
        if let Some(calls) = self.rtas.get_mut(name) {
            calls.count(status);
        } else if self.rtas.len() < MOST_KINDS {
            self.rtas.entry(name.to_owned()).or_default().count(status);
        }
    }

    /// Hypercalls by name (`0x...` for an unknown number).
    pub fn hypercalls_by_name(&self) -> BTreeMap<String, Calls> {
        self.kinds().map(|(name, k)| (name, k.calls)).collect()
    }

    /// What they took of the host's time.
    pub fn costs_by_name(&self) -> BTreeMap<String, CostSummary> {
        cost::summaries(self.kinds().map(|(name, k)| (name, k.cost)))
    }

    fn kinds(&self) -> impl Iterator<Item = (String, &Kind)> {
        let name = |nr: u64| {
            viommu_devices::spapr::hcall::name(nr).map_or_else(|| format!("{nr:#x}"), str::to_owned)
        };
        let usual = (0..).step_by(4).zip(&self.usual_hypercalls);
        usual
            .filter(|(_, kind)| kind.calls.calls > 0)
            .chain(self.other_hypercalls.iter().map(|(&nr, kind)| (nr, kind)))
            .map(move |(nr, kind)| (name(nr), kind))
    }

    /// RTAS calls by name.
    pub fn rtas_by_name(&self) -> BTreeMap<String, Calls> {
        self.rtas.clone()
    }
}

fn is_usual(nr: u64) -> bool {
    nr < USUAL * 4 && nr.is_multiple_of(4)
}

impl Calls {
    fn count(&mut self, status: i64) {
        self.calls += 1;
        self.failed += u64::from(status < 0);
    }
}
