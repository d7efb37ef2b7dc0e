//! The devices at ports and fixed addresses that are not on PCI: timers, clock, power management, serial port, reset and exit.

use viommu_devices::pc::acpi_pm::{self, AcpiPm};
use viommu_devices::pc::control::{Asked, Control};
use viommu_devices::pc::fw_cfg::FwCfg;
use viommu_devices::pc::hpet::Hpet;
use viommu_devices::pc::pic::Pic;
use viommu_devices::pc::pit::Pit;
use viommu_devices::pc::rtc::Rtc;
use viommu_devices::pc::uart::{self, Uart};

use super::map;
use crate::clock::EPOCH_S;
use crate::config::End;

/// Those devices.
#[derive(Debug)]
pub struct Isa {
    /// Interrupt controllers of old.
    pub pic: Pic,
    /// Interval timer.
    pub pit: Pit,
    /// Clock and its memory.
    pub rtc: Rtc,
    /// High precision timers.
    pub hpet: Hpet,
    /// Power management.
    pub pm: AcpiPm,
    /// The serial port.
    pub uart: Uart,
    /// Reset, and the exit of emulators.
    pub control: Control,
    /// Items for firmware.
    pub fw_cfg: FwCfg,
    /// What the guest asked for by a port.
    pub asked: Option<Asked>,
}

impl Isa {
    /// Power-on state in a machine with so many processors and bytes of RAM.
    pub fn new(cpus: u32, memory: u64) -> Isa {
        Isa {
            pic: Pic::default(),
            pit: Pit::default(),
            rtc: Rtc::new(EPOCH_S),
            hpet: Hpet::new(),
            pm: AcpiPm::new(map::SOFT_OFF),
            uart: Uart::default(),
            control: Control::default(),
            fw_cfg: FwCfg::new(cpus as u16, memory),
            asked: None,
        }
    }

    /// Reads bytes at a port. False if none of the devices has all of it.
    pub fn read(&mut self, port: u16, data: &mut [u8], now_ns: u64) -> bool {
        if let Some(offset) = within(port, data.len(), map::PM1A_EVENT, acpi_pm::SIZE) {
            self.pm.read(offset, data, now_ns);
            return true;
        }
        if self.fw_cfg.read(port, data) {
            return true;
        }
        let mut known = false;
        for (at, byte) in (0..).map(|n| port.wrapping_add(n)).zip(data) {
            let value = self.read_byte(at, now_ns);
            known |= value.is_some();
            *byte = value.unwrap_or(0xff);
        }
        known
    }

    fn read_byte(&mut self, port: u16, now_ns: u64) -> Option<u8> {
        if let Some(offset) = within(port, 1, map::COM1, uart::SIZE) {
            return Some(self.uart.read(offset as u8));
        }
        self.pic
            .read(port)
            .or_else(|| self.pit.read(port, now_ns))
            .or_else(|| self.rtc.read(port, now_ns))
            .or_else(|| self.control.read(port))
    }

    /// Writes bytes to a port. False if none of the devices has any of it.
    pub fn write(&mut self, port: u16, data: &[u8], now_ns: u64) -> bool {
        if let Some(offset) = within(port, data.len(), map::PM1A_EVENT, acpi_pm::SIZE) {
            self.pm.write(offset, data, now_ns);
            return true;
        }
        if let Some(asked) = self.control.write(port, data) {
            self.asked = self.asked.or(asked);
            return true;
        }
        if self.fw_cfg.write(port, data) {
            return true;
        }
        let mut known = false;
        for (at, &byte) in (0..).map(|n| port.wrapping_add(n)).zip(data) {
            known |= self.write_byte(at, byte, now_ns);
        }
        known
    }

    fn write_byte(&mut self, port: u16, value: u8, now_ns: u64) -> bool {
        if let Some(offset) = within(port, 1, map::COM1, uart::SIZE) {
            self.uart.write(offset as u8, value);
            return true;
        }
        self.pic.write(port, value)
            || self.pit.write(port, value, now_ns)
            || self.rtc.write(port, value, now_ns)
    }

    /// How the guest ended the run by one of these devices.
    pub fn end(&self) -> Option<End> {
        if self.pm.is_off() {
            return Some(End::PowerOff);
        }
        Some(match self.asked? {
            Asked::Reset => End::Reboot,
            Asked::Exit(status) => End::Exit(status),
        })
    }

    /// When one of them has something to do, in nanoseconds of virtual time.
    pub fn next_deadline(&self) -> Option<u64> {
        let all = [
            self.pit.next_deadline(),
            self.rtc.next_deadline(),
            self.hpet.next_deadline(),
            self.pm.next_deadline(),
        ];
        all.into_iter().flatten().min()
    }
}

/// Offset in a device's ports, if the access is inside.
fn within(port: u16, len: usize, base: u16, size: u16) -> Option<u16> {
    let offset = port.checked_sub(base)?;
    (usize::from(offset) + len <= size.into()).then_some(offset)
}
