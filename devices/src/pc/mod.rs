//! The devices of a PC that are not on PCI: interrupt controllers, timers, clock, power management, serial port.
//!
//! Each is registers in, values out: a line's level, a message, a deadline in virtual time. How they are connected is the machine's.

pub mod acpi_pm;
pub mod apic;
pub mod control;
pub mod fw_cfg;
pub mod hpet;
pub mod ioapic;
pub mod pic;
pub mod pit;
pub mod rtc;
pub mod uart;
