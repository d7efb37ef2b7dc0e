//! Boots guests and reads what they say.

use std::path::Path;
use std::process::{Command, Output};

use crate::{binary, text};

/// Words that no good kernel log has.
const BAD: [&str; 5] = ["BUG", "WARNING", "Oops", "Unexpected", "Kernel panic"];

/// The kernel's own warning that `multitce=off` changed a firmware feature late.
const LATE_FEATURE: &str = "check_features+";

/// A run of `viommu boot`.
#[derive(Debug)]
pub struct Boot {
    /// Console and the program's own words.
    pub log: String,
    /// The report as JSON, null if there is none.
    pub report: serde_json::Value,
}

/// What a finished run printed, and its report (null if there is none).
pub fn finished(output: &Output, report: &Path) -> Boot {
    let report = std::fs::read(report)
        .ok()
        .and_then(|r| serde_json::from_slice(&r).ok());
    Boot {
        log: text(&output.stdout) + &text(&output.stderr),
        report: report.unwrap_or_default(),
    }
}

/// Boots a pseries and demands this status.
///
/// # Panics
/// If it has another.
pub fn run(args: &[&str], status: i32) -> Boot {
    run_on("pseries", args, status)
}

/// Boots a machine and demands this status.
///
/// # Panics
/// If it has another.
pub fn run_on(machine: &str, args: &[&str], status: i32) -> Boot {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let output = Command::new(binary())
        .args(["boot", machine, "--report"])
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
pub fn tail(log: &str) -> String {
    let (console, rest) = log.split_once("== report ==").unwrap_or((log, ""));
    let lines: Vec<_> = console.lines().collect();
    let words = rest.lines().filter(|l| l.starts_with("viommu: "));
    let console = lines[lines.len().saturating_sub(60)..].iter().copied();
    console.chain(words).collect::<Vec<_>>().join("\n")
}

/// Boots a pseries and demands what every good boot has: userspace, an orderly end, no complaint of the kernel's.
///
/// # Panics
/// If it has not.
pub fn boot(args: &[&str]) -> Boot {
    boot_on("pseries", args)
}

/// As [`boot`] for any machine.
///
/// # Panics
/// If it has not.
pub fn boot_on(machine: &str, args: &[&str]) -> Boot {
    let boot = run_on(machine, args, 0);
    calm(args, &boot.log);
    for wanted in [
        "Linux version",
        "viommu-init: userspace reached",
        "viommu-init: done",
    ] {
        has(&boot, wanted);
    }
    boot
}

/// Demands that the kernel complained of nothing in a log or a part of one; `args` are for the message.
///
/// # Panics
/// If it did.
pub fn calm(args: &[&str], log: &str) {
    for line in log.lines().filter(|l| l.contains("] ")) {
        assert!(
            !BAD.iter().any(|b| line.contains(b))
                || line.contains(LATE_FEATURE) && log.contains("multitce=off"),
            "{args:?} logged: {line}"
        );
    }
}

/// Demands a text of the console.
///
/// # Panics
/// If it is not there.
pub fn has(boot: &Boot, wanted: &str) {
    let log = &boot.log;
    assert!(log.contains(wanted), "no {wanted:?} in\n{}", tail(log));
}

/// True if the kernel says that it got a window.
pub fn window(log: &str) -> bool {
    log.lines()
        .any(|l| l.contains("ibm,create-pe-dma-window") && l.contains("returned 0"))
}
