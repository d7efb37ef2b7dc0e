//! The machine in the words of its ACPI tables.

use viommu_firmware_tables::acpi::dmar::{Atsr, Dmar, Drhd, Rmrr, Scope, ScopeKind, Structure};
use viommu_firmware_tables::acpi::{
    self, Bridge, BuildError, Description, Hpet, Image, IoApic, Override, Power, Serial,
};

use super::config::PcConfig;
use super::map;
use super::slots::Slot;

/// The tables, for memory.
///
/// # Errors
/// A configuration that tables cannot say.
pub fn build(config: &PcConfig, slots: &[Slot]) -> Result<Image, BuildError> {
    acpi::build(&describe(config, slots), map::ACPI.0, map::ACPI_NVS.0)
}

/// The machine.
pub fn describe(config: &PcConfig, slots: &[Slot]) -> Description {
    let (first, last) = (map::MMIO32.0, map::MMIO32.1 - 1);
    let (first64, end64) = map::mmio64(config.memory);
    Description {
        cpus: (0..config.cpus).collect(),
        x2apic: false,
        local_apic: map::LOCAL_APIC as u32,
        io_apics: vec![IoApic {
            id: map::IO_APIC_ID,
            address: map::IO_APIC as u32,
            gsi_base: 0,
        }],
        overrides: vec![
            Override {
                irq: 0,
                gsi: map::TIMER_GSI,
                level: false,
                active_low: false,
            },
            Override {
                irq: map::SCI,
                gsi: map::SCI.into(),
                level: true,
                active_low: false,
            },
        ],
        power: Power {
            sci: map::SCI,
            pm1a_event: map::PM1A_EVENT,
            pm1a_control: map::PM1A_CONTROL,
            pm_timer: map::PM_TIMER,
            wide_timer: true,
            soft_off: map::SOFT_OFF,
            reset: map::RESET,
        },
        hpet: Some(Hpet {
            address: map::HPET,
            number: 0,
            capabilities: map::HPET_CAPABILITIES,
            minimum_tick: map::HPET_MINIMUM_TICK,
        }),
        bridges: vec![Bridge {
            segment: 0,
            buses: (0, map::LAST_BUS),
            ecam: map::ECAM,
            io: vec![(0, 0xcf7), (0xd00, 0xffff)],
            memory: vec![(first, last), (first64, end64 - 1)],
            interrupts: map::PCI_GSI,
        }],
        serial: Some(Serial {
            port: map::COM1,
            irq: map::COM1_IRQ,
        }),
        rtc: true,
        dmar: dmar(config, slots),
    }
}

/// Units with scopes of their own come first: the one that covers the rest must be the last of its segment. VT-d 4.1 §8.3.
fn dmar(config: &PcConfig, slots: &[Slot]) -> Option<Dmar> {
    let width = config.units.iter().map(|u| u.host_address_width).min()?;
    let others = (1..config.units.len()).map(|index| drhd(index, slots));
    let mut structures: Vec<_> = others.chain([drhd(0, slots)]).collect();
    structures.extend(slots.iter().filter_map(rmrr));
    let device_tlbs = config.units.iter().any(|u| u.device_tlb);
    if device_tlbs && slots.iter().any(|s| s.bus.is_some()) {
        structures.push(Structure::Atsr(Atsr {
            all_ports: true,
            segment: 0,
            scopes: Vec::new(),
        }));
    }
    Some(Dmar {
        host_address_width: width as u16,
        interrupt_remapping: config.units.iter().all(|u| u.interrupt_remapping),
        x2apic_opt_out: config.x2apic_opt_out,
        dma_control_opt_in: false,
        structures,
    })
}

fn drhd(index: usize, slots: &[Slot]) -> Structure {
    let scopes = if index == 0 {
        let message =
            |kind, id, (bus, device, function)| Scope::new(kind, id, bus, device, function);
        vec![
            message(ScopeKind::IoApic, map::IO_APIC_ID, map::IO_APIC_SOURCE),
            message(ScopeKind::Hpet, 0, map::HPET_SOURCE),
        ]
    } else {
        let own = slots.iter().filter(|s| s.unit == index);
        own.map(|slot| {
            let kind = match slot.bus {
                Some(_) => ScopeKind::Bridge,
                None => ScopeKind::Endpoint,
            };
            Scope::new(kind, 0, 0, slot.devfn >> 3, slot.devfn & 7)
        })
        .collect()
    };
    Structure::Drhd(Drhd {
        include_pci_all: index == 0,
        size: 0,
        segment: 0,
        address: map::unit(index),
        scopes,
    })
}

fn rmrr(slot: &Slot) -> Option<Structure> {
    let (base, end) = slot.reserved?;
    let mut path = vec![(slot.devfn >> 3, slot.devfn & 7)];
    path.extend(slot.bus.map(|_| (0, 0)));
    Some(Structure::Rmrr(Rmrr {
        segment: 0,
        base,
        limit: end - 1,
        scopes: vec![Scope {
            path,
            ..Scope::new(ScopeKind::Endpoint, 0, 0, 0, 0)
        }],
    }))
}
