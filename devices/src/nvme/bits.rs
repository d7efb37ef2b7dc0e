//! Layouts and codes of NVM Express 1.4; no behaviour.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Controller capabilities. NVMe 1.4 §3.1.1.
pub const CAP: u64 = 0x00;
/// Version. NVMe 1.4 §3.1.2.
pub const VS: u64 = 0x08;
/// Interrupt mask set. NVMe 1.4 §3.1.3.
pub const INTMS: u64 = 0x0c;
/// Interrupt mask clear. NVMe 1.4 §3.1.4.
pub const INTMC: u64 = 0x10;
/// Controller configuration. NVMe 1.4 §3.1.5.
pub const CC: u64 = 0x14;
/// Controller status. NVMe 1.4 §3.1.6.
pub const CSTS: u64 = 0x1c;
/// Admin queue attributes. NVMe 1.4 §3.1.8.
pub const AQA: u64 = 0x24;
/// Admin submission queue base address. NVMe 1.4 §3.1.9.
pub const ASQ: u64 = 0x28;
/// Admin completion queue base address. NVMe 1.4 §3.1.10.
pub const ACQ: u64 = 0x30;
/// First doorbell. NVMe 1.4 §3.1.24.
pub const DOORBELLS: u64 = 0x1000;

/// NVMe 1.4.0.
pub const VERSION: u32 = 0x0001_0400;

/// CAP. NVMe 1.4 §3.1.1.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Cap {
    /// Largest queue, entries minus 1.
    pub mqes: u16,
    /// Queues must be contiguous.
    pub cqr: bool,
    /// Arbitration mechanisms beyond round robin.
    #[bits(2)]
    pub ams: u8,
    #[bits(5)]
    __: u8,
    /// Longest time to become ready, in 500 ms.
    pub to: u8,
    /// Doorbell stride, 4 << this.
    #[bits(4)]
    pub dstrd: u8,
    /// Subsystem reset.
    pub nssrs: bool,
    /// Command sets; bit 0 is NVM.
    pub css: u8,
    /// Boot partitions.
    pub bps: bool,
    #[bits(2)]
    __: u8,
    /// Smallest page, 4096 << this.
    #[bits(4)]
    pub mpsmin: u8,
    /// Largest page, 4096 << this.
    #[bits(4)]
    pub mpsmax: u8,
    __: u8,
}

/// CC. NVMe 1.4 §3.1.5.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Cc {
    /// Enable.
    pub en: bool,
    #[bits(3)]
    __: u8,
    /// Command set; 0 is NVM.
    #[bits(3)]
    pub css: u8,
    /// Page size, 4096 << this.
    #[bits(4)]
    pub mps: u8,
    /// Arbitration; 0 is round robin.
    #[bits(3)]
    pub ams: u8,
    /// Shutdown notification.
    #[bits(2)]
    pub shn: u8,
    /// Log2 of the submission queue entry.
    #[bits(4)]
    pub iosqes: u8,
    /// Log2 of the completion queue entry.
    #[bits(4)]
    pub iocqes: u8,
    __: u8,
}

/// CSTS. NVMe 1.4 §3.1.6.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Csts {
    /// Ready.
    pub rdy: bool,
    /// Fatal status.
    pub cfs: bool,
    /// Shutdown status; 2 is complete.
    #[bits(2)]
    pub shst: u8,
    #[bits(28)]
    __: u32,
}

/// A submission queue entry. NVMe 1.4 §4.2.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sqe {
    /// Opcode.
    pub opcode: u8,
    /// FUSE (1:0) and PSDT (7:6).
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// Namespace.
    pub nsid: U32,
    /// Reserved.
    pub cdw2: U32,
    /// Reserved.
    pub cdw3: U32,
    /// Metadata pointer.
    pub mptr: U64,
    /// First PRP entry.
    pub prp1: U64,
    /// Second PRP entry, or a list.
    pub prp2: U64,
    /// Command specific.
    pub cdw10: U32,
    /// Command specific.
    pub cdw11: U32,
    /// Command specific.
    pub cdw12: U32,
    /// Command specific.
    pub cdw13: U32,
    /// Command specific.
    pub cdw14: U32,
    /// Command specific.
    pub cdw15: U32,
}

/// A completion queue entry. NVMe 1.4 §4.6.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cqe {
    /// Command specific.
    pub dw0: U32,
    /// Reserved.
    pub dw1: U32,
    /// Head of the submission queue.
    pub sqhd: U16,
    /// Submission queue.
    pub sqid: U16,
    /// Command identifier.
    pub cid: U16,
    /// Status (15:1) and phase (0).
    pub status: U16,
}

/// A range of Dataset Management. NVMe 1.4 §6.7.1.1.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DsmRange {
    /// Context attributes.
    pub attributes: U32,
    /// Blocks.
    pub nlb: U32,
    /// First block.
    pub slba: U64,
}

/// Size of a submission queue entry, bytes.
pub const SQE_SIZE: u64 = 64;
/// Size of a completion queue entry, bytes.
pub const CQE_SIZE: u64 = 16;

/// A status field without its phase: SC (7:0), SCT (10:8), M (13), DNR (14). NVMe 1.4 §4.6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

const DNR: u16 = 1 << 14;

impl Status {
    /// Successful Completion.
    pub const SUCCESS: Status = Status(0);
    /// Invalid Command Opcode.
    pub const INVALID_OPCODE: Status = Status(0x01 | DNR);
    /// Invalid Field in Command.
    pub const INVALID_FIELD: Status = Status(0x02 | DNR);
    /// Data Transfer Error.
    pub const DATA_TRANSFER: Status = Status(0x04);
    /// Internal Error.
    pub const INTERNAL: Status = Status(0x06);
    /// Invalid Namespace or Format.
    pub const INVALID_NAMESPACE: Status = Status(0x0b | DNR);
    /// Command Sequence Error.
    pub const SEQUENCE: Status = Status(0x0c | DNR);
    /// PRP Offset Invalid.
    pub const PRP_OFFSET: Status = Status(0x13 | DNR);
    /// Namespace is Write Protected.
    pub const WRITE_PROTECTED: Status = Status(0x20 | DNR);
    /// LBA Out of Range.
    pub const LBA_RANGE: Status = Status(0x80 | DNR);
    /// Capacity Exceeded.
    pub const CAPACITY: Status = Status(0x81 | DNR);
    /// Completion Queue Invalid.
    pub const CQ_INVALID: Status = Status(0x100 | DNR);
    /// Invalid Queue Identifier.
    pub const QUEUE_ID: Status = Status(0x101 | DNR);
    /// Invalid Queue Size.
    pub const QUEUE_SIZE: Status = Status(0x102 | DNR);
    /// Asynchronous Event Request Limit Exceeded.
    pub const AER_LIMIT: Status = Status(0x105 | DNR);
    /// Invalid Interrupt Vector.
    pub const VECTOR: Status = Status(0x108 | DNR);
    /// Invalid Log Page.
    pub const LOG_PAGE: Status = Status(0x109 | DNR);
    /// Invalid Queue Deletion.
    pub const QUEUE_DELETION: Status = Status(0x10c | DNR);
    /// Feature Identifier Not Saveable.
    pub const NOT_SAVEABLE: Status = Status(0x10d | DNR);
    /// Feature Not Changeable.
    pub const NOT_CHANGEABLE: Status = Status(0x10e | DNR);
    /// Write Fault.
    pub const WRITE_FAULT: Status = Status(0x280);
    /// Unrecovered Read Error.
    pub const UNRECOVERED_READ: Status = Status(0x281);
    /// Compare Failure.
    pub const COMPARE: Status = Status(0x285 | DNR);

    /// True if the command succeeded.
    pub fn is_success(self) -> bool {
        self.0 == 0
    }

    /// True for media and data integrity errors.
    pub fn is_media(self) -> bool {
        self.0 >> 8 & 7 == 2
    }
}
