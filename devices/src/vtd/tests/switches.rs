//! What switching something on or off does besides, which registers are there, and what bits of invalidations are ignored.
//! VT-d 4.1 §6.5, §11.4.

use super::*;
use crate::vtd::spec::context::ScalableContextEntry as Sce;
use crate::vtd::spec::pasid::PasidEntry as Pe;
use crate::vtd::spec::queue::{QueueError, types};
use crate::vtd::spec::registers::{Register, fsts, global};
use crate::vtd::testing::{Lab, QUEUE, ROOT, STATUS};

fn queue_error(lab: &Lab) -> Option<u64> {
    let stopped = lab.register(Register::FSTS) as u32 & fsts::IQE != 0;
    stopped.then(|| lab.register(Register::IQERCD) & 0xf)
}

/// §6.5.2.10, table of descriptor types by table mode; §11.4.9.9: widths and modes.
#[test]
fn descriptor_types_of_each_table_mode() {
    let good: [(u8, u64); 9] = [
        (types::CONTEXT_CACHE, 1 << 4),
        (types::IOTLB, 1 << 4),
        (types::DEVICE_TLB, 0),
        (types::INTERRUPT_ENTRY_CACHE, 0),
        (types::WAIT, 0),
        (types::PASID_IOTLB, 2 << 4),
        (types::PASID_CACHE, 3 << 4),
        (types::PASID_DEVICE_TLB, 0),
        (types::PAGE_GROUP_RESPONSE, 0),
    ];
    for (mode, wide) in [0u64, 1, 2, 3].into_iter().flat_map(|m| [(m, 0), (m, 1)]) {
        for (kind, low) in good {
            let lab = Lab::new(Config::full());
            lab.put(QUEUE, u64::from(kind) | low);
            lab.set_register(Register::RTADDR, ROOT | mode << 10);
            lab.command(global::SRTP);
            lab.set_register(Register::IQA, QUEUE | wide << 11);
            lab.command(global::QIE);
            lab.set_register(Register::IQT, 16 << wide);
            let expected = match (mode, wide) {
                (2, _) => Some(QueueError::InvalidMode),
                (1 | 3, 0) => Some(QueueError::InvalidWidth),
                (0, _) if kind > types::WAIT => Some(QueueError::InvalidType),
                _ => None,
            };
            assert_eq!(
                queue_error(&lab),
                expected.map(|e| e as u64),
                "mode {mode}, wide {wide}, type {kind}"
            );
        }
    }
    // A unit with neither scalable nor abort-DMA mode knows 128 bits and the legacy mode only.
    for (mode, wide, expected) in [
        (0, 0, None),
        (0, 1, Some(QueueError::InvalidWidth)),
        (1, 0, Some(QueueError::InvalidMode)),
        (3, 0, Some(QueueError::InvalidMode)),
    ] {
        let lab = Lab::new(Config::legacy());
        lab.put(QUEUE, u64::from(types::WAIT));
        lab.set_register(Register::RTADDR, ROOT | mode << 10);
        lab.command(global::SRTP);
        lab.set_register(Register::IQA, QUEUE | wide << 11);
        lab.command(global::QIE);
        lab.set_register(Register::IQT, 16 << wide);
        assert_eq!(
            queue_error(&lab),
            expected.map(|e| e as u64),
            "mode {mode}, wide {wide}"
        );
    }
}

/// §6.5.2, §11.4.9.1: the head is 0 while the queue is off, and what waited in it is forgotten, its grace period included.
#[test]
fn the_queue_begins_anew() {
    let lab = Lab::new(Config::full());
    lab.enable(1);
    assert!(lab.wait());
    assert_eq!(lab.register(Register::IQH), 32);
    lab.set_register(Register::GCMD, 0);
    assert_eq!(lab.register(Register::IQH), 0);
    // A wait behind a DMA, and one behind a device TLB, when the queue is switched off.
    for behind_dma in [true, false] {
        lab.enable(1);
        let guard = behind_dma.then(|| lab.unit.enter());
        let sent = match behind_dma {
            true => Vec::new(),
            false => {
                lab.submit([u64::from(types::DEVICE_TLB) | 0x10 << 32, 0])
                    .device_tlb
            }
        };
        lab.put(STATUS, 0);
        lab.submit([u64::from(types::WAIT) | 3 << 5 | 7 << 32, STATUS]);
        let queue_off = lab.register(Register::GSTS) as u32 & !global::QIE & !global::SRTP;
        lab.set_register(Register::GCMD, queue_off.into());
        drop(guard);
        lab.unit.run();
        for d in sent {
            lab.unit.device_tlb_done(d.tag, d.source);
        }
        assert_eq!((lab.get(STATUS), lab.register(Register::IQH)), (0, 0));
        assert_eq!(lab.register(Register::GSTS) as u32 & global::QIE, 0);
    }
    // The first wait of the next run waits for its own DMA.
    lab.enable(1);
    let guard = lab.unit.enter();
    assert!(!lab.wait());
    drop(guard);
    lab.unit.run();
    assert_eq!(lab.get(STATUS) as u32, 0x1234);
}

/// §11.4.4.1: in a unit with scalable mode, TE switched off invalidates; IRE does with ESIRTPS.
#[test]
fn switching_off_invalidates() {
    for config in [Config::full(), Config::legacy()] {
        let scalable = config.scalable;
        let lab = Lab::new(config);
        let root = lab.page();
        let leaf = lab.map_second(root, 4, 0x1000, 0x5000, 1, 3);
        lab.set_context(DEVICE, 0, 2, 1, root);
        lab.enable(0);
        lab.unit.translate(&read(0x1000)).unwrap();
        lab.put(leaf, 0x6000 | 3);
        lab.set_register(Register::GCMD, global::QIE.into());
        lab.command(global::TE);
        let address = lab.unit.translate(&read(0x1000)).unwrap().address;
        assert_eq!(address, if scalable { 0x6000 } else { 0x5000 });
    }
}

/// §7.2.1: the next record is the first one again once neither translation nor interrupt remapping is on.
#[test]
fn fault_records_begin_anew() {
    let lab = Lab::new(uncached());
    lab.enable(0);
    let fail = |n: u64| {
        assert!(lab.unit.translate(&read(n << 12)).is_err());
        lab.register(Register::FSTS) >> 8 & 0xff
    };
    let clear = |n: u16| lab.set_register(Register::FRCD(n, true), 1 << 63);
    assert_eq!(fail(1), 0);
    clear(0);
    assert_eq!(fail(2), 1);
    clear(1);
    lab.set_register(Register::GCMD, (global::QIE | global::IRE).into());
    lab.command(global::TE);
    assert_eq!(fail(3), 2, "interrupt remapping was on");
    clear(2);
    lab.set_register(Register::GCMD, global::QIE.into());
    lab.command(global::TE);
    assert_eq!(fail(4), 0);
    assert_eq!(lab.register(Register::FRCD(0, false)), 4 << 12);
}

/// §11.4.9.9: the first of several device-TLB errors is the one in IQERCD.
#[test]
fn the_first_device_tlb_error_is_recorded() {
    let lab = Lab::new(Config::full());
    lab.enable(1);
    let mut tags = Vec::new();
    for source in [0x21u64, 0x22] {
        let sent = lab.submit([u64::from(types::DEVICE_TLB) | source << 32, 0]);
        tags.push(sent.device_tlb[0].tag);
    }
    for source in [0x31, 0x32] {
        lab.unit.device_tlb_done(99, source);
    }
    for tag in tags {
        lab.unit.device_tlb_timed_out(tag);
    }
    let both = u64::from(fsts::ICE | fsts::ITE);
    assert_eq!(lab.register(Register::FSTS), both);
    assert_eq!(lab.register(Register::IQERCD), 0x31 << 48 | 0x21 << 32);
    lab.set_register(Register::FSTS, both);
    lab.unit.device_tlb_done(99, 0x33);
    assert_eq!(lab.register(Register::IQERCD), 0x33 << 48);
}

/// §11.4.6: commands by register are for legacy mode, and for versions before 6.
#[test]
fn commands_by_register_that_do_nothing() {
    for (mode, version, usable) in [
        (0u64, (5, 0), true),
        (1, (5, 0), false),
        (3, (5, 0), false),
        (0, (6, 0), false),
    ] {
        let lab = Lab::new(Config {
            version,
            ..Config::full()
        });
        lab.set_register(Register::RTADDR, ROOT | mode << 10);
        lab.command(global::SRTP);
        lab.set_register(Register::CCMD, 1 << 63 | 1 << 61);
        let actual = lab.register(Register::CCMD) >> 59;
        assert_eq!(actual, 0b00100 | u64::from(usable), "{mode} {version:?}");
        lab.set_register(Register::IOTLB, 1 << 63 | 1 << 60);
        let actual = lab.register(Register::IOTLB) >> 57;
        assert_eq!(actual, 0b001_000 | u64::from(usable), "{mode} {version:?}");
    }
}

/// §11.4.9 to §11.4.11: registers of what is absent are reserved.
#[test]
fn registers_of_what_is_absent() {
    use Register::*;
    let queue = [IQH, IQT, IQA, ICS, IECTL, IEDATA, IEADDR, IEUADDR, IQERCD];
    let pages = [PQH, PQT, PQA, PRS, PECTL, PEDATA, PEADDR, PEUADDR];
    let lab = Lab::new(Config {
        interrupt_remapping: false,
        eim: false,
        esirtps: false,
        queued_invalidation: false,
        device_tlb: false,
        ..Config::legacy()
    });
    for register in queue.into_iter().chain(pages).chain([IRTA]) {
        lab.set_register(register, u64::MAX);
        assert_eq!(lab.register(register), 0, "{register:?}");
    }
    assert_eq!(lab.register(FECTL), 1 << 31);
}

/// §6.5.2: bits of domain-ids and addresses that the unit does not implement are ignored, as are those of a status address.
#[test]
fn ignored_bits() {
    let lab = Lab::new(Config {
        domain_bits: 8,
        guest_address_width: 48,
        second_stage_levels: vec![3, 4],
        ..Config::full()
    });
    let root = lab.page();
    let leaf = lab.map_second(root, 4, 0x1000, 0x5000, 1, 3);
    lab.set_scalable_context(DEVICE, Sce::PASIDE, 0);
    lab.set_pasid(DEVICE, 0, [root | 2 << 2 | 2 << 6, 0x12, 0]);
    lab.enable(1);
    let beyond = 1u64 << 48 | 1 << 63;
    for (n, [low, high]) in [
        [u64::from(types::IOTLB) | 2 << 4 | 0x7812 << 16, 0],
        [
            u64::from(types::IOTLB) | 3 << 4 | 0x7812 << 16,
            0x1000 | beyond,
        ],
        [u64::from(types::PASID_IOTLB) | 2 << 4 | 0x7812 << 16, 0],
    ]
    .into_iter()
    .enumerate()
    {
        let to = 0x5000 + 0x1000 * n as u64;
        assert_eq!(lab.unit.translate(&read(0x1000)).unwrap().address, to);
        lab.put(leaf, (to + 0x1000) | 3);
        lab.submit([low, high]);
        assert_eq!(
            lab.unit.translate(&read(0x1000)).unwrap().address,
            to + 0x1000
        );
    }
    lab.submit([
        u64::from(types::WAIT) | 1 << 5 | 5 << 32,
        STATUS | 0xffff << 46,
    ]);
    assert_eq!(lab.get(STATUS), 5);
}

/// What a device may access without another question ends where interrupts or protected memory begin. §3.14, §11.4.8.
#[test]
fn pieces_end_before_what_is_not_theirs() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    lab.map_second(root, 4, 0x4000_0000, 0xc000_0000, 3, 3);
    lab.map_second(root, 4, 0x8000_0000, 0, 3, 3);
    let passing = SourceId(0x20);
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.set_context(passing, 2, 2, 2, 0);
    let reach = |source, at| {
        let request = Request::untranslated(source, at, Operation::Write);
        let t = lab.unit.translate(&request).unwrap();
        t.address + t.remaining()
    };
    let interrupts = 0xfee0_0000u64;
    let before = |end: u64| assert!(end <= interrupts, "{end:#x}");
    before(reach(passing, interrupts - 1));
    lab.enable(0);
    for at in [0, 0x8000_0000, 0xfe00_0000, interrupts - 1] {
        before(reach(passing, at));
    }
    assert!(reach(passing, 0xfef0_0000) > 0xfef0_0000);
    assert!(reach(passing, 1 << 32) >= 2 << 32);
    assert!(reach(passing, 1 << 45) <= 1 << 46, "host address width");
    before(reach(DEVICE, 0x4000_0000 + (interrupts - 1 - 0xc000_0000)));
    assert_eq!(reach(DEVICE, 0x8000_0000), 0x4000_0000);
    lab.set_register(Register::PHMBASE, 0x60_0000);
    lab.set_register(Register::PHMLIMIT, 0x60_0000);
    lab.set_register(Register::PMEN, 1 << 31);
    for (source, at) in [(passing, 0x5f_ffff), (DEVICE, 0x805f_ffff)] {
        assert_eq!(reach(source, at), 0x60_0000);
    }
    lab.set_register(Register::GCMD, 0);
    assert_eq!(reach(passing, 0x5f_ffff), 0x60_0000, "translation is off");
}

/// An explanation, and a look whether CAP.CM was violated, leave the tables as they are.
#[test]
fn looking_changes_nothing() {
    let lab = Lab::new(Config::full());
    let second = lab.identity_second(4, 3);
    let first = lab.page();
    lab.map_first(first, 4, 0x1000, 0x60_0000, 1, 0x6);
    lab.set_scalable_context(DEVICE, Sce::PASIDE, 5);
    let nested = [second | 2 << 2 | 3 << 6 | Pe::SSADE, 1 | Pe::PWSNP, first];
    lab.set_pasid(DEVICE, 5, nested);
    lab.enable(1);
    let tables = || -> Vec<u64> {
        (0x10_0000..0x20_0000)
            .step_by(8)
            .map(|at| lab.get(at))
            .collect()
    };
    let before = tables();
    assert_eq!(
        lab.unit
            .explain(&write(0x1000))
            .translation
            .unwrap()
            .address,
        0x60_0000
    );
    assert!(tables() == before);
    lab.unit.translate(&write(0x1000)).unwrap();
    assert!(tables() != before);
}
