//! Dates, for clocks that a guest reads.

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
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
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

    /// Seconds since 1970 of a date from 1970 on; days beyond the month's end count into the next month.
    pub fn to_unix(&self) -> u64 {
        let (year, month) = (u64::from(self.year), u64::from(self.month));
        // Years that begin in March, as above.
        let year = year.saturating_sub(u64::from(month <= 2));
        let shifted = (month + 9) % 12;
        let days = year * 365 + year / 4 - year / 100
            + year / 400
            + (153 * shifted + 2) / 5
            + u64::from(self.day);
        let seconds = u64::from(self.hour) * 3600 + u64::from(self.minute) * 60;
        (days.saturating_sub(719_469) * 86_400).saturating_add(seconds + u64::from(self.second))
    }

    /// Day of the week, 1 (Sunday) to 7.
    pub fn weekday(&self) -> u32 {
        // 1970-01-01 was a Thursday.
        ((self.to_unix() / 86_400 + 4) % 7 + 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let dates = [
            (0, (1970, 1, 1, 0, 0, 0), 5),
            (951_782_399, (2000, 2, 28, 23, 59, 59), 2),
            (951_782_400, (2000, 2, 29, 0, 0, 0), 3),
            (1_767_225_600, (2026, 1, 1, 0, 0, 0), 5),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0), 2),
        ];
        for (seconds, expected, weekday) in dates {
            let d = Date::from_unix(seconds, 0);
            assert_eq!(
                (d.year, d.month, d.day, d.hour, d.minute, d.second),
                expected
            );
            assert_eq!(d.to_unix(), seconds);
            assert_eq!(d.weekday(), weekday, "{seconds}");
        }
    }
}
