//! What firmware does before a kernel starts: bus numbers, BARs, windows of ports, interrupt lines, memory decoding on.

use super::{PcHost, Place, line};
use crate::pci::bridge::{
    MEMORY_WINDOW, PREFETCHABLE_UPPER, PREFETCHABLE_WINDOW, PRIMARY_BUS, RootPort,
};
use crate::pci::regs::*;

/// BARs of 64 bits that are larger go above 4 GiB.
const LARGE: u64 = 16 << 20;
/// Granularity of a port's windows.
const PORT_STEP: u64 = 1 << 20;

/// The devices need more address space than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PCI devices need more than the {size:#x} bytes of address space at {start:#x}")]
pub struct AssignError {
    /// First address of the window that is full.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
}

/// A BAR that wants an address.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    place: Place,
    bar: u8,
    size: u64,
    wide: bool,
    /// Goes above 4 GiB.
    high: bool,
}

/// Gives addresses of a window from its start on.
struct Space {
    window: super::Window,
    next: u64,
}

impl Space {
    fn new(window: super::Window) -> Self {
        Space {
            window,
            next: window.start,
        }
    }

    fn take(&mut self, size: u64, align: u64) -> Result<u64, AssignError> {
        let full = AssignError {
            start: self.window.start,
            size: self.window.size,
        };
        let at = self.next.checked_next_multiple_of(align).ok_or(full)?;
        if !self.window.contains(at, size) {
            return Err(full);
        }
        self.next = at + size;
        Ok(at)
    }
}

impl PcHost {
    /// Sets up buses, addresses and interrupt lines. Bus mastering stays off, but for root ports.
    ///
    /// # Errors
    /// [`AssignError`]: nothing that was set up is taken back.
    pub fn assign(&mut self) -> Result<(), AssignError> {
        let mut low = Space::new(self.config.memory32);
        let mut high = Space::new(self.config.memory64);
        let ports: Vec<u8> = self.ports.keys().copied().collect();
        for (bus, &devfn) in (1_u8..).zip(&ports) {
            let numbers = u32::from_le_bytes([0, bus, bus, 0]);
            self.write_port_register(devfn, PRIMARY_BUS, 4, numbers);
        }
        self.assign_bus(None, &mut low, &mut high)?;
        for devfn in ports {
            // Windows begin and end at a multiple of their step.
            low.take(0, PORT_STEP)?;
            high.take(0, PORT_STEP)?;
            let starts = (low.next, high.next);
            self.assign_bus(Some(devfn), &mut low, &mut high)?;
            low.take(0, PORT_STEP)?;
            high.take(0, PORT_STEP)?;
            self.open_port(devfn, (starts.0, low.next), (starts.1, high.next));
        }
        let places: Vec<Place> = self.functions.keys().copied().collect();
        for place in places {
            self.enable(place);
        }
        self.rebuild_decode();
        // What firmware does is no event of the run.
        self.counters = super::HostCounters::default();
        Ok(())
    }

    fn assign_bus(
        &mut self,
        port: Option<u8>,
        low: &mut Space,
        high: &mut Space,
    ) -> Result<(), AssignError> {
        let mut wanted: Vec<Wanted> = self
            .functions
            .keys()
            .filter(|place| place.port == port)
            .flat_map(|&place| self.bars(place))
            .collect();
        // The largest first, so that alignment wastes nothing.
        wanted.sort_by_key(|w| (u64::MAX - w.size, w.place, w.bar));
        for w in wanted {
            let space = if w.high { &mut *high } else { &mut *low };
            let at = space.take(w.size, w.size)?;
            let register = BAR0 + 4 * u16::from(w.bar);
            self.write_register(w.place, register, 4, at as u32);
            if w.wide {
                self.write_register(w.place, register + 4, 4, (at >> 32) as u32);
            }
        }
        Ok(())
    }

    fn bars(&self, place: Place) -> Vec<Wanted> {
        let Some(function) = self.functions.get(&place) else {
            return Vec::new();
        };
        let device = function.device.as_ref();
        (0..6)
            .filter(|&bar| device.bar_size(bar) != 0)
            .map(|bar| {
                let flags = device.config_read(BAR0 + 4 * u16::from(bar), 4);
                let size = device.bar_size(bar);
                let wide = flags & 6 == 4;
                // Only a port's prefetchable window reaches above 4 GiB.
                let may = place.port.is_none() || flags & 8 != 0;
                Wanted {
                    place,
                    bar,
                    size,
                    wide,
                    high: wide && may && (size > LARGE || place.port.is_some()),
                }
            })
            .collect()
    }

    /// Sets a port's windows: from, to (exclusive; none if equal).
    fn open_port(&mut self, devfn: u8, low: (u64, u64), high: (u64, u64)) {
        let fields = |(start, end): (u64, u64)| {
            // A base above the limit closes a window.
            let (first, last) = if start < end {
                (start, end - 1)
            } else {
                (0xfff0_0000, 0)
            };
            let register = (first >> 16 & 0xfff0) as u32 | (last & 0xfff0_0000) as u32;
            (register, (first >> 32) as u32, (last >> 32) as u32)
        };
        let (memory, _, _) = fields(low);
        let (prefetchable, base, limit) = fields(high);
        self.write_port_register(devfn, MEMORY_WINDOW, 4, memory);
        self.write_port_register(devfn, PREFETCHABLE_WINDOW, 4, prefetchable);
        self.write_port_register(devfn, PREFETCHABLE_UPPER, 4, base);
        self.write_port_register(devfn, PREFETCHABLE_UPPER + 4, 4, limit);
        let command = COMMAND_MEMORY | COMMAND_MASTER;
        self.write_port_register(devfn, COMMAND, 2, command.into());
    }

    fn enable(&mut self, place: Place) {
        let Some(function) = self.functions.get(&place) else {
            return;
        };
        let pin = function.device.config_read(INTERRUPT_PIN, 1) as u8;
        if pin != 0 {
            let irq = self.config.irqs[usize::from(line(place, pin) & 3)];
            self.write_register(place, INTERRUPT_LINE, 1, irq.into());
        }
        self.write_register(place, COMMAND, 2, COMMAND_MEMORY.into());
    }

    fn write_register(&mut self, place: Place, register: u16, size: u8, value: u32) {
        let bus = match place.port {
            None => 0,
            Some(devfn) => self.ports.get(&devfn).map_or(0, RootPort::secondary),
        };
        self.config_write(bus, place.devfn, register, size, value);
    }

    fn write_port_register(&mut self, devfn: u8, register: u16, size: u8, value: u32) {
        self.config_write(0, devfn, register, size, value);
    }
}
