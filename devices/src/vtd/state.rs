//! The register contents and what goes with them: pure state, changed under one lock and saved in snapshots.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::spec::fault::Record;
use super::spec::page_request;
use super::spec::queue::QueueError;
use super::spec::registers::{EVENT_MASKED, EVENT_PENDING, IWC, fsts};
use crate::effects::Msi;

/// Control, data and address of one of the unit's own interrupts. VT-d 4.1 §11.4.7.2 to §11.4.7.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// IM and IP.
    pub control: u32,
    /// Message data.
    pub data: u32,
    /// Message address, low.
    pub address: u32,
    /// Message address, high.
    pub upper_address: u32,
}

impl Event {
    const RESET: Event = Event {
        control: EVENT_MASKED,
        data: 0,
        address: 0,
        upper_address: 0,
    };

    fn message(&self) -> Msi {
        Msi {
            address: u64::from(self.upper_address) << 32 | u64::from(self.address),
            data: self.data,
        }
    }

    /// The condition came up: a message, or IP if masked.
    #[must_use]
    pub fn raise(&mut self) -> Option<Msi> {
        if self.control & EVENT_MASKED != 0 {
            self.control |= EVENT_PENDING;
            return None;
        }
        Some(self.message())
    }

    /// The condition is gone.
    pub fn lower(&mut self) {
        self.control &= !EVENT_PENDING;
    }

    /// A write of IM: a message held back goes out.
    #[must_use]
    pub fn set_control(&mut self, value: u32) -> Option<Msi> {
        self.control = self.control & EVENT_PENDING | value & EVENT_MASKED;
        if self.control == EVENT_PENDING {
            self.control = 0;
            return Some(self.message());
        }
        None
    }
}

/// A device-TLB invalidation that the device has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingDeviceTlb {
    /// Its number, in order of issue.
    pub tag: u64,
    /// Whose device TLB.
    pub source: u16,
}

/// A wait descriptor that waits for device TLBs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingWait {
    /// Invalidations with smaller tags must be answered first.
    pub before: u64,
    /// Low quadword of the descriptor.
    pub low: u64,
    /// High quadword.
    pub high: u64,
}

/// See the module. Field names are the registers'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the registers are documented where they are listed"
)]
pub struct State {
    pub gsts: u32,
    pub rtaddr: u64,
    pub ccmd: u64,
    pub iva: u64,
    pub iotlb: u64,
    /// FSTS without FRI.
    pub fsts: u32,
    /// FSTS.FRI.
    pub fri: u8,
    pub fault_event: Event,
    pub pmen: u32,
    pub plmbase: u32,
    pub plmlimit: u32,
    pub phmbase: u64,
    pub phmlimit: u64,
    pub iqh: u64,
    pub iqt: u64,
    pub iqa: u64,
    pub ics: u32,
    pub invalidation_event: Event,
    pub iqercd: u64,
    pub irta: u64,
    pub pqh: u64,
    pub pqt: u64,
    pub pqa: u64,
    pub prs: u32,
    pub page_event: Event,
    /// Fault recording registers.
    pub records: Vec<Record>,
    /// The one that the next fault takes.
    pub next_record: usize,
    /// Faults that found no register.
    pub lost_faults: u64,
    /// Device-TLB invalidations under way.
    pub device_tlb: VecDeque<PendingDeviceTlb>,
    /// Tag of the next one.
    pub next_tag: u64,
    /// Wait descriptors under way.
    pub waits: VecDeque<PendingWait>,
    /// The last of them has FN: nothing is fetched until it is done.
    pub fenced: bool,
    /// Page requests that wait for the queue's writer.
    pub page_requests: VecDeque<[u64; 4]>,
}

impl State {
    /// After reset.
    pub fn new(config: &Config) -> Self {
        State {
            gsts: 0,
            rtaddr: 0,
            ccmd: 0,
            iva: 0,
            iotlb: 0,
            fsts: 0,
            fri: 0,
            fault_event: Event::RESET,
            pmen: 0,
            plmbase: 0,
            plmlimit: 0,
            phmbase: 0,
            phmlimit: 0,
            iqh: 0,
            iqt: 0,
            iqa: 0,
            ics: 0,
            invalidation_event: Event::RESET,
            iqercd: 0,
            irta: 0,
            pqh: 0,
            pqt: 0,
            pqa: 0,
            prs: 0,
            page_event: Event::RESET,
            records: vec![Record::default(); config.fault_records],
            next_record: 0,
            lost_faults: 0,
            device_tlb: VecDeque::new(),
            next_tag: 0,
            waits: VecDeque::new(),
            fenced: false,
            page_requests: VecDeque::new(),
        }
    }

    /// Sets FSTS bits; the event is raised if none was set before. VT-d 4.1 §7.3.
    #[must_use]
    pub fn set_fault_status(&mut self, bits: u32) -> Option<Msi> {
        let first = self.fsts == 0;
        self.fsts |= bits;
        if first {
            self.fault_event.raise()
        } else {
            None
        }
    }

    /// Clears FSTS bits by software's hand, and PPF if no record is left.
    pub fn clear_fault_status(&mut self, bits: u32) {
        self.fsts &= !(bits & fsts::W1C);
        if !self.records.iter().any(|r| r.is_set()) {
            self.fsts &= !fsts::PPF;
        }
        if self.fsts == 0 {
            self.fault_event.lower();
        }
    }

    /// Records a fault. VT-d 4.1 §7.2.1: none while PFO is set; PFO if the next register is still in use.
    #[must_use]
    pub fn record(&mut self, record: Record) -> Option<Msi> {
        let count = self.records.len();
        let slot = self.records.get_mut(self.next_record)?;
        if self.fsts & fsts::PFO != 0 || slot.is_set() {
            self.lost_faults = self.lost_faults.saturating_add(1);
            return self.set_fault_status(fsts::PFO);
        }
        *slot = record;
        if self.fsts & fsts::PPF == 0 {
            self.fri = self.next_record as u8;
        }
        self.next_record = (self.next_record + 1) % count;
        self.set_fault_status(fsts::PPF)
    }

    /// Stops the invalidation queue. VT-d 4.1 §6.5.2.10.
    #[must_use]
    pub fn queue_error(&mut self, error: QueueError) -> Option<Msi> {
        self.iqercd = self.iqercd & !0xf | u64::from(error as u8);
        self.set_fault_status(fsts::IQE)
    }

    /// A device-TLB invalidation failed: sets ICE or ITE, and its requester in IQERCD unless an earlier one is there.
    /// VT-d 4.1 §11.4.9.9.
    #[must_use]
    pub fn device_tlb_error(&mut self, bit: u32, source: u16) -> Option<Msi> {
        let shift = if bit == fsts::ICE { 48 } else { 32 };
        if self.fsts & bit == 0 {
            self.iqercd = self.iqercd & !(0xffff << shift) | u64::from(source) << shift;
        }
        self.set_fault_status(bit)
    }

    /// The queue was switched off: it begins anew, and what waits in it is dropped. VT-d 4.1 §6.5.2.
    pub fn reset_queue(&mut self) {
        self.iqh = 0;
        self.waits.clear();
        self.fenced = false;
    }

    /// True if the invalidation queue may fetch.
    pub fn may_fetch(&self) -> bool {
        self.fsts & (fsts::IQE | fsts::ITE) == 0 && !self.fenced
    }

    /// ICS.IWC. VT-d 4.1 §6.5.2.8.
    #[must_use]
    pub fn complete_wait(&mut self) -> Option<Msi> {
        if self.ics & IWC != 0 {
            return None;
        }
        self.ics |= IWC;
        self.invalidation_event.raise()
    }

    /// Sets PRS bits; the event is raised if none was set before. VT-d 4.1 §7.5.
    #[must_use]
    pub fn set_page_status(&mut self, bits: u32) -> Option<Msi> {
        let first = self.prs == 0;
        self.prs |= bits;
        if first { self.page_event.raise() } else { None }
    }

    /// Bytes of the invalidation queue.
    pub fn queue_size(&self) -> u64 {
        4096 << (self.iqa & 7)
    }

    /// Bytes of the page request queue.
    pub fn page_queue_size(&self) -> u64 {
        4096 << (self.pqa & 7)
    }

    /// True if no page request fits any more.
    pub fn page_queue_full(&self) -> bool {
        let size = self.page_queue_size();
        let waiting = self.page_requests.len() as u64 * page_request::SIZE;
        let used = self.pqt.wrapping_sub(self.pqh) & (size - 1);
        used + waiting + page_request::SIZE >= size
    }
}
