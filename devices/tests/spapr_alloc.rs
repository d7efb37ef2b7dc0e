//! Translating allocates nothing: not in a table of any depth, not over pages in a row, not for a fault and its record; nor do hypercalls
//! that set entries.
//!
//! The allocator counts, so the cases are in one test of a program of its own.

#[path = "common/counting.rs"]
mod counting;

use std::sync::Arc;

use counting::allocations;
use viommu_devices::dma::{Access, DmaPort, DmaRequest, Gpa, Iova, Translator};
use viommu_devices::spapr::hcall::H_SUCCESS;
use viommu_devices::spapr::iommu::testing::{BUID, DEFAULT, SOURCE, Unit};

fn read(iova: u64, len: u64) -> DmaRequest {
    DmaRequest {
        source: SOURCE,
        pasid: None,
        iova: Iova(iova),
        len,
        access: Access::Read,
    }
}

#[test]
fn translating_allocates_nothing() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);

    let unit = Unit::new();
    for page in 0..64 {
        let tce = page << 12 | 3;
        assert_eq!(unit.put(DEFAULT, page << 12, tce), H_SUCCESS);
    }
    let (huge, base) = unit.create(12, 50).expect("a window");
    assert_eq!(unit.put(huge, base + (1 << 49), 0x5003), H_SUCCESS);
    let translator = Arc::new(unit.iommu.for_phb(BUID));
    let port = DmaPort::new(SOURCE, translator.clone(), unit.ram.clone());
    let mut buffer = [0u8; 0x3000];

    let cases: [(&str, &mut dyn FnMut()); 5] = [
        ("one page", &mut || {
            for page in 0..64 {
                translator.translate(&read(page << 12, 8)).expect("a page");
            }
        }),
        ("pages in a row", &mut || {
            let piece = translator.translate(&read(0x800, 0x2_0000));
            assert_eq!(piece.expect("pages").len, 0x2_0000);
        }),
        ("a deep table", &mut || {
            let request = read(base + (1 << 49), 8);
            let piece = translator.translate(&request).expect("a page");
            assert_eq!(piece.gpa, Gpa(0x5000));
        }),
        ("a port", &mut || {
            port.write(Iova(0x1800), &buffer).expect("pages");
            port.read(Iova(0x1800), &mut buffer).expect("pages");
        }),
        // More than the unit keeps.
        ("faults", &mut || {
            for _ in 0..100 {
                assert!(translator.translate(&read(64 << 12, 8)).is_err());
                assert!(translator.translate(&read(1 << 40, 8)).is_err());
            }
        }),
    ];
    for (name, case) in cases {
        assert_eq!(allocations(case), 0, "{name}");
    }

    // Hypercalls take tables' storage, which is reserved already.
    let entries = allocations(|| {
        for page in 0..64 {
            assert_eq!(unit.put(huge, base + (page << 30), 0x1003), H_SUCCESS);
            assert_eq!(unit.put(huge, base + (page << 30), 0), H_SUCCESS);
        }
        assert_eq!(unit.stuff(DEFAULT, 0, 0, 512), H_SUCCESS);
    });
    assert_eq!(entries, 0);
}
