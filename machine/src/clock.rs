//! Virtual time. One retired instruction is one nanosecond; time in which every vCPU waits is skipped.

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
        Date::from_unix(EPOCH_S.saturating_add(self.now_ns / 1_000_000_000), (self.now_ns % 1_000_000_000) as u32)
    }
}

/// A date and time of day in the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year, as 2026.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999,999,999.
    pub nanosecond: u32,
}

impl Date {
    /// The date of `seconds` since 1970 plus `nanosecond`.
    pub fn from_unix(seconds: u64, nanosecond: u32) -> Date {
        // Years of 365.2425 days that begin in March, counted in eras of 400 years, so that the leap day comes last.
        let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Date {
            year: (era * 400 + year_of_era + u64::from(month <= 2)) as u32,
            month: month as u32,
            day: (day_of_year - (153 * shifted + 2) / 5 + 1) as u32,
            hour: (rest / 3600) as u32,
            minute: (rest / 60 % 60) as u32,
            second: (rest % 60) as u32,
            nanosecond,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let at = |s| {
            let d = Date::from_unix(s, 0);
            (d.year, d.month, d.day, d.hour, d.minute, d.second)
        };
        assert_eq!(at(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(at(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(at(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(at(EPOCH_S), (2026, 1, 1, 0, 0, 0));
        assert_eq!(at(4_107_542_400), (2100, 3, 1, 0, 0, 0));
    }

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
