//! The MSI-X capability, its table and its pending bits. PCI 3.0 §6.8.2.

use super::config::{ConfigChange, ConfigSpace};
use super::regs::{CAP_MSIX, MSIX_ENABLE, MSIX_ENTRY, MSIX_FUNCTION_MASK};
use crate::effects::Effects;

/// MSI-X of one function: capability, table and pending bits in a memory BAR.
#[derive(Clone, Debug)]
pub struct Msix {
    capability: u16,
    table_offset: u64,
    pba_offset: u64,
    table: Vec<u8>,
    pending: Vec<u64>,
    enabled: bool,
    function_masked: bool,
}

impl Msix {
    /// Adds the capability for `vectors` vectors (1 to 2048), the table at `table_offset` and the pending bits at `pba_offset`
    /// (multiples of 8) of BAR `bar`.
    pub fn new(
        config: &mut ConfigSpace,
        vectors: u16,
        bar: u8,
        table_offset: u32,
        pba_offset: u32,
    ) -> Self {
        let vectors = vectors.clamp(1, 2048);
        let (table_offset, pba_offset) = (table_offset & !7, pba_offset & !7);
        let mut body = [0u8; 10];
        body[..2].copy_from_slice(&(vectors - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(table_offset | u32::from(bar & 7)).to_le_bytes());
        body[6..].copy_from_slice(&(pba_offset | u32::from(bar & 7)).to_le_bytes());
        let capability = config.add_capability(CAP_MSIX, &body, &[0, 0xc0]);
        let mut msix = Msix {
            capability,
            table_offset: u64::from(table_offset),
            pba_offset: u64::from(pba_offset),
            table: vec![0; usize::from(vectors) * MSIX_ENTRY as usize],
            pending: vec![0; usize::from(vectors).div_ceil(64)],
            enabled: false,
            function_masked: false,
        };
        msix.reset();
        msix
    }

    /// How many vectors the table has.
    pub fn vectors(&self) -> u16 {
        (self.table.len() / MSIX_ENTRY as usize) as u16
    }

    /// True if software enabled MSI-X.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Call after every configuration write: follows enable and function mask, and sends what became deliverable.
    pub fn config_written(
        &mut self,
        config: &ConfigSpace,
        change: ConfigChange,
        effects: &mut Effects,
    ) {
        if self.capability == 0 || !change.touches(self.capability + 2, 2) {
            return;
        }
        let control = config.get_u16(self.capability + 2);
        self.enabled = control & MSIX_ENABLE != 0;
        self.function_masked = control & MSIX_FUNCTION_MASK != 0;
        for vector in 0..self.vectors() {
            self.deliver_pending(vector, effects);
        }
    }

    /// True if `offset` of the BAR belongs to the table or the pending bits.
    pub fn contains(&self, offset: u64) -> bool {
        self.in_table(offset).is_some() || self.in_pba(offset).is_some()
    }

    /// Reads from the BAR that holds table and pending bits. False, and `data` untouched, if `offset` is not theirs.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> bool {
        if let Some(at) = self.in_table(offset) {
            for (i, byte) in data.iter_mut().enumerate() {
                *byte = self.table.get(at + i).copied().unwrap_or(0);
            }
            true
        } else if let Some(at) = self.in_pba(offset) {
            for (i, byte) in data.iter_mut().enumerate() {
                let word = self.pending.get((at + i) / 8).copied().unwrap_or(0);
                *byte = (word >> (8 * ((at + i) % 8))) as u8;
            }
            true
        } else {
            false
        }
    }

    /// Writes to the BAR. False if `offset` is not in table or pending bits. Pending bits are read-only; unmasking a vector sends
    /// its pending message.
    pub fn write(&mut self, offset: u64, data: &[u8], effects: &mut Effects) -> bool {
        let Some(at) = self.in_table(offset) else {
            return self.in_pba(offset).is_some();
        };
        for (i, &byte) in data.iter().enumerate() {
            let Some(slot) = self.table.get_mut(at + i) else {
                break;
            };
            *slot = match (at + i) % MSIX_ENTRY as usize {
                0 => byte & !3,
                12 => byte & 1,
                13..16 => 0,
                _ => byte,
            };
        }
        let last = (at + data.len().saturating_sub(1)) / MSIX_ENTRY as usize;
        for vector in at / MSIX_ENTRY as usize..=last {
            self.deliver_pending(vector as u16, effects);
        }
        true
    }

    /// The device raises `vector`: sends its message, or marks it pending while masked. Returns false if MSI-X is off or there is
    /// no such vector.
    pub fn trigger(&mut self, vector: u16, effects: &mut Effects) -> bool {
        if !self.enabled || vector >= self.vectors() {
            return false;
        }
        if self.masked(vector) {
            self.set_pending(vector, true);
        } else {
            self.send(vector, effects);
        }
        true
    }

    /// True if the vector is masked by itself or by the function mask.
    pub fn masked(&self, vector: u16) -> bool {
        self.function_masked || self.word(vector, 12) & 1 != 0
    }

    /// True if the vector has a message waiting.
    pub fn pending(&self, vector: u16) -> bool {
        self.pending
            .get(usize::from(vector) / 64)
            .is_some_and(|w| w >> (vector % 64) & 1 != 0)
    }

    /// Withdraws a waiting message, when the condition behind it went away.
    pub fn clear_pending(&mut self, vector: u16) {
        self.set_pending(vector, false);
    }

    /// Power-on state: off, every vector masked, nothing pending.
    pub fn reset(&mut self) {
        self.enabled = false;
        self.function_masked = false;
        self.pending.fill(0);
        self.table.fill(0);
        for entry in self.table.chunks_exact_mut(MSIX_ENTRY as usize) {
            entry[12] = 1;
        }
    }

    fn in_table(&self, offset: u64) -> Option<usize> {
        let at = offset.checked_sub(self.table_offset)?;
        (at < self.table.len() as u64).then_some(at as usize)
    }

    fn in_pba(&self, offset: u64) -> Option<usize> {
        let at = offset.checked_sub(self.pba_offset)?;
        (at < 8 * self.pending.len() as u64).then_some(at as usize)
    }

    fn word(&self, vector: u16, at: usize) -> u32 {
        let at = usize::from(vector) * MSIX_ENTRY as usize + at;
        self.table
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    }

    fn set_pending(&mut self, vector: u16, on: bool) {
        if let Some(word) = self.pending.get_mut(usize::from(vector) / 64) {
            let bit = 1 << (vector % 64);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    fn deliver_pending(&mut self, vector: u16, effects: &mut Effects) {
        if self.enabled && self.pending(vector) && !self.masked(vector) {
            self.set_pending(vector, false);
            self.send(vector, effects);
        }
    }

    fn send(&self, vector: u16, effects: &mut Effects) {
        let address = u64::from(self.word(vector, 4)) << 32 | u64::from(self.word(vector, 0));
        effects.msi(address, self.word(vector, 8));
    }
}
