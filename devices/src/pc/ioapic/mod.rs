//! An I/O APIC with 24 inputs, version 0x20 (with an EOI register). Intel 82093AA data sheet; ICH9 data sheet §13.5.
//!
//! It sends its redirection entries as they are ([`IoApic::take_messages`]): whether one is in the format of interrupt remapping is
//! for whoever stands between it and the local APICs. Pins are asserted or not: an entry's polarity bit changes nothing, as the machine's
//! lines are told by meaning, not by voltage.

#[cfg(test)]
mod tests;

/// Inputs.
pub const PINS: usize = 24;
/// Bytes of its registers.
pub const SIZE: u64 = 0x1000;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const EOI: u64 = 0x40;

const VERSION_VALUE: u32 = (PINS as u32 - 1) << 16 | 0x20;
const FIRST_ENTRY: u32 = 0x10;

/// Redirection entry: delivery status, which is never seen set.
const STATUS: u64 = 1 << 12;
/// Redirection entry: sent, and its end not told yet.
const REMOTE_IRR: u64 = 1 << 14;
/// Redirection entry: level-triggered.
const LEVEL: u64 = 1 << 15;
/// Redirection entry: held back.
const MASKED: u64 = 1 << 16;
/// Delivery modes that are always edges: SMI, NMI, INIT, ExtINT (2, 4, 5, 7).
const EDGE_MODES: u8 = 1 << 2 | 1 << 4 | 1 << 5 | 1 << 7;
/// Redirection entry: in the format of interrupt remapping.
const REMAPPABLE: u64 = 1 << 48;

/// What a pin sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinMessage {
    /// The pin.
    pub pin: u8,
    /// Its redirection entry.
    pub entry: u64,
}

/// The I/O APIC.
#[derive(Clone, Debug)]
pub struct IoApic {
    id: u32,
    select: u8,
    entries: [u64; PINS],
    lines: u32,
    messages: Vec<PinMessage>,
}

impl Default for IoApic {
    fn default() -> Self {
        IoApic {
            id: 0,
            select: 0,
            entries: [MASKED; PINS],
            lines: 0,
            messages: Vec::new(),
        }
    }
}

impl IoApic {
    /// Power-on state; lines keep their level.
    pub fn reset(&mut self) {
        *self = IoApic {
            lines: self.lines,
            ..IoApic::default()
        };
    }

    /// Reads its registers: 32 bits wide, others read 0.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let value = match (offset, data.len()) {
            (SELECT, 1..=4) => self.select.into(),
            (WINDOW, 4) => self.register(),
            _ => 0,
        };
        data.fill(0);
        for (to, from) in data.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
    }

    /// Writes its registers.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let value = data
            .iter()
            .take(4)
            .rev()
            .fold(0, |v, &b| v << 8 | u32::from(b));
        match (offset, data.len()) {
            (SELECT, 1..=4) => self.select = value as u8,
            (WINDOW, 4) => self.write_register(value),
            (EOI, 1..=4) => self.end_of_interrupt(value as u8),
            _ => {}
        }
    }

    fn register(&self) -> u32 {
        match self.select {
            0 => self.id << 24,
            1 => VERSION_VALUE,
            2 => self.id << 24, // arbitration id
            n => self.half(n).map_or(0, |(pin, high)| {
                (self.entries[pin] >> if high { 32 } else { 0 }) as u32
            }),
        }
    }

    /// Pin of an entry's register, and whether it is the upper half.
    fn half(&self, register: u8) -> Option<(usize, bool)> {
        let n = u32::from(register).checked_sub(FIRST_ENTRY)?;
        let pin = (n / 2) as usize;
        (pin < PINS).then_some((pin, n & 1 != 0))
    }

    fn write_register(&mut self, value: u32) {
        if self.select == 0 {
            self.id = value >> 24 & 15;
            return;
        }
        let Some((pin, high)) = self.half(self.select) else {
            return;
        };
        let old = self.entries[pin];
        let mut new = if high {
            old & 0xffff_ffff | u64::from(value) << 32
        } else {
            let kept = STATUS | REMOTE_IRR;
            let low = u64::from(value) & 0x1_ffff;
            old & (!0xffff_ffff | kept) | low & !kept
        };
        if new & LEVEL == 0 {
            // Software without the EOI register ends an interrupt by this.
            new &= !REMOTE_IRR;
        }
        self.entries[pin] = new;
        self.evaluate(pin);
    }

    /// Sends a level-triggered pin that is asserted and not sent yet.
    fn evaluate(&mut self, pin: usize) {
        let entry = self.entries[pin];
        if self.lines >> pin & 1 != 0 && is_level(entry) && entry & (MASKED | REMOTE_IRR) == 0 {
            self.entries[pin] |= REMOTE_IRR;
            self.send(pin, entry);
        }
    }

    fn send(&mut self, pin: usize, entry: u64) {
        self.messages.push(PinMessage {
            pin: pin as u8,
            entry,
        });
    }

    /// An input has this level now (true: asserted). An edge at a masked pin is lost (82093AA §3.2.4).
    pub fn set_line(&mut self, pin: usize, level: bool) {
        let Some(&entry) = self.entries.get(pin) else {
            return;
        };
        let rises = level && self.lines >> pin & 1 == 0;
        self.lines = self.lines & !(1 << pin) | u32::from(level) << pin;
        if is_level(entry) {
            self.evaluate(pin);
        } else if rises && entry & MASKED == 0 {
            self.send(pin, entry);
        }
    }

    /// Level-triggered interrupts with this vector have ended: by a local APIC's broadcast, or the EOI register.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for pin in 0..PINS {
            let entry = self.entries[pin];
            if entry & REMOTE_IRR != 0 && entry as u8 == vector {
                self.entries[pin] = entry & !REMOTE_IRR;
                self.evaluate(pin);
            }
        }
    }

    /// What the pins sent, oldest first.
    pub fn take_messages(&mut self) -> Vec<PinMessage> {
        std::mem::take(&mut self.messages)
    }

    /// True if [`IoApic::take_messages`] has something.
    pub fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// The redirection entry of a pin.
    pub fn entry(&self, pin: usize) -> Option<u64> {
        self.entries.get(pin).copied()
    }
}

fn is_level(entry: u64) -> bool {
    let mode = entry >> 8 & 7;
    // In remappable format the delivery mode is that of the remapping table.
    entry & LEVEL != 0 && (entry & REMAPPABLE != 0 || EDGE_MODES >> mode & 1 == 0)
}
