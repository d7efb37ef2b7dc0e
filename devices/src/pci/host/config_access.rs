//! Configuration space: by address (ECAM) and by ports. PCI 3.0 §3.2.2.3.2, PCIe 6.0 §7.2.

use super::{PcHost, Place};
use crate::dma::SourceId;
use crate::effects::Effects;
use crate::pci::PciDevice;

/// Port of the address register, 32 bits.
pub const ADDRESS_PORT: u16 = 0xcf8;
/// First of the four data ports.
pub const DATA_PORT: u16 = 0xcfc;

/// Address register: accesses to the data ports are configuration accesses.
const ENABLE: u32 = 1 << 31;

/// Who answers.
#[derive(Clone, Copy)]
enum Target {
    Port(u8),
    Function(Place),
}

impl PcHost {
    fn target(&self, bus: u8, devfn: u8) -> Option<Target> {
        if bus == 0 {
            if self.ports.contains_key(&devfn) {
                return Some(Target::Port(devfn));
            }
            let place = Place { port: None, devfn };
            return self
                .functions
                .contains_key(&place)
                .then_some(Target::Function(place));
        }
        let port = self
            .ports
            .iter()
            .find(|(_, p)| p.secondary() == bus && p.subordinate() >= bus)?;
        let place = Place {
            port: Some(*port.0),
            devfn,
        };
        self.functions
            .contains_key(&place)
            .then_some(Target::Function(place))
    }

    /// Reads 1, 2 or 4 aligned bytes of configuration space. Where no function is, ones.
    pub fn config_read(&mut self, bus: u8, devfn: u8, register: u16, size: u8) -> u32 {
        self.counters.config += 1;
        let device: Option<&dyn PciDevice> = match self.target(bus, devfn) {
            None => None,
            Some(Target::Port(devfn)) => self.ports.get(&devfn).map(|p| p as &dyn PciDevice),
            Some(Target::Function(place)) => self.functions.get(&place).map(|f| f.device.as_ref()),
        };
        device.map_or(u32::MAX, |d| d.config_read(register, size))
    }

    /// Writes 1, 2 or 4 aligned bytes of configuration space.
    pub fn config_write(&mut self, bus: u8, devfn: u8, register: u16, size: u8, value: u32) {
        self.counters.config += 1;
        match self.target(bus, devfn) {
            None => {}
            Some(Target::Port(devfn)) => self.write_port(devfn, register, size, value),
            Some(Target::Function(place)) => {
                let mut effects = Effects::default();
                if let Some(function) = self.functions.get_mut(&place) {
                    let source = SourceId(u16::from(bus) << 8 | u16::from(devfn));
                    function.requester.set(source);
                    function
                        .device
                        .config_write(register, size, value, &mut effects);
                }
                self.rebuild_decode();
                self.apply(place, effects);
            }
        }
    }

    fn write_port(&mut self, devfn: u8, register: u16, size: u8, value: u32) {
        let Some(port) = self.ports.get_mut(&devfn) else {
            return;
        };
        port.config_write(register, size, value, &mut Effects::default());
        if port.take_reset() {
            let below: Vec<Place> = self
                .functions
                .keys()
                .filter(|place| place.port == Some(devfn))
                .copied()
                .collect();
            for place in below {
                self.reset_function(place);
            }
        }
        self.rebuild_decode();
    }

    /// Reads an I/O port of the bridge. False if it is not one.
    pub fn port_read(&mut self, port: u16, data: &mut [u8]) -> bool {
        if port == ADDRESS_PORT && data.len() == 4 {
            data.copy_from_slice(&self.address.to_le_bytes());
            return true;
        }
        let Some((bus, devfn, register)) = self.selected(port, data.len()) else {
            return false;
        };
        data.fill(0xff);
        if self.address & ENABLE != 0 {
            let value = self.config_read(bus, devfn, register, data.len() as u8);
            for (to, from) in data.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
        }
        true
    }

    /// Writes an I/O port of the bridge. False if it is not one.
    pub fn port_write(&mut self, port: u16, data: &[u8]) -> bool {
        let value = data
            .iter()
            .take(4)
            .rev()
            .fold(0, |v, &b| v << 8 | u32::from(b));
        if port == ADDRESS_PORT && data.len() == 4 {
            self.address = value & (ENABLE | 0xff_fffc);
            return true;
        }
        let Some((bus, devfn, register)) = self.selected(port, data.len()) else {
            return false;
        };
        if self.address & ENABLE != 0 {
            self.config_write(bus, devfn, register, data.len() as u8, value);
        }
        true
    }

    /// What an aligned access to a data port means.
    fn selected(&self, port: u16, len: usize) -> Option<(u8, u8, u16)> {
        let offset = port.checked_sub(DATA_PORT).filter(|&n| n < 4)?;
        let fits = matches!(len, 1 | 2 | 4) && usize::from(offset) % len == 0;
        let [register, devfn, bus, _] = self.address.to_le_bytes();
        fits.then_some((bus, devfn, u16::from(register) + offset))
    }

    /// Reads by address. False if it is outside the range; accesses that are not aligned read ones.
    pub(super) fn ecam_read(&mut self, gpa: u64, data: &mut [u8]) -> bool {
        if !self.config.ecam.contains(gpa, data.len() as u64) {
            return false;
        }
        let offset = gpa - self.config.ecam.start;
        data.fill(0xff);
        if !matches!(data.len(), 1 | 2 | 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return true;
        }
        for (at, part) in (offset..).step_by(4).zip(data.chunks_mut(4)) {
            let (bus, devfn, register) = split(at);
            let value = self.config_read(bus, devfn, register, part.len() as u8);
            for (to, from) in part.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
        }
        true
    }

    /// Writes by address. False if it is outside the range; accesses that are not aligned are dropped.
    pub(super) fn ecam_write(&mut self, gpa: u64, data: &[u8]) -> bool {
        if !self.config.ecam.contains(gpa, data.len() as u64) {
            return false;
        }
        let offset = gpa - self.config.ecam.start;
        if !matches!(data.len(), 1 | 2 | 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return true;
        }
        for (at, part) in (offset..).step_by(4).zip(data.chunks(4)) {
            let (bus, devfn, register) = split(at);
            let value = part.iter().rev().fold(0, |v, &b| v << 8 | u32::from(b));
            self.config_write(bus, devfn, register, part.len() as u8, value);
        }
        true
    }
}

fn split(offset: u64) -> (u8, u8, u16) {
    (
        (offset >> 20) as u8,
        (offset >> 12) as u8,
        offset as u16 & 0xfff,
    )
}
