//! `viommu boot`: from options to a machine, its checks and report. The run itself is in [`super::session`].

use std::path::{Path, PathBuf};

use viommu_devices::spapr::iommu::rules::Personality;

use super::args::{BootArgs, DeviceArg, DiskArg, PlacedDevice};
use super::session::{Outcome, Session};
use super::{Failure, check, disk, logger, report, terminal};
use crate::guest::catalogue::{self, Arch, Guest};
use crate::guest::progress_bar;
use crate::observe::profile::Symbols;
use crate::pseries::{DeviceConfig, DiskConfig, DiskMode, End, Features, MachineConfig, OnReboot};

/// Word of the command line that lets a named guest check its disk.
const CHECK_WORD: &str = "viommu.check=disk";
/// Command line of a named guest; its first process looks for the words that begin with `viommu.`.
const DEFAULT_APPEND: &str = "console=hvc0 viommu.check=disk";
/// Its command line with `--interactive`.
const INTERACTIVE_APPEND: &str = "console=hvc0 viommu.shell=1";

/// Instructions from one sample of `--profile` to the next: a prime, so that loops do not run in step with it.
const SAMPLE_EVERY: u64 = 10_007;

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
    if args.interactive {
        terminal::check()?;
    }
    let plan = plan(args)?;
    let symbols = symbols(args, plan.config.kernel.as_deref())?;
    let expected = plan.expected()?;
    let mut outcome = Session::open(args.interactive)?.run(&plan.config, &symbols)?;
    let report = &mut outcome.report;
    if let Some((expected, written)) = expected {
        // A pattern may come before the guest has looked at its disk.
        if !matches!(outcome.end, End::Until(_)) {
            report.checks = check::disk(&outcome.log, &expected, written);
            if plan.expects_window() {
                report.checks.push(check::window(&outcome.log));
            }
        }
        report.checks.push(check::sane_log(&outcome.log));
    }
    report::emit(report, args.report.as_deref())?;
    verdict(&outcome, args.until.as_deref())
}

/// Names of the guest's functions, for `--profile`.
fn symbols(args: &BootArgs, kernel: Option<&[u8]>) -> Result<Symbols, Failure> {
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

impl Plan {
    /// A guest gets a dynamic window for sure: nothing forbids it, and the rules are a real platform's.
    fn expects_window(&self) -> bool {
        let config = &self.config;
        let named = Personality::NAMED.contains(&config.personality);
        // Whether a kernel wants a window for fewer bits depends on its version; whether it takes a device, on its programs.
        let of_64_bits = |d: &DeviceConfig| {
            !matches!(
                d,
                DeviceConfig::NvmeOf48Bits(_) | DeviceConfig::Unplugged(_)
            )
        };
        config.features.ddw
            && named
            && config
                .devices
                .iter()
                .chain(config.more_bridges.iter().flatten())
                .all(of_64_bits)
            && config.refusals.is_empty()
            && !config.append.contains("disable_ddw")
    }

    /// What the guest must find on its disk, and the image if its writes must be there; none if the guest does not check.
    fn expected(&self) -> Result<Option<(check::Expected, Option<&Path>)>, Failure> {
        let asked = |word| self.config.append.split_whitespace().any(|w| w == word);
        let Some((path, written)) = self.checked.as_ref().filter(|_| asked(CHECK_WORD)) else {
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
    let mut bridges = devices(&args.device, &disks)?.into_iter();
    let config = MachineConfig {
        memory: args.memory,
        max_memory: args.max_memory.unwrap_or(0),
        cpus: args.cpus,
        kernel,
        initrd,
        bios,
        append,
        devices: bridges.next().unwrap_or_default(),
        more_bridges: bridges.collect(),
        features: Features {
            multi_tce: !args.no_multitce,
            ddw: !args.no_ddw,
            eeh: args.ddw.eeh,
        },
        personality: args.ddw,
        refusals: args.inject.clone(),
        until: args.until.clone(),
        max_instructions: args.max_instructions,
        on_reboot: if args.reboot {
            OnReboot::Restart
        } else {
            OnReboot::End
        },
        engine: args.engine,
        sample_every: if args.profile { SAMPLE_EVERY } else { 0 },
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
    let guest = guest(Arch::Ppc64el, args.guest.as_deref())?;
    Ok((
        Some(guest.kernel),
        Some(args.initrd.clone().unwrap_or(guest.initrd)),
    ))
}

/// A guest that has a name, fetched if need be.
fn guest(arch: Arch, name: Option<&str>) -> Result<Guest, Failure> {
    let name = name.unwrap_or(arch.default_guest());
    let entry = catalogue::entry(name).map_err(Failure::user)?;
    if entry.arch != arch {
        return Err(Failure::user(format!(
            "guest {name} is for another machine: viommu boot {} --guest {name}",
            entry.arch.machine()
        )));
    }
    catalogue::fetch(name, &mut progress_bar()).map_err(Failure::user)
}

/// The default image is made where a disk is missing: for an own guest, or for a block device without one.
fn wants_disk(args: &BootArgs, own_guest: bool) -> bool {
    let block = |d: &PlacedDevice| d.device != DeviceArg::Edu;
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

/// Devices by host bridge. Gives the disks to the block devices in order; disks that are left go to an NVMe controller of their own on
/// the first bridge.
fn devices(devices: &[PlacedDevice], disks: &[DiskArg]) -> Result<Vec<Vec<DeviceConfig>>, Failure> {
    let mut disks = disks.iter().map(|d| DiskConfig {
        path: d.path.clone(),
        mode: match (d.read_only, d.snapshot) {
            (true, _) => DiskMode::ReadOnly,
            (_, true) => DiskMode::Snapshot,
            _ => DiskMode::Writable,
        },
    });
    let mut out: Vec<Vec<DeviceConfig>> = vec![Vec::new()];
    for PlacedDevice {
        device,
        bridge,
        unplugged,
    } in devices
    {
        // The parser has limited the number.
        if out.len() <= *bridge as usize {
            out.resize_with(*bridge as usize + 1, Vec::new);
        }
        let missing = || {
            Failure::user(format!(
                "a block device has no disk: give --disk for each ({device:?})"
            ))
        };
        let made = match device {
            DeviceArg::Nvme(n) | DeviceArg::NvmeOf48Bits(n) => {
                let own: Vec<_> = disks.by_ref().take(*n as usize).collect();
                if own.len() < *n as usize {
                    return Err(missing());
                }
                match device {
                    DeviceArg::NvmeOf48Bits(_) => DeviceConfig::NvmeOf48Bits(own),
                    _ => DeviceConfig::Nvme(own),
                }
            }
            DeviceArg::VirtioBlk => DeviceConfig::VirtioBlk(disks.next().ok_or_else(missing)?),
            DeviceArg::Edu => DeviceConfig::Edu,
        };
        if let Some(bus) = out.get_mut(*bridge as usize) {
            bus.push(if *unplugged {
                DeviceConfig::Unplugged(Box::new(made))
            } else {
                made
            });
        }
    }
    let rest: Vec<_> = disks.collect();
    if let (false, Some(first)) = (rest.is_empty(), out.first_mut()) {
        first.push(DeviceConfig::Nvme(rest));
    }
    Ok(out)
}

/// For commands that only look at the machine: an own guest is not fetched, nothing is executed.
pub fn without_guest(args: &BootArgs) -> BootArgs {
    let mut args = args.clone();
    if args.kernel.is_none() && args.bios.is_none() {
        args.append.get_or_insert_with(|| DEFAULT_APPEND.to_owned());
        args.device = if args.device.is_empty() {
            vec![PlacedDevice {
                device: DeviceArg::Nvme(1),
                bridge: 0,
                unplugged: false,
            }]
        } else {
            args.device
        };
        args.bios = Some(PathBuf::from("/dev/null"));
    }
    args
}
