//! The status line on standard error while a machine runs, if that is a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::observe::text::{grouped, seconds};

/// Time between two updates.
const EVERY: Duration = Duration::from_millis(250);

/// The status line.
pub struct Status {
    bar: Option<ProgressBar>,
    last: Instant,
    instructions: u64,
}

impl Status {
    /// A status line; none if `wanted` is false or standard error is no terminal.
    pub fn new(wanted: bool) -> Status {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Status { bar, last: Instant::now(), instructions: 0 }
    }

    /// Shows virtual time, instructions, speed and the last console line, at most four times a second.
    pub fn update(&mut self, now_ns: u64, instructions: u64, line: &str) {
        let Some(bar) = &self.bar else { return };
        let passed = self.last.elapsed();
        if passed < EVERY {
            return;
        }
        let mips = (instructions.saturating_sub(self.instructions)) as f64 / passed.as_secs_f64() / 1e6;
        let line: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
        bar.set_message(format!("{}  {} instructions  {mips:.0} MIPS  {line}", seconds(now_ns), grouped(instructions)));
        (self.last, self.instructions) = (Instant::now(), instructions);
    }

    /// Runs `print` while the line is away.
    pub fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
