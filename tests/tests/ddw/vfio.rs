//! VFIO inside the guest: `tests/guest/vfio.c` with the edu device bound to vfio-pci.

use viommu::guest::catalogue;
use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{Boot, boot, has};
use viommu_tests::scripted::{Scripted, named};

use super::{KERNELS, calls, compile, moved, version, windows};

/// The first kernel whose pseries code has IOMMU groups for VFIO.
const GROUPS: (u32, u32) = (6, 11);

/// A guest with VFIO's modules, which binds the edu device to vfio-pci and runs a program with its group and address.
fn with_vfio(kernel: &str, program: &str) -> Scripted {
    let guest = named(kernel);
    let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
    let mut archive = Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs");
    let modules = ["vfio_iommu_spapr_tce", "vfio_pci"];
    let modules = catalogue::modules(&guest, &modules, &mut |_, _, _| ()).expect("modules");
    for (at, (name, bytes)) in modules.into_iter().enumerate() {
        archive.add_file(&format!("modules/{:02}-{name}.ko", at + 50), 0o644, bytes);
    }
    archive.add_file(program, 0o755, compile(program));
    let script = format!(
        "#!/usr/bin/sh
device=/sys/bus/pci/devices/0000:00:01.0
echo vfio-pci > $device/driver_override
echo 0000:00:01.0 > /sys/bus/pci/drivers_probe
echo 8 > /proc/sys/vm/nr_hugepages
group=$(ls /dev/vfio | grep -v vfio)
/{program} $group 0000:00:01.0
"
    );
    Scripted::with(&guest, archive, &script, &[])
}

fn run(kernel: &str, more: &[&str]) -> Boot {
    let scripted = with_vfio(kernel, "vfio");
    let boot = boot(&scripted.args(&[&["--device", "edu"], more].concat()));
    let failed: Vec<&str> = boot
        .log
        .lines()
        .filter(|l| l.contains("test: FAILED"))
        .collect();
    assert!(failed.is_empty(), "{kernel}: {failed:#?}");
    has(&boot, " checks, 0 failed");
    has(&boot, "viommu-init: run /test status 0");
    boot
}

/// Both versions, twice: registration, mappings in both windows with their bytes compared, windows made and removed, release.
#[test]
fn both_versions() {
    for kernel in KERNELS.into_iter().filter(|k| version(k) >= GROUPS) {
        let boot = run(kernel, &[]);
        // Entries are exchanged one by one, which is where H_GET_TCE comes from.
        assert!(boot.report["hypercalls"]["H_GET_TCE"]["calls"].as_u64() > Some(100));
        let default = &windows(&boot)[0];
        assert_eq!(default["kind"], "default");
        assert!(default["removed_ns"].is_null(), "{kernel}: it is there");
        assert_eq!(default["entries_now"], 0, "{kernel}: and empty");
        let created = calls(&boot)
            .iter()
            .filter(|c| **c == ("create".to_owned(), 0))
            .count();
        assert_eq!(created, 4, "{kernel}: two in each round");
        for window in windows(&boot) {
            assert_eq!(window["entries_at_removal"], 0, "{kernel}: {window}");
        }
        let dynamic = windows(&boot).iter().filter(|w| w["kind"] == "dynamic");
        assert!(
            dynamic.clone().all(|w| moved(w) > 0),
            "{kernel}: DMA in each"
        );
    }
}
