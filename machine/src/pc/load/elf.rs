//! ELF files of x86 processors, 32-bit and 64-bit. Parsing only; nothing is copied here.

use std::ops::Range;

use super::LoadError;
use super::bytes::{u16_at, u32_at, u64_at};
use crate::pseries::elf::machine_name;

/// A piece to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Physical address.
    pub at: u64,
    /// Its bytes in the file.
    pub file: Range<usize>,
    /// Bytes in memory; those beyond the file's are zero.
    pub size: u64,
    /// Virtual address.
    pub linked: u64,
}

/// A checked file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// A 64-bit file.
    pub wide: bool,
    /// Physical address of the entry.
    pub entry: u64,
    /// What to load.
    pub segments: Vec<Segment>,
    /// Entry of the PVH protocol, a physical address.
    pub pvh: Option<u64>,
}

impl Image {
    /// First address and the one after the last.
    pub fn span(&self) -> Range<u64> {
        let start = self.segments.iter().map(|s| s.at).min().unwrap_or(0);
        // `parse` has checked the sums.
        let end = self.segments.iter().map(|s| s.at + s.size).max();
        start..end.unwrap_or(0)
    }
}

const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Xen's note with the 32-bit physical entry (`XEN_ELFNOTE_PHYS32_ENTRY`, Xen `public/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;
/// Physical addresses end here at the latest.
const ADDRESSES: u64 = 1 << 52;

/// Offsets of fields, by class. System V ABI, "Object Files".
struct Class {
    header: usize,
    /// Table of program headers: its offset in the file, the size of an entry, their number.
    table: [usize; 3],
    /// Size of an entry.
    entry: usize,
    /// In an entry: offset, virtual and physical address, sizes in the file and in memory.
    fields: [usize; 5],
}

const CLASS32: Class = Class {
    header: 52,
    table: [28, 42, 44],
    entry: 32,
    fields: [4, 8, 12, 16, 20],
};
const CLASS64: Class = Class {
    header: 64,
    table: [32, 54, 56],
    entry: 56,
    fields: [8, 16, 24, 32, 40],
};

/// A program header.
struct Header {
    kind: u32,
    offset: u64,
    linked: u64,
    at: u64,
    in_file: u64,
    in_memory: u64,
}

/// Checks a file that begins like an ELF file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(file: &[u8]) -> Result<Image, LoadError> {
    let have = file.len() as u64;
    let truncated = |what, need| LoadError::Truncated { what, need, have };
    let short = || truncated("the ELF header", 64);
    let &[_, _, _, _, class, order, version, ..] = file else {
        return Err(short());
    };
    let wide = class == 2;
    let machine = u16_at(file, 18).ok_or_else(short)?;
    if !matches!(class, 1 | 2) || version != 1 {
        return Err(LoadError::Damaged("not an ELF file of version 1"));
    }
    let fits = machine == EM_X86_64 || (machine == EM_386 && !wide);
    if order != 1 || !fits {
        let machine = if order == 2 {
            machine.swap_bytes()
        } else {
            machine
        };
        return Err(LoadError::WrongArchitecture(machine_name(machine)));
    }
    let class = if wide { CLASS64 } else { CLASS32 };
    if file.len() < class.header {
        return Err(truncated("the ELF header", class.header as u64));
    }
    if !matches!(u16_at(file, 16), Some(2 | 3)) {
        return Err(LoadError::Damaged(
            "the ELF file is neither an executable nor a shared object",
        ));
    }
    let entry = word(file, 24, wide).ok_or_else(short)?;
    let headers = headers(file, &class, wide)?;
    let mut image = Image {
        wide,
        entry,
        segments: Vec::new(),
        pvh: None,
    };
    for h in headers {
        let end = h
            .offset
            .checked_add(h.in_file)
            .ok_or(LoadError::Damaged("a segment is out of range"))?;
        let range = if end <= have {
            h.offset as usize..end as usize
        } else if matches!(h.kind, PT_LOAD | PT_NOTE) {
            return Err(truncated("a segment", end));
        } else {
            continue;
        };
        match h.kind {
            PT_LOAD if h.in_memory != 0 => image.segments.push(segment(&h, range)?),
            PT_NOTE => {
                let notes = file.get(range).unwrap_or_default();
                image.pvh = image.pvh.or(pvh_entry(notes));
            }
            _ => {}
        }
    }
    if image.segments.is_empty() {
        return Err(LoadError::Damaged("nothing to load"));
    }
    image.entry = physical(&image.segments, entry)?;
    check_segments(&image, have)?;
    Ok(image)
}

/// Segments do not overlap in memory, and are copied from the file about once; the PVH entry lies in one of them.
fn check_segments(image: &Image, have: u64) -> Result<(), LoadError> {
    let mut spans: Vec<_> = image
        .segments
        .iter()
        .map(|s| (s.at, s.at + s.size))
        .collect();
    spans.sort_unstable();
    if spans.windows(2).any(|w| w[1].0 < w[0].1) {
        return Err(LoadError::Damaged("segments overlap"));
    }
    let copied: u64 = image.segments.iter().map(|s| s.file.len() as u64).sum();
    if copied > have.saturating_mul(2) {
        return Err(LoadError::Damaged("segments share parts of the file"));
    }
    let inside = |entry: &u64| spans.iter().any(|s| (s.0..s.1).contains(entry));
    if image.pvh.as_ref().is_some_and(|entry| !inside(entry)) {
        return Err(LoadError::Damaged("the PVH entry lies in no segment"));
    }
    Ok(())
}

/// An address or offset of the file's class.
fn word(file: &[u8], at: usize, wide: bool) -> Option<u64> {
    if wide {
        u64_at(file, at)
    } else {
        u32_at(file, at).map(u64::from)
    }
}

fn headers(file: &[u8], class: &Class, wide: bool) -> Result<Vec<Header>, LoadError> {
    let bad = LoadError::Damaged("no program headers");
    let [table, size, count] = class.table;
    let table = word(file, table, wide).ok_or(bad.clone())?;
    let size = u16_at(file, size).map_or(0, usize::from);
    let count = u16_at(file, count).map_or(0, usize::from);
    if count == 0 || size < class.entry {
        return Err(bad);
    }
    let need = table.saturating_add((size * count) as u64);
    let have = file.len() as u64;
    let all = usize::try_from(table)
        .ok()
        .filter(|_| need <= have)
        .and_then(|table| file.get(table..))
        .ok_or(LoadError::Truncated {
            what: "the program header table",
            need,
            have,
        })?;
    let header = |bytes: &[u8]| {
        let [offset, linked, at, in_file, in_memory] = class.fields.map(|f| word(bytes, f, wide));
        Some(Header {
            kind: u32_at(bytes, 0)?,
            offset: offset?,
            linked: linked?,
            at: at?,
            in_file: in_file?,
            in_memory: in_memory?,
        })
    };
    let list = all.chunks_exact(size).take(count).map(header);
    list.collect::<Option<_>>().ok_or(bad)
}

fn segment(h: &Header, file: Range<usize>) -> Result<Segment, LoadError> {
    if h.in_file > h.in_memory {
        return Err(LoadError::Damaged(
            "a segment is larger in the file than in memory",
        ));
    }
    if h.at
        .checked_add(h.in_memory)
        .is_none_or(|end| end > ADDRESSES)
    {
        return Err(LoadError::Damaged("a segment is out of range"));
    }
    Ok(Segment {
        at: h.at,
        file,
        size: h.in_memory,
        linked: h.linked,
    })
}

/// Where the entry is: linkers give its virtual or its physical address.
fn physical(segments: &[Segment], entry: u64) -> Result<u64, LoadError> {
    let inside = |base: u64, s: &Segment| entry.checked_sub(base).filter(|n| *n < s.size);
    let by_virtual = |s: &Segment| Some(s.at + inside(s.linked, s)?);
    let by_physical = |s: &Segment| Some(s.at + inside(s.at, s)?);
    segments
        .iter()
        .find_map(by_virtual)
        .or_else(|| segments.iter().find_map(by_physical))
        .ok_or(LoadError::Damaged("the entry point lies in no segment"))
}

/// The PVH entry among notes: name length, description length, type, then name and description, each filled up to 4 bytes.
fn pvh_entry(mut notes: &[u8]) -> Option<u64> {
    loop {
        let length = |at| u32_at(notes, at).map(|n| n as usize);
        let (name, description, kind) = (length(0)?, length(4)?, u32_at(notes, 8)?);
        let padded = |n: usize| n.checked_next_multiple_of(4);
        let start = padded(name)?.checked_add(12)?;
        let text = notes.get(12..12usize.checked_add(name)?)?;
        if text == b"Xen\0" && kind == PHYS32_ENTRY {
            let value = notes.get(start..start.checked_add(description)?)?;
            return match value.len() {
                8.. => u64_at(value, 0),
                4.. => u32_at(value, 0).map(u64::from),
                _ => None,
            };
        }
        notes = notes.get(start.checked_add(padded(description)?)?..)?;
    }
}
