use super::*;
use proptest::prelude::*;

/// A machine with everything that a description can say.
pub(crate) fn full() -> PseriesDescription {
    let calls = [
        "get-time-of-day",
        "power-off",
        "ibm,read-pci-config",
        "ibm,write-pci-config",
        "ibm,change-msi",
        "ibm,query-interrupt-source-number",
        "ibm,set-xive",
        "ibm,get-xive",
        "ibm,int-on",
        "ibm,int-off",
        "ibm,query-pe-dma-window",
        "ibm,create-pe-dma-window",
        "ibm,remove-pe-dma-window",
        "ibm,reset-pe-dma-window",
        "start-cpu",
        "query-cpu-stopped-state",
        "stop-self",
        "nvram-fetch",
        "nvram-store",
        "event-scan",
        "display-character",
        "get-sensor-state",
        "set-indicator",
        "ibm,configure-connector",
    ];
    let calls = (0x2000..)
        .zip(calls)
        .map(|(t, n)| (n.to_owned(), t))
        .collect();
    let rtas = RtasDescription {
        base: 0x2fff_0000,
        entry: 0x2fff_0000,
        size: 0x1000,
        calls,
        errors: vec![("ioa-bus-error".to_owned(), 7)],
    };
    let token = |name: &str| rtas.token(name).unwrap();
    PseriesDescription {
        memory_size: 1 << 30,
        max_memory: 2 << 30,
        cpus: (0..4).map(|reg| CpuDescription { reg }).collect(),
        max_cpus: 4,
        bootargs: "console=hvc0 quote=\"a b\"".into(),
        initrd: Some((0x0800_0000, 0x0812_3456)),
        kaslr_seed: Some(0x1234_5678_9abc_def0),
        rng_seed: vec![7; 32],
        interrupt_controller: InterruptController::Xics { servers: 4 },
        console: Some(ConsoleDescription {
            reg: 0x7100_0000,
            irq: 0x1000,
        }),
        nvram: Some(NvramDescription {
            reg: 0x7100_0001,
            size: 0x1_0000,
        }),
        phbs: vec![PhbDescription {
            index: 0,
            buid: 0x0800_0000_2000_0000,
            mmio32: RangeDescription {
                cpu: 0x2000_8000_0000,
                pci: 0x8000_0000,
                size: 0x7000_0000,
            },
            mmio64: Some(RangeDescription {
                cpu: 0x2100_0000_0000,
                pci: 0x2100_0000_0000,
                size: 1 << 40,
            }),
            io: Some(RangeDescription {
                cpu: 0x2000_0000_0000,
                pci: 0,
                size: 0x1_0000,
            }),
            bus_range: (0, 0xff),
            lsi_base: 0x1010,
            dma_window: DmaWindowDescription {
                liobn: 0x8000_0000,
                base: 0,
                size: 1 << 30,
            },
            ddw: Some(DdwDescription {
                tokens: [
                    token("ibm,query-pe-dma-window"),
                    token("ibm,create-pe-dma-window"),
                    token("ibm,remove-pe-dma-window"),
                ],
                reset: Some(token("ibm,reset-pe-dma-window")),
                extensions: vec![1],
            }),
            total_msis: 256,
            functions: vec![
                FunctionDescription {
                    devfn: 8,
                    vendor: 0x1b36,
                    device: 0x10,
                    revision: 2,
                    class: 0x01_0802,
                    subsystem: (0x1af4, 0x1100),
                    interrupt_pin: 1,
                    bars: vec![BarDescription {
                        index: 0,
                        space: BarSpace::Memory64,
                        prefetchable: false,
                        size: 0x4000,
                    }],
                    msi: 0,
                    msix: 9,
                    connector: Some(0x4000_0008),
                },
                FunctionDescription {
                    devfn: 0x11,
                    vendor: 0x1234,
                    device: 0x11e8,
                    revision: 0x10,
                    class: 0x00_ff00,
                    subsystem: (0, 0),
                    interrupt_pin: 2,
                    bars: vec![BarDescription {
                        index: 0,
                        space: BarSpace::Memory32,
                        prefetchable: true,
                        size: 1 << 20,
                    }],
                    msi: 1,
                    msix: 0,
                    connector: Some(0x4000_0011),
                },
            ],
            connector: Some(ConnectorDescription {
                index: 0x2000_0000,
                name: "PHB 0".to_owned(),
            }),
            connectors: [
                (0x4000_0008, "P0-C1"),
                (0x4000_0011, "P0-C2"),
                (0x4000_0018, "P0-C3"),
            ]
            .map(|(index, name)| ConnectorDescription {
                index,
                name: name.to_owned(),
            })
            .to_vec(),
        }],
        rtas,
        ..PseriesDescription::default()
    }
}

#[test]
fn round_trip() {
    for description in [PseriesDescription::default(), full()] {
        let tree = pseries_tree(&description).unwrap();
        let blob = pseries(&description).unwrap();
        assert_eq!(parse(&blob).unwrap(), tree);
        assert_eq!(parse(&blob).unwrap().to_blob().unwrap(), blob);
    }
}

#[test]
fn what_linux_reads_is_there() {
    let tree = pseries_tree(&full()).unwrap();
    let chosen = tree.node("/chosen").unwrap();
    let vec5 = chosen.get("ibm,architecture-vec-5").unwrap();
    assert_eq!(
        (vec5.len(), vec5[0], vec5[2], vec5[5], vec5[6]),
        (27, 0x19, 0x20, 0x80, 0x05)
    );
    assert_eq!(vec5[22], 0x80, "memory can grow");
    assert_eq!((vec5[23], vec5[24], vec5[26]), (0, 0x40, 0x40));
    assert_eq!(chosen.get_number("linux,initrd-end"), Some(0x0812_3456));
    let cpu = tree.node("/cpus/PowerPC,POWER9@3").unwrap();
    let sizes = cpu.get_cells("ibm,processor-radix-AP-encodings").unwrap();
    assert_eq!(sizes, [0x0000_000c, 0xa000_0010, 0x2000_0015, 0x4000_001e]);
    let features = cpu.get("ibm,pa-features").unwrap();
    assert_eq!((features.len(), features[0], features[1]), (68, 66, 0));
    assert_eq!(features[2..8], [0xf6, 0x1f, 0xc7, 0xc0, 0x00, 0xf0]);
    assert_eq!(
        (features[2 + 40], features[2 + 22], features[2 + 54]),
        (0x80, 0, 0)
    );
    let rtas = tree.node("/rtas").unwrap();
    assert_eq!(
        rtas.get_cells("ibm,lrdr-capacity").unwrap(),
        [0, 0x8000_0000, 0, 0x1000_0000, 4]
    );
    let phb = tree.node("/pci@800000020000000").unwrap();
    assert_eq!(
        phb.get_cells("ibm,dma-window").unwrap(),
        [0x8000_0000, 0, 0, 0, 0x4000_0000]
    );
    assert_eq!(phb.get_cells("ibm,ddw-extensions").unwrap()[0], 2);
    let nvme = phb.child("pci1b36,10@1").unwrap();
    assert_eq!(
        nvme.get_cells("reg").unwrap(),
        [0x800, 0, 0, 0, 0, 0x0300_0810, 0, 0, 0, 0x4000]
    );
    assert!(phb.child("pci1234,11e8@2,1").is_some());
}

#[test]
fn connectors_and_blocks() {
    let description = full();
    let tree = pseries_tree(&description).unwrap();
    let phb = tree.node("/pci@800000020000000").unwrap();
    assert_eq!(
        phb.get_cells("ibm,drc-indexes").unwrap(),
        [3, 0x4000_0008, 0x4000_0011, 0x4000_0018]
    );
    assert_eq!(
        phb.get("ibm,drc-names").unwrap(),
        b"\0\0\0\x03P0-C1\0P0-C2\0P0-C3\0"
    );
    assert_eq!(
        phb.get("ibm,drc-types").unwrap(),
        b"\0\0\0\x03SLOT\0SLOT\0SLOT\0"
    );
    assert_eq!(
        phb.child("pci1b36,10@1")
            .unwrap()
            .get_u32("ibm,my-drc-index"),
        Some(0x4000_0008)
    );
    assert_eq!(phb.get_u32("ibm,my-drc-index"), Some(0x2000_0000));
    let root = &tree.root;
    for name in ["ibm,drc-indexes", "ibm,drc-power-domains"] {
        assert_eq!(root.get_cells(name).unwrap()[0], 1, "{name}");
    }
    assert_eq!(root.get_cells("ibm,drc-indexes").unwrap(), [1, 0x2000_0000]);
    assert_eq!(root.get("ibm,drc-names").unwrap(), b"\0\0\0\x01PHB 0\0");
    assert_eq!(root.get("ibm,drc-types").unwrap(), b"\0\0\0\x01PHB\0");
    let memory = tree.node("/ibm,dynamic-reconfiguration-memory").unwrap();
    assert_eq!(
        memory.get_cells("ibm,dynamic-memory-v2").unwrap(),
        [2, 4, 0, 0, 0, 0, 0xa8, 4, 0, 0x4000_0000, 0x8000_0004, 0, 0]
    );
    let block = block_node(&description, 5);
    assert_eq!(block.name, "memory@50000000");
    assert_eq!(
        block.get_cells("reg").unwrap(),
        [0, 0x5000_0000, 0, 0x1000_0000]
    );
    assert_eq!(block.get_u32("ibm,my-drc-index"), Some(0x8000_0005));
    let fixed = pseries_tree(&PseriesDescription::default()).unwrap();
    assert!(fixed.node("/ibm,dynamic-reconfiguration-memory").is_none());
}

#[test]
fn a_bridge_as_its_connector_hands_it_out() {
    let mut description = full();
    let tree = pseries_tree(&description).unwrap();
    let bridge = tree.node("/pci@800000020000000").unwrap();
    assert_eq!(bridge_node(&description.phbs[0]), *bridge);
    description.phbs[0].functions.clear();
    let bare = bridge_node(&description.phbs[0]);
    assert!(bare.children.is_empty());
    assert_eq!(bare.properties, bridge.properties);
    // Without one, neither the bridge nor the root has its properties.
    description.phbs[0].connector = None;
    let tree = pseries_tree(&description).unwrap();
    let bridge = tree.node("/pci@800000020000000").unwrap();
    assert!(bridge.get("ibm,my-drc-index").is_none() && bridge.get("ibm,drc-indexes").is_some());
    let names = tree.root.properties.iter().map(|(name, _)| name);
    assert_eq!(names.filter(|n| n.starts_with("ibm,drc-")).count(), 0);
}

#[test]
fn lsis_rotate_by_slot() {
    let phb = &full().phbs[0];
    assert_eq!(
        (phb.lsi(0, 1), phb.lsi(1, 1), phb.lsi(3, 2), phb.lsi(31, 4)),
        (0x1010, 0x1011, 0x1010, 0x1012)
    );
}

#[test]
fn seeds_are_absent_unless_given() {
    let tree = pseries_tree(&PseriesDescription::default()).unwrap();
    let chosen = tree.node("/chosen").unwrap();
    assert!(chosen.get("kaslr-seed").is_none() && chosen.get("rng-seed").is_none());
}

#[test]
fn bad_descriptions_are_refused() {
    let broken: [fn(&mut PseriesDescription); 9] = [
        |d| d.max_memory += 4096,
        |d| d.phbs[0].connector.as_mut().unwrap().name = "PHB\0".into(),
        |d| d.phbs[0].connectors[1].name = "a\0b".into(),
        |d| d.bootargs = "a\0b".into(),
        |d| d.memory_size = 0,
        |d| d.cpus.clear(),
        |d| d.max_memory = 4096,
        |d| d.phbs[0].functions[0].bars[0].index = 6,
        |d| d.rtas.calls[0].0 = "a b".into(),
    ];
    for change in broken {
        let mut description = full();
        change(&mut description);
        assert!(pseries(&description).is_err());
    }
}

#[test]
fn source_reads_as_source() {
    let source = to_dts(&pseries(&full()).unwrap()).unwrap();
    for line in [
        "/dts-v1/;",
        "\tmodel = \"viommu pseries\";",
        "\t\tbootargs = \"console=hvc0 quote=\\\"a b\\\"\";",
        "\t\t\t64-bit;",
        "\t\tibm,ddw-applicable = <0x200a 0x200b 0x200c>;",
    ] {
        assert!(source.lines().any(|l| l == line), "{line}\n{source}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let blob = pseries(&PseriesDescription::default()).unwrap();
    for length in 0..blob.len() {
        assert!(parse(&blob[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_reservation_that_would_end_the_list_is_refused() {
    let mut tree = pseries_tree(&full()).unwrap();
    tree.reservations.insert(0, (0, 0));
    assert_eq!(tree.to_blob(), Err(FdtError::Reservation));
    tree.reservations[0] = (0, 1);
    assert_eq!(parse(&tree.to_blob().unwrap()), Ok(tree));
}

#[test]
fn depth_and_names_are_bounded() {
    let mut node = Node::new("n");
    for _ in 0..LIMITS.depth {
        let mut outer = Node::new("n");
        outer.add(node);
        node = outer;
    }
    let mut tree = Tree::default();
    tree.root.add(node);
    assert_eq!(
        parse(&tree.to_blob().unwrap()),
        Err(ParseError::Limit("depth"))
    );
    let mut tree = Tree::default();
    tree.root.flag(&"x".repeat(256));
    assert!(matches!(
        parse(&tree.to_blob().unwrap()),
        Err(ParseError::Name(_))
    ));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = to_dts(&bytes);
    }

    /// Damaged blobs are refused or, if they parse, written and parsed again to the same tree.
    #[test]
    fn damaged_blobs_parse_stably(changes in proptest::collection::vec((0usize..16384, any::<u8>()), 0..12)) {
        let mut blob = pseries(&full()).unwrap();
        let length = blob.len();
        for (at, byte) in changes {
            blob[at % length] = byte;
        }
        let _ = to_dts(&blob);
        if let Ok(tree) = parse(&blob) {
            prop_assert_eq!(parse(&tree.to_blob().unwrap()), Ok(tree));
        }
    }
}
