//! Messages and I/O APIC entries of a machine, taken through interrupt remapping to the local APICs. VT-d 4.1 §5.1.2, §5.1.5.

use std::collections::VecDeque;

use super::interrupt::{Delivery, Interrupt, InterruptRequest};
use super::memory::TableMemory;
use super::request::Fault;
use super::walk::is_interrupt_address;
use super::{Actions, PageGroupResponse, Vtd};
use crate::dma::SourceId;
use crate::effects::Msi;

/// Device-TLB invalidations that one call of [`Vtd::finish`] answers: four of the largest queues full of them.
const MAX_ANSWERS: usize = 1 << 17;

/// What a machine has to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Deliver this to local APICs.
    Deliver(Interrupt),
    /// Nothing: it was posted into a descriptor, and no notification is due.
    Posted,
    /// The address is not in the interrupt range: a plain write of 4 bytes, to be sent through the device's port.
    Memory,
}

impl Interrupt {
    /// A message of compatibility format, as local APICs take it. None if its address is not in the interrupt range.
    pub const fn of_message(msi: Msi) -> Option<Self> {
        if !is_interrupt_address(msi.address) {
            return None;
        }
        Some(Interrupt {
            vector: msi.data as u8,
            destination: (msi.address >> 12) as u32 & 0xff,
            logical: msi.address & 1 << 2 != 0,
            redirection_hint: msi.address & 1 << 3 != 0,
            delivery_mode: (msi.data >> 8) as u8 & 7,
            level: msi.data & 1 << 15 != 0,
        })
    }

    /// One of the unit's own messages ([`super::Actions::messages`]). They are not remapped; the upper address holds bits 31:8 of an
    /// x2APIC destination. None if the address is not in the interrupt range. VT-d 4.1 §5.1.6, §11.4.7.5.
    pub const fn of_event(msi: Msi) -> Option<Self> {
        let low = Msi {
            address: msi.address & 0xffff_ffff,
            data: msi.data,
        };
        match Self::of_message(low) {
            Some(i) => Some(Interrupt {
                destination: i.destination | (msi.address >> 32) as u32 & !0xff,
                ..i
            }),
            None => None,
        }
    }
}

/// The message that an I/O APIC sends for a redirection table entry, of either format: bits 63:48 are bits 19:4 of the address.
/// VT-d 4.1 §5.1.5.1. One of remappable format never has a subhandle; lowest priority otherwise is a redirection hint.
pub const fn message_of_io_apic(entry: u64) -> Msi {
    let hint = entry >> 48 & 1 == 0 && entry >> 8 & 7 == 1;
    let address = super::spec::INTERRUPT_FIRST
        | (entry >> 48) << 4
        | (hint as u64) << 3
        | (entry >> 11 & 1) << 2;
    // Vector, delivery mode, trigger mode; the level is asserted.
    let data = entry as u32 & 0x87ff | 1 << 14;
    Msi { address, data }
}

impl<M: TableMemory> Vtd<M> {
    /// Takes a device's message to where it goes. A fault is recorded, and the message is dropped.
    ///
    /// # Errors
    /// The fault.
    pub fn message(&self, source: SourceId, msi: Msi) -> Result<Outcome, Fault> {
        if !is_interrupt_address(msi.address) {
            return Ok(Outcome::Memory);
        }
        let request = InterruptRequest {
            source,
            address: msi.address as u32,
            data: msi.data,
        };
        Ok(match self.remap_interrupt(&request)? {
            Delivery::Unchanged => {
                Interrupt::of_message(msi).map_or(Outcome::Memory, Outcome::Deliver)
            }
            Delivery::Remapped(interrupt) | Delivery::Posted(Some(interrupt)) => {
                Outcome::Deliver(interrupt)
            }
            Delivery::Posted(None) => Outcome::Posted,
        })
    }

    /// For a machine whose devices keep no translations and send no page requests: answers device-TLB invalidations as a device without
    /// a device TLB would, goes on with what waited for that, and returns the unit's own interrupts, oldest first. What waits for DMA in
    /// flight is left to [`Vtd::run`].
    pub fn finish(&self, actions: Actions) -> Vec<Interrupt> {
        self.finish_with(actions, |_| {})
    }

    /// The same for a machine whose devices do send page requests: `respond` gets the answers to them, oldest first.
    pub fn finish_with(
        &self,
        mut actions: Actions,
        mut respond: impl FnMut(PageGroupResponse),
    ) -> Vec<Interrupt> {
        let mut interrupts = Vec::new();
        let mut asked = VecDeque::new();
        for _ in 0..MAX_ANSWERS {
            actions.responses.into_iter().for_each(&mut respond);
            interrupts.extend(actions.messages.into_iter().filter_map(Interrupt::of_event));
            asked.extend(actions.device_tlb);
            let Some(next) = asked.pop_front() else {
                break;
            };
            actions = self.device_tlb_done(next.tag, next.source);
        }
        interrupts
    }

    /// Takes an interrupt of an I/O APIC to where it goes; `entry` is the pin's redirection table entry, `source` the requester id that
    /// the DMAR table gives the I/O APIC. The mask bit is not looked at.
    ///
    /// # Errors
    /// The fault; it is recorded, and the interrupt is dropped.
    pub fn io_apic(&self, source: SourceId, entry: u64) -> Result<Outcome, Fault> {
        let msi = message_of_io_apic(entry);
        self.message(source, msi)
    }
}
