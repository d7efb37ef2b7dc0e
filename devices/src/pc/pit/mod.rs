//! The 8254 interval timer of a PC: counter 0 on IRQ 0, counter 2 behind port 0x61. Intel 8254 data sheet; ICH9 data sheet §5.7, §13.4.
//!
//! Counters run at 1193182 Hz. Counter 1 counts, and drives nothing. BCD counting is treated as binary, which nothing asks for.

#[cfg(test)]
mod tests;

/// First of its four ports.
pub const BASE: u16 = 0x40;
/// Port of counter 2's gate and output.
pub const CONTROL_PORT: u16 = 0x61;
/// Frequency of the counters in Hz.
pub const HZ: u64 = 1_193_182;

fn ticks(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(HZ) / 1_000_000_000) as u64
}

/// The first nanosecond at which `ticks` have passed.
fn ns_of(ticks: u64) -> u64 {
    let ns = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(HZ));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    mode: u8,
    /// Bytes of an access: 1 low, 2 high, 3 both.
    access: u8,
    /// 1 to 65536; 0 if never written.
    count: u32,
    /// First byte of a write of two.
    first: Option<u8>,
    /// Tick at which it was loaded.
    loaded: u64,
    gate: bool,
    second_read: bool,
    latched: Option<u16>,
    status: Option<u8>,
    /// Control word written, no count yet.
    null_count: bool,
}

impl Counter {
    fn control(&mut self, value: u8) {
        self.mode = match value >> 1 & 7 {
            6 => 2,
            7 => 3,
            m => m,
        };
        self.access = value >> 4 & 3;
        self.count = 0;
        self.first = None;
        self.second_read = false;
        self.latched = None;
        self.null_count = true;
    }

    fn write(&mut self, value: u8, now: u64) {
        let count = match (self.access, self.first.take()) {
            (1, _) => u16::from(value),
            (2, _) => u16::from(value) << 8,
            (_, None) => {
                self.first = Some(value);
                return;
            }
            (_, Some(low)) => u16::from(value) << 8 | u16::from(low),
        };
        self.count = if count == 0 { 0x1_0000 } else { count.into() };
        self.loaded = now;
        self.null_count = false;
    }

    fn passed(&self, now: u64) -> u64 {
        if self.gate {
            now.saturating_sub(self.loaded)
        } else {
            0
        }
    }

    fn value(&self, now: u64) -> u16 {
        if self.count == 0 {
            return 0;
        }
        let (count, passed) = (u64::from(self.count), self.passed(now));
        let value = match self.mode {
            2 => count - passed % count,
            3 => count - 2 * passed % count,
            _ => count.wrapping_sub(passed),
        };
        value as u16
    }

    fn output(&self, now: u64) -> bool {
        if self.count == 0 {
            return self.mode != 0;
        }
        let (count, passed) = (u64::from(self.count), self.passed(now));
        match self.mode {
            0 | 1 => passed >= count,
            2 => !self.gate || passed % count != count - 1,
            3 => !self.gate || passed % count < count.div_ceil(2),
            _ => passed != count,
        }
    }

    /// The first tick after `now` at which the output rises, if it ever does.
    fn next_rise(&self, now: u64) -> Option<u64> {
        if self.count == 0 || !self.gate {
            return None;
        }
        let (count, passed) = (u64::from(self.count), self.passed(now));
        match self.mode {
            2 | 3 => Some(self.loaded + (passed / count + 1) * count),
            0 | 1 => (passed < count).then_some(self.loaded + count),
            _ => (passed <= count).then_some(self.loaded + count + 1),
        }
    }

    fn latch(&mut self, now: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.value(now));
        }
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let value = self.latched.unwrap_or_else(|| self.value(now));
        let (byte, done) = match self.access {
            1 => (value as u8, true),
            2 => ((value >> 8) as u8, true),
            _ if self.second_read => ((value >> 8) as u8, true),
            _ => (value as u8, false),
        };
        self.second_read = !done;
        if done {
            self.latched = None;
        }
        byte
    }

    fn latch_status(&mut self, now: u64) {
        let output = u8::from(self.output(now)) << 7;
        let null = u8::from(self.null_count) << 6;
        self.status
            .get_or_insert(output | null | self.access << 4 | self.mode << 1);
    }
}

/// The timer.
#[derive(Clone, Copy, Debug)]
pub struct Pit {
    counters: [Counter; 3],
    /// Bits 0 (gate of counter 2) and 1 (speaker) of port 0x61.
    control: u8,
    refresh: bool,
    /// Tick of the next rise of counter 0.
    rise: Option<u64>,
}

impl Default for Pit {
    fn default() -> Self {
        let gated = |gate| Counter {
            gate,
            access: 3,
            ..Counter::default()
        };
        Pit {
            counters: [gated(true), gated(true), gated(false)],
            control: 0,
            refresh: false,
            rise: None,
        }
    }
}

impl Pit {
    /// Reads a byte. None if the port is not one of its.
    pub fn read(&mut self, port: u16, now_ns: u64) -> Option<u8> {
        let now = ticks(now_ns);
        match port {
            0x40..=0x42 => Some(self.counters[usize::from(port - BASE)].read(now)),
            // The control register cannot be read.
            0x43 => Some(0xff),
            CONTROL_PORT => {
                self.refresh = !self.refresh;
                let output = self.counters[2].output(now);
                Some(self.control | u8::from(self.refresh) << 4 | u8::from(output) << 5)
            }
            _ => None,
        }
    }

    /// Writes a byte. False if the port is not one of its.
    pub fn write(&mut self, port: u16, value: u8, now_ns: u64) -> bool {
        let now = ticks(now_ns);
        match port {
            0x40..=0x42 => self.counters[usize::from(port - BASE)].write(value, now),
            0x43 => self.control_word(value, now),
            CONTROL_PORT => {
                self.control = value & 3;
                let counter = &mut self.counters[2];
                let gate = value & 1 != 0;
                if gate && !counter.gate {
                    // A rising gate starts the count again.
                    counter.loaded = now;
                }
                counter.gate = gate;
            }
            _ => return false,
        }
        if matches!(port, 0x40 | 0x43) {
            self.rise = self.counters[0].next_rise(now);
        }
        true
    }

    fn control_word(&mut self, value: u8, now: u64) {
        let chosen = value >> 6;
        if chosen == 3 {
            for (n, counter) in self.counters.iter_mut().enumerate() {
                if value >> (n + 1) & 1 != 0 {
                    if value & 0x20 == 0 {
                        counter.latch(now);
                    }
                    if value & 0x10 == 0 {
                        counter.latch_status(now);
                    }
                }
            }
        } else if let Some(counter) = self.counters.get_mut(usize::from(chosen)) {
            if value >> 4 & 3 == 0 {
                counter.latch(now);
            } else {
                counter.control(value);
            }
        }
    }

    /// When counter 0's output rises next, in nanoseconds of virtual time.
    pub fn next_deadline(&self) -> Option<u64> {
        self.rise.map(ns_of)
    }

    /// Lets time pass: true if the output of counter 0 rose. Rises that were missed count once.
    pub fn run(&mut self, now_ns: u64) -> bool {
        let now = ticks(now_ns);
        if self.rise.is_none_or(|at| at > now) {
            return false;
        }
        self.rise = self.counters[0].next_rise(now);
        true
    }
}
