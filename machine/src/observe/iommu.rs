//! What the IOMMU did, in the words of the specification: windows over time, and each dynamic-window call with named cells.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use viommu_devices::spapr::iommu::report::{DdwCall, IommuReport, WindowReport};
use viommu_devices::spapr::iommu::spec::{
    RTAS_HARDWARE_ERROR, RTAS_PARAMETER_ERROR, RTAS_SUCCESS, RtasStatus,
};
use viommu_devices::spapr::iommu::{CREATE, QUERY, REMOVE, RESET};

/// A number that names or addresses something. JSON has it as a string (`"0x80000001"`), as 64 bits do not fit a JSON number everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub u64);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The IOMMU of a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IommuSummary {
    /// Name of the rules that it follows.
    pub personality: String,
    /// Windows, in the order in which they came into being.
    pub windows: Vec<WindowSummary>,
    /// Removed windows left out because there were too many.
    pub windows_dropped: u64,
    /// Dynamic-window calls, in order.
    pub ddw_calls: Vec<DdwSummary>,
    /// Later calls left out because there were too many.
    pub ddw_calls_dropped: u64,
    /// The last faults, oldest first.
    pub faults: Vec<String>,
    /// All faults.
    pub faults_total: u64,
    /// TCE hypercalls by name.
    pub hcalls: BTreeMap<String, u64>,
    /// Entries that they set, by name; those of calls that did not succeed are not counted.
    pub hcall_entries: BTreeMap<String, u64>,
    /// TCE hypercalls that did not succeed, by name and status.
    pub hcall_errors: BTreeMap<String, u64>,
    /// 4 KiB pieces of table storage in use at the end.
    pub chunks: u64,
}

/// A DMA window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WindowSummary {
    /// How many came into being before it.
    pub number: u64,
    /// Name of its TCE table.
    pub liobn: Hex,
    /// `default`, `dynamic` or `vio`.
    pub kind: &'static str,
    /// First bus address.
    pub bus_address: Hex,
    /// Bytes.
    pub size: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// When it came into being, in nanoseconds of virtual time.
    pub created_ns: u64,
    /// When it was removed, in nanoseconds of virtual time; none if it was there at the end.
    pub removed_ns: Option<u64>,
    /// Entries of its table.
    pub entries: u64,
    /// The most entries that allowed access at a time.
    pub entries_peak: u64,
    /// Entries that allow access at the end.
    pub entries_now: u64,
    /// Entries that still allowed access when it was removed: the guest should have cleared them.
    pub entries_at_removal: u64,
    /// Bytes that devices read through it.
    pub bytes_read: u64,
    /// Bytes that devices wrote through it.
    pub bytes_written: u64,
    /// Requests that its entries refused.
    pub faults: u64,
}

/// A dynamic-window RTAS call. LoPAR §7.3.14.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DdwSummary {
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// RTAS name.
    pub name: &'static str,
    /// Input cells; two cells that are one number stand as one.
    pub arguments: Fields,
    /// First output cell.
    pub status: i32,
    /// Its meaning.
    pub status_name: &'static str,
    /// The other output cells, as with the arguments; zeros if the call failed.
    pub outputs: Fields,
}

/// Named numbers in the order of the cells; an object in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, Hex)>);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl std::fmt::Display for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {value}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A named number of one cell, or of two with the high one first.
#[derive(Clone, Copy)]
enum Part {
    One(&'static str),
    Two(&'static str),
}
use Part::{One, Two};

/// Names of the cells of a call, for the forms in which it exists.
fn layout(name: &str, outputs: usize) -> (&'static [Part], &'static [Part]) {
    const PE: [Part; 2] = [One("config_addr"), Two("buid")];
    match (name, outputs) {
        (QUERY, 5) => (
            &PE,
            &[
                One("windows_available"),
                Two("largest_block"),
                One("page_sizes"),
                One("migration"),
            ],
        ),
        (QUERY, _) => (
            &PE,
            &[
                One("windows_available"),
                One("largest_block"),
                One("page_sizes"),
                One("migration"),
            ],
        ),
        (CREATE, _) => (
            &[
                One("config_addr"),
                Two("buid"),
                One("page_shift"),
                One("window_shift"),
            ],
            &[One("liobn"), Two("bus_address")],
        ),
        (REMOVE, _) => (&[One("liobn")], &[]),
        (RESET, _) => (
            &[One("config_addr"), Two("buid"), One("limited_address_mode")],
            &[],
        ),
        _ => (&[], &[]),
    }
}

/// Names the cells; those beyond what the call has are `more1`, `more2` and so on.
fn fields(cells: &[u32], layout: &[Part]) -> Fields {
    let mut out = Vec::new();
    let mut cells = cells.iter().map(|&c| u64::from(c));
    for part in layout {
        let (name, value) = match part {
            One(name) => (name, cells.next()),
            Two(name) => {
                let high = cells.next();
                let low = cells.next();
                (name, high.zip(low).map(|(high, low)| high << 32 | low))
            }
        };
        let Some(value) = value else { break };
        out.push(((*name).to_owned(), Hex(value)));
    }
    let more = (1..).zip(cells);
    out.extend(more.map(|(n, value)| (format!("more{n}"), Hex(value))));
    Fields(out)
}

fn status_name(status: RtasStatus) -> &'static str {
    match status {
        RTAS_SUCCESS => "success",
        RTAS_HARDWARE_ERROR => "hardware error",
        RTAS_PARAMETER_ERROR => "parameter error",
        RtasStatus(-2 | 9900..=9905) => "busy",
        _ => "other",
    }
}

impl From<DdwCall> for DdwSummary {
    fn from(call: DdwCall) -> Self {
        let DdwCall {
            at_ns,
            name,
            args,
            status,
            outputs,
        } = call;
        let (inputs, results) = layout(name, outputs.len());
        DdwSummary {
            at_ns,
            name,
            arguments: fields(&args, inputs),
            status: status.0,
            status_name: status_name(status),
            outputs: fields(&outputs, results),
        }
    }
}

impl From<WindowReport> for WindowSummary {
    fn from(window: WindowReport) -> Self {
        let WindowReport {
            liobn,
            bus_address,
            size,
            page_shift,
            dynamic,
            vio,
            order,
            created_ns,
            removed_ns,
            entries_now,
            entries_at_removal,
            entries_peak,
            bytes_read,
            bytes_written,
            faults,
        } = window;
        WindowSummary {
            number: order,
            liobn: Hex(liobn.0.into()),
            kind: match (vio, dynamic) {
                (true, _) => "vio",
                (false, true) => "dynamic",
                (false, false) => "default",
            },
            bus_address: Hex(bus_address),
            size,
            page_size: 1 << page_shift,
            created_ns,
            removed_ns,
            entries: size >> page_shift,
            entries_peak,
            entries_now,
            entries_at_removal,
            bytes_read,
            bytes_written,
            faults,
        }
    }
}

impl From<IommuReport> for IommuSummary {
    fn from(report: IommuReport) -> Self {
        let IommuReport {
            personality,
            windows,
            windows_dropped,
            ddw_calls,
            ddw_calls_dropped,
            faults,
            faults_total,
            hcalls,
            hcall_entries,
            hcall_errors,
            chunks,
        } = report;
        let named =
            |counts: BTreeMap<&str, u64>| counts.into_iter().map(|(k, n)| (k.into(), n)).collect();
        IommuSummary {
            personality: personality.into(),
            windows: windows.into_iter().map(Into::into).collect(),
            windows_dropped,
            ddw_calls: ddw_calls.into_iter().map(Into::into).collect(),
            ddw_calls_dropped,
            faults,
            faults_total,
            hcalls: named(hcalls),
            hcall_entries: named(hcall_entries),
            hcall_errors,
            chunks: chunks as u64,
        }
    }
}
