//! Intel VT-d: a DMA and interrupt remapping unit, as a library. It knows no CPU and no machine.
//!
//! ```text
//! driver:  read, write (registers) --> state --> GCMD, invalidation queue --> caches
//! device:  translate (requester, PASID, address) --> caches --> walk over guest memory --> page or fault --> fault records
//! device:  remap_interrupt, page_request, translation requests (ats)
//! ```
//!
//! [`Vtd`] is the unit. [`spec`] has layouts only, [`walk`] pure functions, [`state`] what the registers hold, [`caches`] what is
//! remembered between requests. What the unit wants done by its surroundings (a message, a device-TLB invalidation) it returns as
//! [`Actions`].
//!
//! **Threads.** Translation takes no lock unless it records a fault. The register lock is never held while guest memory is accessed or
//! something else is called. A DMA that shall be drained by invalidations runs between [`Vtd::enter`] and the drop of its guard; the
//! ports of [`crate::dma`] do that.
//!
//! **Bounds.** A walk reads at most 5 levels (nested: 5 times 5, and once again for each changed entry, 64 times); one call of the
//! queue handles at most two queues' worth of descriptors; what is pending (device-TLB invalidations, waits, page requests) is capped.

mod answer;
pub mod ats;
pub mod caches;
mod commands;
pub mod config;
mod counters;
pub mod embed;
pub mod explain;
pub mod interrupt;
pub mod memory;
mod message;
mod page_request;
mod queue;
#[cfg(any(test, feature = "testing"))]
pub mod reference;
mod registers;
pub mod request;
pub mod snapshot;
pub mod spec;
pub mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod walk;

/// The example in the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/vtd.md")]
mod documentation {}

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use self::config::{CacheConfig, Capabilities, Config, ConfigError};
pub use self::counters::{Counters, Interrupts, Invalidation};
pub use self::interrupt::{Delivery, Interrupt, InterruptRequest};
pub use self::message::{Outcome, message_of_io_apic};
pub use self::page_request::{PageRequest, PageRequestOutcome};
pub use self::request::{AddressType, Fault, Operation, Request, Structure, Translation};
pub use self::spec::registers::SIZE as REGISTERS_SIZE;

use self::caches::Caches;
use self::caches::grace::{Grace, Ticket};
use self::counters::{Counting, Tally, thread_number};
use self::memory::{TableMemory, Untouched};
use self::registers::{PROTECTED_GRANULE, Todo};
use self::spec::fault::{Reason, Record};
use self::spec::page_request::ResponseCode;
use self::spec::registers::{EPM, ICC, IVT, PMEN_PRS, global};
use self::state::State;
use self::walk::{Observer, Walker, beside_interrupts};
use crate::dma::{
    Access, DmaFault, DmaRequest, FaultReason, Gpa, Grant, NoGrant, PageResponse, Piece, Translator,
};
use crate::effects::Msi;
use crate::memory::GuestRam;

/// Messages that wait to be taken, at most; more are dropped, as is one equal to the last.
const MAX_MESSAGES: usize = 1024;
/// Times that an invalidation looks for the end of its grace period before it leaves the rest to [`Vtd::run`]: some microseconds. What
/// is in flight for longer is a thread without a processor, and needs this one's.
const SPINS: usize = 100;

/// A request to a protected memory region, which no fault record tells of. VT-d 4.1 §11.4.8.1.
pub const PROTECTED: FaultReason = FaultReason {
    code: 0,
    name: "protected memory region",
};

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// A fault of the remapping tables.
    Fault(Fault),
    /// A protected memory region.
    Protected,
}

impl From<Blocked> for FaultReason {
    fn from(b: Blocked) -> FaultReason {
        match b {
            Blocked::Fault(f) => f.reason.into(),
            Blocked::Protected => PROTECTED,
        }
    }
}

/// A device-TLB invalidation for the owner to carry to its device. VT-d 4.1 §6.5.2.5, §6.5.2.6.
///
/// The owner answers by [`Vtd::device_tlb_done`] or [`Vtd::device_tlb_timed_out`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTlbInvalidation {
    /// To be given back with the answer.
    pub tag: u64,
    /// Whose device TLB.
    pub source: u16,
    /// The PASID concerned; None for requests without.
    pub pasid: Option<u32>,
    /// Every PASID.
    pub global: bool,
    /// First address.
    pub address: u64,
    /// Log2 of the bytes: 12 to 64.
    pub bits: u32,
}

/// The answer to a page request group, for the owner to carry to its device. VT-d 4.1 §7.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageGroupResponse {
    /// Who asked.
    pub source: u16,
    /// The PASID of the group, if it has one.
    pub pasid: Option<u32>,
    /// Page request group index.
    pub group: u16,
    /// The answer.
    pub code: ResponseCode,
}

/// What the unit asks of its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// The unit's own interrupts, oldest first. They are not remapped. VT-d 4.1 §5.1.6.
    pub messages: Vec<Msi>,
    /// Device-TLB invalidations.
    pub device_tlb: Vec<DeviceTlbInvalidation>,
    /// Answers to page requests.
    pub responses: Vec<PageGroupResponse>,
    /// Something waits for DMA in flight to end, or the queue has more than one call handles: call [`Vtd::run`] again.
    pub run_again: bool,
}

impl Actions {
    /// True if nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Actions::default()
    }
}

/// The values that requests look at, as GCMD put them in force.
#[derive(Debug, Default)]
struct Live {
    /// TE, IRE, CFI of GSTS.
    status: AtomicU32,
    rtaddr: AtomicU64,
    irta: AtomicU64,
    /// EPM, then base and limit of the low and the high region.
    protect: AtomicBool,
    regions: [[AtomicU64; 2]; 2],
}

/// A change that takes effect once the DMA in flight has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Gsts(u32),
    ContextCommand,
    IotlbCommand,
    ProtectedMemory,
}

/// What the register lock protects.
#[derive(Debug)]
struct Guarded {
    state: State,
    actions: Actions,
    /// With the epoch that must have passed.
    late: Vec<(u64, Late)>,
    /// Somebody is fetching descriptors.
    fetching: bool,
    /// Epoch that the descriptor at the head waits for.
    draining: Option<u64>,
    /// Times that the queue was switched off.
    queue_runs: u64,
    /// The last call stopped before the tail, for it had done its share.
    more: bool,
    /// Somebody is writing page requests.
    writing: bool,
}

/// On cache lines of its own (processors fetch pairs), so that those who write it do not disturb those who read its neighbours.
#[repr(align(128))]
struct Apart<T>(T);

type Waker = Arc<dyn Fn() + Send + Sync>;

struct Inner<M> {
    config: Config,
    capabilities: Capabilities,
    memory: M,
    caches: Caches,
    grace: Grace,
    live: Live,
    guarded: Apart<Mutex<Guarded>>,
    tally: Tally,
    /// Requests left actions to be taken.
    left: Apart<AtomicBool>,
    /// Something waits for DMA in flight.
    waiting: Apart<AtomicBool>,
    waker: Mutex<Option<Waker>>,
    has_waker: AtomicBool,
}

/// A remapping unit over memory `M`. Cheap to clone; clones are the same unit.
pub struct Vtd<M = GuestRam> {
    inner: Arc<Inner<M>>,
}

impl<M> Clone for Vtd<M> {
    fn clone(&self) -> Self {
        Vtd {
            inner: self.inner.clone(),
        }
    }
}

impl<M> fmt::Debug for Vtd<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vtd")
            .field("status", &self.inner.live.status)
            .field("rtaddr", &self.inner.live.rtaddr)
            .finish_non_exhaustive()
    }
}

/// A DMA in flight: invalidations wait for its end. VT-d 4.1 §6.5.3.
#[derive(Debug)]
pub struct Guard<'a, M: TableMemory> {
    unit: &'a Vtd<M>,
    ticket: Ticket,
}

impl<M: TableMemory> Drop for Guard<'_, M> {
    fn drop(&mut self) {
        self.unit.leave(self.ticket);
    }
}

impl<M: TableMemory> Vtd<M> {
    /// A unit after reset, with its tables in `memory`.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn new(config: Config, memory: M) -> Result<Self, ConfigError> {
        let capabilities = config.capabilities()?;
        let guarded = Guarded {
            state: State::new(&config),
            actions: Actions::default(),
            late: Vec::new(),
            fetching: false,
            draining: None,
            queue_runs: 0,
            more: false,
            writing: false,
        };
        Ok(Vtd {
            inner: Arc::new(Inner {
                caches: Caches::new(&config.caches),
                capabilities,
                config,
                memory,
                grace: Grace::default(),
                live: Live::default(),
                guarded: Apart(Mutex::new(guarded)),
                tally: Tally::default(),
                left: Apart(AtomicBool::new(false)),
                waiting: Apart(AtomicBool::new(false)),
                waker: Mutex::new(None),
                has_waker: AtomicBool::new(false),
            }),
        })
    }

    /// What the unit can do.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// CAP and ECAP.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// The memory with its tables.
    pub fn memory(&self) -> &M {
        &self.inner.memory
    }

    /// Called, on the thread of the DMA, when one ended that something may have waited for; then call [`Vtd::run`].
    pub fn set_waker(&self, waker: impl Fn() + Send + Sync + 'static) {
        *self.inner.waker.lock().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(waker));
        self.inner.has_waker.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.inner
            .guarded
            .0
            .lock()
            .unwrap_or_else(|e| e.into_inner())
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        Counters {
            lost_faults: self.lock().state.lost_faults,
            ..self.inner.tally.counters()
        }
    }

    /// Reads a register: 1, 2, 4 or 8 bytes at an offset into the 4 KiB block. Reserved bytes are 0. VT-d 4.1 §11.2.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.settle();
        let g = self.lock();
        registers::read(
            &g.state,
            &self.inner.config,
            &self.inner.capabilities,
            offset,
            size,
        )
    }

    /// Writes a register: 4 or 8 bytes at an offset aligned to 4; other writes are ignored. VT-d 4.1 §11.2.
    pub fn write(&self, offset: u64, size: u8, value: u64) -> Actions {
        let todo = {
            let mut g = self.lock();
            registers::write(&mut g.state, &self.inner.config, offset, size, value)
        };
        for item in todo {
            match item {
                Todo::GlobalCommand(value) => self.global_command(value),
                Todo::ContextCommand => self.context_command(),
                Todo::IotlbCommand => self.iotlb_command(),
                Todo::Queue => self.process_queue(),
                Todo::ProtectedMemory => self.protect(),
                Todo::Message(msi) => self.lock().send(Some(msi)),
            }
        }
        self.take_actions()
    }

    /// Goes on with what waited for DMA in flight.
    pub fn run(&self) -> Actions {
        self.settle();
        self.process_queue();
        self.take_actions()
    }

    /// What requests and other threads left to be done.
    pub fn take_actions(&self) -> Actions {
        let mut g = self.lock();
        self.inner.left.0.store(false, Ordering::Relaxed);
        let mut actions = std::mem::take(&mut g.actions);
        actions.run_again = g.draining.is_some() || !g.late.is_empty() || g.more;
        actions
    }

    /// True if requests, interrupts or page requests have left something for [`Vtd::take_actions`]: a fault event, say. Cheap enough to
    /// be asked after each DMA.
    pub fn has_actions(&self) -> bool {
        self.inner.left.0.load(Ordering::Relaxed)
    }

    /// Back to the state after power-on: registers, caches and what was pending. Counters stay. No DMA may be in flight.
    pub fn reset(&self) {
        let Inner { live, caches, .. } = &*self.inner;
        {
            let mut g = self.lock();
            g.state = State::new(&self.inner.config);
            g.actions = Actions::default();
            g.late.clear();
            g.draining = None;
            g.queue_runs += 1;
            g.more = false;
            live.status.store(0, Ordering::SeqCst);
            live.rtaddr.store(0, Ordering::SeqCst);
            live.irta.store(0, Ordering::SeqCst);
            self.inner.left.0.store(false, Ordering::Relaxed);
            self.inner.waiting.0.store(false, Ordering::SeqCst);
        }
        caches.clear_translations();
        caches.interrupt.clear();
        self.protect();
    }

    /// Marks a DMA as in flight until the guard is dropped: invalidations wait for it.
    #[inline]
    pub fn enter(&self) -> Guard<'_, M> {
        Guard {
            unit: self,
            ticket: self.inner.grace.enter(thread_number()),
        }
    }

    #[inline]
    fn leave(&self, ticket: Ticket) {
        self.inner.grace.leave(ticket);
        if self.inner.waiting.0.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if !self.inner.has_waker.load(Ordering::Acquire) {
            return;
        }
        let waker = self
            .inner
            .waker
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone();
        if let Some(waker) = waker {
            waker();
        }
    }

    /// Begins a grace period, and looks for a while whether it passes. If not, the epoch to wait for: note it under the lock, call
    /// [`Vtd::await_dma`] there, and look once more after it is released.
    fn begin_drain(&self) -> Result<(), u64> {
        let target = self.inner.grace.advance();
        for _ in 0..SPINS {
            if self.inner.grace.passed(target) {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        Err(target)
    }

    /// Asks those whose DMA ends to wake the owner. Under the lock, so that nobody takes it back before what is awaited is noted.
    fn await_dma(&self, _: &mut Guarded) {
        self.inner.waiting.0.store(true, Ordering::SeqCst);
        self.inner.grace.sweep();
    }

    /// The reverse, if nothing waits any more.
    fn await_no_more(&self, g: &mut Guarded) {
        if g.late.is_empty() && g.draining.is_none() {
            self.inner.waiting.0.store(false, Ordering::SeqCst);
        }
    }

    /// Applies a change once the DMA in flight has ended.
    fn after_drain(&self, late: Late) {
        match self.begin_drain() {
            Ok(()) => self.lock().apply(late),
            Err(target) => {
                {
                    let mut g = self.lock();
                    g.late.retain(|(_, l)| {
                        std::mem::discriminant(l) != std::mem::discriminant(&late)
                    });
                    g.late.push((target, late));
                    self.await_dma(&mut g);
                }
                // The last DMA may have ended before it could see that somebody waits.
                self.settle();
            }
        }
    }

    /// Applies what waited long enough.
    fn settle(&self) {
        if !self.inner.waiting.0.load(Ordering::SeqCst) {
            return;
        }
        let mut g = self.lock();
        let mut ready = Vec::new();
        g.late.retain(|(target, late)| {
            let passed = self.inner.grace.passed(*target);
            if passed {
                ready.push(*late);
            }
            !passed
        });
        for late in ready {
            g.apply(late);
        }
        self.await_no_more(&mut g);
    }

    /// True if a physical address is in an enabled protected region.
    fn is_protected(&self, address: u64) -> bool {
        self.inner.live.protect.load(Ordering::Relaxed)
            && self.inner.live.regions.iter().any(|[base, last]| {
                let (base, last) = (base.load(Ordering::Relaxed), last.load(Ordering::Relaxed));
                (base..=last).contains(&address)
            })
    }

    fn walker<'a>(&'a self, caches: &'a Caches) -> Walker<'a, M> {
        Walker {
            memory: &self.inner.memory,
            config: &self.inner.config,
            rtaddr: self.inner.live.rtaddr.load(Ordering::Acquire),
            caches,
        }
    }

    /// Translates a request to one page. A fault is recorded (unless FPD says otherwise). Translation requests are for
    /// [`Vtd::translation_request`].
    ///
    /// For the drain promise, hold the guard of [`Vtd::enter`] from before this call to after the access.
    ///
    /// # Errors
    /// Why the request is blocked.
    #[inline]
    pub fn translate(&self, request: &Request) -> Result<Translation, Blocked> {
        let front = &self.inner.caches.front;
        let generation = front.generation();
        if let Some(key) = answer::key(request)
            && let Some(word) = front.get(key, generation)
            && let Some(translation) = answer::decode(word, request)
        {
            self.inner.tally.hit();
            return Ok(translation);
        }
        self.translate_behind(request, generation)
    }

    /// Translates what the front has no answer for.
    #[inline(never)]
    fn translate_behind(&self, request: &Request, generation: u64) -> Result<Translation, Blocked> {
        if self.inner.live.status.load(Ordering::Acquire) & global::TE == 0 {
            return self.pass(request);
        }
        let caches = &self.inner.caches;
        let counting = &mut Counting(&self.inner.tally);
        match self.walker(caches).translate(request, counting) {
            Ok(t)
                if self.is_protected(t.address)
                    && (self.inner.config.protects_from_all()
                        || t.pass_through
                        || request.address_type == AddressType::Translated) =>
            {
                self.inner.tally.protected();
                Err(Blocked::Protected)
            }
            Ok(mut t) => {
                if self.inner.live.protect.load(Ordering::Relaxed) {
                    t.page_shift = t.page_shift.min(PROTECTED_GRANULE.trailing_zeros());
                }
                if let Some(key) = answer::key(request)
                    && let Some(word) = answer::encode(request, &t)
                {
                    caches.front.fill(key, word, generation);
                }
                Ok(t)
            }
            Err(fault) => {
                self.fault(request, &fault);
                Err(Blocked::Fault(fault))
            }
        }
    }

    /// Translation is off.
    fn pass(&self, request: &Request) -> Result<Translation, Blocked> {
        if self.is_protected(request.address) {
            self.inner.tally.protected();
            return Err(Blocked::Protected);
        }
        self.inner.tally.untranslated();
        Ok(Translation {
            address: request.address,
            page_shift: if self.inner.live.protect.load(Ordering::Relaxed) {
                PROTECTED_GRANULE.trailing_zeros()
            } else {
                64
            }
            .min(beside_interrupts(request.address)),
            read: true,
            write: true,
            execute: true,
            snoop: false,
            global: false,
            pass_through: true,
        })
    }

    /// What a walk without caches says now. Records nothing, but sets accessed and dirty bits.
    ///
    /// # Errors
    /// The fault.
    pub fn walk(&self, request: &Request) -> Result<Translation, Fault> {
        self.walker(&Caches::off()).translate(request, &mut ())
    }

    /// What a walk without caches says now. Changes nothing.
    fn look<O: Observer>(&self, request: &Request, o: &mut O) -> Result<Translation, Fault> {
        let walker = Walker {
            memory: &Untouched(&self.inner.memory),
            config: &self.inner.config,
            rtaddr: self.inner.live.rtaddr.load(Ordering::Acquire),
            caches: &Caches::off(),
        };
        walker.translate(request, o)
    }

    #[cold]
    fn fault(&self, request: &Request, fault: &Fault) {
        // A cached answer that a walk would not give.
        let stale = self.inner.config.caching_mode
            && fault.place.is_none()
            && self.look(request, &mut ()).is_ok();
        if stale {
            self.inner.tally.caching_mode_violation();
        }
        self.record(fault, request.record(fault.reason));
    }

    /// Counts a fault, and records it unless FPD says otherwise.
    fn record(&self, fault: &Fault, record: Record) {
        self.inner.tally.fault(fault.reason.code());
        if !fault.is_recorded() {
            self.inner.tally.suppressed();
            return;
        }
        let mut g = self.lock();
        let message = g.state.record(record);
        self.send(&mut g, message);
    }

    /// Leaves a message for the next [`Vtd::take_actions`].
    fn send(&self, g: &mut Guarded, message: Option<Msi>) {
        if message.is_some() {
            g.send(message);
            self.inner.left.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Guarded {
    fn send(&mut self, message: Option<Msi>) {
        if let Some(message) = message
            && self.actions.messages.len() < MAX_MESSAGES
        {
            self.actions.messages.push(message);
        }
    }

    fn apply(&mut self, late: Late) {
        let s = &mut self.state;
        match late {
            Late::Gsts(gsts) => s.gsts = gsts,
            Late::ContextCommand => s.ccmd &= !ICC,
            Late::IotlbCommand => s.iotlb &= !IVT,
            Late::ProtectedMemory => {
                let status = if s.pmen & EPM != 0 { PMEN_PRS } else { 0 };
                s.pmen = s.pmen & !PMEN_PRS | status;
            }
        }
    }
}

/// Bytes that one piece of a DMA may have at most, so that a port's lengths stay within what a host can address.
const MAX_PIECE: u64 = 1 << 62;

impl<M: TableMemory> Vtd<M> {
    fn piece(&self, r: &DmaRequest, address_type: AddressType) -> Result<Piece, DmaFault> {
        let request = Request {
            address_type,
            ..Request::from(r)
        };
        match Vtd::translate(self, &request) {
            Ok(t) => Ok(Piece {
                gpa: Gpa(t.address),
                len: r.len.min(t.remaining()).clamp(1, MAX_PIECE),
            }),
            Err(blocked) => Err(DmaFault {
                request: *r,
                reason: blocked.into(),
            }),
        }
    }
}

impl<M: TableMemory> Translator for Vtd<M> {
    fn translate(&self, r: &DmaRequest) -> Result<Piece, DmaFault> {
        self.piece(r, AddressType::Untranslated)
    }

    fn translation_request(&self, r: &DmaRequest) -> Result<Grant, NoGrant> {
        match Vtd::translation_request(self, &Request::from(r)) {
            Ok(done) => Ok(Grant {
                piece: done.piece(r),
                // What only untranslated requests may reach is no grant: devices here ask for memory alone.
                read: done.read && !done.untranslated_only,
                write: done.write && !done.untranslated_only,
            }),
            Err(ats::Failure::UnsupportedRequest) => Err(NoGrant::Unsupported),
            Err(ats::Failure::CompleterAbort) => Err(NoGrant::Aborted),
        }
    }

    fn translated(&self, r: &DmaRequest) -> Result<Piece, DmaFault> {
        self.piece(r, AddressType::Translated)
    }

    fn page_request(&self, r: &crate::dma::PageRequest) -> Option<PageResponse> {
        let request = PageRequest {
            source: r.source.0,
            pasid: r.pasid.map(|p| p.0),
            execute: false,
            privileged: false,
            read: r.access == Access::Read,
            write: r.access == Access::Write,
            last: true,
            group: r.group,
            address: r.iova.0,
        };
        match Vtd::page_request(self, &request) {
            PageRequestOutcome::Queued => None,
            // The only request of a group always gets an answer.
            PageRequestOutcome::Rejected(answer) => {
                Some(answer.map_or(PageResponse::Failure, |a| a.code.into()))
            }
        }
    }

    fn enter(&self) -> usize {
        self.inner.grace.enter(thread_number()).number()
    }

    fn leave(&self, token: usize) {
        Vtd::leave(self, Ticket::from_number(token));
    }
}

/// The reason of a fault, for those who hold only a [`DmaFault`].
pub fn reason_of(fault: &DmaFault) -> Option<Reason> {
    Reason::from_code(u8::try_from(fault.reason.code).ok()?)
}
