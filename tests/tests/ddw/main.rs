//! Every way in which Linux asks for DMA windows, with real kernels. Each test names the line that proves it.
//!
//! Needs the network the first time. `VIOMMU` is the binary to test.

mod batches;
mod bridges;
mod default_window;
mod eeh;
mod hotplug;
mod kexec;
mod vfio;

use viommu::guest::catalogue::Arch;
use viommu_tests::boot::Boot;
use viommu_tests::program;
use viommu_tests::scripted::named;

/// The guests that a test of the kernel's code runs on.
const KERNELS: [&str; 5] = [
    "debian-6.1",
    "debian-6.12",
    "debian-6.12-64k",
    "debian-newest",
    "debian-newest-64k",
];

/// The first kernel that knows the limited address mode, and asks for windows for devices of less than 64 bits.
const LIMITED: (u32, u32) = (6, 12);

/// Version of a guest's kernel: (6, 12). The newest guests are what the mirror had, so what is expected of a kernel depends on this.
fn version(guest: &str) -> (u32, u32) {
    let release = named(guest).release;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    let mut part = || parts.next().flatten();
    match (part(), part()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => panic!("{guest}: {release} is no release"),
    }
}

/// Names and statuses of the dynamic-window calls, in order.
fn calls(boot: &Boot) -> Vec<(String, i64)> {
    let calls = boot.report["iommu"]["ddw_calls"].as_array();
    calls
        .expect("a report with calls")
        .iter()
        .map(|c| {
            let name = c["name"].as_str().unwrap_or_default();
            let short = name
                .trim_start_matches("ibm,")
                .split('-')
                .next()
                .unwrap_or_default();
            (short.to_owned(), c["status"].as_i64().unwrap_or(i64::MIN))
        })
        .collect()
}

/// The windows of the report.
fn windows(boot: &Boot) -> &[serde_json::Value] {
    boot.report["iommu"]["windows"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

/// A number that the report has as a string.
fn hex(value: &serde_json::Value) -> u64 {
    let digits = value.as_str().unwrap_or_default().trim_start_matches("0x");
    u64::from_str_radix(digits, 16).expect("a number")
}

/// Bytes that moved through a window.
fn moved(window: &serde_json::Value) -> u64 {
    window["bytes_read"].as_u64().unwrap_or(0) + window["bytes_written"].as_u64().unwrap_or(0)
}

/// Compiles a guest program of this repository.
fn compile(name: &str) -> Vec<u8> {
    program::compile(Arch::Ppc64el, name)
}
