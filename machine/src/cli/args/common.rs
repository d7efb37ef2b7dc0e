//! What machines have in common: the guest, the run, disks and devices.

use std::path::PathBuf;

use clap::Parser;
use viommu_cpu::engine::Engine;

/// Options of every machine.
#[derive(Clone, Debug, Parser)]
pub struct RunArgs {
    /// Guest to boot, fetched if it is not there; see `viommu guest list`.
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    pub guest: Option<String>,
    /// Kernel.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Whole kernel command line.
    #[arg(long, value_name = "LINE")]
    pub append: Option<String>,
    /// RAM: a number with K, M, G or T; bytes without.
    #[arg(long, short = 'm', value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    pub memory: u64,
    /// vCPUs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cpus: u32,
    /// Raw disk image, for the next block device that has none. May be given several times [default: a fresh 64 MiB image].
    #[arg(long, value_name = "FILE[,ro|,snapshot]", value_parser = parse_disk)]
    pub disk: Vec<DiskArg>,
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

impl DeviceArg {
    /// How many disks it takes.
    pub fn disks(self) -> usize {
        match self {
            DeviceArg::Nvme(n) | DeviceArg::NvmeOf48Bits(n) => n as usize,
            DeviceArg::VirtioBlk => 1,
            DeviceArg::Edu => 0,
        }
    }
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

pub(super) fn parse_disk(text: &str) -> Result<DiskArg, String> {
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

/// Parses `NAME[,OPTION]`. `more` takes the options of a machine, as a name and a value (empty without one): true if it knows the option.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn parse_function(
    text: &str,
    mut more: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<DeviceArg, String> {
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
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match (&mut device, key, value) {
            (DeviceArg::Nvme(n), "dma-bits", "48") => device = DeviceArg::NvmeOf48Bits(*n),
            (DeviceArg::Nvme(n) | DeviceArg::NvmeOf48Bits(n), "namespaces", _) => {
                *n = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=16).contains(n))
                    .ok_or_else(|| format!("namespaces={value}: it must be 1 to 16"))?;
            }
            _ if more(key, value)? => {}
            _ => return Err(format!("unknown option '{option}' of device {name}")),
        }
    }
    Ok(device)
}
