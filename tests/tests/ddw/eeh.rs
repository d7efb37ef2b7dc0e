//! Error handling: an injected bus error stops the PE, and Linux brings the NVMe disk back with what is on it.

use viommu::guest::initramfs::Initramfs;
use viommu_tests::boot::{Boot, has, run};
use viommu_tests::file;
use viommu_tests::scripted::{PRELUDE, Scripted, named, noise, sha256};

use super::{KERNELS, compile};

const SIZE: usize = 8 << 20;

/// A guest that runs a script and has the program `errinjct`.
pub fn with_errinjct(kernel: &str, script: &str) -> Scripted {
    let guest = named(kernel);
    let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
    let mut archive = Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs");
    archive.add_file("errinjct", 0o755, compile("errinjct"));
    Scripted::with(&guest, archive, &(PRELUDE.to_owned() + script), &[])
}

/// Injects an error (LoPAR's function number), then reads the disk, writes a copy and reads that.
fn recover(kernel: &str, function: u32) -> Boot {
    let script = format!(
        "wait_for nvme0n1
/errinjct 800 800000020000000 {function}
hash() {{ dd if=/dev/nvme0n1 bs=1M count=8 skip=$1 iflag=direct 2>/dev/null | sha256sum; }}
say read $(hash 0)
dd if=/dev/nvme0n1 of=/dev/nvme0n1 bs=1M count=8 seek=8 iflag=direct oflag=direct conv=notrunc,fsync 2>/dev/null
say reread $(hash 8)
"
    );
    let scripted = with_errinjct(kernel, &script);
    let bytes = noise(SIZE);
    let disk = file(
        scripted.folder(),
        "disk.img",
        &[&bytes[..], &vec![0; SIZE]].concat(),
    );
    let boot = run(&scripted.args(&["--ddw", "powervm", "--disk", &disk]), 0);
    let hash = sha256(&bytes);
    has(&boot, &format!("test: read {hash}"));
    has(&boot, &format!("test: reread {hash}"));
    let image = std::fs::read(&disk).unwrap();
    assert_eq!(
        sha256(&image[SIZE..]),
        hash,
        "{kernel}: written after recovery"
    );
    boot
}

fn recovered(kernel: &str, boot: &Boot) {
    has(boot, "EEH: pSeries platform initialized");
    has(boot, "recovery enabled");
    has(boot, "test: errinjct 0");
    assert!(!boot.log.contains("test: FAILED"), "{kernel}: {}", boot.log);
    has(boot, "EEH: Recovery successful.");
    let eeh = &boot.report["eeh"];
    assert_eq!(eeh["freezes"], 1, "{kernel}: {eeh}");
    assert!(eeh["resets"].as_u64() >= Some(1), "{kernel}: {eeh}");
    for call in [
        "ibm,set-eeh-option",
        "ibm,get-config-addr-info2",
        "ibm,read-slot-reset-state2",
        "ibm,set-slot-reset",
        "ibm,slot-error-detail",
        "ibm,configure-pe",
    ] {
        assert!(boot.report["rtas"][call].is_object(), "{kernel}: no {call}");
    }
}

/// The disk's DMA to memory fails once: its command does not end, and the driver's look at the controller finds all ones.
#[test]
fn a_dma_error() {
    for kernel in KERNELS {
        recovered(kernel, &recover(kernel, 16));
    }
}

/// The next store to the controller fails: it does not hear of its new command.
#[test]
fn a_store_error() {
    for kernel in KERNELS {
        recovered(kernel, &recover(kernel, 6));
    }
}
