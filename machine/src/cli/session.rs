//! A run as the host sees it: console output, terminal input, status line, and what Ctrl-C does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::args::RunArgs;
use super::status::Status;
use super::terminal::Terminal;
use super::{Failure, output};
use crate::config::End;
use crate::host::{Host, HostInput, Moment};
use crate::observe::Report;
use crate::observe::profile::{Profile, Symbols};
use crate::observe::report::Check;
use viommu_cpu::engine::EngineStats;

/// A machine that the command line can boot.
pub trait Bootable: Sized {
    /// What it is built from.
    type Config: Clone;

    /// The same configuration with the images, which are gone from `config`.
    fn take_images(config: &mut Self::Config) -> Self::Config;

    /// Builds it, to run for this many instructions at most.
    ///
    /// # Errors
    /// What the user has to mend.
    fn build(config: Self::Config, max_instructions: Option<u64>) -> Result<Self, Failure>;

    /// The kernel command line.
    fn append(config: &Self::Config) -> &str;

    /// The kernel's file.
    fn kernel(config: &Self::Config) -> Option<&[u8]>;

    /// Runs until the end of the run.
    fn run(&mut self, host: &mut dyn Host) -> End;

    /// What happened, without checks and host times.
    fn report(&self, end: &End) -> Report;

    /// Where instructions were executed, of a machine that noted it.
    fn profile(&self, symbols: &Symbols) -> Profile;

    /// What the CPUs' engine did.
    fn engine_stats(&self) -> EngineStats;

    /// The console's lines.
    fn log(&self) -> &str;

    /// What a guest that checks its disk must have done to the IOMMU on the way.
    fn checks(config: &Self::Config, outcome: &Outcome) -> Vec<Check>;
}

/// Set by Ctrl-C and by the signals that ask a process to end, so that the run ends in order: the terminal is restored, the default disk
/// image is deleted.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The host's side of a run.
pub struct Session {
    terminal: Option<Terminal>,
    status: Status,
    started: Instant,
    phase_seconds: Vec<f64>,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// The report, without checks. After reboots: that of the last run.
    pub report: Report,
    /// How it ended.
    pub end: End,
    /// A signal ended it.
    pub interrupted: bool,
    /// The console's lines since the last reboot.
    pub log: String,
}

impl Session {
    /// Takes the terminal if the run is `interactive`.
    ///
    /// # Errors
    /// There is no terminal.
    pub fn open(interactive: bool) -> Result<Session, Failure> {
        let terminal = interactive.then(Terminal::open).transpose()?;
        // Without a handler a signal just ends the process, which is no reason not to run.
        if let Err(e) = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)) {
            log::warn!("Ctrl-C will not end the run in order: {e}");
        }
        Ok(Session {
            status: Status::new(terminal.is_none()),
            terminal,
            started: Instant::now(),
            phase_seconds: Vec::new(),
        })
    }

    /// Runs the machine, and again after each reboot if it is to restart. The most instructions hold for all of it. The images are taken
    /// out of `config`, except for a restart.
    ///
    /// # Errors
    /// The machine cannot be built.
    pub fn run<M: Bootable>(
        mut self,
        args: &RunArgs,
        config: &mut M::Config,
        symbols: &Symbols,
    ) -> Result<Outcome, Failure> {
        let mut left = args.max_instructions;
        let mut reboots = 0;
        loop {
            self.phase_seconds.clear();
            let for_this_run = if args.reboot {
                config.clone()
            } else {
                M::take_images(config)
            };
            let mut machine = M::build(for_this_run, left)?;
            let end = machine.run(&mut self);
            let mut report = machine.report(&end);
            left = left.map(|n| n.saturating_sub(report.instructions));
            if end == End::Reboot && args.reboot {
                reboots += 1;
                continue;
            }
            report.reboots = reboots;
            if args.profile {
                report.profile = Some(machine.profile(symbols));
                report.host.engine = Some(machine.engine_stats().into());
            }
            let interrupted = end == End::UserQuit && INTERRUPTED.load(Ordering::Relaxed);
            if interrupted {
                report.end = "interrupted".into();
            }
            self.finish(&mut report);
            return Ok(Outcome {
                log: machine.log().to_owned(),
                interrupted,
                report,
                end,
            });
        }
    }

    /// Adds what depends on the host.
    fn finish(mut self, report: &mut Report) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.phase_seconds.resize(report.phases.len(), seconds);
        report.host.seconds = seconds;
        report.host.mips = report.instructions as f64 / seconds.max(1e-9) / 1e6;
        report.host.phase_seconds = self.phase_seconds;
    }
}

impl Host for Session {
    fn poll(&mut self, moment: Moment<'_>, room: usize) -> HostInput {
        self.phase_seconds
            .resize(moment.phases, self.started.elapsed().as_secs_f64());
        if !moment.console.is_empty() {
            self.status.suspend(|| {
                // A console that cannot be shown does not stop the guest; the report at the end meets the same trouble and tells.
                let _ = output::put_bytes(moment.console);
            });
        }
        self.status
            .update(moment.now_ns, moment.instructions, moment.last_line);
        let mut input = HostInput::default();
        if let Some(terminal) = &mut self.terminal {
            let typed = terminal.poll(room);
            (input.bytes, input.quit) = (typed.bytes, typed.quit);
        }
        input.quit |= INTERRUPTED.load(Ordering::Relaxed);
        input
    }

    fn idle(&mut self, time: Option<Duration>) -> bool {
        const LONGEST: Duration = Duration::from_millis(20);
        match &mut self.terminal {
            Some(terminal) => {
                terminal.wait(time.map_or(LONGEST, |t| t.min(LONGEST)));
                true
            }
            None => false,
        }
    }
}
