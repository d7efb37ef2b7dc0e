//! The guests that have names, and the cache that keeps them.

use super::apt::{Packages, hex, sha256_file};
use super::initramfs::{INIT, Initramfs, Node};
use super::modules::{Modules, module_name};
use super::{GuestError, Progress, apt, at, cache_folder, deb, malformed};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The processor that a guest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// POWER, little-endian: for the pseries machine.
    Ppc64el,
    /// x86-64: for the PC.
    Amd64,
}

impl Arch {
    /// Debian's name of it.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Ppc64el => "ppc64el",
            Arch::Amd64 => "amd64",
        }
    }

    /// The machine's name on the command line.
    pub fn machine(self) -> &'static str {
        match self {
            Arch::Ppc64el => "pseries",
            Arch::Amd64 => "pc",
        }
    }

    /// The guest of this machine that is taken if none is named.
    pub fn default_guest(self) -> &'static str {
        match self {
            Arch::Ppc64el => DEFAULT,
            Arch::Amd64 => "debian-6.12-amd64",
        }
    }

    /// Name of the kernel's file in the cache.
    fn kernel_file(self) -> &'static str {
        match self {
            Arch::Ppc64el => "vmlinux",
            Arch::Amd64 => "vmlinuz",
        }
    }
}

/// A guest that can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The name to use on the command line.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The processor that it is for.
    pub arch: Arch,
    /// Page size of its kernel in KiB.
    pub page_kib: u32,
    /// Debian suites that have it, the best first. The others serve while a mirror is being changed and the first cannot be had.
    suites: &'static [&'static str],
    /// The package that depends on the newest kernel of this flavour.
    meta: &'static str,
}

/// The guest of the pseries machine that is taken if none is named.
pub const DEFAULT: &str = "debian-6.12";
/// Raised when the form of the cached files changes.
const FORMAT: u32 = 2;
/// Packages that a kernel's own package may be divided into begin so.
const KERNEL_PARTS: [&str; 2] = ["linux-binary-", "linux-modules-"];
/// Modules to load, where the kernel does not have them built in. The checksum modules stand for `request_module` calls of Linux 6.1, which
/// has no modprobe to run here.
const MODULES: [&str; 5] = [
    "crct10dif_generic",
    "crc64_rocksoft_generic",
    "nvme",
    "virtio_pci",
    "virtio_blk",
];
/// Those without which a guest is of no use.
const NEEDED: [&str; 2] = ["nvme", "virtio_blk"];
/// Folders of a kernel's module tree in which the modules above and their dependencies lie.
const MODULE_FOLDERS: [&str; 6] = [
    "kernel/crypto/",
    "kernel/lib/",
    "kernel/block/",
    "kernel/drivers/nvme/",
    "kernel/drivers/virtio/",
    "kernel/drivers/block/",
];

const ENTRIES: [Entry; 7] = [
    Entry {
        name: "debian-6.12",
        about: "Debian 13, Linux 6.12, 4 KiB pages",
        arch: Arch::Ppc64el,
        page_kib: 4,
        suites: &["trixie", "bookworm-backports"],
        meta: "linux-image-powerpc64le",
    },
    Entry {
        name: "debian-6.12-64k",
        about: "Debian 13, Linux 6.12, 64 KiB pages",
        arch: Arch::Ppc64el,
        page_kib: 64,
        suites: &["trixie", "bookworm-backports"],
        meta: "linux-image-powerpc64le-64k",
    },
    Entry {
        name: "debian-6.1",
        about: "Debian 12, Linux 6.1, 64 KiB pages",
        arch: Arch::Ppc64el,
        page_kib: 64,
        suites: &["bookworm"],
        meta: "linux-image-powerpc64le",
    },
    Entry {
        name: "debian-newest",
        about: "Debian's newest Linux, 4 KiB pages",
        arch: Arch::Ppc64el,
        page_kib: 4,
        suites: &["forky", "trixie-backports", "trixie"],
        meta: "linux-image-powerpc64le",
    },
    Entry {
        name: "debian-newest-64k",
        about: "Debian's newest Linux, 64 KiB pages",
        arch: Arch::Ppc64el,
        page_kib: 64,
        suites: &["forky", "trixie-backports", "trixie"],
        meta: "linux-image-powerpc64le-64k",
    },
    Entry {
        name: "debian-6.12-amd64",
        about: "Debian 13, Linux 6.12, for the PC",
        arch: Arch::Amd64,
        page_kib: 4,
        suites: &["trixie", "bookworm-backports"],
        meta: "linux-image-amd64",
    },
    Entry {
        name: "debian-6.1-amd64",
        about: "Debian 12, Linux 6.1, for the PC",
        arch: Arch::Amd64,
        page_kib: 4,
        suites: &["bookworm"],
        meta: "linux-image-amd64",
    },
];

/// A guest in the cache, ready to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// The kernel: an ELF64 file, or a bzImage for the PC.
    pub kernel: PathBuf,
    /// The initramfs: an uncompressed cpio archive.
    pub initrd: PathBuf,
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// The Debian suite that it came from.
    pub suite: String,
}

/// What the cache knows about a guest, in `manifest.json` beside its files.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    release: String,
    suite: String,
    init: String,
    packages: Vec<String>,
    sha256: BTreeMap<String, String>,
}

/// All guests that have names.
pub fn list() -> &'static [Entry] {
    &ENTRIES
}

/// The guest called `name`.
///
/// # Errors
/// [`GuestError::UnknownGuest`].
pub fn entry(name: &str) -> Result<&'static Entry, GuestError> {
    ENTRIES
        .iter()
        .find(|e| e.name == name)
        .ok_or_else(|| GuestError::UnknownGuest {
            name: name.to_string(),
            known: ENTRIES.map(|e| e.name).join(", "),
        })
}

/// The folder of the guest called `name` in the cache; it need not exist.
///
/// # Errors
/// There is no guest of that name or no place for a cache.
pub fn path(name: &str) -> Result<PathBuf, GuestError> {
    Ok(cache_folder()?.join("guests").join(entry(name)?.name))
}

/// The guest called `name` if it is in the cache, whole and made by this version of the program.
///
/// # Errors
/// [`GuestError::NotFetched`] if not; also for files whose hash is not the recorded one.
pub fn cached(name: &str) -> Result<Guest, GuestError> {
    let folder = path(name)?;
    load(name, &folder).ok_or_else(|| GuestError::NotFetched(name.to_string()))
}

fn load(name: &str, folder: &Path) -> Option<Guest> {
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(folder.join("manifest.json")).ok()?).ok()?;
    if manifest.format != FORMAT || manifest.init != init_hash() {
        return None;
    }
    let kernel = entry(name).ok()?.arch.kernel_file();
    for file in [kernel, "initrd.cpio"] {
        let recorded = manifest.sha256.get(file)?;
        if sha256_file(&folder.join(file)).ok()? != *recorded {
            log::warn!("{}: changed since it was made", folder.join(file).display());
            return None;
        }
    }
    Some(Guest {
        name: name.to_string(),
        kernel: folder.join(kernel),
        initrd: folder.join("initrd.cpio"),
        release: manifest.release,
        suite: manifest.suite,
    })
}

fn init_hash() -> String {
    hex(&Sha256::digest(INIT.as_bytes()))
}

/// The guest called `name`: from the cache if it is there, else downloaded, unpacked and put together. Several processes may do this at
/// once; one does the work and the others wait for it.
///
/// # Errors
/// No such guest, or any step fails; the cache is then as it was.
pub fn fetch(name: &str, progress: Progress<'_>) -> Result<Guest, GuestError> {
    fetch_into(&cache_folder()?, name, Packages::open, progress)
}

/// As [`fetch`], with the cache folder and the archive given; the archive is opened only if it is needed.
pub(super) fn fetch_into(
    cache: &Path,
    name: &str,
    open: impl FnOnce(&Path) -> Result<Packages, GuestError>,
    progress: Progress<'_>,
) -> Result<Guest, GuestError> {
    let entry = entry(name)?;
    let guests = cache.join("guests");
    let folder = guests.join(name);
    if let Some(guest) = load(name, &folder) {
        return Ok(guest);
    }
    fs::create_dir_all(&guests).map_err(at(&guests))?;
    let lock_file = guests.join(format!("{name}.lock"));
    let lock = File::create(&lock_file).map_err(at(&lock_file))?;
    lock.lock().map_err(at(&lock_file))?;
    if let Some(guest) = load(name, &folder) {
        return Ok(guest);
    }
    let packages = open(cache)?;
    let (suite, debs) = first_whole(&packages, entry, progress)?;
    let Some((busybox_deb, kernel_debs)) = debs.split_first() else {
        return Err(malformed(cache, "apt gave no packages"));
    };
    progress("unpacking", 0, 0);
    let parts = Parts::unpack(kernel_debs, busybox_deb)?;
    let stage = tempfile::tempdir_in(&guests).map_err(at(&guests))?;
    parts.write(stage.path(), entry.arch, suite, &debs)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    fs::rename(stage.keep(), &folder).map_err(at(&folder))?;
    load(name, &folder).ok_or_else(|| malformed(&folder, "could not be read back"))
}

/// The first suite of `entry` of which everything can be had, and its packages: busybox, then the kernel's. A mirror that is being
/// changed may lack lists, or packages that its lists name.
fn first_whole(
    packages: &Packages,
    entry: &Entry,
    progress: Progress<'_>,
) -> Result<(&'static str, Vec<PathBuf>), GuestError> {
    let mut first = None;
    for &suite in entry.suites {
        match fetch_packages(packages, entry, suite, progress) {
            Ok(debs) => return Ok((suite, debs)),
            Err(error) => {
                log::warn!("{} cannot be had from {suite}: {error}", entry.name);
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(GuestError::NoMirror))
}

fn fetch_packages(
    packages: &Packages,
    entry: &Entry,
    suite: &str,
    progress: Progress<'_>,
) -> Result<Vec<PathBuf>, GuestError> {
    let arch = entry.arch.debian();
    let kernel = packages.resolve(entry.meta, "linux-image-", suite, arch, progress)?;
    // Since Debian 14 a kernel's package is empty and depends on others that hold its parts.
    let parts_of_kernel = packages
        .dependencies(&kernel, suite, arch, progress)?
        .into_iter()
        .filter(|name| KERNEL_PARTS.iter().any(|part| name.starts_with(part)));
    let mut names = vec!["busybox-static".to_owned(), kernel.clone()];
    names.extend(parts_of_kernel);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    packages.fetch(&names, suite, arch, progress)
}

/// The Debian userland of `names` and all they depend on, unpacked and added to the guest's initramfs: for tests that run dynamically
/// linked programs. The suite is the guest's own. Gives the archive; nothing is cached but the packages.
///
/// # Errors
/// As [`fetch`].
pub fn with_userland(
    guest: &Guest,
    names: &[&str],
    progress: Progress<'_>,
) -> Result<Initramfs, GuestError> {
    let arch = entry(&guest.name)?.arch.debian();
    let packages = Packages::open(&cache_folder()?)?;
    let mut archive = read_initrd(&guest.initrd)?;
    let debs = packages.fetch_with_dependencies(names, &guest.suite, arch, progress)?;
    for package in debs {
        let skip = |name: &str| {
            name.starts_with("usr/share/doc")
                || name.starts_with("usr/share/man")
                || name.starts_with("usr/share/locale")
                || name.starts_with("usr/share/info")
        };
        archive.merge(deb::tree(&package, |name| !skip(name))?);
    }
    Ok(archive)
}

/// Modules of the guest's kernel, `names` and all they depend on, uncompressed and in loading order: for tests of other drivers than the
/// guest loads by itself. Those that are built in or absent are an error.
///
/// # Errors
/// As [`fetch`]; also if the kernel has no such module.
pub fn modules(
    guest: &Guest,
    names: &[&str],
    progress: Progress<'_>,
) -> Result<Vec<(String, Vec<u8>)>, GuestError> {
    let arch = entry(&guest.name)?.arch.debian();
    let manifest = path(&guest.name)?.join("manifest.json");
    let text = fs::read(&manifest).map_err(at(&manifest))?;
    let read: Manifest =
        serde_json::from_slice(&text).map_err(|e| malformed(&manifest, e.to_string()))?;
    let cache = cache_folder()?;
    let mut all = Modules::default();
    for (file, hash) in read
        .packages
        .iter()
        .filter_map(|p| p.split_once(" sha256:"))
    {
        let package = file.split('_').next().unwrap_or_default();
        if !package.starts_with("linux-") {
            continue;
        }
        let mut deb = cache.join("debs").join(file);
        if !sha256_file(&deb).is_ok_and(|h| h == hash) {
            let packages = Packages::open(&cache)?;
            let mut fetched = packages.fetch(&[package], &guest.suite, arch, progress)?;
            deb = fetched.pop().unwrap_or(deb);
        }
        let is_module =
            |name: &str| in_module_folder(name).is_some_and(|(_, i)| module_name(i).is_some());
        for (name, node) in deb::tree(&deb, is_module)? {
            if let Node::File { data, .. } = node {
                all.add(&name, data);
            }
        }
    }
    all.in_order(names)
        .map_err(|e| malformed(&manifest, e.to_string()))
}

/// Reads back an archive that [`Initramfs::write`] made.
fn read_initrd(path: &Path) -> Result<Initramfs, GuestError> {
    let file = File::open(path).map_err(at(path))?;
    Initramfs::read(std::io::BufReader::new(file)).map_err(at(path))
}

/// What a guest is made of, in memory.
struct Parts {
    release: String,
    kernel: Vec<u8>,
    initramfs: Initramfs,
}

impl Parts {
    fn unpack(kernel_debs: &[PathBuf], busybox_deb: &Path) -> Result<Parts, GuestError> {
        let mut modules = Modules::default();
        let mut kernel = None;
        let kernel_deb = kernel_debs.first().map_or(busybox_deb, PathBuf::as_path);
        for package in kernel_debs {
            for (name, node) in deb::tree(package, wanted_of_kernel)? {
                let Node::File { data, .. } = node else {
                    continue;
                };
                match release_of_kernel(&name) {
                    Some(release) => kernel = Some((release.to_string(), data)),
                    None => modules.add(&name, data),
                }
            }
        }
        let (release, kernel) =
            kernel.ok_or_else(|| malformed(kernel_deb, "no kernel in it or its parts"))?;
        let wanted: Vec<&str> = MODULES
            .into_iter()
            .filter(|m| NEEDED.contains(m) || modules.has(m))
            .collect();
        let modules = modules
            .in_order(&wanted)
            .map_err(|e| malformed(kernel_deb, e.to_string()))?;
        let is_busybox = |name: &str| name == "bin/busybox" || name == "usr/bin/busybox";
        let busybox = deb::tree(busybox_deb, is_busybox)?
            .into_values()
            .find_map(|node| match node {
                Node::File { data, .. } => Some(data),
                _ => None,
            })
            .ok_or_else(|| malformed(busybox_deb, "no busybox in it"))?;
        Ok(Parts {
            release,
            kernel,
            initramfs: Initramfs::check_guest(&busybox, &modules),
        })
    }

    fn write(
        &self,
        folder: &Path,
        arch: Arch,
        suite: &str,
        debs: &[PathBuf],
    ) -> Result<(), GuestError> {
        let put = |name: &str, data: &[u8]| {
            let path = folder.join(name);
            let mut file = File::create(&path).map_err(at(&path))?;
            file.write_all(data).map_err(at(&path))?;
            file.sync_all().map_err(at(&path))
        };
        let initrd = self.initramfs.write(Vec::new()).map_err(at(folder))?;
        let kernel = arch.kernel_file();
        put(kernel, &self.kernel)?;
        put("initrd.cpio", &initrd)?;
        let mut sha256 = BTreeMap::new();
        sha256.insert(kernel.to_string(), hex(&Sha256::digest(&self.kernel)));
        sha256.insert("initrd.cpio".to_string(), hex(&Sha256::digest(&initrd)));
        let mut packages = Vec::new();
        for package in debs {
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            packages.push(format!("{name} sha256:{}", apt::sha256_file(package)?));
        }
        let manifest = Manifest {
            format: FORMAT,
            release: self.release.clone(),
            suite: suite.to_string(),
            init: init_hash(),
            packages,
            sha256,
        };
        let text =
            serde_json::to_vec_pretty(&manifest).map_err(|e| malformed(folder, e.to_string()))?;
        put("manifest.json", &text)
    }
}

/// The kernel's release, if this is where a package holds the kernel: `boot/vmlinux-RELEASE` (ppc64el), `boot/vmlinuz-RELEASE` (amd64), or
/// `vmlinuz` (an ELF file for ppc64el, whatever its name) in the folder of modules.
fn release_of_kernel(name: &str) -> Option<&str> {
    match in_module_folder(name) {
        Some((release, "vmlinuz")) => Some(release),
        _ => name
            .strip_prefix("boot/vmlinux-")
            .or_else(|| name.strip_prefix("boot/vmlinuz-")),
    }
}

/// The release and the path inside its folder of modules.
fn in_module_folder(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("usr/")
        .unwrap_or(name)
        .strip_prefix("lib/modules/")?
        .split_once('/')
}

/// Which files of a kernel package are needed: the kernel and the modules that may be.
fn wanted_of_kernel(name: &str) -> bool {
    let module = |inside: &str| {
        module_name(inside).is_some() && MODULE_FOLDERS.iter().any(|f| inside.starts_with(f))
    };
    release_of_kernel(name).is_some()
        || in_module_folder(name).is_some_and(|(_, inside)| module(inside))
}
