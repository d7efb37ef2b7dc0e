//! Fetches, unpacks and assembles guest kernels and initramfs images.
//!
//! [`catalogue`] is the way in: it names the guests and keeps them in a cache folder. It uses [`apt`] to download packages with a private
//! configuration, [`deb`] to unpack them, [`modules`] to order kernel modules and [`initramfs`] to write the archive.
//! Absent on purpose: any change to the host system, any need for root, any unverified download.

pub mod apt;
pub mod catalogue;
mod command;
pub mod deb;
pub mod initramfs;
pub mod modules;
pub mod sources;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

/// Why a guest could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The host has no apt.
    #[error(
        "this host has no apt-get, so Debian guests cannot be fetched; give a kernel (boot/vmlinux-* of a ppc64el linux-image package, \
         boot/vmlinuz-* of an amd64 one) with `--kernel FILE` and an initramfs (cpio or compressed cpio with the modules the disk needs) \
         with `--initrd FILE`"
    )]
    NoApt,
    /// No Debian archive is configured on the host.
    #[error(
        "no Debian archive is configured for apt on this host; set VIOMMU_DEBIAN_MIRROR to the address of one (ending in /debian), \
         or give the kernel of a linux-image package (boot/vmlinux-* for ppc64el, boot/vmlinuz-* for amd64) with `--kernel FILE` and an initramfs with `--initrd FILE`"
    )]
    NoMirror,
    /// The keyring that verifies the archive is missing.
    #[error(
        "the Debian archive keyring {0} is missing; install debian-archive-keyring or set VIOMMU_DEBIAN_KEYRING"
    )]
    NoKeyring(PathBuf),
    /// An apt program failed; the text is what it complained about.
    #[error("{command} failed: {output}")]
    Apt {
        /// The command without its configuration.
        command: String,
        /// Its errors and warnings.
        output: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The host's error.
        source: std::io::Error,
    },
    /// A file does not have the form it should have.
    #[error("{path}: {what}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is no guest of that name.
    #[error("unknown guest {name:?}; known guests: {known}")]
    UnknownGuest {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The guest is not in the cache.
    #[error("guest {0} has not been fetched yet: run `viommu guest fetch {0}`")]
    NotFetched(String),
    /// The cache folder cannot be named.
    #[error("neither VIOMMU_CACHE, XDG_CACHE_HOME nor HOME is set: no place for a cache")]
    NoCache,
}

/// Adds the path to a host error.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> GuestError + '_ {
    move |source| GuestError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// A file of the wrong form.
pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> GuestError {
    GuestError::Format {
        path: path.to_path_buf(),
        what: what.into(),
    }
}

/// The cache folder: `$VIOMMU_CACHE`, else `$XDG_CACHE_HOME/viommu`, else `$HOME/.cache/viommu`. It need not exist.
///
/// # Errors
/// [`GuestError::NoCache`] if none of the variables is set.
pub fn cache_folder() -> Result<PathBuf, GuestError> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let folder = var("VIOMMU_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("viommu")))
        .or_else(|| var("HOME").map(|d| d.join(".cache/viommu")))
        .ok_or(GuestError::NoCache)?;
    std::path::absolute(&folder).map_err(at(&folder))
}

/// How far a long step is: its name, units done and units in all (0 if not known).
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// A progress bar on standard error, hidden if that is no terminal. Call the returned function as [`Progress`].
pub fn progress_bar() -> impl FnMut(&str, u64, u64) {
    let bar = indicatif::ProgressBar::new(0);
    if let Ok(style) =
        indicatif::ProgressStyle::with_template("{msg:32} [{bar:30}] {bytes}/{total_bytes} {eta}")
    {
        bar.set_style(style);
    }
    move |what, done, total| {
        if bar.message() != what {
            bar.set_message(what.to_string());
        }
        bar.set_length(total.max(done));
        bar.set_position(done);
    }
}
