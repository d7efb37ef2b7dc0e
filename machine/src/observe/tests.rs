use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use viommu_devices::dma::{
    Access, DmaFault, DmaRequest, Identity, Iova, Piece, SourceId, Translator,
};
use viommu_devices::spapr::iommu::report::{DdwCall, IommuReport, WindowReport};
use viommu_devices::spapr::iommu::spec::{Liobn, RTAS_PARAMETER_ERROR, RTAS_SUCCESS};
use viommu_devices::spapr::iommu::{CREATE, NO_WINDOW, QUERY, REMOVE};
use viommu_devices::vtd::{self, Interrupts, Invalidation};

use super::cost::{CostSummary, SAMPLE};
use super::counters::Calls;
use super::iommu::Hex;
use super::pc::{PcSummary, PortSummary, UnitSummary, VtdSummary};
use super::report::{Check, DeviceSummary, HostSummary, MachineSummary, PartitionSummary};
use super::*;
use crate::pc::faults::Refused;

#[test]
fn lines_phases_and_pattern() {
    let mut console = Console::new(Some("login:".into()));
    console.write(b"[    0.0] Linux version 6.12\r\n\r\nhalf", 5, 7);
    assert_eq!(console.log(), "[    0.0] Linux version 6.12\n\n");
    assert_eq!(console.last_line(), "[    0.0] Linux version 6.12");
    assert_eq!(
        console.phases(),
        [Phase {
            name: "kernel: first line".into(),
            at_ns: 5,
            instructions: 7
        }]
    );
    assert!(!console.until_seen());
    console.write(b" login:", 6, 8);
    assert!(console.until_seen());
    assert_eq!(
        console.take_fresh(),
        b"[    0.0] Linux version 6.12\r\n\r\nhalf login:"
    );
    assert!(console.take_fresh().is_empty());
}

#[test]
fn invented_hypercalls_do_not_grow_the_counters() {
    let mut counters = Counters::default();
    for nr in 0..10_000 {
        counters.hypercall_begins(nr);
        counters.hypercall_ends(nr, -2, None);
    }
    // The usual numbers, the other ones kept, and one name for the rest.
    assert!(counters.hypercalls_by_name().len() <= 512 + 513);
    assert_eq!(
        counters
            .hypercalls_by_name()
            .values()
            .map(|c| c.calls)
            .sum::<u64>(),
        10_000
    );
}

#[test]
fn the_first_hypercalls_and_some_later_ones_are_measured() {
    let mut counters = Counters::default();
    for nr in [0x20, 0xf000] {
        for _ in 0..10 * SAMPLE {
            let began = counters.hypercall_begins(nr);
            if began.is_some() {
                std::thread::sleep(Duration::from_micros(20));
            }
            counters.hypercall_ends(nr, 0, began);
        }
    }
    let costs = counters.hypercall_costs();
    for name in ["H_PUT_TCE", "H_RTAS"] {
        let cost = costs[name];
        assert_eq!(cost.measured, SAMPLE + 9, "{name}");
        assert!(cost.mean_ns > 10_000.0, "{name}: {cost:?}");
    }
}

#[test]
fn rtas_calls_are_measured_and_counted() {
    let mut counters = Counters::default();
    for status in [0, -3] {
        let began = counters.rtas_begins("ibm,configure-connector");
        std::thread::sleep(Duration::from_micros(20));
        counters.rtas_ends("ibm,configure-connector", status, began);
    }
    let by_name = counters.rtas_by_name();
    assert_eq!(by_name["ibm,configure-connector"], calls(2, 1));
    let cost = counters.rtas_costs()["ibm,configure-connector"];
    assert_eq!(cost.measured, 2);
    assert!(cost.mean_ns > 10_000.0, "{cost:?}");
}

#[test]
fn translations_are_counted_and_their_faults_shown() {
    #[derive(Debug)]
    struct Slow;
    impl Translator for Slow {
        fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
            std::thread::sleep(Duration::from_micros(20));
            match request.iova {
                Iova(0) => Identity.translate(request),
                _ => Err(DmaFault {
                    request: *request,
                    reason: NO_WINDOW,
                }),
            }
        }
    }
    let (counters, faults) = (Counters::default(), Arc::new(AtomicU64::new(0)));
    let seen = faults.clone();
    let watch = Watch {
        window: |_: &Slow, request: &DmaRequest| (request.iova.0 != 0).then_some(3),
        on_fault: move |fault: &DmaFault| {
            seen.fetch_add(fault.request.iova.0, Ordering::Relaxed);
        },
    };
    let watched = counters.translations.watch(Slow, watch);
    for at in [0, 7, 0] {
        let request = DmaRequest {
            source: SourceId(8),
            iova: Iova(at),
            len: 1,
            access: Access::Read,
            pasid: None,
        };
        assert_eq!(watched.translate(&request).is_ok(), at == 0);
    }
    assert_eq!(faults.load(Ordering::Relaxed), 7);
    assert_eq!(counters.translations.calls(), 3);
    let cost = counters.translations.cost();
    assert_eq!(cost.measured, 3);
    assert!(cost.mean_ns > 10_000.0, "{cost:?}");
    let by_window = counters.translations.cost_by_window();
    assert_eq!(by_window.keys().collect::<Vec<_>>(), [&3]);
    assert_eq!(by_window[&3].measured, 1);
}

#[test]
fn numbers_in_words() {
    assert_eq!(text::grouped(0), "0");
    assert_eq!(text::grouped(123_456), "123,456");
    assert_eq!(text::grouped(1_234_567), "1,234,567");
    assert_eq!(text::seconds(1_500_000_000), "1.500000 s");
    assert_eq!(text::bytes(16 << 20), "16 MiB");
    assert_eq!(text::bytes(1536), "1.5 KiB");
}

/// A window that was made, and the calls about it: one that succeeded, one that did not, one of a form that does not exist.
fn iommu() -> iommu::IommuSummary {
    let call = |at_ns, name, args: &[u32], status, outputs: &[u32]| DdwCall {
        at_ns,
        name,
        args: args.to_vec(),
        status,
        outputs: outputs.to_vec(),
    };
    let pe = [0x800, 0x0800_0000, 0x2000_0000];
    IommuReport {
        personality: "kvm",
        windows: vec![WindowReport {
            liobn: Liobn(0x8000_0001),
            bus_address: 1 << 59,
            size: 1 << 30,
            page_shift: 16,
            dynamic: true,
            vio: false,
            order: 1,
            created_ns: 1_500_000_000,
            removed_ns: Some(1_900_000_000),
            entries_now: 0,
            entries_at_removal: 2,
            entries_peak: 5000,
            bytes_read: 4096,
            bytes_written: 16 << 20,
            faults: 1,
        }],
        windows_dropped: 3,
        ddw_calls: vec![
            call(
                1_400_000_000,
                QUERY,
                &pe,
                RTAS_SUCCESS,
                &[1, 1 << 31, 0x107, 0],
            ),
            call(
                1_450_000_000,
                QUERY,
                &pe,
                RTAS_SUCCESS,
                &[1, 0x40, 0, 0x107, 0],
            ),
            call(
                1_500_000_000,
                CREATE,
                &[pe[0], pe[1], pe[2], 16, 30],
                RTAS_SUCCESS,
                &[0x8000_0001, 0x0800_0000, 0],
            ),
            call(1_900_000_000, REMOVE, &[0x8000_0001], RTAS_SUCCESS, &[]),
            call(1_950_000_000, REMOVE, &[7, 8], RTAS_PARAMETER_ERROR, &[]),
        ],
        faults: vec!["DMA Read of 4 bytes by 00:01.0 at iova 0x0: TCE allows no access".into()],
        faults_total: 2,
        hcall_errors: [("H_PUT_TCE -4".to_owned(), 6)].into(),
        ..IommuReport::default()
    }
    .into()
}

#[test]
fn ddw_calls_have_named_cells() {
    let json = serde_json::to_value(iommu()).unwrap();
    let create = &json["ddw_calls"][2];
    assert_eq!(
        create["arguments"],
        serde_json::json!({
            "config_addr": "0x800", "buid": "0x800000020000000", "page_shift": "0x10", "window_shift": "0x1e"
        })
    );
    assert_eq!(
        create["outputs"],
        serde_json::json!({ "liobn": "0x80000001", "bus_address": "0x800000000000000" })
    );
    assert_eq!(
        json["ddw_calls"][1]["outputs"]["largest_block"],
        "0x4000000000"
    );
    assert_eq!(json["ddw_calls"][4]["arguments"]["more1"], "0x8");
    assert_eq!(json["ddw_calls"][4]["status_name"], "parameter error");
    assert_eq!(json["windows"][0]["liobn"], "0x80000001");
    assert_eq!(json["windows"][0]["entries"], 1 << 14);
}

/// Every key stands in docs/report.md, but for names that the guest or the host give.
fn assert_documented(value: &serde_json::Value) {
    const DOC: &str = include_str!("../../../docs/report.md");
    const NAMED_BY_RUN: [&str; 9] = [
        "hypercalls",
        "rtas",
        "interrupts",
        "hcalls",
        "hcall_entries",
        "hcall_errors",
        "faults_by_code",
        "invalidations",
        "window_translations",
    ];
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                assert!(DOC.contains(&format!("`{key}`")), "{key} is not documented");
                if !NAMED_BY_RUN.contains(&key.as_str()) {
                    assert_documented(value);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(assert_documented),
        _ => {}
    }
}

fn calls(calls: u64, failed: u64) -> Calls {
    Calls { calls, failed }
}

#[test]
fn report_as_text_and_json() {
    let report = Report {
        machine: MachineSummary {
            kind: "pseries".into(),
            cpus: 1,
            memory: 1 << 30,
            append: "console=hvc0".into(),
        },
        end: "the guest switched the machine off".into(),
        phases: vec![Phase {
            name: "userspace reached".into(),
            at_ns: 1_650_000_000,
            instructions: 1_650_000_000,
        }],
        instructions: 2_000_000_000,
        virtual_ns: 2_100_000_000,
        idle_ns: 100_000_000,
        partition: Some(PartitionSummary {
            iommu: iommu(),
            hypercalls: [
                ("H_CEDE".into(), calls(7, 0)),
                ("H_PUT_TCE".into(), calls(123_456, 3)),
            ]
            .into(),
            rtas: [(CREATE.into(), calls(2, 1))].into(),
            ..Default::default()
        }),
        translations: 4_100,
        devices: vec![DeviceSummary {
            name: "nvme0".into(),
            address: "00:01.0".into(),
            bytes_written: 16 << 20,
            ..Default::default()
        }],
        checks: vec![Check {
            name: "read".into(),
            ok: true,
            detail: "same hash".into(),
        }],
        host: HostSummary {
            hypercalls: [(
                "H_PUT_TCE".into(),
                CostSummary {
                    mean_ns: 1016.0,
                    measured: 1992,
                },
            )]
            .into(),
            rtas: [(
                CREATE.into(),
                CostSummary {
                    mean_ns: 2040.0,
                    measured: 2,
                },
            )]
            .into(),
            translations: CostSummary {
                mean_ns: 12.0,
                measured: 127,
            },
            window_translations: [(
                1,
                CostSummary {
                    mean_ns: 11.0,
                    measured: 100,
                },
            )]
            .into(),
            ..HostSummary::default()
        },
        ..Report::default()
    };
    insta::assert_snapshot!(text::render(&report));
    assert_documented(&serde_json::to_value(&report).unwrap());
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["instructions"], 2_000_000_000_u64);
    assert!(json["host"]["seconds"].is_number());
}

#[test]
fn a_pcs_report_as_text_and_json() {
    let counters = vtd::Counters {
        iotlb_hits: 1000,
        iotlb_misses: 23,
        faults: 70,
        faults_by_code: [(5, 70)].into(),
        invalidations: [(Invalidation::IotlbPages, 12), (Invalidation::Wait, 12)].into(),
        interrupts: Interrupts {
            remapped: 9,
            ..Interrupts::default()
        },
        domains: (1..20).collect(),
        ..vtd::Counters::default()
    };
    let report = Report {
        machine: MachineSummary {
            kind: "pc".into(),
            cpus: 2,
            memory: 1 << 30,
            append: "console=ttyS0".into(),
        },
        end: "the guest switched the machine off".into(),
        pc: Some(PcSummary {
            vtd: VtdSummary {
                units: vec![
                    UnitSummary {
                        address: Hex(0xfed9_0000),
                        gsts: Hex(0xc600_0000),
                        rtaddr: Hex(0x10_0400),
                        counters,
                        ..UnitSummary::default()
                    },
                    UnitSummary::default(),
                ],
                refused: vec![Refused {
                    at_ns: 1_500_000_000,
                    unit: 0,
                    source: "00:01.0".into(),
                    what: "write",
                    address: "0x1000".into(),
                    code: 5,
                    condition: "LGN.2",
                    reason: "no permission to write",
                }],
            },
            ports: PortSummary {
                reads: 1,
                writes: 2,
                errors: 0,
            },
        }),
        ..Report::default()
    };
    insta::assert_snapshot!(text::render(&report));
    let json = serde_json::to_value(&report).unwrap();
    assert_documented(&json);
    assert_eq!(json["vtd"]["units"][0]["invalidations"]["iotlb_pages"], 12);
    assert_eq!(json["vtd"]["units"][0]["address"], "0xfed90000");
    assert!(json.get("hypercalls").is_none() && json.get("iommu").is_none());
}
