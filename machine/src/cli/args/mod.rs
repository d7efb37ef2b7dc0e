//! Arguments: their syntax, and nothing of their meaning.

mod common;
mod iommu;
mod pc;
mod pseries;

use clap::{Parser, Subcommand};

pub use common::{DeviceArg, DiskArg, RunArgs, parse_size};
pub use iommu::IommuArg;
pub use pc::{PcArgs, PcDeviceArg};
pub use pseries::{BootArgs, PlacedDevice};

/// A full-system emulator whose point is the IOMMU.
#[derive(Debug, Parser)]
#[command(name = "viommu", version, about, propagate_version = true)]
#[command(after_help = "Examples:\n  \
    viommu boot pseries                    boot Debian, move data through a dynamic DMA window, check it\n  \
    viommu boot pseries --interactive      the same kernel with a shell on this terminal\n  \
    viommu boot pc                         boot Debian with Intel VT-d, move data through it, check it\n  \
    viommu guest list                      guests that can be fetched\n  \
    viommu selftest                        bare-metal check of the IOMMU, offline\n\n\
    Exit status: 0 all is well, 1 the run failed, 2 an argument or file needs mending.")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a machine and report what its IOMMU did.
    Boot {
        /// Which machine.
        #[command(subcommand)]
        platform: Platform,
    },
    /// Fetch, list and find guest kernels.
    Guest {
        /// What to do.
        #[command(subcommand)]
        action: GuestAction,
    },
    /// Print the device tree that a guest would get.
    Dt {
        /// Which machine.
        #[command(subcommand)]
        platform: TreePlatform,
    },
    /// Print the ACPI tables that a guest would get.
    Acpi {
        /// Which machine.
        #[command(subcommand)]
        platform: AcpiPlatform,
    },
    /// Run the built-in bare-metal guest: window, mapping, DMA, unmapping, fault. Needs no network and no files.
    Selftest(SelftestArgs),
    /// Print a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// Machines.
#[derive(Debug, Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "one value in the process; the second machine has as many options"
)]
pub enum Platform {
    /// POWER9 partition with an sPAPR PCI host bridge: TCE tables and dynamic DMA windows.
    #[command(after_help = "Examples:\n  \
        viommu boot pseries --guest debian-6.1 --cpus 4\n  \
        viommu boot pseries --disk data.img,snapshot --device virtio-blk\n  \
        viommu boot pseries --kernel vmlinux --initrd initrd.gz --until 'login:' --report run.json\n  \
        viommu boot pseries --append 'console=hvc0 viommu.check=disk disable_ddw'\n  \
        viommu boot pseries --ddw powervm\n  \
        viommu boot pseries --ddw windows=1,pages=64K+16M,extensions=2 --inject create:1=-1\n\n\
        A named guest reads the words of its command line that begin with viommu.:\n  \
        viommu.check=disk     read 16 MiB of the first disk, copy MiB 16-24 to 32-40, reread; the host compares\n  \
        viommu.run=PATH       run a program of the initramfs and print its status\n  \
        viommu.shell=1        a shell on the console at the end\n\n\
        With --interactive, Ctrl-A X leaves and Ctrl-A Ctrl-A sends a Ctrl-A. Otherwise Ctrl-C ends the run, with its report.\n\n\
        Exit status: 0 the guest did what it was asked to do; 1 it did not (a failed check, a panic, no --until pattern,\n\
        no instructions left, Ctrl-C); 2 an argument or file needs mending.")]
    Pseries(BootArgs),
    /// PC with PCI Express and Intel VT-d: DMA and interrupt remapping.
    #[command(after_help = "Examples:\n  \
        viommu boot pc --guest debian-6.1-amd64 --cpus 2\n  \
        viommu boot pc --iommu legacy,caching-mode --append 'console=ttyS0 intel_iommu=on,strict viommu.check=disk'\n  \
        viommu boot pc --append 'console=ttyS0 intel_iommu=on,sm_on iommu=nopt viommu.check=disk'\n  \
        viommu boot pc --iommu units=2 --device nvme,port,unit=1 --device edu\n  \
        viommu boot pc --kernel vmlinuz --initrd initrd.gz --until 'login:' --report run.json\n  \
        viommu acpi pc --iommu units=2 --cpus 4\n\n\
        A named guest reads the words of its command line that begin with viommu.:\n  \
        viommu.check=disk     read 16 MiB of the first disk, copy MiB 16-24 to 32-40, reread; the host compares\n  \
        viommu.run=PATH       run a program of the initramfs and print its status\n  \
        viommu.shell=1        a shell on the console at the end\n\n\
        With --interactive, Ctrl-A X leaves and Ctrl-A Ctrl-A sends a Ctrl-A. Otherwise Ctrl-C ends the run, with its report.\n\n\
        Exit status: 0 the guest did what it was asked to do; 1 it did not (a failed check, a panic, no --until pattern,\n\
        no instructions left, Ctrl-C); 2 an argument or file needs mending.")]
    Pc(PcArgs),
}

/// Machines with a device tree.
#[derive(Debug, Subcommand)]
pub enum TreePlatform {
    /// POWER9 partition with an sPAPR PCI host bridge; options as for `viommu boot pseries`.
    Pseries(BootArgs),
}

/// Machines with ACPI tables.
#[derive(Debug, Subcommand)]
pub enum AcpiPlatform {
    /// PC with Intel VT-d; options as for `viommu boot pc`.
    Pc(PcArgs),
}

/// Options of the self-test.
#[derive(Clone, Debug, Parser)]
pub struct SelftestArgs {
    /// Messages of the emulator on standard error.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub log: String,
}

/// What to do with guests.
#[derive(Clone, Debug, Subcommand)]
pub enum GuestAction {
    /// Download and unpack a guest.
    Fetch {
        /// Its name.
        name: String,
    },
    /// List the guests that can be fetched.
    List,
    /// Print where the kernel and the initial RAM disk of a fetched guest are.
    Path {
        /// Its name.
        name: String,
    },
}
