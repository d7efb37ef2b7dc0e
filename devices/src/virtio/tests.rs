use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::block::{Disk, MemoryDisk};
use crate::dma::{DmaFault, DmaPort, DmaRequest, FaultReason, Gpa, Piece, SourceId, Translator};
use crate::effects::Effects;
use crate::memory::GuestRam;
use crate::pci::PciDevice;

const SHIFT: u64 = 1 << 40;
const DESC: u64 = 0x1000;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
const HEADER: u64 = 0x4000;
const STATUS: u64 = 0x5000;
const DATA: u64 = 0x6000;

#[derive(Debug)]
struct Shifted;

impl Translator for Shifted {
    fn translate(&self, r: &DmaRequest) -> Result<Piece, DmaFault> {
        match r.iova.0.checked_sub(SHIFT) {
            Some(at) => Ok(Piece {
                gpa: Gpa(at),
                len: r.len.min(0x1000 - (at & 0xfff)),
            }),
            None => Err(DmaFault {
                request: *r,
                reason: FaultReason {
                    code: 1,
                    name: "not mapped",
                },
            }),
        }
    }
}

struct Rig {
    dev: VirtioPci<VirtioBlock>,
    ram: GuestRam,
    avail: u16,
}

impl Rig {
    fn new() -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let port = DmaPort::new(SourceId(16), Arc::new(Shifted), ram.clone());
        let disk: Box<dyn Disk> = Box::new(MemoryDisk::new(1 << 20).unwrap());
        let mut dev = VirtioPci::new("blk0", port, VirtioBlock::new(disk, "serial"), true);
        dev.config_write(4, 2, 6, &mut Effects::default());
        let mut rig = Rig { dev, ram, avail: 0 };
        rig.write(0x14, 1, 3);
        rig.write(8, 4, 1);
        rig.write(0xc, 4, 1);
        rig.write(0x14, 1, 11);
        assert_eq!(rig.read(0x14) & 0xff, 3, "ACCESS_PLATFORM was not accepted");
        rig.write(0xc, 4, 3);
        rig.write(0x14, 1, 11);
        assert_eq!(rig.read(0x14) & 0xff, 11);
        rig.write(0x18, 2, 16);
        for (at, base) in [(0x20, DESC), (0x28, AVAIL), (0x30, USED)] {
            rig.write(at, 4, base as u32);
            rig.write(at + 4, 4, (SHIFT >> 32) as u32);
        }
        rig.write(0x1c, 2, 1);
        rig.write(0x14, 1, 15);
        rig
    }

    fn write(&mut self, offset: u64, size: usize, value: u32) -> Effects {
        let mut effects = Effects::default();
        self.dev
            .bar_write(0, offset, &value.to_le_bytes()[..size], &mut effects);
        effects
    }

    fn read(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.dev
            .bar_read(0, offset, &mut data, &mut Effects::default());
        u32::from_le_bytes(data)
    }

    /// A request with one data descriptor at `data`, if it has a length; the status byte.
    fn request(&mut self, kind: u32, sector: u64, data: u64, len: u32) -> u8 {
        self.ram.write_obj(kind, GuestAddress(HEADER)).unwrap();
        self.ram
            .write_obj(sector, GuestAddress(HEADER + 8))
            .unwrap();
        self.ram.write_obj(0xffu8, GuestAddress(STATUS)).unwrap();
        let mut list = vec![(HEADER + SHIFT, 16, 0)];
        if len > 0 {
            list.push((data, len, if kind == 0 || kind == 8 { 2 } else { 0 }));
        }
        list.push((STATUS + SHIFT, 1, 2));
        for (i, (addr, len, flags)) in list.iter().enumerate() {
            let at = GuestAddress(DESC + 16 * i as u64);
            let next = i + 1 < list.len();
            self.ram.write_obj(*addr, at).unwrap();
            self.ram.write_obj(*len, GuestAddress(at.0 + 8)).unwrap();
            self.ram
                .write_obj(*flags as u16 | u16::from(next), GuestAddress(at.0 + 12))
                .unwrap();
            self.ram
                .write_obj(i as u16 + 1, GuestAddress(at.0 + 14))
                .unwrap();
        }
        self.ram
            .write_obj(
                0u16,
                GuestAddress(AVAIL + 4 + 2 * u64::from(self.avail % 16)),
            )
            .unwrap();
        self.avail += 1;
        self.ram
            .write_obj(self.avail, GuestAddress(AVAIL + 2))
            .unwrap();
        let effects = self.write(0x3000, 2, 0);
        assert_eq!(effects.intx, Some(true));
        assert_eq!(
            self.ram.read_obj::<u16>(GuestAddress(USED + 2)).unwrap(),
            self.avail
        );
        assert_eq!(self.read(0x1000), 1);
        self.ram.read_obj(GuestAddress(STATUS)).unwrap()
    }
}

#[test]
fn a_disk_behind_an_iommu() {
    let mut rig = Rig::new();
    let want: Vec<u8> = (0..8192u32).map(|i| ((i * 3) >> 2) as u8).collect();
    rig.ram.write_slice(&want, GuestAddress(DATA)).unwrap();
    assert_eq!(rig.request(1, 5, DATA + SHIFT, 8192), 0);
    rig.ram.write_slice(&[0; 8192], GuestAddress(DATA)).unwrap();
    assert_eq!(rig.request(0, 5, DATA + SHIFT, 8192), 0);
    let mut back = vec![0; 8192];
    rig.ram.read_slice(&mut back, GuestAddress(DATA)).unwrap();
    assert!(back == want);
    assert_eq!(rig.request(4, 0, 0, 0), 0);
    assert_eq!(rig.request(8, 0, DATA + SHIFT, 20), 0);
    rig.ram
        .read_slice(&mut back[..6], GuestAddress(DATA))
        .unwrap();
    assert_eq!(&back[..6], b"serial");
    assert_eq!(rig.dev.report().requests, 4);
}

#[test]
fn errors_are_in_the_status_byte() {
    let mut rig = Rig::new();
    assert_eq!(rig.request(0, 2048, DATA + SHIFT, 512), 1);
    assert_eq!(rig.request(0, u64::MAX, DATA + SHIFT, 512), 1);
    assert_eq!(rig.request(0, 0, DATA + SHIFT, 100), 1);
    assert_eq!(rig.request(0, 0, DATA, 512), 1, "not mapped");
    assert_eq!(rig.request(1, 0, DATA, 512), 1, "not mapped");
    assert_eq!(rig.request(99, 0, 0, 0), 2);
}

#[test]
fn an_unreadable_ring_needs_a_reset() {
    let mut rig = Rig::new();
    rig.ram.write_obj(1000u16, GuestAddress(AVAIL + 2)).unwrap();
    rig.write(0x3000, 2, 0);
    assert_eq!(rig.read(0x14) & 0x40, 0x40);
    rig.write(0x14, 1, 0);
    assert_eq!(rig.read(0x14) & 0xff, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_bytes_do_not_panic(
        memory in prop::collection::vec(any::<u8>(), 0x6000),
        ops in prop::collection::vec((0u64..0x40, any::<u64>(), 0usize..4), 0..60),
        count in 0u16..16,
    ) {
        let mut rig = Rig::new();
        rig.ram.write_slice(&memory, GuestAddress(0)).unwrap();
        rig.ram.write_obj(count, GuestAddress(AVAIL + 2)).unwrap();
        rig.write(0x3000, 2, 0);
        for (offset, value, size) in ops {
            let mut data = value.to_le_bytes();
            rig.dev.bar_write(0, offset, &data[..1 << size], &mut Effects::default());
            rig.dev.bar_read(0, offset, &mut data[..1 << size], &mut Effects::default());
            rig.write(0x3000, 2, 0);
        }
    }
}
