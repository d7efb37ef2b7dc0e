//! What a PC says of itself in its ACPI tables.

use super::dmar::Dmar;

/// A PC. Addresses are physical; nothing here is checked beyond what the tables' fields can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Local APIC ids of the processors; a processor's UID is its place in the list.
    pub cpus: Vec<u32>,
    /// Processors have x2APIC entries, whatever their ids are. Ids above 254 have them in any case.
    pub x2apic: bool,
    /// Address of the local APICs.
    pub local_apic: u32,
    /// I/O APICs.
    pub io_apics: Vec<IoApic>,
    /// ISA interrupts that do not arrive at the global interrupt of the same number as active-high edges.
    pub overrides: Vec<Override>,
    /// Power management registers.
    pub power: Power,
    /// High precision event timers.
    pub hpet: Option<Hpet>,
    /// PCI host bridges.
    pub bridges: Vec<Bridge>,
    /// The first serial port.
    pub serial: Option<Serial>,
    /// A CMOS clock at ports 0x70 and 0x71, ISA interrupt 8.
    pub rtc: bool,
    /// Remapping hardware.
    pub dmar: Option<Dmar>,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Address of its registers.
    pub address: u32,
    /// Global interrupt of its first pin.
    pub gsi_base: u32,
}

/// Where an ISA interrupt arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// ISA interrupt.
    pub irq: u8,
    /// Global interrupt.
    pub gsi: u32,
    /// Level-triggered.
    pub level: bool,
    /// Active low.
    pub active_low: bool,
}

/// Fixed power management hardware, without system-management mode: ACPI mode is always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    /// Interrupt of the fixed hardware (SCI).
    pub sci: u8,
    /// Port of PM1a_EVT: status and enable, 2 bytes each.
    pub pm1a_event: u16,
    /// Port of PM1a_CNT, 2 bytes.
    pub pm1a_control: u16,
    /// Port of the 3.579545 MHz timer, 4 bytes.
    pub pm_timer: u16,
    /// The timer has 32 bits (24 otherwise).
    pub wide_timer: bool,
    /// SLP_TYP of soft-off, 0 to 7.
    pub soft_off: u8,
    /// Port of the reset register, 1 byte, and the value that resets.
    pub reset: (u16, u8),
}

/// An HPET block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hpet {
    /// Address of its registers (1 KiB).
    pub address: u64,
    /// Its number, which a DMAR scope's enumeration id names.
    pub number: u8,
    /// Low half of its general capabilities register: revision, timers, counter size, vendor.
    pub capabilities: u32,
    /// Smallest period in clock ticks that is safe in periodic mode.
    pub minimum_tick: u16,
}

/// A PCI Express host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// PCI segment.
    pub segment: u16,
    /// First and last bus.
    pub buses: (u8, u8),
    /// Address of the configuration space of bus 0 of the segment: 1 MiB a bus.
    pub ecam: u64,
    /// Port windows: first and last.
    pub io: Vec<(u16, u16)>,
    /// Memory windows: first and last address.
    pub memory: Vec<(u64, u64)>,
    /// Global interrupts of INTA# to INTD# of slot 0; a slot's pins are rotated by its number.
    pub interrupts: [u32; 4],
}

impl Bridge {
    /// Global interrupt of a pin (0 to 3) of a slot.
    pub fn interrupt(&self, slot: u8, pin: u8) -> u32 {
        self.interrupts[usize::from((slot & 3).wrapping_add(pin) & 3)]
    }
}

/// A 16550 serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// First of its eight ports.
    pub port: u16,
    /// ISA interrupt.
    pub irq: u8,
}
