//! Measured values and their medians.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Who was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emulator {
    /// viommu as it is by default.
    Viommu,
    /// viommu without compiled code.
    Interpreter,
    /// QEMU's TCG with its firmware, SLOF.
    Qemu,
    /// QEMU's TCG with its small built-in firmware.
    QemuVof,
}

impl Emulator {
    /// For messages and headings.
    pub fn name(self) -> &'static str {
        match self {
            Emulator::Viommu => "viommu",
            Emulator::Interpreter => "viommu, interpreter",
            Emulator::Qemu => "QEMU",
            Emulator::QemuVof => "QEMU, x-vof=on",
        }
    }
}

/// Values by what was measured and on whom.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<(&'static str, Emulator), Vec<f64>>);

impl Samples {
    /// Adds a value.
    pub fn push(&mut self, what: &'static str, who: Emulator, value: f64) {
        self.0.entry((what, who)).or_default().push(value);
    }

    /// The median; of an even number of values, the mean of the two in the middle.
    ///
    /// # Errors
    /// There is no such value.
    pub fn median(&self, what: &'static str, who: Emulator) -> Result<f64> {
        let values = self.0.get(&(what, who));
        values
            .and_then(|v| median(v))
            .with_context(|| format!("{what} of {} was not measured", who.name()))
    }

    /// Median of one over the median of another.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn ratio(&self, what: &'static str, of: Emulator, to: Emulator) -> Result<f64> {
        Ok(self.median(what, of)? / self.median(what, to)?)
    }

    /// True if nothing was measured by this name.
    pub fn lacks(&self, what: &str) -> bool {
        !self.0.keys().any(|k| k.0 == what)
    }

    /// The value whose runs differ most: its name, and largest less smallest over median. None if nothing was measured twice.
    pub fn widest(&self) -> Option<(String, f64)> {
        let spread = |values: &Vec<f64>| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            Some((most - least) / median(values)?)
        };
        self.0
            .iter()
            .filter(|(_, v)| v.len() > 1)
            .filter_map(|((what, who), v)| Some((format!("{what}, {}", who.name()), spread(v)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests;
