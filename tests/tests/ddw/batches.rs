//! What a mapping of the kernel's DMA API becomes: one H_PUT_TCE_INDIRECT for a batch of pages, H_PUT_TCE for one page, H_STUFF_TCE to take
//! either away; and what becomes of it when one of these calls is refused.

use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{Boot, boot, has};
use viommu_tests::file;
use viommu_tests::scripted::{PRELUDE, Scripted, named, noise};

use super::{KERNELS, compile, windows};

/// H_NOT_ENOUGH_RESOURCES: the kernel undoes what it has set, and the driver comes back later.
const NO_ROOM: i64 = -44;
/// Any other error: the kernel complains, and goes on as if the entries were there.
const ERROR: i64 = -4;
const MIB: usize = 1 << 20;

/// Calls of one name, and the entries that they set.
type Calls = (u64, u64);

/// A guest that reads a disk into one piece of memory: `reads` times each of `sizes`.
fn reader(kernel: &str, disk: &str, reads: usize, sizes: &[usize]) -> Scripted {
    let guest = named(kernel);
    let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
    let mut archive = Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs");
    archive.add_file("batch", 0o755, compile("batch"));
    let sizes: Vec<_> = sizes.iter().map(usize::to_string).collect();
    let sizes = sizes.join(" ");
    let script = format!(
        "wait_for {disk}
[ {disk} = vda ] && echo 4096 > /sys/block/vda/queue/max_sectors_kb || echo 2 > /proc/sys/vm/nr_hugepages
/batch /dev/{disk} {reads} {sizes}
"
    );
    Scripted::with(&guest, archive, &(PRELUDE.to_owned() + &script), &[])
}

/// Boots it: each read has to give the disk's bytes.
fn read(scripted: &Scripted, reads: usize, sizes: &[usize], more: &[&str]) -> Boot {
    let bytes = noise(8 * MIB);
    let image = file(scripted.folder(), "disk.img", &bytes);
    let boot = boot(&scripted.args(&[&["--disk", &image], more].concat()));
    for &size in sizes {
        let words = bytes[..size].as_chunks::<8>().0;
        let hash = words.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, w| {
            (h ^ u64::from_le_bytes(*w)).wrapping_mul(0x100_0000_01b3)
        });
        has(
            &boot,
            &format!("test: {size} bytes: {reads} of {reads} read, hash {hash:016x}"),
        );
    }
    boot
}

fn calls(boot: &Boot, name: &str) -> Calls {
    let number = |key: &str| boot.report["iommu"][key][name].as_u64().unwrap_or(0);
    (number("hcalls"), number("hcall_entries"))
}

/// How much more of each call there is in the second boot: H_PUT_TCE, H_PUT_TCE_INDIRECT, H_STUFF_TCE.
fn growth(before: &Boot, after: &Boot) -> [Calls; 3] {
    ["H_PUT_TCE", "H_PUT_TCE_INDIRECT", "H_STUFF_TCE"].map(|name| {
        let ((calls, entries), (more, more_entries)) = (calls(before, name), calls(after, name));
        (more - calls, more_entries - entries)
    })
}

/// Entries in use at the end, by window.
fn in_use(boot: &Boot) -> Vec<u64> {
    let now = windows(boot).iter().map(|w| w["entries_now"].as_u64());
    now.map(|n| n.expect("a number")).collect()
}

/// Sixteen reads more of each size are sixteen calls more of each kind, of as many entries as the size has pages: through the default
/// window, and through a dynamic one that the kernel manages page by page.
#[test]
fn a_batch_is_one_call() {
    let runs: [(&str, &[&str], usize, &[usize]); 2] = [
        ("disable_ddw", &[], 4096, &[1, 2, 16, 256]),
        ("", &["--ddw", "powervm,block=4096"], 0x1_0000, &[1, 2, 16]),
    ];
    for kernel in KERNELS {
        for (words, args, page, pages) in runs {
            let sizes: Vec<_> = pages.iter().map(|n| n * page).collect();
            let [few, many] = [16, 32].map(|reads| {
                let mut scripted = reader(kernel, "nvme0n1", reads, &sizes);
                scripted.add_words(words);
                read(
                    &scripted,
                    reads,
                    &sizes,
                    &[args, &["--device", "nvme"]].concat(),
                )
            });
            let window = windows(&many).last().unwrap();
            assert_eq!(window["page_size"].as_u64(), Some(page as u64));
            let batches = &pages[1..];
            let entries = batches.iter().sum::<usize>() as u64;
            let wanted = [
                (16, 16),
                (16 * batches.len() as u64, 16 * entries),
                (16 * pages.len() as u64, 16 * (entries + 1)),
            ];
            assert_eq!(growth(&few, &many), wanted, "{kernel} {args:?}");
            assert_eq!(in_use(&few), in_use(&many), "{kernel}: none is left");
        }
    }
}

/// A request of virtio-blk has three mappings of one page beside its data: header, status, and the table of its descriptors. 512 pages are
/// one call, 1024 are two; when the second of these is refused, the kernel takes the first one's entries away, and asks again.
#[test]
fn half_a_batch_is_undone() {
    let sizes = [2 * MIB, 4 * MIB];
    for kernel in KERNELS {
        let run = |reads, more: &[&str]| {
            let mut scripted = reader(kernel, "vda", reads, &sizes);
            // One piece of memory of 4 MiB.
            scripted.add_words("disable_ddw default_hugepagesz=1G hugepagesz=1G hugepages=1");
            let args = ["--device", "virtio-blk", "--memory", "4G"];
            read(&scripted, reads, &sizes, &[&args, more].concat())
        };
        let [once, twice] = [1, 2].map(|reads| run(reads, &[]));
        assert_eq!(
            growth(&once, &twice),
            [(6, 6), (3, 3 * 512), (9, 3 * 512 + 6)],
            "{kernel}"
        );
        let last = calls(&once, "H_PUT_TCE_INDIRECT").0;
        let refused = run(1, &["--inject", &format!("indirect:{last}={NO_ROOM}")]);
        let errors = &refused.report["iommu"]["hcall_errors"];
        assert_eq!(
            *errors,
            serde_json::json!({ "H_PUT_TCE_INDIRECT -44": 1 }),
            "{kernel}"
        );
        // More are: the header's mapping; the refused call and the first half again; the undoing of that half, then of the whole range
        // by two calls, then of the header.
        assert_eq!(
            growth(&once, &refused),
            [(1, 1), (2, 512), (4, 512 + 1024 + 1)],
            "{kernel}"
        );
        assert_eq!(in_use(&once), in_use(&refused), "{kernel}: none is left");
        assert_eq!(refused.report["iommu"]["faults_total"], 0, "{kernel}");
    }
}

/// A refusal for want of room is answered by another try, any other by a complaint, a DMA that faults, and another try of the driver's.
/// Neither leaves an entry behind.
#[test]
fn refused_mappings_leave_nothing() {
    let (reads, sizes) = (4, [4096, MIB]);
    for kernel in KERNELS {
        let run = |more: &[&str]| {
            let mut scripted = reader(kernel, "nvme0n1", reads, &sizes);
            scripted.add_words("disable_ddw");
            let args = ["--device", "nvme"];
            read(&scripted, reads, &sizes, &[&args, more].concat())
        };
        let plain = run(&[]);
        let puts = calls(&plain, "H_PUT_TCE").0;
        let batches = calls(&plain, "H_PUT_TCE_INDIRECT").0;
        let refused = run(&[
            "--inject",
            &format!("put:{}={NO_ROOM}", puts - 1),
            "--inject",
            &format!("indirect:{}={NO_ROOM}", batches - 2),
            "--inject",
            &format!("indirect:{batches}={ERROR}"),
        ]);
        let errors = &refused.report["iommu"]["hcall_errors"];
        let wanted = serde_json::json!({
            "H_PUT_TCE -44": 1, "H_PUT_TCE_INDIRECT -44": 1, "H_PUT_TCE_INDIRECT -4": 1
        });
        assert_eq!(*errors, wanted, "{kernel}");
        has(
            &refused,
            "tce_buildmulti_pSeriesLP: plpar_tce_put failed. rc=-4",
        );
        assert_eq!(refused.report["iommu"]["faults_total"], 1, "{kernel}");
        // The page that was refused is cleared, and so are the 256 that the kernel believes to be there. Newer drivers of NVMe map by a
        // function that says so when it fails, and clears the range then; the older one asks for no entry to be cleared.
        let cleared = if refused.log.contains("npages 256") {
            (4, 1 + 256 + 256)
        } else {
            (3, 1 + 256)
        };
        assert_eq!(
            growth(&plain, &refused),
            [(1, 0), (2, 0), cleared],
            "{kernel}"
        );
        assert_eq!(in_use(&plain), in_use(&refused), "{kernel}: none is left");
    }
}
