//! Functions and memory that come and go by connectors while windows exist.

use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{boot, has};
use viommu_tests::file;
use viommu_tests::scripted::{PRELUDE, Scripted, named, noise, sha256};

use super::{KERNELS, calls, compile, moved, windows};

const SIZE: usize = 8 << 20;
/// What the script calls first: reads the disk.
const READ: &str =
    "hash() { dd if=/dev/nvme0n1 bs=1M count=8 iflag=direct 2>/dev/null | sha256sum; }\n";

fn scripted(kernel: &str, script: &str) -> Scripted {
    let guest = named(kernel);
    let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
    let mut archive = Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs");
    archive.add_file("connector", 0o755, compile("connector"));
    let script = [PRELUDE, READ, script].concat();
    Scripted::with(&guest, archive, &script, &[])
}

fn slots(boot: &viommu_tests::boot::Boot) -> Vec<(String, bool)> {
    let events = boot.report["slots"].as_array();
    let event = |e: &serde_json::Value| {
        let what = e["what"].as_str().unwrap_or_default();
        (what.to_owned(), e["attached"] == true)
    };
    events.expect("events").iter().map(event).collect()
}

/// A controller that is not there at boot is taken, two blocks of memory come while its window maps all RAM, one block goes, the controller
/// is given back and taken again. The PE is the bridge, so the window stays, and the kernel finds it again.
#[test]
fn functions_and_memory_by_their_connectors() {
    for (kernel, rules) in KERNELS.into_iter().zip(["powervm", "kvm", "powervm"]) {
        let scripted = scripted(
            kernel,
            "bridge=/pci@800000020000000
tree=/proc/device-tree$bridge
take() {
	/connector take 40000008 $bridge || exit 1
	echo 1 > /sys/bus/pci/rescan
	wait_for nvme0n1
	say $1 $(hash)
}
[ -e $tree/pci1b36,10@1 ] && say FAILED in the tree
[ -e /sys/bus/pci/devices/0000:00:01.0 ] && say FAILED on the bus
/connector refused 40000008 || exit 1
take first
echo 'memory add count 2' > /sys/kernel/dlpar && say added
for state in /sys/devices/system/memory/memory*/state; do
	grep -q offline $state && echo online_movable > $state
done
mount -t tmpfs -o size=620m tmpfs /mnt
# More than the memory of the boot: some of it has to lie in what was added.
n=0
while [ $n -lt 72 ] && dd if=/dev/nvme0n1 of=/mnt/$n bs=1M count=8 iflag=direct 2>/dev/null; do n=$((n + 1)); done
say $n copies, $(sha256sum /mnt/* | cut -d' ' -f1 | sort -u)
rm /mnt/*; umount /mnt
echo 'memory remove count 1' > /sys/kernel/dlpar && say removed
say after $(hash)
echo 1 > /sys/bus/pci/devices/0000:00:01.0/remove
/connector give 40000008 $bridge/pci1b36,10@1 || exit 1
echo 1 > /sys/bus/pci/rescan
[ -e /sys/bus/pci/devices/0000:00:01.0 ] && say FAILED still on the bus
take again
",
        );
        let bytes = noise(SIZE);
        let disk = file(scripted.folder(), "disk.img", &bytes);
        let memory = ["--memory", "512M", "--max-memory", "1G", "--ddw", rules];
        let args = [
            &memory[..],
            &["--device", "nvme,unplugged", "--disk", &disk],
        ]
        .concat();
        let boot = boot(&scripted.args(&args));
        assert!(!boot.log.contains("test: FAILED"), "{kernel}: {}", boot.log);
        let hash = sha256(&bytes);
        for wanted in [
            "viommu-init: run /test status 0",
            "pseries-hotplug-mem: Attempting to hot-add 2 LMB(s)",
            "test: added",
            &format!("test: 72 copies, {hash}"),
            "test: removed",
            &format!("test: first {hash}"),
            &format!("test: after {hash}"),
            &format!("test: again {hash}"),
        ] {
            has(&boot, wanted);
        }
        let slot = |attached| ("P0-C1".to_owned(), attached);
        let block = |at: u64, attached| (format!("memory at {at:#x}"), attached);
        let (first, second) = (512 << 20, 768 << 20);
        let [came @ .., gone, given, taken] = &slots(&boot)[..] else {
            panic!("{kernel}: too few events")
        };
        assert_eq!(came, [slot(true), block(first, true), block(second, true)]);
        assert!(
            *gone == block(first, false) || *gone == block(second, false),
            "{kernel}: {gone:?}"
        );
        assert_eq!([given, taken], [&slot(false), &slot(true)]);
        let created = calls(&boot);
        let created = created.iter().filter(|(name, _)| name == "create");
        assert_eq!(created.count(), 1, "{kernel} {rules}: one window for both");
        let dynamic = windows(&boot).iter().find(|w| w["kind"] == "dynamic");
        let dynamic = dynamic.expect("a window");
        assert_eq!(dynamic["size"].as_u64(), Some(1 << 30), "{kernel}");
        let mapped = |key: &str| {
            dynamic[key].as_u64().unwrap_or(0) * dynamic["page_size"].as_u64().unwrap_or(0)
        };
        assert_eq!(mapped("entries_peak"), 1 << 30, "{kernel}");
        assert_eq!(mapped("entries_now"), 768 << 20, "{kernel}");
        // The copies and three more reads.
        assert!(moved(dynamic) >= 75 * SIZE as u64, "{kernel} {rules}");
        assert_eq!(boot.report["iommu"]["faults_total"], 0, "{kernel} {rules}");
    }
}
