//! The machine: builds itself from a configuration, lets its vCPUs run in turns, and tells what happened.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use viommu_cpu::engine::{EngineStats, Shared};
use viommu_cpu::ppc64::{Cpu, Exit};
use viommu_devices::spapr::eeh::EehCounters;
use viommu_devices::spapr::nvram::Nvram;
use viommu_devices::spapr::vty::{INPUT_CAP, VTY_UNIT, Vty};

use super::config::{ConfigError, MachineConfig};
use super::load::{self, Layout};
use super::platform::{Partition, Platform, Vcpu, VcpuState};
use super::{build, hcall, map, tree};
use crate::clock::Clock;
use crate::config::End;
use crate::host::{Host, Moment};
use crate::observe::report::{DeviceSummary, EehSummary, MachineSummary, MmioSummary};
use crate::observe::{Console, Counters, Report};

/// Length of a turn: instructions, and so nanoseconds.
const TURN: u64 = 20_000;
/// Turns between two looks at the host.
const TURNS_PER_POLL: u32 = 64;

/// A pseries machine.
pub struct Machine {
    config: MachineConfig,
    cpus: Vec<Cpu>,
    shared: Shared,
    platform: Platform,
    dtb: Vec<u8>,
}

impl Machine {
    /// Builds a machine and loads its guest.
    ///
    /// # Errors
    /// [`ConfigError`]: each is something that the user can mend.
    pub fn new(config: MachineConfig) -> Result<Machine, ConfigError> {
        if !(1..=map::CPUS_MAX).contains(&config.cpus) {
            return Err(ConfigError::Cpus(config.cpus));
        }
        let ram = build::ram(&config)?;
        let layout = load::load(&ram, &config)?;
        let iommu = build::iommu(&config)?;
        let (mut phbs, mut functions, mut described) = (Vec::new(), Vec::new(), Vec::new());
        let bridges = config.bridges()?;
        for (place, devices) in &bridges {
            let (phb, more) = build::bridge(*place, devices, &ram, &iommu)?;
            described.push((*place, build::describe(place.index, phb.functions())));
            phbs.push(phb);
            functions.extend(more);
        }
        let description = tree::describe(&config, &layout, &iommu, described);
        let slots = build::slots(&config, &description, &mut phbs, &bridges);
        let dtb = tree::build(description, &phbs)?;
        load::write_dtb(&ram, &layout, &dtb)?;
        let (sink, output) = mpsc::channel();
        let platform = Platform {
            memory: config.memory,
            clock: Clock::default(),
            iommu,
            xics: build::xics(config.cpus, phbs.len() as u32),
            phbs,
            vty: Vty::new(VTY_UNIT, map::VTY_IRQ, Box::new(sink)),
            output,
            nvram: Nvram::default(),
            vcpus: vec![Vcpu::default(); config.cpus as usize],
            partition: Partition::default(),
            features: config.features,
            counters: Counters::default(),
            console: Console::new(config.until.clone()),
            slots,
            errinjct_open: false,
            random: 0x7261_6e64_6f6d,
            turn_over: false,
            end: None,
            functions,
            ram,
        };
        let mut shared = Shared::new(&platform.ram);
        shared.code.set_engine(config.engine);
        let mut cpus: Vec<Cpu> = (0..config.cpus).map(Cpu::new).collect();
        if config.sample_every != 0 {
            cpus.iter_mut()
                .for_each(|c| c.sample_every(config.sample_every));
            shared.code.measure();
        }
        let mut machine = Machine {
            config,
            cpus,
            shared,
            platform,
            dtb,
        };
        machine.start(&layout);
        Ok(machine)
    }

    /// r3 is the device tree, r4 the kernel, r5 zero: no Open Firmware.
    fn start(&mut self, layout: &Layout) {
        let (Some(cpu), Some(vcpu)) = (self.cpus.first_mut(), self.platform.vcpus.first_mut())
        else {
            return;
        };
        self.platform.partition.start(cpu, layout.entry);
        cpu.set_gpr(3, layout.dtb);
        cpu.set_gpr(4, layout.kernel_base);
        cpu.set_gpr(5, 0);
        vcpu.state = VcpuState::Running;
    }

    /// The device tree that the guest got.
    pub fn dtb(&self) -> &[u8] {
        &self.dtb
    }

    /// What the CPUs' engine did.
    pub fn engine_stats(&self) -> EngineStats {
        self.shared.stats()
    }

    /// Everything but the vCPUs.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The vCPUs.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// Runs until the end of the run.
    pub fn run(&mut self, host: &mut dyn Host) -> End {
        let mut until_poll = 0;
        loop {
            if until_poll == 0 {
                until_poll = TURNS_PER_POLL;
                self.poll(host);
            }
            until_poll -= 1;
            self.platform.run_devices();
            if let Some(end) = self.over() {
                self.poll(host);
                self.platform.console.phase(
                    "end",
                    self.platform.clock.now_ns(),
                    self.platform.counters.instructions,
                );
                return end;
            }
            self.wake();
            if self
                .platform
                .vcpus
                .iter()
                .any(|v| v.state == VcpuState::Running)
            {
                self.round();
            } else if self.idle(host) {
                until_poll = 0;
            }
        }
    }

    fn over(&mut self) -> Option<End> {
        // First, as the guest may have switched itself off right after it printed the pattern.
        if self.platform.console.until_seen() {
            return Some(End::Until(self.config.until.clone().unwrap_or_default()));
        }
        if let Some(end) = &self.platform.end {
            return Some(end.clone());
        }
        let max = self.config.max_instructions?;
        (self.platform.counters.instructions >= max).then_some(End::MaxInstructions)
    }

    fn poll(&mut self, host: &mut dyn Host) {
        let console = self.platform.console.take_fresh();
        let moment = Moment {
            now_ns: self.platform.clock.now_ns(),
            instructions: self.platform.counters.instructions,
            console: &console,
            last_line: self.platform.console.last_line(),
            phases: self.platform.console.phases().len(),
        };
        let input = host.poll(
            moment,
            INPUT_CAP.saturating_sub(self.platform.vty.waiting()),
        );
        self.platform.vty.input(&input.bytes);
        if input.quit && self.platform.end.is_none() {
            self.platform.end = Some(End::UserQuit);
        }
    }

    /// Ends the waiting of vCPUs that have something to do.
    fn wake(&mut self) {
        let now = self.platform.clock.now_ns();
        for (i, (vcpu, cpu)) in self.platform.vcpus.iter_mut().zip(&self.cpus).enumerate() {
            if vcpu.state == VcpuState::Ceded {
                let timer = cpu.next_timer_ns().is_some_and(|at| at <= now);
                if timer || self.platform.xics.external_asserted(i as u32) {
                    vcpu.state = VcpuState::Running;
                }
            }
        }
    }

    /// No vCPU runs: skips to the next event, or ends. Returns true if the host may have input.
    fn idle(&mut self, host: &mut dyn Host) -> bool {
        let ceded = self
            .platform
            .vcpus
            .iter()
            .zip(&self.cpus)
            .filter(|(v, _)| v.state == VcpuState::Ceded);
        let timer = ceded.filter_map(|(_, cpu)| cpu.next_timer_ns()).min();
        let next = [timer, self.platform.next_deadline()]
            .into_iter()
            .flatten()
            .min();
        let ns = next.map(|at| at.saturating_sub(self.platform.clock.now_ns()));
        let waited = host.idle(ns.map(Duration::from_nanos));
        match next {
            Some(at) => self.platform.clock.skip_to(at),
            None if waited => {}
            None => self.platform.end = Some(End::Deadlock),
        }
        waited
    }

    /// One turn for every vCPU that runs, over the same piece of virtual time.
    fn round(&mut self) {
        let now = self.platform.clock.now_ns();
        let mut turn = TURN;
        if let Some(at) = self.platform.next_deadline() {
            turn = turn.min(at.saturating_sub(now).max(1));
        }
        if let Some(max) = self.config.max_instructions {
            turn = turn.min(
                max.saturating_sub(self.platform.counters.instructions)
                    .max(1),
            );
        }
        let mut longest = 0;
        for index in 0..self.cpus.len() {
            longest = longest.max(self.turn(index, now, turn));
        }
        self.platform.clock.advance(longest);
    }

    /// One turn of one vCPU. Returns how long it was.
    fn turn(&mut self, index: usize, now: u64, turn: u64) -> u64 {
        let mut left = turn;
        self.platform.turn_over = false;
        while left > 0 && self.platform.end.is_none() && !self.platform.turn_over {
            if self
                .platform
                .vcpus
                .get(index)
                .is_none_or(|v| v.state != VcpuState::Running)
            {
                break;
            }
            let Some(cpu) = self.cpus.get_mut(index) else {
                break;
            };
            self.platform.sync_code(&mut self.shared);
            cpu.set_external(self.platform.xics.external_asserted(index as u32));
            let run = cpu.run(
                &mut self.shared,
                &mut self.platform,
                now + (turn - left),
                left,
            );
            self.platform.counters.instructions += run.executed;
            left = left.saturating_sub(run.executed.max(1));
            match run.exit {
                Exit::Budget => {}
                Exit::Hypercall => hcall::dispatch(&mut self.cpus, &mut self.platform, index),
                Exit::Fatal(reason) => {
                    self.platform.end = Some(End::CpuStopped { cpu: index, reason })
                }
            }
        }
        turn - left
    }

    /// What happened, without checks and host times.
    pub fn report(&self, end: &End) -> Report {
        let p = &self.platform;
        let count = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
        let devices = p.functions.iter().map(|f| DeviceSummary {
            name: f.name.clone(),
            address: match f.bridge {
                0 => format!("{:?}", f.port.source()),
                n => format!("{n:04x}:{:?}", f.port.source()),
            },
            bytes_read: count(&f.port.counters().bytes_read),
            bytes_written: count(&f.port.counters().bytes_written),
            faults: count(&f.port.counters().faults),
        });
        Report {
            machine: MachineSummary {
                kind: "pseries".into(),
                cpus: self.config.cpus,
                memory: self.config.memory,
                append: self.config.append.clone(),
            },
            end: end.to_string(),
            phases: p.console.phases().to_vec(),
            instructions: p.counters.instructions,
            virtual_ns: p.clock.now_ns(),
            idle_ns: p.clock.idle_ns(),
            iommu: p.iommu.report().into(),
            hypercalls: p.counters.hypercalls_by_name(),
            rtas: p.counters.rtas_by_name(),
            devices: devices.collect(),
            slots: p.slots.events().to_vec(),
            eeh: self.eeh(),
            interrupts: self.interrupts(),
            mmio: MmioSummary {
                reads: p.counters.mmio_reads,
                writes: p.counters.mmio_writes,
                errors: p.counters.mmio_errors,
            },
            ..Report::default()
        }
    }

    /// Error handling of all PEs.
    fn eeh(&self) -> EehSummary {
        let mut all = EehSummary::default();
        for phb in &self.platform.phbs {
            let EehCounters {
                freezes,
                resets,
                loads_refused,
                stores_dropped,
            } = phb.health().counters();
            all.freezes += freezes;
            all.resets += resets;
            all.loads_refused += loads_refused;
            all.stores_dropped += stores_dropped;
        }
        all
    }

    /// Interrupts accepted, by source.
    fn interrupts(&self) -> BTreeMap<String, u64> {
        let name = |n: u32| match n {
            map::VTY_IRQ => format!("{n:#x} console"),
            n if n >= map::MSI_BASE => format!("{n:#x} message"),
            n => format!("{n:#x} line"),
        };
        let sources = self
            .platform
            .xics
            .sources()
            .filter(|(_, s)| s.counters.accepted > 0);
        sources
            .map(|(n, s)| (name(n), s.counters.accepted))
            .collect()
    }
}
