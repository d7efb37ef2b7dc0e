//! Where the functions of a configuration are, before the guest changes bus numbers.

use super::config::PcDevice;
use super::map;

/// Where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Device (7:3) and function (2:0) on bus 0: of the function itself, or of the root port in front of it.
    pub devfn: u8,
    /// Number of the bus behind the root port; the function is at device 0 there. `None` for a function on bus 0.
    pub bus: Option<u8>,
    /// Number of the remapping unit that covers it.
    pub unit: usize,
    /// RAM that it is said to use from power-on: start and end.
    pub reserved: Option<(u64, u64)>,
}

impl Slot {
    /// Requester id of the function.
    pub fn source(self) -> u16 {
        match self.bus {
            Some(bus) => u16::from(bus) << 8,
            None => self.devfn.into(),
        }
    }
}

/// The slot of each device: device numbers from 1 on, buses behind root ports from 1 on in the same order, reserved RAM from the top of
/// low RAM downwards.
pub fn slots(devices: &[PcDevice], memory: u64) -> Vec<Slot> {
    let mut buses = 1..=map::LAST_BUS;
    let mut top = map::split(memory).0;
    (1..=map::SLOTS as u8)
        .zip(devices)
        .map(|(number, device)| Slot {
            devfn: number << 3,
            bus: device.behind_port.then(|| buses.next()).flatten(),
            unit: device.unit,
            reserved: (device.reserved != 0).then(|| {
                let end = top;
                top = top.saturating_sub(device.reserved);
                (top, end)
            }),
        })
        .collect()
}
