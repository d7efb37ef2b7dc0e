//! Translations of DMA requests: how many there were, and what they took of the host's time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use viommu_devices::dma::{
    DmaFault, DmaRequest, Grant, NoGrant, PageRequest, PageResponse, Piece, Translator,
};

use super::cost::{self, Cost, CostSummary};

/// Windows whose translations are measured apart; a guest can make any number of them.
const MOST_WINDOWS: usize = 1024;

/// Translations that a machine's IOMMU was asked for. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Translations(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    costs: Mutex<Costs>,
}

#[derive(Debug, Default)]
struct Costs {
    all: Cost,
    by_window: BTreeMap<u64, Cost>,
}

/// How a translator is watched.
pub struct Watch<W, F> {
    /// The number of the window that a request falls in, where the IOMMU has windows.
    pub window: W,
    /// Is shown each fault.
    pub on_fault: F,
}

impl Translations {
    /// `translator`, with its translations counted here.
    pub fn watch<T, W, F>(&self, translator: T, watch: Watch<W, F>) -> Arc<dyn Translator>
    where
        T: Translator + 'static,
        W: Fn(&T, &DmaRequest) -> Option<u64> + Send + Sync + 'static,
        F: Fn(&DmaFault) + Send + Sync + 'static,
    {
        Arc::new(Watched {
            translator,
            translations: self.clone(),
            watch,
        })
    }

    /// How many there were, with those that ended in a fault.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// What they took.
    pub fn cost(&self) -> CostSummary {
        self.costs().all.summary(cost::clock_ns())
    }

    /// The same by number of the window.
    pub fn cost_by_window(&self) -> BTreeMap<u64, CostSummary> {
        let clock = cost::clock_ns();
        let costs = self.costs();
        let windows = costs.by_window.iter();
        windows.map(|(n, cost)| (*n, cost.summary(clock))).collect()
    }

    fn costs(&self) -> MutexGuard<'_, Costs> {
        self.0.costs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn measure<T>(&self, translate: impl FnOnce() -> T, window: impl FnOnce() -> Option<u64>) -> T {
        let before = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let Some(began) = Cost::start(before) else {
            return translate();
        };
        let answer = translate();
        let took = began.elapsed();
        let window = window();
        let mut costs = self.costs();
        costs.all.add(took);
        if let Some(number) = window
            && (costs.by_window.len() < MOST_WINDOWS || costs.by_window.contains_key(&number))
        {
            costs.by_window.entry(number).or_default().add(took);
        }
        answer
    }
}

struct Watched<T, W, F> {
    translator: T,
    translations: Translations,
    watch: Watch<W, F>,
}

impl<T: Translator, W, F> fmt::Debug for Watched<T, W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.translator).finish()
    }
}

impl<T, W, F> Translator for Watched<T, W, F>
where
    T: Translator,
    W: Fn(&T, &DmaRequest) -> Option<u64> + Send + Sync,
    F: Fn(&DmaFault) + Send + Sync,
{
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        let answer = self.translations.measure(
            || self.translator.translate(request),
            || (self.watch.window)(&self.translator, request),
        );
        answer.inspect_err(&self.watch.on_fault)
    }

    fn translation_request(&self, request: &DmaRequest) -> Result<Grant, NoGrant> {
        self.translator.translation_request(request)
    }

    fn translated(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        let answer = self.translator.translated(request);
        answer.inspect_err(&self.watch.on_fault)
    }

    fn page_request(&self, request: &PageRequest) -> Option<PageResponse> {
        self.translator.page_request(request)
    }

    fn completed(&self, request: &DmaRequest, piece: &Piece) {
        self.translator.completed(request, piece);
    }

    fn enter(&self) -> usize {
        self.translator.enter()
    }

    fn leave(&self, token: usize) {
        self.translator.leave(token);
    }
}
