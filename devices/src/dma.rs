//! What a bus master sees: read, write and translate by (requester, PASID, address).
//!
//! A device holds a [`DmaPort`]. The port asks the [`Translator`] in front of it for pieces of guest memory and moves the bytes.
//! Faults are data: the request, the reason with the specification's code, and where the translation ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestRam;

/// A guest physical address (on sPAPR: a real address of the partition).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gpa(pub u64);

/// An address as a device puts it on the bus, before any translation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Iova(pub u64);

/// A requester id: bus (15:8), device (7:3), function (2:0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SourceId(pub u16);

/// A process address space id, 20 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pasid(pub u32);

impl fmt::Debug for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpa {:#x}", self.0)
    }
}
impl fmt::Debug for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iova {:#x}", self.0)
    }
}
impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02x}:{:02x}.{}",
            self.0 >> 8,
            self.0 >> 3 & 31,
            self.0 & 7
        )
    }
}
impl fmt::Debug for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pasid {:#x}", self.0)
    }
}

/// Direction of a DMA, from the device's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// The device reads guest memory.
    Read,
    /// The device writes guest memory.
    Write,
}

/// One request on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DmaRequest {
    /// Who asks.
    pub source: SourceId,
    /// Process address space, if the request carries one.
    pub pasid: Option<Pasid>,
    /// Where.
    pub iova: Iova,
    /// How many bytes, at least 1.
    pub len: u64,
    /// Which way.
    pub access: Access,
}

/// A prefix of a request, translated: `len` bytes (1 ..= the request's) at `gpa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Where the bytes are.
    pub gpa: Gpa,
    /// How many of them are contiguous there.
    pub len: u64,
}

/// What a translation request (PCI Express ATS) got: a range of bus addresses, where it lies, and what may be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Where the request's address lies; to be used in translated requests.
    pub piece: Piece,
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed.
    pub write: bool,
}

impl Grant {
    /// True if this may be done there. If not, a page request may help.
    pub const fn allows(&self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
        }
    }
}

/// Why a translation request got no completion with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoGrant {
    /// UR: there is nobody to ask, or not for this function.
    Unsupported,
    /// CA: the tables are broken.
    Aborted,
}

/// A request for a page that is not there (PCI Express PRI), alone in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// Who asks.
    pub source: SourceId,
    /// Process address space, if the DMA carries one.
    pub pasid: Option<Pasid>,
    /// An address in the page.
    pub iova: Iova,
    /// What is to be done there.
    pub access: Access,
    /// Number of the group, 9 bits, by which the answer is known.
    pub group: u16,
}

/// The answer to a group of page requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageResponse {
    /// The pages are there: ask for the translation again.
    Success,
    /// They cannot be.
    Invalid,
    /// Something broke: ask no more.
    Failure,
}

/// Why a DMA did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("DMA {:?} of {} bytes by {:?} at {:?}: {reason}", .request.access, .request.len, .request.source, .request.iova)]
pub struct DmaFault {
    /// The request, at the address where it stopped.
    pub request: DmaRequest,
    /// Name and code of the reason.
    pub reason: FaultReason,
}

/// A reason as the specification of the unit names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultReason {
    /// The specification's code, 0 where it has none.
    pub code: u16,
    /// In the specification's words.
    pub name: &'static str,
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code == 0 {
            f.write_str(self.name)
        } else {
            write!(f, "{} (code {:#x})", self.name, self.code)
        }
    }
}

/// The address is translated, but no RAM is there.
pub const NOT_MEMORY: FaultReason = FaultReason {
    code: 0,
    name: "translated address is not memory",
};

/// An IOMMU, or the absence of one.
pub trait Translator: Send + Sync + fmt::Debug {
    /// Translates a prefix of the request.
    ///
    /// # Errors
    /// The fault at the first byte of the request.
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault>;

    /// Answers a translation request of a device with a device TLB. Without an IOMMU, or where it does not know them, nobody does.
    ///
    /// # Errors
    /// The completion's status. A page that is not there is a [`Grant`] of nothing.
    fn translation_request(&self, _request: &DmaRequest) -> Result<Grant, NoGrant> {
        Err(NoGrant::Unsupported)
    }

    /// Checks a request with an address that a [`Grant`] gave. To a unit that gives none it is like any other.
    ///
    /// # Errors
    /// The fault at the first byte of the request.
    fn translated(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        self.translate(request)
    }

    /// Takes a page request. None: the answer comes later, by [`crate::pci::PciDevice::page_response`].
    fn page_request(&self, _request: &PageRequest) -> Option<PageResponse> {
        Some(PageResponse::Failure)
    }

    /// Told after `piece` of a translated request has been accessed, or the access failed. For counters; does nothing by default.
    fn completed(&self, _request: &DmaRequest, _piece: &Piece) {}

    /// Told before a DMA is translated. What was translated from then on may be accessed until [`Translator::leave`] is told the number
    /// returned here: an invalidation completes only after that. Does nothing by default.
    fn enter(&self) -> usize {
        0
    }

    /// Told after the last access of a DMA.
    fn leave(&self, _token: usize) {}
}

/// A DMA under way: from before its translation to after its last access.
#[derive(Debug)]
pub struct InFlight<'a> {
    translator: &'a dyn Translator,
    token: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.translator.leave(self.token);
    }
}

/// No IOMMU: bus addresses are guest physical addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Translator for Identity {
    fn translate(&self, r: &DmaRequest) -> Result<Piece, DmaFault> {
        Ok(Piece {
            gpa: Gpa(r.iova.0),
            len: r.len,
        })
    }
}

/// Counts of one port.
#[derive(Debug, Default)]
pub struct DmaCounters {
    /// Bytes the device read from guest memory.
    pub bytes_read: AtomicU64,
    /// Bytes the device wrote to guest memory.
    pub bytes_written: AtomicU64,
    /// Requests that ended in a fault.
    pub faults: AtomicU64,
}

/// A device's way to guest memory. Cheap to clone; clones share counters.
#[derive(Clone, Debug)]
pub struct DmaPort {
    source: SourceId,
    translator: Arc<dyn Translator>,
    ram: GuestRam,
    counters: Arc<DmaCounters>,
    pasid: Option<Pasid>,
    translated: bool,
}

impl DmaPort {
    /// A port for `source`, behind `translator`.
    pub fn new(source: SourceId, translator: Arc<dyn Translator>, ram: GuestRam) -> Self {
        DmaPort {
            source,
            translator,
            ram,
            counters: Arc::default(),
            pasid: None,
            translated: false,
        }
    }

    /// The same port for requests with this PASID.
    pub fn with_pasid(&self, pasid: Option<Pasid>) -> Self {
        DmaPort {
            pasid,
            ..self.clone()
        }
    }

    /// The same port for requests with addresses that [`DmaPort::ask`] gave. They carry no PASID.
    pub fn translated(&self) -> Self {
        DmaPort {
            pasid: None,
            translated: true,
            ..self.clone()
        }
    }

    /// Asks for the translation of `len` bytes at `iova`, or of some of them.
    ///
    /// # Errors
    /// The completion's status.
    pub fn ask(&self, iova: Iova, len: u64, access: Access) -> Result<Grant, NoGrant> {
        let mut grant = self
            .translator
            .translation_request(&self.request(iova, len, access))?;
        grant.piece.len = grant.piece.len.clamp(1, len.max(1));
        Ok(grant)
    }

    /// Asks for a page that is not there; the answer is known by `group`. None: it comes later.
    pub fn ask_for_page(&self, iova: Iova, access: Access, group: u16) -> Option<PageResponse> {
        self.translator.page_request(&PageRequest {
            source: self.source,
            pasid: self.pasid,
            iova,
            access,
            group,
        })
    }

    fn request(&self, iova: Iova, len: u64, access: Access) -> DmaRequest {
        DmaRequest {
            source: self.source,
            pasid: self.pasid,
            iova,
            len,
            access,
        }
    }

    /// The requester id of this port.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Guest RAM behind the translator.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// What moved so far.
    pub fn counters(&self) -> &DmaCounters {
        &self.counters
    }

    /// Says that a DMA is under way, until the result is dropped. [`DmaPort::read`] and [`DmaPort::write`] do so themselves; hold it
    /// around [`DmaPort::translate`] and the access to what it answers.
    pub fn in_flight(&self) -> InFlight<'_> {
        InFlight {
            translator: &*self.translator,
            token: self.translator.enter(),
        }
    }

    /// Translates a prefix of `len` bytes at `iova`.
    ///
    /// # Errors
    /// The translator's fault.
    pub fn translate(&self, iova: Iova, len: u64, access: Access) -> Result<Piece, DmaFault> {
        let request = self.request(iova, len, access);
        let answer = match self.translated {
            true => self.translator.translated(&request),
            false => self.translator.translate(&request),
        };
        let piece = answer.inspect_err(|_| {
            self.counters.faults.fetch_add(1, Ordering::Relaxed);
        })?;
        Ok(Piece {
            gpa: piece.gpa,
            len: piece.len.clamp(1, len.max(1)),
        })
    }

    /// Reads guest memory at `iova`.
    ///
    /// # Errors
    /// The fault at the first byte that could not be read; the bytes before it are in `buf`.
    pub fn read(&self, iova: Iova, buf: &mut [u8]) -> Result<(), DmaFault> {
        let _in_flight = self.in_flight();
        let mut done = 0;
        while done < buf.len() {
            let (request, piece) = self.piece(iova, done, buf.len(), Access::Read)?;
            let part = &mut buf[done..done + piece.len as usize];
            self.ram
                .read_slice(part, GuestAddress(piece.gpa.0))
                .map_err(|_| self.not_memory(request))?;
            self.counters
                .bytes_read
                .fetch_add(piece.len, Ordering::Relaxed);
            self.translator.completed(&request, &piece);
            done += piece.len as usize;
        }
        Ok(())
    }

    /// Writes guest memory at `iova`.
    ///
    /// # Errors
    /// The fault at the first byte that could not be written; the bytes before it are written.
    pub fn write(&self, iova: Iova, buf: &[u8]) -> Result<(), DmaFault> {
        let _in_flight = self.in_flight();
        let mut done = 0;
        while done < buf.len() {
            let (request, piece) = self.piece(iova, done, buf.len(), Access::Write)?;
            let part = &buf[done..done + piece.len as usize];
            self.ram
                .write_slice(part, GuestAddress(piece.gpa.0))
                .map_err(|_| self.not_memory(request))?;
            self.counters
                .bytes_written
                .fetch_add(piece.len, Ordering::Relaxed);
            self.translator.completed(&request, &piece);
            done += piece.len as usize;
        }
        Ok(())
    }

    fn piece(
        &self,
        iova: Iova,
        done: usize,
        len: usize,
        access: Access,
    ) -> Result<(DmaRequest, Piece), DmaFault> {
        let iova = Iova(iova.0.wrapping_add(done as u64));
        let len = (len - done) as u64;
        let piece = self.translate(iova, len, access)?;
        Ok((self.request(iova, len, access), piece))
    }

    fn not_memory(&self, request: DmaRequest) -> DmaFault {
        self.counters.faults.fetch_add(1, Ordering::Relaxed);
        DmaFault {
            request,
            reason: NOT_MEMORY,
        }
    }
}
