//! The edu device in the hands of user programs: as a rogue without any mapping, and through VFIO with mappings of its own.

use viommu::guest::catalogue::{self, Arch};
use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{Boot, has, tail};
use viommu_tests::program::compile;
use viommu_tests::scripted::{Scripted, named};

/// The device, alone on its bus: no disk comes before it.
const DEVICE: [&str; 2] = ["--device", "edu"];

/// A guest with the programs and VFIO's modules, and its script.
fn with_programs(kernel: &str, script: &str) -> Scripted {
    let guest = named(kernel);
    let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
    let mut archive = Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs");
    let modules = ["vfio_iommu_type1", "vfio_pci"];
    let modules = catalogue::modules(&guest, &modules, &mut |_, _, _| ()).expect("modules");
    for (at, (name, bytes)) in modules.into_iter().enumerate() {
        archive.add_file(&format!("modules/{:02}-{name}.ko", at + 50), 0o644, bytes);
    }
    for program in ["rogue", "vfio_type1"] {
        archive.add_file(program, 0o755, compile(Arch::Amd64, program));
    }
    let script = format!("#!/usr/bin/sh\nset -e\naddress=0000:00:01.0\n{script}");
    Scripted::with(&guest, archive, &script, &[])
}

/// The rogue first, while no driver has the device; then VFIO.
const BOTH_PROGRAMS: &str = "/rogue $address
device=/sys/bus/pci/devices/$address
echo vfio-pci > $device/driver_override
echo $address > /sys/bus/pci/drivers_probe
echo 2 > /proc/sys/vm/nr_hugepages
/vfio_type1 $(ls /dev/vfio | grep -v vfio) $address
";

/// The kernel's lines on faults, as direction, page and reason.
fn kernel_faults(boot: &Boot) -> Vec<(&str, &str, &str)> {
    let lines = boot.log.lines();
    let faults = lines.filter_map(|line| {
        let (_, fault) = line.split_once("DMAR: [DMA ")?;
        let (direction, rest) = fault.split_once(" NO_PASID] Request device [00:01.0] ")?;
        let (page, reason) = rest
            .strip_prefix("fault addr ")?
            .split_once(" [fault reason ")?;
        Some((direction, page, reason.split_once(']')?.0))
    });
    faults.collect()
}

/// The programs found nothing wrong, and the kernel logged each fault that they provoked: in this order, with its direction, page and
/// the reason that `reason_of` gives for both. Gives the pages.
fn proved(boot: &Boot, reason_of: impl Fn(&str, u64) -> &'static str) -> Vec<u64> {
    assert!(!boot.log.contains("test: FAILED"), "{}", tail(&boot.log));
    has(boot, "viommu-init: run /test status 0");
    let provoked: Vec<_> = boot
        .log
        .lines()
        .filter_map(|l| l.strip_prefix("test: fault ")?.split_once(' '))
        .collect();
    // The rogue's writes to the interrupt range print no line of their own.
    let logged: Vec<_> = kernel_faults(boot)
        .into_iter()
        .filter(|f| f.1 != "0xfee00000")
        .collect();
    assert_eq!(provoked.len(), logged.len(), "{provoked:?} {logged:?}");
    let mut pages = Vec::new();
    for ((direction, page), (by_kernel, address, reason)) in provoked.iter().zip(logged) {
        assert_eq!(by_kernel.to_lowercase(), *direction);
        assert_eq!(*page, address);
        let page = u64::from_str_radix(&address[2..], 16).expect("an address");
        assert_eq!(reason, reason_of(direction, page), "{direction} {address}");
        pages.push(page);
    }
    pages
}

/// Where the VFIO program's mappings begin.
const VFIO: u64 = 0x52_0000_0000;
/// The page that it may only read.
const READ_ONLY: u64 = VFIO + 0x2_0000;

#[test]
fn a_rogue_and_vfio_in_scalable_mode() {
    let guest = with_programs("debian-6.12-amd64", BOTH_PROGRAMS);
    let boot = super::boot(&guest.args(&DEVICE));
    let pages = proved(&boot, |_, page| match page {
        READ_ONLY => "0x85",             // SGN.6: no write permission
        VFIO..0x53_0000_0000 => "0x79",  // SSS.2: second-stage entry not present
        0x1000_0000_0000_0000 => "0x80", // SGN.1: not canonical
        _ => "0x71",                     // SFS.2: first-stage entry not present
    });
    assert_eq!(
        pages
            .iter()
            .filter(|p| **p >= VFIO && **p < VFIO << 1)
            .count(),
        16
    );
    // An address of the interrupt range that is no interrupt's: INTR.10.
    let interrupts = kernel_faults(&boot);
    let interrupts = interrupts
        .iter()
        .filter(|f| f.1 == "0xfee00000" && f.2 == "0x29");
    assert_eq!(interrupts.count(), 2);
    assert_eq!(super::unit(&boot, 0)["faults"], pages.len() as u64 + 2);
}

#[test]
fn a_rogue_and_vfio_in_legacy_mode() {
    let guest = with_programs("debian-6.1-amd64", BOTH_PROGRAMS);
    let boot = super::boot(&guest.args(&[&DEVICE[..], &["--iommu", "legacy"]].concat()));
    let pages = proved(&boot, |direction, page| match (direction, page) {
        (_, 0x1000_0000_0000_0000) => "0x04", // LGN.1: beyond the address width
        ("write", _) => "0x05",               // LGN.2: no write permission
        _ => "0x06",                          // LGN.3: no read permission
    });
    assert_eq!(pages.len(), 4 + 16);
}

#[test]
fn a_rogue_that_nothing_stops() {
    let mut guest = with_programs("debian-6.12-amd64", "/rogue $address open\n");
    guest.add_words("iommu=pt");
    let boot = super::boot(&guest.args(&DEVICE));
    has(&boot, "iommu: Default domain type: Passthrough");
    assert!(!boot.log.contains("test: FAILED"), "{}", tail(&boot.log));
    has(&boot, "viommu-init: run /test status 0");
    assert_eq!(kernel_faults(&boot), []);
    assert_eq!(super::unit(&boot, 0)["faults"], 0);
}
