//! A mistake of the user is one clear message and exit status 2.

use std::path::Path;
use std::process::{Command, Stdio};

use viommu_tests::bare::{self, Bare};
use viommu_tests::{binary, file, text};

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

/// A kernel that passes as one: a branch to itself.
fn kernel() -> Vec<u8> {
    bare::elf(&0x4800_0000_u32.to_be_bytes())
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
}

/// Root may write to any file, so that this runs as somebody else then.
#[test]
fn read_only_disk() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode));
    mode(at, 0o755).unwrap();
    // The build folder may be closed to others.
    let program = at.join("viommu");
    std::fs::copy(binary(), &program).unwrap();
    let mut kernel = Bare::default();
    kernel.power_off();
    let kernel = file(at, "kernel", &kernel.kernel());
    let disk = file(at, "locked", &[0; 512]);
    mode(disk.as_ref(), 0o444).unwrap();
    let run = |disk: &str| {
        let mut command = Command::new(&program);
        command
            .args(["boot", "pseries", "--kernel", &kernel, "--disk", disk])
            .current_dir(at);
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().unwrap()
    };
    let output = run(&disk);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("locked is read-only; open it"), "{error}");
    // What the message recommends works.
    let status = |option: &str| run(&format!("{disk},{option}")).status.code();
    assert_eq!(status("ro"), Some(0));
    assert_eq!(status("snapshot"), Some(0));
}

/// Without apt nothing can be fetched, and the message says what to give instead.
#[test]
fn no_apt() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["boot", "pseries"][..], &["guest", "fetch", "debian-6.12"]] {
        let output = Command::new(binary())
            .args(args)
            .env("PATH", folder.path())
            .env("VIOMMU_CACHE", folder.path())
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for wanted in ["no apt-get", "--kernel FILE", "--initrd FILE"] {
            assert!(
                error.contains(wanted),
                "{args:?}: no {wanted:?} in: {error}"
            );
        }
    }
}

/// An archive or a keyring that is not there.
#[test]
fn no_archive() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = file(folder.path(), "keyring.gpg", b"");
    let fetch = |mirror: &str, keyring: &str, wanted: &str| {
        let output = Command::new(binary())
            .args(["guest", "fetch", "debian-6.1"])
            .env("VIOMMU_CACHE", folder.path().join("cache"))
            .env("VIOMMU_DEBIAN_MIRROR", mirror)
            .env("VIOMMU_DEBIAN_KEYRING", keyring)
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(wanted), "no {wanted:?} in: {error}");
    };
    fetch(
        "file:///nowhere/debian",
        "/nowhere.gpg",
        "keyring /nowhere.gpg is missing",
    );
    fetch("file:///nowhere/debian", &keyring, "file:/nowhere/debian");
    let path = Command::new(binary())
        .args(["guest", "path", "debian-6.1"])
        .env("VIOMMU_CACHE", folder.path().join("cache"))
        .output()
        .unwrap();
    assert_eq!(path.status.code(), Some(2));
    assert!(text(&path.stderr).contains("viommu guest fetch debian-6.1"));
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
    boot(&["--ddw", "hyperv"], "no personality is called 'hyperv'");
    boot(&["--ddw", "windows=0"], "windows=0: it must be 1 to 16");
    boot(&["--ddw", "powervm,pages=8K"], "pages=8K: it must be sizes");
    boot(&["--inject", "create:0=-1"], "calls count from 1");
    boot(&["--inject", "create=-1"], "is not CALL:N=STATUS");
    boot(&["--inject", "create:1=-1", "--no-ddw"], "--no-ddw");
    boot(&["--interactive"], "terminal");
    boot(
        &["--report", "/nowhere/report.json"],
        "/nowhere/report.json",
    );
    refused(&["boot", "toaster"], "toaster");
    refused(&["boot", "pseries", "--guest", "nonsense"], "nonsense");
}

/// A bzImage whose payload is `payload`: two sectors of header, code, and the packed kernel. Linux, Documentation/arch/x86/boot.rst.
fn bz_image(payload: &[u8]) -> Vec<u8> {
    const CODE: u32 = 0x300;
    let mut image = vec![0; 1024 + CODE as usize];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    image[0x211] = 1;
    image[0x236] = 1;
    image[0x248..0x24c].copy_from_slice(&CODE.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend(payload);
    image
}

#[test]
fn kernels_of_the_pc() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let boot = |name: &str, bytes: &[u8], wanted: &str| {
        let kernel = file(at, name, bytes);
        refused(&["boot", "pc", "--kernel", &kernel], wanted);
    };
    boot("power", &kernel(), "wrong architecture: 64-bit PowerPC");
    boot("empty", b"", "kernel");
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0xff; 64]].concat();
    boot("corrupt", &bz_image(&zstd), "(zstd) cannot be unpacked");
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &[0; 64]].concat();
    boot("gzip", &bz_image(&gzip), "(gzip) cannot be unpacked");
    let whole = bz_image(&zstd);
    boot("truncated", &whole[..whole.len() - 8], "truncated");
    // What its payload unpacks to is a kernel of another machine.
    let lz4 = stored_in_lz4(&kernel());
    boot("foreign", &bz_image(&lz4), "wrong architecture");
}

/// The kernel's old LZ4 form with one block of literals, and the unpacked size at the end as the kernel's build appends it.
fn stored_in_lz4(bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0xf0];
    let mut rest = bytes.len() - 15;
    while rest >= 255 {
        block.push(255);
        rest -= 255;
    }
    block.push(rest as u8);
    block.extend(bytes);
    let mut out = vec![0x02, 0x21, 0x4c, 0x18];
    out.extend((block.len() as u32).to_le_bytes());
    out.extend(block);
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

#[test]
fn more_devices_than_slots() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(folder.path(), "kernel", &bz_image(&[0; 64]));
    let mut args = vec!["boot", "pc", "--kernel", &kernel];
    args.extend(std::iter::repeat_n(["--device", "edu"], 32).flatten());
    refused(&args, "32 devices: the host bridge has 31 slots");
}
