//! Translation requests of devices with a device TLB, and their completions. VT-d 4.1 §4.1; PCI Express ATS.

use std::sync::atomic::Ordering;

use super::Vtd;
use super::counters::Counting;
use super::memory::TableMemory;
use super::request::{AddressType, Request};
use super::spec::fault::Reason;
use super::spec::mask;
use super::spec::registers::global;
use crate::dma::{DmaRequest, Gpa, Piece};

/// A successful translation completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// First address of the translated range.
    pub address: u64,
    /// Log2 of the bytes of the range: 12 to 63. S, and the address bits below it, say this on the bus.
    pub bits: u32,
    /// R: reads are allowed.
    pub read: bool,
    /// W: writes are allowed.
    pub write: bool,
    /// Exe: instruction fetches are allowed.
    pub execute: bool,
    /// Priv: the permissions are those of privileged mode.
    pub privileged: bool,
    /// Global: the translation holds for each PASID.
    pub global: bool,
    /// N: accesses need not be snooped (never, unless the tables leave it to the device).
    pub no_snoop: bool,
    /// U: to be reached by untranslated requests only. Interrupts are, for devices that ask before each message.
    pub untranslated_only: bool,
}

impl Completion {
    /// "There is no such page": all permissions are clear.
    const NONE: Completion = Completion {
        address: 0,
        bits: 12,
        read: false,
        write: false,
        execute: false,
        privileged: false,
        global: false,
        no_snoop: false,
        untranslated_only: false,
    };

    /// The part of a request that it answers.
    pub(super) fn piece(&self, request: &DmaRequest) -> Piece {
        let offset = request.iova.0 & mask(self.bits - 1, 0);
        let room = mask(self.bits - 1, 0) - offset;
        Piece {
            gpa: Gpa(self.address | offset),
            len: request.len.min(room.saturating_add(1)),
        }
    }

    /// To the interrupt range one may write, untranslated. VT-d 4.1 §7.1.3 (S.1, S.2).
    const fn interrupt(write: bool) -> Completion {
        Completion {
            write,
            untranslated_only: write,
            ..Completion::NONE
        }
    }

    /// The data of the completion. PCI Express ATS §10.2.3.
    pub const fn encode(&self) -> u64 {
        let (s, size) = if self.bits > 12 {
            // Zero is the topmost of the size bits, ones are below it.
            (1 << 11, mask(self.bits - 1, 12) & !(1 << (self.bits - 1)))
        } else {
            (0, 0)
        };
        self.address & !mask(self.bits - 1, 0)
            | size
            | s
            | (self.no_snoop as u64) << 10
            | (self.global as u64) << 5
            | (self.privileged as u64) << 4
            | (self.execute as u64) << 3
            | (self.untranslated_only as u64) << 2
            | (self.write as u64) << 1
            | self.read as u64
    }
}

/// Why a translation request got no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// UR: the device shall stop sending translation requests.
    UnsupportedRequest,
    /// CA: the tables are broken.
    CompleterAbort,
}

impl<M: TableMemory> Vtd<M> {
    /// Answers a translation request. A page that is not there, or not permitted, is a completion without permissions and no fault.
    ///
    /// `request.operation` is a write unless the device set NW (no write): then dirty bits are not set.
    ///
    /// # Errors
    /// The completion status; the fault behind it is recorded.
    pub fn translation_request(&self, request: &Request) -> Result<Completion, Failure> {
        let request = Request {
            address_type: AddressType::TranslationRequest,
            ..*request
        };
        if self.inner.live.status.load(Ordering::Acquire) & global::TE == 0 {
            return Err(Failure::UnsupportedRequest);
        }
        // Accessed and dirty bits are in flight like DMA.
        let _in_flight = self.enter();
        let walker = self.walker(&self.inner.caches);
        let counting = &mut Counting(&self.inner.tally);
        let mut result = walker.translate(&request, counting);
        // A device that asked to write takes what it can get: the page may be readable.
        if result
            .as_ref()
            .is_err_and(|f| Reply::to(f.reason) == Reply::Nothing)
        {
            let read = Request {
                operation: super::Operation::Read,
                ..request
            };
            result = walker
                .translate(&read, counting)
                .map(|t| super::Translation { write: false, ..t });
        }
        match result {
            Ok(t) => {
                let bits = t
                    .page_shift
                    .min(self.inner.config.host_address_width)
                    .min(63);
                Ok(Completion {
                    address: t.address & !mask(bits - 1, 0),
                    bits,
                    read: t.read,
                    // Without the dirty bit set, a device may not write.
                    write: t.write && request.operation.writes(),
                    execute: t.execute && request.execute,
                    privileged: request.privileged,
                    global: t.global,
                    no_snoop: false,
                    untranslated_only: false,
                })
            }
            Err(fault) => {
                let reply = Reply::to(fault.reason);
                if !matches!(reply, Reply::Nothing | Reply::Interrupt) {
                    self.fault(&request, &fault);
                }
                match reply {
                    Reply::Nothing | Reply::NothingRecorded => Ok(Completion::NONE),
                    Reply::Interrupt => Ok(Completion::interrupt(request.operation.writes())),
                    Reply::UnsupportedRequest => Err(Failure::UnsupportedRequest),
                    Reply::CompleterAbort => Err(Failure::CompleterAbort),
                }
            }
        }
    }
}

/// How a condition is answered. VT-d 4.1 §7.1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// Success without permissions and without a record: a page request may mend it.
    Nothing,
    /// The same, and a record.
    NothingRecorded,
    /// The interrupt range, which is no fault.
    Interrupt,
    UnsupportedRequest,
    CompleterAbort,
}

impl Reply {
    const fn to(reason: Reason) -> Self {
        use Reason as R;
        match reason {
            R::AddressBeyondWidth
            | R::Write
            | R::Read
            | R::PasidDirectoryNotPresent
            | R::PasidNotPresent
            | R::ExecuteDisabled
            | R::SupervisorDisabled
            | R::FirstStageAccess
            | R::FirstStageNotPresent
            | R::FirstStageReserved
            | R::FirstStageRootAccess
            | R::FirstStageEntryWidth
            | R::FirstStageRootRead
            | R::FirstStageRead
            | R::FirstStageWrite
            | R::FirstStageNoSnoop
            | R::SecondStageNotPresent
            | R::NotCanonical
            | R::Privilege
            | R::Execute
            | R::HostAddressWidth
            | R::SecondStageWidth
            | R::ScalableWrite
            | R::ScalableRead => Reply::Nothing,
            R::FirstStageUpdate => Reply::NothingRecorded,
            R::InterruptRangeRequest => Reply::Interrupt,
            R::RootAccess
            | R::RootReserved
            | R::ContextAccess
            | R::ContextReserved
            | R::ContextInvalid
            | R::SecondStageAccess
            | R::SecondStageReserved
            | R::InterruptAddress
            | R::RootTableMode
            | R::ScalableRootAccess
            | R::ScalableRootReserved
            | R::ScalableContextAccess
            | R::ScalableContextReserved
            | R::ScalableContextInvalid
            | R::PasidDirectoryAccess
            | R::PasidDirectoryReserved
            | R::PasidAccess
            | R::PasidReserved
            | R::PasidInvalid
            | R::ScalableSecondStageAccess
            | R::ScalableSecondStageReserved
            | R::SecondStageRootAccess
            | R::SecondStageNoSnoop
            | R::SecondStageUpdate
            | R::ScalableInterruptAddress => Reply::CompleterAbort,
            _ => Reply::UnsupportedRequest,
        }
    }
}
