//! The setup header of a bzImage. Linux `Documentation/arch/x86/boot.rst`.

use super::LoadError;
use super::bytes::{u16_at, u32_at, u64_at};
use super::payload::Packing;

/// Where the header begins in the file, and in the zero page.
pub const SETUP_HEADER: usize = 0x1f1;
/// The zero page has other things from here on.
const HEADER_END: usize = 0x290;
/// The oldest protocol that says whether there is a 64-bit entry.
const PROTOCOL: u16 = 0x20c;
/// `xloadflags`: the 64-bit entry is there.
const KERNEL_64: u16 = 1;

/// A checked bzImage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BzImage<'a> {
    /// The whole file.
    file: &'a [u8],
    /// First byte of the protected-mode kernel in the file.
    body: usize,
}

/// True for a file with the boot sector's and the header's magic numbers.
pub fn is_bzimage(file: &[u8]) -> bool {
    u16_at(file, 0x1fe) == Some(0xaa55) && file.get(0x202..0x206) == Some(b"HdrS")
}

/// Checks a file for which [`is_bzimage`] holds.
///
/// # Errors
/// No kernel for 64-bit mode, or too short.
pub fn parse(file: &[u8]) -> Result<BzImage<'_>, LoadError> {
    let have = file.len() as u64;
    let truncated = |what, need| LoadError::Truncated { what, need, have };
    let version = u16_at(file, 0x206).ok_or(truncated("the setup header", 0x268))?;
    if version < PROTOCOL {
        return Err(LoadError::OldProtocol {
            major: (version >> 8) as u8,
            minor: version as u8,
        });
    }
    let flags = u16_at(file, 0x236).ok_or(truncated("the setup header", 0x268))?;
    if flags & KERNEL_64 == 0 {
        return Err(LoadError::Kernel32);
    }
    let sectors = match file.get(0x1f1) {
        Some(0) | None => 4,
        Some(&n) => usize::from(n),
    };
    let body = (sectors + 1) * 512;
    // The 64-bit entry is at 0x200 of the body.
    if file.len() < body + 0x201 {
        return Err(truncated("the kernel", (body + 0x201) as u64));
    }
    Ok(BzImage { file, body })
}

impl<'a> BzImage<'a> {
    /// The header's bytes, as they go into the zero page.
    pub fn header(&self) -> &'a [u8] {
        let end = 0x202 + usize::from(self.file.get(0x201).copied().unwrap_or_default());
        let end = end.min(HEADER_END);
        self.file.get(SETUP_HEADER..end).unwrap_or_default()
    }

    /// The protected-mode kernel: what runs in the guest if it unpacks itself.
    pub fn body(&self) -> &'a [u8] {
        self.file.get(self.body..).unwrap_or_default()
    }

    fn u32(&self, at: usize) -> u64 {
        u32_at(self.file, at).unwrap_or_default().into()
    }

    /// Where it wants to be loaded.
    pub fn preferred_address(&self) -> u64 {
        u64_at(self.file, 0x258).unwrap_or_default()
    }

    /// Memory that it needs from there, before it knows of any other.
    pub fn init_size(&self) -> u64 {
        self.u32(0x260).max(self.body().len() as u64)
    }

    /// The highest address of the initial RAM disk.
    pub fn initrd_max(&self) -> u64 {
        self.u32(0x22c)
    }

    /// Longest command line, without its end.
    pub fn command_line_max(&self) -> usize {
        self.u32(0x238) as usize
    }

    /// The packed kernel.
    ///
    /// # Errors
    /// There is none, or it passes the end of the file.
    pub fn payload(&self) -> Result<&'a [u8], LoadError> {
        let (offset, length) = (self.u32(0x248), self.u32(0x24c));
        if offset == 0 || length == 0 {
            return Err(LoadError::NoPayload);
        }
        let need = self.body as u64 + offset + length;
        let range = self.body + offset as usize..need as usize;
        self.file.get(range).ok_or(LoadError::Truncated {
            what: "the packed kernel",
            need,
            have: self.file.len() as u64,
        })
    }
}

/// What a file is that is no kernel for this machine.
pub fn not_a_kernel(file: &[u8]) -> LoadError {
    if file.get(56..60) == Some(b"ARM\x64") {
        return LoadError::WrongArchitecture("arm64".into());
    }
    if file.get(56..60) == Some(b"RSC\x05") {
        return LoadError::WrongArchitecture("RISC-V".into());
    }
    match Packing::of(file) {
        Some(packing) if packing != Packing::None => LoadError::CompressedFile(packing.name()),
        _ if u16_at(file, 0x1fe) == Some(0xaa55) => LoadError::OldProtocol { major: 1, minor: 0 },
        _ if is_cut(file) => LoadError::Truncated {
            what: "the kernel's header",
            need: 0x268,
            have: file.len() as u64,
        },
        _ => LoadError::NotAKernel,
    }
}

/// The first bytes of a Linux boot sector or ELF file, and no more.
fn is_cut(file: &[u8]) -> bool {
    file.len() < 0x268
        && (file.is_empty() || b"\x7fELF".starts_with(file) || file.starts_with(b"MZ"))
}
