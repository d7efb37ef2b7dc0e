//! One kernel after another on a machine that nobody reset in between: the second finds the windows of the first. The program that puts
//! the second into memory is `tests/guest/kexec.c`.

use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{Boot, calm, has, run};
use viommu_tests::file;
use viommu_tests::scripted::{PRELUDE, Scripted, named, noise, sha256};

use super::{calls, compile, moved, windows};

const MIB: usize = 1 << 20;
/// What both kernels read, in MiB: most of the disk.
const READ: usize = 8;
/// The MiB that the second kernel copies, and where to.
const COPY: (usize, usize) = (3, 9);
/// Every kernel's first line.
const BANNER: &str = "Linux version ";
/// No run needs that many: a kernel that hangs without a word ends it.
const MAX_INSTRUCTIONS: &str = "30000000000";
/// Command line of the second kernel: if it stops, the run ends.
const WORDS: &str = "console=hvc0 viommu.run=/test panic=-1";
/// More of that for a kernel that runs after a crash.
const CRASH_WORDS: &str = "maxcpus=1 reset_devices irqpoll";
const CRASH_MEMORY: &str = "crashkernel=256M@256M";

const FIRST: &str = "wait_for nvme0n1
say hash $(dd if=/dev/nvme0n1 bs=1M count=8 iflag=direct 2>/dev/null | sha256sum)
";
const SECOND: &str = "wait_for nvme0n1
cd /proc/device-tree/pci@*
for p in linux,*-ddr-window-info ibm,dma-window; do [ -e $p ] && say property $p; done
[ -e /proc/vmcore ] && dd if=/proc/vmcore bs=64K count=4 2>/dev/null | grep -q CRASHTIME= && say vmcore
say hash $(dd if=/dev/nvme0n1 bs=1M count=8 iflag=direct 2>/dev/null | sha256sum)
dd if=/dev/nvme0n1 of=/dev/nvme0n1 bs=1M count=1 skip=3 seek=9 iflag=direct oflag=direct conv=notrunc,fsync 2>/dev/null && say copied
";

/// A run of two kernels.
struct Run {
    /// Both of them.
    boot: Boot,
    /// What the first logged, and a few early lines of the second.
    first: String,
    /// What the second logged.
    second: String,
}

/// Starts the same kernel again, by a crash of the first or without. Each reads the disk; the second copies a part of it.
fn two_kernels(kernel: &str, words: &str, crash: bool, more: &[&str]) -> Run {
    let guest = named(kernel);
    let archive = || {
        let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
        Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs")
    };
    let mut next = archive();
    next.add_file("test", 0o755, [PRELUDE, SECOND].concat().into_bytes());
    let mut start = archive();
    let image = std::fs::read(&guest.kernel).expect("a kernel");
    start.add_file("vmlinux", 0o644, image);
    start.add_file("next", 0o644, next.write(Vec::new()).unwrap());
    start.add_file("kexec", 0o755, compile("kexec"));
    let command = if crash {
        format!(
            "/kexec crash /vmlinux /next '{WORDS} {CRASH_WORDS}'\necho c > /proc/sysrq-trigger\n"
        )
    } else {
        format!("/kexec now /vmlinux /next '{WORDS}'\n")
    };
    let script = [PRELUDE, FIRST, &command].concat();
    let mut scripted = Scripted::with(&guest, start, &script, &[]);
    scripted.add_words(words);

    let mut bytes = noise(10 * MIB);
    let disk = file(scripted.folder(), "disk.img", &bytes);
    let more = [
        &["--disk", &disk, "--max-instructions", MAX_INSTRUCTIONS],
        more,
    ]
    .concat();
    let args = scripted.args(&more);
    let boot = run(&args, 0);
    let (first, second) = boot.log.rsplit_once(BANNER).expect("a kernel");
    let (first, second) = (first.to_owned(), second.to_owned());

    // Two kernels, and the second with neither a complaint nor an error of DMA.
    assert_eq!(first.matches(BANNER).count(), 1, "{kernel}: {first}");
    let until = if crash {
        "sysrq: Trigger a crash"
    } else {
        "Starting new kernel"
    };
    let (before, _) = first
        .split_once(until)
        .unwrap_or_else(|| panic!("no {until:?} in {first}"));
    calm(&args, before);
    calm(&args, &second);
    has(&boot, "viommu-init: done");
    assert_eq!(boot.report["iommu"]["faults_total"], 0);
    assert_eq!(boot.report["iommu"]["hcall_errors"], serde_json::json!({}));
    assert_eq!(boot.report["devices"][0]["faults"], 0);

    // Both read what is on the disk, and the copy is there.
    let hash = format!("test: hash {}", sha256(&bytes[..READ * MIB]));
    assert!(first.contains(&hash), "{kernel}: no {hash:?} in {first}");
    assert!(second.contains(&hash), "{kernel}: no {hash:?} in {second}");
    assert!(second.contains("test: copied"));
    let (from, to) = (COPY.0 * MIB, COPY.1 * MIB);
    bytes.copy_within(from..from + MIB, to);
    assert_eq!(sha256(&std::fs::read(&disk).unwrap()), sha256(&bytes));
    assert_eq!(second.contains("test: vmcore"), crash);
    Run {
        boot,
        first,
        second,
    }
}

/// The calls that change windows are those of one kernel: default window away, another one made.
fn one_creation(run: &Run) {
    let mut changes = calls(&run.boot);
    changes.retain(|(name, _)| name != "query");
    let names: Vec<_> = changes.iter().map(|(n, s)| (n.as_str(), *s)).collect();
    assert_eq!(names, [("remove", 0), ("create", 0)]);
    assert!(run.first.contains("Removed default DMA window for /pci@"));
    assert!(!run.second.contains("Removed default DMA window"));
    assert!(!run.second.contains("ibm,create-pe-dma-window("));
}

fn get_tce(run: &Run) -> &serde_json::Value {
    let calls = &run.boot.report["hypercalls"]["H_GET_TCE"];
    assert!(calls["failed"].is_null() || calls["failed"] == 0);
    &calls["calls"]
}

/// The second kernel takes the window from the property of the bridge's node, empties it and manages it page by page. Two vCPUs make the
/// way too.
fn kexec(kernel: &str, rules: &str, cpus: &str, size: u64, property: &str) {
    let run = two_kernels(kernel, "", false, &["--ddw", rules, "--cpus", cpus]);
    one_creation(&run);
    assert!(run.second.contains(&format!("test: property {property}")));
    assert!(!run.second.contains("test: property ibm,dma-window"));
    let maps_all = property.contains("direct64");
    if kernel != "debian-6.1" {
        let direct = |part: &str| part.contains("lsa_enabled: 0, direct mapping: 1");
        let both = (direct(&run.first), direct(&run.second));
        assert_eq!(both, (maps_all, false), "{kernel}");
    }
    let [_, window] = windows(&run.boot) else {
        panic!("{kernel}: {:?}", windows(&run.boot))
    };
    assert_eq!(window["size"], size);
    assert!(window["removed_ns"].is_null());
    let full = window["entries_peak"] == window["entries"];
    assert_eq!(full, maps_all, "{kernel}: {window}");
    let now = window["entries_now"].as_u64().unwrap();
    assert!((1..100).contains(&now), "{kernel}: {window}");
    assert!(moved(window) > 2 * (READ * MIB) as u64);
    assert!(get_tce(&run).is_null());
    let cpus = format!("Brought up 1 node, {cpus} CPU");
    assert_eq!(run.boot.log.matches(&cpus).count(), 2, "{kernel}: {cpus}");
}

/// A window that maps all RAM for the first kernel. (Linux 6.1 empties it too, but then believes that it is full.)
#[test]
fn kexec_finds_a_large_window() {
    let property = "linux,direct64-ddr-window-info";
    kexec("debian-6.12", "powervm", "1", 1 << 30, property);
    kexec("debian-6.12-64k", "powervm", "2", 1 << 30, property);
    kexec("debian-newest", "powervm", "1", 1 << 30, property);
}

/// A window smaller than RAM.
#[test]
fn kexec_finds_a_small_window() {
    let property = "linux,dma64-ddr-window-info";
    for (kernel, cpus) in [("debian-6.1", "1"), ("debian-6.12", "2")] {
        kexec(kernel, "powervm,block=4096", cpus, 256 << 20, property);
    }
}

/// A kernel after a crash asks for every entry of the default window, keeps those that allow access, and so does not replace the window:
/// the query says that none is free.
#[test]
fn a_crash_kernel_keeps_the_default_window() {
    for kernel in ["debian-6.12", "debian-6.12-64k", "debian-newest"] {
        let words = format!("{CRASH_MEMORY} disable_ddw");
        let run = two_kernels(kernel, &words, true, &["--ddw", "powervm"]);
        assert!(run.first.contains("ppc iommu: disabling ddw"));
        assert!(run.second.contains("returned 0, lb=0 ps=2 wn=0"));
        assert!(
            run.second
                .contains("current IOMMU table in use, can't be replaced")
        );
        assert!(run.second.contains("test: property ibm,dma-window"));
        assert!(
            calls(&run.boot)
                .iter()
                .all(|(name, status)| name == "query" && *status == 0)
        );
        let [window] = windows(&run.boot) else {
            panic!("{kernel}: {:?}", windows(&run.boot))
        };
        assert_eq!(get_tce(&run), &window["entries"]);
        assert!(moved(window) > 2 * (READ * MIB) as u64);
    }
}

/// A kernel after a crash finds a window that maps all RAM: it takes 2048 entries for itself and leaves the others.
#[test]
fn a_crash_kernel_finds_a_full_window() {
    let run = two_kernels("debian-6.12", CRASH_MEMORY, true, &["--ddw", "powervm"]);
    one_creation(&run);
    assert!(run.first.contains("lsa_enabled: 0, direct mapping: 1"));
    assert!(run.second.contains("TCE table is full; freeing"));
    assert!(run.second.contains("2048 entries for the kdump boot"));
    let [_, window] = windows(&run.boot) else {
        panic!("{:?}", windows(&run.boot))
    };
    let all = window["entries"].as_u64().unwrap();
    assert_eq!(window["entries_peak"], all);
    assert!(window["entries_now"].as_u64().unwrap() > all - 2048);
    assert_eq!(get_tce(&run), all);
    assert!(moved(window) > 2 * (READ * MIB) as u64);
}
