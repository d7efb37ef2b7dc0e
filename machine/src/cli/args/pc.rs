//! Options of the PC.

use std::str::FromStr;

use clap::Parser;

use super::common::{DeviceArg, RunArgs, parse_function, parse_size};
use super::iommu::IommuArg;
use crate::pc::load::Protocol;

/// Options of the PC.
#[derive(Clone, Debug, Parser)]
#[command(
    mut_arg("guest", |a| a.help("Guest to boot, fetched if it is not there; see `viommu guest list` [default: debian-6.12-amd64]")),
    mut_arg("kernel", |a| a.help("Kernel: bzImage (vmlinuz), vmlinux, or a multiboot kernel")),
    mut_arg("append", |a| a.help("Whole kernel command line [default: console=ttyS0 intel_iommu=on viommu.check=disk; with --interactive, viommu.shell=1 in place of the last]")),
    mut_arg("cpus", |a| a.help("Processors, 1 to 64")),
)]
pub struct PcArgs {
    /// Guest and run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Device on bus 0: nvme, virtio-blk or edu. May be given several times [default: nvme].
    /// `nvme,namespaces=N` takes N disks; `nvme,dma-bits=48` is a controller whose driver asks for addresses of 48 bits. `port` puts a
    /// device behind a root port of its own, `unit=N` under remapping unit N, `reserved=SIZE` gives it RAM that it is said to use from
    /// power-on (RMRR).
    #[arg(long, value_name = "NAME[,OPTION=VALUE]", value_parser = parse_device)]
    pub device: Vec<PcDeviceArg>,
    /// Intel VT-d: `off`, or `legacy` or `scalable` (what the unit offers; the guest chooses), then options, with commas between.
    /// first-stage or second-stage (only that one, in scalable mode), aw=39|48|57 (bits of DMA addresses), caching-mode, no-intremap,
    /// no-eim, no-posted, no-qi, no-pt, no-coherency, no-snoop, no-psi, no-esrtps, no-pmr, no-nesting, no-dirty, no-ats, no-pri,
    /// no-pasid, no-large-pages, write-buffers, adversarial (caches that use all that the rules allow), no-caches, iotlb=ENTRIES,
    /// haw=BITS, domain-bits=N, fault-records=N, units=N (1 to 8), x2apic-opt-out.
    #[arg(long, value_name = "OPTIONS", default_value = "scalable", value_parser = IommuArg::from_str)]
    pub iommu: IommuArg,
    /// Processors without x2APIC mode.
    #[arg(long)]
    pub no_x2apic: bool,
    /// Let a bzImage unpack itself in the guest (slow), as it does on a real machine.
    #[arg(long)]
    pub no_unpack: bool,
    /// How the kernel is entered: `linux` (64-bit), `pvh` or `multiboot` [default: what the kernel offers, in this order for a bzImage].
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_protocol)]
    pub entry: Option<Protocol>,
}

/// `NAME[,OPTION=VALUE]` with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcDeviceArg {
    /// The device.
    pub device: DeviceArg,
    /// Behind a root port of its own.
    pub port: bool,
    /// Number of its remapping unit.
    pub unit: usize,
    /// Bytes of RAM that it is said to use from power-on.
    pub reserved: u64,
}

fn parse_device(text: &str) -> Result<PcDeviceArg, String> {
    let (mut port, mut unit, mut reserved) = (false, 0, 0);
    let device = parse_function(text, |key, value| {
        match (key, value) {
            ("port", "") => port = true,
            ("unit", value) => {
                unit = value
                    .parse()
                    .map_err(|_| format!("unit={value}: it must be a number"))?;
            }
            ("reserved", value) => reserved = parse_size(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(PcDeviceArg {
        device,
        port,
        unit,
        reserved,
    })
}

fn parse_protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "linux" => Ok(Protocol::Linux64),
        "pvh" => Ok(Protocol::Pvh),
        "multiboot" => Ok(Protocol::Multiboot),
        _ => Err("an entry is `linux`, `pvh` or `multiboot`".to_owned()),
    }
}
