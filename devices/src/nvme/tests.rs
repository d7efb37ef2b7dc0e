use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::*;
use crate::block::{FaultyDisk, Faults, MemoryDisk, Operation};
use crate::dma::{
    DmaFault, DmaRequest, FaultReason, Gpa, Identity as NoIommu, Piece, SourceId, Translator,
};
use crate::memory::GuestRam;

const RAM: usize = 4 << 20;
const ASQ_AT: u64 = 0x10000;
const ACQ_AT: u64 = 0x11000;
const SQ_AT: u64 = 0x12000;
const CQ_AT: u64 = 0x13000;
const DATA: u64 = 0x100000;

/// Bus addresses are 1 << 40 above guest physical ones; `HOLE` is not mapped.
#[derive(Debug)]
struct Shifted;
const SHIFT: u64 = 1 << 40;
const HOLE: u64 = 0x3f_0000;

impl Translator for Shifted {
    fn translate(&self, r: &DmaRequest) -> Result<Piece, DmaFault> {
        match r.iova.0.checked_sub(SHIFT) {
            Some(at) if at & !0xfff != HOLE => Ok(Piece { gpa: Gpa(at), len: r.len.min(0x1000 - (at & 0xfff)) }),
            _ => Err(DmaFault { request: *r, reason: FaultReason { code: 1, name: "not mapped" } }),
        }
    }
}

struct Rig {
    nvme: NvmeController,
    ram: GuestRam,
    shift: u64,
    tails: [u32; 2],
    heads: [u32; 2],
    faults: Faults,
}

impl Rig {
    fn new(translator: Arc<dyn Translator>, shift: u64) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
        let faults = Faults::default();
        let disk = FaultyDisk::new(Box::new(MemoryDisk::new(8 << 20).unwrap()), faults.clone());
        let port = DmaPort::new(SourceId(8), translator, ram.clone());
        let nvme = NvmeController::new("nvme0", port, vec![Box::new(disk)], "S1");
        let mut rig = Rig { nvme, ram, shift, tails: [0; 2], heads: [0; 2], faults };
        rig.nvme.config_write(4, 2, 6, &mut Effects::default());
        rig.write(AQA, 0x000f_000f);
        rig.write(ASQ, (ASQ_AT + shift) as u32);
        rig.write(ASQ + 4, (shift >> 32) as u32);
        rig.write(ACQ, (ACQ_AT + shift) as u32);
        rig.write(ACQ + 4, (shift >> 32) as u32);
        rig.write(CC, 0x0046_0001);
        rig
    }

    fn ready() -> Self {
        let mut rig = Rig::new(Arc::new(Shifted), SHIFT);
        rig.create_queues();
        rig
    }

    fn create_queues(&mut self) {
        let sqe = Sqe { prp1: (CQ_AT + self.shift).into(), ..cmd(5, 0, 15 << 16 | 1, 3) };
        assert_eq!(self.submit(0, sqe), 0);
        let sqe = Sqe { prp1: (SQ_AT + self.shift).into(), ..cmd(1, 0, 15 << 16 | 1, 1 << 16 | 1) };
        assert_eq!(self.submit(0, sqe), 0);
    }

    fn write(&mut self, offset: u64, value: u32) -> Effects {
        let mut effects = Effects::default();
        self.nvme.bar_write(0, offset, &value.to_le_bytes(), &mut effects);
        effects
    }

    fn csts(&self) -> Csts {
        self.nvme.csts
    }

    fn cqe(&self, q: usize) -> Cqe {
        let mut bytes = [0; 16];
        let base = [ACQ_AT, CQ_AT][q];
        self.ram.read_slice(&mut bytes, GuestAddress(base + 16 * u64::from(self.heads[q]))).unwrap();
        Cqe::read_from_bytes(&bytes).unwrap()
    }

    /// Submits, takes the completion, and returns its status without DNR.
    fn submit(&mut self, q: usize, sqe: Sqe) -> u16 {
        let base = [ASQ_AT, SQ_AT][q];
        self.ram.write_slice(sqe.as_bytes(), GuestAddress(base + 64 * u64::from(self.tails[q]))).unwrap();
        self.tails[q] = (self.tails[q] + 1) % 16;
        self.write(DOORBELLS + 8 * q as u64, self.tails[q]);
        let cqe = self.cqe(q);
        assert_eq!(cqe.cid.get(), sqe.cid.get());
        self.heads[q] = (self.heads[q] + 1) % 16;
        self.write(DOORBELLS + 8 * q as u64 + 4, self.heads[q]);
        cqe.status.get() >> 1 & 0x3fff
    }

    fn io(&mut self, opcode: u8, slba: u32, blocks: u32, prp1: u64, prp2: u64) -> u16 {
        let sqe = Sqe {
            prp1: (prp1 + self.shift).into(),
            prp2: (prp2 + self.shift).into(),
            cdw12: (blocks - 1).into(),
            ..cmd(opcode, 1, slba, 0)
        };
        self.submit(1, sqe)
    }

    fn fill(&self, at: u64, len: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..len).map(|i| (i / 512 + i * 7) as u8).collect();
        self.ram.write_slice(&data, GuestAddress(at)).unwrap();
        data
    }

    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.ram.read_slice(&mut data, GuestAddress(at)).unwrap();
        data
    }
}

fn cmd(opcode: u8, nsid: u32, cdw10: u32, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new_zeroed();
    sqe.opcode = opcode;
    sqe.cid = 0x77.into();
    sqe.nsid = nsid.into();
    sqe.cdw10 = cdw10.into();
    sqe.cdw11 = cdw11.into();
    sqe
}

#[test]
fn identify_through_a_translator() {
    let mut rig = Rig::new(Arc::new(Shifted), SHIFT);
    assert!(rig.csts().rdy());
    let sqe = Sqe { prp1: (DATA + SHIFT).into(), ..cmd(6, 0, 1, 0) };
    assert_eq!(rig.submit(0, sqe), 0);
    assert_eq!(&rig.get(DATA + 4, 4), b"S1  ");
    assert_eq!(rig.get(DATA + 516, 1), [1]);
    let sqe = Sqe { prp1: (DATA + SHIFT).into(), ..cmd(6, 1, 0, 0) };
    assert_eq!(rig.submit(0, sqe), 0);
    assert_eq!(rig.get(DATA, 8), (16384u64).to_le_bytes());
    assert_eq!(rig.submit(0, cmd(6, 2, 0, 0)), 0x0b);
    assert_eq!(rig.submit(0, cmd(6, 0, 0x99, 0)), 0x02);
    assert_eq!(rig.submit(0, cmd(0x7f, 0, 0, 0)), 0x01);
    assert_eq!(rig.submit(0, cmd(9, 0, 7, 3 << 16 | 3)), 0);
}

#[test]
fn data_goes_through_prp_lists() {
    let mut rig = Rig::ready();
    // One page and a bit, an unaligned start, two pages, a list.
    for (blocks, start) in [(1u32, 0u64), (9, 0x200), (16, 0), (64, 0xe00), (2048, 0)] {
        let len = blocks as usize * 512;
        let want = rig.fill(DATA + start, len);
        let first = 0x1000 - start;
        let rest = len as u64 - first.min(len as u64);
        let mut prp2 = DATA + 0x1000;
        if rest > 0x1000 {
            // The list begins 16 bytes before the end of its page: one entry, then a chain.
            let entries: Vec<u64> = (0..rest.div_ceil(0x1000)).map(|i| DATA + 0x1000 * (i + 1) + SHIFT).collect();
            prp2 = 0x20ff0;
            rig.ram.write_obj(entries[0], GuestAddress(prp2)).unwrap();
            rig.ram.write_obj(0x22000 + SHIFT, GuestAddress(prp2 + 8)).unwrap();
            for (i, e) in entries[1..].iter().enumerate() {
                rig.ram.write_obj(*e, GuestAddress(0x22000 + 8 * i as u64)).unwrap();
            }
        }
        assert_eq!(rig.io(1, 3, blocks, DATA + start, prp2), 0, "write {blocks}");
        rig.ram.write_slice(&vec![0; len], GuestAddress(DATA + start)).unwrap();
        assert_eq!(rig.io(2, 3, blocks, DATA + start, prp2), 0, "read {blocks}");
        assert!(rig.get(DATA + start, len) == want, "{blocks} blocks");
        assert_eq!(rig.io(5, 3, blocks, DATA + start, prp2), 0, "compare {blocks}");
    }
    assert_eq!(rig.io(0, 0, 1, 0, 0), 0);
    assert_eq!(rig.nvme.report().flushes, 1);
}

#[test]
fn errors_have_their_status() {
    let mut rig = Rig::ready();
    assert_eq!(rig.io(2, 16384, 1, DATA, 0), 0x80);
    assert_eq!(rig.io(2, 16383, 2, DATA, 0), 0x80);
    assert_eq!(rig.io(2, 0, 2049, DATA, 0), 0x02);
    assert_eq!(rig.io(2, 0, 1, DATA + 1, 0), 0x13);
    assert_eq!(rig.io(2, 0, 16, DATA, DATA + 0x1008), 0x13);
    assert_eq!(rig.io(2, 0, 32, DATA, DATA + 4), 0x13);
    assert_eq!(rig.io(2, 0, 1, HOLE, 0), 0x04);
    assert_eq!(rig.io(2, 0, 32, DATA, HOLE), 0x04);
    assert_eq!(rig.io(0x44, 0, 1, DATA, 0), 0x01);
    assert_eq!(rig.submit(1, cmd(2, 9, 0, 0)), 0x0b);
    rig.faults.add(Operation::Read, 512..1024);
    rig.faults.add(Operation::Write, 512..1024);
    rig.faults.add(Operation::Flush, 0..0);
    assert_eq!(rig.io(2, 1, 1, DATA, 0), 0x281);
    assert_eq!(rig.io(1, 1, 1, DATA, 0), 0x280);
    assert_eq!(rig.io(8, 1, 1, DATA, 0), 0x280);
    assert_eq!(rig.io(0, 0, 1, 0, 0), 0x280);
    let report = rig.nvme.report();
    assert_eq!((report.media_errors, report.dma_errors, report.fatal), (4, 2, 0));
    assert_eq!(report.errors, 14);
}

#[test]
fn a_fault_on_a_queue_is_fatal_until_reset() {
    let mut rig = Rig::new(Arc::new(Shifted), 0);
    rig.write(DOORBELLS, 1);
    assert!(rig.csts().cfs());
    rig.write(CC, 0);
    assert_eq!(rig.csts(), Csts::new());
}

#[test]
fn bad_doorbells_are_events() {
    let mut rig = Rig::ready();
    let aer = cmd(12, 0, 0, 0);
    rig.ram.write_slice(aer.as_bytes(), GuestAddress(ASQ_AT + 64 * u64::from(rig.tails[0]))).unwrap();
    rig.tails[0] += 1;
    rig.write(DOORBELLS, rig.tails[0]);
    assert_eq!(rig.nvme.aers.len(), 1);
    let effects = rig.write(DOORBELLS + 8, 16);
    assert_eq!(effects.intx, Some(true));
    let cqe = rig.cqe(0);
    assert_eq!((cqe.cid.get(), cqe.dw0.get()), (0x77, 0x0001_0100));
    rig.write(DOORBELLS + 8 * 20, 1);
    assert_eq!(rig.nvme.report().bad_doorbells, 2);
}

#[test]
fn queues_are_checked() {
    let mut rig = Rig::ready();
    let at = |c: Sqe, base: u64| Sqe { prp1: base.into(), ..c };
    assert_eq!(rig.submit(0, at(cmd(5, 0, 15 << 16 | 1, 1), SHIFT)), 0x101);
    assert_eq!(rig.submit(0, at(cmd(5, 0, 15 << 16, 1), SHIFT)), 0x101);
    assert_eq!(rig.submit(0, at(cmd(5, 0, 1024 << 16 | 2, 1), SHIFT)), 0x102);
    assert_eq!(rig.submit(0, at(cmd(5, 0, 2, 1), SHIFT)), 0x102);
    assert_eq!(rig.submit(0, at(cmd(5, 0, 15 << 16 | 2, 99 << 16 | 3), SHIFT)), 0x108);
    assert_eq!(rig.submit(0, at(cmd(1, 0, 15 << 16 | 2, 5 << 16 | 1), SHIFT)), 0x100);
    assert_eq!(rig.submit(0, cmd(4, 0, 1, 0)), 0x10c);
    assert_eq!(rig.submit(0, cmd(0, 0, 1, 0)), 0);
    assert_eq!(rig.submit(0, cmd(4, 0, 1, 0)), 0);
    assert_eq!(rig.submit(0, cmd(4, 0, 1, 0)), 0x101);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_bytes_do_not_panic(
        memory in prop::collection::vec(any::<u8>(), 8192),
        ops in prop::collection::vec((0u64..0x1100, any::<u64>(), 0usize..4), 0..60),
    ) {
        let mut rig = Rig::new(Arc::new(NoIommu), 0);
        rig.create_queues();
        rig.ram.write_slice(&memory, GuestAddress(ASQ_AT)).unwrap();
        rig.ram.write_slice(&memory, GuestAddress(SQ_AT)).unwrap();
        for q in 0..2 {
            for tail in [5, 15, 2] {
                rig.write(DOORBELLS + 8 * q, tail);
                rig.write(DOORBELLS + 8 * q + 4, tail);
            }
        }
        for (offset, value, size) in ops {
            let mut data = value.to_le_bytes();
            rig.nvme.bar_write(0, offset, &data[..1 << size], &mut Effects::default());
            rig.nvme.bar_read(0, offset, &mut data[..1 << size], &mut Effects::default());
        }
    }
}
