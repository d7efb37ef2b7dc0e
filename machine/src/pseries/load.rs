//! Puts kernel, initial RAM disk and firmware into RAM.

use vm_memory::{Bytes, GuestAddress};
use viommu_devices::memory::GuestRam;

use super::config::{ConfigError, MachineConfig};
use super::elf;
use super::map;

/// Where everything lies: real addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Where the first vCPU starts.
    pub entry: u64,
    /// Lowest address of the kernel; 0 without one.
    pub kernel_base: u64,
    /// Initial RAM disk: start and end.
    pub initrd: Option<(u64, u64)>,
    /// Start of the RTAS blob.
    pub rtas: u64,
    /// Start of the device tree.
    pub dtb: u64,
}

/// RTAS as a guest calls it: moves the argument block's address to r4, H_RTAS to r3, makes the hypercall and returns.
pub const RTAS_BLOB: [u32; 5] = [0x7c64_1b78, 0x3c60_0000, 0x6063_f000, 0x4400_0022, 0x4e80_0020];

/// Loads images into `ram` and plans the rest. The device tree itself is written later, at [`Layout::dtb`].
///
/// # Errors
/// [`ConfigError`] for a bad kernel or for something that does not fit.
pub fn load(ram: &GuestRam, config: &MachineConfig) -> Result<Layout, ConfigError> {
    let top = config.memory.min(map::FIRMWARE_TOP);
    let dtb = top - map::DTB_ROOM;
    let rtas = dtb - map::RTAS_ROOM;
    let mut layout = Layout { rtas, dtb, ..Layout::default() };
    let mut free = 0;
    if let Some(bios) = &config.bios {
        fits("firmware image", bios.len() as u64, rtas)?;
        write(ram, 0, bios, "firmware image", rtas)?;
        layout.entry = map::BIOS_ENTRY;
        free = bios.len() as u64;
    }
    if let Some(kernel) = &config.kernel {
        let image = elf::parse(kernel)?;
        let base = if config.bios.is_some() { map::KERNEL_UNDER_BIOS } else { image.linked_at };
        if base < free {
            return Err(ConfigError::DoesNotFit { what: "firmware image", need: free, room: base });
        }
        fits("kernel", image.size, rtas.saturating_sub(base))?;
        for s in &image.segments {
            let bytes = kernel.get(s.file_offset..s.file_offset + s.file_size).unwrap_or_default();
            write(ram, base + s.offset, bytes, "kernel", rtas)?;
        }
        layout.kernel_base = base;
        if config.bios.is_none() {
            layout.entry = base + image.entry;
        }
        free = base + image.size;
    } else if config.bios.is_none() {
        return Err(ConfigError::NothingToRun);
    }
    if let Some(initrd) = &config.initrd {
        let start = free.next_multiple_of(0x1_0000);
        let need = initrd.len() as u64;
        fits("initrd", need, rtas.saturating_sub(start))?;
        write(ram, start, initrd, "initrd", rtas)?;
        layout.initrd = Some((start, start + need));
    }
    let blob: Vec<u8> = RTAS_BLOB.iter().flat_map(|w| w.to_be_bytes()).collect();
    write(ram, rtas, &blob, "RTAS blob", map::RTAS_ROOM)?;
    Ok(layout)
}

/// Writes the device tree.
///
/// # Errors
/// [`ConfigError::DoesNotFit`] if it is larger than [`map::DTB_ROOM`].
pub fn write_dtb(ram: &GuestRam, layout: &Layout, dtb: &[u8]) -> Result<(), ConfigError> {
    fits("device tree", dtb.len() as u64, map::DTB_ROOM)?;
    write(ram, layout.dtb, dtb, "device tree", map::DTB_ROOM)
}

fn fits(what: &'static str, need: u64, room: u64) -> Result<(), ConfigError> {
    if need > room { Err(ConfigError::DoesNotFit { what, need, room }) } else { Ok(()) }
}

fn write(ram: &GuestRam, at: u64, bytes: &[u8], what: &'static str, room: u64) -> Result<(), ConfigError> {
    ram.write_slice(bytes, GuestAddress(at)).map_err(|_| ConfigError::DoesNotFit { what, need: bytes.len() as u64, room })
}
