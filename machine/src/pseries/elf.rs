//! ELF64 kernels of either byte order. Parsing only; nothing is copied here.

/// Byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

/// Why a file is no kernel for this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// An x86 boot image.
    #[error(
        "this is an x86 boot image (bzImage), not a ppc64 kernel; give an ELF64 vmlinux for ppc64 or ppc64le"
    )]
    BzImage,
    /// Compressed.
    #[error("the file is compressed ({0}); unpack it first")]
    Compressed(&'static str),
    /// Not ELF.
    #[error("not an ELF file; give an ELF64 vmlinux for ppc64 or ppc64le")]
    NotElf,
    /// ELF, but 32-bit or of an unknown version.
    #[error("not a 64-bit ELF file of version 1")]
    NotElf64,
    /// For another processor.
    #[error("wrong architecture: {0}; the machine runs ppc64 and ppc64le")]
    WrongMachine(String),
    /// Not executable.
    #[error("ELF type {0} is neither an executable (2) nor a shared object (3)")]
    WrongType(u16),
    /// Ends too early.
    #[error("the file is truncated: {what} needs {need} bytes, the file has {have}")]
    Truncated {
        /// Which part.
        what: &'static str,
        /// End of the part in the file.
        need: u64,
        /// Size of the file.
        have: u64,
    },
    /// Fields that contradict each other.
    #[error("damaged: {0}")]
    Damaged(&'static str),
}

/// One piece to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where, relative to the lowest address of the image.
    pub offset: u64,
    /// First byte in the file.
    pub file_offset: usize,
    /// Bytes in the file.
    pub file_size: usize,
    /// Bytes in memory; those beyond `file_size` are zero.
    pub memory_size: u64,
}

/// A checked image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Byte order of the file.
    pub order: Order,
    /// Real address it is linked for: its lowest address without the kernel's region bits.
    pub linked_at: u64,
    /// Entry, relative to the lowest address.
    pub entry: u64,
    /// Bytes of memory from the lowest to the highest address.
    pub size: u64,
    /// What to load.
    pub segments: Vec<Segment>,
}

const EM_PPC64: u16 = 21;
const PT_LOAD: u32 = 1;
/// Linux links its kernel at 0xc000_0000_0000_0000; the top four bits are no part of the real address.
const REAL: u64 = 0x0fff_ffff_ffff_ffff;

struct Reader<'a> {
    bytes: &'a [u8],
    order: Order,
}

impl Reader<'_> {
    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(from) = self.bytes.get(at..).and_then(|b| b.get(..N)) {
            out.copy_from_slice(from);
        }
        if self.order == Order::Big {
            out.reverse();
        }
        out
    }
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.get(at))
    }
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.get(at))
    }
    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.get(at))
    }
}

/// Checks a kernel file.
///
/// # Errors
/// What is wrong with it, in words for the user.
pub fn parse(bytes: &[u8]) -> Result<Image, ElfError> {
    let have = bytes.len() as u64;
    if !bytes.starts_with(b"\x7fELF") {
        return Err(not_elf(bytes));
    }
    if bytes.len() < 64 {
        return Err(ElfError::Truncated {
            what: "the ELF header",
            need: 64,
            have,
        });
    }
    let order = match (bytes[4], bytes[5], bytes[6]) {
        (2, 1, 1) => Order::Little,
        (2, 2, 1) => Order::Big,
        _ => return Err(ElfError::NotElf64),
    };
    let r = Reader { bytes, order };
    match r.u16(18) {
        EM_PPC64 => {}
        other => return Err(ElfError::WrongMachine(machine_name(other))),
    }
    if !matches!(r.u16(16), 2 | 3) {
        return Err(ElfError::WrongType(r.u16(16)));
    }
    let (phoff, phentsize, phnum) = (r.u64(32), u64::from(r.u16(54)), u64::from(r.u16(56)));
    if phnum == 0 || phentsize < 56 {
        return Err(ElfError::Damaged("no program headers"));
    }
    let headers_end = phoff
        .checked_add(phentsize * phnum)
        .ok_or(ElfError::Damaged("program headers out of range"))?;
    if headers_end > have {
        return Err(ElfError::Truncated {
            what: "the program header table",
            need: headers_end,
            have,
        });
    }
    let mut loads = Vec::new();
    for i in 0..phnum {
        let at = (phoff + i * phentsize) as usize;
        if r.u32(at) == PT_LOAD && r.u64(at + 40) != 0 {
            loads.push(load(&r, at)?);
        }
    }
    image(&r, loads)
}

/// A PT_LOAD entry: the segment, its virtual and its real address.
type Load = (Segment, u64, u64);

fn load(r: &Reader<'_>, at: usize) -> Result<Load, ElfError> {
    let have = r.bytes.len() as u64;
    let (file_offset, vaddr, paddr) = (r.u64(at + 8), r.u64(at + 16), r.u64(at + 24));
    let (file_size, memory_size) = (r.u64(at + 32), r.u64(at + 40));
    if file_size > memory_size {
        return Err(ElfError::Damaged(
            "a segment is larger in the file than in memory",
        ));
    }
    let end = file_offset
        .checked_add(file_size)
        .ok_or(ElfError::Damaged("a segment is out of range"))?;
    if end > have {
        return Err(ElfError::Truncated {
            what: "a segment",
            need: end,
            have,
        });
    }
    let real = paddr & REAL;
    if real.checked_add(memory_size).is_none_or(|end| end > REAL) {
        return Err(ElfError::Damaged("a segment is out of range"));
    }
    let segment = Segment {
        offset: real,
        file_offset: file_offset as usize,
        file_size: file_size as usize,
        memory_size,
    };
    Ok((segment, vaddr, real))
}

fn image(r: &Reader<'_>, loads: Vec<Load>) -> Result<Image, ElfError> {
    let linked_at = loads
        .iter()
        .map(|l| l.2)
        .min()
        .ok_or(ElfError::Damaged("nothing to load"))?;
    let size = loads
        .iter()
        .map(|l| l.2 + l.0.memory_size)
        .max()
        .unwrap_or(linked_at)
        - linked_at;
    let e_entry = r.u64(24);
    let entry = loads
        .iter()
        .find_map(|&(s, vaddr, real)| {
            let inside = e_entry
                .checked_sub(vaddr)
                .or_else(|| (e_entry & REAL).checked_sub(real))?;
            (inside < s.memory_size).then_some(real - linked_at + inside)
        })
        .ok_or(ElfError::Damaged("the entry point lies in no segment"))?;
    let segments = loads
        .into_iter()
        .map(|(s, _, real)| Segment {
            offset: real - linked_at,
            ..s
        })
        .collect();
    Ok(Image {
        order: r.order,
        linked_at,
        entry,
        size,
        segments,
    })
}

fn not_elf(bytes: &[u8]) -> ElfError {
    match bytes {
        b if b.get(0x202..0x206) == Some(b"HdrS") => ElfError::BzImage,
        [0x1f, 0x8b, ..] => ElfError::Compressed("gzip"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ElfError::Compressed("xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ElfError::Compressed("zstd"),
        b if b"\x7fELF".starts_with(b) => ElfError::Truncated {
            what: "the ELF header",
            need: 64,
            have: b.len() as u64,
        },
        _ => ElfError::NotElf,
    }
}

/// The processor by its number in an ELF header.
pub(crate) fn machine_name(machine: u16) -> String {
    match machine {
        3 => "32-bit x86".into(),
        20 => "32-bit PowerPC".into(),
        21 => "64-bit PowerPC".into(),
        22 => "s390x".into(),
        40 => "32-bit Arm".into(),
        62 => "x86-64".into(),
        183 => "arm64".into(),
        243 => "RISC-V".into(),
        other => format!("ELF machine {other}"),
    }
}
