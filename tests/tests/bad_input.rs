//! A mistake of the user is one clear message and exit status 2.

use std::path::Path;
use std::process::{Command, Stdio};

use viommu_tests::{binary, text};

/// Runs with `args` and demands status 2 and an error that contains `wanted`.
fn refused(args: &[&str], wanted: &str) {
    let output = Command::new(binary())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert!(
        error.contains(wanted),
        "{args:?}: no {wanted:?} in: {error}"
    );
    assert!(!error.contains("panicked"), "{args:?}: {error}");
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A kernel that passes as one: an ELF64 header for PowerPC, big-endian, with one loadable segment of four bytes.
fn kernel() -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0];
    elf.resize(16, 0);
    for half in [2_u16, 21] {
        elf.extend(half.to_be_bytes());
    }
    elf.extend(1_u32.to_be_bytes());
    for word in [0_u64, 64, 0] {
        elf.extend(word.to_be_bytes());
    }
    elf.extend(0_u32.to_be_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_be_bytes());
    }
    elf.extend(1_u32.to_be_bytes());
    elf.extend(7_u32.to_be_bytes());
    for word in [120_u64, 0, 0, 4, 4, 4] {
        elf.extend(word.to_be_bytes());
    }
    elf.extend(0x4800_0000_u32.to_be_bytes());
    elf
}

#[test]
fn kernels() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let missing = at.join("nowhere");
    refused(
        &["boot", "pseries", "--kernel", missing.to_str().unwrap()],
        "nowhere",
    );
    let empty = file(at, "empty", b"");
    refused(&["boot", "pseries", "--kernel", &empty], "kernel");
    let truncated = file(at, "truncated", &kernel()[..100]);
    refused(&["boot", "pseries", "--kernel", &truncated], "kernel");
    let mut x86 = vec![0; 4096];
    x86[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    x86[0x202..0x206].copy_from_slice(b"HdrS");
    let x86 = file(at, "bzImage", &x86);
    refused(&["boot", "pseries", "--kernel", &x86], "x86");
}

#[test]
fn initrds() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let kernel = file(at, "kernel", &kernel());
    refused(
        &[
            "boot", "pseries", "--kernel", &kernel, "--initrd", "/nowhere",
        ],
        "/nowhere",
    );
    let big = at.join("big");
    std::fs::File::create(&big)
        .unwrap()
        .set_len(600 << 20)
        .unwrap();
    let big = big.to_str().unwrap();
    refused(
        &[
            "boot", "pseries", "--kernel", &kernel, "--memory", "512M", "--initrd", big,
        ],
        "fit",
    );
}

#[test]
fn disks() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let kernel = file(at, "kernel", &kernel());
    let boot = |disk: &str, wanted: &str| {
        refused(
            &[
                "boot", "pseries", "--kernel", &kernel, "--device", "nvme", "--disk", disk,
            ],
            wanted,
        )
    };
    boot("/nowhere", "/nowhere");
    boot(&file(at, "zero", b""), "no bytes");
    boot(&file(at, "odd", &[0; 700]), "multiple of 512");
    boot(
        &format!("{},nonsense", file(at, "ok", &[0; 512])),
        "nonsense",
    );
    boot(at.to_str().unwrap(), at.to_str().unwrap());
    // Root may write to a read-only file.
    let locked = file(at, "locked", &[0; 512]);
    let mut permissions = std::fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&locked, permissions).unwrap();
    if std::fs::OpenOptions::new()
        .write(true)
        .open(&locked)
        .is_err()
    {
        boot(&locked, "read-only");
    }
}

#[test]
fn options() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(folder.path(), "kernel", &kernel());
    let boot = |args: &[&str], wanted: &str| {
        let mut all = vec!["boot", "pseries", "--kernel", &kernel];
        all.extend(args);
        refused(&all, wanted);
    };
    boot(&["--device", "floppy"], "floppy");
    boot(&["--nonsense"], "--nonsense");
    boot(&["--cpus", "0"], "vCPUs");
    boot(&["--cpus", "9"], "vCPUs");
    boot(&["--memory", "1X"], "unit");
    boot(&["--memory", "0"], "memory");
    boot(&["--memory", "1048576T"], "memory");
    boot(&["--interactive"], "terminal");
    boot(
        &["--report", "/nowhere/report.json"],
        "/nowhere/report.json",
    );
    refused(&["boot", "toaster"], "toaster");
    refused(&["boot", "pseries", "--guest", "nonsense"], "nonsense");
}
