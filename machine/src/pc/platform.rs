//! Everything of the machine but its processors: memory, devices, interrupt controllers, remapping units, clock, counters. It is the
//! processors' bus.

use viommu_cpu::bus::{Bus, BusError};
use viommu_devices::dma::{DmaPort, SourceId};
use viommu_devices::memory::GuestRam;
use viommu_devices::pc::apic::Apics;
use viommu_devices::pc::ioapic::{self, IoApic};
use viommu_devices::pc::{control, hpet};
use viommu_devices::pci::host::PcHost;
use viommu_devices::pci::requester::Requester;
use viommu_devices::vtd::{REGISTERS_SIZE, Vtd};

use super::faults::Faults;
use super::interrupts::Sources;
use super::isa::Isa;
use super::map;
use crate::clock::Clock;
use crate::config::End;
use crate::observe::{Console, Counters};
use crate::ram;

/// A PCI function, for its messages and the report.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its requester id, which follows bus numbers.
    pub requester: Requester,
    /// Number of the remapping unit that covers it, if there are units.
    pub unit: usize,
    /// Its way to memory, whose counters it shares.
    pub port: DmaPort,
}

impl Function {
    /// Its requester id now.
    pub fn source(&self) -> SourceId {
        self.requester.id()
    }
}

/// Reads and writes of a device's registers.
pub type Accesses = [u64; 2];

/// Accesses to device memory that is not PCI's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accessed {
    /// Local APICs, by address.
    pub local_apic: Accesses,
    /// The I/O APIC.
    pub io_apic: Accesses,
    /// Timers.
    pub hpet: Accesses,
    /// Remapping units.
    pub units: Accesses,
}

/// The machine without its processors.
#[derive(Debug)]
pub struct Platform {
    /// Guest RAM.
    pub ram: GuestRam,
    /// Virtual time at the start of the turn.
    pub clock: Clock,
    /// The processor that runs.
    pub current: usize,
    /// Virtual time of the processor that runs, in nanoseconds; devices never see it go back.
    pub now_ns: u64,
    /// Remapping units.
    pub units: Vec<Vtd>,
    /// Some unit has more to do.
    pub(super) units_run_again: bool,
    /// What they refused.
    pub faults: Faults,
    /// PCI.
    pub pci: PcHost,
    /// Local APICs.
    pub apics: Apics,
    /// The I/O APIC.
    pub io_apic: IoApic,
    /// What is not on PCI.
    pub isa: Isa,
    /// Interrupts that reached the local APICs.
    pub sources: Sources,
    /// Counters.
    pub counters: Counters,
    /// Accesses by device.
    pub accessed: Accessed,
    /// The console's output.
    pub console: Console,
    /// Set when the run is over.
    pub end: Option<End>,
    /// PCI functions.
    pub functions: Vec<Function>,
}

impl Platform {
    /// A processor runs from this time on.
    pub fn begin(&mut self, cpu: usize, now_ns: u64) {
        self.current = cpu;
        self.advance(now_ns);
    }

    fn advance(&mut self, now_ns: u64) {
        if now_ns > self.now_ns {
            self.now_ns = now_ns;
            self.pci.set_now(now_ns);
            self.faults.set_now(now_ns);
        }
    }

    /// Does what is due in devices.
    pub fn run_devices(&mut self) {
        self.advance(self.clock.now_ns());
        let now = self.now_ns;
        if self.isa.pit.run(now) && !self.isa.hpet.legacy() {
            self.isa_edge(0);
        }
        self.isa.hpet.run(now);
        self.isa.rtc.run(now);
        self.isa.pm.run(now);
        self.apics.run(now);
        if self.pci.next_deadline().is_some_and(|at| at <= now) {
            self.pci.run_due(now);
        }
        self.run_units();
        self.settle();
        self.drain();
    }

    /// Output, and wishes to end the run.
    fn drain(&mut self) {
        if self.isa.uart.has_output() {
            let bytes = self.isa.uart.take_output();
            self.console
                .write(&bytes, self.now_ns, self.counters.instructions);
        }
        if self.end.is_none() {
            self.end = self.isa.end();
        }
    }

    /// When the next work of a device is due, in virtual nanoseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        let all = [
            self.pci.next_deadline(),
            self.apics.next_deadline(),
            self.isa.next_deadline(),
            self.units_run_again.then_some(self.now_ns),
        ];
        all.into_iter().flatten().min()
    }

    fn unit_at(&self, gpa: u64, len: usize) -> Option<(usize, u64)> {
        let offset = gpa.checked_sub(map::VTD)?;
        let index = usize::try_from(offset / map::PAGE).ok()?;
        let offset = offset % map::PAGE;
        let inside = offset + len as u64 <= REGISTERS_SIZE && index < self.units.len();
        inside.then_some((index, offset))
    }

    fn read_device(&mut self, gpa: u64, data: &mut [u8]) -> bool {
        let now = self.now_ns;
        if let Some(offset) = self.apics.offset(self.current, gpa) {
            self.accessed.local_apic[0] += 1;
            self.apics.mmio_read(self.current, offset, data, now);
        } else if let Some((index, offset)) = self.unit_at(gpa, data.len()) {
            self.accessed.units[0] += 1;
            let unit = self.units.get(index);
            let value = unit.map_or(0, |u| u.read(offset, data.len() as u8));
            data.iter_mut()
                .zip(value.to_le_bytes())
                .for_each(|(to, from)| *to = from);
        } else if let Some(offset) = within(gpa, map::IO_APIC, ioapic::SIZE) {
            self.accessed.io_apic[0] += 1;
            self.io_apic.read(offset, data);
        } else if let Some(offset) = within(gpa, map::HPET, hpet::SIZE) {
            self.accessed.hpet[0] += 1;
            self.isa.hpet.read(offset, data, now);
        } else {
            return self.pci.mmio_read(gpa, data);
        }
        true
    }

    fn write_device(&mut self, gpa: u64, data: &[u8]) -> bool {
        let now = self.now_ns;
        if let Some(offset) = self.apics.offset(self.current, gpa) {
            self.accessed.local_apic[1] += 1;
            self.apics.mmio_write(self.current, offset, data, now);
        } else if let Some((index, offset)) = self.unit_at(gpa, data.len()) {
            self.accessed.units[1] += 1;
            let value = data
                .iter()
                .take(8)
                .rev()
                .fold(0, |v, &b| v << 8 | u64::from(b));
            let unit = self.units.get(index);
            let actions = unit.map(|u| u.write(offset, data.len() as u8, value));
            self.carry_out(index, actions.unwrap_or_default());
        } else if let Some(offset) = within(gpa, map::IO_APIC, ioapic::SIZE) {
            self.accessed.io_apic[1] += 1;
            self.io_apic.write(offset, data);
        } else if let Some(offset) = within(gpa, map::HPET, hpet::SIZE) {
            self.accessed.hpet[1] += 1;
            self.isa.hpet.write(offset, data, now);
        } else {
            return self.pci.mmio_write(gpa, data);
        }
        true
    }
}

fn within(gpa: u64, start: u64, size: u64) -> Option<u64> {
    gpa.checked_sub(start).filter(|&offset| offset < size)
}

impl Bus for Platform {
    fn mmio_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.counters.mmio_reads += 1;
        if self.read_device(gpa, data) {
            self.settle();
            return Ok(());
        }
        self.counters.mmio_errors += 1;
        Err(BusError)
    }

    fn mmio_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), BusError> {
        self.counters.mmio_writes += 1;
        if self.write_device(gpa, data) {
            self.settle();
            return Ok(());
        }
        self.counters.mmio_errors += 1;
        Err(BusError)
    }

    fn watch_code(&mut self, gpa: u64) {
        ram::watch_code(&self.ram, gpa);
    }

    fn port_read(&mut self, port: u16, data: &mut [u8]) {
        self.counters.port_reads += 1;
        data.fill(0xff);
        // The reset register lies among the ports of the host bridge.
        let own = port != control::RESET_CONTROL && self.pci.port_read(port, data);
        if !own && !self.isa.read(port, data, self.now_ns) {
            self.counters.port_errors += 1;
        }
        self.settle();
    }

    fn port_write(&mut self, port: u16, data: &[u8]) {
        self.counters.port_writes += 1;
        let own = port != control::RESET_CONTROL && self.pci.port_write(port, data);
        if !own && !self.isa.write(port, data, self.now_ns) {
            self.counters.port_errors += 1;
        }
        self.settle();
        self.drain();
    }

    fn msr_read(&mut self, msr: u32) -> Option<u64> {
        self.apics.msr_read(self.current, msr, self.now_ns)
    }

    fn msr_write(&mut self, msr: u32, value: u64) -> Option<()> {
        let done = self.apics.msr_write(self.current, msr, value, self.now_ns);
        self.settle();
        done
    }

    fn task_priority(&mut self) -> u8 {
        self.apics.task_priority(self.current)
    }

    fn set_task_priority(&mut self, priority: u8) {
        self.apics.set_task_priority(self.current, priority);
    }

    fn interrupt_waits(&mut self) -> bool {
        self.apics.waits(self.current)
    }

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        self.acknowledge()
    }
}
