//! What commands in registers do: GCMD, CCMD, IOTLB, PMEN. VT-d 4.1 §11.4.4, §11.4.6, §11.4.8.

use std::sync::atomic::Ordering;

use super::memory::TableMemory;
use super::registers::PROTECTED_GRANULE;
use super::spec::queue::{address, address_mask, hint};
use super::spec::registers::{EPM, TableMode, global};
use super::{Invalidation, Late, Vtd};

impl<M: TableMemory> Vtd<M> {
    /// GCMD. VT-d 4.1 §11.4.4.1.
    pub(super) fn global_command(&self, value: u32) {
        let c = &self.inner.config;
        let live = &self.inner.live;
        let mut levels = global::TE;
        if c.queued_invalidation {
            levels |= global::QIE;
        }
        if c.interrupt_remapping {
            levels |= global::IRE | global::CFI;
        }
        let (gsts, started, stopped) = {
            let mut g = self.lock();
            let was = live.status.load(Ordering::SeqCst);
            let mut gsts = was & !levels | value & levels;
            let s = &mut g.state;
            if value & global::SRTP != 0 {
                live.rtaddr.store(s.rtaddr, Ordering::SeqCst);
                gsts |= global::SRTP;
            }
            if value & global::SIRTP != 0 && c.interrupt_remapping {
                live.irta.store(s.irta, Ordering::SeqCst);
                gsts |= global::SIRTP;
            }
            if gsts & (global::TE | global::IRE) == 0 {
                s.next_record = 0;
            }
            let stopped = was & !gsts;
            if stopped & global::QIE != 0 {
                s.reset_queue();
                g.draining = None;
                g.queue_runs += 1;
                self.await_no_more(&mut g);
            }
            live.status.store(gsts, Ordering::SeqCst);
            (gsts, gsts & !was, stopped)
        };
        let tally = &self.inner.tally;
        let new_root = value & global::SRTP != 0 && c.esrtps;
        if new_root {
            tally.invalidation(Invalidation::RootTable);
        }
        if new_root || stopped & global::TE != 0 && c.scalable {
            self.inner.caches.clear_translations();
        }
        let new_table = value & global::SIRTP != 0 && c.interrupt_remapping && c.esirtps;
        if new_table {
            tally.invalidation(Invalidation::InterruptTable);
        }
        if new_table || stopped & global::IRE != 0 && c.esirtps {
            self.inner.caches.interrupt.clear();
        }
        self.inner.caches.front.forget();
        // WBF: there are no buffers, so WBFS is clear again at once.
        self.after_drain(Late::Gsts(gsts));
        if started & global::QIE != 0 {
            self.process_queue();
        }
    }

    pub(super) fn queue_enabled(&self) -> bool {
        self.inner.live.status.load(Ordering::SeqCst) & global::QIE != 0
    }

    /// True if commands by register do something: not while the queue is in use, nor beyond legacy mode, nor in a unit of version 6 or
    /// later. VT-d 4.1 §6.5.1, §11.4.6.
    fn commands_by_register(&self) -> bool {
        let rtaddr = self.inner.live.rtaddr.load(Ordering::SeqCst);
        !self.queue_enabled()
            && TableMode::of(rtaddr) == TableMode::Legacy
            && self.inner.config.version.0 < 6
    }

    /// CCMD. VT-d 4.1 §11.4.6.1. A command that does nothing leaves CAIG 0.
    pub(super) fn context_command(&self) {
        let (ccmd, usable) = {
            let mut g = self.lock();
            let usable = self.commands_by_register();
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
                    cache.remove_domain(self.inner.config.domain(ccmd));
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
            (g.state.iotlb, g.state.iva, self.commands_by_register())
        };
        let c = &self.inner.config;
        let domain = c.domain(iotlb >> 32);
        let mut actual = if usable { iotlb >> 60 & 3 } else { 0 };
        if actual == 3 {
            // Without PSI the domain is invalidated; too large a mask is an error.
            actual = match c.psi {
                false => 2,
                true if iva & 0x3f > u64::from(c.mamv) => 0,
                true => 3,
            };
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
                self.invalidate_pages(domain, c.pages(iva));
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
        let range = (!hint(high)).then_some((address(high), bits));
        self.inner.caches.paging.remove_pages(domain, range);
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
        self.inner.caches.front.forget();
        self.after_drain(Late::ProtectedMemory);
    }
}
