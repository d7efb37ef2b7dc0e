//! The zero page (`struct boot_params`). Linux `Documentation/arch/x86/zero-page.rst`.

use std::ops::Range;

use super::bytes::{put, u16_at};
use super::bzimage::SETUP_HEADER;
use super::{LoadError, MapEntry};

/// Its address.
pub const ZERO_PAGE: u64 = 0x7000;
/// Entries of the memory map that have a place in it.
pub const MAP_MAX: usize = 128;
/// Longest command line of a kernel that does not say.
pub const COMMAND_LINE_MAX: usize = 2047;

/// What the zero page says.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    /// Setup header of the bzImage; empty for a kernel without one.
    pub header: &'a [u8],
    /// Memory map.
    pub map: &'a [MapEntry],
    /// Address of the command line.
    pub command_line: u64,
    /// Initial RAM disk.
    pub initrd: Option<Range<u64>>,
    /// Address of the ACPI root pointer.
    pub rsdp: u64,
}

/// The page.
///
/// # Errors
/// Too many ranges of memory.
pub fn zero_page(p: &Parameters<'_>) -> Result<Vec<u8>, LoadError> {
    /// Text mode that the kernel finds.
    const NORMAL: u16 = 0xffff;
    const UNKNOWN_LOADER: u8 = 0xff;
    const LOADED_HIGH: u8 = 1;
    const VERSION: u16 = 0x20f;
    let mut page = vec![0; 4096];
    put(&mut page, SETUP_HEADER, p.header);
    put(&mut page, 0x1fe, &0xaa55u16.to_le_bytes());
    put(&mut page, 0x202, b"HdrS");
    if u16_at(&page, 0x206) == Some(0) {
        put(&mut page, 0x206, &VERSION.to_le_bytes());
    }
    put(&mut page, 0x070, &p.rsdp.to_le_bytes());
    put(&mut page, 0x1fa, &NORMAL.to_le_bytes());
    let flags = page[0x211] | LOADED_HIGH;
    put(&mut page, 0x210, &[UNKNOWN_LOADER, flags]);
    put(&mut page, 0x228, &(p.command_line as u32).to_le_bytes());
    if let Some(disk) = &p.initrd {
        // Below 4 GiB, as the header's limit of 32 bits has it.
        put(&mut page, 0x218, &(disk.start as u32).to_le_bytes());
        put(
            &mut page,
            0x21c,
            &((disk.end - disk.start) as u32).to_le_bytes(),
        );
    }
    let count = u8::try_from(p.map.len())
        .ok()
        .filter(|n| usize::from(*n) <= MAP_MAX)
        .ok_or(LoadError::TooManyRanges(p.map.len()))?;
    put(&mut page, 0x1e8, &[count]);
    for (index, entry) in p.map.iter().enumerate() {
        let at = 0x2d0 + 20 * index;
        put(&mut page, at, &entry.start.to_le_bytes());
        put(&mut page, at + 8, &(entry.end - entry.start).to_le_bytes());
        put(&mut page, at + 16, &entry.kind.code().to_le_bytes());
    }
    Ok(page)
}
