//! Debian's amd64 kernels on the PC: what the kernel says of the units, and what the units say of the kernel.

mod devices;
mod variants;

use super::{Boot, essence, has};
use viommu_tests::boot::{boot_on, run_on};

fn boot(args: &[&str]) -> Boot {
    boot_on("pc", args)
}

/// A unit of the report.
fn unit(boot: &Boot, number: usize) -> &serde_json::Value {
    &boot.report["vtd"]["units"][number]
}

/// Requests that a unit translated; it refused none.
fn translated(unit: &serde_json::Value) -> u64 {
    assert_eq!(unit["faults"], 0, "{unit}");
    let count = |key: &str| unit[key].as_u64().unwrap();
    count("iotlb_hits") + count("iotlb_misses")
}

#[test]
fn the_default_boot_and_its_repetition() {
    let (first, second) = (boot(&[]), boot(&[]));
    has(&first, "Linux version 6.12");
    has(&first, "DMAR: IOMMU enabled");
    has(&first, "DMAR-IR: Enabled IRQ remapping in x2apic mode");
    has(&first, "viommu-init: reread nvme0n1 8388608");
    // 24 MiB were read and 8 MiB written, by requests of at most a page.
    assert!(translated(unit(&first, 0)) > 8000);
    assert!(unit(&first, 0)["interrupts"]["remapped"].as_u64() > Some(50));
    assert_eq!(essence(&first), essence(&second));
    let interpreted = boot(&["--engine", "interpreter"]);
    assert_eq!(essence(&first), essence(&interpreted));
}

#[test]
fn the_older_kernel_on_both_tiers() {
    let args = ["--guest", "debian-6.1-amd64", "--iommu", "legacy"];
    let compiled = boot(&args);
    let interpreted = boot(&[&args[..], &["--engine", "interpreter"]].concat());
    has(&compiled, "Linux version 6.1");
    assert_eq!(essence(&compiled), essence(&interpreted));
    // Legacy mode has no PASIDs; a domain's pages are flushed by its id.
    let flushed = &unit(&compiled, 0)["invalidations"];
    assert!(flushed["pasid_iotlb_all"].is_null(), "{flushed}");
    assert!(translated(unit(&compiled, 0)) > 8000);
}

#[test]
fn two_units_and_a_root_port_with_four_processors() {
    let devices = ["--device", "nvme,port,unit=1", "--device", "edu"];
    let more = ["--iommu", "units=2", "--cpus", "4"];
    let boot = boot(&[devices, more].concat());
    has(&boot, "smp: Brought up 1 node, 4 CPUs");
    assert_eq!(boot.report["devices"][0]["address"], "01:00.0");
    assert!(
        translated(unit(&boot, 1)) > 8000,
        "the disk is under unit 1"
    );
    assert_eq!(translated(unit(&boot, 0)), 0);
}

#[test]
fn a_reserved_region_behind_a_port() {
    let boot = boot(&[
        "--device",
        "virtio-blk,port,reserved=64K",
        "--iommu",
        "aw=57",
    ]);
    has(
        &boot,
        "DMAR: RMRR base: 0x0000003fff0000 end: 0x0000003fffffff",
    );
    has(&boot, "viommu-init: reread vda 8388608");
}

#[test]
fn caching_mode_and_strict_flushing() {
    let append = "console=ttyS0 intel_iommu=on iommu.strict=1 viommu.check=disk";
    let boot = boot(&[
        "--iommu",
        "legacy,caching-mode,adversarial",
        "--append",
        append,
    ]);
    has(&boot, "DMA domain TLB invalidation policy: strict mode");
    let flushes = unit(&boot, 0)["invalidations"]["iotlb_pages"].as_u64();
    assert!(flushes > Some(100), "{flushes:?}");
    assert_eq!(unit(&boot, 0)["caching_mode_violations"], 0);
}

#[test]
fn without_interrupt_remapping_and_x2apic() {
    let boot = boot(&["--no-x2apic", "--iommu", "legacy,no-intremap,aw=39"]);
    assert!(!boot.log.contains("Enabled IRQ remapping"));
    assert!(!boot.log.contains("x2apic enabled"));
    assert!(translated(unit(&boot, 0)) > 8000);
    assert_eq!(unit(&boot, 0)["interrupts"]["remapped"], 0);
}

#[test]
fn without_a_unit_by_pvh_with_8_gib() {
    let boot = boot(&["--iommu", "off", "--entry", "pvh", "--memory", "8G"]);
    // The command line alone enables the driver; it finds no table.
    assert!(!boot.log.contains("DMAR: Host address width"));
    assert_eq!(boot.report["vtd"]["units"], serde_json::json!([]));
    has(&boot, "viommu-init: reread nvme0n1 8388608");
}

#[test]
fn a_kernel_that_unpacks_itself() {
    let until = [
        "--no-unpack",
        "--until",
        "Linux version",
        "--max-instructions",
        "12G",
    ];
    let boot = run_on("pc", &until, 0);
    let at = boot.report["instructions"].as_u64();
    assert!(at > Some(500_000_000), "{at:?}: it unpacked nothing");
}

#[test]
fn a_guest_of_the_other_machine() {
    let boot = run_on("pc", &["--guest", "debian-6.12"], 2);
    has(&boot, "viommu boot pseries --guest debian-6.12");
}
