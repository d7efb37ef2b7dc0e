//! The DSDT: host bridges, motherboard resources, ISA devices, processors, soft-off. ACPI 6.5 §5.2.11.1, AML in §20.

use acpi_tables::Aml;
use acpi_tables::AmlSink;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Else, Equal,
    IO, If, Interrupt, Memory32Fixed, Method, Name, Or, Package, PackageBuilder, Path,
    ResourceTemplate, Return, Scope, Uuid,
};

use super::fixed::bytes;
use super::{Bridge, BuildError, Description, Power, sdt};

/// Most host bridges: their names have two digits.
const BRIDGES_MAX: usize = 256;
/// Most processors: their names have three digits.
const CPUS_MAX: usize = 4096;

/// AML that is there already.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// The whole table.
pub(super) fn write(d: &Description) -> Result<Vec<u8>, BuildError> {
    if d.bridges.len() > BRIDGES_MAX || d.cpus.len() > CPUS_MAX {
        return Err(BuildError("more than 256 host bridges or 4096 processors"));
    }
    let mut body = soft_off(&d.power);
    let mut system = Vec::new();
    for (index, bridge) in d.bridges.iter().enumerate() {
        system.extend(host_bridge(index, bridge)?);
    }
    system.extend(motherboard(d)?);
    isa(d, &mut system);
    for uid in 0..d.cpus.len() {
        system.extend(bytes(&Device::new(
            Path::new(&format!("C{uid:03X}")),
            vec![
                &Name::new(Path::new("_HID"), &"ACPI0007"),
                &Name::new(Path::new("_UID"), &(uid as u32)),
            ],
        )));
    }
    body.extend(Scope::raw(Path::new("\\_SB_"), system));
    Ok(sdt(*b"DSDT", 2, &body))
}

/// What PM1a_CNT takes for soft-off. ACPI 6.5 §7.4.2.
fn soft_off(power: &Power) -> Vec<u8> {
    let (a, b, zero) = (power.soft_off & 7, 0u8, 0u8);
    bytes(&Name::new(
        Path::new("_S5_"),
        &Package::new(vec![&a, &b, &zero, &zero]),
    ))
}

/// First and last address of the configuration space of a bridge's buses.
fn ecam(bridge: &Bridge) -> Result<(u64, u64), BuildError> {
    let bad = BuildError("a host bridge's buses or configuration space are out of order");
    let (first, last) = bridge.buses;
    if first > last {
        return Err(bad);
    }
    let at = |bus: u64| bridge.ecam.checked_add(bus << 20).ok_or(bad);
    Ok((at(first.into())?, at(u64::from(last) + 1)? - 1))
}

fn memory(first: u64, last: u64, producer: &mut Vec<Box<dyn Aml>>) -> Result<(), BuildError> {
    // A length of 2^64 cannot be said.
    if first > last || (first, last) == (0, u64::MAX) {
        return Err(BuildError("a memory window is empty or endless"));
    }
    let cacheable = AddressSpaceCacheable::NotCacheable;
    match (u32::try_from(first), u32::try_from(last)) {
        (Ok(first), Ok(last)) if (first, last) != (0, u32::MAX) => producer.push(Box::new(
            AddressSpace::new_memory(cacheable, true, first, last, None),
        )),
        _ => producer.push(Box::new(AddressSpace::new_memory(
            cacheable, true, first, last, None,
        ))),
    }
    Ok(())
}

fn template(resources: &[Box<dyn Aml>]) -> Raw {
    Raw(bytes(&ResourceTemplate::new(
        resources.iter().map(AsRef::as_ref).collect(),
    )))
}

/// PCI Firmware Specification 3.3 §4.5, ACPI 6.5 §6.2.13 (_PRT).
fn host_bridge(index: usize, bridge: &Bridge) -> Result<Vec<u8>, BuildError> {
    ecam(bridge)?;
    let (first, last) = (u16::from(bridge.buses.0), u16::from(bridge.buses.1));
    let mut windows: Vec<Box<dyn Aml>> = vec![Box::new(AddressSpace::new_bus_number(first, last))];
    if bridge.segment == 0 && first == 0 {
        // Configuration by ports 0xcf8 and 0xcfc is the bridge's own.
        windows.push(Box::new(IO::new(0xcf8, 0xcf8, 1, 8)));
    }
    for &(first, last) in &bridge.io {
        if first > last || (first, last) == (0, u16::MAX) {
            return Err(BuildError("a port window is empty or endless"));
        }
        windows.push(Box::new(AddressSpace::new_io(first, last, None)));
    }
    for &(first, last) in &bridge.memory {
        memory(first, last, &mut windows)?;
    }
    Ok(bytes(&Device::new(
        Path::new(&format!("PC{index:02X}")),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0A08")),
            &Name::new(Path::new("_CID"), &EISAName::new("PNP0A03")),
            &Name::new(Path::new("_UID"), &(index as u32)),
            &Name::new(Path::new("_SEG"), &bridge.segment),
            &Name::new(Path::new("_BBN"), &bridge.buses.0),
            &Name::new(Path::new("_CRS"), &template(&windows)),
            &Name::new(Path::new("_PRT"), &routing(bridge)),
            &Raw(osc()),
        ],
    )))
}

/// A package for each pin of each slot: address, pin, no link device, global interrupt.
fn routing(bridge: &Bridge) -> Raw {
    let rows: Vec<Raw> = (0..32u8)
        .flat_map(|slot| (0..4).map(move |pin| (slot, pin)))
        .map(|(slot, pin)| {
            let mut row = PackageBuilder::new();
            row.add_element(&(u32::from(slot) << 16 | 0xffff));
            row.add_element(&pin);
            row.add_element(&0u8);
            row.add_element(&bridge.interrupt(slot, pin));
            Raw(bytes(&row))
        })
        .collect();
    Raw(bytes(&Package::new(
        rows.iter().map(|r| r as &dyn Aml).collect(),
    )))
}

/// Gives the operating system whatever it asks to control but the SHPC, which no bridge has. PCI Firmware Specification 3.3 §4.5.1.
fn osc() -> Vec<u8> {
    const NOT_SHPC: u32 = !2;
    const UNKNOWN_UUID: u32 = 4;
    let (status, control) = (Path::new("CDW1"), Path::new("CDW3"));
    bytes(&Method::new(
        Path::new("_OSC"),
        4,
        false,
        vec![
            &CreateDWordField::new(&status, &Arg(3), &0u8),
            &If::new(
                &Equal::new(&Arg(0), &Uuid::new("33DB4D5B-1FF7-401C-9657-7441C03DD766")),
                vec![
                    &CreateDWordField::new(&control, &Arg(3), &8u8),
                    &And::new(&control, &control, &NOT_SHPC),
                ],
            ),
            &Else::new(vec![&Or::new(&status, &status, &UNKNOWN_UUID)]),
            &Return::new(&Arg(3)),
        ],
    ))
}

/// What no other device claims: configuration space (PCI Firmware Specification 3.3 §4.1.2) and power management ports.
/// Remapping units are left out: their drivers claim them.
fn motherboard(d: &Description) -> Result<Vec<u8>, BuildError> {
    let mut resources: Vec<Box<dyn Aml>> = Vec::new();
    for bridge in &d.bridges {
        let (first, last) = ecam(bridge)?;
        match (u32::try_from(first), u32::try_from(last - first + 1)) {
            (Ok(first), Ok(length)) => {
                resources.push(Box::new(Memory32Fixed::new(true, first, length)));
            }
            _ => memory(first, last, &mut resources)?,
        }
    }
    let p = &d.power;
    for (port, length) in [(p.pm1a_event, 4), (p.pm1a_control, 2), (p.pm_timer, 4)] {
        resources.push(Box::new(IO::new(port, port, 1, length)));
    }
    Ok(bytes(&Device::new(
        Path::new("MBRD"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0C02")),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(Path::new("_CRS"), &template(&resources)),
        ],
    )))
}

/// Serial port, clock and timers.
fn isa(d: &Description, out: &mut Vec<u8>) {
    let mut device = |name: &str, hid: &str, resources: Vec<Box<dyn Aml>>| {
        out.extend(bytes(&Device::new(
            Path::new(name),
            vec![
                &Name::new(Path::new("_HID"), &EISAName::new(hid)),
                &Name::new(Path::new("_UID"), &0u8),
                &Name::new(Path::new("_CRS"), &template(&resources)),
            ],
        )));
    };
    let edge = |irq: u8| Box::new(Interrupt::new(true, true, false, false, irq.into()));
    if let Some(serial) = d.serial {
        let ports = Box::new(IO::new(serial.port, serial.port, 1, 8));
        device("COM1", "PNP0501", vec![ports, edge(serial.irq)]);
    }
    if d.rtc {
        device(
            "RTC0",
            "PNP0B00",
            vec![Box::new(IO::new(0x70, 0x70, 1, 2)), edge(8)],
        );
    }
    if let Some(address) = d.hpet.and_then(|h| u32::try_from(h.address).ok()) {
        let registers = Box::new(Memory32Fixed::new(true, address, 0x400));
        device("HPET", "PNP0103", vec![registers]);
    }
}
