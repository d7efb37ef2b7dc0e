//! The way of interrupts: lines to the controllers, messages through interrupt remapping, all of it to the local APICs.

use std::collections::BTreeMap;

use viommu_devices::dma::{Iova, SourceId};
use viommu_devices::effects::Msi;
use viommu_devices::pc::apic::Taken;
use viommu_devices::pc::hpet::{Line, Target};
use viommu_devices::pci::host::HostEvent;
use viommu_devices::vtd::{Actions, Interrupt, Outcome, message_of_io_apic};

use super::map;
use super::platform::Platform;

/// Rounds in which what was delivered causes more at once; what is left waits for the next access.
const ROUNDS: usize = 64;

/// Who sent an interrupt to the local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A pin of the I/O APIC.
    Pin(u8),
    /// A message of a function.
    Function(u16),
    /// A remapping unit by itself.
    Unit(usize),
}

/// Counts of interrupts that reached the local APICs.
pub type Sources = BTreeMap<Source, u64>;

/// The I/O APIC's requester id.
pub const IO_APIC_SOURCE: SourceId = {
    let (bus, device, function) = map::IO_APIC_SOURCE;
    SourceId((bus as u16) << 8 | (device as u16) << 3 | function as u16)
};

impl Platform {
    /// An ISA interrupt has this level now.
    fn isa_line(&mut self, irq: u8, level: bool) {
        self.isa.pic.set_line(irq, level);
        let pin = match irq {
            0 => map::TIMER_GSI as usize,
            n => n.into(),
        };
        self.io_apic.set_line(pin, level);
    }

    /// An edge of an ISA interrupt: the line stays asserted, so that the controller does not take it for noise.
    pub(super) fn isa_edge(&mut self, irq: u8) {
        self.isa_line(irq, false);
        self.isa_line(irq, true);
    }

    /// Passes on everything that devices and controllers left to be done.
    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS {
            self.lines();
            let mut busy = self.events();
            busy |= self.unit_actions();
            for vector in self.apics.take_eois() {
                self.io_apic.end_of_interrupt(vector);
            }
            for message in self.io_apic.take_messages() {
                self.pin_message(message.pin, message.entry);
                busy = true;
            }
            if !busy {
                break;
            }
        }
        self.apics.set_lint(0, self.isa.pic.output());
    }

    /// Levels and edges of what is not on PCI.
    fn lines(&mut self) {
        if self.isa.uart.take_irq() {
            self.isa_edge(map::COM1_IRQ);
        }
        let clock = self.isa.rtc.irq();
        self.isa.pm.set_clock(clock);
        if !self.isa.hpet.legacy() {
            self.isa_line(8, clock);
        }
        self.isa_line(map::SCI, self.isa.pm.sci());
        for (target, line) in self.isa.hpet.take_lines() {
            match (target, line) {
                (Target::Timer, Line::Pulse) => self.isa_edge(0),
                (Target::Timer, Line::Level(level)) => self.isa_line(0, level),
                (Target::Clock, Line::Pulse) => self.isa_edge(8),
                (Target::Clock, Line::Level(level)) => self.isa_line(8, level),
                (Target::Input(pin), Line::Pulse) => {
                    self.io_apic.set_line(pin.into(), false);
                    self.io_apic.set_line(pin.into(), true);
                }
                (Target::Input(pin), Line::Level(level)) => {
                    self.io_apic.set_line(pin.into(), level);
                }
            }
        }
    }

    /// Lines and messages of PCI functions.
    fn events(&mut self) -> bool {
        let events = self.pci.take_events();
        for event in &events {
            match *event {
                HostEvent::Line(line, level) => {
                    let pin = map::PCI_GSI.get(usize::from(line)).copied();
                    self.io_apic.set_line(pin.unwrap_or(0) as usize, level);
                }
                HostEvent::Message(source, msi) => self.function_message(source, msi),
            }
        }
        !events.is_empty()
    }

    /// What units have to say by themselves: faults, ends of invalidations.
    fn unit_actions(&mut self) -> bool {
        let mut busy = false;
        for index in 0..self.units.len() {
            if self.units.get(index).is_some_and(|u| u.has_actions()) {
                busy = true;
                let actions = self.units.get(index).map(|u| u.take_actions());
                self.carry_out(index, actions.unwrap_or_default());
            }
        }
        busy
    }

    /// Carries out what unit `index` asks for.
    pub(super) fn carry_out(&mut self, index: usize, actions: Actions) {
        let Some(unit) = self.units.get(index) else {
            return;
        };
        if actions.run_again {
            self.units_run_again = true;
        }
        let pci = &mut self.pci;
        let interrupts = unit.finish_with(actions, |r| {
            pci.page_response(SourceId(r.source), r.group, r.code.into());
        });
        for interrupt in interrupts {
            self.count(Source::Unit(index));
            self.apics.deliver(&interrupt);
        }
    }

    /// Lets units go on with what waited for DMA in flight.
    pub(super) fn run_units(&mut self) {
        if std::mem::take(&mut self.units_run_again) {
            for index in 0..self.units.len() {
                let actions = self.units.get(index).map(|u| u.run());
                self.carry_out(index, actions.unwrap_or_default());
            }
        }
    }

    fn count(&mut self, source: Source) {
        *self.sources.entry(source).or_default() += 1;
    }

    fn function_message(&mut self, source: SourceId, msi: Msi) {
        let function = self.functions.iter().find(|f| f.source() == source);
        let unit = function.map_or(0, |f| f.unit);
        match self.remap(unit, source, msi) {
            Some(Outcome::Deliver(interrupt)) => {
                self.count(Source::Function(source.0));
                self.apics.deliver(&interrupt);
            }
            Some(Outcome::Memory) => {
                let function = self.functions.iter().find(|f| f.source() == source);
                if let Some(function) = function {
                    // A fault is recorded by the unit; the function does not learn of it.
                    let _ = function
                        .port
                        .write(Iova(msi.address), &msi.data.to_le_bytes());
                }
            }
            Some(Outcome::Posted) | None => {}
        }
    }

    fn pin_message(&mut self, pin: u8, entry: u64) {
        let msi = message_of_io_apic(entry);
        if let Some(Outcome::Deliver(interrupt)) = self.remap(0, IO_APIC_SOURCE, msi) {
            self.count(Source::Pin(pin));
            self.apics.deliver(&interrupt);
        }
    }

    /// Takes a message through a unit, or straight on without units. None if it is refused.
    fn remap(&mut self, index: usize, source: SourceId, msi: Msi) -> Option<Outcome> {
        let Some(unit) = self.units.get(index) else {
            let interrupt = Interrupt::of_message(msi);
            return Some(interrupt.map_or(Outcome::Memory, Outcome::Deliver));
        };
        unit.message(source, msi)
            .inspect_err(|fault| self.faults.interrupt(index, source, msi, fault))
            .ok()
    }

    /// The processor that runs takes an interrupt: its vector.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        match self.apics.acknowledge(self.current)? {
            Taken::Vector(vector) => Some(vector),
            Taken::External => {
                let vector = self.isa.pic.acknowledge();
                self.apics.set_lint(0, self.isa.pic.output());
                Some(vector)
            }
        }
    }
}
