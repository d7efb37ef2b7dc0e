use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::dma::{Identity as NoIommu, SourceId};
use crate::memory::GuestRam;

fn edu() -> (Edu, GuestRam) {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
    let mut edu = Edu::new(
        "edu",
        DmaPort::new(SourceId(8), Arc::new(NoIommu), ram.clone()),
    );
    edu.config_write(4, 2, 6, &mut Effects::default());
    (edu, ram)
}

fn write(edu: &mut Edu, offset: u64, value: u64) -> Effects {
    let mut effects = Effects::default();
    let size = if offset < 0x80 { 4 } else { 8 };
    edu.bar_write(0, offset, &value.to_le_bytes()[..size], &mut effects);
    effects
}

fn read(edu: &mut Edu, offset: u64) -> u32 {
    let mut data = [0; 4];
    edu.bar_read(0, offset, &mut data, &mut Effects::default());
    u32::from_le_bytes(data)
}

fn dma(edu: &mut Edu, source: u64, destination: u64, count: u64, command: u64) -> Effects {
    write(edu, 0x80, source);
    write(edu, 0x88, destination);
    write(edu, 0x90, count);
    write(edu, 0x98, command)
}

#[test]
fn identification_liveness_and_factorial() {
    let (mut edu, _) = edu();
    assert_eq!(read(&mut edu, 0), 0x0100_00ed);
    write(&mut edu, 4, 0x1234_5678);
    assert_eq!(read(&mut edu, 4), !0x1234_5678);
    for (n, result) in [
        (0, 1),
        (1, 1),
        (5, 120),
        (12, 479_001_600),
        (34, 0),
        (u32::MAX, 0),
    ] {
        write(&mut edu, 8, n.into());
        assert_eq!(read(&mut edu, 8), result, "{n}!");
    }
    assert_ne!(factorial(33), 0);
}

#[test]
fn dma_moves_bytes_both_ways() {
    let (mut edu, ram) = edu();
    ram.write_slice(b"hello", GuestAddress(0x2000)).unwrap();
    let effects = dma(&mut edu, 0x2000, BUFFER + 10, 5, 1 | 4);
    assert_eq!(effects.intx, Some(true));
    assert_eq!((read(&mut edu, 0x24), read(&mut edu, 0xa0)), (0x100, 1));
    assert_eq!(write(&mut edu, 0x64, 0x100).intx, Some(false));
    assert!(dma(&mut edu, BUFFER + 10, 0x3000, 5, 1 | 2).is_empty());
    let mut back = [0; 5];
    ram.read_slice(&mut back, GuestAddress(0x3000)).unwrap();
    assert_eq!(&back, b"hello");
    assert_eq!(edu.report().bytes, 10);
}

#[test]
fn dma_errors_are_readable() {
    let (mut edu, _) = edu();
    dma(&mut edu, 0xfff0, BUFFER, 0x20, 1);
    assert_eq!(read(&mut edu, 0xa0), DmaStatus::Fault as u32);
    dma(&mut edu, 0, BUFFER + 1, 4096, 1);
    assert_eq!(read(&mut edu, 0xa0), DmaStatus::OutOfBuffer as u32);
    dma(&mut edu, 0, u64::MAX, u64::MAX, 1);
    assert_eq!(read(&mut edu, 0xa0), DmaStatus::OutOfBuffer as u32);
    edu.config_write(4, 2, 2, &mut Effects::default());
    dma(&mut edu, 0, BUFFER, 16, 1);
    assert_eq!(read(&mut edu, 0xa0), DmaStatus::NotMaster as u32);
    assert_eq!(edu.report().dma_errors, 4);
}

#[test]
fn msi_takes_the_place_of_the_pin() {
    let (mut edu, _) = edu();
    let cap = edu.config_read(0x34, 1) as u16;
    let mut effects = Effects::default();
    edu.config_write(cap + 4, 4, 0xfee0_0000, &mut effects);
    edu.config_write(cap + 12, 2, 0x41, &mut effects);
    edu.config_write(cap + 2, 2, 1, &mut effects);
    let effects = write(&mut edu, 0x60, 1);
    assert_eq!(
        effects.msis,
        [crate::effects::Msi {
            address: 0xfee0_0000,
            data: 0x41
        }]
    );
    assert_eq!(effects.intx, None);
}

proptest! {
    #[test]
    fn random_writes_do_not_panic(ops in prop::collection::vec((0u64..0x100, 0usize..4, any::<u64>()), 0..200)) {
        let (mut edu, _) = edu();
        for (offset, size, value) in ops {
            let size = 1 << size;
            let mut data = value.to_le_bytes();
            edu.bar_write(0, offset, &data[..size], &mut Effects::default());
            edu.bar_read(0, offset, &mut data[..size], &mut Effects::default());
        }
    }
}
