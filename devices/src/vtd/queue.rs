//! The invalidation queue. VT-d 4.1 §6.5.2.
//!
//! Descriptors are parsed to [`Descriptor`] first and carried out after. One thread at a time fetches; a write of the tail meanwhile
//! only moves the tail. Nothing is locked while a descriptor is fetched, caches are searched or a status is written.

use std::sync::atomic::Ordering;

use super::config::Config;
use super::memory::TableMemory;
use super::spec::mask;
use super::spec::page_request::ResponseCode;
use super::spec::queue::{self, QueueError, types, wait};
use super::spec::registers::{IQA_DW, TableMode, fsts};
use super::state::{PendingDeviceTlb, PendingWait, State};
use super::{DeviceTlbInvalidation, Invalidation, PageGroupResponse, Vtd};

/// Device-TLB invalidations, and waits behind them, that can be pending; the queue stops fetching until some are answered.
const MAX_PENDING: usize = 64;

/// A descriptor that is valid for its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    ContextAll,
    ContextDomain(u16),
    ContextDevice {
        source: u16,
        function_mask: u8,
    },
    IotlbAll,
    IotlbDomain(u16),
    IotlbPages {
        domain: u16,
        high: u64,
    },
    DeviceTlb {
        source: u16,
        pasid: Option<u32>,
        global: bool,
        address: u64,
        bits: u32,
    },
    InterruptAll,
    InterruptIndex {
        index: u16,
        bits: u32,
    },
    PasidIotlb {
        domain: u16,
        pasid: u32,
        pages: Option<u64>,
    },
    PasidDomain {
        domain: u16,
        pasid: Option<u32>,
    },
    PasidAll,
    Wait {
        low: u64,
        high: u64,
    },
    Response(PageGroupResponse),
}

impl Descriptor {
    /// True if answers to DMA may change.
    const fn concerns_dma(&self) -> bool {
        use Descriptor::*;
        !matches!(
            self,
            InterruptAll | InterruptIndex { .. } | DeviceTlb { .. } | Wait { .. } | Response(_)
        )
    }

    /// As it is counted; None for what invalidates nothing.
    const fn kind(&self) -> Invalidation {
        use Invalidation as I;
        match self {
            Descriptor::ContextAll => I::ContextGlobal,
            Descriptor::ContextDomain(_) => I::ContextDomain,
            Descriptor::ContextDevice { .. } => I::ContextDevice,
            Descriptor::IotlbAll => I::IotlbGlobal,
            Descriptor::IotlbDomain(_) => I::IotlbDomain,
            Descriptor::IotlbPages { .. } => I::IotlbPages,
            Descriptor::DeviceTlb { .. } => I::DeviceTlb,
            Descriptor::InterruptAll => I::InterruptGlobal,
            Descriptor::InterruptIndex { .. } => I::InterruptIndex,
            Descriptor::PasidIotlb { pages: None, .. } => I::PasidIotlbAll,
            Descriptor::PasidIotlb { .. } => I::PasidIotlbPages,
            Descriptor::PasidDomain { .. } => I::PasidCacheDomain,
            Descriptor::PasidAll => I::PasidCacheGlobal,
            Descriptor::Wait { .. } => I::Wait,
            Descriptor::Response(_) => I::PageGroupResponse,
        }
    }
}

/// Checks a descriptor. Reserved fields of any kind are errors, as are types that the unit does not know or the table mode has not.
/// VT-d 4.1 §6.5.2.10.
pub(super) fn parse(
    words: [u64; 4],
    wide: bool,
    mode: TableMode,
    config: &Config,
) -> Result<Descriptor, QueueError> {
    let [low, high, ..] = words;
    let kind = queue::kind(low);
    let scalable = config.scalable && wide && mode != TableMode::Legacy;
    let known = match kind {
        types::CONTEXT_CACHE | types::IOTLB | types::WAIT => true,
        types::DEVICE_TLB => config.device_tlb,
        types::INTERRUPT_ENTRY_CACHE => config.interrupt_remapping,
        types::PASID_IOTLB | types::PASID_CACHE => scalable,
        types::PASID_DEVICE_TLB => scalable && config.device_tlb,
        types::PAGE_GROUP_RESPONSE => scalable && config.page_requests,
        _ => false,
    };
    let reserved = queue::reserved(kind)
        .filter(|_| known)
        .ok_or(QueueError::InvalidType)?;
    let drain = if kind == types::WAIT && !config.page_request_drain {
        wait::DRAIN_PAGE_REQUESTS
    } else {
        0
    };
    if low & (reserved[0] | drain) != 0 || high & reserved[1] != 0 || words[2] | words[3] != 0 {
        return Err(QueueError::Reserved);
    }
    parse_fields(kind, low, high, config).ok_or(QueueError::Reserved)
}

/// None for a reserved value of a field.
fn parse_fields(kind: u8, low: u64, high: u64, config: &Config) -> Option<Descriptor> {
    let domain = config.domain(low >> 16);
    let granularity = queue::granularity(low);
    Some(match (kind, granularity) {
        (types::CONTEXT_CACHE, 1) => Descriptor::ContextAll,
        (types::CONTEXT_CACHE, 2) => Descriptor::ContextDomain(domain),
        (types::CONTEXT_CACHE, 3) => Descriptor::ContextDevice {
            source: (low >> 32) as u16,
            function_mask: (low >> 48 & 3) as u8,
        },
        (types::IOTLB, 1) => Descriptor::IotlbAll,
        (types::IOTLB, 2) => Descriptor::IotlbDomain(domain),
        (types::IOTLB, 3) => {
            let fits = config.psi && queue::address_mask(high) <= config.mamv.into();
            let high = fits.then_some(config.pages(high))?;
            Descriptor::IotlbPages { domain, high }
        }
        (types::DEVICE_TLB, _) => {
            let (address, bits) = device_range(high, high & 1 != 0);
            Descriptor::DeviceTlb {
                source: (low >> 32) as u16,
                pasid: None,
                global: false,
                address,
                bits,
            }
        }
        (types::INTERRUPT_ENTRY_CACHE, _) if low & 1 << 4 == 0 => Descriptor::InterruptAll,
        (types::INTERRUPT_ENTRY_CACHE, _) => Descriptor::InterruptIndex {
            index: (low >> 32) as u16,
            bits: Some((low >> 27 & 0x1f) as u32).filter(|b| *b <= config.mhmv.into())?,
        },
        (types::WAIT, _) => Descriptor::Wait {
            low,
            high: high & mask(config.host_address_width - 1, 0),
        },
        (types::PASID_IOTLB, 2) => Descriptor::PasidIotlb {
            domain,
            pasid: queue::pasid(low),
            pages: None,
        },
        // MAMV is for the second stage.
        (types::PASID_IOTLB, 3) => Descriptor::PasidIotlb {
            domain,
            pasid: queue::pasid(low),
            pages: Some(high),
        },
        (types::PASID_CACHE, 0) => Descriptor::PasidDomain {
            domain,
            pasid: None,
        },
        (types::PASID_CACHE, 1) => Descriptor::PasidDomain {
            domain,
            pasid: Some(queue::pasid(low)),
        },
        (types::PASID_CACHE, 3) => Descriptor::PasidAll,
        (types::PASID_DEVICE_TLB, _) => {
            let (address, bits) = device_range(high, high & 1 << 11 != 0);
            Descriptor::DeviceTlb {
                source: (low >> 16) as u16,
                pasid: Some(queue::pasid(low)),
                global: high & 1 != 0,
                address,
                bits,
            }
        }
        (types::PAGE_GROUP_RESPONSE, _) => Descriptor::Response(PageGroupResponse {
            source: (low >> 16) as u16,
            pasid: (low & 1 << 4 != 0).then(|| queue::pasid(low)),
            group: (high >> 3 & 0x1ff) as u16,
            code: ResponseCode::from_bits(low >> 12)?,
        }),
        _ => return None,
    })
}

/// Address and log2 of the size: with S, the lowest clear bit of the address from 12 on says how far it goes. PCI Express ATS.
fn device_range(high: u64, sized: bool) -> (u64, u32) {
    let address = queue::address(high);
    if !sized {
        return (address, 12);
    }
    let bits = (address >> 12).trailing_ones() + 13;
    if bits >= 64 {
        return (0, 64);
    }
    (address & !((1 << bits) - 1), bits)
}

/// What to do next.
enum Step {
    /// Nothing more.
    Stop,
    /// Fetch the descriptor there.
    Fetch(Place),
    /// Go on with the wait descriptor that the head is at.
    Resume(Place),
}

/// Where a descriptor is.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    wide: bool,
    /// In which run of the queue.
    run: u64,
}

impl<M: TableMemory> Vtd<M> {
    /// Fetches and carries out descriptors up to the tail. At most two queues' worth at a time: a tail that keeps moving has to come
    /// again.
    pub(super) fn process_queue(&self) {
        {
            let mut g = self.lock();
            if g.fetching {
                return;
            }
            g.fetching = true;
        }
        let mut bound = 0;
        for n in 0.. {
            let step = {
                let mut g = self.lock();
                if n == 0 {
                    bound = g.state.queue_size() / 8;
                }
                g.more = n >= bound && g.state.iqh != g.state.iqt;
                let step = if n < bound {
                    self.next_step(&mut g)
                } else {
                    Step::Stop
                };
                if matches!(step, Step::Stop) {
                    g.fetching = false;
                }
                step
            };
            // Whether it stopped there is seen under the lock again, so that whoever makes it go on meanwhile is not missed.
            match step {
                Step::Stop => return,
                Step::Fetch(place) => self.fetch(place, false),
                Step::Resume(place) => self.fetch(place, true),
            }
        }
    }

    fn next_step(&self, g: &mut super::Guarded) -> Step {
        let resume = match g.draining {
            Some(target) if !self.inner.grace.passed(target) => return Step::Stop,
            Some(_) => true,
            None => false,
        };
        if resume {
            g.draining = None;
            self.await_no_more(g);
        }
        let s = &mut g.state;
        if !self.queue_enabled() || !s.may_fetch() || s.iqh == s.iqt {
            return Step::Stop;
        }
        if s.device_tlb.len() >= MAX_PENDING || s.waits.len() >= MAX_PENDING {
            return Step::Stop;
        }
        let wide = s.iqa & IQA_DW != 0;
        if let Err(error) = self.check_queue(s, wide) {
            let message = s.queue_error(error);
            g.send(message);
            return Step::Stop;
        }
        let place = Place {
            at: (s.iqa & mask(51, 12)) + s.iqh,
            wide,
            run: g.queue_runs,
        };
        if resume {
            Step::Resume(place)
        } else {
            Step::Fetch(place)
        }
    }

    fn check_queue(&self, s: &State, wide: bool) -> Result<(), QueueError> {
        let c = &self.inner.config;
        let known = match self.table_mode() {
            TableMode::Legacy => true,
            TableMode::Scalable => c.scalable,
            TableMode::Reserved => false,
            TableMode::Abort => c.abort_dma,
        };
        if !known {
            return Err(QueueError::InvalidMode);
        }
        let narrow_only = !(c.scalable || c.abort_dma);
        if wide && narrow_only || !wide && self.table_mode() != TableMode::Legacy {
            return Err(QueueError::InvalidWidth);
        }
        if s.iqt >= s.queue_size() {
            return Err(QueueError::InvalidTail);
        }
        if wide && (s.iqt | s.iqh) & 16 != 0 {
            return Err(QueueError::MisalignedTail);
        }
        Ok(())
    }

    fn table_mode(&self) -> TableMode {
        TableMode::of(self.inner.live.rtaddr.load(Ordering::SeqCst))
    }

    /// Fetches and carries out one descriptor. The head passes it unless the queue stops at it.
    fn fetch(&self, Place { at, wide, run }: Place, resumed: bool) {
        let mut words = [0; 4];
        let count = if wide { 4 } else { 2 };
        for (i, word) in words.iter_mut().take(count).enumerate() {
            match self.inner.memory.load(at + 8 * i as u64) {
                Ok(w) => *word = w,
                Err(_) => return self.stop_queue(QueueError::Fetch),
            }
        }
        let descriptor = match parse(words, wide, self.table_mode(), &self.inner.config) {
            Ok(d) => d,
            Err(error) => return self.stop_queue(error),
        };
        if let Descriptor::Wait { .. } = descriptor
            && !resumed
            && let Err(target) = self.begin_drain()
        {
            // The head stays here until the DMA in flight has ended; the next step looks whether it has meanwhile.
            let mut g = self.lock();
            if g.queue_runs == run {
                g.draining = Some(target);
                self.await_dma(&mut g);
            }
            return;
        }
        self.carry_out(descriptor);
        if descriptor.concerns_dma() {
            self.inner.caches.front.forget();
        }
        let mut g = self.lock();
        if g.queue_runs == run {
            let s = &mut g.state;
            s.iqh = (s.iqh + if wide { 32 } else { 16 }) & (s.queue_size() - 1);
        }
    }

    fn stop_queue(&self, error: QueueError) {
        let mut g = self.lock();
        let message = g.state.queue_error(error);
        g.send(message);
    }

    fn carry_out(&self, descriptor: Descriptor) {
        use Descriptor::*;
        let caches = &self.inner.caches;
        self.inner.tally.invalidation(descriptor.kind());
        match descriptor {
            ContextAll => caches.context.clear(),
            ContextDomain(domain) => caches.context.remove_domain(domain),
            ContextDevice {
                source,
                function_mask,
            } => caches.context.remove_source(source, function_mask),
            IotlbAll => self.invalidate_all(),
            IotlbDomain(domain) => self.invalidate_domain(domain),
            IotlbPages { domain, high } => self.invalidate_pages(domain, high),
            InterruptAll => caches.interrupt.clear(),
            InterruptIndex { index, bits } => caches.interrupt.remove(index, bits),
            PasidIotlb {
                domain,
                pasid,
                pages,
            } => {
                let range =
                    pages.map(|high| (queue::address(high), queue::address_mask(high) + 12));
                caches.iotlb.remove_pasid(domain, pasid, range);
                if !pages.is_some_and(queue::hint) {
                    caches.paging.remove_pasid(domain, pasid, range);
                }
            }
            PasidDomain { domain, pasid } => caches.pasid.remove_domain(domain, pasid),
            PasidAll => caches.pasid.clear(),
            DeviceTlb {
                source,
                pasid,
                global,
                address,
                bits,
            } => {
                let mut g = self.lock();
                let tag = g.state.next_tag;
                g.state.next_tag += 1;
                g.state
                    .device_tlb
                    .push_back(PendingDeviceTlb { tag, source });
                g.actions.device_tlb.push(DeviceTlbInvalidation {
                    tag,
                    source,
                    pasid,
                    global,
                    address,
                    bits,
                });
            }
            Response(response) => self.lock().actions.responses.push(response),
            Wait { low, high } => {
                let pending = {
                    let mut g = self.lock();
                    let s = &mut g.state;
                    let pending = !s.device_tlb.is_empty();
                    if pending {
                        s.fenced |= low & wait::FENCE != 0;
                        let before = s.next_tag;
                        s.waits.push_back(PendingWait { before, low, high });
                    }
                    pending
                };
                if !pending {
                    self.complete_wait(low, high);
                }
            }
        }
    }

    /// Everything before a wait descriptor is done.
    fn complete_wait(&self, low: u64, high: u64) {
        if low & wait::STATUS_WRITE != 0 {
            // Where no memory is, the write is lost, as on a bus.
            let _ = self.inner.memory.store_u32(high & !3, (low >> 32) as u32);
        }
        if low & wait::INTERRUPT != 0 {
            let mut g = self.lock();
            let message = g.state.complete_wait();
            g.send(message);
        }
    }

    /// The device answered a device-TLB invalidation. An answer that nobody waits for is an invalidation completion error.
    /// VT-d 4.1 §6.5.2.10.
    pub fn device_tlb_done(&self, tag: u64, source: u16) -> super::Actions {
        let ready = {
            let mut g = self.lock();
            let s = &mut g.state;
            let known = s
                .device_tlb
                .iter()
                .position(|p| p.tag == tag && p.source == source);
            match known {
                Some(i) => {
                    s.device_tlb.remove(i);
                }
                None => {
                    let message = s.device_tlb_error(fsts::ICE, source);
                    g.send(message);
                }
            }
            take_ready(&mut g.state)
        };
        for w in ready {
            self.complete_wait(w.low, w.high);
        }
        self.process_queue();
        self.take_actions()
    }

    /// The device did not answer a device-TLB invalidation in time: the queue stops until software clears FSTS.ITE, and pending waits
    /// are dropped. VT-d 4.1 §6.5.2.10.
    pub fn device_tlb_timed_out(&self, tag: u64) -> super::Actions {
        {
            let mut g = self.lock();
            let s = &mut g.state;
            if let Some(i) = s.device_tlb.iter().position(|p| p.tag == tag)
                && let Some(lost) = s.device_tlb.remove(i)
            {
                s.waits.clear();
                s.fenced = false;
                let message = s.device_tlb_error(fsts::ITE, lost.source);
                g.send(message);
            }
        }
        self.take_actions()
    }
}

/// Wait descriptors whose device-TLB invalidations are all answered.
fn take_ready(s: &mut State) -> Vec<PendingWait> {
    let oldest = s.device_tlb.front().map_or(u64::MAX, |p| p.tag);
    let mut ready = Vec::new();
    while s.waits.front().is_some_and(|w| w.before <= oldest) {
        ready.extend(s.waits.pop_front());
    }
    if s.waits.is_empty() {
        s.fenced = false;
    }
    ready
}
