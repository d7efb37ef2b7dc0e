//! The NVMe controller: commands in well-formed queues against a model disk, between register accesses, doorbells, queue entries and
//! memory contents of any kind.
//!
//! Well-formed commands succeed exactly if the model says so; a read gives the model's bytes, a failed write leaves the disk as it was,
//! and what a flush (or a write with force unit access) acknowledged is flushed. Whatever came before, a controller reset gives a
//! controller that works. One access causes a bounded number of disk operations.
#![no_main]

#[path = "nvme/disk.rs"]
mod disk;

use std::iter;
use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use disk::Spy;
use libfuzzer_sys::fuzz_target;
use viommu_devices::dma::{DmaPort, Identity, SourceId};
use viommu_devices::effects::Effects;
use viommu_devices::memory::GuestRam;
use viommu_devices::nvme::bits::*;
use viommu_devices::nvme::{BLOCK, MAX_ENTRIES, MAX_TRANSFER, NvmeController};
use viommu_devices::pci::PciDevice;
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Steps of one run.
const STEPS: usize = 40;
const RAM: u64 = 4 << 20;
/// Somewhat more than the largest transfer.
const DISK: usize = MAX_TRANSFER + (64 << 10);
/// Each on a page of its own, of any size.
const ASQ_AT: u64 = 0x1_0000;
const ACQ_AT: u64 = 0x2_0000;
const SQ_AT: u64 = 0x3_0000;
const CQ_AT: u64 = 0x4_0000;
const RANGES: u64 = 0x5_0000;
const LISTS: u64 = 0x6_0000;
const DATA: u64 = 0x10_0000;
static CONTENTS: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..DISK).map(|i| (i / 512 * 7 + i) as u8).collect());
/// Not memory.
const HOLE: u64 = 1 << 40;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Memory page size, log2 minus 12.
    page: u8,
    /// Entries of the queues, minus 2.
    entries: [u8; 4],
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Command(Command),
    WriteCache(bool),
    Write(Register, u64, u8),
    WriteAny(u16, u64, u8),
    Read(u16, u8),
    Config(u16, u32, u8),
    Doorbell(u8, bool, u16),
    /// An entry in the admin (true) or I/O queue, and the doorbell.
    Entry(bool, Raw),
    /// The same entry in the whole I/O queue, and the doorbell.
    Fill(Raw),
    Poke(u16, Vec<u8>),
    Reset,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Register {
    Mask,
    Unmask,
    Cc,
    Aqa,
    Asq,
    Acq,
}

/// A queue entry: mostly small numbers, so that it means something.
#[derive(Arbitrary, Debug)]
struct Raw {
    opcode: u8,
    flags: u8,
    nsid: u8,
    prp: [u32; 2],
    words: [u32; 3],
    more: Option<[u32; 3]>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
    Compare,
    WriteZeroes,
    Flush,
    Deallocate,
}

#[derive(Arbitrary, Debug)]
struct Command {
    kind: Kind,
    nsid: u8,
    slba: u16,
    blocks: u8,
    many: bool,
    fua: bool,
    /// Where the data begins in its page, in words.
    offset: u16,
    first_page: u8,
    backwards: bool,
    /// Where a PRP list begins in its page, from the end, in entries.
    list: u8,
    /// A page of the data that is no memory.
    hole: Option<u8>,
    misaligned: bool,
    /// What the disk refuses: bit 0 reads, 1 writes, 2 flushes.
    refuse: u8,
    seed: u8,
}

/// One of the two queue pairs in use: its places, sizes, and the driver's indices.
#[derive(Clone, Copy)]
struct Queue {
    id: u64,
    sq: u64,
    cq: u64,
    sq_size: u32,
    cq_size: u32,
    tail: u32,
    head: u32,
    phase: bool,
}

struct Rig {
    nvme: NvmeController,
    ram: GuestRam,
    disk: Spy,
    model: Vec<u8>,
    page_log2: u32,
    queues: [Queue; 2],
    write_cache: bool,
    /// Nothing but well-formed commands since the last start.
    known: bool,
    cid: u16,
}

impl Rig {
    fn new(input: &Input) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
        let disk = Spy::default();
        disk.state().data.clone_from(&CONTENTS);
        let port = DmaPort::new(SourceId(8), Arc::new(Identity), ram.clone());
        let nvme = NvmeController::new("nvme0", port, vec![Box::new(disk.clone())], "S1");
        let model = CONTENTS.clone();
        let [a, b, c, d] = input.entries.map(|n| u32::from(n) + 2);
        let queue = |id, sq, cq, sq_size, cq_size| Queue {
            id,
            sq,
            cq,
            sq_size,
            cq_size,
            tail: 0,
            head: 0,
            phase: true,
        };
        Rig {
            nvme,
            ram,
            disk,
            model,
            page_log2: 12 + u32::from(input.page % 5),
            queues: [queue(0, ASQ_AT, ACQ_AT, a, b), queue(1, SQ_AT, CQ_AT, c, d)],
            write_cache: true,
            known: false,
            cid: 0,
        }
    }

    fn page(&self) -> u64 {
        1 << self.page_log2
    }

    /// Carries out an access and bounds what it may cause.
    fn access<T>(&mut self, f: impl FnOnce(&mut NvmeController, &mut Effects) -> T) -> T {
        let before = self.disk.state().operations;
        let mut effects = Effects::default();
        let result = f(&mut self.nvme, &mut effects);
        // Every queue's commands, each with as many ranges as one has, and a shutdown.
        let most = 33 * u64::from(MAX_ENTRIES) * 257 + 1;
        assert!(self.disk.state().operations - before <= most);
        assert!(effects.msis.len() <= 64);
        result
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.access(|nvme, e| nvme.bar_write(0, offset, &value.to_le_bytes(), e));
    }

    fn csts(&mut self) -> Csts {
        let mut data = [0; 4];
        self.access(|nvme, e| nvme.bar_read(0, CSTS, &mut data, e));
        Csts::from(u32::from_le_bytes(data))
    }

    /// Brings the controller up with empty queues, from any state.
    fn start(&mut self) {
        self.access(|nvme, e| nvme.config_write(4, 2, 6, e));
        self.write(CC, 0);
        assert_eq!(self.csts(), Csts::new());
        let [admin, io] = &mut self.queues;
        for queue in [admin, io] {
            (queue.tail, queue.head, queue.phase) = (0, 0, true);
        }
        let [admin, io] = self.queues;
        self.write(AQA, (admin.cq_size - 1) << 16 | (admin.sq_size - 1));
        for (register, at) in [(ASQ, admin.sq), (ACQ, admin.cq)] {
            self.write(register, at as u32);
            self.write(register + 4, 0);
        }
        self.write(CC, 0x0046_0001 | (self.page_log2 - 12) << 7);
        assert_eq!(self.csts(), Csts::new().with_rdy(true));
        for (opcode, at, size, dw11) in [
            (5, io.cq, io.cq_size, 1 << 16 | 3),
            (1, io.sq, io.sq_size, 1 << 16 | 1),
        ] {
            let mut sqe = entry(opcode, 0);
            sqe.prp1 = at.into();
            sqe.cdw10 = ((size - 1) << 16 | 1).into();
            sqe.cdw11 = dw11.into();
            assert_eq!(self.submit(0, sqe), 0);
        }
        (self.known, self.write_cache) = (true, true);
        let mut state = self.disk.state();
        self.model.copy_from_slice(&state.data);
        state.refuse = 0;
    }

    /// Submits a command and takes its completion: the status.
    fn submit(&mut self, q: usize, mut sqe: Sqe) -> u16 {
        self.cid = self.cid.wrapping_add(1);
        sqe.cid = self.cid.into();
        let mut queue = self.queues[q];
        let at = GuestAddress(queue.sq + 64 * u64::from(queue.tail));
        self.ram.write_slice(sqe.as_bytes(), at).unwrap();
        queue.tail = (queue.tail + 1) % queue.sq_size;
        self.write(DOORBELLS + 8 * queue.id, queue.tail);
        let mut bytes = [0; 16];
        let at = GuestAddress(queue.cq + 16 * u64::from(queue.head));
        self.ram.read_slice(&mut bytes, at).unwrap();
        let cqe = Cqe::read_from_bytes(&bytes).unwrap();
        assert_eq!(cqe.cid.get(), self.cid);
        assert_eq!(cqe.status.get() & 1 != 0, queue.phase);
        assert_eq!(u32::from(cqe.sqhd.get()), queue.tail);
        assert_eq!(u64::from(cqe.sqid.get()), queue.id);
        queue.head = (queue.head + 1) % queue.cq_size;
        queue.phase ^= queue.head == 0;
        self.write(DOORBELLS + 8 * queue.id + 4, queue.head);
        self.queues[q] = queue;
        cqe.status.get() >> 1
    }

    /// The pages of a command's data, the first one with its offset.
    fn pages(&self, c: &Command, len: u64) -> Vec<(u64, u64)> {
        let page = self.page();
        let (offset, all) = (u64::from(c.offset) * 4 % page, (RAM - DATA) / page);
        let count = (offset + len).div_ceil(page);
        let step = if c.backwards { all - 1 } else { 1 };
        let mut left = len;
        let place = |i: u64| DATA + (u64::from(c.first_page) + i * step) % all * page;
        (0..count)
            .map(|i| {
                let at = place(i) + if i == 0 { offset } else { 0 };
                let n = left.min(page - at % page);
                left -= n;
                (at, n)
            })
            .collect()
    }

    /// Writes the PRP list, if the pages need one, and gives the two entries. NVMe 1.4 §4.3.
    fn prps(&self, c: &Command, pages: &[(u64, u64)]) -> (u64, u64) {
        let first = pages.first().map_or(0, |p| p.0);
        let rest: Vec<u64> = pages.iter().skip(1).map(|p| p.0).collect();
        let bad = if c.misaligned { 4 } else { 0 };
        if rest.len() <= 1 {
            return (first, rest.first().map_or(0, |p| p | bad));
        }
        let page = self.page();
        let back = (u64::from(c.list) + 1) * 8;
        let start = LISTS + page - back.min(page);
        let (mut at, mut next) = (start, LISTS + page);
        let put = |at: u64, entry: u64| self.ram.write_obj(entry, GuestAddress(at)).unwrap();
        for (i, entry) in rest.iter().enumerate() {
            // The last entry of a page leads to the next page, unless it is the last of all.
            if (at + 8) % page == 0 && i + 1 < rest.len() {
                put(at, next);
                (at, next) = (next, next + page);
            }
            put(at, *entry);
            at += 8;
        }
        (first, start | bad)
    }

    fn command(&mut self, c: &Command) {
        let blocks = match (c.many, c.blocks) {
            (false, n) => u64::from(n % 64) + 1,
            (true, n) => (u64::from(n) + 1) * 9,
        };
        let slba = u64::from(c.slba) % (DISK as u64 / BLOCK + 4);
        let len = blocks * BLOCK;
        let mut sqe = entry(
            0,
            [1, 1, 1, 1, 1, 1, 0, 2, u32::MAX][usize::from(c.nsid) % 9],
        );
        sqe.cdw10 = (slba as u32).into();
        sqe.cdw12 = ((blocks - 1) as u32 | u32::from(c.fua) << 30).into();
        sqe.opcode = match c.kind {
            Kind::Read => 2,
            Kind::Write => 1,
            Kind::Compare => 5,
            Kind::WriteZeroes => 8,
            Kind::Flush => 0,
            Kind::Deallocate => return self.deallocate(c, sqe),
        };
        let data = matches!(c.kind, Kind::Read | Kind::Write | Kind::Compare);
        let mut pages = Vec::new();
        if data && len <= MAX_TRANSFER as u64 {
            pages = self.pages(c, len);
            self.fill(c, &pages, slba);
        }
        let hole = c.hole.filter(|_| !pages.is_empty()).map(usize::from);
        if let Some(hole) = hole.map(|n| n % pages.len()) {
            pages[hole].0 = HOLE + pages[hole].0 % self.page();
        }
        let (prp1, prp2) = self.prps(c, &pages);
        (sqe.prp1, sqe.prp2) = (prp1.into(), prp2.into());
        let flush_all = matches!(c.kind, Kind::Flush) && sqe.nsid.get() == u32::MAX;
        let valid = (sqe.nsid.get() == 1 || flush_all)
            && (matches!(c.kind, Kind::Flush) || slba + blocks <= DISK as u64 / BLOCK)
            && (!data || len <= MAX_TRANSFER as u64)
            && hole.is_none()
            && !(c.misaligned && pages.len() > 1);
        self.carry_out(c, sqe, &pages, valid, (slba * BLOCK) as usize, len as usize);
    }

    /// Puts something into the pages: for a comparison mostly what the disk holds.
    fn fill(&self, c: &Command, pages: &[(u64, u64)], slba: u64) {
        let equal = matches!(c.kind, Kind::Compare) && c.seed & 1 != 0;
        let mut at = (slba * BLOCK) as usize;
        for (place, n) in pages {
            let bytes: Vec<u8> = match self.model.get(at..at + *n as usize) {
                Some(bytes) if equal => bytes.to_vec(),
                // Each page another byte, with its place at the front.
                _ => {
                    let mut bytes = vec![c.seed ^ (at >> 9) as u8; *n as usize];
                    let mark = place.to_le_bytes();
                    bytes.iter_mut().zip(mark).for_each(|(b, p)| *b ^= p);
                    bytes
                }
            };
            self.ram.write_slice(&bytes, GuestAddress(*place)).unwrap();
            at += *n as usize;
        }
    }

    fn gather(&self, pages: &[(u64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, n) in pages {
            let mut part = vec![0; *n as usize];
            self.ram.read_slice(&mut part, GuestAddress(*at)).unwrap();
            out.append(&mut part);
        }
        out
    }

    /// Submits an I/O command, and compares status, memory and disk with what the model says.
    fn carry_out(
        &mut self,
        c: &Command,
        sqe: Sqe,
        pages: &[(u64, u64)],
        valid: bool,
        at: usize,
        len: usize,
    ) {
        self.disk.state().refuse = c.refuse & 7;
        let refused = |bit: u8| c.refuse >> bit & 1 != 0;
        let settles = c.fua || !self.write_cache;
        let guest = if valid {
            self.gather(pages)
        } else {
            Vec::new()
        };
        let mut wrote = None;
        let good = valid
            && match c.kind {
                Kind::Read => !refused(0),
                Kind::Compare => !refused(0) && self.model[at..at + len] == guest,
                Kind::Write | Kind::WriteZeroes if refused(1) => false,
                Kind::Write | Kind::WriteZeroes => {
                    wrote = Some(());
                    !(settles && refused(2))
                }
                Kind::Flush => !refused(2),
                Kind::Deallocate => false,
            };
        if wrote.is_some() {
            if matches!(c.kind, Kind::Write) {
                self.model[at..at + len].copy_from_slice(&guest);
            } else {
                self.model[at..at + len].fill(0);
            }
        }
        let status = self.submit(1, sqe);
        assert_eq!(status == 0, good, "status {status:#x}");
        let state = self.disk.state();
        assert!(state.data == self.model);
        let settled = match c.kind {
            Kind::Flush => true,
            Kind::Write | Kind::WriteZeroes => settles,
            _ => false,
        };
        assert!(!(good && settled && state.dirty));
        drop(state);
        if good && matches!(c.kind, Kind::Read) {
            assert!(self.gather(pages) == self.model[at..at + len]);
        }
        self.disk.state().refuse = 0;
    }

    /// Dataset Management: up to four ranges; those before a bad one are deallocated. NVMe 1.4 §6.7.
    fn deallocate(&mut self, c: &Command, mut sqe: Sqe) {
        let ranges = u32::from(c.list % 4) + 1;
        (sqe.opcode, sqe.prp1) = (9, RANGES.into());
        (sqe.cdw10, sqe.cdw11, sqe.cdw12) = ((ranges - 1).into(), 4.into(), 0.into());
        let mut good = sqe.nsid.get() == 1;
        for i in 0..u64::from(ranges) {
            let slba = (u64::from(c.slba) * (i + 1)) % (DISK as u64 / BLOCK + 1);
            let nlb = u64::from(c.blocks) * (i + 1);
            let range = DsmRange {
                attributes: 0.into(),
                nlb: (nlb as u32).into(),
                slba: slba.into(),
            };
            let at = GuestAddress(RANGES + 16 * i);
            self.ram.write_slice(range.as_bytes(), at).unwrap();
            good &= slba + nlb <= DISK as u64 / BLOCK && c.refuse & 2 == 0;
            if good {
                self.model[(slba * BLOCK) as usize..][..(nlb * BLOCK) as usize].fill(0);
            }
        }
        self.disk.state().refuse = c.refuse & 2;
        let status = self.submit(1, sqe);
        let mut state = self.disk.state();
        state.refuse = 0;
        assert_eq!(status == 0, good, "status {status:#x}");
        assert!(state.data == self.model);
    }

    fn raw(&mut self, admin: bool, raw: &Raw, copies: u32) {
        let queue = self.queues[usize::from(!admin)];
        let mut sqe = entry(raw.opcode % 16, raw.nsid.into());
        sqe.flags = if raw.flags < 240 { 0 } else { raw.flags };
        [sqe.prp1, sqe.prp2] = raw.prp.map(|p| u64::from(p % (8 << 20)).into());
        [sqe.cdw10, sqe.cdw11, sqe.cdw12] = raw.words.map(Into::into);
        if let Some(more) = raw.more {
            [sqe.cdw13, sqe.cdw14, sqe.cdw15] = more.map(Into::into);
        }
        for i in 0..copies {
            let at = queue.sq + 64 * u64::from((queue.tail + i) % queue.sq_size);
            self.ram
                .write_slice(sqe.as_bytes(), GuestAddress(at))
                .unwrap();
        }
        let tail = (queue.tail + copies) % queue.sq_size;
        self.write(DOORBELLS + 8 * queue.id, tail);
        self.queues[usize::from(!admin)].tail = tail;
    }

    fn step(&mut self, step: &Step) {
        if let Step::Command(_) | Step::WriteCache(_) = step {
            if !self.known {
                self.start();
            }
        } else {
            self.known = false;
        }
        let size = |n: u8| 1usize << (n % 4);
        match step {
            Step::Command(c) => self.command(c),
            Step::WriteCache(on) => {
                let mut sqe = entry(9, 0);
                (sqe.cdw10, sqe.cdw11) = (6.into(), u32::from(*on).into());
                assert_eq!(self.submit(0, sqe), 0);
                self.write_cache = *on;
            }
            Step::Write(register, value, n) => {
                let offset = match register {
                    Register::Mask => INTMS,
                    Register::Unmask => INTMC,
                    Register::Cc => CC,
                    Register::Aqa => AQA,
                    Register::Asq => ASQ,
                    Register::Acq => ACQ,
                };
                let data = value.to_le_bytes();
                self.access(|nvme, e| nvme.bar_write(0, offset, &data[..size(*n).max(4)], e));
            }
            Step::WriteAny(offset, value, n) => {
                let offset = u64::from(*offset) % 0x4000;
                let data = value.to_le_bytes();
                self.access(|nvme, e| nvme.bar_write(0, offset, &data[..size(*n)], e));
            }
            Step::Read(offset, n) => {
                let mut data = [0; 8];
                let offset = u64::from(*offset);
                self.access(|nvme, e| nvme.bar_read(0, offset, &mut data[..size(*n)], e));
            }
            Step::Config(offset, value, n) => {
                let size = size(n % 3);
                let offset = (offset % 4096) & !(size as u16 - 1);
                self.access(|nvme, e| nvme.config_write(offset, size as u8, *value, e));
                self.nvme.config_read(offset, size as u8);
            }
            Step::Doorbell(queue, completion, value) => {
                let offset = DOORBELLS + 8 * u64::from(*queue) + 4 * u64::from(*completion);
                self.write(offset, (*value).into());
            }
            Step::Entry(admin, raw) => self.raw(*admin, raw, 1),
            Step::Fill(raw) => self.raw(false, raw, self.queues[1].sq_size - 1),
            Step::Poke(at, bytes) => {
                let at = u64::from(*at) << 4;
                self.ram.write_slice(bytes, GuestAddress(at)).unwrap();
            }
            Step::Reset => self.nvme.reset(),
        }
    }
}

fn entry(opcode: u8, nsid: u32) -> Sqe {
    let mut sqe = Sqe::new_zeroed();
    sqe.opcode = opcode;
    sqe.nsid = nsid.into();
    sqe
}

fuzz_target!(|input: Input| {
    let mut rig = Rig::new(&input);
    rig.start();
    let last = Step::WriteCache(true);
    for step in input.steps.iter().take(STEPS).chain(iter::once(&last)) {
        rig.step(step);
    }
});
