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
/// RAM is a multiple of this, in bytes.
pub const MEMORY_STEP: u64 = 16 << 20;
/// Size of a logical memory block: memory that can grow comes in these, in bytes.
pub const LMB_SIZE: u64 = 256 << 20;

/// Most vCPUs.
pub const CPUS_MAX: u32 = 8;

/// Version of the processor that a guest reads: POWER9 DD2.0.
pub const PVR: u32 = 0x004e_1200;

/// Most host bridges.
pub const BRIDGES_MAX: u32 = 4;

/// Where a host bridge is: its unit id, real addresses and interrupt sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its number, from 0 and below [`BRIDGES_MAX`].
    pub index: u32,
    /// Bus unit id.
    pub buid: u64,
    /// TCE table of its default window; those of its dynamic windows follow.
    pub liobn: u32,
    /// Its 32-bit memory range: real address, bus address, bytes.
    pub mmio32: (u64, u64, u64),
    /// Its 64-bit memory range: real address, bus address, bytes.
    pub mmio64: (u64, u64, u64),
    /// First of its four level sources.
    pub lsi_base: u32,
    /// First of its [`MSI_COUNT`] sources for messages.
    pub msi_base: u32,
}

/// The place of host bridge `index`.
pub const fn bridge(index: u32) -> Bridge {
    let n = index as u64;
    let wide = 0x2100_0000_0000 + (n << 40);
    Bridge {
        index,
        buid: 0x0800_0000_2000_0000 + n,
        liobn: 0x8000_0000 + (index << 16),
        mmio32: (0x2000_8000_0000 + (n << 32), 0x8000_0000, 0x8000_0000),
        mmio64: (wide, wide, 1 << 40),
        lsi_base: 0x1200 + 4 * index,
        msi_base: MSI_BASE + MSI_COUNT * index,
    }
}

/// Most functions behind one: slots 1 to 31.
pub const SLOTS: usize = 31;

/// Connector of memory block 0; those of the next ones follow.
pub const LMB_DRC: u32 = 0x8000_0000;

/// Connector of host bridge `bridge`.
pub const fn bridge_drc(bridge: u32) -> u32 {
    0x2000_0000 | bridge
}

/// Connector of the function at `devfn` behind host bridge `bridge`.
pub const fn function_drc(bridge: u32, devfn: u8) -> u32 {
    0x4000_0000 | bridge << 8 | devfn as u32
}

/// Interrupt source of the console.
pub const VTY_IRQ: u32 = 0x1100;
/// First source for messages.
pub const MSI_BASE: u32 = 0x1300;
/// How many a bridge has.
pub const MSI_COUNT: u32 = 1024;
/// Unit address of the NVRAM's node.
pub const NVRAM_UNIT: u32 = 0x7100_0001;
