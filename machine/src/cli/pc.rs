//! `viommu boot pc` and `viommu acpi pc`: from options to a machine.

use viommu_cpu::engine::EngineStats;
use viommu_firmware_tables::acpi;

use super::args::{DeviceArg, PcArgs, PcDeviceArg};
use super::boot::{Plan, SAMPLE_EVERY};
use super::images::{self, Disks, Images};
use super::session::{Bootable, Outcome};
use super::{Failure, boot, check, output};
use crate::config::{End, OnReboot};
use crate::guest::catalogue::Arch;
use crate::host::Host;
use crate::observe::Report;
use crate::observe::profile::{Profile, Symbols};
use crate::observe::report::Check;
use crate::pc::{Boot, Machine, PcConfig, PcDevice};

/// Words of the command line for the console and the remapping units.
const CONSOLE: &str = "console=ttyS0 intel_iommu=on";

/// Boots, runs, checks and reports.
///
/// # Errors
/// A user's mistake, or a run that did not end as it should.
pub fn run(args: &PcArgs) -> Result<(), Failure> {
    boot::boot::<Machine>(&args.run, || plan(args))
}

/// Prints the ACPI tables that the machine of these options hands to its guest. No kernel is read and no disk opened.
///
/// # Errors
/// A user's mistake, or standard output's.
pub fn print_tables(args: &PcArgs) -> Result<(), Failure> {
    let none = Images {
        name: String::new(),
        kernel: None,
        initrd: None,
    };
    let mut placed = args.device.clone();
    let taken: usize = placed.iter().map(|d| d.device.disks()).sum();
    if placed.is_empty() || args.run.disk.len() > taken {
        placed.push(default_device());
    }
    // Disks do not show in tables.
    let devices = placed.iter().map(|d| PcDeviceArg {
        device: DeviceArg::Edu,
        ..*d
    });
    let devices: Vec<_> = devices.collect();
    let config = config(args, none, place(&devices, &mut std::iter::empty())?, true);
    let boot = Boot::of(&config).map_err(Failure::user)?;
    output::put(&acpi::text::print(&boot.tables))
}

/// The machine that the options describe.
///
/// # Errors
/// What the user has to mend.
pub fn plan(args: &PcArgs) -> Result<Plan<PcConfig>, Failure> {
    let own = args.run.kernel.is_some();
    let images = Images::read(&args.run, Arch::Amd64, own)?;
    let placed: Vec<_> = args.device.iter().map(|d| d.device).collect();
    let disks = Disks::of(&args.run, &placed, own)?;
    let mut left = disks.configs();
    let mut devices = place(&args.device, &mut left)?;
    // Disks that are left go to an NVMe controller of their own.
    let left: Vec<_> = left.collect();
    if !left.is_empty() {
        devices.push(crate::config::DeviceConfig::Nvme(left).into());
    }
    let config = config(args, images, devices, own);
    Ok(Plan { config, disks })
}

fn default_device() -> PcDeviceArg {
    PcDeviceArg {
        device: DeviceArg::Nvme(1),
        port: false,
        unit: 0,
        reserved: 0,
    }
}

/// Gives the disks to the block devices in order.
fn place(
    devices: &[PcDeviceArg],
    disks: &mut impl Iterator<Item = crate::config::DiskConfig>,
) -> Result<Vec<PcDevice>, Failure> {
    let place = |d: &PcDeviceArg| {
        Ok(PcDevice {
            device: images::device(d.device, disks)?,
            behind_port: d.port,
            unit: d.unit,
            reserved: d.reserved,
        })
    };
    devices.iter().map(place).collect()
}

fn config(args: &PcArgs, images: Images, devices: Vec<PcDevice>, own: bool) -> PcConfig {
    let run = &args.run;
    PcConfig {
        memory: run.memory,
        cpus: run.cpus,
        kernel: images.kernel,
        kernel_name: images.name,
        initrd: images.initrd,
        append: images::append(run, own, CONSOLE),
        unpack: !args.no_unpack,
        protocol: args.entry,
        devices,
        units: args.iommu.units.clone(),
        x2apic: !args.no_x2apic,
        x2apic_opt_out: args.iommu.x2apic_opt_out,
        until: run.until.clone(),
        max_instructions: run.max_instructions,
        on_reboot: if run.reboot {
            OnReboot::Restart
        } else {
            OnReboot::End
        },
        engine: run.engine,
        sample_every: if run.profile { SAMPLE_EVERY } else { 0 },
    }
}

impl Bootable for Machine {
    type Config = PcConfig;

    fn take_images(config: &mut PcConfig) -> PcConfig {
        config.take_images()
    }

    fn build(mut config: PcConfig, max_instructions: Option<u64>) -> Result<Self, Failure> {
        config.max_instructions = max_instructions;
        Machine::new(config).map_err(Failure::user)
    }

    fn append(config: &PcConfig) -> &str {
        &config.append
    }

    fn kernel(config: &PcConfig) -> Option<&[u8]> {
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

    /// A kernel that was told to use the units has its disk's DMA translated and its interrupts remapped.
    fn checks(config: &PcConfig, outcome: &Outcome) -> Vec<Check> {
        let asked = |word: &str| {
            config
                .append
                .split_whitespace()
                .any(|w| w.starts_with(word))
        };
        let mut checks = Vec::new();
        let on = asked("intel_iommu=on") && !asked("intel_iommu=off");
        if config.units.is_empty() || !on {
            return checks;
        }
        if !asked("iommu=pt") && !asked("iommu.passthrough=1") {
            checks.push(check::translated(&outcome.report));
        }
        if config.units.iter().all(|u| u.interrupt_remapping)
            && !asked("intremap=off")
            && !asked("nointremap")
        {
            checks.push(check::remapped(&outcome.report));
        }
        checks
    }
}
