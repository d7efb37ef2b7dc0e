//! Several host bridges: each is a PE with windows, an IOMMU group and errors of its own.

use viommu_tests::boot::{boot, has};
use viommu_tests::scripted::{noise, sha256};
use viommu_tests::{file, text};

use super::eeh::with_errinjct;
use super::{KERNELS, LIMITED, calls, hex, moved, version, windows};

/// A 48-bit controller behind the second bridge puts that bridge alone into limited address mode (Linux 6.12); tables have names of
/// their own, bus addresses may be the same.
#[test]
fn windows_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let disk = |name| file(folder.path(), name, &noise(48 << 20));
    let (first, second) = (disk("first.img"), disk("second.img"));
    for kernel in KERNELS {
        for (device, base) in [
            ("nvme,bridge=1", 0x0800_0000_0000_0000),
            ("nvme,bridge=1,dma-bits=48", 1 << 32),
        ] {
            let args = [
                "--guest", kernel, "--ddw", "powervm", "--device", "nvme", "--device", device,
                "--disk", &first, "--disk", &second,
            ];
            let boot = boot(&args);
            has(&boot, "pci 0000:00:01.0: Adding to iommu group 0");
            has(&boot, "pci 0001:00:01.0: Adding to iommu group 1");
            has(
                &boot,
                "nvme 0000:00:01.0: Removed default DMA window for /pci@800000020000000",
            );
            let dynamic: Vec<_> = windows(&boot)
                .iter()
                .filter(|w| w["kind"] == "dynamic")
                .collect();
            let places: Vec<_> = dynamic
                .iter()
                .map(|w| (hex(&w["liobn"]), hex(&w["bus_address"])))
                .collect();
            let plain = (0x8000_0001, 0x0800_0000_0000_0000);
            if device.contains("48") && version(kernel) < LIMITED {
                assert_eq!(
                    places,
                    [plain],
                    "{kernel} takes the second bridge's default window"
                );
                continue;
            }
            has(
                &boot,
                "nvme 0001:00:01.0: Removed default DMA window for /pci@800000020000001",
            );
            assert_eq!(places, [plain, (0x8001_0001, base)], "{kernel} {device}");
            assert!(
                dynamic.iter().all(|w| moved(w) > 0),
                "{kernel}: both have moved bytes"
            );
            assert_eq!(
                calls(&boot)
                    .iter()
                    .filter(|(name, _)| name == "create")
                    .count(),
                2
            );
        }
    }
}

/// An error behind the second bridge does not stop the disk behind the first.
#[test]
fn errors_of_their_own() {
    for kernel in KERNELS {
        let scripted = with_errinjct(
            kernel,
            "wait_for nvme0n1; wait_for nvme1n1
/errinjct 800 800000020000001 16
hash() { dd if=/dev/$1 bs=1M count=4 iflag=direct 2>/dev/null | sha256sum; }
hash nvme1n1 > /tmp/second &
sleep 2
say first $(hash nvme0n1)
dmesg | grep -q 'EEH: Recovering' && say too late || say before the recovery
wait
say second $(cat /tmp/second)
",
        );
        let bytes = [noise(4 << 20), noise(8 << 20).split_off(4 << 20)];
        let names = ["first.img", "second.img"];
        let disks: Vec<_> = (0..2)
            .map(|i| file(scripted.folder(), names[i], &bytes[i]))
            .collect();
        let boot = boot(&scripted.args(&[
            "--ddw",
            "powervm",
            "--device",
            "nvme",
            "--device",
            "nvme,bridge=1",
            "--disk",
            &disks[0],
            "--disk",
            &disks[1],
        ]));
        has(&boot, &format!("test: first {}", sha256(&bytes[0])));
        has(&boot, "test: before the recovery");
        has(&boot, &format!("test: second {}", sha256(&bytes[1])));
        has(&boot, "EEH: Recovering PHB#1-PE#1");
        has(&boot, "EEH: Recovery successful.");
        assert!(
            !boot.log.contains("Recovering PHB#0"),
            "{kernel}: {}",
            text(boot.log.as_bytes())
        );
        assert_eq!(boot.report["eeh"]["freezes"], 1);
    }
}
