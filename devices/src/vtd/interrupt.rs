//! Interrupt remapping and posting. VT-d 4.1 chapter 5.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Vtd;
use super::memory::{Swap, TableMemory, load_entry};
use super::request::{Fault, Structure};
use super::spec::above;
use super::spec::fault::{Reason, Record};
use super::spec::interrupt::{
    PID_CONTROL, PidControl, Posted, Remapped, RequestAddress, SIZE, Verify,
};
use super::spec::registers::{EIME, global};
use super::walk::Observer;
use crate::dma::SourceId;

/// Tries to set a bit of a posted interrupt descriptor that other agents change as well.
const MAX_RETRIES: usize = 64;

/// An interrupt request: a 4-byte write to the interrupt address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterruptRequest {
    /// Who sends it: a device's requester id, or that of an I/O APIC or HPET.
    pub source: SourceId,
    /// Low 32 bits of the address: 0xfee.....
    pub address: u32,
    /// Data.
    pub data: u32,
}

/// An interrupt for a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interrupt {
    /// Vector.
    pub vector: u8,
    /// APIC id or logical id: 32 bits with EIME, 8 otherwise.
    pub destination: u32,
    /// The destination is logical.
    pub logical: bool,
    /// Redirection hint.
    pub redirection_hint: bool,
    /// Delivery mode: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT.
    pub delivery_mode: u8,
    /// Level triggered.
    pub level: bool,
}

/// Where an interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// To local APICs, unchanged: remapping is off, or the request has compatibility format.
    Unchanged,
    /// To these local APICs.
    Remapped(Interrupt),
    /// Into a posted interrupt descriptor; the notification if one is due.
    Posted(Option<Interrupt>),
}

/// A fault, and the interrupt index if there was one.
type Failed = (Fault, u16);

impl<M: TableMemory> Vtd<M> {
    /// Remaps an interrupt request. Faults are recorded (unless FPD says otherwise).
    ///
    /// The interrupt is drained by invalidations once it is delivered: hold the guard of [`Vtd::enter`] from before this call until then,
    /// if other threads invalidate. What is posted needs no guard.
    ///
    /// # Errors
    /// The fault; the interrupt is dropped.
    pub fn remap_interrupt(&self, request: &InterruptRequest) -> Result<Delivery, Fault> {
        let tally = &self.inner.tally;
        // An invalidation of the interrupt entry cache waits for what the old entries still do. VT-d 4.1 §6.5.5.
        let _in_flight = self.enter();
        let result = self.remap(request, &mut ());
        match result {
            Ok(Delivery::Unchanged) => tally.unchanged(),
            Ok(Delivery::Remapped(_)) => tally.remapped(),
            Ok(Delivery::Posted(_)) => tally.posted(),
            Err((fault, index)) => {
                tally.interrupt_blocked();
                let record = Record::interrupt(fault.reason, request.source.0, index);
                self.record(&fault, record);
            }
        }
        result.map_err(|(fault, _)| fault)
    }

    pub(super) fn remap<O: Observer>(
        &self,
        request: &InterruptRequest,
        o: &mut O,
    ) -> Result<Delivery, Failed> {
        let status = self.inner.live.status.load(Ordering::Acquire);
        if status & global::IRE == 0 {
            return Ok(Delivery::Unchanged);
        }
        let irta = self.inner.live.irta.load(Ordering::Acquire);
        let address = RequestAddress::from(request.address);
        if !address.remappable() {
            // With x2APIC destinations the compatibility format is always blocked.
            if status & global::CFI != 0 && irta & EIME == 0 {
                return Ok(Delivery::Unchanged);
            }
            return Err((Fault::new(Reason::CompatibilityBlocked), 0));
        }
        let handle = u32::from(address.handle_low()) | u32::from(address.handle_high()) << 15;
        let (index, reserved) = if address.subhandle_valid() {
            (handle + (request.data & 0xffff), request.data >> 16)
        } else {
            (handle, 0)
        };
        // The record has room for 16 bits.
        let shown = index as u16;
        if reserved != 0 {
            return Err((Fault::new(Reason::InterruptRequestReserved), shown));
        }
        if index >= 2 << (irta & 0xf) {
            return Err((Fault::new(Reason::InterruptIndex), shown));
        }
        self.remap_index(request, shown, irta, o)
            .map_err(|fault| (fault, shown))
    }

    fn remap_index<O: Observer>(
        &self,
        request: &InterruptRequest,
        index: u16,
        irta: u64,
        o: &mut O,
    ) -> Result<Delivery, Fault> {
        let at = (irta & !0xfff) + u64::from(index) * SIZE;
        if at & above(self.inner.config.host_address_width) != 0 {
            return Err(Fault::at(Reason::InterruptIndex, Structure::Irte, at));
        }
        let cache = &self.inner.caches.interrupt;
        let generation = cache.generation();
        let cached = cache.get(index);
        let words = match cached {
            Some(words) => words,
            None => self.fetch_irte(at, o)?,
        };
        let result = self
            .use_irte(request, words, at, irta, cached.is_some(), o)
            .map_err(|f| Fault {
                suppressed: words[0] & 2 != 0,
                ..f
            });
        // An entry that faults is not kept, but with CM one that is not present is. VT-d 4.1 §6.4.
        let absent = words[0] & 1 == 0 && self.inner.config.caching_mode;
        if cached.is_none() && (result.is_ok() || absent) {
            cache.fill(index, words, generation);
        }
        result
    }

    fn fetch_irte<O: Observer>(&self, at: u64, o: &mut O) -> Result<[u64; 2], Fault> {
        let torn = self.inner.config.caches.torn_fetch;
        let words: [u64; 2] = load_entry(&self.inner.memory, at, torn)
            .map_err(|_| Fault::at(Reason::IrteAccess, Structure::Irte, at))?;
        o.fetched(Structure::Irte, at, &words);
        Ok(words)
    }

    /// Sends or posts an interrupt as an entry says; a cached entry has been checked before.
    fn use_irte<O: Observer>(
        &self,
        request: &InterruptRequest,
        words: [u64; 2],
        at: u64,
        irta: u64,
        checked: bool,
        o: &mut O,
    ) -> Result<Delivery, Fault> {
        let fault = |reason| Fault::at(reason, Structure::Irte, at);
        if words[0] & 1 == 0 {
            return Err(fault(Reason::IrteNotPresent));
        }
        if !checked {
            self.check_irte(words, irta).map_err(fault)?;
        }
        let verify = Verify::from(words[1]);
        let exempt = self.inner.config.unverified_requester == Some(request.source);
        if !exempt && !verified(verify, request.source.0) {
            return Err(fault(Reason::SourceIdMismatch));
        }
        let entry = Remapped::from(words[0]);
        if entry.posted() {
            return self.post(Posted::from(words[0]), verify, irta, o);
        }
        Ok(Delivery::Remapped(Interrupt {
            vector: entry.vector(),
            destination: apic_id(entry.destination(), irta),
            logical: entry.logical(),
            redirection_hint: entry.redirection_hint(),
            delivery_mode: entry.delivery_mode(),
            level: entry.level(),
        }))
    }

    fn check_irte(&self, words: [u64; 2], irta: u64) -> Result<(), Reason> {
        let entry = Remapped::from(words[0]);
        let c = &self.inner.config;
        let reserved = if entry.posted() {
            !c.posted_interrupts
                || words[0] & Posted::RESERVED != 0
                || words[1] & Verify::RESERVED_POSTED != 0
        } else {
            let xapic = if irta & EIME == 0 {
                Remapped::RESERVED_XAPIC
            } else {
                0
            };
            words[0] & (Remapped::RESERVED | xapic) != 0
                || words[1] & Verify::RESERVED_REMAPPED != 0
                || matches!(entry.delivery_mode(), 3 | 6)
        };
        if reserved || Verify::from(words[1]).validation() == 3 {
            return Err(Reason::IrteReserved);
        }
        Ok(())
    }

    /// Posts a vector. The request bit is set first, then ON; each by compare-and-swap. VT-d 4.1 §5.2.3.
    fn post<O: Observer>(
        &self,
        entry: Posted,
        verify: Verify,
        irta: u64,
        o: &mut O,
    ) -> Result<Delivery, Fault> {
        let at = u64::from(verify.descriptor_high()) << 32 | u64::from(entry.descriptor_low()) << 6;
        let fault = |reason| Fault::at(reason, Structure::PostedDescriptor, at);
        let memory = &self.inner.memory;
        let unreadable = |_| fault(Reason::PidAccess);
        let control = memory.load(at + PID_CONTROL).map_err(unreadable)?;
        o.fetched(Structure::PostedDescriptor, at + PID_CONTROL, &[control]);
        let xapic = if irta & EIME == 0 {
            PidControl::RESERVED_XAPIC
        } else {
            0
        };
        if control & (PidControl::RESERVED | xapic) != 0 {
            return Err(fault(Reason::PidReserved));
        }
        let word = at + u64::from(entry.vector() / 64) * 8;
        let bit = 1 << (entry.vector() % 64);
        self.change(word, |old| Some(old | bit))
            .map_err(|()| fault(Reason::PidAccess))?;
        let notified = self
            .change(at + PID_CONTROL, |old| {
                let control = PidControl::from(old);
                let due = !control.outstanding() && (entry.urgent() || !control.suppress());
                due.then(|| control.with_outstanding(true).into())
            })
            .map_err(|()| fault(Reason::PidAccess))?;
        Ok(Delivery::Posted(notified.map(|old| {
            let control = PidControl::from(old);
            Interrupt {
                vector: control.vector(),
                destination: apic_id(control.destination(), irta),
                logical: false,
                redirection_hint: false,
                delivery_mode: 0,
                level: false,
            }
        })))
    }

    /// Changes a quadword atomically: the old value, or None if `f` leaves it as it is.
    fn change(&self, at: u64, f: impl Fn(u64) -> Option<u64>) -> Result<Option<u64>, ()> {
        for _ in 0..MAX_RETRIES {
            let old = self.inner.memory.load(at).map_err(|_| ())?;
            let Some(new) = f(old) else {
                return Ok(None);
            };
            if old == new || self.inner.memory.compare_exchange(at, old, new) == Ok(Swap::Done) {
                return Ok(Some(old));
            }
        }
        Err(())
    }
}

/// SVT and SQ. VT-d 4.1 §9.9.
fn verified(verify: Verify, source: u16) -> bool {
    match verify.validation() {
        0 => true,
        1 => {
            let ignored = [0, 0b100, 0b110, 0b111][usize::from(verify.qualifier())];
            (source ^ verify.source()) & !ignored == 0
        }
        2 => (verify.source() >> 8..=verify.source() & 0xff).contains(&(source >> 8)),
        _ => false,
    }
}

fn apic_id(destination: u32, irta: u64) -> u32 {
    if irta & EIME != 0 {
        destination
    } else {
        destination >> 8 & 0xff
    }
}
