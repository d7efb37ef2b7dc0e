//! Power management registers: PM1 event and control, the PM timer, an empty GPE0 block. ACPI 6.5 §4.8.
//!
//! ACPI mode is always on (SCI_EN reads 1), so there is no SMI command port. Offsets are from the start of the PM1 event block.

#[cfg(test)]
mod tests;

/// Offset of the PM1 control register.
pub const PM1_CONTROL: u16 = 4;
/// Offset of the PM timer.
pub const TIMER: u16 = 8;
/// Offset of the GPE0 block.
pub const GPE0: u16 = 0x20;
/// Bytes of the GPE0 block.
pub const GPE0_LENGTH: u16 = 4;
/// Bytes from the first register to the end of the last.
pub const SIZE: u16 = GPE0 + GPE0_LENGTH;
/// Frequency of the PM timer in Hz. It is 32 bits wide.
pub const TIMER_HZ: u64 = 3_579_545;

/// PM1 status and enable: the timer's highest bit changed.
const TIMER_STATUS: u16 = 1;
/// PM1 status and enable: the real-time clock's interrupt.
const CLOCK_STATUS: u16 = 1 << 10;
/// PM1 status: bits that software clears by ones.
const STATUS_BITS: u16 = 0x8721;
/// PM1 enable: bits that exist (timer, global, power button, clock).
const ENABLE_BITS: u16 = 0x0521;
/// PM1 control: interrupts are SCIs.
const SCI_EN: u16 = 1;
/// PM1 control: enter the sleep state of bits 12:10.
const SLP_EN: u16 = 1 << 13;
/// Ticks between two changes of the timer's highest bit.
const HALF: u64 = 1 << 31;

fn ticks(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(TIMER_HZ) / 1_000_000_000) as u64
}

/// The registers.
#[derive(Clone, Debug)]
pub struct AcpiPm {
    soft_off: u8,
    status: u16,
    enable: u16,
    control: u16,
    /// Changes of the timer's highest bit seen so far.
    halves: u64,
    /// Level of the clock's interrupt.
    clock: bool,
    off: bool,
}

impl AcpiPm {
    /// Power-on state. `soft_off` is the sleep type (0 to 7) that the tables name for S5.
    pub fn new(soft_off: u8) -> Self {
        AcpiPm {
            soft_off,
            status: 0,
            enable: 0,
            control: SCI_EN,
            halves: 0,
            clock: false,
            off: false,
        }
    }

    /// True once software has switched the machine off.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Level of the system control interrupt.
    pub fn sci(&self) -> bool {
        self.status & self.enable != 0
    }

    /// The interrupt of the real-time clock has this level now.
    pub fn set_clock(&mut self, level: bool) {
        if level && !self.clock {
            self.status |= CLOCK_STATUS;
        }
        self.clock = level;
    }

    /// Lets time pass.
    pub fn run(&mut self, now_ns: u64) {
        let halves = ticks(now_ns) / HALF;
        if halves > self.halves {
            self.halves = halves;
            self.status |= TIMER_STATUS;
        }
    }

    /// When the timer's interrupt is due, if it is enabled.
    pub fn next_deadline(&self) -> Option<u64> {
        let wanted = self.enable & TIMER_STATUS != 0 && self.status & TIMER_STATUS == 0;
        wanted.then(|| {
            let at = u128::from(self.halves + 1) * u128::from(HALF) * 1_000_000_000;
            u64::try_from(at.div_ceil(TIMER_HZ.into())).unwrap_or(u64::MAX)
        })
    }

    fn byte(&self, offset: u16, now_ns: u64) -> u8 {
        let timer = ticks(now_ns) as u32;
        match offset {
            0 | 1 => self.status.to_le_bytes()[usize::from(offset)],
            2 | 3 => self.enable.to_le_bytes()[usize::from(offset - 2)],
            4 | 5 => self.control.to_le_bytes()[usize::from(offset - 4)],
            8..=11 => timer.to_le_bytes()[usize::from(offset - 8)],
            _ => 0,
        }
    }

    /// Reads bytes from `offset` on.
    pub fn read(&mut self, offset: u16, data: &mut [u8], now_ns: u64) {
        self.run(now_ns);
        for (n, byte) in (offset..).zip(data) {
            *byte = self.byte(n, now_ns);
        }
    }

    /// Writes bytes from `offset` on.
    pub fn write(&mut self, offset: u16, data: &[u8], now_ns: u64) {
        self.run(now_ns);
        for (n, &byte) in (offset..).zip(data) {
            let wide = u16::from(byte) << (8 * (n & 1));
            let mask = 0xff << (8 * (n & 1));
            match n {
                0 | 1 => self.status &= !(wide & STATUS_BITS),
                2 | 3 => self.enable = (self.enable & !mask | wide) & ENABLE_BITS,
                4 | 5 => self.write_control(self.control & !mask | wide),
                _ => {}
            }
        }
    }

    fn write_control(&mut self, value: u16) {
        self.control = value & 0x1c02 | SCI_EN;
        if value & SLP_EN != 0 && (value >> 10 & 7) as u8 == self.soft_off {
            self.off = true;
        }
    }
}
