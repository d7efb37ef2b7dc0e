//! The edu device in the hands of user programs: through VFIO, with mappings of its own, and as a rogue without any.

use viommu::guest::catalogue::{self, Arch};
use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{Boot, boot_on, has};
use viommu_tests::program::compile;
use viommu_tests::scripted::{Scripted, named};

/// A guest with VFIO's modules and the two programs: the first finds the device without a driver, the second by vfio-pci.
fn with_programs(kernel: &str) -> Scripted {
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
    let script = "#!/usr/bin/sh
/rogue 0000:00:01.0
device=/sys/bus/pci/devices/0000:00:01.0
echo vfio-pci > $device/driver_override
echo 0000:00:01.0 > /sys/bus/pci/drivers_probe
echo 2 > /proc/sys/vm/nr_hugepages
group=$(ls /dev/vfio | grep -v vfio)
/vfio_type1 $group 0000:00:01.0
";
    Scripted::with(&guest, archive, script, &[])
}

#[test]
fn try_it() {
    let mut scripted = with_programs(&std::env::var("K").unwrap());
    scripted.add_words(&std::env::var("W").unwrap());
    let boot = viommu_tests::boot::run_on("pc", &scripted.args(&["--device", "edu"]), 0);
    println!("{}", boot.log);
}
