//! Walks: pure functions from (memory, configuration, root table, request) to a translation or a fault.
//!
//! `locate` goes from the requester to the tables of its domain, `second` and `first` walk those. Each entry is fetched once and judged
//! on that copy; accessed and dirty bits are set by compare-and-swap against it, and the walk begins again if the entry changed.

mod first;
mod locate;
mod second;

pub use first::FirstStage;
pub use locate::{Stages, Target};
pub use second::SecondStage;

use super::caches::{Absent, Caches, PageKey};
use super::config::Config;
use super::memory::TableMemory;
use super::request::{AddressType, Fault, Operation, Request, Structure, Translation};
use super::spec::fault::Reason;
use super::spec::registers::TableMode;
use super::spec::{INTERRUPT_FIRST, INTERRUPT_LAST, PAGE, mask};

/// Times a walk begins again because an entry changed under it.
const MAX_RETRIES: usize = 64;

/// Sees each entry that a walk fetches. `()` looks away.
pub trait Observer {
    /// An entry at `address`, as quadwords.
    fn fetched(&mut self, _structure: Structure, _address: u64, _words: &[u64]) {}
    /// A walk of the second stage on behalf of a first-stage access to the guest address `input` begins.
    fn begin_nested(&mut self, _input: u64) {}
    /// It ended, at this physical address if it succeeded.
    fn end_nested(&mut self, _output: Option<u64>) {}
    /// A request of a domain has its answer, or is about to be walked for.
    #[inline]
    fn answered(&mut self, _answer: Answer, _domain: u16) {}
}

impl Observer for () {}

/// What answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The IOTLB.
    Hit,
    /// A walk of paging structures, whether it found a page or not.
    Walk,
    /// Its domain passes addresses through.
    PassThrough,
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// For good.
    Fault(Fault),
    /// An entry changed while its accessed or dirty bit was being set; `Fault` is for when that goes on for too long.
    Changed(Fault),
}

impl From<Fault> for Stop {
    fn from(f: Fault) -> Self {
        Stop::Fault(f)
    }
}

/// What all walks of one unit share.
pub struct Walker<'a, M: ?Sized> {
    /// Where the tables are.
    pub memory: &'a M,
    /// What the unit can do.
    pub config: &'a Config,
    /// RTADDR as set by SRTP.
    pub rtaddr: u64,
    /// Caches; [`Caches::off`] for a fresh walk.
    pub caches: &'a Caches,
}

/// A page as a walk finds it, with what decides over later requests to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Address of the request, translated.
    pub address: u64,
    /// Log2 of its size.
    pub shift: u32,
    /// First stage: R/W in every entry.
    pub first_write: bool,
    /// First stage: U/S in every entry.
    pub user: bool,
    /// First stage: XD in no entry.
    pub execute: bool,
    /// Second stage: R in every entry.
    pub second_read: bool,
    /// Second stage: W in every entry.
    pub second_write: bool,
    /// No dirty bit would have to be set by a write.
    pub dirty: bool,
    /// SNP.
    pub snoop: bool,
    /// G.
    pub global: bool,
}

impl Page {
    /// The page of an address that no table changes.
    pub const fn identity(address: u64, shift: u32) -> Self {
        Page {
            address,
            shift,
            first_write: true,
            user: true,
            execute: true,
            second_read: true,
            second_write: true,
            dirty: true,
            snoop: false,
            global: false,
        }
    }

    /// Why a request may not use the page, if so. VT-d 4.1 §3.6.1, §3.7.1.
    #[inline]
    pub fn denies(&self, target: &Target, request: &Request, zero_length: bool) -> Option<Reason> {
        let scalable = target.scalable;
        let (write, read) = if scalable {
            (Reason::ScalableWrite, Reason::ScalableRead)
        } else {
            (Reason::Write, Reason::Read)
        };
        if let Some(first) = &target.stages.first() {
            if !target.privileged && !self.user {
                return Some(Reason::Privilege);
            }
            let protects = !target.privileged || first.write_protect;
            if request.operation.writes() && protects && !self.first_write {
                return Some(write);
            }
            let fetches_user = target.privileged && first.smep && self.user;
            if request.execute && (!self.execute || fetches_user) {
                return Some(Reason::Execute);
            }
        }
        if request.operation.writes() && !self.second_write {
            return Some(write);
        }
        if request.operation == Operation::ZeroLengthRead && zero_length {
            return (!self.second_read && !self.second_write).then_some(read);
        }
        (request.operation.reads() && !self.second_read).then_some(read)
    }

    #[inline]
    fn translation(&self, target: &Target) -> Translation {
        let privileged_write = match target.stages.first() {
            Some(f) => target.privileged && !f.write_protect,
            None => true,
        };
        let smep = target
            .stages
            .first()
            .is_some_and(|f| target.privileged && f.smep && self.user);
        let reachable = target.privileged || self.user;
        Translation {
            address: self.address,
            // What follows in the page is the device's to access without another question, so interrupts must not follow.
            page_shift: self.shift.min(beside_interrupts(self.address)),
            read: reachable && self.second_read,
            write: reachable && self.second_write && (self.first_write || privileged_write),
            execute: reachable && self.second_read && self.execute && !smep,
            snoop: self.snoop || target.snoop,
            global: self.global,
            pass_through: matches!(target.stages, Stages::PassThrough),
        }
    }
}

/// FPD of the tables that led to a target goes with each fault behind them.
fn suppress(target: &Target, fault: Fault) -> Fault {
    Fault {
        suppressed: fault.suppressed || target.fault_processing_disabled,
        ..fault
    }
}

/// Log2 of the largest naturally aligned block around an address that the interrupt range is not in; of the range itself, if the address
/// is there.
pub(super) const fn beside_interrupts(address: u64) -> u32 {
    let size = INTERRUPT_LAST - INTERRUPT_FIRST + 1;
    63 - ((address ^ INTERRUPT_FIRST) | size).leading_zeros()
}

/// True if an address is in the interrupt range. VT-d 4.1 §3.14.
#[inline]
pub const fn is_interrupt_address(address: u64) -> bool {
    address >= INTERRUPT_FIRST && address <= INTERRUPT_LAST
}

impl<M: TableMemory + ?Sized> Walker<'_, M> {
    /// Translates one request: from the caches, or by a walk that fills them.
    ///
    /// # Errors
    /// The fault that the specification asks for. VT-d 4.1 §7.1.3.
    #[inline(always)]
    pub fn translate<O: Observer>(
        &self,
        request: &Request,
        observer: &mut O,
    ) -> Result<Translation, Fault> {
        let target = self.locate(request, observer)?;
        let generation = self.caches.iotlb.generation();
        // A hit is decided here, inline; all else is a call.
        if request.address_type != AddressType::Translated
            && (request.pasid.is_some() || !is_interrupt_address(request.address))
            && let Some(hit) = self
                .caches
                .iotlb
                .get(&PageKey::new(&target), request.address)
            && let Some(answer) = self.decide_cached(hit, &target, request)
        {
            observer.answered(Answer::Hit, target.domain);
            return answer.map_err(|fault| suppress(&target, fault));
        }
        self.translate_slowly(&target, request, generation, observer)
            .map_err(|fault| suppress(&target, fault))
    }

    /// Translates what the IOTLB has no answer for.
    #[inline(never)]
    fn translate_slowly<O: Observer>(
        &self,
        target: &Target,
        request: &Request,
        generation: u64,
        observer: &mut O,
    ) -> Result<Translation, Fault> {
        if request.address_type == AddressType::Translated {
            self.check_host_width(target, request)?;
            let page = Page::identity(request.address, self.config.host_address_width);
            self.check_output(&page, target.scalable)?;
            return Ok(page.translation(target));
        }
        // Without PASID, the interrupt range is not for translation.
        if request.pasid.is_none() && is_interrupt_address(request.address) {
            return Err(Fault::new(Reason::InterruptRangeRequest));
        }
        let answer = match target.stages {
            Stages::PassThrough => Answer::PassThrough,
            _ => Answer::Walk,
        };
        observer.answered(answer, target.domain);
        let page = self.walk(target, request, observer)?;
        if let Some(reason) = page.denies(target, request, self.config.zero_length_read) {
            return Err(Fault::new(reason));
        }
        self.check_output(&page, target.scalable)?;
        if !matches!(target.stages, Stages::PassThrough) {
            let key = PageKey::new(target);
            self.caches
                .iotlb
                .fill(&key, request.address, &page, generation);
        }
        Ok(page.translation(target))
    }

    /// What a cached page says; None if a walk has to decide.
    #[inline(always)]
    fn decide_cached(
        &self,
        hit: Result<Page, Absent>,
        target: &Target,
        request: &Request,
    ) -> Option<Result<Translation, Fault>> {
        let page = match hit {
            Ok(page) => page,
            Err(Absent) => {
                let reason = second::not_present(target, request.operation.writes());
                return Some(Err(Fault::new(reason)));
            }
        };
        if let Some(reason) = page.denies(target, request, self.config.zero_length_read) {
            // Hardware may answer from the cached permissions; it may as well look again.
            let adversarial = self.config.caches.adversarial;
            return adversarial.then(|| Err(Fault::new(reason)));
        }
        let clean = request.operation.writes() && !page.dirty;
        if clean || is_interrupt_address(page.address) {
            return None;
        }
        Some(Ok(page.translation(target)))
    }

    /// Walks the stages of a target.
    fn walk<O: Observer>(
        &self,
        target: &Target,
        request: &Request,
        observer: &mut O,
    ) -> Result<Page, Fault> {
        let mut last = Fault::new(Reason::SecondStageUpdate);
        for _ in 0..MAX_RETRIES {
            let result = match &target.stages {
                Stages::PassThrough => self
                    .check_host_width(target, request)
                    .map(|()| Page::identity(request.address, self.config.host_address_width))
                    .map_err(Stop::Fault),
                Stages::Second(second) => self.second_only(target, second, request, observer),
                Stages::First(first) => self.first_stage(target, first, None, request, observer),
                Stages::Nested(first, second) => {
                    self.first_stage(target, first, Some(second), request, observer)
                }
            };
            match result {
                Ok(page) => return Ok(page),
                Err(Stop::Fault(fault)) => return Err(fault),
                Err(Stop::Changed(fault)) => last = fault,
            }
        }
        Err(last)
    }

    /// Pass-through and translated addresses must be host addresses. LGN.1.2, LGN.1.3, SGN.4.
    fn check_host_width(&self, target: &Target, request: &Request) -> Result<(), Fault> {
        if request.address & !mask(self.config.host_address_width - 1, 0) != 0 {
            return Err(Fault::new(if target.scalable {
                Reason::HostAddressWidth
            } else {
                Reason::AddressBeyondWidth
            }));
        }
        Ok(())
    }

    /// No table may lead to the interrupt range. LGN.4, SGN.8.
    fn check_output(&self, page: &Page, scalable: bool) -> Result<(), Fault> {
        if is_interrupt_address(page.address) {
            return Err(Fault::new(if scalable {
                Reason::ScalableInterruptAddress
            } else {
                Reason::InterruptAddress
            }));
        }
        Ok(())
    }

    /// The mode of the tables, if requests can be processed in it. RTA.1, RTA.4.
    fn mode(&self) -> Result<TableMode, Fault> {
        match TableMode::of(self.rtaddr) {
            TableMode::Legacy => Ok(TableMode::Legacy),
            TableMode::Scalable if self.config.scalable => Ok(TableMode::Scalable),
            TableMode::Abort if self.config.abort_dma => Err(Fault::new(Reason::AbortMode)),
            _ => Err(Fault::new(Reason::RootTableMode)),
        }
    }

    fn root_table(&self) -> u64 {
        self.rtaddr & !(PAGE - 1)
    }
}
