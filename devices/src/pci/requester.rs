//! Requester ids that follow bus numbers: a function below a bridge takes the number of its bus from configuration writes.
//! PCIe 6.0 §2.2.6.2.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::dma::{
    DmaFault, DmaRequest, Grant, NoGrant, PageRequest, PageResponse, Piece, SourceId, Translator,
};

/// The requester id that a function has now. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Requester(Arc<AtomicU16>);

impl Requester {
    /// A function at `source`.
    pub fn new(source: SourceId) -> Self {
        Requester(Arc::new(AtomicU16::new(source.0)))
    }

    /// The id.
    pub fn id(&self) -> SourceId {
        SourceId(self.0.load(Ordering::Relaxed))
    }

    /// It has another from now on.
    pub fn set(&self, source: SourceId) {
        self.0.store(source.0, Ordering::Relaxed);
    }

    /// `translator` as this requester reaches it: whatever id a request carries, it gets this one.
    pub fn through(&self, translator: Arc<dyn Translator>) -> Arc<dyn Translator> {
        Arc::new(Through {
            requester: self.clone(),
            translator,
        })
    }
}

#[derive(Debug)]
struct Through {
    requester: Requester,
    translator: Arc<dyn Translator>,
}

impl Through {
    fn renamed(&self, request: &DmaRequest) -> DmaRequest {
        DmaRequest {
            source: self.requester.id(),
            ..*request
        }
    }
}

impl Translator for Through {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        self.translator.translate(&self.renamed(request))
    }

    fn translation_request(&self, request: &DmaRequest) -> Result<Grant, NoGrant> {
        self.translator.translation_request(&self.renamed(request))
    }

    fn translated(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        self.translator.translated(&self.renamed(request))
    }

    fn page_request(&self, request: &PageRequest) -> Option<PageResponse> {
        self.translator.page_request(&PageRequest {
            source: self.requester.id(),
            ..*request
        })
    }

    fn completed(&self, request: &DmaRequest, piece: &Piece) {
        self.translator.completed(&self.renamed(request), piece);
    }

    fn enter(&self) -> usize {
        self.translator.enter()
    }

    fn leave(&self, token: usize) {
        self.translator.leave(token);
    }
}
