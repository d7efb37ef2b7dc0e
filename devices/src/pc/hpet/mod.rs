//! The high precision event timer: a counter at 100 MHz and three comparators. IA-PC HPET specification 1.0a.
//!
//! Comparator 0 can be periodic. Interrupts go by lines (legacy replacement, or a route to an I/O APIC input); there is no FSB delivery.

#[cfg(test)]
mod tests;

/// Bytes of its registers.
pub const SIZE: u64 = 0x400;
/// Nanoseconds of a tick.
pub const TICK_NS: u64 = 10;
/// Comparators.
pub const TIMERS: usize = 3;
/// Event timer block id, for the ACPI table: revision 1, three comparators of 64 bits, legacy replacement, vendor 8086.
pub const BLOCK_ID: u32 = 0x8086_a201;

/// Inputs of the I/O APIC to which a comparator can be routed: 2, 8, 20 to 23.
const ROUTES: u64 = 1 << 2 | 1 << 8 | 0xf << 20;

const CONFIG_ENABLE: u64 = 1;
const CONFIG_LEGACY: u64 = 2;

const LEVEL: u64 = 1 << 1;
const INTERRUPT: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const CAN_PERIODIC: u64 = 1 << 4;
const CAN_64: u64 = 1 << 5;
const SET_VALUE: u64 = 1 << 6;
const ONLY_32: u64 = 1 << 8;
const ROUTE: u64 = 0x1f << 9;

/// Longest wait that is looked for at once, in ticks: deadlines beyond it are found again by then.
const FAR: u64 = 1 << 40;

/// How a line changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// One edge.
    Pulse,
    /// It has this level now.
    Level(bool),
}

/// Where a comparator's interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Instead of counter 0 of the 8254.
    Timer,
    /// Instead of the real-time clock.
    Clock,
    /// This input of the I/O APIC.
    Input(u8),
}

#[derive(Clone, Copy, Debug, Default)]
struct Timer {
    config: u64,
    comparator: u64,
    period: u64,
    /// Counter value at which it was looked at last.
    seen: u64,
    /// Level of a level-triggered route.
    asserted: bool,
}

impl Timer {
    fn width(&self) -> u64 {
        if self.config & ONLY_32 != 0 {
            0xffff_ffff
        } else {
            u64::MAX
        }
    }

    /// Ticks from `seen` to the next match; 0 stands for a whole turn of the counter.
    fn distance(&self) -> u64 {
        let d = self.comparator.wrapping_sub(self.seen) & self.width();
        if d == 0 { self.width() } else { d }
    }
}

/// The timer block.
#[derive(Clone, Debug, Default)]
pub struct Hpet {
    config: u64,
    status: u64,
    timers: [Timer; TIMERS],
    /// Counter at `since` (virtual time in ticks), which it does not leave while it is halted.
    counter: u64,
    since: u64,
    lines: Vec<(Target, Line)>,
}

impl Hpet {
    /// Power-on state.
    pub fn new() -> Self {
        let mut hpet = Hpet::default();
        for (n, timer) in hpet.timers.iter_mut().enumerate() {
            timer.config = CAN_64 | ROUTES << 32 | if n == 0 { CAN_PERIODIC } else { 0 };
            timer.comparator = u64::MAX;
        }
        hpet
    }

    /// True if it replaces the 8254 on IRQ 0 and the clock on IRQ 8.
    pub fn legacy(&self) -> bool {
        self.config & CONFIG_LEGACY != 0
    }

    fn count(&self, now_ns: u64) -> u64 {
        if self.config & CONFIG_ENABLE == 0 {
            return self.counter;
        }
        let passed = (now_ns / TICK_NS).wrapping_sub(self.since);
        self.counter.wrapping_add(passed)
    }

    /// Reads a register: 4 or 8 aligned bytes, others read 0.
    pub fn read(&mut self, offset: u64, data: &mut [u8], now_ns: u64) {
        data.fill(0);
        if !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return;
        }
        self.run(now_ns);
        let value = self.register(offset & !7, now_ns) >> (8 * (offset & 4));
        for (to, from) in data.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
    }

    fn register(&self, offset: u64, now_ns: u64) -> u64 {
        let timer = self
            .timers
            .get((offset.wrapping_sub(0x100) / 0x20) as usize);
        match (offset, timer) {
            (0x00, _) => (TICK_NS * 1_000_000) << 32 | u64::from(BLOCK_ID),
            (0x10, _) => self.config,
            (0x20, _) => self.status,
            (0xf0, _) => self.count(now_ns),
            (0x100.., Some(t)) if offset & 0x18 == 0 => t.config,
            (0x100.., Some(t)) if offset & 0x18 == 8 => t.comparator & t.width(),
            _ => 0,
        }
    }

    /// Writes a register: 4 or 8 aligned bytes, others are ignored.
    pub fn write(&mut self, offset: u64, data: &[u8], now_ns: u64) {
        if !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return;
        }
        self.run(now_ns);
        let value = data.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b));
        let shift = 8 * (offset & 4);
        let mask = if data.len() == 8 {
            u64::MAX
        } else {
            0xffff_ffff << shift
        };
        let value = value << shift;
        let old = self.register(offset & !7, now_ns);
        let merged = old & !mask | value & mask;
        match offset & !7 {
            0x10 => self.configure(merged & 3, now_ns),
            0x20 => self.clear_status(value & mask & 7),
            0xf0 if self.config & CONFIG_ENABLE == 0 => self.counter = merged,
            at @ 0x100.. => self.write_timer(at, merged, mask),
            _ => {}
        }
    }

    fn configure(&mut self, value: u64, now_ns: u64) {
        self.counter = self.count(now_ns);
        self.since = now_ns / TICK_NS;
        self.config = value;
        let counter = self.counter;
        self.timers.iter_mut().for_each(|t| t.seen = counter);
    }

    fn clear_status(&mut self, bits: u64) {
        self.status &= !bits;
        for n in 0..TIMERS {
            if bits >> n & 1 != 0 && std::mem::take(&mut self.timers[n].asserted) {
                let target = self.target(n);
                self.lines.push((target, Line::Level(false)));
            }
        }
    }

    fn write_timer(&mut self, at: u64, value: u64, mask: u64) {
        let n = ((at - 0x100) / 0x20) as usize;
        let Some(timer) = self.timers.get_mut(n) else {
            return;
        };
        match at & 0x18 {
            0 => {
                let periodic = if timer.config & CAN_PERIODIC != 0 {
                    PERIODIC | SET_VALUE
                } else {
                    0
                };
                let writable = LEVEL | INTERRUPT | ONLY_32 | ROUTE | periodic;
                timer.config = timer.config & !writable | value & writable;
                if timer.config & (LEVEL | INTERRUPT) != LEVEL | INTERRUPT && timer.asserted {
                    timer.asserted = false;
                    let target = self.target(n);
                    self.lines.push((target, Line::Level(false)));
                }
            }
            8 => {
                let periodic = timer.config & PERIODIC != 0;
                if periodic {
                    timer.period = timer.period & !mask | value & mask & timer.width();
                }
                // In periodic mode the comparator itself is written only after SET_VALUE.
                if !periodic || timer.config & SET_VALUE != 0 {
                    timer.comparator = value & timer.width();
                }
                if mask & 0xffff_ffff_0000_0000 != 0 || timer.config & ONLY_32 != 0 || !periodic {
                    timer.config &= !SET_VALUE;
                }
            }
            _ => {}
        }
    }

    fn target(&self, n: usize) -> Target {
        match (self.legacy(), n) {
            (true, 0) => Target::Timer,
            (true, 1) => Target::Clock,
            _ => Target::Input((self.timers[n].config >> 9 & 0x1f) as u8),
        }
    }

    /// How lines changed, oldest first.
    pub fn take_lines(&mut self) -> Vec<(Target, Line)> {
        std::mem::take(&mut self.lines)
    }

    /// When a comparator with an interrupt matches next, in nanoseconds of virtual time.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.config & CONFIG_ENABLE == 0 {
            return None;
        }
        let next = self
            .timers
            .iter()
            .filter(|t| t.config & INTERRUPT != 0)
            .map(|t| {
                let seen_for = t.seen.wrapping_sub(self.counter);
                self.since
                    .saturating_add(seen_for)
                    .saturating_add(t.distance().min(FAR))
            })
            .min()?;
        Some(next.saturating_mul(TICK_NS))
    }

    /// Lets time pass.
    pub fn run(&mut self, now_ns: u64) {
        if self.config & CONFIG_ENABLE == 0 {
            return;
        }
        let now = self.count(now_ns);
        for n in 0..TIMERS {
            let timer = &mut self.timers[n];
            let passed = now.wrapping_sub(timer.seen);
            let hit = passed != 0 && timer.distance() <= passed;
            if hit && timer.config & PERIODIC != 0 && timer.period != 0 {
                // Periods that were missed count once.
                let behind = now.wrapping_sub(timer.comparator) & timer.width();
                let steps = (behind / timer.period + 1).wrapping_mul(timer.period);
                timer.comparator = timer.comparator.wrapping_add(steps) & timer.width();
            }
            timer.seen = now;
            if hit {
                self.fire(n);
            }
        }
    }

    fn fire(&mut self, n: usize) {
        let target = self.target(n);
        let timer = &mut self.timers[n];
        if timer.config & LEVEL != 0 {
            self.status |= 1 << n;
            if timer.config & INTERRUPT != 0 && !timer.asserted {
                timer.asserted = true;
                self.lines.push((target, Line::Level(true)));
            }
        } else if timer.config & INTERRUPT != 0 {
            self.lines.push((target, Line::Pulse));
        }
    }
}
