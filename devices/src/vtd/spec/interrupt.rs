//! Interrupt requests, interrupt remapping table entries, posted interrupt descriptors.
//! VT-d 4.1 §5.1.2 (request formats), §9.9 (remapped IRTE), §9.10 (posted IRTE), §9.11 (posted interrupt descriptor).

use bitfield_struct::bitfield;

use super::mask;

/// Bytes of an IRTE.
pub const SIZE: u64 = 16;

/// The low quadword of an IRTE with IM clear. VT-d 4.1 §9.9.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Remapped {
    /// P.
    pub present: bool,
    /// FPD.
    pub fault_processing_disabled: bool,
    /// DM: logical destination.
    pub logical: bool,
    /// RH.
    pub redirection_hint: bool,
    /// TM: level triggered.
    pub level: bool,
    /// DLM.
    #[bits(3)]
    pub delivery_mode: u8,
    /// For software.
    #[bits(4)]
    pub available: u8,
    #[bits(3)]
    __: u8,
    /// IM: posted.
    pub posted: bool,
    /// V.
    pub vector: u8,
    __: u8,
    /// DST: an x2APIC id, or an xAPIC id in bits 15:8.
    pub destination: u32,
}

impl Remapped {
    /// Bits that must be zero: 14:12 and 31:24.
    pub const RESERVED: u64 = mask(14, 12) | mask(31, 24);
    /// DST bits that must be zero in xAPIC mode (EIME clear).
    pub const RESERVED_XAPIC: u64 = mask(63, 48) | mask(39, 32);
}

/// The low quadword of an IRTE with IM set. VT-d 4.1 §9.10.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Posted {
    /// P.
    pub present: bool,
    /// FPD.
    pub fault_processing_disabled: bool,
    #[bits(6)]
    __: u8,
    /// For software.
    #[bits(4)]
    pub available: u8,
    #[bits(2)]
    __: u8,
    /// URG.
    pub urgent: bool,
    /// IM: posted.
    pub posted: bool,
    /// V.
    pub vector: u8,
    #[bits(14)]
    __: u16,
    /// PDA low: bits 31:6 of the descriptor's address.
    #[bits(26)]
    pub descriptor_low: u32,
}

impl Posted {
    /// Bits that must be zero: 7:2, 13:12, 37:24.
    pub const RESERVED: u64 = mask(7, 2) | mask(13, 12) | mask(37, 24);
}

/// The high quadword of any IRTE. VT-d 4.1 §9.9.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Verify {
    /// SID.
    pub source: u16,
    /// SQ: low source-id bits that SVT = 1 does not compare.
    #[bits(2)]
    pub qualifier: u8,
    /// SVT: 0 none, 1 source-id, 2 bus range, 3 reserved.
    #[bits(2)]
    pub validation: u8,
    #[bits(12)]
    __: u16,
    /// PDA high (posted), reserved otherwise.
    pub descriptor_high: u32,
}

impl Verify {
    /// Bits that must be zero in a remapped entry.
    pub const RESERVED_REMAPPED: u64 = mask(63, 20);
    /// Bits that must be zero in a posted entry.
    pub const RESERVED_POSTED: u64 = mask(31, 20);
}

/// Offset of the control quadword in a posted interrupt descriptor, bytes. The 256 request bits are before it. VT-d 4.1 §9.11.
pub const PID_CONTROL: u64 = 32;
/// Bytes of a posted interrupt descriptor, and its alignment.
pub const PID_SIZE: u64 = 64;

/// The control quadword of a posted interrupt descriptor. VT-d 4.1 §9.11.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct PidControl {
    /// ON: outstanding notification.
    pub outstanding: bool,
    /// SN: suppress notification.
    pub suppress: bool,
    #[bits(14)]
    __: u16,
    /// NV: notification vector.
    pub vector: u8,
    __: u8,
    /// NDST: notification destination.
    pub destination: u32,
}

impl PidControl {
    /// Bits that must be zero: 271:258 and 287:280 of the descriptor.
    pub const RESERVED: u64 = mask(15, 2) | mask(31, 24);
    /// NDST bits that must be zero in xAPIC mode.
    pub const RESERVED_XAPIC: u64 = mask(63, 48) | mask(39, 32);
}

/// Address of a remappable interrupt request. VT-d 4.1 §5.1.2.2.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct RequestAddress {
    #[bits(2)]
    __: u8,
    /// HANDLE[15].
    pub handle_high: bool,
    /// SHV: the data holds a subhandle.
    pub subhandle_valid: bool,
    /// Interrupt format: set for remappable.
    pub remappable: bool,
    /// HANDLE[14:0].
    #[bits(15)]
    pub handle_low: u16,
    /// 0xfee.
    #[bits(12)]
    pub prefix: u16,
}
