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
        "ibm,reset-pe-dma-windows",
        "start-cpu",
        "query-cpu-stopped-state",
        "stop-self",
        "nvram-fetch",
        "nvram-store",
        "event-scan",
        "display-character",
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
                reset: Some(token("ibm,reset-pe-dma-windows")),
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
                },
            ],
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
