//! The timer of a local APIC: one-shot, periodic, or at a value of the time stamp counter. Intel SDM volume 3, "APIC Timer".
//!
//! Its clock, before the divider, ticks once a nanosecond of virtual time, as the time stamp counter does.

/// Mode bits of the timer's entry in the local vector table.
const MODE: u32 = 3 << 17;
const PERIODIC: u32 = 1 << 17;
const DEADLINE: u32 = 2 << 17;

/// The timer without its entry in the local vector table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    divide: u32,
    initial: u32,
    /// When it expires next, in nanoseconds.
    expiry: Option<u64>,
}

impl Timer {
    /// The divide configuration register.
    pub fn divide(&self) -> u32 {
        self.divide
    }

    /// The initial count.
    pub fn initial(&self) -> u32 {
        self.initial
    }

    /// Nanoseconds of one count: bits 0, 1 and 3 of the register, of which 111 means 1.
    fn step(&self) -> u64 {
        match self.divide & 3 | self.divide >> 1 & 4 {
            7 => 1,
            n => 2 << n,
        }
    }

    /// Writes the divide configuration. What runs goes on to its old end.
    pub fn set_divide(&mut self, value: u32) {
        self.divide = value & 0xb;
    }

    /// Writes the initial count, which starts the timer, or stops it with 0. Ignored in deadline mode.
    pub fn start(&mut self, lvt: u32, count: u32, now_ns: u64) {
        if lvt & MODE == DEADLINE {
            return;
        }
        self.initial = count;
        self.expiry = (count != 0).then(|| now_ns.saturating_add(self.period()));
    }

    fn period(&self) -> u64 {
        u64::from(self.initial) * self.step()
    }

    /// The current count.
    pub fn current(&self, lvt: u32, now_ns: u64) -> u32 {
        if lvt & MODE == DEADLINE {
            return 0;
        }
        let left = self.expiry.map_or(0, |at| at.saturating_sub(now_ns));
        left.div_ceil(self.step()).min(u64::from(self.initial)) as u32
    }

    /// IA32_TSC_DEADLINE: 0 if it is not armed.
    pub fn deadline(&self, lvt: u32) -> u64 {
        if lvt & MODE == DEADLINE {
            self.expiry.unwrap_or(0)
        } else {
            0
        }
    }

    /// Writes IA32_TSC_DEADLINE, which arms the timer, or disarms it with 0. Ignored in other modes.
    pub fn set_deadline(&mut self, lvt: u32, value: u64) {
        if lvt & MODE == DEADLINE {
            self.expiry = (value != 0).then_some(value);
        }
    }

    /// The entry in the local vector table changed: going to or from deadline mode disarms.
    pub fn lvt_written(&mut self, old: u32, new: u32) {
        if (old & MODE == DEADLINE) != (new & MODE == DEADLINE) {
            self.expiry = None;
        }
    }

    /// When it expires next.
    pub fn expiry(&self) -> Option<u64> {
        self.expiry
    }

    /// Lets time pass. True if it expired; periods that were missed count once.
    pub fn run(&mut self, lvt: u32, now_ns: u64) -> bool {
        let Some(at) = self.expiry.filter(|&at| at <= now_ns) else {
            return false;
        };
        let period = self.period();
        self.expiry = (lvt & MODE == PERIODIC && period != 0).then(|| {
            let missed = (now_ns - at) / period;
            at.saturating_add((missed + 1).saturating_mul(period))
        });
        true
    }
}
