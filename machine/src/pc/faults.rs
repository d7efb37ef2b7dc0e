//! What remapping units refused: the last requests and interrupts, with who, where and why.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use viommu_devices::dma::{Access, DmaFault, SourceId};
use viommu_devices::effects::Msi;
use viommu_devices::vtd::spec::fault::Reason;
use viommu_devices::vtd::{Fault, reason_of};

/// How many the list keeps.
const KEPT: usize = 64;

/// A request or an interrupt that a unit refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// Number of the unit.
    pub unit: usize,
    /// Requester id: bus, device, function.
    pub source: String,
    /// `read`, `write` or `interrupt`.
    pub what: &'static str,
    /// Bus address of a request; address of a message.
    pub address: String,
    /// The specification's code of the reason.
    pub code: u8,
    /// Its condition, as the specification counts them.
    pub condition: &'static str,
    /// The reason in words.
    pub reason: &'static str,
}

#[derive(Debug, Default)]
struct List {
    now_ns: AtomicU64,
    kept: Mutex<VecDeque<Refused>>,
}

/// The last faults of all units. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<List>);

impl Faults {
    /// Faults happen at this time from now on.
    pub fn set_now(&self, now_ns: u64) {
        self.0.now_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The last ones, oldest first.
    pub fn list(&self) -> Vec<Refused> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }

    /// Notes that a unit refused a message.
    pub fn interrupt(&self, unit: usize, source: SourceId, msi: Msi, fault: &Fault) {
        self.note(unit, source, "interrupt", msi.address, fault.reason);
    }

    fn note(&self, unit: usize, source: SourceId, what: &'static str, at: u64, reason: Reason) {
        let refused = Refused {
            at_ns: self.0.now_ns.load(Ordering::Relaxed),
            unit,
            source: format!("{source:?}"),
            what,
            address: format!("{at:#x}"),
            code: reason.code(),
            condition: reason.condition(),
            reason: reason.text(),
        };
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(refused);
    }

    /// Notes that a unit refused a request.
    pub fn request(&self, unit: usize, fault: &DmaFault) {
        if let Some(reason) = reason_of(fault) {
            let what = match fault.request.access {
                Access::Read => "read",
                Access::Write => "write",
            };
            let (source, at) = (fault.request.source, fault.request.iova.0);
            self.note(unit, source, what, at, reason);
        }
    }
}
