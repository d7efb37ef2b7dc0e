//! Kernels into memory: plain data out, namely what lies where and how the first processor starts.
//!
//! | File | Entered |
//! |---|---|
//! | bzImage | the ELF file inside, by the 64-bit boot protocol; with `unpack` off, the image's own 64-bit entry |
//! | multiboot (ELF or with addresses) | 32-bit, with the information structure |
//! | vmlinux with a PVH note | 32-bit, with `hvm_start_info` |
//! | vmlinux without one | by the 64-bit boot protocol |

mod bytes;
mod bzimage;
mod elf;
mod error;
mod linux;
mod multiboot;
mod payload;
mod pvh;
mod start;

#[cfg(test)]
mod tests;

use std::ops::Range;

use viommu_cpu::x86_64::InitialState;

pub use error::LoadError;
use start::{Mode, RAX, RBX, RSI};

/// Where the command line goes.
const COMMAND_LINE: u64 = 0x2_0000;
/// Its room, in bytes.
const COMMAND_LINE_ROOM: usize = 0x1_0000;
/// Kernels and RAM disks lie above this: the first MiB belongs to tables.
const LOAD_MIN: u64 = 0x10_0000;
/// Kernels lie below: that is all that their first page tables map, and what 32-bit entries reach.
const FOUR_GIB: u64 = 1 << 32;
/// The highest address of an initial RAM disk of a kernel that does not say.
const INITRD_MAX: u64 = 0x7fff_ffff;

/// What a range of memory is. The numbers are those of e820.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// For any use.
    Ram,
    /// Not for use.
    Reserved,
    /// ACPI tables, for use after they are read.
    Acpi,
    /// Belongs to ACPI for ever.
    Nvs,
}

impl MapKind {
    /// As it is written. ACPI 6.5 §15 (table 15.3).
    pub fn code(self) -> u32 {
        match self {
            MapKind::Ram => 1,
            MapKind::Reserved => 2,
            MapKind::Acpi => 3,
            MapKind::Nvs => 4,
        }
    }
}

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// First address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// What it is.
    pub kind: MapKind,
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Linux's 64-bit boot protocol.
    Linux64,
    /// PVH.
    Pvh,
    /// Multiboot 1.
    Multiboot,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Linux64 => "64-bit Linux",
            Protocol::Pvh => "PVH",
            Protocol::Multiboot => "multiboot",
        })
    }
}

/// What to load, and what to tell it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Kernel: a whole file.
    pub kernel: &'a [u8],
    /// Its name, the first word that a multiboot kernel finds in its command line.
    pub name: &'a str,
    /// Initial RAM disk, or a multiboot kernel's module.
    pub initrd: Option<&'a [u8]>,
    /// Command line.
    pub append: &'a str,
    /// The memory map, sorted.
    pub map: &'a [MapEntry],
    /// Address of the ACPI root pointer.
    pub rsdp: u64,
    /// Unpack a bzImage here; otherwise it unpacks itself in the guest.
    pub unpack: bool,
    /// How to enter an ELF file; `None` for what fits.
    pub protocol: Option<Protocol>,
}

/// Bytes for memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Physical address.
    pub at: u64,
    /// What they are.
    pub what: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Everything to put into memory, which is zero elsewhere, and how to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What goes where. Nothing overlaps.
    pub placements: Vec<Placement>,
    /// The first processor.
    pub start: InitialState,
    /// How the kernel is entered.
    pub protocol: Protocol,
    /// The kernel's memory.
    pub kernel: Range<u64>,
    /// The initial RAM disk's.
    pub initrd: Option<Range<u64>>,
}

/// A kernel that is understood.
struct Kernel<'a> {
    protocol: Protocol,
    entry: u64,
    span: Range<u64>,
    pieces: Vec<Placement>,
    /// Setup header of a bzImage.
    header: &'a [u8],
    command_line_max: usize,
    initrd_max: u64,
}

/// Loads a kernel.
///
/// # Errors
/// What the user has to mend.
pub fn load(request: &Request<'_>) -> Result<Loaded, LoadError> {
    let kernel = understand(request)?;
    if kernel.span.end > FOUR_GIB {
        return Err(LoadError::Damaged("the kernel belongs above 4 GiB"));
    }
    within_ram(request.map, "kernel", &kernel.span)?;
    let initrd = request
        .initrd
        .map(|disk| place_initrd(request.map, disk.len() as u64, &kernel))
        .transpose()?;
    let (start, tables) = describe(request, &kernel, initrd.as_ref())?;
    let mut placements = tables;
    placements.extend(kernel.pieces);
    if let (Some(range), Some(disk)) = (&initrd, request.initrd) {
        placements.push(Placement {
            at: range.start,
            what: "initrd",
            bytes: disk.to_vec(),
        });
    }
    Ok(Loaded {
        placements,
        start,
        protocol: kernel.protocol,
        kernel: kernel.span,
        initrd,
    })
}

fn understand<'a>(request: &Request<'a>) -> Result<Kernel<'a>, LoadError> {
    let file = request.kernel;
    if bzimage::is_bzimage(file) {
        return bzimage(request);
    }
    let header = multiboot::find(file);
    let is_elf = file.starts_with(b"\x7fELF");
    if let Some(header) = header.filter(|h| is_elf || h.has_addresses())
        && request.protocol.is_none_or(|p| p == Protocol::Multiboot)
    {
        header.check()?;
        let image = if header.has_addresses() {
            header.image(file)?
        } else {
            elf::parse(file)?
        };
        return Ok(of_elf(file, &image, Protocol::Multiboot, image.entry));
    }
    if !is_elf {
        return Err(bzimage::not_a_kernel(file));
    }
    let image = elf::parse(file)?;
    let protocol = match (request.protocol, image.pvh) {
        (Some(Protocol::Multiboot), _) => return Err(LoadError::NoEntry(Protocol::Multiboot)),
        (Some(Protocol::Pvh), None) => return Err(LoadError::NoEntry(Protocol::Pvh)),
        (Some(Protocol::Pvh) | None, Some(_)) => Protocol::Pvh,
        (Some(Protocol::Linux64), _) | (None, None) if image.wide => Protocol::Linux64,
        _ => return Err(LoadError::Elf32),
    };
    let entry = match (protocol, image.pvh) {
        (Protocol::Pvh, Some(entry)) => entry,
        _ => image.entry,
    };
    Ok(of_elf(file, &image, protocol, entry))
}

/// A kernel from an ELF file, or from a flat one with a multiboot header.
fn of_elf<'a>(file: &[u8], image: &elf::Image, protocol: Protocol, entry: u64) -> Kernel<'a> {
    let piece = |s: &elf::Segment| Placement {
        at: s.at,
        what: "kernel",
        bytes: file.get(s.file.clone()).unwrap_or_default().to_vec(),
    };
    Kernel {
        protocol,
        entry,
        span: image.span(),
        pieces: image.segments.iter().map(piece).collect(),
        header: &[],
        command_line_max: match protocol {
            Protocol::Multiboot => COMMAND_LINE_ROOM - 1,
            _ => linux::COMMAND_LINE_MAX,
        },
        initrd_max: INITRD_MAX,
    }
}

fn bzimage<'a>(request: &Request<'a>) -> Result<Kernel<'a>, LoadError> {
    let image = bzimage::parse(request.kernel)?;
    let kernel = match (request.protocol, request.unpack) {
        (Some(protocol), false) if protocol != Protocol::Linux64 => {
            return Err(LoadError::NoEntry(protocol));
        }
        (_, false) => {
            let start = image.preferred_address();
            let end = start.checked_add(image.init_size());
            let end = end.ok_or(LoadError::Damaged("the preferred address is out of range"))?;
            Kernel {
                protocol: Protocol::Linux64,
                entry: start + 0x200,
                span: start..end,
                pieces: vec![Placement {
                    at: start,
                    what: "kernel",
                    bytes: image.body().to_vec(),
                }],
                header: &[],
                command_line_max: 0,
                initrd_max: 0,
            }
        }
        (protocol, true) => {
            let unpacked = payload::unpack(image.payload()?)?;
            if !unpacked.starts_with(b"\x7fELF") {
                return Err(LoadError::Damaged("the packed kernel is no ELF file"));
            }
            let inside = elf::parse(&unpacked)?;
            let entry = match (protocol, inside.pvh) {
                (None | Some(Protocol::Linux64), _) if inside.wide => inside.entry,
                (Some(Protocol::Pvh), Some(entry)) => entry,
                (Some(protocol), _) => return Err(LoadError::NoEntry(protocol)),
                (None, _) => return Err(LoadError::Kernel32),
            };
            let protocol = protocol.unwrap_or(Protocol::Linux64);
            of_elf(&unpacked, &inside, protocol, entry)
        }
    };
    Ok(Kernel {
        header: image.header(),
        command_line_max: image.command_line_max().min(COMMAND_LINE_ROOM - 1),
        initrd_max: image.initrd_max(),
        ..kernel
    })
}

/// The tables that a kernel reads first, and the processor's registers.
fn describe(
    request: &Request<'_>,
    kernel: &Kernel<'_>,
    initrd: Option<&Range<u64>>,
) -> Result<(InitialState, Vec<Placement>), LoadError> {
    if request.map.len() > linux::MAP_MAX {
        return Err(LoadError::TooManyRanges(request.map.len()));
    }
    let mut line = match kernel.protocol {
        Protocol::Multiboot => format!("{} {}", request.name, request.append).into_bytes(),
        _ => request.append.as_bytes().to_vec(),
    };
    if line.len() > kernel.command_line_max || line.contains(&0) {
        return Err(LoadError::CommandLine {
            have: line.len(),
            most: kernel.command_line_max,
        });
    }
    line.push(0);
    let mode = match kernel.protocol {
        Protocol::Linux64 => Mode::Long64,
        Protocol::Pvh | Protocol::Multiboot => Mode::Protected32,
    };
    let (mut start, mut tables) = start::enter(mode, kernel.entry);
    let (at, what, bytes) = match kernel.protocol {
        Protocol::Linux64 => {
            start.gpr[RSI] = linux::ZERO_PAGE;
            let page = linux::zero_page(&linux::Parameters {
                header: kernel.header,
                map: request.map,
                command_line: COMMAND_LINE,
                initrd: initrd.cloned(),
                rsdp: request.rsdp,
            })?;
            (linux::ZERO_PAGE, "zero page", page)
        }
        Protocol::Pvh => {
            start.gpr[RBX] = pvh::START_INFO;
            let info = pvh::start_info(request.map, COMMAND_LINE, initrd, request.rsdp);
            (pvh::START_INFO, "start information", info)
        }
        Protocol::Multiboot => {
            (start.gpr[RAX], start.gpr[RBX]) = (multiboot::ENTRY_MAGIC, multiboot::INFORMATION);
            let info = multiboot::information(request.map, COMMAND_LINE, initrd);
            (multiboot::INFORMATION, "multiboot information", info)
        }
    };
    tables.push(Placement { at, what, bytes });
    tables.push(Placement {
        at: COMMAND_LINE,
        what: "command line",
        bytes: line,
    });
    Ok((start, tables))
}

/// Holds that a range is RAM and leaves the first MiB alone.
fn within_ram(map: &[MapEntry], what: &'static str, range: &Range<u64>) -> Result<(), LoadError> {
    let inside =
        |e: &MapEntry| e.kind == MapKind::Ram && e.start <= range.start && range.end <= e.end;
    if range.start >= LOAD_MIN && map.iter().any(inside) {
        return Ok(());
    }
    Err(LoadError::DoesNotFit {
        what,
        need: range.end.saturating_sub(range.start),
        at: range.start,
    })
}

/// The highest place for a RAM disk: whole pages, below 4 GiB and the kernel's limit, not in the kernel's memory.
fn place_initrd(map: &[MapEntry], size: u64, kernel: &Kernel<'_>) -> Result<Range<u64>, LoadError> {
    const PAGE: u64 = 4096;
    let limit = kernel.initrd_max.min(u32::MAX.into()) + 1;
    let rooms = map.iter().filter(|e| e.kind == MapKind::Ram).flat_map(|e| {
        let (start, end) = (e.start.max(LOAD_MIN), e.end.min(limit));
        [
            (start.max(kernel.span.end), end),
            (start, end.min(kernel.span.start)),
        ]
    });
    let place = |(start, end): (u64, u64)| {
        let at = end.checked_sub(size)? / PAGE * PAGE;
        (at >= start).then_some(at)
    };
    let at = rooms.filter_map(place).max().ok_or(LoadError::DoesNotFit {
        what: "initrd",
        need: size,
        at: kernel.span.end,
    })?;
    Ok(at..at + size)
}
