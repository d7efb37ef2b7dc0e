//! Translating allocates nothing: not for a hit, not for a miss, not for a fault and its record.
//!
//! The allocator counts, so the cases are in one test of a program of its own.

#[path = "common/counting.rs"]
mod counting;

use counting::allocations;
use viommu_devices::dma::{DmaPort, Iova, SourceId};
use viommu_devices::vtd::spec::paging::first;
use viommu_devices::vtd::spec::pasid::PasidEntry;
use viommu_devices::vtd::testing::{DEVICE, IRT, IRT_SIZE, Lab};
use viommu_devices::vtd::{CacheConfig, Config, InterruptRequest, Operation, Request};

fn request(address: u64) -> Request {
    Request::untranslated(DEVICE, address, Operation::Read)
}

fn second_stage(caches: CacheConfig) -> Lab {
    let lab = Lab::new(Config {
        caches,
        ..Config::full()
    });
    let root = lab.page();
    for page in 0..64 {
        lab.map_second(root, 4, page << 12, 0x20_0000 + (page << 12), 1, 3);
    }
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.enable(0);
    lab
}

fn nested() -> Lab {
    let lab = Lab::new(Config::full());
    let (f, s) = (lab.page(), lab.identity_second(4, 3));
    for page in 0..64 {
        let flags = first::RW | first::US;
        lab.map_first(f, 4, page << 12, 0x20_0000 + (page << 12), 1, flags);
    }
    lab.set_scalable_context(DEVICE, 8, 0);
    let words = [
        s | 2 << 2 | 3 << 6 | PasidEntry::SSADE,
        1 | PasidEntry::PWSNP,
        f,
    ];
    lab.set_pasid(DEVICE, 0, words);
    lab.enable(1);
    lab
}

#[test]
fn translating_allocates_nothing() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);

    let lab = second_stage(CacheConfig::default());
    let misses = allocations(|| {
        for page in 0..64 {
            lab.unit.translate(&request(page << 12)).expect("a page");
        }
    });
    let hits = allocations(|| {
        for page in 0..64 {
            let _guard = lab.unit.enter();
            lab.unit.translate(&request(page << 12)).expect("a page");
        }
    });
    let counters = lab.unit.counters();
    assert_eq!((counters.iotlb_misses, counters.iotlb_hits), (64, 64));
    assert_eq!((misses, hits), (0, 0));

    let uncached = second_stage(CacheConfig::OFF);
    let walks = allocations(|| {
        for page in 0..64 {
            uncached
                .unit
                .translate(&request(page << 12))
                .expect("a page");
        }
    });
    assert_eq!(walks, 0);

    let both = nested();
    let nested_misses = allocations(|| {
        for page in 0..64 {
            // Accessed and dirty bits of both stages are set on the way.
            let write = Request::untranslated(DEVICE, page << 12, Operation::Write);
            both.unit.translate(&write).expect("a page");
        }
    });
    assert_eq!(nested_misses, 0);

    // Records until there is no room, and beyond: of a missing page, of a missing context entry, of interrupts.
    lab.set_register(
        viommu_devices::vtd::spec::registers::Register::IRTA,
        IRT | IRT_SIZE,
    );
    lab.command(1 << 24);
    lab.command(1 << 25);
    let interrupt = InterruptRequest {
        source: DEVICE,
        address: 0xfee0_0010,
        data: 0,
    };
    let faults = allocations(|| {
        assert!(lab.unit.translate(&request(0x1000_0000)).is_err());
        let stranger = Request {
            source: SourceId(0x99),
            ..request(0)
        };
        assert!(lab.unit.translate(&stranger).is_err());
        for _ in 0..8 {
            assert!(lab.unit.remap_interrupt(&interrupt).is_err());
        }
    });
    assert_eq!(lab.unit.counters().faults, 10);
    assert_eq!(lab.take_records().len(), 4);
    assert_eq!(faults, 0);

    // A device's port: the bytes move, nothing is allocated.
    let port = DmaPort::new(
        DEVICE,
        std::sync::Arc::new(lab.unit.clone()),
        lab.ram.clone(),
    );
    let mut buffer = [0u8; 0x3000];
    let moved = allocations(|| {
        port.write(Iova(0x1800), &buffer).expect("pages");
        port.read(Iova(0x1800), &mut buffer).expect("pages");
        assert!(port.read(Iova(0x1000_0000), &mut buffer).is_err());
    });
    assert_eq!(moved, 0);
}
