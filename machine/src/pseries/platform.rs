//! Everything of the machine but its vCPUs: memory, devices, interrupt controller, clock, counters. It is the vCPUs' bus.

use viommu_cpu::bus::{Bus, BusError};
use viommu_cpu::ppc64::Cpu;
use viommu_devices::dma::Gpa;
use viommu_devices::memory::GuestRam;
use viommu_devices::spapr::iommu::SpaprIommu;
use viommu_devices::spapr::nvram::Nvram;
use viommu_devices::spapr::phb::{IrqKind, Phb, buid_of};
use viommu_devices::spapr::rtas::{RtasReply, RtasRequest};
use viommu_devices::spapr::vty::Vty;
use viommu_devices::spapr::xics::Xics;

use super::build::Function;
use super::config::Features;
use super::hcall;
use super::slots::Slots;
use crate::clock::Clock;
use crate::config::End;
use crate::observe::{Console, Counters};
use crate::ram;

/// What a vCPU does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VcpuState {
    /// Not started, or stopped by itself.
    #[default]
    Stopped,
    /// It has instructions to execute.
    Running,
    /// It waits after H_CEDE.
    Ceded,
}

/// A vCPU as the hypervisor sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcpu {
    /// What it does.
    pub state: VcpuState,
    /// H_PROD came while it was not ceded: its next H_CEDE returns at once.
    pub prodded: bool,
    /// Its virtual processor area, if registered.
    pub vpa: Option<u64>,
    /// Its dispatch trace log is registered.
    pub dispatch_log: bool,
    /// Its SLB shadow buffer is registered.
    pub slb_shadow: bool,
}

/// How the vCPUs of the partition run, as H_SET_MODE and H_REGISTER_PROC_TBL set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Process table: address, and its size in the low bits; 0 if none.
    pub process_table: u64,
    /// Radix translation was chosen.
    pub radix: bool,
    /// The guest shoots down translations by itself.
    pub gtse: bool,
    /// LPCR.AIL: 0, 2 or 3.
    pub ail: u8,
    /// LPCR.ILE: interrupts are taken in little-endian order.
    pub little_endian: bool,
}

/// MSR of a processor at its start: 64-bit, machine check enabled; big-endian, real mode.
const MSR_START: u64 = 1 << 63 | 1 << 12;

impl Partition {
    /// Gives the modes to all vCPUs.
    pub fn apply(&self, cpus: &mut [Cpu]) {
        for cpu in cpus {
            self.apply_one(cpu);
        }
    }

    fn apply_one(&self, cpu: &mut Cpu) {
        cpu.set_process_table(self.process_table);
        cpu.set_ail(self.ail);
        cpu.set_little_endian_interrupts(self.little_endian);
    }

    /// Puts a vCPU at `entry` as after power-on, in the partition's modes.
    pub fn start(&self, cpu: &mut Cpu, entry: u64) {
        cpu.reset();
        self.apply_one(cpu);
        cpu.set_msr(MSR_START);
        cpu.set_pc(entry);
    }
}

/// The machine without its vCPUs.
pub struct Platform {
    /// Guest RAM.
    pub ram: GuestRam,
    /// Its size in bytes; it starts at 0.
    pub memory: u64,
    /// Virtual time.
    pub clock: Clock,
    /// TCE tables and windows.
    pub iommu: SpaprIommu,
    /// The host bridges, by number.
    pub phbs: Vec<Phb>,
    /// The interrupt controller.
    pub xics: Xics,
    /// The console's terminal.
    pub vty: Vty,
    /// What the terminal wrote and nobody has looked at yet.
    pub(super) output: std::sync::mpsc::Receiver<Vec<u8>>,
    /// NVRAM.
    pub nvram: Nvram,
    /// vCPUs as the hypervisor sees them.
    pub vcpus: Vec<Vcpu>,
    /// Modes of the partition.
    pub partition: Partition,
    /// What is offered.
    pub features: Features,
    /// Counters.
    pub counters: Counters,
    /// The console's output.
    pub console: Console,
    /// Connectors, and what is behind those not in use.
    pub slots: Slots,
    /// A session of error injection is open.
    pub errinjct_open: bool,
    /// State of H_RANDOM.
    pub random: u64,
    /// The running vCPU gave the rest of its turn away.
    pub turn_over: bool,
    /// Set when the run is over.
    pub end: Option<End>,
    /// PCI functions, for the report.
    pub functions: Vec<Function>,
}

impl Platform {
    /// Moves what the terminal wrote to the console.
    pub fn drain_console(&mut self) {
        while let Ok(chars) = self.output.try_recv() {
            self.console
                .write(&chars, self.clock.now_ns(), self.counters.instructions);
        }
    }

    /// One character for the operator: it goes to the console.
    pub fn display(&mut self, c: u8) {
        self.console
            .write(&[c], self.clock.now_ns(), self.counters.instructions);
    }

    /// Tells the interrupt controller what the bridge and the terminal want.
    pub fn deliver_interrupts(&mut self) {
        for phb in self.phbs.iter_mut().filter(|p| p.has_irqs()) {
            for event in phb.take_irqs() {
                match event.kind {
                    IrqKind::Edge => self.xics.raise_edge(event.source),
                    IrqKind::Level(level) => self.xics.set_level(event.source, level),
                };
            }
        }
        if let Some(source) = self.vty.take_irq() {
            self.xics.raise_edge(source);
        }
    }

    /// Does deferred work of devices that is due.
    pub fn run_devices(&mut self) {
        let now = self.clock.now_ns();
        for phb in &mut self.phbs {
            if phb.next_deadline().is_some_and(|at| at <= now) {
                phb.run_due(now);
            }
        }
        self.deliver_interrupts();
    }

    /// When the next deferred work of a device is due, in virtual nanoseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.phbs.iter().filter_map(Phb::next_deadline).min()
    }

    /// The host bridge with this unit id, unless it is isolated.
    pub fn bridge(&self, buid: u64) -> Option<&Phb> {
        let mut reachable = self.phbs.iter().filter(|phb| !phb.is_isolated());
        reachable.find(|phb| phb.config().buid == buid)
    }

    /// True if this is the unit id of an isolated host bridge.
    pub fn is_isolated(&self, buid: u64) -> bool {
        let mut isolated = self.phbs.iter().filter(|phb| phb.is_isolated());
        isolated.any(|phb| phb.config().buid == buid)
    }

    /// RTAS calls of the host bridges: of the one that the call names, else of the first.
    pub fn bridge_rtas(&mut self, request: &RtasRequest) -> Option<RtasReply> {
        let buid = buid_of(request.call, request.args());
        let named = self
            .phbs
            .iter()
            .position(|phb| buid == Some(phb.config().buid));
        let phb = self.phbs.get_mut(named.unwrap_or(0))?;
        phb.set_now(self.clock.now_ns());
        let reply = phb.rtas(request.call, request.args());
        self.deliver_interrupts();
        reply
    }
}

impl Bus for Platform {
    fn mmio_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.counters.mmio_reads += 1;
        let now = self.clock.now_ns();
        for phb in &mut self.phbs {
            phb.set_now(now);
            if phb.mmio_read(Gpa(gpa), data) {
                self.deliver_interrupts();
                return Ok(());
            }
        }
        self.counters.mmio_errors += 1;
        Err(BusError)
    }

    fn mmio_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), BusError> {
        self.counters.mmio_writes += 1;
        let now = self.clock.now_ns();
        for phb in &mut self.phbs {
            phb.set_now(now);
            if phb.mmio_write(Gpa(gpa), data) {
                self.deliver_interrupts();
                return Ok(());
            }
        }
        self.counters.mmio_errors += 1;
        Err(BusError)
    }

    fn hypercall(&mut self, gprs: &mut [u64; 13]) -> bool {
        hcall::at_once(self, gprs)
    }

    fn watch_code(&mut self, gpa: u64) {
        ram::watch_code(&self.ram, gpa);
    }
}
