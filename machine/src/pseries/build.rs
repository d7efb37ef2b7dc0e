//! Puts the devices of a configuration together.

use std::sync::Arc;

use viommu_devices::block::{Disk, RawDisk, SnapshotDisk};
use viommu_devices::dma::{DmaPort, Gpa, SourceId};
use viommu_devices::edu::Edu;
use viommu_devices::memory::GuestRam;
use viommu_devices::nvme::NvmeController;
use viommu_devices::pci::PciDevice;
use viommu_devices::spapr::MSI_WINDOW;
use viommu_devices::spapr::drc::DrcIndex;
use viommu_devices::spapr::iommu::spec::Liobn;
use viommu_devices::spapr::iommu::{Members, PeConfig, SpaprIommu};
use viommu_devices::spapr::phb::{FunctionInfo, PE_CONFIG_ADDR, Phb, PhbConfig, Window};
use viommu_devices::spapr::xics::{Trigger, Xics};
use viommu_devices::virtio::{VirtioBlock, VirtioPci};
use viommu_firmware_tables::fdt::{
    self, BarDescription, BarSpace, FunctionDescription, PseriesDescription,
};
use vm_memory::GuestAddress;

use super::config::{ConfigError, DeviceConfig, DiskConfig, DiskMode, MachineConfig};
use super::map;
use super::slots::Slots;

/// Most that a snapshot holds in memory, in bytes.
const SNAPSHOT_MAX: u64 = 4 << 30;

/// A PCI function, for the report.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Number of its host bridge.
    pub bridge: u32,
    /// Its way to memory, whose counters it shares.
    pub port: DmaPort,
}

/// Checks sizes and maps RAM, with the place for blocks that may be added: the host gives pages of it when they are touched.
///
/// # Errors
/// [`ConfigError::Memory`], [`ConfigError::MaxMemory`], [`ConfigError::HostMemory`].
pub fn ram(config: &MachineConfig) -> Result<GuestRam, ConfigError> {
    let (memory, end) = (config.memory, config.memory_end());
    if !memory.is_multiple_of(map::MEMORY_STEP)
        || !(map::MEMORY_MIN..=map::MEMORY_MAX).contains(&memory)
    {
        return Err(ConfigError::Memory(memory));
    }
    let blocks = |size: u64| size.is_multiple_of(map::LMB_SIZE);
    if config.max_memory != 0
        && (config.max_memory < memory || !blocks(end) || !blocks(memory) || end > map::MEMORY_MAX)
    {
        return Err(ConfigError::MaxMemory {
            memory,
            max: config.max_memory,
        });
    }
    let host = |reason: String| ConfigError::HostMemory { bytes: end, reason };
    let size = usize::try_from(end).map_err(|e| host(e.to_string()))?;
    GuestRam::from_ranges(&[(GuestAddress(0), size)]).map_err(|e| host(e.to_string()))
}

/// The IOMMU with a PE for each host bridge.
///
/// # Errors
/// [`ConfigError::DeviceTree`] if the addresses of [`map`] contradict each other.
pub fn iommu(config: &MachineConfig) -> Result<SpaprIommu, ConfigError> {
    let iommu =
        SpaprIommu::with_most_memory(config.memory, config.memory_end(), config.personality);
    iommu.refuse(config.refusals.clone());
    for (place, _) in config.bridges()? {
        iommu
            .add_pe(PeConfig {
                buid: place.buid,
                config_addr: PE_CONFIG_ADDR,
                liobn: Liobn(place.liobn),
                members: Members::All,
            })
            .map_err(|e| ConfigError::DeviceTree(e.to_string()))?;
    }
    Ok(iommu)
}

/// The interrupt controller with all sources.
pub fn xics(cpus: u32, bridges: u32) -> Xics {
    let mut xics = Xics::new(cpus);
    xics.add_sources(map::VTY_IRQ, 1, Trigger::Edge);
    for place in (0..bridges).map(map::bridge) {
        xics.add_sources(place.lsi_base, 4, Trigger::Level);
        xics.add_sources(place.msi_base, map::MSI_COUNT, Trigger::Edge);
    }
    xics
}

/// A host bridge with its functions, one to a slot, and these for the report.
///
/// # Errors
/// [`ConfigError`] for a disk that cannot be opened or too many devices.
pub fn bridge(
    place: map::Bridge,
    devices: &[DeviceConfig],
    ram: &GuestRam,
    iommu: &SpaprIommu,
) -> Result<(Phb, Vec<Function>), ConfigError> {
    let window = |(gpa, pci, size)| Window {
        gpa: Gpa(gpa),
        pci,
        size,
    };
    let mut phb = Phb::new(PhbConfig {
        index: place.index,
        buid: place.buid,
        mmio32: window(place.mmio32),
        mmio64: window(place.mmio64),
        msi_window: MSI_WINDOW,
        lsi_irq_base: place.lsi_base,
        msi_irq_base: place.msi_base,
        n_msi: map::MSI_COUNT,
    });
    if devices.len() > map::SLOTS {
        return Err(ConfigError::TooManyDevices(devices.len()));
    }
    let translator = Arc::new(iommu.for_phb(place.buid));
    iommu.watch(place.buid, phb.health());
    let mut functions = Vec::new();
    for (slot, device) in (1_u8..).zip(devices) {
        let port = DmaPort::new(
            SourceId(u16::from(slot) << 3),
            translator.clone(),
            ram.clone(),
        );
        // Unique in the machine.
        let number = place.index * 100 + u32::from(slot);
        let device = make(device, number, port.clone())?;
        functions.push(Function {
            name: device.name().to_owned(),
            bridge: place.index,
            port,
        });
        phb.add_device(slot << 3, device);
    }
    Ok((phb, functions))
}

/// A connector for each function, and the functions whose slots are to be empty taken off the bridge. Blocks of memory that can be added
/// have theirs too.
pub fn slots(
    config: &MachineConfig,
    tree: &PseriesDescription,
    phbs: &mut [Phb],
    bridges: &[(map::Bridge, &[DeviceConfig])],
) -> Slots {
    let mut slots = Slots::default();
    for ((phb, (place, devices)), described) in phbs.iter_mut().zip(bridges).zip(&tree.phbs) {
        for (number, device) in (1_u8..).zip(*devices) {
            let devfn = number << 3;
            let index = DrcIndex(map::function_drc(place.index, devfn));
            let node = described.functions.iter().find(|f| f.devfn == devfn);
            let node = node.map(|f| fdt::function_node(described, f));
            let away = if matches!(device, DeviceConfig::Unplugged(_)) {
                phb.remove_device(devfn)
            } else {
                None
            };
            slots.add_function(index, place.index, devfn, node.as_ref(), away);
        }
    }
    let (boot, all) = (config.memory, config.memory_end());
    for number in boot / map::LMB_SIZE..all / map::LMB_SIZE {
        let number = number as u32;
        let index = DrcIndex(map::LMB_DRC + number);
        slots.add_block(
            index,
            u64::from(number) * map::LMB_SIZE,
            &fdt::block_node(tree, number),
        );
    }
    slots
}

fn make(
    config: &DeviceConfig,
    number: u32,
    port: DmaPort,
) -> Result<Box<dyn PciDevice>, ConfigError> {
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

fn open(config: &DiskConfig) -> Result<Box<dyn Disk>, ConfigError> {
    let error = |e: viommu_devices::block::OpenError| ConfigError::Disk {
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

/// The functions of a bridge in the words of the device tree.
pub fn describe(bridge: u32, functions: Vec<FunctionInfo>) -> Vec<FunctionDescription> {
    functions
        .into_iter()
        .map(|f| FunctionDescription {
            devfn: f.devfn,
            connector: Some(map::function_drc(bridge, f.devfn)),
            vendor: f.vendor,
            device: f.device,
            revision: f.revision,
            class: f.class,
            subsystem: (f.subsystem_vendor, f.subsystem),
            interrupt_pin: f.interrupt_pin,
            bars: f
                .bars
                .into_iter()
                .map(|b| BarDescription {
                    index: b.index,
                    space: if b.is_64bit {
                        BarSpace::Memory64
                    } else {
                        BarSpace::Memory32
                    },
                    prefetchable: b.prefetchable,
                    size: b.size,
                })
                .collect(),
            msi: f.msi_count,
            msix: f.msix_count,
        })
        .collect()
}
