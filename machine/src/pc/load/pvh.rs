//! The PVH entry: `struct hvm_start_info`. Xen `public/arch-x86/hvm/start_info.h`.

use std::ops::Range;

use super::MapEntry;

/// Its address; lists follow it.
pub const START_INFO: u64 = 0x6000;
const MAGIC: u32 = 0x336e_c578;
/// Size of the structure of version 1, and of a module's entry.
const SIZE: u64 = 56;
const MODULE: u64 = 32;

/// The structure with its module list and memory map behind it.
pub fn start_info(
    map: &[MapEntry],
    command_line: u64,
    initrd: Option<&Range<u64>>,
    rsdp: u64,
) -> Vec<u8> {
    let modules = START_INFO + SIZE;
    let memory_map = modules + MODULE;
    let list = if initrd.is_some() { modules } else { 0 };
    let disk = initrd.cloned().unwrap_or_default();
    let mut out = Vec::new();
    for n in [MAGIC, 1, 0, initrd.is_some().into()] {
        out.extend(u32::to_le_bytes(n));
    }
    // The last of the structure is the number of the map's entries and a reserved word; the module's command line is absent.
    let mut longs = vec![list, command_line, rsdp, memory_map, map.len() as u64];
    longs.extend([disk.start, disk.end - disk.start, 0, 0]);
    for entry in map {
        longs.extend([
            entry.start,
            entry.end - entry.start,
            entry.kind.code().into(),
        ]);
    }
    out.extend(longs.into_iter().flat_map(u64::to_le_bytes));
    out
}
