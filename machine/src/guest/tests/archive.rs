//! Fetching from a small signed archive that the test itself makes: what is accepted, and what is refused. Needs apt and gpg, no network.

use super::super::apt::Packages;
use super::super::catalogue::{Guest, fetch_into};
use super::super::{GuestError, apt};
use super::{ar, module};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const KERNEL: &str = "linux-image-6.12.0-powerpc64le";
const POOL: &str = "pool/main";

/// An archive with its keys, and a cache to fetch into.
struct Archive {
    folder: TempDir,
}

/// A package of the archive: name, architecture, `Depends:` and files.
type Package<'a> = (&'a str, &'a str, &'a str, Vec<(&'a str, Vec<u8>)>);

/// A package file of these files.
fn package(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    ar("data.tar", &tar.into_inner().unwrap())
}

impl Archive {
    fn new() -> Archive {
        let folder = tempfile::tempdir().unwrap();
        for name in ["gnupg", "cache", "debian"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Archive { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--yes", "--no-tty"])
            .args(["--pinentry-mode", "loopback", "--passphrase", ""])
            .arg("--homedir")
            .arg(self.path("gnupg"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect(
                "this test needs gpg: install Debian's package gpg, or your system's equivalent",
            );
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {error}");
        output.stdout
    }

    /// Makes a key for each name.
    fn keys(&self, names: &[&str]) {
        for name in names {
            self.gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"]);
        }
    }

    /// A keyring with the keys of these names.
    fn keyring(&self, names: &[&str]) -> PathBuf {
        let path = self.path(&format!("{}.gpg", names.join("-")));
        let mut args = vec!["--export"];
        args.extend(names);
        fs::write(&path, self.gpg(&args)).unwrap();
        path
    }

    /// Puts a suite of these packages into the archive, signed by `key`.
    fn suite(&self, suite: &str, key: &str, packages: &[Package<'_>]) {
        let root = self.path("debian");
        let lists = root.join(format!("dists/{suite}/main/binary-ppc64el"));
        fs::create_dir_all(&lists).unwrap();
        fs::create_dir_all(root.join(POOL)).unwrap();
        // apt must take what a backports suite has although its release has something later.
        let version = if suite.ends_with("-backports") { 1 } else { 2 };
        let mut list = String::new();
        for (name, arch, depends, files) in packages {
            let file = format!("{POOL}/{name}_{version}_{suite}_{arch}.deb");
            fs::write(root.join(&file), package(files)).unwrap();
            list += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: A <a@example.invalid>\nDescription: test\n{}\
                 Filename: {file}\nSize: {}\nSHA256: {}\n\n",
                if depends.is_empty() {
                    String::new()
                } else {
                    format!("Depends: {depends}\n")
                },
                fs::metadata(root.join(&file)).unwrap().len(),
                apt::sha256_file(&root.join(&file)).unwrap()
            );
        }
        fs::write(lists.join("Packages"), &list).unwrap();
        let hash = apt::sha256_file(&lists.join("Packages")).unwrap();
        let release = self.path(&format!("debian/dists/{suite}/Release"));
        let text = format!(
            "Suite: {suite}\nCodename: {suite}\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nArchitectures: ppc64el\nComponents: main\n\
             SHA256:\n {hash} {} main/binary-ppc64el/Packages\n",
            list.len()
        );
        fs::write(&release, text).unwrap();
        let signed = self.path(&format!("debian/dists/{suite}/InRelease"));
        let (release, signed) = (release.to_str().unwrap(), signed.to_str().unwrap());
        self.gpg(&[
            "--local-user",
            key,
            "--output",
            signed,
            "--clearsign",
            release,
        ]);
    }

    /// As [`Archive::suite`], with all that a guest is made of; the kernel's bytes are the suite's name.
    fn guest_suite(&self, suite: &str, key: &str) {
        let modules = "lib/modules/6.12.0/kernel/drivers";
        let nvme = format!("{modules}/nvme/host/nvme.ko");
        let virtio = format!("{modules}/block/virtio_blk.ko");
        let kernel = vec![
            ("boot/vmlinux-6.12.0", suite.as_bytes().to_vec()),
            (nvme.as_str(), module(&["depends="])),
            (virtio.as_str(), module(&["depends="])),
        ];
        let busybox = vec![("usr/bin/busybox", b"a program".to_vec())];
        self.suite(
            suite,
            key,
            &[
                ("linux-image-powerpc64le", "ppc64el", KERNEL, Vec::new()),
                (KERNEL, "ppc64el", "", kernel),
                ("busybox-static", "ppc64el", "", busybox),
            ],
        );
    }

    /// The same kernel in the parts that Debian 14 makes of it.
    fn divided_guest_suite(&self, suite: &str, key: &str) {
        let (binary, modules) = ("linux-binary-6.12.0", "linux-modules-6.12.0");
        let at = "usr/lib/modules/6.12.0";
        let kernel = format!("{at}/vmlinuz");
        let nvme = format!("{at}/kernel/drivers/nvme/host/nvme.ko");
        let virtio = format!("{at}/kernel/drivers/block/virtio_blk.ko");
        let parts = vec![
            (nvme.as_str(), module(&["depends="])),
            (virtio.as_str(), module(&["depends="])),
        ];
        let depends = format!("initramfs-tools | dracut, {binary} (= 2), {modules}");
        let busybox = vec![("usr/bin/busybox", b"a program".to_vec())];
        let kernel = vec![(kernel.as_str(), suite.as_bytes().to_vec())];
        self.suite(
            suite,
            key,
            &[
                ("linux-image-powerpc64le", "ppc64el", KERNEL, Vec::new()),
                (KERNEL, "ppc64el", &depends, Vec::new()),
                (binary, "ppc64el", "", kernel),
                (modules, "ppc64el", "", parts),
                ("busybox-static", "ppc64el", "", busybox),
            ],
        );
    }

    /// Fetches the default guest by a host that trusts `keyring`.
    fn fetch(&self, keyring: &Path) -> Result<Guest, GuestError> {
        let uri = format!("file://{}", self.path("debian").display());
        let open = |cache: &Path| Packages::of(cache, uri, keyring.to_owned(), String::new());
        fetch_into(&self.path("cache"), "debian-6.12", open, &mut |_, _, _| ())
    }

    /// Demands that fetching fails with one of these words and leaves no guest behind.
    fn refuses(&self, keyring: &Path, words: &[&str]) {
        let error = self.fetch(keyring).unwrap_err().to_string();
        assert!(words.iter().any(|w| error.contains(w)), "{error}");
        assert!(!self.path("cache/guests/debian-6.12").exists());
    }

    /// Changes one byte of a file in the archive that comes after `mark`.
    fn tamper(&self, name: &str, mark: &str) {
        let path = self.path("debian").join(name);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes
            .windows(mark.len())
            .position(|w| w == mark.as_bytes())
            .unwrap();
        bytes[at + mark.len()] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // gpg leaves a process behind for each home folder.
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.path("gnupg"))
            .args(["--kill", "all"])
            .status();
    }
}

#[test]
fn a_signed_archive_is_fetched_once() {
    let archive = Archive::new();
    archive.keys(&["debian"]);
    archive.guest_suite("trixie", "debian");
    let keyring = archive.keyring(&["debian"]);
    let guest = archive.fetch(&keyring).unwrap();
    assert_eq!(
        (guest.suite.as_str(), guest.release.as_str()),
        ("trixie", "6.12.0")
    );
    assert_eq!(fs::read(&guest.kernel).unwrap(), b"trixie");
    fs::remove_dir_all(archive.path("debian")).unwrap();
    assert_eq!(archive.fetch(&keyring).unwrap(), guest, "from the cache");
    fs::write(&guest.kernel, b"changed").unwrap();
    assert!(
        archive.fetch(&keyring).is_err(),
        "a changed file is not used"
    );
}

#[test]
fn a_divided_kernel_is_put_together() {
    let archive = Archive::new();
    archive.keys(&["debian"]);
    archive.divided_guest_suite("trixie", "debian");
    let guest = archive.fetch(&archive.keyring(&["debian"])).unwrap();
    assert_eq!(guest.release, "6.12.0");
    assert_eq!(fs::read(&guest.kernel).unwrap(), b"trixie");
    let names = fs::read(&guest.initrd).unwrap();
    for module in ["00-nvme.ko", "01-virtio_blk.ko"] {
        let found = names.windows(module.len()).any(|w| w == module.as_bytes());
        assert!(found, "no {module} in the initramfs");
    }
}

#[test]
fn a_wrong_signature_is_refused() {
    let archive = Archive::new();
    archive.keys(&["debian", "stranger"]);
    for suite in ["trixie", "bookworm", "bookworm-backports"] {
        archive.guest_suite(suite, "stranger");
    }
    let keyring = archive.keyring(&["debian"]);
    archive.refuses(&keyring, &["NO_PUBKEY", "Missing key"]);
    // A signed file that was changed afterwards.
    archive.guest_suite("trixie", "debian");
    archive.tamper("dists/trixie/InRelease", "Date: ");
    archive.refuses(&keyring, &["not signed", "BADSIG", "invalid"]);
    // No signature at all.
    fs::remove_file(archive.path("debian/dists/trixie/InRelease")).unwrap();
    archive.refuses(&keyring, &["not signed"]);
}

#[test]
fn a_tampered_list_is_refused() {
    let archive = Archive::new();
    archive.keys(&["debian"]);
    archive.guest_suite("trixie", "debian");
    archive.tamper("dists/trixie/main/binary-ppc64el/Packages", "SHA256: ");
    archive.refuses(&archive.keyring(&["debian"]), &["Hash Sum mismatch"]);
}

#[test]
fn a_tampered_package_is_refused() {
    let archive = Archive::new();
    archive.keys(&["debian"]);
    archive.guest_suite("trixie", "debian");
    let package = format!("{POOL}/{KERNEL}_2_trixie_ppc64el.deb");
    archive.tamper(&package, "data.tar");
    archive.refuses(
        &archive.keyring(&["debian"]),
        &["Hash Sum mismatch", "wrong hash"],
    );
}

#[test]
fn the_second_suite_serves_while_the_first_is_broken() {
    let archive = Archive::new();
    archive.keys(&["debian"]);
    let keyring = archive.keyring(&["debian"]);
    archive.guest_suite("trixie", "debian");
    archive.tamper("dists/trixie/main/binary-ppc64el/Packages", "SHA256: ");
    // A backports suite has only what it adds to its release.
    archive.guest_suite("bookworm", "debian");
    archive.guest_suite("bookworm-backports", "debian");
    let guest = archive.fetch(&keyring).unwrap();
    assert_eq!(guest.suite, "bookworm-backports");
    assert_eq!(fs::read(&guest.kernel).unwrap(), b"bookworm-backports");
}

#[test]
fn the_second_suite_serves_while_the_first_lacks_a_package() {
    let archive = Archive::new();
    archive.keys(&["debian"]);
    let keyring = archive.keyring(&["debian"]);
    archive.guest_suite("trixie", "debian");
    let package = archive.path(&format!("debian/{POOL}/{KERNEL}_2_trixie_ppc64el.deb"));
    fs::remove_file(package).unwrap();
    archive.refuses(&keyring, &["No such file"]);
    archive.guest_suite("bookworm", "debian");
    archive.guest_suite("bookworm-backports", "debian");
    let guest = archive.fetch(&keyring).unwrap();
    assert_eq!(guest.suite, "bookworm-backports");
    assert_eq!(fs::read(&guest.kernel).unwrap(), b"bookworm-backports");
}

#[test]
fn an_older_keyring_gets_the_newer_one_first() {
    let archive = Archive::new();
    archive.keys(&["old", "new", "stranger"]);
    let old = archive.keyring(&["old"]);
    let both = fs::read(archive.keyring(&["old", "new"])).unwrap();
    let file = "usr/share/keyrings/debian-archive-keyring.gpg";
    let keyring = [("debian-archive-keyring", "all", "", vec![(file, both)])];
    archive.guest_suite("trixie", "new");
    archive.refuses(&old, &["bookworm"]);
    archive.suite("bookworm", "old", &keyring);
    assert_eq!(archive.fetch(&old).unwrap().suite, "trixie");
    // What was learned with one keyring is of no use to whoever trusts another.
    fs::remove_dir_all(archive.path("cache/guests")).unwrap();
    fs::remove_dir_all(archive.path("cache/apt/trixie-ppc64el")).unwrap();
    let stranger = archive.keyring(&["stranger"]);
    archive.refuses(&stranger, &["NO_PUBKEY", "Missing key"]);
}
