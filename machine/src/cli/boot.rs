//! `viommu boot`: from options to a machine, its run, checks and report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::args::{BootArgs, DeviceArg, DiskArg};
use super::status::Status;
use super::terminal::Terminal;
use super::{Failure, check, disk, logger, report};
use crate::guest::{self, catalogue};
use crate::observe::Report;
use crate::observe::report::HostSummary;
use crate::pseries::host::Moment;
use crate::pseries::{
    DeviceConfig, DiskConfig, DiskMode, End, Features, Host, HostInput, Machine, MachineConfig,
    OnReboot,
};

/// Guest of a run without `--guest`, `--kernel` and `--bios`.
const DEFAULT_GUEST: &str = "debian-6.12";
/// Its command line; the guest's first process looks for the words that begin with `viommu.`.
const DEFAULT_APPEND: &str = "console=hvc0 viommu.check=disk";
/// Its command line with `--interactive`.
const INTERACTIVE_APPEND: &str = "console=hvc0 viommu.shell=1";

/// A machine to run, and what belongs to the run.
#[derive(Debug)]
pub struct Plan {
    /// The machine.
    pub config: MachineConfig,
    /// The image that the check guest reads and writes, and whether its writes reach it.
    pub checked: Option<(PathBuf, bool)>,
    /// Keeps the default image alive.
    _image: Option<tempfile::NamedTempFile>,
}

/// Boots, runs, checks and reports.
///
/// # Errors
/// A user's mistake, or a run that did not end as it should.
pub fn boot(args: &BootArgs) -> Result<(), Failure> {
    logger::Filter::parse(&args.log)
        .map_err(Failure::user)?
        .install();
    if let Some(path) = &args.report {
        // Better to know now than after the run.
        std::fs::write(path, "")
            .map_err(|e| Failure::user(format!("--report {}: {e}", path.display())))?;
    }
    let plan = plan(args)?;
    let wants_check = plan
        .config
        .append
        .split_whitespace()
        .any(|w| w == "viommu.check=disk");
    let checked = plan.checked.as_ref().filter(|_| wants_check);
    let expected = match checked {
        Some((path, _)) => Some(check::expect(path).map_err(|e| {
            Failure::user(format!(
                "disk {}: {e}; the check of viommu.check=disk needs an image of at least 40 MiB",
                path.display()
            ))
        })?),
        None => None,
    };
    let started = Instant::now();
    let (mut report, end, log) = run(args, &plan.config)?;
    finish_host(&mut report, started);
    if let (Some(expected), Some((path, written))) = (&expected, checked) {
        report.checks = check::disk(&log, expected, written.then_some(path.as_path()));
        if plan.config.features.ddw && !plan.config.append.contains("disable_ddw") {
            report.checks.push(check::window(&log));
        }
        report.checks.push(check::sane_log(&log));
    }
    report::emit(&report, args.report.as_deref())?;
    if !end.is_orderly() {
        return Err(Failure::run(end));
    }
    if !report.checks_hold() {
        return Err(Failure::run("a check did not hold"));
    }
    Ok(())
}

/// The machine that the options describe.
///
/// # Errors
/// What the user has to mend.
pub fn plan(args: &BootArgs) -> Result<Plan, Failure> {
    let (kernel, initrd) = images(args)?;
    let read = |what: &str, path: &Path| {
        std::fs::read(path).map_err(|e| Failure::user(format!("{what} {}: {e}", path.display())))
    };
    let kernel = kernel.map(|p| read("kernel", &p)).transpose()?;
    let initrd = initrd.map(|p| read("initrd", &p)).transpose()?;
    let bios = args.bios.as_ref().map(|p| read("bios", p)).transpose()?;
    let own_guest = args.kernel.is_none() && args.bios.is_none();
    let append = match (&args.append, own_guest) {
        (Some(append), _) => append.clone(),
        (None, true) if args.interactive => INTERACTIVE_APPEND.to_owned(),
        (None, true) => DEFAULT_APPEND.to_owned(),
        (None, false) => "console=hvc0".to_owned(),
    };
    let (disks, image) = if args.disk.is_empty() && wants_disk(args, own_guest) {
        let image = default_image()?;
        let disk = DiskArg {
            path: image.path().to_owned(),
            read_only: false,
            snapshot: false,
        };
        (vec![disk], Some(image))
    } else {
        (args.disk.clone(), None)
    };
    let checked = disks
        .first()
        .map(|d| (d.path.clone(), !d.read_only && !d.snapshot));
    let config = MachineConfig {
        memory: args.memory,
        cpus: args.cpus,
        kernel,
        initrd,
        bios,
        append,
        devices: devices(&args.device, &disks)?,
        features: Features {
            multi_tce: !args.no_multitce,
            ddw: !args.no_ddw,
        },
        until: args.until.clone(),
        max_instructions: args.max_instructions,
        on_reboot: if args.reboot {
            OnReboot::Restart
        } else {
            OnReboot::End
        },
        engine: args.engine,
    };
    Ok(Plan {
        config,
        checked,
        _image: image,
    })
}

/// Kernel and initial RAM disk: those given, or those of a guest.
fn images(args: &BootArgs) -> Result<(Option<PathBuf>, Option<PathBuf>), Failure> {
    if args.kernel.is_some() || args.bios.is_some() {
        return Ok((args.kernel.clone(), args.initrd.clone()));
    }
    let name = args.guest.as_deref().unwrap_or(DEFAULT_GUEST);
    let guest = catalogue::fetch(name, &mut guest::progress_bar()).map_err(Failure::user)?;
    Ok((
        Some(guest.kernel),
        Some(args.initrd.clone().unwrap_or(guest.initrd)),
    ))
}

/// The default image is made where a disk is missing: for an own guest, or for a block device without one.
fn wants_disk(args: &BootArgs, own_guest: bool) -> bool {
    let block = |d: &DeviceArg| matches!(d, DeviceArg::Nvme(_) | DeviceArg::VirtioBlk);
    args.device.iter().any(block) || (args.device.is_empty() && own_guest)
}

fn default_image() -> Result<tempfile::NamedTempFile, Failure> {
    let error = |e| {
        Failure::user(format!(
            "no room for a 64 MiB disk image in the folder for temporary files: {e}"
        ))
    };
    let mut image = tempfile::Builder::new()
        .prefix("viommu-")
        .suffix(".img")
        .tempfile()
        .map_err(error)?;
    disk::write_default(image.as_file_mut()).map_err(error)?;
    Ok(image)
}

/// Gives the disks to the block devices in order; disks that are left go to an NVMe controller of their own.
fn devices(devices: &[DeviceArg], disks: &[DiskArg]) -> Result<Vec<DeviceConfig>, Failure> {
    let mut disks = disks.iter().map(|d| DiskConfig {
        path: d.path.clone(),
        mode: match (d.read_only, d.snapshot) {
            (true, _) => DiskMode::ReadOnly,
            (_, true) => DiskMode::Snapshot,
            _ => DiskMode::Writable,
        },
    });
    let mut out = Vec::new();
    for device in devices {
        let missing = || {
            Failure::user(format!(
                "a block device has no disk: give --disk for each ({device:?})"
            ))
        };
        out.push(match device {
            DeviceArg::Nvme(n) => {
                let own: Vec<_> = disks.by_ref().take(*n as usize).collect();
                if own.len() < *n as usize {
                    return Err(missing());
                }
                DeviceConfig::Nvme(own)
            }
            DeviceArg::VirtioBlk => DeviceConfig::VirtioBlk(disks.next().ok_or_else(missing)?),
            DeviceArg::Edu => DeviceConfig::Edu,
        });
    }
    let rest: Vec<_> = disks.collect();
    if !rest.is_empty() {
        out.push(DeviceConfig::Nvme(rest));
    }
    Ok(out)
}

/// Runs the machine, and again after each reboot if asked to. Gives the last run's report and the log of all.
fn run(args: &BootArgs, config: &MachineConfig) -> Result<(Report, End, String), Failure> {
    let mut log = String::new();
    loop {
        let mut machine = Machine::new(config.clone()).map_err(Failure::user)?;
        let mut session = Session::open(args)?;
        let end = machine.run(&mut session);
        let mut report = machine.report(&end);
        report.host.phase_seconds = std::mem::take(&mut session.phase_seconds);
        report
            .host
            .phase_seconds
            .resize(report.phases.len(), session.started.elapsed().as_secs_f64());
        log.push_str(machine.platform().console.log());
        if end != End::Reboot || config.on_reboot == OnReboot::End {
            return Ok((report, end, log));
        }
    }
}

fn finish_host(report: &mut Report, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    report.host = HostSummary {
        seconds,
        mips: report.instructions as f64 / seconds.max(1e-9) / 1e6,
        phase_seconds: std::mem::take(&mut report.host.phase_seconds),
    };
}

/// The host's side of a run: console output, terminal input, status line.
struct Session {
    terminal: Option<Terminal>,
    status: Status,
    started: Instant,
    phase_seconds: Vec<f64>,
}

impl Session {
    fn open(args: &BootArgs) -> Result<Session, Failure> {
        let terminal = if args.interactive {
            Some(Terminal::open()?)
        } else {
            None
        };
        let status = Status::new(terminal.is_none());
        Ok(Session {
            terminal,
            status,
            started: Instant::now(),
            phase_seconds: Vec::new(),
        })
    }
}

impl Host for Session {
    fn poll(&mut self, moment: Moment<'_>, room: usize) -> HostInput {
        self.phase_seconds
            .resize(moment.phases, self.started.elapsed().as_secs_f64());
        if !moment.console.is_empty() {
            self.status.suspend(|| {
                let mut out = std::io::stdout().lock();
                // Whoever closes standard output does not want it: the run goes on for its report and status.
                let _ = out.write_all(moment.console).and_then(|()| out.flush());
            });
        }
        self.status
            .update(moment.now_ns, moment.instructions, moment.last_line);
        match &mut self.terminal {
            Some(terminal) => {
                let input = terminal.poll(room);
                HostInput {
                    bytes: input.bytes,
                    quit: input.quit,
                }
            }
            None => HostInput::default(),
        }
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

/// For commands that only look at the machine: an own guest is not fetched, nothing is executed.
pub fn without_guest(args: &BootArgs) -> BootArgs {
    let mut args = args.clone();
    if args.kernel.is_none() && args.bios.is_none() {
        args.append.get_or_insert_with(|| DEFAULT_APPEND.to_owned());
        args.device = if args.device.is_empty() {
            vec![DeviceArg::Nvme(1)]
        } else {
            args.device
        };
        args.bios = Some(PathBuf::from("/dev/null"));
    }
    args
}
