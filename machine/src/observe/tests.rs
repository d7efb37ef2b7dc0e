use super::report::{Check, DeviceSummary, MachineSummary};
use super::*;

#[test]
fn lines_phases_and_pattern() {
    let mut console = Console::new(Some("login:".into()));
    console.write(b"[    0.0] Linux version 6.12\r\n\r\nhalf", 5, 7);
    assert_eq!(console.log(), "[    0.0] Linux version 6.12\n\n");
    assert_eq!(console.last_line(), "[    0.0] Linux version 6.12");
    assert_eq!(console.phases(), [Phase { name: "kernel: first line".into(), at_ns: 5, instructions: 7 }]);
    assert!(!console.until_seen());
    console.write(b" login:", 6, 8);
    assert!(console.until_seen());
    assert_eq!(console.take_fresh(), b"[    0.0] Linux version 6.12\r\n\r\nhalf login:");
    assert!(console.take_fresh().is_empty());
}

#[test]
fn invented_hypercalls_do_not_grow_the_counters() {
    let mut counters = Counters::default();
    for nr in 0..10_000 {
        counters.hypercall(nr, -2);
    }
    assert!(counters.hypercalls_by_name().len() <= 513);
    assert_eq!(counters.hypercalls_by_name().values().map(|c| c.calls).sum::<u64>(), 10_000);
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

#[test]
fn report_as_text_and_json() {
    let report = Report {
        machine: MachineSummary { kind: "pseries".into(), cpus: 1, memory: 1 << 30, append: "console=hvc0".into() },
        end: "the guest switched the machine off".into(),
        phases: vec![Phase { name: "userspace reached".into(), at_ns: 1_650_000_000, instructions: 1_650_000_000 }],
        instructions: 2_000_000_000,
        virtual_ns: 2_100_000_000,
        idle_ns: 100_000_000,
        iommu: serde_json::json!({ "windows": [{ "liobn": 0x8000_0001_u64, "mapped": 3 }], "faults": 0 }),
        devices: vec![DeviceSummary { name: "nvme0".into(), address: "00:01.0".into(), bytes_written: 16 << 20, ..Default::default() }],
        checks: vec![Check { name: "read".into(), ok: true, detail: "same hash".into() }],
        ..Report::default()
    };
    insta::assert_snapshot!(text::render(&report));
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["instructions"], 2_000_000_000_u64);
    assert!(json["host"]["seconds"].is_number());
}
