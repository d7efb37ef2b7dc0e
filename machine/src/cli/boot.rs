//! `viommu boot`: from a plan to a run, its checks and report. The run itself is in [`super::session`].

use std::path::{Path, PathBuf};

use super::args::RunArgs;
use super::images::{CHECK_WORD, Disks};
use super::session::{Bootable, Outcome, Session};
use super::{Failure, check, logger, report, terminal};
use crate::config::End;
use crate::observe::profile::Symbols;

/// Instructions from one sample of `--profile` to the next: a prime, so that loops do not run in step with it.
pub const SAMPLE_EVERY: u64 = 10_007;

/// A machine to run, and what belongs to the run.
#[derive(Debug)]
pub struct Plan<C> {
    /// The machine.
    pub config: C,
    /// Its disks.
    pub disks: Disks,
}

/// Boots, runs, checks and reports.
///
/// # Errors
/// A user's mistake, or a run that did not end as it should.
pub fn boot<M: Bootable>(
    args: &RunArgs,
    plan: impl FnOnce() -> Result<Plan<M::Config>, Failure>,
) -> Result<(), Failure> {
    logger::Filter::parse(&args.log)
        .map_err(Failure::user)?
        .install();
    if let Some(path) = &args.report {
        // Better to know now than after the run.
        std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| Failure::user(format!("--report {}: {e}", path.display())))?;
    }
    if args.interactive {
        terminal::check()?;
    }
    let mut plan = plan()?;
    let symbols = symbols(args, M::kernel(&plan.config))?;
    let checked = plan.disks.checked();
    let expected = expected(M::append(&plan.config), checked.as_ref())?;
    let mut outcome =
        Session::open(args.interactive)?.run::<M>(args, &mut plan.config, &symbols)?;
    if let Some((expected, written)) = expected {
        let mut checks = Vec::new();
        // A pattern may come before the guest has looked at its disk.
        if !matches!(outcome.end, End::Until(_)) {
            checks = check::disk(&outcome.log, &expected, written);
            checks.extend(M::checks(&plan.config, &outcome));
        }
        checks.push(check::sane_log(&outcome.log));
        outcome.report.checks = checks;
    }
    report::emit(&outcome.report, args.report.as_deref())?;
    verdict(&outcome, args.until.as_deref())
}

/// Names of the guest's functions, for `--profile`.
fn symbols(args: &RunArgs, kernel: Option<&[u8]>) -> Result<Symbols, Failure> {
    match (&args.symbols, kernel) {
        (Some(path), _) => {
            let failed = |e: String| Failure::user(format!("--symbols {}: {e}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
            Symbols::of_map(&text).map_err(failed)
        }
        (None, Some(kernel)) if args.profile => Ok(Symbols::of_elf(kernel)),
        _ => Ok(Symbols::default()),
    }
}

/// Whether the guest did what it was asked to do.
fn verdict(outcome: &Outcome, until: Option<&str>) -> Result<(), Failure> {
    if outcome.interrupted || !outcome.end.is_orderly() {
        return Err(Failure::run(&outcome.report.end));
    }
    if let Some(pattern) = until
        && !matches!(outcome.end, End::Until(_))
    {
        return Err(Failure::run(format!(
            "{}, and its console had not shown \"{pattern}\"",
            outcome.report.end
        )));
    }
    if !outcome.report.checks_hold() {
        return Err(Failure::run("a check did not hold"));
    }
    Ok(())
}

/// What the guest must find on its disk, and the image if its writes must be there; none if the guest does not check.
fn expected<'a>(
    append: &str,
    checked: Option<&'a (PathBuf, bool)>,
) -> Result<Option<(check::Expected, Option<&'a Path>)>, Failure> {
    let asked = append.split_whitespace().any(|w| w == CHECK_WORD);
    let Some((path, written)) = checked.filter(|_| asked) else {
        return Ok(None);
    };
    let expected = check::expect(path).map_err(|e| {
        Failure::user(format!(
            "disk {}: {e}; the check of {CHECK_WORD} needs an image of at least 40 MiB",
            path.display()
        ))
    })?;
    Ok(Some((expected, written.then_some(path.as_path()))))
}
