//! The register map. VT-d 4.1 §11.1 (location), §11.4 (descriptions).

use bitfield_struct::bitfield;

/// Bytes of the register block.
pub const SIZE: u64 = 4096;
/// Where the fault recording registers are (CAP.FRO, in 16-byte units). They may fill the rest up to the IOTLB registers.
pub const FRO: u64 = 0x400;
/// Where IVA and IOTLB are (ECAP.IRO, in 16-byte units).
pub const IRO: u64 = 0xc00;
/// Most fault recording registers that fit between [`FRO`] and [`IRO`].
pub const MAX_FAULT_RECORDS: usize = ((IRO - FRO) / 16) as usize;

macro_rules! registers {
    ($($(#[doc = $doc:literal])* $name:ident = $offset:expr, $size:literal;)*) => {
        /// A register, by its name in the specification. Reserved offsets have none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Register {
            $($(#[doc = $doc])* $name,)*
            /// Fault recording register of this number: low or high quadword.
            FRCD(u16, bool),
        }

        impl Register {
            /// Every register of fixed place: offset, bytes, name.
            pub const MAP: &'static [(u64, u64, Register)] = &[$(($offset, $size, Register::$name),)*];
        }
    };
}

registers! {
    /// Version. §11.4.1.
    VER = 0x00, 4;
    /// Capability. §11.4.2.
    CAP = 0x08, 8;
    /// Extended capability. §11.4.3.
    ECAP = 0x10, 8;
    /// Global command. §11.4.4.1.
    GCMD = 0x18, 4;
    /// Global status. §11.4.4.2.
    GSTS = 0x1c, 4;
    /// Root table address. §11.4.5.
    RTADDR = 0x20, 8;
    /// Context command. §11.4.6.1.
    CCMD = 0x28, 8;
    /// Fault status. §11.4.7.1.
    FSTS = 0x34, 4;
    /// Fault event control. §11.4.7.2.
    FECTL = 0x38, 4;
    /// Fault event data. §11.4.7.3.
    FEDATA = 0x3c, 4;
    /// Fault event address. §11.4.7.4.
    FEADDR = 0x40, 4;
    /// Fault event upper address. §11.4.7.5.
    FEUADDR = 0x44, 4;
    /// Protected memory enable. §11.4.8.1.
    PMEN = 0x64, 4;
    /// Protected low memory base. §11.4.8.2.
    PLMBASE = 0x68, 4;
    /// Protected low memory limit. §11.4.8.3.
    PLMLIMIT = 0x6c, 4;
    /// Protected high memory base. §11.4.8.4.
    PHMBASE = 0x70, 8;
    /// Protected high memory limit. §11.4.8.5.
    PHMLIMIT = 0x78, 8;
    /// Invalidation queue head. §11.4.9.1.
    IQH = 0x80, 8;
    /// Invalidation queue tail. §11.4.9.2.
    IQT = 0x88, 8;
    /// Invalidation queue address. §11.4.9.3.
    IQA = 0x90, 8;
    /// Invalidation completion status. §11.4.9.4.
    ICS = 0x9c, 4;
    /// Invalidation event control. §11.4.9.5.
    IECTL = 0xa0, 4;
    /// Invalidation event data. §11.4.9.6.
    IEDATA = 0xa4, 4;
    /// Invalidation event address. §11.4.9.7.
    IEADDR = 0xa8, 4;
    /// Invalidation event upper address. §11.4.9.8.
    IEUADDR = 0xac, 4;
    /// Invalidation queue error record. §11.4.9.9.
    IQERCD = 0xb0, 8;
    /// Interrupt remapping table address. §11.4.10.
    IRTA = 0xb8, 8;
    /// Page request queue head. §11.4.11.1.
    PQH = 0xc0, 8;
    /// Page request queue tail. §11.4.11.2.
    PQT = 0xc8, 8;
    /// Page request queue address. §11.4.11.3.
    PQA = 0xd0, 8;
    /// Page request status. §11.4.11.4.
    PRS = 0xdc, 4;
    /// Page request event control. §11.4.11.5.
    PECTL = 0xe0, 4;
    /// Page request event data. §11.4.11.6.
    PEDATA = 0xe4, 4;
    /// Page request event address. §11.4.11.7.
    PEADDR = 0xe8, 4;
    /// Page request event upper address. §11.4.11.8.
    PEUADDR = 0xec, 4;
    /// Invalidate address. §11.4.6.3.
    IVA = IRO, 8;
    /// IOTLB invalidate. §11.4.6.2.
    IOTLB = IRO + 8, 8;
}

/// GCMD and GSTS bits: a command has its status at the same place. VT-d 4.1 §11.4.4.
pub mod global {
    /// TE: translation.
    pub const TE: u32 = 1 << 31;
    /// SRTP: set root table pointer.
    pub const SRTP: u32 = 1 << 30;
    /// WBF: write buffer flush.
    pub const WBF: u32 = 1 << 27;
    /// QIE: queued invalidation.
    pub const QIE: u32 = 1 << 26;
    /// IRE: interrupt remapping.
    pub const IRE: u32 = 1 << 25;
    /// SIRTP: set interrupt remap table pointer.
    pub const SIRTP: u32 = 1 << 24;
    /// CFI: compatibility format interrupts.
    pub const CFI: u32 = 1 << 23;
}

/// FSTS bits. VT-d 4.1 §11.4.7.1.
pub mod fsts {
    /// PFO: a fault was lost.
    pub const PFO: u32 = 1;
    /// PPF: a record is pending.
    pub const PPF: u32 = 1 << 1;
    /// IQE: invalidation queue error.
    pub const IQE: u32 = 1 << 4;
    /// ICE: invalidation completion error.
    pub const ICE: u32 = 1 << 5;
    /// ITE: invalidation time-out.
    pub const ITE: u32 = 1 << 6;
    /// Bits cleared by writing 1.
    pub const W1C: u32 = PFO | IQE | ICE | ITE;
}

/// IM of FECTL, IECTL, PECTL: the event is masked.
pub const EVENT_MASKED: u32 = 1 << 31;
/// IP of FECTL, IECTL, PECTL: an event is held back.
pub const EVENT_PENDING: u32 = 1 << 30;
/// ICS.IWC.
pub const IWC: u32 = 1;
/// PRS.PPR.
pub const PPR: u32 = 1;
/// PRS.PRO.
pub const PRO: u32 = 2;
/// PMEN.EPM.
pub const EPM: u32 = 1 << 31;
/// PMEN.PRS.
pub const PMEN_PRS: u32 = 1;
/// IQA.DW: descriptors of 256 bits.
pub const IQA_DW: u64 = 1 << 11;
/// IRTA.EIME: x2APIC destinations.
pub const EIME: u64 = 1 << 11;
/// CCMD.ICC.
pub const ICC: u64 = 1 << 63;
/// IOTLB.IVT.
pub const IVT: u64 = 1 << 63;

/// RTADDR.TTM. VT-d 4.1 §11.4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TableMode {
    /// Legacy.
    Legacy = 0,
    /// Scalable.
    Scalable = 1,
    /// Not defined.
    Reserved = 2,
    /// Every request is aborted.
    Abort = 3,
}

impl TableMode {
    /// The mode in a root table address.
    pub const fn of(rtaddr: u64) -> Self {
        match rtaddr >> 10 & 3 {
            0 => Self::Legacy,
            1 => Self::Scalable,
            2 => Self::Reserved,
            _ => Self::Abort,
        }
    }
}

/// CAP. VT-d 4.1 §11.4.2.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Cap {
    /// Domains: 2^(4 + 2 * this).
    #[bits(3)]
    pub nd: u8,
    /// Advanced fault logging (never).
    pub afl: bool,
    /// Write buffers must be flushed.
    pub rwbf: bool,
    /// Protected low memory.
    pub plmr: bool,
    /// Protected high memory.
    pub phmr: bool,
    /// Caching mode.
    pub cm: bool,
    /// Second-stage widths: bit 1 is 39, bit 2 is 48, bit 3 is 57.
    #[bits(5)]
    pub sagaw: u8,
    #[bits(3)]
    __: u8,
    /// Largest guest address width minus 1.
    #[bits(6)]
    pub mgaw: u8,
    /// Zero length reads.
    pub zlr: bool,
    __: bool,
    /// Fault recording registers, in 16 bytes.
    #[bits(10)]
    pub fro: u16,
    /// Second-stage large pages: bit 0 is 2 MiB, bit 1 is 1 GiB.
    #[bits(4)]
    pub sslps: u8,
    __: bool,
    /// Page-selective invalidation.
    pub psi: bool,
    /// Fault recording registers minus 1.
    pub nfr: u8,
    /// Largest address mask of an invalidation.
    #[bits(6)]
    pub mamv: u8,
    /// Writes are drained.
    pub dwd: bool,
    /// Reads are drained.
    pub drd: bool,
    /// First-stage 1 GiB pages.
    pub fs1gp: bool,
    #[bits(2)]
    __: u8,
    /// Posted interrupts.
    pub pi: bool,
    /// First-stage 5-level paging.
    pub fs5lp: bool,
    /// Enhanced commands (never).
    pub ecmds: bool,
    /// SIRTP invalidates the interrupt entry cache.
    pub esirtps: bool,
    /// SRTP invalidates the translation caches.
    pub esrtps: bool,
}

/// ECAP. VT-d 4.1 §11.4.3.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Ecap {
    /// Page walks are coherent (legacy mode).
    pub c: bool,
    /// Queued invalidation.
    pub qi: bool,
    /// Device TLBs.
    pub dt: bool,
    /// Interrupt remapping.
    pub ir: bool,
    /// Extended interrupt mode.
    pub eim: bool,
    __: bool,
    /// Pass-through.
    pub pt: bool,
    /// Snoop control.
    pub sc: bool,
    /// IOTLB registers, in 16 bytes.
    #[bits(10)]
    pub iro: u16,
    #[bits(2)]
    __: u8,
    /// Largest handle mask.
    #[bits(4)]
    pub mhmv: u8,
    __: bool,
    /// Memory types.
    pub mts: bool,
    /// Nested translation.
    pub nest: bool,
    #[bits(2)]
    __: u8,
    /// Page requests.
    pub prs: bool,
    /// Execute requests.
    pub ers: bool,
    /// Supervisor requests.
    pub srs: bool,
    __: bool,
    /// No-write flag.
    pub nwfs: bool,
    /// Extended accessed flags.
    pub eafs: bool,
    /// PASID bits minus 1.
    #[bits(5)]
    pub pss: u8,
    /// PASIDs.
    pub pasid: bool,
    /// Device-TLB invalidation throttle.
    pub dit: bool,
    /// Page request drain.
    pub pds: bool,
    /// Scalable mode.
    pub smts: bool,
    /// Virtual commands (never).
    pub vcs: bool,
    /// Second-stage accessed and dirty bits.
    pub ssads: bool,
    /// Second stage.
    pub ssts: bool,
    /// First stage.
    pub fsts: bool,
    /// Page walks are coherent (scalable mode).
    pub smpwcs: bool,
    /// RID_PASID.
    pub rps: bool,
    __: bool,
    /// Performance monitoring (never).
    pub pms: bool,
    /// Abort-DMA mode.
    pub adms: bool,
    /// RID_PRIV.
    pub rprivs: bool,
    #[bits(10)]
    __: u16,
}
