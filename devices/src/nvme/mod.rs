//! An NVM Express 1.4 controller.
//!
//! Every command is carried out when its doorbell is written, before the write returns; a doorbell write carries out at most as many
//! commands as its queue has entries. The controller touches guest memory, queues included, only through its [`DmaPort`]. A DMA fault
//! on data fails the command with Data Transfer Error; a fault on a queue itself is fatal ([`bits::Csts`] CFS) until the controller
//! is reset, because there is no queue left to report it on.

mod admin;
pub mod bits;
pub mod cmds;
mod features;
mod identify;
mod io;
mod log;
mod prp;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::block::Disk;
use crate::dma::{DmaPort, Iova};
use crate::effects::Effects;
use crate::pci::PciDevice;
use crate::pci::config::{BarKind, ConfigSpace, Identity};
use crate::pci::intx::Intx;
use crate::pci::msix::Msix;
use bits::*;
use features::Features;
use queue::{CompletionQueue, DoorbellError, SubmissionQueue};

/// Bytes of a logical block.
pub const BLOCK: u64 = 512;
/// I/O queues of each kind.
pub const MAX_IO_QUEUES: u16 = 32;
/// Entries of the largest queue.
pub const MAX_ENTRIES: u32 = 1024;
/// Largest data transfer, log2 of pages of 4 KiB.
pub const MDTS: u8 = 8;
/// Largest data transfer in bytes; also the size of the one data buffer.
pub const MAX_TRANSFER: usize = 4096 << MDTS;
/// Asynchronous Event Requests held at a time.
const MAX_AERS: usize = 4;
/// Events and error log entries kept, so that a guest cannot make them grow.
const MAX_EVENTS: usize = 16;
const MAX_ERRORS: usize = 64;

const BAR_SIZE: u64 = 16 << 10;
const MSIX_TABLE: u32 = 0x2000;
const MSIX_PBA: u32 = 0x3000;

/// What a controller has done. Not cleared by reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NvmeReport {
    /// Commands of the admin queue.
    pub admin_commands: u64,
    /// Read commands that succeeded.
    pub reads: u64,
    /// Write, Write Zeroes and Compare commands that succeeded.
    pub writes: u64,
    /// Flush commands that succeeded.
    pub flushes: u64,
    /// Bytes read from namespaces for the guest.
    pub bytes_read: u64,
    /// Bytes of the guest written to namespaces.
    pub bytes_written: u64,
    /// Commands that failed.
    pub errors: u64,
    /// Of those, by an error of the disk.
    pub media_errors: u64,
    /// Of those, by a fault of a DMA on data.
    pub dma_errors: u64,
    /// Times a fault of a DMA on a queue, or a bad configuration, stopped the controller.
    pub fatal: u64,
    /// Doorbell writes.
    pub doorbells: u64,
    /// Doorbell writes that were not accepted.
    pub bad_doorbells: u64,
    /// Interrupts asked for.
    pub interrupts: u64,
}

/// An NVMe controller with its namespaces. PCI class 01 08 02.
pub struct NvmeController {
    name: String,
    serial: String,
    port: DmaPort,
    namespaces: Vec<Box<dyn Disk>>,
    config: ConfigSpace,
    msix: Msix,
    intx: Intx,
    cc: Cc,
    csts: Csts,
    aqa: u32,
    asq: u64,
    acq: u64,
    interrupt_mask: u32,
    sqs: BTreeMap<u16, SubmissionQueue>,
    cqs: BTreeMap<u16, CompletionQueue>,
    features: Features,
    aers: VecDeque<u16>,
    events: VecDeque<AsyncEvent>,
    masked_events: u8,
    errors: VecDeque<ErrorEntry>,
    error_count: u64,
    buffer: Vec<u8>,
    report: NvmeReport,
}

/// An asynchronous event. NVMe 1.4 §5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AsyncEvent {
    kind: u8,
    info: u8,
    log: u8,
}

/// An entry of the error log. NVMe 1.4 §5.14.1.1.
#[derive(Clone, Copy, Debug)]
struct ErrorEntry {
    count: u64,
    sqid: u16,
    cid: u16,
    status: Status,
    lba: u64,
    nsid: u32,
}

impl NvmeController {
    /// A controller with one namespace for each disk, numbered from 1. `serial` is cut to 20 characters.
    pub fn new(name: &str, port: DmaPort, namespaces: Vec<Box<dyn Disk>>, serial: &str) -> Self {
        Self::with_ids((0x1b36, 0x0010), name, port, namespaces, serial)
    }

    /// A controller by whose vendor and device id drivers know that its addresses have 48 bits only (Linux: `DMA_ADDRESS_BITS_48`). It
    /// is otherwise the same, and uses every address that it is given.
    pub fn of_48_bits(
        name: &str,
        port: DmaPort,
        namespaces: Vec<Box<dyn Disk>>,
        serial: &str,
    ) -> Self {
        Self::with_ids((0x1d0f, 0xcd00), name, port, namespaces, serial)
    }

    fn with_ids(
        (vendor, device): (u16, u16),
        name: &str,
        port: DmaPort,
        namespaces: Vec<Box<dyn Disk>>,
        serial: &str,
    ) -> Self {
        let mut config = ConfigSpace::new_express(Identity {
            vendor,
            device,
            class: 0x01_0802,
            revision: 2,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            interrupt_pin: 1,
        });
        config.add_bar(0, BAR_SIZE, BarKind::Mem64);
        config.add_express();
        let msix = Msix::new(&mut config, MAX_IO_QUEUES + 1, 0, MSIX_TABLE, MSIX_PBA);
        NvmeController {
            name: name.to_owned(),
            serial: serial.to_owned(),
            port,
            namespaces,
            config,
            msix,
            intx: Intx::default(),
            cc: Cc::new(),
            csts: Csts::new(),
            aqa: 0,
            asq: 0,
            acq: 0,
            interrupt_mask: 0,
            sqs: BTreeMap::new(),
            cqs: BTreeMap::new(),
            features: Features::default(),
            aers: VecDeque::new(),
            events: VecDeque::new(),
            masked_events: 0,
            errors: VecDeque::new(),
            error_count: 0,
            buffer: vec![0; MAX_TRANSFER],
            report: NvmeReport::default(),
        }
    }

    /// What it has done.
    pub fn report(&self) -> NvmeReport {
        self.report
    }

    /// Its way to memory.
    pub fn port(&self) -> &DmaPort {
        &self.port
    }

    fn cap() -> Cap {
        Cap::new()
            .with_mqes((MAX_ENTRIES - 1) as u16)
            .with_cqr(true)
            .with_to(20)
            .with_css(1)
            .with_mpsmax(4)
    }

    fn page(&self) -> u64 {
        4096 << self.cc.mps().min(4)
    }

    fn running(&self) -> bool {
        self.csts.rdy() && !self.csts.cfs()
    }

    fn fatal(&mut self) {
        self.csts.set_cfs(true);
        self.report.fatal += 1;
    }

    /// What a read of the eight bytes at `offset` gives.
    fn register(&self, offset: u64) -> u64 {
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        match offset {
            CAP => Self::cap().into(),
            VS => pair(VERSION, self.interrupt_mask),
            INTMC => pair(self.interrupt_mask, self.cc.into()),
            0x18 => pair(0, self.csts.into()),
            0x20 => pair(0, self.aqa),
            ASQ => self.asq,
            ACQ => self.acq,
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32, effects: &mut Effects) {
        let low = |old: u64| old & !0xffff_ffff | u64::from(value & !0xfff);
        let high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match offset {
            INTMS => self.interrupt_mask |= value,
            INTMC => self.interrupt_mask &= !value,
            CC => self.configure(Cc::from(value)),
            AQA => self.aqa = value & 0x0fff_0fff,
            ASQ => self.asq = low(self.asq),
            0x2c => self.asq = high(self.asq),
            ACQ => self.acq = low(self.acq),
            0x34 => self.acq = high(self.acq),
            _ => {
                if let Some(index) = offset.checked_sub(DOORBELLS).map(|o| o / 4) {
                    self.doorbell(index, value, effects);
                }
            }
        }
    }

    /// NVMe 1.4 §3.1.5, §7.6.
    fn configure(&mut self, new: Cc) {
        let old = std::mem::replace(&mut self.cc, new);
        if new.en() && !old.en() {
            self.enable();
        } else if !new.en() && old.en() {
            self.controller_reset();
        }
        if new.shn() != 0 && new.shn() != old.shn() {
            for disk in &mut self.namespaces {
                if disk.flush().is_err() {
                    self.report.media_errors += 1;
                }
            }
            self.csts.set_shst(2);
        } else if new.shn() == 0 && old.shn() != 0 {
            self.csts.set_shst(0);
        }
    }

    fn enable(&mut self) {
        let (sq_size, cq_size) = ((self.aqa & 0xfff) + 1, (self.aqa >> 16) + 1);
        let cap = Self::cap();
        if self.cc.css() != 0
            || self.cc.ams() != 0
            || self.cc.mps() > cap.mpsmax()
            || sq_size < 2
            || cq_size < 2
        {
            return self.fatal();
        }
        self.sqs
            .insert(0, SubmissionQueue::new(Iova(self.asq), sq_size, 0));
        self.cqs
            .insert(0, CompletionQueue::new(Iova(self.acq), cq_size, Some(0)));
        self.csts.set_rdy(true);
    }

    /// Everything but the PCI registers, AQA, ASQ and ACQ. NVMe 1.4 §7.3.2.
    fn controller_reset(&mut self) {
        self.sqs.clear();
        self.cqs.clear();
        self.aers.clear();
        self.events.clear();
        self.masked_events = 0;
        self.features = Features::default();
        self.csts = Csts::new();
        self.interrupt_mask = 0;
    }

    /// NVMe 1.4 §3.1.24, §3.1.25.
    fn doorbell(&mut self, index: u64, value: u32, effects: &mut Effects) {
        if !self.running() {
            return;
        }
        self.report.doorbells += 1;
        let qid = u16::try_from(index / 2).unwrap_or(u16::MAX);
        // The upper half of a doorbell is reserved.
        let value = value & 0xffff;
        let result = if index.is_multiple_of(2) {
            self.sqs
                .get_mut(&qid)
                .ok_or(DoorbellError::Register)
                .and_then(|sq| sq.set_tail(value))
        } else {
            self.cqs
                .get_mut(&qid)
                .ok_or(DoorbellError::Register)
                .and_then(|cq| cq.set_head(value))
        };
        match result {
            Ok(()) if index.is_multiple_of(2) => self.drain(qid, effects),
            Ok(()) => {
                let waiting: Vec<u16> = self
                    .sqs
                    .iter()
                    .filter(|(_, sq)| sq.cqid == qid && !sq.is_empty())
                    .map(|(&id, _)| id)
                    .collect();
                for sqid in waiting {
                    self.drain(sqid, effects);
                }
            }
            Err(e) => {
                self.report.bad_doorbells += 1;
                self.event(AsyncEvent {
                    kind: 0,
                    info: u8::from(e == DoorbellError::Value),
                    log: 1,
                });
            }
        }
    }

    /// Carries out the commands of a submission queue, as long as there is room for completions.
    fn drain(&mut self, sqid: u16, effects: &mut Effects) {
        if !self.config.bus_master() {
            return;
        }
        let Some((size, cqid)) = self.sqs.get(&sqid).map(|sq| (sq.size(), sq.cqid)) else {
            return;
        };
        let mut posted = false;
        for _ in 0..size {
            if !self.running() || self.cqs.get(&cqid).is_none_or(CompletionQueue::is_full) {
                break;
            }
            let Some(sq) = self.sqs.get_mut(&sqid).filter(|sq| !sq.is_empty()) else {
                break;
            };
            let Ok(sqe) = sq.fetch(&self.port) else {
                self.fatal();
                break;
            };
            let result = if sqid == 0 {
                self.report.admin_commands += 1;
                self.admin(&sqe)
            } else {
                self.io(&sqe).map(|()| Some(0))
            };
            let (status, dw0) = match result {
                Ok(None) => continue,
                Ok(Some(dw0)) => (Status::SUCCESS, dw0),
                Err(status) => {
                    self.failed(sqid, &sqe, status);
                    (status, 0)
                }
            };
            posted |= self.post(cqid, sqid, sqe.cid.get(), status, dw0);
        }
        if posted {
            self.interrupt(cqid, effects);
        }
    }

    fn post(&mut self, cqid: u16, sqid: u16, cid: u16, status: Status, dw0: u32) -> bool {
        let sqhd = self.sqs.get(&sqid).map_or(0, SubmissionQueue::head);
        let cqe = Cqe {
            dw0: dw0.into(),
            dw1: 0.into(),
            sqhd: sqhd.into(),
            sqid: sqid.into(),
            cid: cid.into(),
            status: status.0.into(),
        };
        let Some(cq) = self.cqs.get_mut(&cqid) else {
            return false;
        };
        if cq.post(&self.port, cqe).is_err() {
            self.fatal();
            return false;
        }
        true
    }

    fn failed(&mut self, sqid: u16, sqe: &Sqe, status: Status) {
        self.report.errors += 1;
        self.report.media_errors += u64::from(status.is_media());
        self.report.dma_errors += u64::from(status == Status::DATA_TRANSFER);
        self.error_count += 1;
        if self.errors.len() == MAX_ERRORS {
            self.errors.pop_back();
        }
        self.errors.push_front(ErrorEntry {
            count: self.error_count,
            sqid,
            cid: sqe.cid.get(),
            status,
            lba: if sqid == 0 {
                0
            } else {
                u64::from(sqe.cdw11.get()) << 32 | u64::from(sqe.cdw10.get())
            },
            nsid: sqe.nsid.get(),
        });
    }

    fn interrupt(&mut self, cqid: u16, effects: &mut Effects) {
        if let Some(vector) = self.cqs.get(&cqid).and_then(|cq| cq.vector) {
            self.report.interrupts += 1;
            self.msix.trigger(vector, effects);
        }
    }

    /// Queues an event, unless its kind waits for the driver to read the log.
    fn event(&mut self, event: AsyncEvent) {
        if self.masked_events >> event.kind & 1 == 0
            && self.events.len() < MAX_EVENTS
            && !self.events.contains(&event)
        {
            self.events.push_back(event);
        }
    }

    /// Completes Asynchronous Event Requests with the events that wait.
    fn report_events(&mut self, effects: &mut Effects) {
        let mut posted = false;
        while self.running()
            && self.config.bus_master()
            && self.cqs.get(&0).is_some_and(|cq| !cq.is_full())
        {
            self.events
                .retain(|e| self.masked_events >> e.kind & 1 == 0);
            if self.events.is_empty() {
                break;
            }
            let Some(cid) = self.aers.pop_front() else {
                break;
            };
            let Some(e) = self.events.pop_front() else {
                break;
            };
            self.masked_events |= 1 << e.kind;
            let dw0 = u32::from(e.log) << 16 | u32::from(e.info) << 8 | u32::from(e.kind);
            posted |= self.post(0, 0, cid, Status::SUCCESS, dw0);
        }
        if posted {
            self.interrupt(0, effects);
        }
    }

    /// The pin is asserted while an unmasked queue holds completions. NVMe 1.4 §7.5.1.
    fn update_pin(&mut self, effects: &mut Effects) {
        let wanted = !self.msix.enabled()
            && self.cqs.values().any(|cq| {
                !cq.is_empty()
                    && cq.vector.is_some_and(|v| {
                        self.interrupt_mask.checked_shr(v.into()).unwrap_or(0) & 1 == 0
                    })
            });
        if wanted != self.intx.wanted() {
            self.intx.set(wanted, &mut self.config, effects);
        }
    }
}

impl PciDevice for NvmeController {
    fn name(&self) -> &str {
        &self.name
    }

    fn config_read(&self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32, effects: &mut Effects) {
        let was_master = self.config.bus_master();
        let change = self.config.write(offset, size, value);
        self.msix.config_written(&self.config, change, effects);
        self.intx.config_written(&self.config, change, effects);
        if self.config.bus_master() && !was_master {
            let ids: Vec<u16> = self.sqs.keys().copied().collect();
            for sqid in ids {
                self.drain(sqid, effects);
            }
            self.report_events(effects);
        }
        self.update_pin(effects);
    }

    fn bar_size(&self, index: u8) -> u64 {
        self.config.bar_size(index)
    }

    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8], _effects: &mut Effects) {
        data.fill(0);
        if index != 0 || self.msix.read(offset, data) {
            return;
        }
        let bytes = self.register(offset & !7).to_le_bytes();
        for (to, from) in data
            .iter_mut()
            .zip(bytes.iter().skip((offset & 7) as usize))
        {
            *to = *from;
        }
    }

    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8], effects: &mut Effects) {
        if index != 0 || self.msix.write(offset, data, effects) || !offset.is_multiple_of(4) {
            return;
        }
        let (words, _) = data.as_chunks::<4>();
        for (i, word) in words.iter().enumerate() {
            self.write_register(
                offset.wrapping_add(4 * i as u64),
                u32::from_le_bytes(*word),
                effects,
            );
        }
        self.report_events(effects);
        self.update_pin(effects);
    }

    fn reset(&mut self) {
        self.controller_reset();
        self.cc = Cc::new();
        self.aqa = 0;
        self.asq = 0;
        self.acq = 0;
        self.errors.clear();
        self.config.reset();
        self.msix.reset();
        self.intx.reset();
    }
}
