//! A disk in a file, byte for byte.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Disk, OpenError, check, check_len, read_only};

/// A raw image file, or a host block device.
#[derive(Debug)]
pub struct RawDisk {
    file: File,
    len: u64,
    read_only: bool,
}

impl RawDisk {
    /// Opens an image.
    ///
    /// # Errors
    /// Every [`OpenError`].
    pub fn open(path: &Path, read_only: bool) -> Result<Self, OpenError> {
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                    if !read_only && File::open(path).is_ok() =>
                {
                    OpenError::ReadOnly {
                        path: path.to_owned(),
                    }
                }
                _ => OpenError::Unreadable {
                    path: path.to_owned(),
                    source,
                },
            })?;
        Self::from_file(file, path, read_only)
    }

    fn from_file(mut file: File, path: &Path, read_only: bool) -> Result<Self, OpenError> {
        let unreadable = |source| OpenError::Unreadable {
            path: path.to_owned(),
            source,
        };
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let len = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        check_len(&path.display().to_string(), len)?;
        Ok(RawDisk {
            file,
            len,
            read_only,
        })
    }
}

impl Disk for RawDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check(self.len, offset, buf.len() as u64)?;
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&mut self, offset: u64, buf: &[u8]) -> io::Result<()> {
        check(self.len, offset, buf.len() as u64)?;
        if self.read_only {
            return Err(read_only());
        }
        self.file.write_all_at(buf, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only {
            Ok(())
        } else {
            self.file.sync_all()
        }
    }
}
