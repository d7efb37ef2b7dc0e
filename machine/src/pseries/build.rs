//! Puts the devices of a configuration together.

use viommu_devices::dma::{DmaPort, Gpa, SourceId};
use viommu_devices::memory::GuestRam;
use viommu_devices::spapr::MSI_WINDOW;
use viommu_devices::spapr::drc::DrcIndex;
use viommu_devices::spapr::iommu::spec::Liobn;
use viommu_devices::spapr::iommu::{Members, PeConfig, PhbTranslator, SpaprIommu};
use viommu_devices::spapr::phb::{FunctionInfo, PE_CONFIG_ADDR, Phb, PhbConfig, Window};
use viommu_devices::spapr::xics::{Trigger, Xics};
use viommu_firmware_tables::fdt::{
    self, BarDescription, BarSpace, FunctionDescription, PhbDescription, PseriesDescription,
};

use super::config::{ConfigError, MachineConfig};
use super::map;
use super::slots::Slots;
use crate::config::DeviceConfig;
use crate::devices;
use crate::observe::{Translations, Watch};

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
/// [`ConfigError::Memory`], [`ConfigError::MaxMemory`], [`crate::config::ResourceError::HostMemory`].
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
    Ok(crate::ram::map(&[(0, end)])?)
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
    translations: &Translations,
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
    let translator = translations.watch(
        iommu.for_phb(place.buid),
        Watch {
            window: PhbTranslator::window_of,
            on_fault: |_: &_| (),
        },
    );
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
        let device = devices::make(device, number, port.clone())?;
        functions.push(Function {
            name: device.name().to_owned(),
            bridge: place.index,
            port,
        });
        phb.add_device(slot << 3, device);
    }
    Ok((phb, functions))
}

/// A connector for each host bridge and each function, and the functions whose slots are to be empty taken off the bridge. Blocks of memory
/// that can be added have theirs too.
pub fn slots(
    config: &MachineConfig,
    tree: &PseriesDescription,
    phbs: &mut [Phb],
    bridges: &[(map::Bridge, &[DeviceConfig])],
) -> Slots {
    let mut slots = Slots::default();
    for ((phb, (place, devices)), described) in phbs.iter_mut().zip(bridges).zip(&tree.phbs) {
        // Functions come by connectors of their own.
        let bare = PhbDescription {
            functions: Vec::new(),
            ..described.clone()
        };
        let index = DrcIndex(map::bridge_drc(place.index));
        slots.add_bridge(index, place.index, &fdt::bridge_node(&bare));
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
