use super::elf::{self, ElfError, Order};
use super::load;
use super::*;
use crate::observe::counters::Calls;
use crate::run::turn_length;
use viommu_devices::spapr::drc::{DrcIndex, DrcState};
use viommu_devices::spapr::rtas::RtasCall;
use vm_memory::{Bytes, GuestAddress};

const BASE: u64 = 0xc000_0000_0000_0000;

/// An ELF64 file of one segment with `code` at its start, entered 4 bytes into it.
fn elf(order: Order, machine: u16, kind: u16, code: &[u8]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02".to_vec();
    out.extend([if order == Order::Little { 1 } else { 2 }, 1]);
    out.resize(16, 0);
    let mut put = |value: u64, size: usize| match order {
        Order::Little => out.extend(&value.to_le_bytes()[..size]),
        Order::Big => out.extend(&value.to_be_bytes()[8 - size..]),
    };
    let len = code.len() as u64;
    for (value, size) in [
        (kind.into(), 2),
        (machine.into(), 2),
        (1, 4),
        (BASE + 4, 8),
        (64, 8),
        (0, 8),
        (0, 4),
    ] {
        put(value, size);
    }
    for (value, size) in [(64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2)] {
        put(value, size);
    }
    for (value, size) in [
        (1, 4),
        (7, 4),
        (120, 8),
        (BASE, 8),
        (BASE, 8),
        (len, 8),
        (len + 16, 8),
        (0x1000, 8),
    ] {
        put(value, size);
    }
    out.extend(code);
    out
}

#[test]
fn kernels_of_either_byte_order() {
    for order in [Order::Little, Order::Big] {
        for kind in [2, 3] {
            let image = elf::parse(&elf(order, 21, kind, &[1; 32])).unwrap();
            assert_eq!(
                (image.order, image.linked_at, image.entry, image.size),
                (order, 0, 4, 48)
            );
            assert_eq!(image.segments.len(), 1);
        }
    }
}

#[test]
fn bad_kernels_have_clear_errors() {
    let good = elf(Order::Little, 21, 2, &[1; 32]);
    for len in 0..good.len() {
        assert!(
            matches!(elf::parse(&good[..len]), Err(ElfError::Truncated { .. })),
            "{len} bytes"
        );
    }
    let x86 = elf::parse(&elf(Order::Little, 62, 2, &[1; 32])).unwrap_err();
    assert!(x86.to_string().contains("x86-64"));
    assert_eq!(
        elf::parse(&elf(Order::Little, 21, 1, &[1; 32])),
        Err(ElfError::WrongType(1))
    );
    let mut bz_image = vec![0; 0x400];
    bz_image[0x202..0x206].copy_from_slice(b"HdrS");
    assert_eq!(elf::parse(&bz_image), Err(ElfError::BzImage));
    assert_eq!(
        elf::parse(&[0x1f, 0x8b, 8, 0]),
        Err(ElfError::Compressed("gzip"))
    );
    assert_eq!(elf::parse(b"hello, world"), Err(ElfError::NotElf));
}

#[test]
fn damaged_headers_do_not_panic() {
    let good = elf(Order::Big, 21, 2, &[1; 32]);
    for at in 0..120 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = elf::parse(&bad);
        }
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        memory: 64 << 20,
        kernel: Some(elf(Order::Big, 21, 2, &[0x60; 32])),
        ..MachineConfig::default()
    }
}

#[test]
fn everything_has_its_place() {
    let config = MachineConfig {
        initrd: Some(vec![7; 5000]),
        ..config()
    };
    let ram = build::ram(&config).unwrap();
    let layout = load::load(&ram, &config).unwrap();
    assert_eq!((layout.entry, layout.kernel_base), (4, 0));
    let (start, end) = layout.initrd.unwrap();
    assert_eq!((start, end), (0x1_0000, 0x1_0000 + 5000));
    assert!(end <= layout.rtas && layout.rtas < layout.dtb);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(start)).unwrap(), 7);
    let word: [u8; 4] = ram.read_obj(GuestAddress(layout.rtas + 12)).unwrap();
    assert_eq!(u32::from_be_bytes(word), 0x4400_0022);
}

#[test]
fn firmware_moves_the_kernel() {
    let config = MachineConfig {
        bios: Some(vec![1; 0x200]),
        ..config()
    };
    let layout = load::load(&build::ram(&config).unwrap(), &config).unwrap();
    assert_eq!((layout.entry, layout.kernel_base), (0x100, 4 << 20));
}

#[test]
fn what_does_not_fit_is_refused() {
    let new = |config: MachineConfig| {
        Machine::new(config)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    let large = MachineConfig {
        initrd: Some(vec![0; 63 << 20]),
        ..config()
    };
    assert!(new(large).contains("initrd"));
    assert!(
        new(MachineConfig {
            memory: (64 << 20) + 1,
            ..config()
        })
        .contains("memory")
    );
    for (memory, max_memory) in [(1, 1 << 29), (1 << 28, 1 << 27), (1 << 28, 1 << 41)] {
        let grown = new(MachineConfig {
            memory: memory.max(64 << 20),
            max_memory,
            ..config()
        });
        assert!(grown.contains("256M"), "{grown}");
    }
    assert!(
        new(MachineConfig {
            cpus: 9,
            ..config()
        })
        .contains("vCPUs")
    );
    assert!(
        new(MachineConfig {
            kernel: None,
            ..config()
        })
        .contains("nothing to run")
    );
    let missing = DiskConfig {
        path: "/nonexistent/disk".into(),
        mode: DiskMode::Writable,
    };
    assert!(
        new(MachineConfig {
            devices: vec![DeviceConfig::Nvme(vec![missing])],
            ..config()
        })
        .contains("/nonexistent/disk")
    );
}

/// A firmware image of these instructions at its entry.
fn firmware(code: &[u32]) -> MachineConfig {
    let mut bios = vec![0; 0x100];
    bios.extend(code.iter().flat_map(|w| w.to_be_bytes()));
    MachineConfig {
        memory: 64 << 20,
        bios: Some(bios),
        devices: vec![DeviceConfig::Edu],
        max_instructions: Some(100_000),
        ..MachineConfig::default()
    }
}

const SC1: u32 = 0x4400_0022;
const BRANCH_SELF: u32 = 0x4800_0000;

fn li(register: u32, value: u16) -> u32 {
    14 << 26 | register << 21 | u32::from(value)
}

#[test]
fn hypercalls_answer_in_registers() {
    let code = [
        li(3, 0x1c8),
        SC1,
        0x7c7e_1b78,
        li(3, 0x7ffc),
        SC1,
        BRANCH_SELF,
    ];
    let mut machine = Machine::new(firmware(&code)).unwrap();
    assert_eq!(machine.run(&mut Unattended), End::MaxInstructions);
    let cpu = &machine.cpus()[0];
    assert_eq!(cpu.gpr(30), 0, "H_GET_CPU_CHARACTERISTICS succeeds");
    assert_eq!(cpu.gpr(3) as i64, -2, "an unknown number gets H_FUNCTION");
    let report = machine.report(&End::MaxInstructions);
    let hypercalls = &report.partition.as_ref().unwrap().hypercalls;
    assert_eq!(hypercalls["H_GET_CPU_CHARACTERISTICS"].calls, 1);
    assert_eq!(hypercalls["0x7ffc"].failed, 1);
    assert_eq!(report.instructions, 100_000);
}

#[test]
fn exits_are_counted_by_kind() {
    let code = [
        li(3, 0x1c8),
        SC1,
        0x3c60_0000, // lis r3,0
        0x6063_f000, // ori r3,r3,0xf000: H_RTAS
        SC1,
        // Answered without an exit: H_GET_TCE of no table, and no hypercall.
        li(3, 0x1c),
        li(4, 1),
        SC1,
        0x7c7e_1b78, // mr r30,r3
        li(3, 0x7ffc),
        SC1,
        BRANCH_SELF,
    ];
    let config = MachineConfig {
        max_instructions: Some(4 * turn_length(1) + 1),
        ..firmware(&code)
    };
    let mut machine = Machine::new(config).unwrap();
    assert_eq!(machine.run(&mut Unattended), End::MaxInstructions);
    let exits = machine.platform().counters.exits;
    assert_eq!((exits.hypercalls, exits.rtas, exits.mmio), (1, 1, 0));
    assert_eq!((exits.turns, exits.idle), (5, 0));
    let cpu = &machine.cpus()[0];
    assert_eq!([30, 3].map(|n| cpu.gpr(n) as i64), [-4, -2]);
    let report = machine.report(&End::MaxInstructions);
    let hypercalls = &report.partition.as_ref().unwrap().hypercalls;
    for name in ["H_GET_TCE", "0x7ffc"] {
        assert_eq!(
            hypercalls[name],
            Calls {
                calls: 1,
                failed: 1
            },
            "{name}"
        );
    }
}

#[test]
fn the_console_writes_and_the_pattern_ends_the_run() {
    // H_PUT_TERM_CHAR(0x71000000, 2, "ok").
    let code = [
        li(3, 0x58),
        0x3c80_7100, // lis r4,0x7100
        li(5, 2),
        0x3cc0_6f6b, // lis r6,0x6f6b: "ok"
        0x78c6_07c6, // sldi r6,r6,32
        SC1,
        BRANCH_SELF,
    ];
    let mut machine = Machine::new(MachineConfig {
        until: Some("ok".into()),
        ..firmware(&code)
    })
    .unwrap();
    assert_eq!(machine.run(&mut Unattended), End::Until("ok".into()));
}

#[test]
fn waiting_for_ever_is_told() {
    // The decrementer is the only event of a machine without devices at work, and it wakes: ends by instructions or in a loop.
    let code = [li(3, 0xe0), SC1, 0x4bff_fff8];
    let mut machine = Machine::new(MachineConfig {
        cpus: 2,
        ..firmware(&code)
    })
    .unwrap();
    let end = machine.run(&mut Unattended);
    assert!(
        matches!(end, End::MaxInstructions | End::CpuStopped { .. }),
        "{end}"
    );
}

#[test]
fn two_runs_are_the_same() {
    let run = || {
        let mut machine = Machine::new(firmware(&[li(3, 0x300), SC1, 0x4bff_fff8])).unwrap();
        let end = machine.run(&mut Unattended);
        let mut report = serde_json::to_value(machine.report(&end)).unwrap();
        // The host's times.
        report.as_object_mut().unwrap().remove("host").unwrap();
        report
    };
    assert_eq!(run(), run());
}

/// Runs these RTAS calls one after the other: (call, inputs, outputs). Gives the outputs of each.
fn rtas_calls(
    config: MachineConfig,
    calls: &[(RtasCall, Vec<u32>, usize)],
) -> (Machine, Vec<Vec<i32>>) {
    const BUFFERS: usize = 0x2000;
    const STEP: usize = 0x40;
    let mut code: Vec<u32> = (0..calls.len())
        .flat_map(|i| {
            let buffer = (BUFFERS + STEP * i) as u16;
            [0x3c60_0000, 0x6063_f000, li(4, buffer), SC1]
        })
        .collect();
    code.push(BRANCH_SELF);
    let mut bios = firmware(&code).bios.unwrap();
    assert!(bios.len() <= BUFFERS && BUFFERS + STEP * calls.len() <= 0x8000);
    bios.resize(BUFFERS + STEP * calls.len(), 0);
    for (i, (call, inputs, outputs)) in calls.iter().enumerate() {
        let head = [call.token(), inputs.len() as u32, *outputs as u32];
        let words = head.iter().chain(inputs).flat_map(|w| w.to_be_bytes());
        let bytes: Vec<u8> = words.collect();
        bios[BUFFERS + STEP * i..][..bytes.len()].copy_from_slice(&bytes);
    }
    let bios = Some(bios);
    let mut machine = Machine::new(MachineConfig { bios, ..config }).unwrap();
    assert_eq!(machine.run(&mut Unattended), End::MaxInstructions);
    let ram = &machine.platform().ram;
    let word = |at: usize| {
        let bytes: [u8; 4] = ram.read_obj(GuestAddress(at as u64)).unwrap();
        i32::from_be_bytes(bytes)
    };
    let outputs = calls.iter().enumerate().map(|(i, (_, inputs, outputs))| {
        let at = BUFFERS + STEP * i + 12 + 4 * inputs.len();
        (0..*outputs).map(|n| word(at + 4 * n)).collect()
    });
    let outputs = outputs.collect();
    (machine, outputs)
}

const PHB_DRC: u32 = 0x2000_0000;
const SLOT_DRC: u32 = 0x4000_0008;

fn indicator(which: u32, index: u32, value: u32) -> (RtasCall, Vec<u32>, usize) {
    (RtasCall::SetIndicator, vec![which, index, value], 1)
}

/// The cells that name the PE of a bridge, and more.
fn pe(bridge: u32, more: &[u32]) -> Vec<u32> {
    let buid = map::bridge(bridge).buid;
    [&[1, (buid >> 32) as u32, buid as u32], more].concat()
}

/// Two bridges with a function each.
fn two_bridges() -> MachineConfig {
    MachineConfig {
        more_bridges: vec![vec![DeviceConfig::Edu]],
        ..firmware(&[])
    }
}

#[test]
fn a_bridge_comes_and_goes_by_its_connector() {
    let sense = |index| (RtasCall::GetSensorState, vec![9003, index], 2);
    let query = |bridge| (RtasCall::IbmQueryPeDmaWindow, pe(bridge, &[]), 5);
    let create = |bridge| (RtasCall::IbmCreatePeDmaWindow, pe(bridge, &[16, 30]), 4);
    let reset = |bridge| (RtasCall::IbmResetPeDmaWindows, pe(bridge, &[]), 1);
    let read = |bridge| {
        let mut args = pe(bridge, &[4]);
        args[0] = 0x800;
        (RtasCall::IbmReadPciConfig, args, 2)
    };
    let windows = |available| vec![0, available, i32::MIN, 0x107, 0];
    let created = |bridge: u32| {
        let liobn = map::bridge(bridge).liobn + 1;
        vec![0, liobn as i32, 0x0800_0000, 0]
    };
    let steps = [
        (query(0), windows(1)),
        (create(0), created(0)),
        (
            (RtasCall::IbmRemovePeDmaWindow, vec![0x8000_0000], 1),
            vec![0],
        ),
        (create(1), created(1)),
        // A function is there.
        (indicator(9001, PHB_DRC, 0), vec![-9000]),
        (sense(PHB_DRC), vec![0, 1]),
        (indicator(9003, PHB_DRC, 0), vec![-3]),
        (query(0), windows(1)),
        // Without it the bridge can go, and takes its windows with it.
        (indicator(9001, SLOT_DRC, 0), vec![0]),
        (query(0), windows(1)),
        (indicator(9001, PHB_DRC, 0), vec![0]),
        (query(0), vec![-3, 0, 0, 0, 0]),
        (create(0), vec![-3, 0, 0, 0]),
        (reset(0), vec![-3]),
        (read(0), vec![-3, 0]),
        (indicator(9001, SLOT_DRC, 1), vec![-9000]),
        (indicator(9003, PHB_DRC, 0), vec![0]),
        (sense(PHB_DRC), vec![0, 2]),
        (indicator(9001, PHB_DRC, 1), vec![-3]),
        (indicator(9001, SLOT_DRC, 1), vec![-9000]),
        // The other bridge does not notice.
        (query(1), vec![0, 0, 0, 0x107, 0]),
        (read(1), vec![0, 0x11e8_1234]),
        // It comes back without functions and as it was at boot.
        (indicator(9003, PHB_DRC, 1), vec![0]),
        (indicator(9001, PHB_DRC, 1), vec![0]),
        (query(0), windows(1)),
        (read(0), vec![0, -1]),
        (indicator(9001, SLOT_DRC, 1), vec![0]),
        (read(0), vec![0, 0x11e8_1234]),
        (create(0), created(0)),
        // There are no more bridges.
        (sense(PHB_DRC + 2), vec![-3, 0]),
    ];
    let calls: Vec<_> = steps.iter().map(|(call, _)| call.clone()).collect();
    let (machine, got) = rtas_calls(two_bridges(), &calls);
    for ((call, wanted), got) in steps.iter().zip(&got) {
        assert_eq!(got, wanted, "{call:?}");
    }
    let events = machine.platform().slots.events();
    let events: Vec<_> = events
        .iter()
        .map(|e| (e.what.as_str(), e.attached))
        .collect();
    assert_eq!(
        events,
        [
            ("P0-C1", false),
            ("PHB 0", false),
            ("PHB 0", true),
            ("P0-C1", true)
        ]
    );
    let report = machine.platform().iommu.report();
    let first = report.windows.iter().filter(|w| w.liobn.0 < 0x8001_0000);
    let first: Vec<_> = first
        .map(|w| (w.liobn.0, w.bus_address, w.size, w.removed_ns.is_none()))
        .collect();
    let (default, dynamic) = ((0x8000_0000, 0, 1 << 30), (0x8000_0001, 1 << 59, 1 << 30));
    let life = |(liobn, at, size), there| (liobn, at, size, there);
    assert_eq!(
        first,
        [
            life(default, false),
            life(dynamic, false),
            life(default, true),
            life(dynamic, true)
        ]
    );
}

/// What a guest writes into an isolated bridge's table is not there when the bridge comes back.
#[test]
fn a_bridge_comes_back_empty() {
    let calls = [
        indicator(9001, SLOT_DRC, 0),
        indicator(9001, PHB_DRC, 0),
        (RtasCall::IbmRemovePeDmaWindow, vec![0x8000_0000], 1),
        indicator(9001, PHB_DRC, 1),
    ];
    let (machine, got) = rtas_calls(two_bridges(), &calls);
    assert!(got.iter().all(|g| *g == [0]), "{got:?}");
    let report = machine.platform().iommu.report();
    let default = report.windows.iter().filter(|w| w.liobn.0 == 0x8000_0000);
    let there: Vec<_> = default.map(|w| w.removed_ns.is_none()).collect();
    assert_eq!(there, [false, true]);
}

/// ibm,configure-connector hands out the bridge's node as the tree had it, without the functions.
#[test]
fn the_node_of_a_bridge() {
    const AREA: u32 = 0x10000;
    let tree = Machine::new(two_bridges()).unwrap().dtb().to_vec();
    let tree = viommu_firmware_tables::fdt::parse(&tree).unwrap();
    let node = tree.node("/pci@800000020000001").unwrap();
    assert_eq!(node.get_u32("ibm,my-drc-index"), Some(PHB_DRC + 1));
    assert_eq!(node.children.len(), 1);
    let names = b"\0\0\0\x02PHB 0\0PHB 1\0";
    assert_eq!(tree.root.get("ibm,drc-names"), Some(&names[..]));
    let properties = node.properties.len();
    let slot = map::function_drc(1, 8);
    let mut calls = vec![
        indicator(9001, slot, 0),
        indicator(9001, PHB_DRC + 1, 0),
        indicator(9001, PHB_DRC + 1, 1),
    ];
    let step = (RtasCall::IbmConfigureConnector, vec![AREA, 0], 1);
    calls.extend(std::iter::repeat_n(step, properties + 2));
    // The initrd is the work area: its first word names the connector.
    let mut area = vec![0; 4096];
    area[..4].copy_from_slice(&(PHB_DRC + 1).to_be_bytes());
    let config = MachineConfig {
        initrd: Some(area),
        ..two_bridges()
    };
    let (machine, got) = rtas_calls(config, &calls);
    let answers: Vec<i32> = got[3..].iter().map(|g| g[0]).collect();
    let (ends, inner) = (
        [answers[0], answers[properties + 1]],
        &answers[1..=properties],
    );
    assert_eq!(ends, [2, 0], "a node, and at last the end");
    assert!(inner.iter().all(|a| *a == 3), "properties only: {inner:?}");
    let slots = &machine.platform().slots;
    let state = slots.state(DrcIndex(PHB_DRC + 1));
    assert_eq!(state, Some(DrcState::Configured));
    // The last answer left its property in the work area.
    let (name, value) = node.properties.last().unwrap();
    let mut text = vec![0; name.len()];
    let ram = &machine.platform().ram;
    ram.read_slice(&mut text, GuestAddress(u64::from(AREA) + 32))
        .unwrap();
    assert_eq!(
        (String::from_utf8(text).as_ref(), value.len()),
        (Ok(name), 4)
    );
}
