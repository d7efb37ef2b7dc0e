//! Translations of DMA requests: how many there were, and what they took of the host's time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use viommu_devices::dma::{
    DmaFault, DmaRequest, Grant, NoGrant, PageRequest, PageResponse, Piece, Translator,
};

use super::cost::Cost;

/// Translations that a machine's IOMMU was asked for. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Translations(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    cost: Mutex<Cost>,
}

impl Translations {
    /// `translator`, with its translations counted here, and each fault shown to `on_fault`.
    pub fn watch<F>(
        &self,
        translator: impl Translator + 'static,
        on_fault: F,
    ) -> Arc<dyn Translator>
    where
        F: Fn(&DmaFault) + Send + Sync + 'static,
    {
        Arc::new(Watched {
            translator,
            translations: self.clone(),
            on_fault,
        })
    }

    /// How many there were, with those that ended in a fault.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// What they took.
    pub fn cost(&self) -> Cost {
        *self.0.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn measure<T>(&self, translate: impl FnOnce() -> T) -> T {
        let before = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let Some(began) = Cost::start(before) else {
            return translate();
        };
        let answer = translate();
        let mut cost = self.0.cost.lock().unwrap_or_else(PoisonError::into_inner);
        cost.add(began);
        answer
    }
}

struct Watched<T, F> {
    translator: T,
    translations: Translations,
    on_fault: F,
}

impl<T: Translator, F> fmt::Debug for Watched<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.translator).finish()
    }
}

impl<T: Translator, F: Fn(&DmaFault) + Send + Sync> Translator for Watched<T, F> {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        let translate = || self.translator.translate(request);
        let answer = self.translations.measure(translate);
        answer.inspect_err(&self.on_fault)
    }

    fn translation_request(&self, request: &DmaRequest) -> Result<Grant, NoGrant> {
        self.translator.translation_request(request)
    }

    fn translated(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        let answer = self.translator.translated(request);
        answer.inspect_err(&self.on_fault)
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
