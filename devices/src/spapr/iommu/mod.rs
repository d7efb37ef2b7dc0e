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
//! [`SpaprIommu`] owns the state and is the only part with a lock. [`spec`] has layouts, [`rules`] the choices a platform makes, as data.
//! Every call checks first and changes after, so an error leaves the state as it was. Translation only reads, and does not allocate.

mod ddw;
mod hcalls;
pub mod memory;
pub mod report;
pub mod rules;
pub mod snapshot;
pub mod spec;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::memory::Memory;
use self::report::{DdwCall, IommuReport, WindowReport};
use self::rules::{Personality, Refusable, Refusal, Refusals};
use self::spec::{Liobn, TCE_4K_SHIFT};
use self::table::Budget;
use self::window::{Kind, Window};
use crate::dma::{DmaFault, DmaRequest, FaultReason, Piece, SourceId, Translator};
use crate::memory::GuestRam;
use crate::spapr::eeh::PeHealth;
use crate::spapr::hcall::{self, Reply};

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

#[derive(Clone, Copy, Debug)]
struct WindowRef {
    base: u64,
    size: u64,
    liobn: Liobn,
}

#[derive(Debug)]
struct Pe {
    config: PeConfig,
    /// What exists now, for translation.
    windows: Vec<WindowRef>,
    /// Stops its DMA after an error, if someone watches it.
    health: Option<PeHealth>,
    /// In limited address mode: windows lie above 4 GiB, but as low as possible.
    limited: bool,
}

impl Pe {
    /// A DMA error.
    fn error(&self) {
        if let Some(health) = &self.health {
            health.error();
        }
    }
}

#[derive(Debug)]
struct State {
    memory: Memory,
    personality: Personality,
    refusals: Refusals,
    pes: Vec<Pe>,
    windows: BTreeMap<Liobn, Window>,
    budget: Budget,
    next_order: u64,
    now_ns: u64,
    past: VecDeque<WindowReport>,
    past_dropped: u64,
    calls: Vec<DdwCall>,
    calls_dropped: u64,
    hcalls: BTreeMap<u64, u64>,
    hcall_errors: BTreeMap<(u64, i64), u64>,
}

impl State {
    fn remember(&mut self, window: &Window) {
        if self.past.len() == MAX_PAST {
            self.past.pop_front();
            self.past_dropped += 1;
        }
        self.past.push_back(window.report(Some(self.now_ns)));
    }

    fn pe_of_source(&self, buid: Option<u64>, source: SourceId) -> Result<&Pe, FaultReason> {
        let mine = |pe: &&Pe| {
            buid.is_none_or(|b| b == pe.config.buid) && pe.config.members.contains(source)
        };
        self.pes.iter().find(mine).ok_or(NO_PE)
    }

    /// Translates a prefix of a request; an error stops the PE if its errors are handled so.
    fn translate(&self, buid: Option<u64>, request: &DmaRequest) -> Result<Piece, FaultReason> {
        let pe = self.pe_of_source(buid, request.source)?;
        if let Some(health) = &pe.health {
            health.check_dma(request.access, request.iova.0)?;
        }
        let (window, offset) = self.find(pe, request.iova.0).inspect_err(|_| pe.error())?;
        window
            .translate(offset, request.len, request.access)
            .inspect_err(|_| pe.error())
    }

    /// The window of a PE that holds `iova`, and the offset in it.
    fn find(&self, pe: &Pe, iova: u64) -> Result<(&Window, u64), FaultReason> {
        let hit = pe.windows.iter().find_map(|w| {
            let offset = iova.checked_sub(w.base)?;
            (offset < w.size).then_some((w.liobn, offset))
        });
        let (liobn, offset) = hit.ok_or(NO_WINDOW)?;
        Ok((self.windows.get(&liobn).ok_or(NO_WINDOW)?, offset))
    }
}

#[derive(Debug, Default)]
struct FaultLog {
    last: VecDeque<DmaFault>,
    total: u64,
}

#[derive(Debug)]
struct Inner {
    state: RwLock<State>,
    faults: Mutex<FaultLog>,
}

/// The IOMMU of a pseries machine: all PEs, windows and tables. Cheap to clone; clones are the same unit.
///
/// As a [`Translator`] it finds the first PE with the requester in it; [`SpaprIommu::for_phb`] looks at one host bridge only.
#[derive(Clone, Debug)]
pub struct SpaprIommu {
    inner: Arc<Inner>,
}

/// The IOMMU as functions below one host bridge see it.
#[derive(Clone, Debug)]
pub struct PhbTranslator {
    iommu: SpaprIommu,
    buid: u64,
}

impl SpaprIommu {
    /// A unit without PEs, for a partition with `ram_size` bytes of RAM from real address 0.
    pub fn new(ram_size: u64, personality: Personality) -> Self {
        let state = State {
            memory: Memory::new(ram_size),
            personality,
            refusals: Refusals::default(),
            pes: Vec::new(),
            windows: BTreeMap::new(),
            budget: Budget::for_ram(ram_size),
            next_order: 0,
            now_ns: 0,
            past: VecDeque::new(),
            past_dropped: 0,
            calls: Vec::new(),
            calls_dropped: 0,
            hcalls: BTreeMap::new(),
            hcall_errors: BTreeMap::new(),
        };
        let faults = FaultLog {
            last: VecDeque::with_capacity(MAX_FAULTS),
            total: 0,
        };
        SpaprIommu {
            inner: Arc::new(Inner {
                state: RwLock::new(state),
                faults: Mutex::new(faults),
            }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.inner.state.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.inner.state.write().unwrap_or_else(|e| e.into_inner())
    }

    fn faults(&self) -> MutexGuard<'_, FaultLog> {
        self.inner.faults.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Injects refusals, which count calls from now on. Replaces earlier ones.
    pub fn refuse(&self, refusals: Vec<Refusal>) {
        self.write().refusals = Refusals::new(refusals);
    }

    /// Adds a PE with its default window.
    ///
    /// # Errors
    /// [`ConfigError::LiobnInUse`].
    pub fn add_pe(&self, config: PeConfig) -> Result<(), ConfigError> {
        let mut state = self.write();
        let liobn = config.liobn;
        if state.windows.contains_key(&liobn) || state.pes.iter().any(|pe| pe.config.liobn == liobn)
        {
            return Err(ConfigError::LiobnInUse(liobn));
        }
        let p = state.personality;
        let pe = state.pes.len();
        state.pes.push(Pe {
            config,
            windows: Vec::with_capacity(p.windows as usize),
            health: None,
            limited: false,
        });
        state.insert_window(
            Some(pe),
            liobn,
            p.default_base,
            p.default_size,
            p.default_page_shift,
            Kind::Default,
        );
        Ok(())
    }

    /// Adds the window of a virtual I/O device: 4 KiB pages, reached by hypercall only.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn add_vio_window(&self, liobn: Liobn, base: u64, size: u64) -> Result<(), ConfigError> {
        let mut state = self.write();
        if state.windows.contains_key(&liobn) || state.pes.iter().any(|pe| pe.config.liobn == liobn)
        {
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

    /// Gives the PEs below a host bridge their health: their DMA errors go there, and it may stop their DMA.
    pub fn watch(&self, buid: u64, health: &PeHealth) {
        for pe in self
            .write()
            .pes
            .iter_mut()
            .filter(|pe| pe.config.buid == buid)
        {
            pe.health = Some(health.clone());
        }
    }

    /// Tells the unit the virtual time in nanoseconds: windows and dynamic-window calls of the report carry it.
    pub fn set_now(&self, now_ns: u64) {
        self.write().now_ns = now_ns;
    }

    /// The translator for functions below one host bridge.
    pub fn for_phb(&self, buid: u64) -> PhbTranslator {
        PhbTranslator {
            iommu: self.clone(),
            buid,
        }
    }

    /// H_PUT_TCE, H_GET_TCE, H_PUT_TCE_INDIRECT and H_STUFF_TCE; None for any other number. `args` are r4 onwards.
    pub fn hcall(&self, nr: u64, args: &[u64], ram: &GuestRam) -> Option<Reply> {
        self.write().hcall(nr, args, ram)
    }

    /// ibm,query-pe-dma-window (config_addr, buid_hi, buid_lo) -> (status, windows available, largest block, page sizes, migration mask);
    /// the block takes two cells, high first, in the six-output form. LoPAR §7.3.14.1.
    pub fn query_pe_dma_window(&self, args: &[u32], rets: &mut [u32]) {
        self.write()
            .ddw(QUERY, args, rets, Refusable::Query, State::query);
    }

    /// ibm,create-pe-dma-window (config_addr, buid_hi, buid_lo, page shift, window shift) -> (status, LIOBN, bus address high, low).
    /// LoPAR §7.3.14.2.
    pub fn create_pe_dma_window(&self, args: &[u32], rets: &mut [u32]) {
        self.write()
            .ddw(CREATE, args, rets, Refusable::Create, State::create);
    }

    /// ibm,remove-pe-dma-window (LIOBN) -> (status). LoPAR §7.3.14.3.
    pub fn remove_pe_dma_window(&self, args: &[u32], rets: &mut [u32]) {
        self.write()
            .ddw(REMOVE, args, rets, Refusable::Remove, State::remove);
    }

    /// ibm,reset-pe-dma-window (config_addr, buid_hi, buid_lo[, limited address mode]) -> (status). LoPAR §7.3.14.4.
    pub fn reset_pe_dma_windows(&self, args: &[u32], rets: &mut [u32]) {
        self.write()
            .ddw(RESET, args, rets, Refusable::Reset, State::reset_windows);
    }

    /// What the node of the (first) PE below a host bridge says.
    pub fn dt_properties(&self, buid: u64) -> Option<DtWindow> {
        let state = self.read();
        let pe = state.pes.iter().find(|pe| pe.config.buid == buid)?;
        let p = &state.personality;
        Some(DtWindow {
            liobn: pe.config.liobn,
            base: p.default_base,
            size: p.default_size,
            extensions: p.extensions,
        })
    }

    /// The state at boot: default windows and VIO windows, empty. What was counted stays.
    pub fn reset(&self) {
        let mut guard = self.write();
        let state = &mut *guard;
        for pe in 0..state.pes.len() {
            state.reset_pe(pe);
        }
        for window in state.windows.values_mut() {
            window.table.clear(&mut state.budget);
        }
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
        let state = self.read();
        let mut windows: Vec<WindowReport> = state.past.iter().cloned().collect();
        windows.extend(state.windows.values().map(|w| w.report(None)));
        windows.sort_by_key(|w| w.order);
        let name = |nr: u64| hcall::name(nr).unwrap_or("unknown");
        IommuReport {
            personality: state.personality.name,
            windows,
            windows_dropped: state.past_dropped,
            ddw_calls: state.calls.clone(),
            ddw_calls_dropped: state.calls_dropped,
            faults,
            faults_total,
            hcalls: state.hcalls.iter().map(|(nr, n)| (name(*nr), *n)).collect(),
            hcall_errors: state
                .hcall_errors
                .iter()
                .map(|((nr, s), n)| (format!("{} {s}", name(*nr)), *n))
                .collect(),
            chunks: state.budget.used,
        }
    }

    fn translate_below(&self, buid: Option<u64>, request: &DmaRequest) -> Result<Piece, DmaFault> {
        let result = {
            let state = self.read();
            state.translate(buid, request)
        };
        result.map_err(|reason| {
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
        })
    }

    fn completed_below(&self, buid: Option<u64>, request: &DmaRequest, piece: &Piece) {
        let state = self.read();
        let pe = state.pe_of_source(buid, request.source);
        if let Ok((window, _)) = pe.and_then(|pe| state.find(pe, request.iova.0)) {
            window.moved(request.access, piece.len);
        }
    }
}

impl Translator for SpaprIommu {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        self.translate_below(None, request)
    }

    fn completed(&self, request: &DmaRequest, piece: &Piece) {
        self.completed_below(None, request, piece);
    }
}

impl Translator for PhbTranslator {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        self.iommu.translate_below(Some(self.buid), request)
    }

    fn completed(&self, request: &DmaRequest, piece: &Piece) {
        self.iommu.completed_below(Some(self.buid), request, piece);
    }
}
