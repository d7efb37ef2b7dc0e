//! Debian kernels boot to userspace and power off. Each test reads the kernel log and the report.
//!
//! Needs the network the first time. `VIOMMU` is the binary to test.

mod console;
mod disks;
mod ends;
mod pc;
mod userland;

use viommu_tests::boot::{Boot, boot, finished, has, run, tail, window};

/// What must not depend on the host: the report without the host's part, and the kernel's lines.
fn essence(boot: &Boot) -> (serde_json::Value, Vec<&str>) {
    let mut report = boot.report.clone();
    report.as_object_mut().expect("a report").remove("host");
    let kernel = boot.log.lines().filter(|l| l.starts_with('['));
    (report, kernel.collect())
}

/// Boots with compiled code and with the interpreter alone, and demands the same run of both.
fn boot_on_both_tiers(args: &[&str]) -> Boot {
    let compiled = boot(args);
    let interpreted = boot(&[args, &["--engine", "interpreter"]].concat());
    assert_eq!(essence(&compiled), essence(&interpreted), "{args:?}");
    compiled
}

#[test]
fn the_default_boot_and_its_repetition() {
    let (first, second) = (boot_on_both_tiers(&[]), boot(&[]));
    assert!(window(&first.log), "no window in\n{}", first.log);
    has(&first, "viommu-init: reread nvme0n1 8388608");
    assert_eq!(essence(&first), essence(&second));
}

/// To init, with each block on both tiers; any difference ends the run.
#[test]
fn every_block_on_both_tiers() {
    let until = ["--until", "Run /init as init process"];
    let boot = run(
        &[&until[..], &["--engine", "verify", "--profile"]].concat(),
        0,
    );
    has(&boot, "Run /init as init process");
    let verified = &boot.report["host"]["engine"]["blocks_verified"];
    assert!(verified.as_u64() > Some(1_000_000), "{verified} compared");
}

#[test]
fn pages_of_64k_with_four_vcpus() {
    let boot = boot_on_both_tiers(&["--guest", "debian-6.12-64k", "--cpus", "4"]);
    assert!(window(&boot.log));
    has(&boot, "Brought up 1 node, 4 CPUs");
}

#[test]
fn the_older_kernel_with_8_gib() {
    let boot = boot_on_both_tiers(&["--guest", "debian-6.1", "--memory", "8G"]);
    assert!(window(&boot.log));
    has(&boot, "Linux version 6.1");
}

#[test]
fn virtio_blk_without_multitce() {
    let append = "console=hvc0 viommu.check=disk multitce=off";
    let boot = boot_on_both_tiers(&["--device", "virtio-blk", "--append", append]);
    assert!(window(&boot.log));
    has(&boot, "viommu-init: reread vda 8388608");
}

#[test]
fn disable_ddw() {
    let append = "console=hvc0 viommu.check=disk disable_ddw";
    let boot = boot_on_both_tiers(&["--append", append]);
    assert!(!window(&boot.log), "a window in spite of disable_ddw");
    has(&boot, "viommu-init: reread nvme0n1 8388608");
}
