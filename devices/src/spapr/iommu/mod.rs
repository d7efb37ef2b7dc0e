//! The sPAPR IOMMU: TCE tables behind DMA windows.
//!
//! A *partitionable endpoint* (PE) is a set of functions that share windows. Each PE begins with the default window that its device-tree
//! node describes; the guest replaces it or adds to it by the dynamic-window RTAS calls (`ddw`). Each window has a TCE table
//! ([`table`]) named by a LIOBN, which the guest fills by hypercall (`hcalls`).
//!
//! ```text
//! guest: H_PUT_TCE(LIOBN, IOBA, TCE) --- hcalls --> table of the window --.
//! guest: ibm,create-pe-dma-window    --- ddw -----> windows of the PE ----+--> translate: requester -> PE -> window -> entry -> pieces
//! device: DmaPort (requester, address, length) ---------------------------'
//! ```
//!
//! [`SpaprIommu`] owns the state, behind a lock. [`spec`] has layouts, [`rules`] the choices a platform makes, as data. Every call checks
//! first and changes after, so an error leaves the state as it was. Translation only reads, and neither locks nor allocates: it sees
//! endpoints (`endpoint`) and their tables ([`store`]) through a gate (`gate`), and a call that takes away from them returns after the
//! DMA has ended that could use what was there before.

mod ddw;
mod endpoint;
mod gate;
mod hcalls;
pub mod memory;
pub mod report;
pub mod rules;
pub mod snapshot;
pub mod spec;
pub mod store;
mod sync;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use self::endpoint::{Endpoint, Refused};
use self::gate::Gate;
pub use self::hcalls::TceReply;
use self::memory::Memory;
use self::report::{DdwCall, IommuReport, WindowReport};
use self::rules::{Personality, Refusable, Refusal, Refusals};
use self::spec::{Liobn, TCE_4K_SHIFT};
use self::store::{Chunks, Store};
use self::window::{Kind, Window};
use crate::dma::{Access, DmaFault, DmaRequest, FaultReason, Piece, SourceId, Translator};
use crate::memory::GuestRam;
use crate::spapr::eeh::PeHealth;
use crate::spapr::hcall;

/// RTAS name of the query call.
pub const QUERY: &str = "ibm,query-pe-dma-window";
/// RTAS name of the create call.
pub const CREATE: &str = "ibm,create-pe-dma-window";
/// RTAS name of the remove call.
pub const REMOVE: &str = "ibm,remove-pe-dma-window";
/// RTAS name of the reset call, as its token's property is called (LoPAR's text also has it in the plural).
pub const RESET: &str = "ibm,reset-pe-dma-window";

/// The requester belongs to no PE.
pub const NO_PE: FaultReason = FaultReason {
    code: 0,
    name: "requester belongs to no partitionable endpoint",
};
/// No window of the PE holds the address.
pub const NO_WINDOW: FaultReason = FaultReason {
    code: 0,
    name: "no DMA window at this address",
};

/// Faults that the report lists.
const MAX_FAULTS: usize = 64;
/// Dynamic-window calls that the report lists.
const MAX_CALLS: usize = 1024;
/// Removed windows that the report lists.
const MAX_PAST: usize = 1024;

/// Which functions belong to a PE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Every function below the host bridge.
    All,
    /// These.
    Only(Vec<SourceId>),
}

impl Members {
    fn contains(&self, source: SourceId) -> bool {
        match self {
            Members::All => true,
            Members::Only(list) => list.contains(&source),
        }
    }
}

/// A partitionable endpoint as the platform sets it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeConfig {
    /// Bus unit id of the host bridge.
    pub buid: u64,
    /// The PE's configuration address.
    pub config_addr: u32,
    /// Table of the default window.
    pub liobn: Liobn,
    /// Functions of the PE.
    pub members: Members,
}

impl PeConfig {
    /// True if RTAS callers may name the PE so: by its own address, or by that of a member (Linux does) with register fields zero.
    fn has_address(&self, config_addr: u32) -> bool {
        if config_addr == self.config_addr {
            return true;
        }
        config_addr & 0xff00_00ff == 0 && self.members.contains(SourceId((config_addr >> 8) as u16))
    }
}

/// The platform's set-up contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Two tables with one name.
    #[error("{0:?} is already in use")]
    LiobnInUse(Liobn),
    /// A size of zero, no multiple of the page, or beyond the end of the bus.
    #[error("a window of {size:#x} bytes at {base:#x} is not possible")]
    BadWindow {
        /// First bus address.
        base: u64,
        /// Bytes.
        size: u64,
    },
}

/// What a PE's device-tree node says about DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtWindow {
    /// Table of the default window.
    pub liobn: Liobn,
    /// Its bus address.
    pub base: u64,
    /// Its bytes.
    pub size: u64,
    /// Count of `ibm,ddw-extensions` entries to offer (the first is the reset call's token).
    pub extensions: u32,
}

#[derive(Debug)]
struct Pe {
    /// What translations see.
    endpoint: Arc<Endpoint>,
    /// What exists now, in the order in which it came into being.
    windows: Vec<Liobn>,
    /// In limited address mode: windows lie above 4 GiB, but as low as possible.
    limited: bool,
}

impl Pe {
    fn config(&self) -> &PeConfig {
        &self.endpoint.config
    }
}

#[derive(Debug)]
struct State {
    memory: Memory,
    personality: Personality,
    refusals: Refusals,
    pes: Vec<Pe>,
    windows: BTreeMap<Liobn, Window>,
    chunks: Chunks,
    next_order: u64,
    now_ns: u64,
    past: VecDeque<WindowReport>,
    past_dropped: u64,
    calls: Vec<DdwCall>,
    calls_dropped: u64,
    hcalls: hcalls::Counts,
    hcall_errors: BTreeMap<(u64, i64), u64>,
}

impl State {
    fn remember(&mut self, report: WindowReport) {
        if self.past.len() == MAX_PAST {
            self.past.pop_front();
            self.past_dropped += 1;
        }
        self.past.push_back(report);
    }

    fn names(&self, liobn: Liobn) -> bool {
        self.windows.contains_key(&liobn) || self.pes.iter().any(|pe| pe.config().liobn == liobn)
    }
}

#[derive(Debug, Default)]
struct FaultLog {
    last: VecDeque<DmaFault>,
    total: u64,
}

/// What translations use without the state's lock.
#[derive(Debug)]
struct Shared {
    gate: Gate,
    faults: Mutex<FaultLog>,
}

/// The IOMMU of a pseries machine: all PEs, windows and tables. Cheap to clone; clones are the same unit.
///
/// As a [`Translator`] it finds the first PE with the requester in it, which takes its lock; [`SpaprIommu::for_phb`] looks at one host
/// bridge only, without it.
#[derive(Clone, Debug)]
pub struct SpaprIommu {
    state: Arc<Mutex<State>>,
    shared: Arc<Shared>,
    store: Arc<Store>,
}

/// The IOMMU as functions below one host bridge see it.
#[derive(Clone, Debug)]
pub struct PhbTranslator {
    iommu: SpaprIommu,
    endpoints: Vec<Arc<Endpoint>>,
}

impl SpaprIommu {
    /// A unit without PEs, for a partition with `ram_size` bytes of RAM from real address 0.
    pub fn new(ram_size: u64, personality: Personality) -> Self {
        Self::with_most_memory(ram_size, ram_size, personality)
    }

    /// The same, for a partition that may get more memory, up to `most` bytes: tables have room for that.
    pub fn with_most_memory(ram_size: u64, most: u64, personality: Personality) -> Self {
        let chunks = Chunks::new(ram_size, most);
        let faults = FaultLog {
            last: VecDeque::with_capacity(MAX_FAULTS),
            total: 0,
        };
        let shared = Shared {
            gate: Gate::default(),
            faults: Mutex::new(faults),
        };
        let store = chunks.store().clone();
        let state = State {
            memory: Memory::new(ram_size),
            personality,
            refusals: Refusals::default(),
            pes: Vec::new(),
            windows: BTreeMap::new(),
            chunks,
            next_order: 0,
            now_ns: 0,
            past: VecDeque::new(),
            past_dropped: 0,
            calls: Vec::new(),
            calls_dropped: 0,
            hcalls: hcalls::Counts::default(),
            hcall_errors: BTreeMap::new(),
        };
        SpaprIommu {
            state: Arc::new(Mutex::new(state)),
            shared: Arc::new(shared),
            store,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Changes what translations see. Returns after DMA in flight has ended, which may use what was there before.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = self.begin_change(change);
        self.shared.gate.wait();
        result
    }

    /// Changes what translations see, without waiting for DMA in flight.
    #[inline]
    fn begin_change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        self.shared.gate.change(|| change(&mut state))
    }

    fn faults(&self) -> MutexGuard<'_, FaultLog> {
        self.shared.faults.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Injects refusals, which count calls from now on. Replaces earlier ones.
    pub fn refuse(&self, refusals: Vec<Refusal>) {
        self.lock().refusals = Refusals::new(refusals);
    }

    /// Adds a PE with its default window.
    ///
    /// # Errors
    /// [`ConfigError::LiobnInUse`].
    pub fn add_pe(&self, config: PeConfig) -> Result<(), ConfigError> {
        self.change(|state| {
            let liobn = config.liobn;
            if state.names(liobn) {
                return Err(ConfigError::LiobnInUse(liobn));
            }
            let pe = state.pes.len();
            state.pes.push(Pe {
                endpoint: Arc::new(Endpoint::new(config)),
                windows: Vec::with_capacity(state.personality.windows as usize),
                limited: false,
            });
            state.insert_default(pe);
            Ok(())
        })
    }

    /// Adds the window of a virtual I/O device: 4 KiB pages, reached by hypercall only.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn add_vio_window(&self, liobn: Liobn, base: u64, size: u64) -> Result<(), ConfigError> {
        let mut state = self.lock();
        if state.names(liobn) {
            return Err(ConfigError::LiobnInUse(liobn));
        }
        let page = 1u64 << TCE_4K_SHIFT;
        if size == 0
            || !size.is_multiple_of(page)
            || !base.is_multiple_of(page)
            || base.checked_add(size - 1).is_none()
        {
            return Err(ConfigError::BadWindow { base, size });
        }
        state.insert_window(None, liobn, base, size, TCE_4K_SHIFT, Kind::Vio);
        Ok(())
    }

    /// Gives the PEs below a host bridge their health: their DMA errors go there, and it may stop their DMA. Done once.
    pub fn watch(&self, buid: u64, health: &PeHealth) {
        for pe in self.lock().pes.iter().filter(|p| p.config().buid == buid) {
            pe.endpoint.health.get_or_init(|| health.clone());
        }
    }

    /// Tells the unit the virtual time in nanoseconds: windows and dynamic-window calls of the report carry it.
    pub fn set_now(&self, now_ns: u64) {
        self.lock().now_ns = now_ns;
    }

    /// The translator for functions below one host bridge, which has all its PEs.
    pub fn for_phb(&self, buid: u64) -> PhbTranslator {
        let state = self.lock();
        let mine = state.pes.iter().filter(|pe| pe.config().buid == buid);
        PhbTranslator {
            iommu: self.clone(),
            endpoints: mine.map(|pe| pe.endpoint.clone()).collect(),
        }
    }

    /// H_PUT_TCE, H_GET_TCE, H_PUT_TCE_INDIRECT and H_STUFF_TCE; None for any other number. `args` are r4 onwards.
    ///
    /// Not to be called within a DMA of the same thread, whose end it would wait for; the same holds for what else changes windows.
    pub fn hcall(&self, nr: u64, args: &[u64], ram: &GuestRam) -> Option<TceReply> {
        let kind = hcalls::kind(nr)?;
        Some(match kind {
            Refusable::Get => self.lock().get_call(args),
            _ => {
                let (status, replaced) = self.begin_change(|s| s.set_call(kind, args, ram));
                if replaced {
                    self.shared.gate.wait();
                }
                status.into()
            }
        })
    }

    /// ibm,query-pe-dma-window (config_addr, buid_hi, buid_lo) -> (status, windows available, largest block, page sizes, migration mask);
    /// the block takes two cells, high first, in the six-output form. LoPAR §7.3.14.1.
    pub fn query_pe_dma_window(&self, args: &[u32], rets: &mut [u32]) {
        self.lock()
            .ddw(QUERY, args, rets, Refusable::Query, State::query);
    }

    /// ibm,create-pe-dma-window (config_addr, buid_hi, buid_lo, page shift, window shift) -> (status, LIOBN, bus address high, low).
    /// LoPAR §7.3.14.2.
    pub fn create_pe_dma_window(&self, args: &[u32], rets: &mut [u32]) {
        self.change(|s| s.ddw(CREATE, args, rets, Refusable::Create, State::create));
    }

    /// ibm,remove-pe-dma-window (LIOBN) -> (status). LoPAR §7.3.14.3.
    pub fn remove_pe_dma_window(&self, args: &[u32], rets: &mut [u32]) {
        self.change(|s| s.ddw(REMOVE, args, rets, Refusable::Remove, State::remove));
    }

    /// ibm,reset-pe-dma-window (config_addr, buid_hi, buid_lo[, limited address mode]) -> (status). LoPAR §7.3.14.4.
    pub fn reset_pe_dma_windows(&self, args: &[u32], rets: &mut [u32]) {
        self.change(|s| s.ddw(RESET, args, rets, Refusable::Reset, State::reset_windows));
    }

    /// What the node of the (first) PE below a host bridge says.
    pub fn dt_properties(&self, buid: u64) -> Option<DtWindow> {
        let state = self.lock();
        let pe = state.pes.iter().find(|pe| pe.config().buid == buid)?;
        let p = &state.personality;
        Some(DtWindow {
            liobn: pe.config().liobn,
            base: p.default_base,
            size: p.default_size,
            extensions: p.extensions,
        })
    }

    /// The state at boot: default windows and VIO windows, empty. What was counted stays.
    pub fn reset(&self) {
        self.change(|state| {
            for pe in 0..state.pes.len() {
                state.reset_pe(pe);
            }
            for window in state.windows.values_mut() {
                window.table.clear(&mut state.chunks);
                window.show();
            }
        });
    }

    /// The state at boot for every PE below a host bridge, as when the bridge's connector is isolated: dynamic windows are gone, the default
    /// window is back with its name, place and size, and empty; limited address mode is off. What was counted stays. LoPAR §7.3.14.
    pub fn reset_bridge(&self, buid: u64) {
        self.change(|state| {
            for pe in 0..state.pes.len() {
                if state.pes.get(pe).is_some_and(|p| p.config().buid == buid) {
                    state.reset_pe(pe);
                }
            }
        });
    }

    /// What happened so far.
    pub fn report(&self) -> IommuReport {
        let (faults, faults_total) = {
            let log = self.faults();
            (
                log.last.iter().map(ToString::to_string).collect(),
                log.total,
            )
        };
        let state = self.lock();
        let mut windows: Vec<WindowReport> = state.past.iter().cloned().collect();
        windows.extend(state.windows.values().map(|w| w.report(None)));
        windows.sort_by_key(|w| w.order);
        let name = |nr: u64| hcall::name(nr).unwrap_or("unknown");
        let named = |counts: &mut dyn Iterator<Item = (u64, u64)>| {
            counts.map(|(nr, n)| (name(nr), n)).collect()
        };
        IommuReport {
            personality: state.personality.name,
            windows,
            windows_dropped: state.past_dropped,
            ddw_calls: state.calls.clone(),
            ddw_calls_dropped: state.calls_dropped,
            faults,
            faults_total,
            hcalls: named(&mut state.hcalls.calls()),
            hcall_entries: named(&mut state.hcalls.entries()),
            hcall_errors: state
                .hcall_errors
                .iter()
                .map(|((nr, s), n)| (format!("{} {s}", name(*nr)), *n))
                .collect(),
            chunks: state.chunks.budget.used,
        }
    }

    /// What `read` gives while no change is under way.
    fn read<T>(&self, read: impl Fn() -> T) -> T {
        self.shared.gate.read(&read).unwrap_or_else(|| {
            let _no_change = self.lock();
            read()
        })
    }

    /// Translates what most requests are: a part of one page that may be accessed. None if it is anything else, or if something
    /// changes meanwhile; nothing has happened then.
    #[inline(always)]
    fn translate_in_page(&self, endpoint: &Endpoint, r: &DmaRequest) -> Option<Piece> {
        if endpoint.health.get().is_some_and(|h| h.minds_dma()) {
            return None;
        }
        let gate = &self.shared.gate;
        gate.try_read(|| endpoint.translate_in_page(&self.store, r))?
    }

    /// Translates a prefix of a request by a PE; an error stops the PE if its errors are handled so.
    #[inline(never)]
    fn translate_by(&self, endpoint: &Endpoint, r: &DmaRequest) -> Result<Piece, DmaFault> {
        if let Some(health) = endpoint.health.get()
            && let Err(reason) = health.check_dma(r.access, r.iova.0)
        {
            return Err(self.fault(r, reason));
        }
        self.read(|| endpoint.translate(&self.store, r))
            .map_err(|refused| self.refused(endpoint, r, refused))
    }

    /// Counts a refusal; it may stop the PE.
    #[cold]
    fn refused(&self, endpoint: &Endpoint, request: &DmaRequest, refused: Refused) -> DmaFault {
        if let Some(slot) = refused.window.and_then(|number| endpoint.slot(number)) {
            slot.counters.faults.fetch_add(1, Ordering::Relaxed);
        }
        endpoint.error();
        self.fault(request, refused.reason)
    }

    #[cold]
    fn fault(&self, request: &DmaRequest, reason: FaultReason) -> DmaFault {
        let fault = DmaFault {
            request: *request,
            reason,
        };
        let mut log = self.faults();
        log.total = log.total.saturating_add(1);
        if log.last.len() == MAX_FAULTS {
            log.last.pop_front();
        }
        log.last.push_back(fault);
        fault
    }

    fn completed_by(&self, endpoint: &Endpoint, request: &DmaRequest, piece: &Piece) {
        let found = self.read(|| endpoint.find(request.iova.0));
        if let Some((_, slot, _)) = found {
            let counter = match request.access {
                Access::Read => &slot.counters.read,
                Access::Write => &slot.counters.written,
            };
            counter.fetch_add(piece.len, Ordering::Relaxed);
        }
    }

    fn endpoint_of(&self, source: SourceId) -> Option<Arc<Endpoint>> {
        let state = self.lock();
        let pe = state.pes.iter().find(|pe| pe.endpoint.has(source))?;
        Some(pe.endpoint.clone())
    }
}

impl Translator for SpaprIommu {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        match self.endpoint_of(request.source) {
            Some(endpoint) => self.translate_by(&endpoint, request),
            None => Err(self.fault(request, NO_PE)),
        }
    }

    fn completed(&self, request: &DmaRequest, piece: &Piece) {
        if let Some(endpoint) = self.endpoint_of(request.source) {
            self.completed_by(&endpoint, request, piece);
        }
    }

    fn enter(&self) -> usize {
        self.shared.gate.enter()
    }

    fn leave(&self, token: usize) {
        self.shared.gate.leave(token);
    }
}

impl PhbTranslator {
    /// The window that a request falls in now, by its [`WindowReport::order`]. Takes the unit's lock: for statistics.
    pub fn window_of(&self, request: &DmaRequest) -> Option<u64> {
        let endpoint = self.endpoint_of(request.source)?;
        let state = self.iommu.lock();
        let (slot, ..) = endpoint.find(request.iova.0)?;
        let mut windows = state.windows.values();
        windows.find(|w| w.is_in(endpoint, slot)).map(|w| w.order)
    }

    #[inline]
    fn endpoint_of(&self, source: SourceId) -> Option<&Endpoint> {
        let endpoint = self.endpoints.iter().find(|e| e.has(source))?;
        Some(endpoint)
    }
}

impl Translator for PhbTranslator {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        let Some(endpoint) = self.endpoint_of(request.source) else {
            return Err(self.iommu.fault(request, NO_PE));
        };
        match self.iommu.translate_in_page(endpoint, request) {
            Some(piece) => Ok(piece),
            None => self.iommu.translate_by(endpoint, request),
        }
    }

    fn completed(&self, request: &DmaRequest, piece: &Piece) {
        if let Some(endpoint) = self.endpoint_of(request.source) {
            self.iommu.completed_by(endpoint, request, piece);
        }
    }

    fn enter(&self) -> usize {
        self.iommu.shared.gate.enter()
    }

    fn leave(&self, token: usize) {
        self.iommu.shared.gate.leave(token);
    }
}
