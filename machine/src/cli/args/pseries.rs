//! Options of the pseries machine.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use viommu_devices::spapr::iommu::rules::{Personality, Refusal};

use super::common::{DeviceArg, RunArgs, parse_function, parse_size};
use crate::pseries::map;

/// Options of the pseries machine.
#[derive(Clone, Debug, Parser)]
#[command(
    mut_arg("guest", |a| a.help("Guest to boot, fetched if it is not there; see `viommu guest list` [default: debian-6.12]")),
    mut_arg("kernel", |a| a.help("Kernel: ELF64, ppc64 or ppc64le")),
    mut_arg("append", |a| a.help("Whole kernel command line [default: console=hvc0 viommu.check=disk; with --interactive, console=hvc0 viommu.shell=1]")),
    mut_arg("cpus", |a| a.help("vCPUs, 1 to 8")),
)]
pub struct BootArgs {
    /// Guest and run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Flat image for real address 0, entered at 0x100, big-endian; --kernel is then loaded at 4 MiB.
    #[arg(long, value_name = "FILE", conflicts_with = "guest")]
    pub bios: Option<PathBuf>,
    /// RAM that the guest may grow to by adding blocks of 256M (`echo 'memory add count 1' > /sys/kernel/dlpar`): a number as for
    /// --memory; both are then multiples of 256M [default: no more than --memory].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_memory: Option<u64>,
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

fn parse_device(text: &str) -> Result<PlacedDevice, String> {
    let (mut bridge, mut unplugged) = (0, false);
    let device = parse_function(text, |key, value| {
        match (key, value) {
            ("bridge", value) => {
                bridge = value
                    .parse()
                    .ok()
                    .filter(|n| *n < map::BRIDGES_MAX)
                    .ok_or_else(|| format!("bridge={value}: it must be 0 to 3"))?;
            }
            ("unplugged", "") => unplugged = true,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(PlacedDevice {
        device,
        bridge,
        unplugged,
    })
}
