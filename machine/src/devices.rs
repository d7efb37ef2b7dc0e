//! PCI functions of a configuration, for any machine.

use viommu_devices::block::{Disk, OpenError, RawDisk, SnapshotDisk};
use viommu_devices::dma::DmaPort;
use viommu_devices::edu::Edu;
use viommu_devices::nvme::NvmeController;
use viommu_devices::pci::PciDevice;
use viommu_devices::virtio::{VirtioBlock, VirtioPci};

use crate::config::{DeviceConfig, DiskConfig, DiskMode, ResourceError};

/// Most that a snapshot holds in memory, in bytes.
const SNAPSHOT_MAX: u64 = 4 << 30;

/// The device of a configuration. `number` is unique in the machine and becomes part of its name and serial number.
///
/// # Errors
/// [`ResourceError::Disk`].
pub fn make(
    config: &DeviceConfig,
    number: u32,
    port: DmaPort,
) -> Result<Box<dyn PciDevice>, ResourceError> {
    Ok(match config {
        DeviceConfig::Nvme(disks) | DeviceConfig::NvmeOf48Bits(disks) => {
            let disks = disks.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            let (name, serial) = (format!("nvme{number}"), format!("VIOMMU-{number:04}"));
            Box::new(match config {
                DeviceConfig::NvmeOf48Bits(_) => {
                    NvmeController::of_48_bits(&name, port, disks, &serial)
                }
                _ => NvmeController::new(&name, port, disks, &serial),
            })
        }
        DeviceConfig::VirtioBlk(disk) => {
            let block = VirtioBlock::new(open(disk)?, &format!("VIOMMU-{number:04}"));
            // Without ACCESS_PLATFORM a guest would hand out real addresses, and its DMA would pass the IOMMU by.
            Box::new(VirtioPci::new(
                &format!("virtio{number}"),
                port,
                block,
                true,
            ))
        }
        DeviceConfig::Edu => Box::new(Edu::new(&format!("edu{number}"), port)),
        DeviceConfig::Unplugged(device) => return make(device, number, port),
    })
}

fn open(config: &DiskConfig) -> Result<Box<dyn Disk>, ResourceError> {
    let error = |e: OpenError| ResourceError::Disk {
        path: config.path.display().to_string(),
        reason: e.to_string(),
    };
    let read_only = config.mode != DiskMode::Writable;
    let disk: Box<dyn Disk> = Box::new(RawDisk::open(&config.path, read_only).map_err(error)?);
    Ok(match config.mode {
        DiskMode::Snapshot => Box::new(SnapshotDisk::new(disk, SNAPSHOT_MAX)),
        DiskMode::Writable | DiskMode::ReadOnly => disk,
    })
}
