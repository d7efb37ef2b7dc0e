//! The machine: builds itself from a configuration, lets its processors run in turns, and tells what happened.

use viommu_cpu::engine::{EngineStats, Shared};
use viommu_cpu::x86_64::cpuid::Model;
use viommu_cpu::x86_64::{Cpu, Exit};
use viommu_devices::pc::apic::{Apics, Signals};
use viommu_devices::pc::ioapic::IoApic;
use vm_memory::{Bytes, GuestAddress};

use super::boot::Boot;
use super::build;
use super::config::{ConfigError, PcConfig};
use super::faults::Faults;
use super::interrupts::Sources;
use super::isa::Isa;
use super::platform::{Accessed, Platform};
use crate::clock::Clock;
use crate::config::End;
use crate::host::Host;
use crate::observe::{Console, Counters};
use crate::ram;
use crate::run::{self, Limits, Turns};

#[cfg(test)]
mod tests;

/// How long all processors may wait with interrupts disabled before the machine is taken for dead, in nanoseconds of virtual time: only
/// an NMI or an INIT could wake one.
const DEAD_NS: u64 = 10_000_000_000;

/// A PC.
#[derive(Debug)]
pub struct Machine {
    config: PcConfig,
    limits: Limits,
    cpus: Vec<Cpu>,
    shared: Shared,
    platform: Platform,
    /// Since when all processors wait with interrupts disabled.
    dead_since: Option<u64>,
}

impl Machine {
    /// Builds a machine and loads its guest.
    ///
    /// # Errors
    /// [`ConfigError`]: each is something that the user can mend.
    pub fn new(mut config: PcConfig) -> Result<Machine, ConfigError> {
        let boot = Boot::of(&config)?;
        // What of them goes into RAM is in `boot` now.
        drop(config.take_images());
        let Some(loaded) = &boot.loaded else {
            return Err(ConfigError::NothingToRun);
        };
        let ram = build::ram(config.memory)?;
        for (at, bytes) in boot.placements() {
            // The loader has held everything against the memory map.
            ram.write_slice(bytes, GuestAddress(at))
                .map_err(|_| ConfigError::NothingToRun)?;
        }
        let units = build::units(&config, &ram)?;
        let faults = Faults::default();
        let counters = Counters::default();
        let (pci, functions) = build::pci(
            &config,
            &boot.slots,
            &ram,
            &units,
            &faults,
            &counters.translations,
        )?;
        let platform = Platform {
            clock: Clock::default(),
            current: 0,
            now_ns: 0,
            units,
            units_run_again: false,
            faults,
            pci,
            apics: Apics::new(config.cpus, config.x2apic),
            io_apic: IoApic::default(),
            isa: Isa::new(config.cpus, config.memory),
            sources: Sources::new(),
            counters,
            accessed: Accessed::default(),
            console: Console::new(config.until.clone()),
            end: None,
            functions,
            ram,
        };
        let mut shared = Shared::new(&platform.ram);
        shared.code.set_engine(config.engine);
        let model = Model {
            cpus: config.cpus,
            x2apic: config.x2apic,
            ..Model::default()
        };
        let mut cpus: Vec<Cpu> = (0..config.cpus).map(|n| Cpu::new(n, model)).collect();
        for (index, cpu) in cpus.iter_mut().enumerate() {
            match index {
                0 => cpu.load(&loaded.start),
                _ => cpu.wait_for_start(),
            }
            if config.sample_every != 0 {
                cpu.sample_every(config.sample_every);
            }
        }
        if config.sample_every != 0 {
            shared.code.measure();
        }
        Ok(Machine {
            limits: Limits {
                until: config.until.clone(),
                max_instructions: config.max_instructions,
            },
            config,
            cpus,
            shared,
            platform,
            dead_since: None,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &PcConfig {
        &self.config
    }

    /// What the processors' engine did.
    pub fn engine_stats(&self) -> EngineStats {
        self.shared.stats()
    }

    /// Everything but the processors.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The processors.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// Runs until the end of the run.
    pub fn run(&mut self, host: &mut dyn Host) -> End {
        run::run(self, host)
    }

    /// Tells a processor what its local APIC has for it beside interrupts.
    fn signal(&mut self, index: usize) {
        if !self.platform.apics.has_signals(index) {
            return;
        }
        let Signals { nmi, init, startup } = self.platform.apics.take_signals(index);
        let Some(cpu) = self.cpus.get_mut(index) else {
            return;
        };
        if init && index == 0 {
            // It would begin with firmware, which would begin with everything.
            self.platform.end.get_or_insert(End::Reboot);
        }
        if init {
            cpu.init();
        }
        if let Some(vector) = startup {
            cpu.start(vector);
        }
        if nmi {
            cpu.set_nmi();
        }
    }

    /// True if a processor has instructions to execute.
    fn can_run(&mut self, index: usize) -> bool {
        self.signal(index);
        self.platform.current = index;
        self.cpus.get(index).is_some_and(|cpu| {
            !cpu.is_waiting_for_sipi() && (!cpu.is_halted() || cpu.can_wake(&mut self.platform))
        })
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
        self.platform.isa.uart.room()
    }

    fn input(&mut self, bytes: &[u8]) {
        self.platform.isa.uart.input(bytes);
    }

    fn end(&mut self) -> &mut Option<End> {
        &mut self.platform.end
    }

    fn run_devices(&mut self) {
        self.platform.run_devices();
        // A kernel that has panicked may reboot at once.
        let ended = self.platform.end.is_some();
        if let Some(words) = self.platform.console.panic(ended) {
            self.platform.end = Some(End::Panic(words.to_owned()));
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        self.platform.next_deadline()
    }

    fn wake(&mut self) -> bool {
        let any = (0..self.cpus.len()).any(|index| self.can_run(index));
        if any {
            self.dead_since = None;
        }
        any
    }

    fn next_wake(&self) -> Option<u64> {
        None
    }

    fn turn(&mut self, index: usize, now: u64, turn: &mut u64) -> u64 {
        let mut done = 0;
        while done < *turn && self.platform.end.is_none() && self.can_run(index) {
            let Some(cpu) = self.cpus.get_mut(index) else {
                break;
            };
            self.platform.begin(index, now + done);
            ram::sync_code(&self.platform.ram, &mut self.shared);
            let run = cpu.run(
                &mut self.shared,
                &mut self.platform,
                now + done,
                *turn - done,
            );
            self.platform.counters.instructions += run.executed;
            done += run.executed.max(1);
            match run.exit {
                Exit::Budget => self.platform.counters.exits.count(done >= *turn),
                Exit::Halt => {}
                Exit::Shutdown => self.platform.end = Some(End::TripleFault(index)),
                Exit::Fatal(reason) => {
                    self.platform.end = Some(End::CpuStopped { cpu: index, reason })
                }
            }
            if let Some(at) = self.platform.next_deadline() {
                *turn = at.saturating_sub(now).clamp(done.min(*turn), *turn);
            }
        }
        done.min((*turn).max(1))
    }

    fn is_dead(&mut self) -> bool {
        const IF: u64 = 1 << 9;
        let deaf = |cpu: &Cpu| cpu.is_waiting_for_sipi() || cpu.rflags() & IF == 0;
        if !self.cpus.iter().all(deaf) {
            return false;
        }
        let now = self.platform.clock.now_ns();
        now - *self.dead_since.get_or_insert(now) >= DEAD_NS
    }
}
