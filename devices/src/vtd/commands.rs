//! What commands in registers do: GCMD, CCMD, IOTLB, PMEN. VT-d 4.1 §11.4.4, §11.4.6, §11.4.8.

use std::sync::atomic::Ordering;

use super::memory::TableMemory;
use super::registers::PROTECTED_GRANULE;
use super::spec::queue::{address, address_mask, hint};
use super::spec::registers::{EPM, global};
use super::{Invalidation, Late, Vtd};

impl<M: TableMemory> Vtd<M> {
    /// GCMD. VT-d 4.1 §11.4.4.1.
    pub(super) fn global_command(&self, value: u32) {
        let c = &self.inner.config;
        let live = &self.inner.live;
        let (mut gsts, restart_queue) = {
            let mut g = self.lock();
            let s = &mut g.state;
            let mut gsts = live.status.load(Ordering::SeqCst);
            if value & global::SRTP != 0 {
                live.rtaddr.store(s.rtaddr, Ordering::SeqCst);
                gsts |= global::SRTP;
            }
            if value & global::SIRTP != 0 && c.interrupt_remapping {
                live.irta.store(s.irta, Ordering::SeqCst);
                gsts |= global::SIRTP;
            }
            let starts = value & !gsts & global::QIE != 0 && c.queued_invalidation;
            if starts {
                s.iqh = 0;
            }
            (gsts, starts)
        };
        let mut levels = global::TE;
        if c.queued_invalidation {
            levels |= global::QIE;
        }
        if c.interrupt_remapping {
            levels |= global::IRE | global::CFI;
        }
        gsts = gsts & !levels | value & levels;
        live.status.store(gsts, Ordering::SeqCst);
        let tally = &self.inner.tally;
        if value & global::SRTP != 0 && c.esrtps {
            tally.invalidation(Invalidation::RootTable);
            self.inner.caches.clear_translations();
        }
        if value & global::SIRTP != 0 && c.interrupt_remapping && c.esirtps {
            tally.invalidation(Invalidation::InterruptTable);
            self.inner.caches.interrupt.clear();
        }
        self.inner.caches.front.forget();
        // WBF: there are no buffers, so WBFS is clear again at once.
        self.after_drain(Late::Gsts(gsts));
        if restart_queue {
            self.process_queue();
        }
    }

    pub(super) fn queue_enabled(&self) -> bool {
        self.inner.live.status.load(Ordering::SeqCst) & global::QIE != 0
    }

    /// CCMD. VT-d 4.1 §11.4.6.1. While the queue is in use the command does nothing (CAIG is 0).
    pub(super) fn context_command(&self) {
        let (ccmd, usable) = {
            let mut g = self.lock();
            let usable = !self.queue_enabled();
            let granularity = if usable { g.state.ccmd >> 61 & 3 } else { 0 };
            g.state.ccmd = g.state.ccmd & !(3 << 59) | granularity << 59;
            (g.state.ccmd, usable)
        };
        if usable {
            let cache = &self.inner.caches.context;
            let kind = match ccmd >> 61 & 3 {
                1 => {
                    cache.clear();
                    Some(Invalidation::ContextGlobal)
                }
                2 => {
                    cache.remove_domain(ccmd as u16);
                    Some(Invalidation::ContextDomain)
                }
                3 => {
                    cache.remove_source((ccmd >> 16) as u16, (ccmd >> 32 & 3) as u8);
                    Some(Invalidation::ContextDevice)
                }
                _ => None,
            };
            if let Some(kind) = kind {
                self.inner.tally.invalidation(kind);
            }
        }
        self.inner.caches.front.forget();
        self.after_drain(Late::ContextCommand);
    }

    /// IOTLB register. VT-d 4.1 §11.4.6.2.
    pub(super) fn iotlb_command(&self) {
        let (iotlb, iva, usable) = {
            let g = self.lock();
            (g.state.iotlb, g.state.iva, !self.queue_enabled())
        };
        let domain = (iotlb >> 32) as u16;
        let mut actual = if usable { iotlb >> 60 & 3 } else { 0 };
        // Without PSI, or with too large a mask, the domain is invalidated.
        let too_large = iva & 0x3f > u64::from(self.inner.config.mamv);
        if actual == 3 && (!self.inner.config.psi || too_large) {
            actual = 2;
        }
        let kind = match actual {
            1 => {
                self.invalidate_all();
                Some(Invalidation::IotlbGlobal)
            }
            2 => {
                self.invalidate_domain(domain);
                Some(Invalidation::IotlbDomain)
            }
            3 => {
                self.invalidate_pages(domain, iva);
                Some(Invalidation::IotlbPages)
            }
            _ => None,
        };
        if let Some(kind) = kind {
            self.inner.tally.invalidation(kind);
        }
        self.inner.caches.front.forget();
        self.lock().state.iotlb = iotlb & !(3 << 57) | actual << 57;
        self.after_drain(Late::IotlbCommand);
    }

    pub(super) fn invalidate_all(&self) {
        self.inner.caches.iotlb.clear();
        self.inner.caches.paging.clear();
    }

    pub(super) fn invalidate_domain(&self, domain: u16) {
        self.inner.caches.iotlb.remove_domain(domain);
        self.inner.caches.paging.remove_domain(domain);
    }

    /// `high` is the second quadword of a descriptor, or IVA.
    pub(super) fn invalidate_pages(&self, domain: u16, high: u64) {
        let bits = address_mask(high) + 12;
        self.inner
            .caches
            .iotlb
            .remove_pages(domain, address(high), bits);
        if !hint(high) {
            self.inner
                .caches
                .paging
                .remove_pages(domain, address(high), bits);
        }
    }

    /// PMEN. VT-d 4.1 §11.4.8.1.
    pub(super) fn protect(&self) {
        {
            let g = self.lock();
            let (s, live) = (&g.state, &self.inner.live);
            let last = |limit: u64| limit | (PROTECTED_GRANULE - 1);
            let regions = [
                [s.plmbase.into(), last(s.plmlimit.into())],
                [s.phmbase, last(s.phmlimit)],
            ];
            for (to, from) in live.regions.iter().zip(regions) {
                to[0].store(from[0], Ordering::SeqCst);
                to[1].store(from[1], Ordering::SeqCst);
            }
            live.protect.store(s.pmen & EPM != 0, Ordering::SeqCst);
        }
        self.after_drain(Late::ProtectedMemory);
    }
}
