//! Disks that refuse, fail or fill up while a guest uses them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use viommu_tests::{binary, file};

use super::{Boot, boot, finished, has, tail};
use viommu_tests::scripted::{Scripted, noise, sha256};

const MIB: usize = 1 << 20;

#[test]
fn read_only_disks_are_read_only_for_the_guest() {
    let guest = Scripted::new(
        "for d in nvme0n1 vda; do
  wait_for $d
  say $d ro $(cat /sys/block/$d/ro)
  dd if=/dev/zero of=/dev/$d bs=4096 count=1 oflag=direct conv=notrunc,fsync 2>/dev/null && say $d written || say $d refused
  say $d has $(dd if=/dev/$d bs=1M count=1 iflag=direct 2>/dev/null | sha256sum)
done
",
    );
    let image = noise(MIB);
    let nvme = file(guest.folder(), "nvme.img", &image);
    let virtio = file(guest.folder(), "virtio.img", &image);
    let (nvme_ro, virtio_ro) = (format!("{nvme},ro"), format!("{virtio},ro"));
    let boot = boot(&guest.args(&[
        "--device",
        "nvme",
        "--device",
        "virtio-blk",
        "--disk",
        &nvme_ro,
        "--disk",
        &virtio_ro,
    ]));
    for disk in ["nvme0n1", "vda"] {
        has(&boot, &format!("test: {disk} ro 1"));
        has(&boot, &format!("test: {disk} refused"));
        has(&boot, &format!("test: {disk} has {}", sha256(&image)));
    }
    for path in [nvme, virtio] {
        assert!(std::fs::read(&path).unwrap() == image, "{path} was written");
    }
}

/// Boots, and calls `meddle` with the process's id once the kernel has begun. The process takes a file-size limit as an error of its
/// writes, as it would take a full disk.
fn boot_and_meddle(args: &[&str], folder: &Path, meddle: impl FnOnce(Pid)) -> (Output, Boot) {
    let report = folder.join("report.json");
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(binary())
        .args(["boot", "pseries", "--report"])
        .arg(&report)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut console = BufReader::new(child.stdout.take().unwrap());
    let mut log = Vec::new();
    while !log.ends_with(b"\n") || !String::from_utf8_lossy(&log).contains("Linux version") {
        assert_ne!(console.read_until(b'\n', &mut log).unwrap(), 0, "no kernel");
    }
    meddle(Pid::from_child(&child));
    console.read_to_end(&mut log).unwrap();
    let mut output = child.wait_with_output().unwrap();
    output.stdout = log;
    let boot = finished(&output, &report);
    (output, boot)
}

/// The host's disk fills up: from 8 MiB on, writes fail. The guest sees that, and what was acknowledged before is in the image.
#[test]
fn a_full_host_disk_fails_writes_and_loses_nothing() {
    const BLOCKS: usize = 12;
    const ROOM: usize = 8;
    let guest = Scripted::new(&format!(
        "for d in nvme0n1 vda; do
  wait_for $d
  i=0
  while [ $i -lt {BLOCKS} ]; do
    dd if=/dev/$d of=/tmp/block bs=1M skip=$((i + 16)) count=1 2>/dev/null
    dd if=/tmp/block of=/dev/$d bs=1M seek=$i count=1 oflag=direct conv=notrunc,fsync 2>/dev/null \
      && say $d wrote $i || say $d failed $i
    i=$((i + 1))
  done
  dd if=/dev/$d of=/dev/null bs=1M iflag=direct 2>/dev/null && say $d reads
done
",
    ));
    // Nothing in the first half; in the second half what the guest copies.
    let data = noise(16 * MIB);
    let images = ["nvme.img", "virtio.img"].map(|name| {
        let path = guest.folder().join(name);
        let image = File::create(&path).unwrap();
        image.set_len(32 * MIB as u64).unwrap();
        image.write_all_at(&data, 16 * MIB as u64).unwrap();
        path
    });
    let [nvme, virtio] = images.each_ref().map(|path| path.to_str().unwrap());
    let args = guest.args(&[
        "--device",
        "nvme",
        "--device",
        "virtio-blk",
        "--disk",
        nvme,
        "--disk",
        virtio,
    ]);
    let (output, boot) = boot_and_meddle(&args, guest.folder(), |process| {
        let limit = Some((ROOM * MIB) as u64);
        let limit = Rlimit {
            current: limit,
            maximum: limit,
        };
        prlimit(Some(process), Resource::Fsize, limit).unwrap();
    });
    assert_eq!(output.status.code(), Some(0), "{}", tail(&boot.log));
    has(&boot, "viommu-init: done");
    for (disk, path) in ["nvme0n1", "vda"].iter().zip(&images) {
        let image = std::fs::read(path).unwrap();
        for block in 0..BLOCKS {
            let at = block * MIB..(block + 1) * MIB;
            if block < ROOM {
                has(&boot, &format!("test: {disk} wrote {block}\r"));
                assert!(
                    image[at.clone()] == data[at],
                    "{disk}: block {block} is lost"
                );
            } else {
                has(&boot, &format!("test: {disk} failed {block}\r"));
            }
        }
        has(
            &boot,
            &format!("error, dev {disk}, sector 16384 op 0x1:(WRITE)"),
        );
        has(&boot, &format!("test: {disk} reads"));
    }
}

/// The image shrinks under the machine: reads fail, the guest says so, and the run has failed.
#[test]
fn a_failing_image_fails_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let image = file(folder.path(), "disk.img", &noise(64 * MIB));
    let (output, boot) = boot_and_meddle(&["--disk", &image], folder.path(), |_| {
        let file = File::options().write(true).open(&image).unwrap();
        file.set_len(8 * MIB as u64).unwrap();
    });
    assert_eq!(output.status.code(), Some(1), "{}", tail(&boot.log));
    for wanted in [
        "medium error, dev nvme0n1, sector 16384 op 0x0:(READ)",
        "viommu-init: FAILED read nvme0n1",
        "the guest switched the machine off",
        "FAIL guest's read of the disk: the guest did not report it",
        "viommu: a check did not hold",
    ] {
        has(&boot, wanted);
    }
    assert_eq!(boot.report["checks"][0]["ok"], false);
}
