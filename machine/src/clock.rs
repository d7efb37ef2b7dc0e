//! Virtual time. One retired instruction is one nanosecond; time in which every vCPU waits is skipped.

pub use viommu_devices::date::Date;

/// Frequency of the time base and the decrementer, in Hz.
pub const TIMEBASE_HZ: u64 = 512_000_000;

/// Virtual time at power-on, in seconds since 1970-01-01 00:00 UTC: 2026-01-01, so that runs repeat.
pub const EPOCH_S: u64 = 1_767_225_600;

/// The machine's clock: nanoseconds since power-on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    now_ns: u64,
    idle_ns: u64,
}

impl Clock {
    /// Nanoseconds since power-on.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// How much of that was skipped because every vCPU waited, in nanoseconds.
    pub fn idle_ns(&self) -> u64 {
        self.idle_ns
    }

    /// Lets `ns` pass in which instructions retired.
    pub fn advance(&mut self, ns: u64) {
        self.now_ns = self.now_ns.saturating_add(ns);
    }

    /// Skips to `ns` since power-on; does nothing if that is past.
    pub fn skip_to(&mut self, ns: u64) {
        if let Some(idle) = ns.checked_sub(self.now_ns) {
            self.idle_ns = self.idle_ns.saturating_add(idle);
            self.now_ns = ns;
        }
    }

    /// Date and time of day in UTC.
    pub fn date(&self) -> Date {
        Date::from_unix(
            EPOCH_S.saturating_add(self.now_ns / 1_000_000_000),
            (self.now_ns % 1_000_000_000) as u32,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_never_goes_back() {
        let mut clock = Clock::default();
        clock.advance(100);
        clock.skip_to(50);
        assert_eq!((clock.now_ns(), clock.idle_ns()), (100, 0));
        clock.skip_to(150);
        assert_eq!((clock.now_ns(), clock.idle_ns()), (150, 50));
    }
}
