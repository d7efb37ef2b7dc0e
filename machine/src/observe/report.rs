//! The report of a run. Everything but [`Report::host`] is the same in every run of the same inputs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::console::Phase;
use super::cost::CostSummary;
use super::counters::Calls;
use super::iommu::IommuSummary;
use super::pc::{PcSummary, UnitSummary};
use super::profile::{EngineSummary, Profile};

/// What happened in one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: MachineSummary,
    /// How it ended.
    pub end: String,
    /// Times that the guest rebooted before (`--reboot`); everything else is about the time after the last one.
    pub reboots: u64,
    /// Landmarks in order.
    pub phases: Vec<Phase>,
    /// Instructions retired by all vCPUs.
    pub instructions: u64,
    /// Virtual time at the end, in nanoseconds.
    pub virtual_ns: u64,
    /// How much of it was skipped because every vCPU waited, in nanoseconds.
    pub idle_ns: u64,
    /// What only a partition has.
    #[serde(flatten)]
    pub partition: Option<PartitionSummary>,
    /// What only a PC has.
    #[serde(flatten)]
    pub pc: Option<PcSummary>,
    /// PCI functions.
    pub devices: Vec<DeviceSummary>,
    /// Translations of DMA requests, with those that ended in a fault.
    pub translations: u64,
    /// External interrupts presented, by source.
    pub interrupts: BTreeMap<String, u64>,
    /// Accesses to device memory.
    pub mmio: MmioSummary,
    /// Where instructions were executed, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Checks of the run.
    pub checks: Vec<Check>,
    /// What depends on the host: never compare this.
    pub host: HostSummary,
}

/// The part of a report that only a partition (pseries) has.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PartitionSummary {
    /// DMA windows and the calls that made them, as the IOMMU counts them.
    pub iommu: IommuSummary,
    /// Hypercalls by name.
    pub hypercalls: BTreeMap<String, Calls>,
    /// RTAS calls by name.
    pub rtas: BTreeMap<String, Calls>,
    /// Functions and memory that came and went by their connectors, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotEvent>,
    /// Error handling of PEs.
    pub eeh: EehSummary,
}

/// The machine of a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MachineSummary {
    /// `pseries` or `pc`.
    pub kind: String,
    /// Number of vCPUs.
    pub cpus: u32,
    /// RAM in bytes.
    pub memory: u64,
    /// Kernel command line.
    pub append: String,
}

/// A PCI function of a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeviceSummary {
    /// Its name.
    pub name: String,
    /// Bus, device, function.
    pub address: String,
    /// Bytes it read from guest memory.
    pub bytes_read: u64,
    /// Bytes it wrote to guest memory.
    pub bytes_written: u64,
    /// Its requests that ended in a fault.
    pub faults: u64,
}

/// Something that came or went by its connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotEvent {
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// Name of the slot, or the place of the block of memory.
    pub what: String,
    /// It came; false if it went.
    pub attached: bool,
}

/// Error handling of partitionable endpoints (EEH).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EehSummary {
    /// Errors that stopped a PE.
    pub freezes: u64,
    /// Resets of PEs by the guest.
    pub resets: u64,
    /// Loads that got all ones because the PE was stopped.
    pub loads_refused: u64,
    /// Stores that were dropped because the PE was stopped.
    pub stores_dropped: u64,
}

/// Accesses to device memory.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MmioSummary {
    /// Loads.
    pub reads: u64,
    /// Stores.
    pub writes: u64,
    /// Accesses that nothing answered.
    pub errors: u64,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// What depends on the host.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HostSummary {
    /// Seconds from start to end.
    pub seconds: f64,
    /// Million instructions per second.
    pub mips: f64,
    /// Seconds from start to each landmark, in the order of [`Report::phases`].
    pub phase_seconds: Vec<f64>,
    /// What hypercalls took, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hypercalls: BTreeMap<String, CostSummary>,
    /// What RTAS calls took, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rtas: BTreeMap<String, CostSummary>,
    /// What translations took.
    pub translations: CostSummary,
    /// The same of each DMA window in which some were measured, by its [number](super::iommu::WindowSummary::number).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub window_translations: BTreeMap<u64, CostSummary>,
    /// What the CPUs' engine did, if that was asked for. It depends on the engine, not on the host, but for times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSummary>,
}

impl Report {
    /// True if every check held.
    pub fn checks_hold(&self) -> bool {
        self.checks.iter().all(|c| c.ok)
    }

    /// The remapping units of a PC.
    pub fn units(&self) -> &[UnitSummary] {
        self.pc.as_ref().map_or(&[], |pc| &pc.vtd.units)
    }

    /// The report as JSON, with what depends on the host.
    ///
    /// # Errors
    /// Those of the serializer; there should be none.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
