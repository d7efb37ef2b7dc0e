//! Debian kernels boot to userspace and power off. Each test reads the kernel log and the report.
//!
//! Needs the network the first time. `VIOMMU` is the binary to test.

use std::process::{Command, Output};

use viommu_tests::{binary, text};

/// Words that no good kernel log has.
const BAD: [&str; 5] = ["BUG", "WARNING", "Oops", "Unexpected", "Kernel panic"];

/// The kernel's own warning that `multitce=off` changed a firmware feature late.
const LATE_FEATURE: &str = "check_features+";

struct Boot {
    log: String,
    report: serde_json::Value,
}

fn run(args: &[&str]) -> (Output, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let output = Command::new(binary())
        .args(["boot", "pseries", "--report"])
        .arg(&path)
        .args(args)
        .output()
        .expect("the binary runs");
    let report = std::fs::read(&path)
        .ok()
        .and_then(|r| serde_json::from_slice(&r).ok());
    (output, report.unwrap_or_default())
}

/// Boots and demands what every good boot has.
fn boot(args: &[&str]) -> Boot {
    let (output, report) = run(args);
    let log = text(&output.stdout) + &text(&output.stderr);
    let tail: Vec<_> = log.lines().rev().take(40).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    assert_eq!(output.status.code(), Some(0), "{args:?} ended with\n{tail}");
    for line in log.lines().filter(|l| l.contains("] ")) {
        assert!(
            !BAD.iter().any(|b| line.contains(b))
                || line.contains(LATE_FEATURE) && log.contains("multitce=off"),
            "{args:?} logged: {line}"
        );
    }
    for wanted in [
        "Linux version",
        "viommu-init: userspace reached",
        "viommu-init: done",
    ] {
        assert!(log.contains(wanted), "{args:?}: no {wanted:?} in\n{tail}");
    }
    Boot { log, report }
}

fn has(boot: &Boot, wanted: &str) {
    assert!(boot.log.contains(wanted), "no {wanted:?} in\n{}", boot.log);
}

fn window(log: &str) -> bool {
    log.lines()
        .any(|l| l.contains("ibm,create-pe-dma-window") && l.contains("returned 0"))
}

/// Two runs are the same run, but for what the host's clock says.
#[test]
fn the_default_boot_and_its_repetition() {
    let (first, second) = (boot(&[]), boot(&[]));
    assert!(window(&first.log), "no window in\n{}", first.log);
    has(&first, "viommu-init: reread nvme0n1 8388608");
    let strip = |mut report: serde_json::Value| {
        if let Some(map) = report.as_object_mut() {
            map.remove("host");
        }
        report
    };
    assert!(first.report.is_object(), "no report");
    assert_eq!(strip(first.report), strip(second.report));
    let kernel = |log: &str| {
        log.lines()
            .filter(|l| l.starts_with('['))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(kernel(&first.log), kernel(&second.log));
}

#[test]
fn pages_of_64k_with_four_vcpus() {
    let boot = boot(&["--guest", "debian-6.12-64k", "--cpus", "4"]);
    assert!(window(&boot.log));
    has(&boot, "Brought up 1 node, 4 CPUs");
}

#[test]
fn the_older_kernel_with_8_gib() {
    let boot = boot(&["--guest", "debian-6.1", "--memory", "8G"]);
    assert!(window(&boot.log));
    has(&boot, "Linux version 6.1");
}

#[test]
fn virtio_blk_without_multitce() {
    let append = "console=hvc0 viommu.check=disk multitce=off";
    let boot = boot(&["--device", "virtio-blk", "--append", append]);
    assert!(window(&boot.log));
    has(&boot, "viommu-init: reread vda 8388608");
}

#[test]
fn disable_ddw() {
    let append = "console=hvc0 viommu.check=disk disable_ddw";
    let boot = boot(&["--append", append]);
    assert!(!window(&boot.log), "a window in spite of disable_ddw");
    has(&boot, "viommu-init: reread nvme0n1 8388608");
}
