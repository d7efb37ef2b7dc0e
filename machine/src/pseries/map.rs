//! Where things are: real addresses, unit numbers, interrupt numbers. Everything that must agree between the device tree and the devices.

/// RTAS argument buffers and everything else that firmware leaves behind stays below this address.
pub const FIRMWARE_TOP: u64 = 0x8000_0000;
/// Room for the device tree, in bytes.
pub const DTB_ROOM: u64 = 0x20_0000;
/// Room for RTAS, in bytes.
pub const RTAS_ROOM: u64 = 0x1_0000;
/// Where `--kernel` is loaded if `--bios` has real address 0.
pub const KERNEL_UNDER_BIOS: u64 = 0x40_0000;
/// Real address at which a `--bios` image is entered.
pub const BIOS_ENTRY: u64 = 0x100;

/// Smallest RAM, in bytes.
pub const MEMORY_MIN: u64 = 64 << 20;
/// Largest RAM, in bytes.
pub const MEMORY_MAX: u64 = 1 << 40;
/// RAM is a multiple of this (the size of a logical memory block), in bytes.
pub const MEMORY_STEP: u64 = 16 << 20;
/// Most vCPUs.
pub const CPUS_MAX: u32 = 8;

/// Version of the processor that a guest reads: POWER9 DD2.0.
pub const PVR: u32 = 0x004e_1200;

/// Bus unit id of the host bridge.
pub const PHB_BUID: u64 = 0x0800_0000_2000_0000;
/// TCE table of its default window.
pub const PHB_LIOBN: u32 = 0x8000_0000;
/// Its 32-bit memory range: real address, bus address, bytes.
pub const MMIO32: (u64, u64, u64) = (0x2000_8000_0000, 0x8000_0000, 0x8000_0000);
/// Its 64-bit memory range: real address, bus address, bytes.
pub const MMIO64: (u64, u64, u64) = (0x2100_0000_0000, 0x2100_0000_0000, 0x100_0000_0000);
/// Most functions behind it: slots 1 to 31.
pub const SLOTS: usize = 31;

/// Interrupt source of the console.
pub const VTY_IRQ: u32 = 0x1100;
/// First of the four level sources of the host bridge.
pub const LSI_BASE: u32 = 0x1200;
/// First source for messages.
pub const MSI_BASE: u32 = 0x1300;
/// How many there are.
pub const MSI_COUNT: u32 = 1024;
/// Unit address of the NVRAM's node.
pub const NVRAM_UNIT: u32 = 0x7100_0001;
