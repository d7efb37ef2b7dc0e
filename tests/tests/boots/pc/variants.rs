//! Both kernels, with each way to ask for the unit: what the kernel and the unit's registers say of the mode, and bytes of a disk.

use super::{boot, has, translated, unit};

/// How a boot is asked for, and what proves it.
struct Variant {
    options: &'static [&'static str],
    /// Words of the kernel's command line.
    words: &'static str,
    /// Lines of the kernel.
    lines: &'static [&'static str],
    /// Translation Table Mode of the root table's address at the end. VT-d 4.1 §11.4.5
    scalable: bool,
    disk: &'static str,
}

/// Boots it; every variant reads, writes and rereads its disk, and the host compares.
fn holds(variant: &Variant) {
    let line = format!("console=ttyS0 viommu.check=disk {}", variant.words);
    let boot = boot(&[variant.options, &["--append", &line]].concat());
    for wanted in variant.lines {
        has(&boot, wanted);
    }
    has(
        &boot,
        &format!("viommu-init: reread {} 8388608", variant.disk),
    );
    assert!(
        !boot.log.contains("fault addr"),
        "{line}: the kernel logged a fault"
    );
    let unit = unit(&boot, 0);
    let root = unit["rtaddr"].as_str().expect("RTADDR");
    let root = u64::from_str_radix(root.trim_start_matches("0x"), 16).expect("a number");
    assert_eq!(
        root >> 10 & 3,
        u64::from(variant.scalable),
        "{line}: {root:#x}"
    );
    // With iommu=pt, requests are let through unchanged; without, pages are found in tables.
    let passed = unit["pass_through"].as_u64();
    if variant.words.contains("iommu=pt") {
        assert!(passed > Some(1000), "{line}: {unit}");
    } else {
        assert!(translated(unit) > 8000, "{line}: {unit}");
        assert_eq!(passed, Some(0), "{line}");
    }
    assert!(unit["interrupts"]["remapped"].as_u64() > Some(50), "{unit}");
}

const X2APIC: &str = "DMAR-IR: Enabled IRQ remapping in x2apic mode";
const XAPIC: &str = "DMAR-IR: Enabled IRQ remapping in xapic mode";
const STRICT: &str = "TLB invalidation policy: strict mode (set via kernel command line)";
const LAZY: &str = "TLB invalidation policy: lazy mode";
const PASS_THROUGH: &str = "Default domain type: Passthrough (set via kernel command line)";
const SCALABLE: &str = "DMAR: Enable scalable mode if hardware supports";
const LEGACY: &str = "DMAR: Scalable mode is disallowed";

#[test]
fn scalable_mode_with_four_processors_and_virtio() {
    holds(&Variant {
        options: &["--cpus", "4", "--device", "virtio-blk"],
        words: "intel_iommu=on,sm_on",
        lines: &[X2APIC, SCALABLE, LAZY, "smp: Brought up 1 node, 4 CPUs"],
        scalable: true,
        disk: "vda",
    });
}

#[test]
fn legacy_mode_of_a_scalable_unit_with_xapic() {
    holds(&Variant {
        options: &["--no-x2apic"],
        words: "intel_iommu=on,sm_off",
        lines: &[XAPIC, LEGACY, LAZY],
        scalable: false,
        disk: "nvme0n1",
    });
}

#[test]
fn pass_through_with_virtio() {
    holds(&Variant {
        options: &["--device", "virtio-blk"],
        words: "intel_iommu=on iommu=pt",
        lines: &[X2APIC, PASS_THROUGH],
        scalable: true,
        disk: "vda",
    });
}

#[test]
fn the_older_kernel_strict_in_scalable_mode_with_four_processors() {
    holds(&Variant {
        options: &["--guest", "debian-6.1-amd64", "--cpus", "4"],
        words: "intel_iommu=on,sm_on iommu.strict=1",
        lines: &[X2APIC, SCALABLE, STRICT, "smp: Brought up 1 node, 4 CPUs"],
        scalable: true,
        disk: "nvme0n1",
    });
}

#[test]
fn the_older_kernel_in_legacy_mode_with_caching_mode_xapic_and_virtio() {
    holds(&Variant {
        options: &[
            "--guest",
            "debian-6.1-amd64",
            "--device",
            "virtio-blk",
            "--iommu",
            "scalable,caching-mode",
            "--no-x2apic",
        ],
        words: "intel_iommu=on,sm_off",
        lines: &[
            XAPIC,
            LEGACY,
            "IOMMU batching disallowed due to virtualization",
        ],
        scalable: false,
        disk: "vda",
    });
}

#[test]
fn the_older_kernel_passing_through() {
    holds(&Variant {
        options: &["--guest", "debian-6.1-amd64"],
        words: "intel_iommu=on iommu=pt",
        lines: &[X2APIC, PASS_THROUGH],
        scalable: true,
        disk: "nvme0n1",
    });
}
