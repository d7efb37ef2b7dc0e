//! Requests to the unit and what comes of them.

use serde::{Deserialize, Serialize};

use super::spec::fault::{Reason, Record, RequestType};
use super::spec::mask;
use crate::dma::{Access, DmaRequest, Pasid, SourceId};

/// What a request says about its address: the AT field of a transaction. PCI Express ATS; VT-d 4.1 §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum AddressType {
    /// To be translated.
    #[default]
    Untranslated,
    /// A device asks for the translation, for its device TLB.
    TranslationRequest,
    /// The device did it.
    Translated,
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Read.
    Read,
    /// Read of length zero: a flush, that needs any permission if CAP.ZLR is set.
    ZeroLengthRead,
    /// Write.
    Write,
    /// Read and write in one.
    Atomic,
}

impl Operation {
    /// True if it needs read permission.
    pub const fn reads(self) -> bool {
        !matches!(self, Operation::Write)
    }
    /// True if it needs write permission.
    pub const fn writes(self) -> bool {
        matches!(self, Operation::Write | Operation::Atomic)
    }
}

/// One request, to one page. VT-d 4.1 §3.2, §3.6, §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who asks.
    pub source: SourceId,
    /// PASID, if the request carries one.
    pub pasid: Option<Pasid>,
    /// PR: privileged mode is asked. Requests without PASID take it from RID_PRIV.
    pub privileged: bool,
    /// ER: an instruction fetch.
    pub execute: bool,
    /// Address, as on the bus.
    pub address: u64,
    /// What is to be done.
    pub operation: Operation,
    /// How the address is to be taken.
    pub address_type: AddressType,
}

impl Request {
    /// An untranslated request without PASID.
    pub const fn untranslated(source: SourceId, address: u64, operation: Operation) -> Self {
        Request {
            source,
            pasid: None,
            privileged: false,
            execute: false,
            address,
            operation,
            address_type: AddressType::Untranslated,
        }
    }

    /// The same with a PASID.
    pub const fn with_pasid(self, pasid: u32) -> Self {
        Request {
            pasid: Some(Pasid(pasid)),
            ..self
        }
    }

    /// The record of a fault of this request. VT-d 4.1 §11.4.14.
    pub fn record(&self, reason: Reason) -> Record {
        let kind = match (self.address_type, self.operation) {
            (AddressType::TranslationRequest, o) if !o.writes() => RequestType::Read,
            (_, Operation::Write) => RequestType::Write,
            (_, Operation::Atomic) => RequestType::AtomicOp,
            _ => RequestType::Read,
        };
        let at = match self.address_type {
            AddressType::Untranslated => 0,
            AddressType::TranslationRequest => 1,
            AddressType::Translated => 2,
        };
        record(self, reason, kind, at)
    }
}

/// Builds a record; shared with page requests.
pub(super) fn record(r: &Request, reason: Reason, kind: RequestType, at: u64) -> Record {
    let mut high =
        Record::FAULT | u64::from(reason.code()) << 32 | u64::from(r.source.0) | at << 60;
    if matches!(kind, RequestType::Read | RequestType::AtomicOp) {
        high |= Record::T1;
    }
    if matches!(kind, RequestType::PageRequest | RequestType::AtomicOp) {
        high |= Record::T2;
    }
    if let Some(pasid) = r.pasid {
        high |= Record::PASID_PRESENT | u64::from(pasid.0 & 0xf_ffff) << 40;
        // PRIV and EXE mean something only with a PASID.
        if r.privileged {
            high |= Record::PRIVILEGED;
        }
        if r.execute {
            high |= Record::EXECUTE;
        }
    }
    Record([r.address & mask(63, 12), high])
}

impl From<&DmaRequest> for Request {
    fn from(r: &DmaRequest) -> Self {
        let operation = match r.access {
            Access::Read => Operation::Read,
            Access::Write => Operation::Write,
        };
        Request {
            pasid: r.pasid,
            ..Request::untranslated(r.source, r.iova.0, operation)
        }
    }
}

/// A structure that the unit reads while it translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Structure {
    /// Legacy root entry.
    RootEntry,
    /// Legacy context entry.
    ContextEntry,
    /// Half of a scalable-mode root entry.
    ScalableRootEntry,
    /// Scalable-mode context entry.
    ScalableContextEntry,
    /// PASID directory entry.
    PasidDirectoryEntry,
    /// PASID table entry.
    PasidEntry,
    /// First-stage entry of this level (1 maps 4 KiB).
    FirstStage(u32),
    /// Second-stage entry of this level.
    SecondStage(u32),
    /// Interrupt remapping table entry.
    Irte,
    /// Posted interrupt descriptor.
    PostedDescriptor,
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Which structure.
    pub structure: Structure,
    /// Guest physical address of the entry.
    pub address: u64,
}

/// A blocked request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// Why.
    pub reason: Reason,
    /// Where; None if no entry was at fault, or a cached answer was.
    pub place: Option<Place>,
    /// FPD was set in an entry that was read on the way: a qualified fault is not recorded.
    pub suppressed: bool,
}

impl Fault {
    /// A fault that no entry is to blame for.
    pub const fn new(reason: Reason) -> Self {
        Fault {
            reason,
            place: None,
            suppressed: false,
        }
    }

    /// A fault at an entry.
    pub const fn at(reason: Reason, structure: Structure, address: u64) -> Self {
        Fault {
            reason,
            place: Some(Place { structure, address }),
            suppressed: false,
        }
    }

    /// True if software wants to hear of it. VT-d 4.1 §7.2.1.
    pub const fn is_recorded(&self) -> bool {
        !(self.suppressed && self.reason.qualified())
    }
}

/// A translated page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Translation {
    /// Guest physical address that the request's address became.
    pub address: u64,
    /// Log2 of the page that `address` is in: what follows in it is contiguous.
    pub page_shift: u32,
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed (a dirty bit that a write would set may still be clear).
    pub write: bool,
    /// Instruction fetches are allowed.
    pub execute: bool,
    /// SNP or PGSNP: accesses are snooped whatever the device says.
    pub snoop: bool,
    /// G of a first-stage leaf.
    pub global: bool,
    /// Addresses pass unchanged.
    pub pass_through: bool,
}

impl Translation {
    /// Bytes from `address` to the end of the page.
    pub const fn remaining(&self) -> u64 {
        if self.page_shift >= 64 {
            return u64::MAX - self.address;
        }
        (1 << self.page_shift) - (self.address & ((1 << self.page_shift) - 1))
    }
}
