use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::dma::{
    DmaFault, DmaRequest, Gpa, Grant, Identity as NoIommu, NoGrant, PageRequest, Piece, SourceId,
    Translator,
};
use crate::memory::GuestRam;
use crate::pci::ats::{CAP_ATS, CAP_PASID, CAP_PRI};

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

/// An IOMMU that has one page for reads, and one more after it was asked for.
#[derive(Debug, Default)]
struct Lab {
    mapped: AtomicBool,
    asked: Mutex<Vec<PageRequest>>,
    answer: Option<PageResponse>,
}

const PAGE: u64 = 0x1000;

impl Translator for Lab {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        let reason = crate::dma::NOT_MEMORY;
        let request = *request;
        match request.pasid {
            // PASID 5 has everything 0x1000 higher.
            Some(Pasid(5)) => Ok(Piece {
                gpa: Gpa(request.iova.0 + PAGE),
                len: request.len,
            }),
            _ => Err(DmaFault { request, reason }),
        }
    }

    fn translation_request(&self, request: &DmaRequest) -> Result<Grant, NoGrant> {
        let page = request.iova.0 / PAGE;
        let there = page == 2 || page == 3 && self.mapped.load(Ordering::Relaxed);
        Ok(Grant {
            piece: Piece {
                gpa: Gpa(request.iova.0 + 3 * PAGE),
                len: PAGE - request.iova.0 % PAGE,
            },
            read: there,
            write: there && page == 3,
        })
    }

    fn translated(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        assert_eq!(request.pasid, None);
        Ok(Piece {
            gpa: Gpa(request.iova.0),
            len: request.len,
        })
    }

    fn page_request(&self, request: &PageRequest) -> Option<PageResponse> {
        self.asked.lock().unwrap().push(*request);
        self.answer
    }
}

/// A device behind the lab, with everything enabled, and the offset of its PRI capability.
fn with_lab(lab: Lab) -> (Edu, GuestRam, Arc<Lab>, u16) {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
    let lab = Arc::new(lab);
    let port = DmaPort::new(SourceId(8), lab.clone(), ram.clone());
    let mut edu = Edu::with_services("edu", port, true);
    let mut set = |at: u16, size, value| edu.config_write(at, size, value, &mut Effects::default());
    set(4, 2, 6);
    let (pasid, ats, pri) = (0x100, 0x108, 0x110);
    set(pasid + 6, 2, 1);
    set(ats + 6, 2, 0x8000);
    set(pri + 12, 4, 1);
    set(pri + 4, 2, 1);
    let ids = [pasid, ats, pri].map(|at| edu.config_read(at, 2) as u16);
    assert_eq!(ids, [CAP_PASID, CAP_ATS, CAP_PRI]);
    (edu, ram, lab, pri)
}

fn status(edu: &mut Edu) -> (u32, u32) {
    (read(edu, 0xa0), read(edu, 0xa8))
}

#[test]
fn what_is_not_enabled_does_nothing() {
    let (mut plain, _) = edu();
    for bits in [8, 0x10, 0x30] {
        dma(&mut plain, 0x2000, BUFFER, 8, 1 | bits);
        assert_eq!(read(&mut plain, 0xa0), DmaStatus::NotEnabled as u32);
    }
    let (mut edu, ..) = with_lab(Lab::default());
    // Page requests without translation requests.
    dma(&mut edu, 0x2000, BUFFER, 8, 1 | 0x20);
    assert_eq!(status(&mut edu), (DmaStatus::NotEnabled as u32, 0));
    edu.reset();
    edu.config_write(4, 2, 6, &mut Effects::default());
    dma(&mut edu, 0x2000, BUFFER, 8, 1 | 0x10);
    assert_eq!(status(&mut edu), (DmaStatus::NotEnabled as u32, 0));
}

#[test]
fn a_pasid_is_carried_if_the_command_says_so() {
    let (mut edu, ram, ..) = with_lab(Lab::default());
    ram.write_slice(b"pasid", GuestAddress(0x3000)).unwrap();
    write(&mut edu, 0xb0, 5);
    dma(&mut edu, 0x2000, BUFFER, 5, 1);
    assert_eq!(status(&mut edu), (DmaStatus::Fault as u32, 0x2000));
    dma(&mut edu, 0x2000, BUFFER, 5, 1 | 8);
    dma(&mut edu, BUFFER, 0x4000, 5, 1 | 2 | 8);
    let mut back = [0; 5];
    ram.read_slice(&mut back, GuestAddress(0x5000)).unwrap();
    assert_eq!((&back, status(&mut edu)), (b"pasid", (1, 0)));
}

#[test]
fn a_page_is_asked_for_and_the_dma_goes_on_with_the_answer() {
    let (mut edu, ram, lab, pri) = with_lab(Lab::default());
    ram.write_slice(b"two pages", GuestAddress(0x5ffc)).unwrap();
    // Without page requests it stops at the page that is not there.
    dma(&mut edu, 0x2ffc, BUFFER, 9, 1 | 0x10);
    let stopped = (DmaStatus::NoTranslation as u32, 0x3000);
    assert_eq!(status(&mut edu), stopped);
    let effects = dma(&mut edu, 0x2ffc, BUFFER, 9, 1 | 4 | 0x30);
    assert_eq!(status(&mut edu), (DmaStatus::Waiting as u32, 0x3000));
    assert!(effects.is_empty());
    let asked = lab.asked.lock().unwrap()[..].to_vec();
    assert_eq!((asked[0].iova, asked[0].group), (Iova(0x3000), 0));
    lab.mapped.store(true, Ordering::Relaxed);
    let mut effects = Effects::default();
    // Another group's answer is not expected.
    edu.page_response(1, PageResponse::Success, &mut effects);
    assert_eq!(read(&mut edu, 0xa0), DmaStatus::Waiting as u32);
    assert_eq!(edu.config_read(pri + 6, 2), 0x8002);
    edu.page_response(0, PageResponse::Success, &mut effects);
    assert_eq!((status(&mut edu), effects.intx), ((1, 0), Some(true)));
    dma(&mut edu, BUFFER, 0x3000, 9, 1 | 2 | 0x10);
    let mut back = [0; 9];
    ram.read_slice(&mut back, GuestAddress(0x6000)).unwrap();
    assert_eq!(&back, b"two pages");
}

#[test]
fn a_refused_page_ends_the_dma() {
    let (mut edu, _, lab, pri) = with_lab(Lab::default());
    let start = |edu: &mut Edu| dma(edu, BUFFER, 0x3008, 4, 1 | 2 | 0x30);
    let answer = |edu: &mut Edu, group, answer| {
        edu.page_response(group, answer, &mut Effects::default());
        status(edu)
    };
    let refused = (DmaStatus::Refused as u32, 0x3008);
    start(&mut edu);
    assert_eq!(answer(&mut edu, 0, PageResponse::Invalid), refused);
    // A command that comes meanwhile takes the place of the one that waits.
    start(&mut edu);
    start(&mut edu);
    let waits = (DmaStatus::Waiting as u32, 0x3008);
    assert_eq!(answer(&mut edu, 1, PageResponse::Success), waits);
    assert_eq!(answer(&mut edu, 2, PageResponse::Failure), refused);
    // Response failure and unexpected group, stopped; disabled.
    assert_eq!(edu.config_read(pri + 4, 4), 0x8103_0000);
    edu.config_write(pri + 6, 2, 3, &mut Effects::default());
    assert_eq!(edu.config_read(pri + 4, 4), 0x8100_0000);
    start(&mut edu);
    assert_eq!(status(&mut edu), (DmaStatus::NotEnabled as u32, 0));
    assert_eq!(lab.asked.lock().unwrap().len(), 3);
    // The unit itself refuses.
    let (mut edu, ..) = with_lab(Lab {
        answer: Some(PageResponse::Success),
        ..Lab::default()
    });
    start(&mut edu);
    assert_eq!(status(&mut edu), refused);
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
