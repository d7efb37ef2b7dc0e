//! `viommu boot pseries` and `viommu dt pseries`: from options to a machine.

use std::path::PathBuf;

use viommu_cpu::engine::EngineStats;
use viommu_devices::spapr::iommu::rules::Personality;
use viommu_firmware_tables::fdt;

use super::args::{BootArgs, DeviceArg, PlacedDevice};
use super::boot::{Plan, SAMPLE_EVERY};
use super::images::{self, Disks, Images};
use super::session::{Bootable, Outcome};
use super::{Failure, boot, check, output};
use crate::config::{DeviceConfig, End, OnReboot};
use crate::guest::catalogue::Arch;
use crate::host::Host;
use crate::observe::Report;
use crate::observe::profile::{Profile, Symbols};
use crate::observe::report::Check;
use crate::pseries::{Features, Machine, MachineConfig};

/// Word of the command line for the console.
const CONSOLE: &str = "console=hvc0";

/// Boots, runs, checks and reports.
///
/// # Errors
/// A user's mistake, or a run that did not end as it should.
pub fn run(args: &BootArgs) -> Result<(), Failure> {
    boot::boot::<Machine>(&args.run, || plan(args))
}

/// Prints the tree that the machine of these options hands to its guest. Without a kernel, none is loaded.
///
/// # Errors
/// A user's mistake, or standard output's.
pub fn print_tree(args: &BootArgs) -> Result<(), Failure> {
    let plan = plan(&without_guest(args))?;
    let machine = Machine::new(plan.config).map_err(Failure::user)?;
    let text = fdt::to_dts(machine.dtb()).map_err(Failure::run)?;
    output::put(&text)
}

/// The machine that the options describe.
///
/// # Errors
/// What the user has to mend.
pub fn plan(args: &BootArgs) -> Result<Plan<MachineConfig>, Failure> {
    let run = &args.run;
    let own = run.kernel.is_some() || args.bios.is_some();
    let guest = Images::read(run, Arch::Ppc64el, own)?;
    let bios = args.bios.as_ref().map(|p| images::read("bios", p));
    let placed: Vec<_> = args.device.iter().map(|d| d.device).collect();
    let disks = Disks::of(run, &placed, own)?;
    let mut bridges = devices(&args.device, &disks)?.into_iter();
    let config = MachineConfig {
        memory: run.memory,
        max_memory: args.max_memory.unwrap_or(0),
        cpus: run.cpus,
        kernel: guest.kernel,
        initrd: guest.initrd,
        bios: bios.transpose()?,
        append: images::append(run, own, CONSOLE),
        devices: bridges.next().unwrap_or_default(),
        more_bridges: bridges.collect(),
        features: Features {
            multi_tce: !args.no_multitce,
            ddw: !args.no_ddw,
            eeh: args.ddw.eeh,
        },
        personality: args.ddw,
        refusals: args.inject.clone(),
        until: run.until.clone(),
        max_instructions: run.max_instructions,
        on_reboot: if run.reboot {
            OnReboot::Restart
        } else {
            OnReboot::End
        },
        engine: run.engine,
        sample_every: if run.profile { SAMPLE_EVERY } else { 0 },
    };
    Ok(Plan { config, disks })
}

/// Devices by host bridge. Gives the disks to the block devices in order; disks that are left go to an NVMe controller of their own on
/// the first bridge.
fn devices(devices: &[PlacedDevice], disks: &Disks) -> Result<Vec<Vec<DeviceConfig>>, Failure> {
    let mut disks = disks.configs();
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
        let made = images::device(*device, &mut disks)?;
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

/// A guest gets a dynamic window for sure: nothing forbids it, and the rules are a real platform's.
fn expects_window(config: &MachineConfig) -> bool {
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

/// For commands that only look at the machine: a guest of the catalogue is not fetched, nothing is executed.
fn without_guest(args: &BootArgs) -> BootArgs {
    let mut args = args.clone();
    if args.run.kernel.is_none() && args.bios.is_none() {
        args.run.append = Some(images::append(&args.run, false, CONSOLE));
        if args.device.is_empty() {
            args.device = vec![PlacedDevice {
                device: DeviceArg::Nvme(1),
                bridge: 0,
                unplugged: false,
            }];
        }
        args.bios = Some(PathBuf::from("/dev/null"));
    }
    args
}

impl Bootable for Machine {
    type Config = MachineConfig;

    fn take_images(config: &mut MachineConfig) -> MachineConfig {
        config.take_images()
    }

    fn build(mut config: MachineConfig, max_instructions: Option<u64>) -> Result<Self, Failure> {
        config.max_instructions = max_instructions;
        Machine::new(config).map_err(Failure::user)
    }

    fn append(config: &MachineConfig) -> &str {
        &config.append
    }

    fn kernel(config: &MachineConfig) -> Option<&[u8]> {
        config.kernel.as_deref()
    }

    fn run(&mut self, host: &mut dyn Host) -> End {
        Machine::run(self, host)
    }

    fn report(&self, end: &End) -> Report {
        Machine::report(self, end)
    }

    fn profile(&self, symbols: &Symbols) -> Profile {
        Profile::of(
            self.cpus(),
            SAMPLE_EVERY,
            symbols,
            self.platform().counters.exits,
        )
    }

    fn engine_stats(&self) -> EngineStats {
        Machine::engine_stats(self)
    }

    fn log(&self) -> &str {
        self.platform().console.log()
    }

    fn checks(config: &MachineConfig, outcome: &Outcome) -> Vec<Check> {
        if expects_window(config) {
            vec![check::window(&outcome.log)]
        } else {
            Vec::new()
        }
    }
}
