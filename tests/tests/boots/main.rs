//! Debian kernels boot to userspace and power off. Each test reads the kernel log and the report.
//!
//! Needs the network the first time. `VIOMMU` is the binary to test.

mod console;
mod disks;
mod ends;
mod userland;

use viommu_tests::boot::{Boot, boot, finished, has, run, tail, window};

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
