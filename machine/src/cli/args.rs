//! Arguments: their syntax, and nothing of their meaning.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use viommu_cpu::engine::Engine;
use viommu_devices::spapr::iommu::rules::{Personality, Refusal};

use crate::pseries::map;

/// A full-system emulator whose point is the IOMMU.
#[derive(Debug, Parser)]
#[command(name = "viommu", version, about, propagate_version = true)]
#[command(after_help = "Examples:\n  \
    viommu boot pseries                    boot Debian, move data through a dynamic DMA window, check it\n  \
    viommu boot pseries --interactive      the same kernel with a shell on this terminal\n  \
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
        platform: Platform,
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
}

/// Options of a machine.
#[derive(Clone, Debug, Parser)]
pub struct BootArgs {
    /// Guest to boot, fetched if it is not there; see `viommu guest list` [default: debian-6.12].
    #[arg(long, value_name = "NAME", conflicts_with_all = ["kernel", "bios"])]
    pub guest: Option<String>,
    /// Kernel: ELF64, ppc64 or ppc64le.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Flat image for real address 0, entered at 0x100, big-endian; --kernel is then loaded at 4 MiB.
    #[arg(long, value_name = "FILE")]
    pub bios: Option<PathBuf>,
    /// Whole kernel command line [default: console=hvc0 viommu.check=disk; with --interactive, console=hvc0 viommu.shell=1].
    #[arg(long, value_name = "LINE")]
    pub append: Option<String>,
    /// RAM: a number with K, M, G or T; bytes without.
    #[arg(long, short = 'm', value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    pub memory: u64,
    /// RAM that the guest may grow to by adding blocks of 256M (`echo 'memory add count 1' > /sys/kernel/dlpar`): a number as for
    /// --memory; both are then multiples of 256M [default: no more than --memory].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_memory: Option<u64>,
    /// vCPUs, 1 to 8.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cpus: u32,
    /// Raw disk image, for the next block device that has none. May be given several times [default: a fresh 64 MiB image].
    #[arg(long, value_name = "FILE[,ro|,snapshot]", value_parser = parse_disk)]
    pub disk: Vec<DiskArg>,
    /// Device behind the host bridge: nvme, virtio-blk or edu. May be given several times [default: nvme].
    /// `nvme,namespaces=N` takes N disks; `nvme,dma-bits=48` is a controller whose driver asks for addresses of 48 bits. `bridge=N`
    /// puts a device behind host bridge N, 0 to 3: each bridge has windows and errors of its own. `unplugged` leaves its slot empty until
    /// the guest takes the device by its connector (`ibm,drc-indexes`).
    #[arg(long, value_name = "NAME[,OPTION=VALUE]", value_parser = parse_device)]
    pub device: Vec<PlacedDevice>,
    /// How calls for DMA windows are answered: `kvm`, `powervm` or `qemu-compat`, then or instead options, with commas between:
    /// windows=N, pages=SIZE+SIZE, block=TCES, migration=MASK, default-base=ADDRESS, default-size=SIZE, extensions=0..3, eeh=on|off.
    #[arg(long, value_name = "PERSONALITY", default_value = "kvm", value_parser = Personality::from_str)]
    pub ddw: Personality,
    /// Refuse calls: query, create, remove, reset (RTAS), put, get, indirect or stuff (hypercalls). `create:1=-1` gives the first create
    /// status -1, `create:1-3=9901` says busy three times, `put:100-=-44` refuses from the hundredth on. May be given several times.
    #[arg(long, value_name = "CALL:N=STATUS", value_parser = Refusal::from_str, conflicts_with = "no_ddw")]
    pub inject: Vec<Refusal>,
    /// Do not offer dynamic DMA windows to the guest.
    #[arg(long)]
    pub no_ddw: bool,
    /// Do not offer H_PUT_TCE_INDIRECT and H_STUFF_TCE to the guest.
    #[arg(long)]
    pub no_multitce: bool,
    /// Connect this terminal to the guest's console; Ctrl-A X leaves.
    #[arg(long, short = 'i')]
    pub interactive: bool,
    /// End well as soon as a console line contains this; any other end is a failure.
    #[arg(long, value_name = "PATTERN")]
    pub until: Option<String>,
    /// End after this many instructions, reboots included (a failure).
    #[arg(long, value_name = "N", value_parser = parse_size)]
    pub max_instructions: Option<u64>,
    /// Start again when the guest reboots (otherwise the run ends).
    #[arg(long)]
    pub reboot: bool,
    /// How the CPU runs: `compiled` (hot code is compiled where the host allows it), `interpreter`, or `verify` (both, compared: slow).
    /// The guest sees no difference.
    #[arg(long, value_name = "ENGINE", env = "VIOMMU_ENGINE", default_value = "compiled", value_parser = parse_engine)]
    pub engine: Engine,
    /// Report where instructions are executed (one of 10007 is noted), by function, and what the CPU's engine did.
    #[arg(long)]
    pub profile: bool,
    /// Names of functions for --profile, as System.map or /proc/kallsyms has them [default: the symbol table of the kernel's ELF file].
    #[arg(long, value_name = "FILE", requires = "profile")]
    pub symbols: Option<PathBuf>,
    /// Messages of the emulator on standard error: error, warn, info, debug or trace, or `MODULE=LEVEL`, separated by commas.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub log: String,
    /// Write the report as JSON too; docs/report.md explains its keys.
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
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

/// `FILE[,ro|,snapshot]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArg {
    /// The image.
    pub path: PathBuf,
    /// `,ro` was given.
    pub read_only: bool,
    /// `,snapshot` was given.
    pub snapshot: bool,
}

/// `NAME[,OPTION=VALUE]` with its host bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedDevice {
    /// The device.
    pub device: DeviceArg,
    /// Number of its host bridge.
    pub bridge: u32,
    /// Not there until the guest takes it.
    pub unplugged: bool,
}

/// A device of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceArg {
    /// An NVMe controller with this many namespaces.
    Nvme(u32),
    /// The same with DMA addresses of 48 bits.
    NvmeOf48Bits(u32),
    /// A virtio block device.
    VirtioBlk,
    /// The educational device.
    Edu,
}

/// Parses a number with an optional binary unit.
///
/// # Errors
/// What is wrong, in words.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.trim_end_matches("iB").char_indices().last() {
        Some((at, c)) if c.is_ascii_alphabetic() => {
            let shift = match c.to_ascii_uppercase() {
                'K' => 10,
                'M' => 20,
                'G' => 30,
                'T' => 40,
                _ => return Err(format!("unknown unit '{c}' (use K, M, G or T)")),
            };
            (&text[..at], shift)
        }
        _ => (text, 0),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("'{text}' is not a number with K, M, G or T"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} is too large"))
}

fn parse_disk(text: &str) -> Result<DiskArg, String> {
    let mut parts = text.split(',');
    let path = parts.next().unwrap_or_default();
    if path.is_empty() {
        return Err("a file name is missing".into());
    }
    let mut disk = DiskArg {
        path: path.into(),
        read_only: false,
        snapshot: false,
    };
    for option in parts {
        match option {
            "ro" => disk.read_only = true,
            "snapshot" => disk.snapshot = true,
            other => {
                return Err(format!(
                    "unknown disk option '{other}' (use ro or snapshot)"
                ));
            }
        }
    }
    if disk.read_only && disk.snapshot {
        return Err("ro and snapshot exclude each other".into());
    }
    Ok(disk)
}

fn parse_engine(text: &str) -> Result<Engine, String> {
    match text {
        "compiled" => Ok(Engine::Compiled),
        "interpreter" => Ok(Engine::Interpreter),
        "verify" => Ok(Engine::Verify),
        _ => Err("an engine is `compiled`, `interpreter` or `verify`".to_owned()),
    }
}

fn parse_device(text: &str) -> Result<PlacedDevice, String> {
    let (mut bridge, mut unplugged) = (0, false);
    let (name, options) = text.split_once(',').unwrap_or((text, ""));
    let mut device = match name {
        "nvme" => DeviceArg::Nvme(1),
        "virtio-blk" => DeviceArg::VirtioBlk,
        "edu" => DeviceArg::Edu,
        other => {
            return Err(format!(
                "unknown device '{other}' (use nvme, virtio-blk or edu)"
            ));
        }
    };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match (&mut device, option.split_once('=')) {
            (_, Some(("bridge", value))) => {
                bridge = value
                    .parse()
                    .ok()
                    .filter(|n| *n < map::BRIDGES_MAX)
                    .ok_or_else(|| format!("bridge={value}: it must be 0 to 3"))?;
            }
            (_, None) if option == "unplugged" => unplugged = true,
            (DeviceArg::Nvme(n), Some(("dma-bits", "48"))) => {
                device = DeviceArg::NvmeOf48Bits(*n);
            }
            (DeviceArg::Nvme(n) | DeviceArg::NvmeOf48Bits(n), Some(("namespaces", value))) => {
                *n = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=16).contains(n))
                    .ok_or_else(|| format!("namespaces={value}: it must be 1 to 16"))?;
            }
            _ => return Err(format!("unknown option '{option}' of device {name}")),
        }
    }
    Ok(PlacedDevice {
        device,
        bridge,
        unplugged,
    })
}
