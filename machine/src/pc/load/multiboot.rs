//! Multiboot, version 1. Multiboot Specification 0.6.96.

use std::ops::Range;

use super::bytes::{put, u32_at};
use super::elf::{Image, Segment};
use super::{LoadError, MapEntry, MapKind};

/// Address of the information structure; what it points to follows.
pub const INFORMATION: u64 = 0x6000;
/// What EAX holds at the entry.
pub const ENTRY_MAGIC: u64 = 0x2bad_b002;
/// Magic number of the header.
const MAGIC: u32 = 0x1bad_b002;
/// The header lies in so many bytes at the file's start.
const SEARCH: usize = 8192;
/// Flags of the header: pages for modules, memory information, video mode, addresses.
const PAGES: u32 = 1 << 0;
const MEMORY: u32 = 1 << 1;
const VIDEO: u32 = 1 << 2;
const ADDRESSES: u32 = 1 << 16;
/// Flags up to 15 that a loader does not know keep it from loading.
const REQUIRED: u32 = 0xffff;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    at: usize,
    flags: u32,
}

/// The header of a file, if there is one: on 4 bytes, with a sum of 0 over magic number, flags and checksum.
pub fn find(file: &[u8]) -> Option<Header> {
    let words = file.get(..SEARCH.min(file.len()))?.as_chunks::<4>().0;
    let at = 4 * words.windows(3).position(|w| {
        let [magic, flags, checksum] = [w[0], w[1], w[2]].map(u32::from_le_bytes);
        magic == MAGIC && magic.wrapping_add(flags).wrapping_add(checksum) == 0
    })?;
    Some(Header {
        at,
        flags: u32_at(file, at + 4)?,
    })
}

impl Header {
    /// True if the header itself says where the file goes.
    pub fn has_addresses(self) -> bool {
        self.flags & ADDRESSES != 0
    }

    /// What to load by the header's own addresses. Specification §3.1.3.
    ///
    /// # Errors
    /// Addresses that contradict each other or pass the file.
    pub fn image(self, file: &[u8]) -> Result<Image, LoadError> {
        let field = |n: usize| {
            u32_at(file, self.at + 12 + 4 * n).ok_or(LoadError::Truncated {
                what: "the multiboot header",
                need: (self.at + 32) as u64,
                have: file.len() as u64,
            })
        };
        let [header, load, load_end, bss_end, entry] =
            [field(0)?, field(1)?, field(2)?, field(3)?, field(4)?];
        let bad = LoadError::Multiboot("has addresses that contradict each other");
        let before = header.checked_sub(load).ok_or(bad.clone())?;
        let start = self.at.checked_sub(before as usize).ok_or(bad.clone())?;
        let in_file = match load_end {
            0 => file.len() - start,
            end => end.checked_sub(load).ok_or(bad.clone())? as usize,
        };
        let end = start + in_file;
        if end > file.len() {
            return Err(LoadError::Truncated {
                what: "the kernel",
                need: end as u64,
                have: file.len() as u64,
            });
        }
        let size = match bss_end {
            0 => in_file as u64,
            end => u64::from(end.checked_sub(load).ok_or(bad.clone())?),
        };
        let inside = entry.checked_sub(load).is_some_and(|n| u64::from(n) < size);
        if size < in_file as u64 || !inside {
            return Err(bad);
        }
        Ok(Image {
            wide: false,
            entry: entry.into(),
            segments: vec![Segment {
                at: load.into(),
                file: start..end,
                size,
                linked: load.into(),
            }],
            pvh: None,
        })
    }

    /// Holds what the header asks for against what there is.
    ///
    /// # Errors
    /// Something is not there.
    pub fn check(self) -> Result<(), LoadError> {
        if self.flags & VIDEO != 0 {
            return Err(LoadError::Multiboot("asks for a video mode; there is none"));
        }
        if self.flags & REQUIRED & !(PAGES | MEMORY) != 0 {
            return Err(LoadError::Multiboot("asks for something unknown"));
        }
        Ok(())
    }
}

/// The information structure, the memory map, the module list and text behind it.
pub fn information(map: &[MapEntry], command_line: u64, module: Option<&Range<u64>>) -> Vec<u8> {
    const HAVE: u32 = 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9; // memory, command line, memory map, loader's name
    const HAVE_MODULES: u32 = 1 << 3;
    const SIZE: usize = 120;
    const MODULE: usize = 16;
    const NAME: &[u8; 8] = b"viommu\0\0";
    /// Text of a module without one.
    const NO_TEXT: usize = SIZE + MODULE + 6;
    let mut out = vec![0; SIZE];
    let ram = |start: u64| {
        let found = map
            .iter()
            .find(|e| e.kind == MapKind::Ram && (e.start..e.end).contains(&start));
        found.map_or(0, |e| ((e.end - start) >> 10) as u32)
    };
    let mut word = |at: usize, n: u32| put(&mut out, at, &n.to_le_bytes());
    let here = |offset: usize| INFORMATION as u32 + offset as u32;
    word(0, HAVE | if module.is_some() { HAVE_MODULES } else { 0 });
    word(4, ram(0));
    word(8, ram(0x10_0000));
    word(16, command_line as u32);
    word(20, module.is_some().into());
    word(24, here(SIZE));
    word(44, (map.len() * 24) as u32);
    word(48, here(SIZE + MODULE + NAME.len()));
    word(64, here(SIZE + MODULE));
    let disk = module.cloned().unwrap_or_default();
    for n in [disk.start as u32, disk.end as u32, here(NO_TEXT), 0] {
        out.extend(n.to_le_bytes());
    }
    out.extend(NAME);
    for entry in map {
        // An entry's size does not count itself.
        out.extend(20u32.to_le_bytes());
        out.extend(entry.start.to_le_bytes());
        out.extend((entry.end - entry.start).to_le_bytes());
        out.extend(entry.kind.code().to_le_bytes());
    }
    out
}
