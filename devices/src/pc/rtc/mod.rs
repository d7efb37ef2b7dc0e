//! The real-time clock and its memory: an MC146818 behind ports 0x70 and 0x71, IRQ 8. Motorola MC146818A data sheet.
//!
//! The date at power-on is given, so that runs repeat; it goes on with virtual time. What a guest sets lasts for the run.

#[cfg(test)]
mod tests;

use crate::date::Date;

/// Port of the index; data at the next.
pub const BASE: u16 = 0x70;

const SECOND: u8 = 0x00;
const SECOND_ALARM: u8 = 0x01;
const MINUTE: u8 = 0x02;
const MINUTE_ALARM: u8 = 0x03;
const HOUR: u8 = 0x04;
const HOUR_ALARM: u8 = 0x05;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const A: u8 = 0x0a;
const B: u8 = 0x0b;
const C: u8 = 0x0c;
const D: u8 = 0x0d;
/// Where the PC keeps the century.
pub const CENTURY: u8 = 0x32;

/// Register A: an update is in progress.
const UIP: u8 = 0x80;
/// Register B: updates stop while software sets the time.
const SET: u8 = 0x80;
/// Registers B and C: periodic, alarm and update-ended interrupt.
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
/// Register B: binary, not BCD.
const BINARY: u8 = 0x04;
/// Register B: hours to 24.
const HOURS_24: u8 = 0x02;
/// Register C: an interrupt is asserted.
const IRQF: u8 = 0x80;
/// Hours: afternoon, in 12-hour format.
const PM: u8 = 0x80;

const NS: u64 = 1_000_000_000;
/// Time before a change of the second in which an update is said to be in progress: 244 µs.
const UPDATE_NS: u64 = 244_000;

/// The clock.
#[derive(Clone, Debug)]
pub struct Rtc {
    index: u8,
    memory: [u8; 128],
    /// Date at virtual time 0, in seconds since 1970; moves when software sets the time.
    epoch_s: i64,
    /// Second (since power-on) up to which interrupts were looked at.
    seen_s: u64,
    next_periodic: Option<u64>,
}

impl Rtc {
    /// A clock that shows `epoch_s` seconds since 1970 at virtual time 0.
    pub fn new(epoch_s: u64) -> Self {
        let mut memory = [0; 128];
        memory[usize::from(A)] = 0x26;
        memory[usize::from(B)] = HOURS_24;
        memory[usize::from(D)] = 0x80;
        Rtc {
            index: 0,
            memory,
            epoch_s: i64::try_from(epoch_s).unwrap_or(i64::MAX),
            seen_s: 0,
            next_periodic: None,
        }
    }

    fn register(&self, n: u8) -> u8 {
        self.memory[usize::from(n & 127)]
    }

    fn set_register(&mut self, n: u8, value: u8) {
        self.memory[usize::from(n & 127)] = value;
    }

    fn date(&self, now_ns: u64) -> Date {
        let seconds = self.epoch_s.saturating_add_unsigned(now_ns / NS);
        Date::from_unix(u64::try_from(seconds).unwrap_or(0), 0)
    }

    fn encode(&self, value: u32) -> u8 {
        if self.register(B) & BINARY != 0 {
            value as u8
        } else {
            (value / 10 % 10 * 16 + value % 10) as u8
        }
    }

    fn decode(&self, value: u8) -> u32 {
        if self.register(B) & BINARY != 0 {
            value.into()
        } else {
            u32::from(value >> 4) * 10 + u32::from(value & 15)
        }
    }

    fn encode_hour(&self, hour: u32) -> u8 {
        if self.register(B) & HOURS_24 != 0 {
            return self.encode(hour);
        }
        let pm = if hour >= 12 { PM } else { 0 };
        self.encode((hour + 11) % 12 + 1) | pm
    }

    fn decode_hour(&self, value: u8) -> u32 {
        if self.register(B) & HOURS_24 != 0 {
            return self.decode(value);
        }
        let pm = if value & PM != 0 { 12 } else { 0 };
        self.decode(value & !PM) % 12 + pm
    }

    /// Puts the date into the registers, unless software is about to set it.
    fn show(&mut self, now_ns: u64) {
        if self.register(B) & SET != 0 {
            return;
        }
        let d = self.date(now_ns);
        let shown = [
            (SECOND, self.encode(d.second)),
            (MINUTE, self.encode(d.minute)),
            (HOUR, self.encode_hour(d.hour)),
            (WEEKDAY, self.encode(d.weekday())),
            (DAY, self.encode(d.day)),
            (MONTH, self.encode(d.month)),
            (YEAR, self.encode(d.year % 100)),
            (CENTURY, self.encode(d.year / 100 % 100)),
        ];
        for (n, value) in shown {
            self.set_register(n, value);
        }
    }

    /// Takes the date from the registers; a value that is none counts as the nearest.
    fn take_date(&mut self, now_ns: u64) {
        let get = |n| self.decode(self.register(n));
        let date = Date {
            year: (get(CENTURY) * 100 + get(YEAR)).clamp(1970, 9999),
            month: get(MONTH).clamp(1, 12),
            day: get(DAY).clamp(1, 31),
            hour: self.decode_hour(self.register(HOUR)).min(23),
            minute: get(MINUTE).min(59),
            second: get(SECOND).min(59),
            nanosecond: 0,
        };
        let set = i64::try_from(date.to_unix()).unwrap_or(i64::MAX);
        self.epoch_s = set.saturating_sub_unsigned(now_ns / NS);
    }

    /// Reads a byte. None if the port is not one of its.
    pub fn read(&mut self, port: u16, now_ns: u64) -> Option<u8> {
        match port.checked_sub(BASE)? {
            // The index cannot be read.
            0 => Some(0xff),
            1 => Some(self.read_data(now_ns)),
            _ => None,
        }
    }

    fn read_data(&mut self, now_ns: u64) -> u8 {
        self.run(now_ns);
        match self.index {
            A => {
                let near = now_ns % NS >= NS - UPDATE_NS && self.register(B) & SET == 0;
                self.register(A) & !UIP | if near { UIP } else { 0 }
            }
            C => {
                let flags = self.register(C);
                self.set_register(C, 0);
                flags
            }
            SECOND | MINUTE | HOUR | WEEKDAY..=YEAR | CENTURY => {
                self.show(now_ns);
                self.register(self.index)
            }
            n => self.register(n),
        }
    }

    /// Writes a byte. False if the port is not one of its.
    pub fn write(&mut self, port: u16, value: u8, now_ns: u64) -> bool {
        match port.checked_sub(BASE) {
            Some(0) => self.index = value & 127,
            Some(1) => self.write_data(value, now_ns),
            _ => return false,
        }
        true
    }

    fn write_data(&mut self, value: u8, now_ns: u64) {
        self.run(now_ns);
        match self.index {
            A => {
                self.set_register(A, value & !UIP);
                self.arm(now_ns);
            }
            B => {
                let old = self.register(B);
                if value & SET != 0 && old & SET == 0 {
                    self.show(now_ns);
                }
                // SET ends an update, and so its interrupt.
                let value = if value & SET != 0 {
                    value & !UPDATE
                } else {
                    value
                };
                self.set_register(B, value);
                if value & SET == 0 && old & SET != 0 {
                    self.take_date(now_ns);
                }
                self.raise(0);
                self.arm(now_ns);
            }
            C | D => {}
            n @ (SECOND | MINUTE | HOUR | WEEKDAY..=YEAR | CENTURY) => {
                self.show(now_ns);
                self.set_register(n, value);
                if self.register(B) & SET == 0 {
                    self.take_date(now_ns);
                }
            }
            n => self.set_register(n, value),
        }
    }

    /// Notes flags of register C, and whether an enabled one makes an interrupt.
    fn raise(&mut self, flags: u8) {
        let flags = self.register(C) & !IRQF | flags;
        let irq = if flags & self.register(B) & (PERIODIC | ALARM | UPDATE) != 0 {
            IRQF
        } else {
            0
        };
        self.set_register(C, flags | irq);
    }

    /// Level of IRQ 8.
    pub fn irq(&self) -> bool {
        self.register(C) & IRQF != 0
    }

    /// Nanoseconds of the periodic interrupt, if a rate is chosen and the divider runs at 32768 Hz.
    fn period_ns(&self) -> Option<u64> {
        let a = self.register(A);
        let rate = match a & 15 {
            0 => return None,
            n @ 1..=2 => n + 7,
            n => n,
        };
        (a >> 4 & 7 == 2).then(|| (NS << (rate - 1)) / 32_768)
    }

    fn arm(&mut self, now_ns: u64) {
        let period = self
            .period_ns()
            .filter(|_| self.register(B) & PERIODIC != 0);
        self.next_periodic = period.map(|p| (now_ns / p + 1).saturating_mul(p));
    }

    /// An alarm register matches: values from 0xc0 on match everything.
    fn alarm_matches(&self, d: &Date) -> bool {
        let matches = |n: u8, value: u8| self.register(n) >= 0xc0 || self.register(n) == value;
        matches(SECOND_ALARM, self.encode(d.second))
            && matches(MINUTE_ALARM, self.encode(d.minute))
            && matches(HOUR_ALARM, self.encode_hour(d.hour))
    }

    /// When the next interrupt may be due, in nanoseconds of virtual time.
    pub fn next_deadline(&self) -> Option<u64> {
        let b = self.register(B);
        let second = (b & (ALARM | UPDATE) != 0 && b & SET == 0 && !self.irq())
            .then(|| (self.seen_s + 1) * NS);
        [second, self.next_periodic.filter(|_| !self.irq())]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets time pass.
    pub fn run(&mut self, now_ns: u64) {
        if let Some(at) = self.next_periodic.filter(|&at| at <= now_ns) {
            self.raise(PERIODIC);
            self.next_periodic = Some(at);
            self.arm(now_ns);
        }
        let now_s = now_ns / NS;
        if now_s <= self.seen_s || self.register(B) & SET != 0 {
            self.seen_s = now_s;
            return;
        }
        // An alarm comes at most once a day: no more seconds need a look.
        let first = (self.seen_s + 1).max(now_s.saturating_sub(86_400));
        let alarm = (first..=now_s).any(|s| self.alarm_matches(&self.date(s * NS)));
        self.seen_s = now_s;
        self.raise(UPDATE | if alarm { ALARM } else { 0 });
    }
}
