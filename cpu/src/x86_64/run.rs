//! The loop around the engine: interrupts, steps, halts, and starts of other processors.

use std::collections::BTreeMap;

use super::exception::{Exception, vector};
use super::memory::Env;
use super::regs::*;
use super::segment::{Segment, SegmentRegister};
use super::{Activity, Cpu, Exit, Run};
use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::{self, NEXT_PC, Stop};

/// DR6: a step has ended.
const DR6_BS: u64 = 1 << 14;
/// Most different addresses that are sampled.
const MAX_SAMPLED: usize = 1 << 20;

/// Where instructions are executed: a sample each so many of them.
#[derive(Debug)]
pub(super) struct Sampler {
    every: u64,
    /// Instructions until the next sample.
    left: u64,
    samples: BTreeMap<(u64, bool), u64>,
}

impl Cpu {
    /// Notes the address of every `every`th instruction (0: none) from now on. What the guest sees does not change.
    pub fn sample_every(&mut self, every: u64) {
        self.sampler = (every != 0).then(|| {
            Box::new(Sampler {
                every,
                left: every,
                samples: BTreeMap::new(),
            })
        });
    }

    /// How often each (linear address, at CPL 3) was sampled.
    pub fn samples(&self) -> impl Iterator<Item = ((u64, bool), u64)> {
        let samples = self.sampler.iter().flat_map(|s| &s.samples);
        samples.map(|(at, n)| (*at, *n))
    }

    fn sample(&mut self, executed: u64) {
        let at = (self.core.pc, self.cpl() == 3);
        if let Some(s) = &mut self.sampler {
            s.left = s.left.saturating_sub(executed);
            if s.left == 0 {
                s.left = s.every;
                if s.samples.len() < MAX_SAMPLED || s.samples.contains_key(&at) {
                    *s.samples.entry(at).or_default() += 1;
                }
            }
        }
    }

    /// A non-maskable interrupt is to be taken.
    pub fn set_nmi(&mut self) {
        self.nmi = true;
    }

    /// INIT: the state after a reset, but for vector registers and model-specific ones; then the CPU waits for [`Cpu::start`].
    pub fn init(&mut self) {
        self.reset_registers();
        self.activity = Activity::WaitForSipi;
    }

    /// The CPU begins as one that is not the first of the machine: it waits for [`Cpu::start`].
    pub fn wait_for_start(&mut self) {
        self.init();
    }

    /// A start-up interrupt: if the CPU waits for one, it begins in real mode at `vector` * 4096.
    pub fn start(&mut self, vector: u8) {
        if self.activity != Activity::WaitForSipi {
            return;
        }
        self.activity = Activity::Active;
        self.set_segment(
            SegmentRegister::Cs,
            Segment {
                selector: u16::from(vector) << 8,
                base: u64::from(vector) << 12,
                limit: 0xffff,
                attributes: 0x9b,
            },
        );
        self.set_rip(0);
    }

    /// True after an INIT, until a start-up interrupt.
    pub fn is_waiting_for_sipi(&self) -> bool {
        self.activity == Activity::WaitForSipi
    }

    /// True after HLT, until an interrupt ends it.
    pub fn is_halted(&self) -> bool {
        self.activity == Activity::Halted
    }

    /// True if something would end a HLT now: an interrupt that IF lets through, or an NMI.
    pub fn can_wake(&self, bus: &mut dyn Bus) -> bool {
        self.nmi && !self.nmi_blocked || self.system_flags & FLAG_IF != 0 && bus.interrupt_waits()
    }

    /// Applies what other CPUs did to the code cache.
    fn catch_up(&mut self, shared: &Shared) {
        if self
            .core
            .tlb
            .is_up_to_date(&shared.shootdowns, &shared.code)
        {
            return;
        }
        let mut all = false;
        self.core
            .tlb
            .catch_up(&shared.shootdowns, &shared.code, |_| all = true);
        if all {
            self.flush_all();
        }
    }

    /// Takes an interrupt or an NMI if one waits and may be taken. The budget of the next instructions: 1 if an interrupt has to wait for
    /// the end of one.
    fn take_interrupt(&mut self, shared: &mut Shared, bus: &mut dyn Bus) -> Option<u64> {
        if self.shadow {
            self.shadow = false;
            return Some(1);
        }
        if self.nmi && !self.nmi_blocked {
            self.nmi = false;
            self.nmi_blocked = true;
            self.activity = Activity::Active;
            self.interrupt(&mut Env { shared, bus }, vector::NMI);
        } else if self.system_flags & FLAG_IF != 0
            && bus.interrupt_waits()
            && let Some(vector) = bus.acknowledge_interrupt()
        {
            self.activity = Activity::Active;
            self.interrupt(&mut Env { shared, bus }, vector);
        }
        None
    }

    /// Runs at most `max` instructions from virtual time `now_ns`. Whoever calls has reported device writes to code pages with
    /// [`Shared::invalidate_page`].
    pub fn run(&mut self, shared: &mut Shared, bus: &mut dyn Bus, now_ns: u64, max: u64) -> Run {
        self.catch_up(shared);
        let mut done = 0;
        let exit = loop {
            self.now_ns = now_ns.wrapping_add(done);
            self.core.executed = 0;
            if done >= max {
                break Exit::Budget;
            }
            match self.activity {
                Activity::WaitForSipi => break Exit::Halt,
                Activity::Shutdown => break Exit::Shutdown,
                Activity::Active | Activity::Halted => {}
            }
            let shadow = self.take_interrupt(shared, bus);
            match self.activity {
                Activity::Halted => break Exit::Halt,
                Activity::Shutdown => break Exit::Shutdown,
                _ => {}
            }
            let mut budget = shadow.unwrap_or(max - done).min(max - done);
            if let Some(s) = &self.sampler {
                budget = budget.min(s.left);
            }
            let step = self.system_flags & FLAG_TF != 0;
            if step {
                budget = 1;
            }
            let (stop, executed) = exec::exec(self, shared, bus, &[], budget);
            done += executed;
            self.sample(executed);
            self.now_ns = now_ns.wrapping_add(done);
            self.core.executed = 0;
            match stop {
                Stop::Fault => self.after_fault(&mut Env { shared, bus }),
                // A load of SS holds the trap back too.
                Stop::Budget | Stop::Leave if step && !self.shadow => {
                    self.dr[6] |= DR6_BS;
                    let e = Exception {
                        trap: true,
                        ..Exception::plain(vector::DB)
                    };
                    let next = self.core.pc;
                    self.deliver(&mut Env { shared, bus }, e, next);
                }
                Stop::Budget | Stop::Leave => {}
            }
            if let Some(what) = shared.mismatch.take() {
                break Exit::Fatal(what);
            }
            if let Some(exit) = self.exit.take() {
                break exit;
            }
            if self.core.left_for_device() {
                break Exit::Budget;
            }
        };
        self.now_ns = now_ns.wrapping_add(done);
        self.core.executed = 0;
        Run {
            exit,
            executed: done,
        }
    }

    /// Delivers the exception that was recorded.
    fn after_fault(&mut self, env: &mut Env<'_>) {
        let Some(mut e) = self.pending.take() else {
            return;
        };
        if e.vector == vector::GP && e.address.is_some() && self.is_stack_access(env.shared) {
            e.vector = vector::SS;
        }
        let at = if e.trap {
            self.core.regs[NEXT_PC]
        } else {
            self.core.pc
        };
        self.deliver(env, e, at);
    }
}
