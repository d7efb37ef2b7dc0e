//! Debian kernels boot to userspace and power off. Each test reads the kernel log and the report.
//!
//! Needs the network the first time. `VIOMMU` is the binary to test.

mod console;
mod disks;
mod ends;
mod scripted;
mod userland;

use std::path::Path;
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

/// What a finished run printed, and its report (null if there is none).
fn finished(output: &Output, report: &Path) -> Boot {
    let report = std::fs::read(report)
        .ok()
        .and_then(|r| serde_json::from_slice(&r).ok());
    Boot {
        log: text(&output.stdout) + &text(&output.stderr),
        report: report.unwrap_or_default(),
    }
}

/// Boots and demands this status.
fn run(args: &[&str], status: i32) -> Boot {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let output = Command::new(binary())
        .args(["boot", "pseries", "--report"])
        .arg(&path)
        .args(args)
        .output()
        .expect("the binary runs");
    let boot = finished(&output, &path);
    let code = output.status.code();
    assert_eq!(
        code,
        Some(status),
        "{args:?} ended with\n{}",
        tail(&boot.log)
    );
    boot
}

/// The end of the console and the program's own words, without the report between them.
fn tail(log: &str) -> String {
    let (console, rest) = log.split_once("== report ==").unwrap_or((log, ""));
    let lines: Vec<_> = console.lines().collect();
    let words = rest.lines().filter(|l| l.starts_with("viommu: "));
    let console = lines[lines.len().saturating_sub(60)..].iter().copied();
    console.chain(words).collect::<Vec<_>>().join("\n")
}

/// Boots and demands what every good boot has.
fn boot(args: &[&str]) -> Boot {
    let boot = run(args, 0);
    let log = &boot.log;
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
        has(&boot, wanted);
    }
    boot
}

fn has(boot: &Boot, wanted: &str) {
    let log = &boot.log;
    assert!(log.contains(wanted), "no {wanted:?} in\n{}", tail(log));
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
