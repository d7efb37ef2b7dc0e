//! The default window is removed before another one is made: Linux's `enable_ddw` on PowerVM.

use std::path::Path;

use viommu_tests::boot::{Boot, boot, has, run};
use viommu_tests::file;
use viommu_tests::scripted::{Scripted, noise};

use super::{KERNELS, LIMITED, calls, hex, moved, version, windows};

const REMOVED: &str = "Removed default DMA window for /pci@800000020000000";

/// The calls that did not only ask.
fn changes(boot: &Boot) -> Vec<(String, i64)> {
    let mut calls = calls(boot);
    calls.retain(|(name, _)| name != "query");
    calls
}

fn named(calls: &[(&str, i64)]) -> Vec<(String, i64)> {
    calls.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect()
}

/// Images with something in them.
fn two_disks(folder: &Path) -> (String, String) {
    let disk = |name| file(folder, name, &noise(48 << 20));
    (disk("first.img"), disk("second.img"))
}

/// Query says 0 windows, the default window, cleared by calls for 512 entries, goes, query says 1, create; pages of 64K throughout.
#[test]
fn removed_then_created() {
    for guest in KERNELS {
        let boot = boot(&["--guest", guest, "--ddw", "powervm"]);
        has(&boot, REMOVED);
        has(&boot, "returned 0, lb=0 ps=2 wn=0");
        has(&boot, "returned 0, lb=4000000000 ps=2 wn=1");
        has(
            &boot,
            "returned 0 (liobn = 0x80000001 starting addr = 8000000 0)",
        );
        assert_eq!(changes(&boot), named(&[("remove", 0), ("create", 0)]));
        let [default, dynamic] = windows(&boot) else {
            panic!("{guest}: {:?}", windows(&boot))
        };
        assert_eq!(
            (default["size"].as_u64(), moved(default)),
            (Some(2 << 30), 0)
        );
        assert!(default["removed_ns"].as_u64() <= dynamic["created_ns"].as_u64());
        assert_eq!(default["entries_at_removal"], 0, "{guest} cleared it first");
        assert_eq!(dynamic["page_size"], 0x1_0000);
        assert_eq!(dynamic["entries_peak"], (1 << 30) / 0x1_0000);
        assert!(moved(dynamic) > 40 << 20, "{guest}: through the new window");
        let cleared = &boot.report["iommu"]["hcall_entries"]["H_STUFF_TCE"];
        let calls = &boot.report["hypercalls"];
        assert_eq!(*cleared, (2u64 << 30) / 4096, "{guest}: the default window");
        assert!(calls["H_STUFF_TCE"]["calls"].as_u64() >= Some((2 << 30) / 4096 / 512));
        assert!(calls["H_GET_TCE"].is_null(), "{guest}: no entry is read");
        for (kind, name) in [
            (
                "window_translations",
                dynamic["number"].to_string().as_str(),
            ),
            ("rtas", "ibm,remove-pe-dma-window"),
            ("rtas", "ibm,create-pe-dma-window"),
            ("hypercalls", "H_STUFF_TCE"),
        ] {
            let measured = &boot.report["host"][kind][name]["measured"];
            assert!(measured.as_u64() > Some(0), "{guest}: cost of {name}");
        }
    }
}

/// A window smaller than RAM is managed like the default window was; one as large maps all RAM.
#[test]
fn small_and_large_windows() {
    let script = "wait_for nvme0n1
cd /proc/device-tree/pci@*
for p in linux,*-ddr-window-info ibm,dma-window; do [ -e $p ] && say property $p; done
dd if=/dev/nvme0n1 of=/dev/null bs=1M count=8 iflag=direct 2>/dev/null && say read
";
    for guest in KERNELS {
        let scripted = Scripted::on(guest, script);
        for (ddw, size, property, gone) in [
            ("powervm", 1 << 30, "linux,direct64-ddr-window-info", true),
            (
                "powervm,block=4096",
                256 << 20,
                "linux,dma64-ddr-window-info",
                true,
            ),
            (
                "windows=2,pages=64K,block=4096",
                256 << 20,
                "linux,dma64-ddr-window-info",
                false,
            ),
        ] {
            let boot = boot(&scripted.args(&["--ddw", ddw, "--device", "nvme"]));
            has(&boot, &format!("test: property {property}"));
            has(&boot, "test: read");
            assert_eq!(boot.log.contains("test: property ibm,dma-window"), !gone);
            assert_eq!(boot.log.matches("test: property linux").count(), 1);
            let dynamic = &windows(&boot)[1];
            assert_eq!(dynamic["size"], size);
            let all = dynamic["entries"] == dynamic["entries_peak"];
            assert_eq!(all, property.contains("direct64"), "{guest} {ddw}");
            assert!(moved(dynamic) > 8 << 20);
        }
    }
}

/// A device that must stay below 4 GiB has mappings when the next one asks for a window: it does not get one, and both work.
#[test]
fn a_default_window_in_use_stays() {
    let folder = tempfile::tempdir().unwrap();
    let disks = two_disks(folder.path());
    for guest in KERNELS {
        let boot = run(
            &[
                "--guest",
                guest,
                "--ddw",
                "powervm,extensions=1",
                "--device",
                "nvme,dma-bits=48",
                "--device",
                "nvme",
                "--append",
                "console=hvc0 viommu.check=disk",
                "--disk",
                &disks.0,
                "--disk",
                &disks.1,
            ],
            0,
        );
        has(
            &boot,
            if version(guest) < LIMITED {
                "current IOMMU table in use, can't be replaced"
            } else {
                // Newer kernels ask for a window for the first device too, and after a refusal never again for its PE. They say the
                // other sentence after a crash: `kexec.rs`.
                "Limited Address Space for DDW not Supported"
            },
        );
        has(&boot, "viommu-init: reread nvme0n1 8388608");
        assert_eq!(changes(&boot), []);
        assert_eq!(windows(&boot).len(), 1);
    }
}

/// Create fails after the default window went: the reset call brings it back under its old name, and the device works through it.
///
/// Linux 7.2 forgets the refusal if the window was to map all RAM: it lets the device reach for real addresses, where nothing is mapped. It
/// is right if the window was to be smaller.
#[test]
fn a_refused_create_is_mended_by_reset() {
    for guest in KERNELS {
        let rules: &[&str] = if version(guest) <= (6, 12) {
            &["powervm", "powervm,block=4096"]
        } else {
            &["powervm,block=4096"]
        };
        for rules in rules {
            mended_by_reset(guest, rules);
        }
    }
}

fn mended_by_reset(guest: &str, rules: &str) {
    let boot = boot(&["--guest", guest, "--ddw", rules, "--inject", "create:1=-1"]);
    has(&boot, "returned -1 (liobn = 0x0 starting addr = 0 0)");
    has(&boot, "viommu-init: reread nvme0n1 8388608");
    assert_eq!(
        changes(&boot),
        named(&[("remove", 0), ("create", -1), ("reset", 0)])
    );
    let [first, second] = windows(&boot) else {
        panic!("{guest}: {:?}", windows(&boot))
    };
    assert_eq!(hex(&first["liobn"]), hex(&second["liobn"]));
    assert_eq!(first["bus_address"], second["bus_address"]);
    assert!(
        moved(second) > 40 << 20,
        "{guest}: through the restored window"
    );
}

/// Busy is asked again.
#[test]
fn busy_calls_are_repeated() {
    for guest in KERNELS {
        let boot = boot(&[
            "--guest",
            guest,
            "--ddw",
            "powervm",
            "--inject",
            "create:1-2=9900",
            "--inject",
            "create:3=-2",
        ]);
        has(&boot, REMOVED);
        let creates = [
            ("remove", 0),
            ("create", 9900),
            ("create", 9900),
            ("create", -2),
            ("create", 0),
        ];
        assert_eq!(changes(&boot), named(&creates));
    }
}

/// The second function of a PE uses the window of the first.
#[test]
fn a_second_function_reuses_the_window() {
    let folder = tempfile::tempdir().unwrap();
    let disks = two_disks(folder.path());
    for guest in KERNELS {
        let boot = boot(&[
            "--guest",
            guest,
            "--ddw",
            "powervm",
            "--device",
            "nvme",
            "--device",
            "virtio-blk",
            "--disk",
            &disks.0,
            "--disk",
            &disks.1,
        ]);
        has(&boot, REMOVED);
        assert_eq!(changes(&boot), named(&[("remove", 0), ("create", 0)]));
        let devices = boot.report["devices"].as_array().unwrap();
        for device in devices {
            assert!(moved(device) > 0, "{guest}: {device} did no DMA");
            assert_eq!(device["faults"], 0);
        }
    }
}

/// A device of 48 bits: limited address mode puts the window low. Linux 6.1 does not know the mode and takes the default window.
#[test]
fn limited_address_mode() {
    for guest in KERNELS {
        let boot = boot(&[
            "--guest",
            guest,
            "--ddw",
            "powervm",
            "--device",
            "nvme,dma-bits=48",
        ]);
        has(&boot, "viommu-init: reread nvme0n1 8388608");
        if version(guest) < LIMITED {
            assert_eq!(calls(&boot), []);
            continue;
        }
        has(&boot, "lsa_required: 1, lsa_enabled: 1");
        has(&boot, "returned 0 (liobn = 0x80000001 starting addr = 1 0)");
        assert_eq!(
            changes(&boot),
            named(&[("reset", 0), ("remove", 0), ("create", 0)])
        );
        let calls = boot.report["iommu"]["ddw_calls"].as_array().unwrap();
        let reset = calls
            .iter()
            .find(|c| c["name"] == "ibm,reset-pe-dma-window")
            .unwrap();
        assert_eq!(reset["arguments"]["limited_address_mode"], "0x1");
    }
}

/// The kernel says so when a hypercall to clear entries fails.
#[test]
fn a_refused_stuff_is_complained_of() {
    for guest in KERNELS {
        let boot = boot(&["--guest", guest, "--inject", "stuff:1=-4"]);
        has(&boot, "plpar_tce_stuff failed");
        assert_eq!(boot.report["iommu"]["hcall_errors"]["H_STUFF_TCE -4"], 1);
    }
}

/// Without DDW, and without the hypercalls for many entries.
#[test]
fn command_lines() {
    for guest in KERNELS {
        let append = "console=hvc0 viommu.check=disk disable_ddw";
        let plain = boot(&["--guest", guest, "--ddw", "powervm", "--append", append]);
        assert_eq!(changes(&plain), []);
        assert!(moved(&windows(&plain)[0]) > 40 << 20);
        let append = "console=hvc0 viommu.check=disk multitce=off";
        let single = boot(&[
            "--guest",
            guest,
            "--ddw",
            "powervm,block=4096",
            "--append",
            append,
        ]);
        has(&single, "Disabling MULTITCE firmware feature");
        has(&single, REMOVED);
        let hypercalls = &single.report["hypercalls"];
        assert!(hypercalls["H_PUT_TCE"].is_object());
        assert!(hypercalls["H_PUT_TCE_INDIRECT"].is_null());
        // H_STUFF_TCE stays: the kernel empties a window that it removes with it, whatever the feature says.
    }
}
