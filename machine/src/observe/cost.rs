//! What calls take of the host's time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Of each kind of call the first so many are measured, and then one of so many.
pub const SAMPLE: u64 = 64;

/// The calls of one kind that were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    total: Duration,
    measured: u64,
}

/// The same in a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct CostSummary {
    /// The mean, in nanoseconds, without what reading the host's clock takes.
    pub mean_ns: f64,
    /// Calls that it is the mean of.
    pub measured: u64,
}

impl Cost {
    /// Starts the clock if the call after `calls` others of its kind is to be measured.
    #[inline]
    pub fn start(calls: u64) -> Option<Instant> {
        (calls < SAMPLE || calls.is_multiple_of(SAMPLE)).then(Instant::now)
    }

    /// Adds a call.
    pub fn add(&mut self, took: Duration) {
        self.total += took;
        self.measured += 1;
    }

    /// For the report; `clock_ns` is what [`clock_ns`] found.
    pub fn summary(&self, clock_ns: f64) -> CostSummary {
        let mean = self.total.as_nanos() as f64 / self.measured.max(1) as f64;
        let whole = (mean - clock_ns).max(0.0).round();
        CostSummary {
            mean_ns: whole,
            measured: self.measured,
        }
    }
}

/// Costs for a report, by name.
pub fn summaries(costs: impl Iterator<Item = (String, Cost)>) -> BTreeMap<String, CostSummary> {
    let clock = clock_ns();
    costs.map(|(name, c)| (name, c.summary(clock))).collect()
}

/// What starting and reading the clock adds to a measured time, in nanoseconds.
pub fn clock_ns() -> f64 {
    let once = || Instant::now().elapsed().as_nanos();
    (0..100).map(|_| once()).min().unwrap_or(0) as f64
}
