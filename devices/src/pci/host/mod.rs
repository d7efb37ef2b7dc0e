//! The PCI Express host bridge of a PC: bus 0 with functions and root ports, a bus behind each port. Configuration space by ECAM and by the
//! ports 0xcf8 and 0xcfc, memory decoding, INTx lines, messages, deferred work.
//!
//! The bridge carries out the [`Effects`] of its functions: messages (with the requester id) and changes of its four lines become
//! [`HostEvent`]s, run requests deadlines in virtual time. It knows neither interrupt controllers nor an IOMMU. There is no I/O space, no
//! transfer between functions, and one bus behind a port. Firmware's part is [`PcHost::assign`].

mod assign;
mod config_access;
mod decode;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::PciDevice;
use super::bridge::RootPort;
use super::config::{ConfigSpace, Identity};
use super::regs::{COMMAND, COMMAND_MASTER, INTERRUPT_PIN};
use super::requester::Requester;
use crate::dma::{PageResponse, SourceId};
use crate::effects::{Effects, Msi};
use crate::pci::bars::Bars;

pub use assign::AssignError;
pub use config_access::{ADDRESS_PORT, DATA_PORT};

/// INTx lines of the bridge.
pub const LINES: usize = 4;

/// A range of processor addresses that the bridge passes to PCI memory space as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Window {
    /// True if all `len` bytes at `at` are inside.
    pub fn contains(&self, at: u64, len: u64) -> bool {
        at.checked_sub(self.start)
            .and_then(|offset| self.size.checked_sub(offset))
            .is_some_and(|room| len <= room)
    }
}

/// What the bridge is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Enhanced configuration access: 1 MiB for each bus from 0 on.
    pub ecam: Window,
    /// Memory below 4 GiB.
    pub memory32: Window,
    /// Memory above 4 GiB.
    pub memory64: Window,
    /// What [`PcHost::assign`] writes into interrupt line registers, by line.
    pub irqs: [u8; LINES],
}

/// Where a function is: on bus 0, or on the bus behind a root port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Device and function of the root port.
    pub port: Option<u8>,
    /// Device (7:3) and function (2:0).
    pub devfn: u8,
}

/// What the surroundings have to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// A line (0 to 3) has this level now (true: asserted).
    Line(u8, bool),
    /// A function sent a message.
    Message(SourceId, Msi),
}

/// Counts of the bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounters {
    /// Reads passed to a BAR.
    pub reads: u64,
    /// Writes passed to a BAR.
    pub writes: u64,
    /// Accesses inside a window that no BAR claimed.
    pub unclaimed: u64,
    /// Accesses to configuration space.
    pub config: u64,
    /// Messages sent.
    pub messages: u64,
    /// Messages dropped, as the function or its port may not master the bus.
    pub stray_messages: u64,
}

struct Function {
    device: Box<dyn PciDevice>,
    requester: Requester,
    deadline: Option<u64>,
    pin: bool,
}

/// The host bridge.
pub struct PcHost {
    config: HostConfig,
    functions: BTreeMap<Place, Function>,
    ports: BTreeMap<u8, RootPort>,
    bars: Bars<Place>,
    address: u32,
    lines: [bool; LINES],
    events: Vec<HostEvent>,
    now_ns: u64,
    counters: HostCounters,
}

impl std::fmt::Debug for PcHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PcHost")
            .field("config", &self.config)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// The bridge itself as a function: an identity, nothing else.
struct Bridge(ConfigSpace);

impl PciDevice for Bridge {
    fn name(&self) -> &str {
        "host"
    }

    fn config_read(&self, offset: u16, size: u8) -> u32 {
        self.0.read(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32, _effects: &mut Effects) {
        self.0.write(offset, size, value);
    }

    fn bar_size(&self, _index: u8) -> u64 {
        0
    }

    fn bar_read(&mut self, _index: u8, _offset: u64, data: &mut [u8], _effects: &mut Effects) {
        data.fill(0xff);
    }

    fn bar_write(&mut self, _index: u8, _offset: u64, _data: &[u8], _effects: &mut Effects) {}

    fn reset(&mut self) {
        self.0.reset();
    }
}

impl PcHost {
    /// A bridge with nothing but itself, at 00:00.0.
    pub fn new(config: HostConfig) -> Self {
        let mut host = PcHost {
            config,
            functions: BTreeMap::new(),
            ports: BTreeMap::new(),
            bars: Bars::default(),
            address: 0,
            lines: [false; LINES],
            events: Vec::new(),
            now_ns: 0,
            counters: HostCounters::default(),
        };
        let bridge = Bridge(ConfigSpace::new(Identity {
            vendor: 0x1b36,
            device: 0x0008,
            class: 0x06_0000,
            ..Identity::default()
        }));
        let place = Place {
            port: None,
            devfn: 0,
        };
        host.add_device(place, Box::new(bridge), Requester::default());
        host
    }

    /// What it was built from.
    pub fn config(&self) -> &HostConfig {
        &self.config
    }

    /// What happened so far.
    pub fn counters(&self) -> HostCounters {
        self.counters
    }

    /// Puts a root port on bus 0. Replaces one that is there.
    pub fn add_port(&mut self, devfn: u8, port: RootPort) {
        self.ports.insert(devfn, port);
        self.rebuild_decode();
    }

    /// Root ports on bus 0, by devfn.
    pub fn ports(&self) -> impl Iterator<Item = (u8, &RootPort)> {
        self.ports.iter().map(|(&devfn, port)| (devfn, port))
    }

    /// Puts a function somewhere. Its requester id is kept up to date in `requester`.
    pub fn add_device(&mut self, place: Place, device: Box<dyn PciDevice>, requester: Requester) {
        if let Some(source) = self.source(place) {
            requester.set(source);
        }
        let function = Function {
            device,
            requester,
            deadline: None,
            pin: false,
        };
        self.functions.insert(place, function);
        self.rebuild_decode();
    }

    /// Functions besides root ports, in order of their places: where, and the requester id.
    pub fn functions(&self) -> impl Iterator<Item = (Place, SourceId, &dyn PciDevice)> {
        self.functions
            .iter()
            .map(|(&place, f)| (place, f.requester.id(), f.device.as_ref()))
    }

    /// Requester id of a place by the bus numbers of now; none for a port that is not there.
    fn source(&self, place: Place) -> Option<SourceId> {
        let bus = match place.port {
            None => 0,
            Some(devfn) => self.ports.get(&devfn)?.secondary(),
        };
        Some(SourceId(u16::from(bus) << 8 | u16::from(place.devfn)))
    }

    /// Tells the bridge the virtual time, for what accesses ask to be done later. Call before accesses.
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// When the next deferred work is due, in virtual nanoseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.functions.values().filter_map(|f| f.deadline).min()
    }

    /// Does the work that is due: each function at most once. Returns true if anything ran.
    pub fn run_due(&mut self, now_ns: u64) -> bool {
        self.set_now(now_ns);
        let due: Vec<Place> = self
            .functions
            .iter()
            .filter(|(_, f)| f.deadline.is_some_and(|t| t <= now_ns))
            .map(|(&place, _)| place)
            .collect();
        for &place in &due {
            let mut effects = Effects::default();
            if let Some(function) = self.functions.get_mut(&place) {
                function.deadline = None;
                function.device.run(now_ns, &mut effects);
            }
            self.apply(place, effects);
        }
        !due.is_empty()
    }

    /// Carries the answer to a group of page requests to the function that sent them, if it is still there.
    pub fn page_response(&mut self, source: SourceId, group: u16, answer: PageResponse) {
        let found = self
            .functions
            .iter()
            .find(|(_, f)| f.requester.id() == source);
        let Some(place) = found.map(|(&place, _)| place) else {
            return;
        };
        let mut effects = Effects::default();
        if let Some(function) = self.functions.get_mut(&place) {
            function.device.page_response(group, answer, &mut effects);
        }
        self.apply(place, effects);
    }

    /// What the surroundings have to do, oldest first. Call after every access and run.
    pub fn take_events(&mut self) -> Vec<HostEvent> {
        std::mem::take(&mut self.events)
    }

    /// True if [`PcHost::take_events`] has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Power-on state of all functions and ports.
    pub fn reset(&mut self) {
        self.address = 0;
        self.ports.values_mut().for_each(PciDevice::reset);
        let all: Vec<Place> = self.functions.keys().copied().collect();
        for place in all {
            self.reset_function(place);
        }
        self.rebuild_decode();
    }

    fn reset_function(&mut self, place: Place) {
        if let Some(function) = self.functions.get_mut(&place) {
            function.device.reset();
            function.deadline = None;
        }
        self.set_pin(place, false);
    }

    /// Carries out what a function asked for.
    fn apply(&mut self, place: Place, effects: Effects) {
        if effects.is_empty() {
            return;
        }
        for msi in effects.msis {
            self.message(place, msi);
        }
        if let Some(level) = effects.intx {
            self.set_pin(place, level);
        }
        if let (Some(ns), Some(function)) = (effects.run_after_ns, self.functions.get_mut(&place)) {
            let at = self.now_ns.saturating_add(ns);
            function.deadline = Some(function.deadline.map_or(at, |old| old.min(at)));
        }
    }

    fn message(&mut self, place: Place, msi: Msi) {
        let Some(function) = self.functions.get(&place) else {
            return;
        };
        let master = function.device.config_read(COMMAND, 2) as u16 & COMMAND_MASTER != 0;
        let passed = match place.port {
            None => true,
            Some(port) => self.ports.get(&port).is_some_and(RootPort::passes_dma),
        };
        if master && passed {
            self.counters.messages += 1;
            let source = function.requester.id();
            self.events.push(HostEvent::Message(source, msi));
        } else {
            self.counters.stray_messages += 1;
        }
    }

    fn set_pin(&mut self, place: Place, level: bool) {
        let Some(function) = self.functions.get_mut(&place) else {
            return;
        };
        function.pin = level;
        let mut lines = [false; LINES];
        for (&place, function) in self.functions.iter().filter(|(_, f)| f.pin) {
            let pin = function.device.config_read(INTERRUPT_PIN, 1) as u8;
            if pin != 0
                && let Some(asserted) = lines.get_mut(usize::from(line(place, pin)))
            {
                *asserted = true;
            }
        }
        for (n, (old, new)) in (0..).zip(self.lines.iter_mut().zip(lines)) {
            if *old != new {
                *old = new;
                self.events.push(HostEvent::Line(n, new));
            }
        }
    }
}

/// Line (0 to 3) of the INTx pin (1 to 4) of a function. Pins rotate with the device number, on bus 0 and through a port alike:
/// device d's pin A is line d modulo 4. PCI-to-PCI bridge specification 1.2 §9.1.
pub fn line(place: Place, pin: u8) -> u8 {
    let rotate = |devfn: u8, pin: u8| ((devfn >> 3) + pin) & 3;
    let pin = rotate(place.devfn, pin.max(1) - 1);
    place.port.map_or(pin, |port| rotate(port, pin))
}
