//! What happened, for reports.

use std::collections::BTreeMap;

use serde::Serialize;

use super::spec::{Liobn, RtasStatus};

/// One window, present or past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowReport {
    /// Name of its table.
    pub liobn: Liobn,
    /// First bus address.
    pub bus_address: u64,
    /// Bytes.
    pub size: u64,
    /// Pages are `1 << page_shift` bytes.
    pub page_shift: u32,
    /// Made by ibm,create-pe-dma-window.
    pub dynamic: bool,
    /// Of a virtual device.
    pub vio: bool,
    /// Place in the order in which windows came into being, from 0.
    pub order: u64,
    /// When it came into being, in nanoseconds of virtual time.
    pub created_ns: u64,
    /// When it was removed, in nanoseconds of virtual time; none while it exists.
    pub removed_ns: Option<u64>,
    /// Entries that allow access now.
    pub entries_now: u64,
    /// Entries that allowed access when the window was removed: the guest should have cleared them.
    pub entries_at_removal: u64,
    /// The most entries that allowed access at a time.
    pub entries_peak: u64,
    /// Bytes that devices read through it.
    pub bytes_read: u64,
    /// Bytes that devices wrote through it.
    pub bytes_written: u64,
    /// Requests that its entries refused.
    pub faults: u64,
}

/// One dynamic-window RTAS call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DdwCall {
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// RTAS name.
    pub name: &'static str,
    /// Input cells.
    pub args: Vec<u32>,
    /// First output cell.
    pub status: RtasStatus,
    /// The other output cells.
    pub outputs: Vec<u32>,
}

/// Everything that the unit counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IommuReport {
    /// Name of the personality.
    pub personality: &'static str,
    /// Windows in the order in which they came into being.
    pub windows: Vec<WindowReport>,
    /// Removed windows left out because there were too many.
    pub windows_dropped: u64,
    /// Dynamic-window calls in order.
    pub ddw_calls: Vec<DdwCall>,
    /// Later calls left out because there were too many.
    pub ddw_calls_dropped: u64,
    /// The last faults, oldest first.
    pub faults: Vec<String>,
    /// All faults.
    pub faults_total: u64,
    /// Hypercalls by name.
    pub hcalls: BTreeMap<&'static str, u64>,
    /// Entries that they set, by name; those of calls that did not succeed are not counted.
    pub hcall_entries: BTreeMap<&'static str, u64>,
    /// Hypercalls that did not succeed, by name and status.
    pub hcall_errors: BTreeMap<String, u64>,
    /// Table chunks (4 KiB each) in use.
    pub chunks: usize,
}
