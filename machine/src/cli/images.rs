//! What a run needs beside the machine: guest, command line, disks.

use std::path::{Path, PathBuf};

use super::args::{DeviceArg, DiskArg, RunArgs};
use super::{Failure, disk};
use crate::config::{DeviceConfig, DiskConfig, DiskMode};
use crate::guest::catalogue::{self, Arch, Guest};
use crate::guest::progress_bar;

/// Word of the command line that lets a named guest check its disk.
pub const CHECK_WORD: &str = "viommu.check=disk";
/// Word of the command line for a shell.
const SHELL_WORD: &str = "viommu.shell=1";

/// Kernel and initial RAM disk: those given, or those of a guest.
#[derive(Debug)]
pub struct Images {
    /// Name of the kernel's file.
    pub name: String,
    /// The kernel.
    pub kernel: Option<Vec<u8>>,
    /// The initial RAM disk.
    pub initrd: Option<Vec<u8>>,
}

impl Images {
    /// Reads them. `own` says that no guest of the catalogue is wanted.
    ///
    /// # Errors
    /// What the user has to mend.
    pub fn read(run: &RunArgs, arch: Arch, own: bool) -> Result<Images, Failure> {
        let (kernel, initrd) = if own {
            (run.kernel.clone(), run.initrd.clone())
        } else {
            let guest = guest(arch, run.guest.as_deref())?;
            let initrd = run.initrd.clone().unwrap_or(guest.initrd);
            (Some(guest.kernel), Some(initrd))
        };
        let name = kernel.as_deref().and_then(Path::file_name);
        Ok(Images {
            name: name.unwrap_or_default().to_string_lossy().into_owned(),
            kernel: kernel.map(|p| read("kernel", &p)).transpose()?,
            initrd: initrd.map(|p| read("initrd", &p)).transpose()?,
        })
    }
}

/// Reads a file; `what` it is stands in the complaint.
///
/// # Errors
/// The file cannot be read.
pub fn read(what: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::user(format!("{what} {}: {e}", path.display())))
}

/// A guest that has a name, fetched if need be.
fn guest(arch: Arch, name: Option<&str>) -> Result<Guest, Failure> {
    let name = name.unwrap_or(arch.default_guest());
    let entry = catalogue::entry(name).map_err(Failure::user)?;
    if entry.arch != arch {
        return Err(Failure::user(format!(
            "guest {name} is for another machine: viommu boot {} --guest {name}",
            entry.arch.machine()
        )));
    }
    catalogue::fetch(name, &mut progress_bar()).map_err(Failure::user)
}

/// The kernel command line: the one given, or `console` with what a guest of the catalogue is to do.
pub fn append(run: &RunArgs, own: bool, console: &str) -> String {
    match (&run.append, own) {
        (Some(append), _) => append.clone(),
        (None, true) => console.to_owned(),
        (None, false) if run.interactive => format!("{console} {SHELL_WORD}"),
        (None, false) => format!("{console} {CHECK_WORD}"),
    }
}

/// Disks of a run.
#[derive(Debug)]
pub struct Disks {
    /// All of them.
    pub list: Vec<DiskArg>,
    /// Keeps the default image alive.
    pub image: Option<tempfile::NamedTempFile>,
}

impl Disks {
    /// Those given. A fresh image is made where one is missing: for a guest of the catalogue, or for a block device without one.
    ///
    /// # Errors
    /// There is no room for the image.
    pub fn of(run: &RunArgs, devices: &[DeviceArg], own: bool) -> Result<Disks, Failure> {
        let block = |d: &DeviceArg| *d != DeviceArg::Edu;
        let wanted = devices.iter().any(block) || (devices.is_empty() && !own);
        if !run.disk.is_empty() || !wanted {
            return Ok(Disks {
                list: run.disk.clone(),
                image: None,
            });
        }
        let image = default_image()?;
        let disk = DiskArg {
            path: image.path().to_owned(),
            read_only: false,
            snapshot: false,
        };
        Ok(Disks {
            list: vec![disk],
            image: Some(image),
        })
    }

    /// The image that a guest reads and writes when it checks its disk, and whether its writes reach it.
    pub fn checked(&self) -> Option<(PathBuf, bool)> {
        let first = self.list.first()?;
        Some((first.path.clone(), !first.read_only && !first.snapshot))
    }

    /// The disks for devices, in order.
    pub fn configs(&self) -> impl Iterator<Item = DiskConfig> {
        self.list.iter().map(|d| DiskConfig {
            path: d.path.clone(),
            mode: match (d.read_only, d.snapshot) {
                (true, _) => DiskMode::ReadOnly,
                (_, true) => DiskMode::Snapshot,
                _ => DiskMode::Writable,
            },
        })
    }
}

/// A device with the disks that it takes.
///
/// # Errors
/// Too few disks.
pub fn device(
    device: DeviceArg,
    disks: &mut impl Iterator<Item = DiskConfig>,
) -> Result<DeviceConfig, Failure> {
    let missing = || {
        Failure::user(format!(
            "a block device has no disk: give --disk for each ({device:?})"
        ))
    };
    Ok(match device {
        DeviceArg::Nvme(n) | DeviceArg::NvmeOf48Bits(n) => {
            let own: Vec<_> = disks.take(n as usize).collect();
            if own.len() < n as usize {
                return Err(missing());
            }
            match device {
                DeviceArg::NvmeOf48Bits(_) => DeviceConfig::NvmeOf48Bits(own),
                _ => DeviceConfig::Nvme(own),
            }
        }
        DeviceArg::VirtioBlk => DeviceConfig::VirtioBlk(disks.next().ok_or_else(missing)?),
        DeviceArg::Edu => DeviceConfig::Edu,
    })
}

fn default_image() -> Result<tempfile::NamedTempFile, Failure> {
    let error = |e| {
        Failure::user(format!(
            "no room for a 64 MiB disk image in the folder for temporary files: {e}"
        ))
    };
    let mut image = tempfile::Builder::new()
        .prefix("viommu-")
        .suffix(".img")
        .tempfile()
        .map_err(error)?;
    disk::write_default(image.as_file_mut()).map_err(error)?;
    Ok(image)
}
