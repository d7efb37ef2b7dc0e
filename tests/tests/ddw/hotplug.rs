//! Host bridges, functions and memory that come and go by connectors while windows exist.

use viommu::guest::catalogue;
use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{Boot, boot, has};
use viommu_tests::file;
use viommu_tests::scripted::{PRELUDE, Scripted, named, noise, sha256};

use super::{calls, compile, hex, moved, windows};

/// Kernels, each with one set of rules.
const RUNS: [(&str, &str); 4] = [
    ("debian-6.1", "powervm"),
    ("debian-6.12", "kvm"),
    ("debian-6.12-64k", "powervm"),
    ("debian-newest", "powervm"),
];

const SIZE: usize = 8 << 20;
/// What the script calls first: reads the disk.
const READ: &str =
    "hash() { dd if=/dev/nvme0n1 bs=1M count=8 iflag=direct 2>/dev/null | sha256sum; }\n";

/// A guest with these modules, which are loaded before the script runs.
fn scripted(kernel: &str, modules: &[&str], script: &str) -> Scripted {
    let guest = named(kernel);
    let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
    let mut archive = Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs");
    if !modules.is_empty() {
        let modules = catalogue::modules(&guest, modules, &mut |_, _, _| ()).expect("modules");
        for (at, (name, bytes)) in modules.into_iter().enumerate() {
            archive.add_file(&format!("modules/{:02}-{name}.ko", at + 50), 0o644, bytes);
        }
    }
    archive.add_file("connector", 0o755, compile("connector"));
    let script = [PRELUDE, READ, script].concat();
    Scripted::with(&guest, archive, &script, &[])
}

fn slots(boot: &Boot) -> Vec<(String, bool)> {
    let events = boot.report["slots"].as_array();
    let event = |e: &serde_json::Value| {
        let what = e["what"].as_str().unwrap_or_default();
        (what.to_owned(), e["attached"] == true)
    };
    events.expect("events").iter().map(event).collect()
}

/// The windows with this LIOBN, in order: whether each is there at the end, and its place.
fn lives(boot: &Boot, liobn: u64) -> Vec<(bool, u64, u64)> {
    let mine = windows(boot).iter().filter(|w| hex(&w["liobn"]) == liobn);
    let life = |w: &serde_json::Value| {
        let size = w["size"].as_u64().expect("a size");
        (w["removed_ns"].is_null(), hex(&w["bus_address"]), size)
    };
    mine.map(life).collect()
}

/// A controller that is not there at boot is taken, two blocks of memory come while its window maps all RAM, one block goes, the controller
/// is given back and taken again. The PE is the bridge, so the window stays, and the kernel finds it again. It goes with the bridge, whose
/// connector the program gives back at the end behind the kernel's back.
#[test]
fn functions_and_memory_by_their_connectors() {
    for (kernel, rules) in RUNS {
        let scripted = scripted(
            kernel,
            &[],
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
/connector busy 20000000 || exit 1
echo 1 > /sys/bus/pci/devices/0000:00:01.0/remove
/connector give 40000008 $bridge/pci1b36,10@1 || exit 1
/connector give 20000000 - || exit 1
/connector orphan 40000008 || exit 1
say given
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
            "test: given",
        ] {
            has(&boot, wanted);
        }
        let slot = |attached| ("P0-C1".to_owned(), attached);
        let block = |at: u64, attached| (format!("memory at {at:#x}"), attached);
        let (first, second) = (512 << 20, 768 << 20);
        let [came @ .., gone, given, taken, last, bridge] = &slots(&boot)[..] else {
            panic!("{kernel}: too few events")
        };
        assert_eq!(came, [slot(true), block(first, true), block(second, true)]);
        assert!(
            *gone == block(first, false) || *gone == block(second, false),
            "{kernel}: {gone:?}"
        );
        assert_eq!(
            [given, taken, last],
            [&slot(false), &slot(true), &slot(false)]
        );
        assert_eq!(*bridge, ("PHB 0".to_owned(), false));
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
        assert_eq!(mapped("entries_at_removal"), 768 << 20, "{kernel}");
        assert!(!dynamic["removed_ns"].is_null(), "{kernel}");
        // The default window is there, as it was at boot: where it had to go first, for the second time.
        let default = |there| {
            let size = if rules == "powervm" { 2 << 30 } else { 1 << 30 };
            (there, 0, size)
        };
        let wanted = match rules {
            "powervm" => vec![default(false), default(true)],
            _ => vec![default(true)],
        };
        assert_eq!(lives(&boot, 0x8000_0000), wanted, "{kernel} {rules}");
        let last = windows(&boot).iter().rfind(|w| w["kind"] == "default");
        assert_eq!(last.expect("a window")["entries_now"], 0, "{kernel}");
        // The copies and three more reads.
        assert!(moved(dynamic) >= 75 * SIZE as u64, "{kernel} {rules}");
        assert_eq!(boot.report["iommu"]["faults_total"], 0, "{kernel} {rules}");
    }
}

/// The kernel gives a bridge back and takes it again, by its own driver for such bridges, and then the controller behind it, which finds the
/// default window and makes a window of its own once more. The kernel removes its window with the bridge's node; where that is refused, the
/// window goes when the bridge is isolated.
#[test]
fn a_bridge_by_its_connector() {
    // The removal of the default window counts too, where it has to go first.
    let refused = [None, Some("remove:1=-1"), None, Some("remove:2=-1")];
    for ((kernel, rules), refused) in RUNS.into_iter().zip(refused) {
        let scripted = scripted(
            kernel,
            &["rpadlpar_io"],
            "bridge=/pci@800000020000001
control=/sys/bus/pci/slots/control
device=/sys/bus/pci/devices/0001:00:01.0
wait_for nvme0n1
say first $(hash)
/connector busy 20000001 || exit 1
echo 1 > $device/remove
/connector give 40000108 $bridge/pci1b36,10@1 || exit 1
echo 'PHB 1' > $control/remove_slot || exit 1
[ -e /sys/class/pci_bus/0001:00 ] && say FAILED the bus is there
/connector give 20000001 $bridge || exit 1
[ -e /proc/device-tree$bridge ] && say FAILED in the tree
/connector refused 20000001 || exit 1
/connector orphan 40000108 || exit 1
/connector take 20000001 '' || exit 1
echo 'PHB 1' > $control/add_slot || exit 1
[ -e /sys/class/pci_bus/0001:00 ] || say FAILED no bus
/connector take 40000108 $bridge || exit 1
echo 1 > /sys/bus/pci/rescan
wait_for nvme0n1
[ -e $device ] || say FAILED no device
say again $(hash)
",
        );
        let bytes = noise(SIZE);
        let disk = file(scripted.folder(), "disk.img", &bytes);
        let options = ["--ddw", rules, "--device", "nvme,bridge=1", "--disk", &disk];
        let refusal = refused.map(|call| ["--inject", call]);
        let refusal = refusal.as_ref().map_or(&[][..], |r| &r[..]);
        let boot = boot(&scripted.args(&[&options, refusal].concat()));
        assert!(!boot.log.contains("test: FAILED"), "{kernel}: {}", boot.log);
        let hash = sha256(&bytes);
        for wanted in [
            "viommu-init: run /test status 0",
            &format!("test: first {hash}"),
            "rpadlpar_io: slot PHB 1 removed",
            "rpadlpar_io: slot PHB 1 added",
            &format!("test: again {hash}"),
        ] {
            has(&boot, wanted);
        }
        let event = |what: &str, attached| (what.to_owned(), attached);
        assert_eq!(
            slots(&boot),
            [
                event("P1-C1", false),
                event("PHB 1", false),
                event("PHB 1", true),
                event("P1-C1", true)
            ]
        );
        let made = calls(&boot);
        let made = made.iter().filter(|c| **c == ("create".to_owned(), 0));
        assert_eq!(made.count(), 2, "{kernel} {rules}: one for each stay");
        let dynamic: Vec<_> = windows(&boot)
            .iter()
            .filter(|w| w["kind"] == "dynamic")
            .collect();
        assert_eq!(dynamic.len(), 2, "{kernel} {rules}");
        assert!(!dynamic[0]["removed_ns"].is_null() && dynamic[1]["removed_ns"].is_null());
        let failed = calls(&boot).iter().filter(|c| c.1 != 0).count();
        assert_eq!(failed, usize::from(refused.is_some()), "{kernel} {rules}");
        let size = if rules == "powervm" { 2 << 30 } else { 1 << 30 };
        let default = match rules {
            // Each stay begins with it and gives it up.
            "powervm" => vec![(false, 0, size); 2],
            _ => vec![(true, 0, size)],
        };
        assert_eq!(lives(&boot, 0x8001_0000), default, "{kernel} {rules}");
        for window in dynamic {
            assert!(moved(window) >= SIZE as u64, "{kernel} {rules}: {window}");
        }
        assert_eq!(boot.report["iommu"]["faults_total"], 0, "{kernel} {rules}");
    }
}
