//! Offsets and bits of configuration space. PCI 3.0 §6.1, PCIe 6.0 §7.5.

/// Vendor id, 16 bits.
pub const VENDOR_ID: u16 = 0x00;
/// Device id, 16 bits.
pub const DEVICE_ID: u16 = 0x02;
/// Command register, 16 bits.
pub const COMMAND: u16 = 0x04;
/// Status register, 16 bits.
pub const STATUS: u16 = 0x06;
/// Revision id, 8 bits; the class code follows in the upper 24 bits of the same word.
pub const REVISION: u16 = 0x08;
/// Header type, 8 bits.
pub const HEADER_TYPE: u16 = 0x0e;
/// First base address register.
pub const BAR0: u16 = 0x10;
/// Subsystem vendor id, 16 bits.
pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
/// Subsystem id, 16 bits.
pub const SUBSYSTEM_ID: u16 = 0x2e;
/// First capability, 8 bits.
pub const CAPABILITIES: u16 = 0x34;
/// Interrupt line, 8 bits, for software.
pub const INTERRUPT_LINE: u16 = 0x3c;
/// Interrupt pin, 8 bits: 0 none, 1 to 4 for A to D.
pub const INTERRUPT_PIN: u16 = 0x3d;

/// Command: decode memory BARs.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: may master the bus.
pub const COMMAND_MASTER: u16 = 1 << 2;
/// Command: keep the INTx pin quiet.
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Status: the function wants its INTx pin asserted.
pub const STATUS_INTX: u16 = 1 << 3;
/// Status: there is a capability list.
pub const STATUS_CAPABILITIES: u16 = 1 << 4;

/// Capability id of MSI.
pub const CAP_MSI: u8 = 0x05;
/// Capability id of vendor specific structures.
pub const CAP_VENDOR: u8 = 0x09;
/// Capability id of PCI Express.
pub const CAP_PCIE: u8 = 0x10;
/// Capability id of MSI-X.
pub const CAP_MSIX: u8 = 0x11;

/// MSI message control: enabled.
pub const MSI_ENABLE: u16 = 1;
/// MSI message control: 64-bit addresses.
pub const MSI_64BIT: u16 = 1 << 7;
/// MSI message control: mask and pending registers are there.
pub const MSI_MASKABLE: u16 = 1 << 8;
/// MSI-X message control: enabled.
pub const MSIX_ENABLE: u16 = 1 << 15;
/// MSI-X message control: all vectors masked.
pub const MSIX_FUNCTION_MASK: u16 = 1 << 14;
/// Bytes of one MSI-X table entry.
pub const MSIX_ENTRY: u64 = 16;
