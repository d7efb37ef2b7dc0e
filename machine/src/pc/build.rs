//! Puts the devices of a configuration together.

use std::sync::Arc;

use viommu_devices::dma::{DmaPort, Identity, SourceId, Translator};
use viommu_devices::edu::Edu;
use viommu_devices::memory::GuestRam;
use viommu_devices::pci::bridge::RootPort;
use viommu_devices::pci::host::{HostConfig, PcHost, Place, Window};
use viommu_devices::pci::requester::Requester;
use viommu_devices::vtd::Vtd;

use super::config::{ConfigError, PcConfig};
use super::faults::Faults;
use super::map;
use super::platform::Function;
use super::slots::Slot;
use crate::config::DeviceConfig;
use crate::devices;
use crate::observe::{Translations, Watch};

/// RAM below the hole and above it.
///
/// # Errors
/// The host does not give it.
pub fn ram(memory: u64) -> Result<GuestRam, ConfigError> {
    let (low, high) = map::split(memory);
    Ok(crate::ram::map(&[(0, low), (map::HIGH_RAM, high)])?)
}

/// The remapping units.
///
/// # Errors
/// One contradicts itself.
pub fn units(config: &PcConfig, ram: &GuestRam) -> Result<Vec<Vtd>, ConfigError> {
    let units = (0..).zip(&config.units).map(|(index, unit)| {
        Vtd::new(unit.clone(), ram.clone()).map_err(|e| ConfigError::Unit {
            index,
            reason: e.to_string(),
        })
    });
    units.collect()
}

/// The host bridge with its functions set up as firmware leaves them, and these for messages and the report.
///
/// # Errors
/// A disk that cannot be opened, or no room for the devices' registers.
pub fn pci(
    config: &PcConfig,
    slots: &[Slot],
    ram: &GuestRam,
    units: &[Vtd],
    faults: &Faults,
    translations: &Translations,
) -> Result<(PcHost, Vec<Function>), ConfigError> {
    let window = |(start, end): (u64, u64)| Window {
        start,
        size: end - start,
    };
    let mut host = PcHost::new(HostConfig {
        ecam: window((map::ECAM, map::ECAM + map::ECAM_SIZE)),
        memory32: window(map::MMIO32),
        memory64: window(map::mmio64(config.memory)),
        irqs: map::PCI_GSI.map(|gsi| gsi as u8),
    });
    let translators: Vec<Arc<dyn Translator>> = (0..)
        .zip(units)
        .map(|(index, unit)| {
            let faults = faults.clone();
            let watch = Watch {
                window: |_: &Vtd, _: &_| None,
                on_fault: move |fault: &_| faults.request(index, fault),
            };
            translations.watch(unit.clone(), watch)
        })
        .collect();
    let mut functions = Vec::new();
    for (number, (device, slot)) in (1_u32..).zip(config.devices.iter().zip(slots)) {
        let requester = Requester::new(SourceId(slot.source()));
        let translator = match translators.get(slot.unit) {
            Some(unit) => requester.through(unit.clone()),
            None => Arc::new(Identity),
        };
        let port = DmaPort::new(requester.id(), translator, ram.clone());
        let made = match device.device {
            // With what a PC's remapping units can do for a device.
            DeviceConfig::Edu => {
                let integrated = slot.bus.is_none();
                let name = format!("edu{number}");
                Box::new(Edu::with_services(&name, port.clone(), integrated))
            }
            _ => devices::make(&device.device, number, port.clone())?,
        };
        functions.push(Function {
            name: made.name().to_owned(),
            requester: requester.clone(),
            unit: slot.unit,
            port,
        });
        let place = match slot.bus {
            Some(_) => {
                let name = format!("port{number}");
                host.add_port(slot.devfn, RootPort::new(&name, number as u16));
                Place {
                    port: Some(slot.devfn),
                    devfn: 0,
                }
            }
            None => Place {
                port: None,
                devfn: slot.devfn,
            },
        };
        host.add_device(place, made, requester);
    }
    host.assign().map_err(ConfigError::Pci)?;
    Ok((host, functions))
}
