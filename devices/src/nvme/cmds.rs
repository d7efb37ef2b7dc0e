//! Commands, parsed from submission queue entries.

use super::bits::{Sqe, Status};
use crate::dma::Iova;

/// Where the data of a command is. NVMe 1.4 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prps {
    /// PRP entry 1.
    pub prp1: Iova,
    /// PRP entry 2.
    pub prp2: Iova,
}

/// A command of the admin queue. NVMe 1.4 §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Delete I/O Submission Queue: queue.
    DeleteSq(u16),
    /// Create I/O Submission Queue.
    CreateSq {
        /// Queue.
        qid: u16,
        /// Entries minus 1.
        size: u16,
        /// Completion queue.
        cqid: u16,
        /// Physically contiguous.
        contiguous: bool,
        /// Base address.
        base: Iova,
    },
    /// Get Log Page.
    GetLog {
        /// Log page.
        lid: u8,
        /// Retain asynchronous event.
        retain: bool,
        /// Bytes.
        len: u64,
        /// Offset in bytes.
        offset: u64,
    },
    /// Delete I/O Completion Queue: queue.
    DeleteCq(u16),
    /// Create I/O Completion Queue.
    CreateCq {
        /// Queue.
        qid: u16,
        /// Entries minus 1.
        size: u16,
        /// Vector.
        vector: u16,
        /// Interrupts enabled.
        interrupts: bool,
        /// Physically contiguous.
        contiguous: bool,
        /// Base address.
        base: Iova,
    },
    /// Identify: CNS.
    Identify(u8),
    /// Abort: queue and command.
    Abort {
        /// Submission queue.
        sqid: u16,
        /// Command.
        cid: u16,
    },
    /// Set Features.
    SetFeatures {
        /// Feature.
        fid: u8,
        /// Save.
        save: bool,
        /// Value.
        value: u32,
    },
    /// Get Features.
    GetFeatures {
        /// Feature.
        fid: u8,
        /// 0 current, 1 default, 2 saved, 3 capabilities.
        select: u8,
        /// Qualifier in dword 11.
        value: u32,
    },
    /// Asynchronous Event Request.
    AsyncEvent,
}

/// A command of an I/O queue. NVMe 1.4 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoCommand {
    /// Flush.
    Flush,
    /// Write.
    Write(Blocks),
    /// Read.
    Read(Blocks),
    /// Compare.
    Compare(Blocks),
    /// Write Zeroes.
    WriteZeroes(Blocks),
    /// Dataset Management.
    Dsm {
        /// Ranges, 1 to 256.
        ranges: usize,
        /// Deallocate.
        deallocate: bool,
    },
}

/// The blocks of an I/O command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// First block.
    pub slba: u64,
    /// How many, 1 to 65536.
    pub count: u64,
    /// Force unit access.
    pub fua: bool,
}

impl Sqe {
    /// The data pointer.
    pub fn prps(&self) -> Prps {
        Prps {
            prp1: Iova(self.prp1.get()),
            prp2: Iova(self.prp2.get()),
        }
    }

    /// Rejects fused commands and SGLs. NVMe 1.4 §4.2.
    fn plain(&self) -> Result<(), Status> {
        if self.flags & 0xc3 == 0 {
            Ok(())
        } else {
            Err(Status::INVALID_FIELD)
        }
    }

    /// Parses an admin command.
    ///
    /// # Errors
    /// Invalid Command Opcode, or Invalid Field for fused commands and SGLs.
    pub fn admin(&self) -> Result<AdminCommand, Status> {
        let (d10, d11) = (self.cdw10.get(), self.cdw11.get());
        let base = Iova(self.prp1.get());
        let (low, high) = (d10 as u16, (d10 >> 16) as u16);
        let command = match self.opcode {
            0x00 => AdminCommand::DeleteSq(low),
            0x01 => AdminCommand::CreateSq {
                qid: low,
                size: high,
                cqid: (d11 >> 16) as u16,
                contiguous: d11 & 1 != 0,
                base,
            },
            0x02 => AdminCommand::GetLog {
                lid: d10 as u8,
                retain: d10 >> 15 & 1 != 0,
                len: ((u64::from(d11 & 0xffff) << 16 | u64::from(high)) + 1) * 4,
                offset: u64::from(self.cdw13.get()) << 32 | u64::from(self.cdw12.get()),
            },
            0x04 => AdminCommand::DeleteCq(low),
            0x05 => AdminCommand::CreateCq {
                qid: low,
                size: high,
                vector: (d11 >> 16) as u16,
                interrupts: d11 & 2 != 0,
                contiguous: d11 & 1 != 0,
                base,
            },
            0x06 => AdminCommand::Identify(d10 as u8),
            0x08 => AdminCommand::Abort {
                sqid: low,
                cid: high,
            },
            0x09 => AdminCommand::SetFeatures {
                fid: d10 as u8,
                save: d10 >> 31 != 0,
                value: d11,
            },
            0x0a => AdminCommand::GetFeatures {
                fid: d10 as u8,
                select: (d10 >> 8 & 7) as u8,
                value: d11,
            },
            0x0c => AdminCommand::AsyncEvent,
            _ => return Err(Status::INVALID_OPCODE),
        };
        self.plain()?;
        Ok(command)
    }

    /// Parses an I/O command.
    ///
    /// # Errors
    /// Invalid Command Opcode, or Invalid Field for fused commands and SGLs.
    pub fn io(&self) -> Result<IoCommand, Status> {
        let d12 = self.cdw12.get();
        let blocks = Blocks {
            slba: u64::from(self.cdw11.get()) << 32 | u64::from(self.cdw10.get()),
            count: u64::from(d12 & 0xffff) + 1,
            fua: d12 >> 30 & 1 != 0,
        };
        let command = match self.opcode {
            0x00 => IoCommand::Flush,
            0x01 => IoCommand::Write(blocks),
            0x02 => IoCommand::Read(blocks),
            0x05 => IoCommand::Compare(blocks),
            0x08 => IoCommand::WriteZeroes(blocks),
            0x09 => IoCommand::Dsm {
                ranges: (self.cdw10.get() & 0xff) as usize + 1,
                deallocate: self.cdw11.get() & 4 != 0,
            },
            _ => return Err(Status::INVALID_OPCODE),
        };
        self.plain()?;
        Ok(command)
    }
}
