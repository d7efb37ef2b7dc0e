//! The machine: builds itself from a configuration, lets its vCPUs run in turns, and tells what happened.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

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
use crate::host::Host;
use crate::observe::report::{
    DeviceSummary, EehSummary, HostSummary, MachineSummary, MmioSummary, PartitionSummary,
};
use crate::observe::{Console, Counters, Report};
use crate::ram;
use crate::run::{self, Limits, Turns};

/// A pseries machine.
pub struct Machine {
    config: MachineConfig,
    limits: Limits,
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
    pub fn new(mut config: MachineConfig) -> Result<Machine, ConfigError> {
        if !(1..=map::CPUS_MAX).contains(&config.cpus) {
            return Err(ConfigError::Cpus(config.cpus));
        }
        let ram = build::ram(&config)?;
        let layout = load::load(&ram, &config)?;
        // They are in RAM now.
        drop(config.take_images());
        let iommu = build::iommu(&config)?;
        let counters = Counters::default();
        let (mut phbs, mut functions, mut described) = (Vec::new(), Vec::new(), Vec::new());
        let bridges = config.bridges()?;
        for (place, devices) in &bridges {
            let (phb, more) = build::bridge(*place, devices, &ram, &iommu, &counters.translations)?;
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
            counters,
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
        let limits = Limits {
            until: config.until.clone(),
            max_instructions: config.max_instructions,
        };
        let mut machine = Machine {
            config,
            limits,
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
        run::run(self, host)
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
            partition: Some(PartitionSummary {
                iommu: p.iommu.report().into(),
                hypercalls: p.counters.hypercalls_by_name(),
                rtas: p.counters.rtas_by_name(),
                slots: p.slots.events().to_vec(),
                eeh: self.eeh(),
            }),
            devices: devices.collect(),
            translations: p.counters.translations.calls(),
            interrupts: self.interrupts(),
            mmio: MmioSummary {
                reads: p.counters.mmio_reads,
                writes: p.counters.mmio_writes,
                errors: p.counters.mmio_errors,
            },
            host: HostSummary {
                hypercalls: p.counters.hypercall_costs(),
                rtas: p.counters.rtas_costs(),
                translations: p.counters.translations.cost(),
                window_translations: p.counters.translations.cost_by_window(),
                ..HostSummary::default()
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

impl Turns for Machine {
    fn cpus(&self) -> usize {
        self.cpus.len()
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn counters(&mut self) -> &mut Counters {
        &mut self.platform.counters
    }

    fn clock(&mut self) -> &mut Clock {
        &mut self.platform.clock
    }

    fn console(&mut self) -> &mut Console {
        &mut self.platform.console
    }

    fn input_room(&self) -> usize {
        INPUT_CAP.saturating_sub(self.platform.vty.waiting())
    }

    fn input(&mut self, bytes: &[u8]) {
        self.platform.vty.input(bytes);
    }

    fn end(&mut self) -> &mut Option<End> {
        &mut self.platform.end
    }

    fn run_devices(&mut self) {
        self.platform.run_devices();
    }

    fn next_deadline(&self) -> Option<u64> {
        self.platform.next_deadline()
    }

    fn wake(&mut self) -> bool {
        let now = self.platform.clock.now_ns();
        let mut any = false;
        for (i, (vcpu, cpu)) in self.platform.vcpus.iter_mut().zip(&self.cpus).enumerate() {
            if vcpu.state == VcpuState::Ceded {
                let timer = cpu.next_timer_ns().is_some_and(|at| at <= now);
                if timer || self.platform.xics.external_asserted(i as u32) {
                    vcpu.state = VcpuState::Running;
                }
            }
            any |= vcpu.state == VcpuState::Running;
        }
        any
    }

    fn next_wake(&self) -> Option<u64> {
        let vcpus = self.platform.vcpus.iter().zip(&self.cpus);
        let ceded = vcpus.filter(|(v, _)| v.state == VcpuState::Ceded);
        ceded.filter_map(|(_, cpu)| cpu.next_timer_ns()).min()
    }

    fn turn(&mut self, index: usize, now: u64, turn: &mut u64) -> u64 {
        let mut left = *turn;
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
            ram::sync_code(&self.platform.ram, &mut self.shared);
            cpu.set_external(self.platform.xics.external_asserted(index as u32));
            let run = cpu.run(
                &mut self.shared,
                &mut self.platform,
                now + (*turn - left),
                left,
            );
            self.platform.counters.instructions += run.executed;
            left = left.saturating_sub(run.executed.max(1));
            match run.exit {
                Exit::Budget => {
                    self.platform.counters.exits.count(left == 0);
                    // A device was told to do something.
                    if let Some(at) = self.platform.next_deadline() {
                        let done = *turn - left;
                        *turn = at.saturating_sub(now).clamp(done, *turn);
                        left = *turn - done;
                    }
                }
                Exit::Hypercall => hcall::dispatch(&mut self.cpus, &mut self.platform, index),
                Exit::Fatal(reason) => {
                    self.platform.end = Some(End::CpuStopped { cpu: index, reason })
                }
            }
        }
        *turn - left
    }
}
