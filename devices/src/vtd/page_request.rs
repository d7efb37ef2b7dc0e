//! Page requests of devices and their queue. VT-d 4.1 §7.4 (queue), §7.6 (responses).

use super::caches::Caches;
use super::memory::TableMemory;
use super::request::{AddressType, Fault, Operation, Request, record};
use super::spec::fault::{Reason, RequestType};
use super::spec::mask;
use super::spec::page_request::{Descriptor, ResponseCode, SIZE};
use super::spec::registers::{PPR, PRO, global};
use super::walk::{Stages, Target};
use super::{PageGroupResponse, Vtd};
use std::sync::atomic::Ordering;

/// A page request message. PCI Express PRI; VT-d 4.1 §7.4.1.1.
pub type PageRequest = Descriptor;

/// What became of a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageRequestOutcome {
    /// It is in the queue; software will answer the group.
    Queued,
    /// It is not, and the device gets this answer (None: it was not the last of its group, so no answer is due).
    Rejected(Option<PageGroupResponse>),
}

impl<M: TableMemory> Vtd<M> {
    /// A device asks for a page.
    ///
    /// The answer to a rejected request is also given here; it is not among the actions.
    pub fn page_request(&self, request: &PageRequest) -> PageRequestOutcome {
        let reject = |code| {
            PageRequestOutcome::Rejected(request.last.then_some(PageGroupResponse {
                source: request.source,
                pasid: request.pasid,
                group: request.group,
                code,
            }))
        };
        if !self.inner.config.page_requests {
            return reject(ResponseCode::Failure);
        }
        // Until it is in the queue, wherever another thread has to write it: what waits (PD) finds it there.
        let _in_flight = self.enter();
        let target = match self.check_page_request(request) {
            Ok(target) => target,
            Err(fault) => {
                let as_request = as_request(request);
                let entry = record(&as_request, fault.reason, RequestType::PageRequest, 0);
                self.record(&fault, entry);
                return reject(ResponseCode::InvalidRequest);
            }
        };
        self.forget_page(&target, request.address);
        let first = {
            let mut g = self.lock();
            // Once a request is lost, all are, until software has drained the queue and cleared PRO.
            if g.state.prs & PRO != 0 || g.state.page_queue_full() {
                let message = g.state.set_page_status(PRO);
                self.send(&mut g, message);
                return reject(ResponseCode::Success);
            }
            g.state.page_requests.push_back(request.encode());
            !std::mem::replace(&mut g.writing, true)
        };
        if first {
            self.write_page_requests();
        }
        PageRequestOutcome::Queued
    }

    /// Writes what waits to the queue, in order. One thread at a time.
    fn write_page_requests(&self) {
        loop {
            let (words, at) = {
                let mut g = self.lock();
                let s = &mut g.state;
                let Some(words) = s.page_requests.front().copied() else {
                    g.writing = false;
                    return;
                };
                (
                    words,
                    (s.pqa & !0xfff) + (s.pqt & (s.page_queue_size() - 1)),
                )
            };
            for (i, word) in words.into_iter().enumerate() {
                // Where no memory is, the write is lost, as on a bus.
                let _ = self.inner.memory.store(at + 8 * i as u64, word);
            }
            let mut g = self.lock();
            let s = &mut g.state;
            s.page_requests.pop_front();
            s.pqt = (s.pqt + SIZE) & (s.page_queue_size() - 1);
            let message = s.set_page_status(PPR);
            self.send(&mut g, message);
        }
    }

    /// Software need not invalidate a page that it permits more than before, if a page request asked for that: the request itself
    /// invalidates. VT-d 4.1 §6.5.3.1.
    fn forget_page(&self, target: &Target, address: u64) {
        let caches = &self.inner.caches;
        let range = Some((address & mask(63, 12), 12));
        match target.stages {
            Stages::First(_) => {
                caches
                    .iotlb
                    .remove_pasid(target.domain, target.pasid, range);
                caches
                    .paging
                    .remove_pasid(target.domain, target.pasid, range);
            }
            Stages::Nested(..) => self.invalidate_domain(target.domain),
            Stages::Second(_) | Stages::PassThrough => {
                self.invalidate_pages(target.domain, address & mask(63, 12));
            }
        }
        caches.front.forget();
    }

    /// RTA.3, SRT, SCT, SPD and SPT conditions.
    fn check_page_request(&self, request: &PageRequest) -> Result<Target, Fault> {
        if self.inner.live.status.load(Ordering::Acquire) & global::TE == 0 {
            return Err(Fault::new(Reason::PageRequestInLegacyMode));
        }
        let caches = Caches::off();
        let walker = self.walker(&caches);
        let as_request = as_request(request);
        let target = walker.locate_for_page_request(&as_request, &mut ())?;
        let (context, at) = walker.fetch_scalable_context(as_request.source, &mut ())?;
        if !context.page_requests_enabled() {
            return Err(Fault {
                suppressed: context.fault_processing_disabled(),
                ..Fault::at(
                    Reason::PageRequestsDisabled,
                    super::Structure::ScalableContextEntry,
                    at,
                )
            });
        }
        Ok(target)
    }
}

fn as_request(r: &PageRequest) -> Request {
    Request {
        pasid: r.pasid.map(crate::dma::Pasid),
        privileged: r.privileged,
        execute: r.execute,
        address_type: AddressType::Untranslated,
        ..Request::untranslated(
            crate::dma::SourceId(r.source),
            r.address,
            if r.write {
                Operation::Write
            } else {
                Operation::Read
            },
        )
    }
}
