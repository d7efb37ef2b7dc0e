//! A POWER9 processor as a PAPR guest sees it: problem and supervisor state, Power ISA 3.0B, radix translation, both byte orders.
//!
//! Absent on purpose: hypervisor state, transactional memory, decimal floating point, the hash MMU.

pub mod forms;
pub mod interrupts;
pub mod regs;
pub mod vector;

mod atomics;
mod call;
mod declets;
mod decode;
mod mmu;
mod spr;
mod trace;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::{self, Access, Core, Fault, FrontEnd, Stop, Translation};
use crate::engine::uop::{R_CR0, Uop};
use interrupts::Interrupt;
use regs::*;

/// Processor version of a POWER9 DD2.0.
pub const PVR_POWER9: u64 = 0x004e_1200;
/// Bits of the large decrementer: `ibm,dec-bits`.
pub const DECREMENTER_BITS: u32 = 56;

/// Why [`Cpu::run`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The instructions are used up, or (with fewer executed) a device was accessed and may want attention.
    Budget,
    /// `sc 1` that [`Bus::hypercall`] did not answer: r3 holds the number and r4 onwards the arguments. The program counter is past the
    /// instruction.
    Hypercall,
    /// The CPU cannot go on.
    Fatal(String),
}

/// Outcome of [`Cpu::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Why it returned.
    pub exit: Exit,
    /// Instructions executed: the virtual nanoseconds that passed. An instruction that is interrupted counts.
    pub executed: u64,
}

/// Interrupts taken, by vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times each vector was entered.
    pub interrupts: BTreeMap<u64, u64>,
}

impl Counters {
    fn count(&mut self, vector: u64) {
        *self.interrupts.entry(vector).or_default() += 1;
    }
}

#[derive(Clone, Copy, Debug)]
struct Reservation {
    gpa: u64,
    size: u8,
    value: u128,
}

/// Where instructions are executed: a sample each so many of them.
#[derive(Debug)]
struct Sampler {
    every: u64,
    /// Instructions until the next sample.
    left: u64,
    samples: BTreeMap<(u64, bool), u64>,
}

/// Most different addresses that are sampled.
const MAX_SAMPLED: usize = 1 << 20;

/// One virtual processor.
#[derive(Debug)]
pub struct Cpu {
    core: Core,
    vec: vector::VecState,
    msr: u64,
    contexts: mmu::Contexts,
    process_table: u64,
    ail: u8,
    little_endian_interrupts: bool,
    external: bool,
    pending: Option<Interrupt>,
    exit: Option<Exit>,
    reservation: Option<Reservation>,
    now_ns: u64,
    dec_value: u64,
    dec_set_at: u64,
    srr0: u64,
    srr1: u64,
    dar: u64,
    dsisr: u64,
    pidr: u32,
    amr: u64,
    iamr: u64,
    uamor: u64,
    fscr: u64,
    dscr: u64,
    ctrl: u64,
    vrsave: u64,
    sprg: [u64; 4],
    ppr: u64,
    ebbhr: u64,
    ebbrr: u64,
    bescr: u64,
    pvr: u64,
    pir: u64,
    xer_rest: u64,
    random: u64,
    unknown_sprs: BTreeSet<u32>,
    illegal_words: BTreeSet<u32>,
    counters: Counters,
    sampler: Option<Box<Sampler>>,
}

/// Most different illegal instruction words that are logged.
const MAX_ILLEGAL_LOGGED: usize = 64;

impl Cpu {
    /// CPU number `index`, stopped at address 0 in big-endian 64-bit real mode.
    pub fn new(index: u32) -> Self {
        let mut cpu = Cpu {
            core: Core::default(),
            vec: vector::VecState::default(),
            msr: MSR_SF | MSR_ME,
            contexts: mmu::Contexts::default(),
            process_table: 0,
            ail: 0,
            little_endian_interrupts: false,
            external: false,
            pending: None,
            exit: None,
            reservation: None,
            now_ns: 0,
            dec_value: (1 << (DECREMENTER_BITS - 1)) - 1,
            dec_set_at: 0,
            srr0: 0,
            srr1: 0,
            dar: 0,
            dsisr: 0,
            pidr: 0,
            amr: 0,
            iamr: 0,
            uamor: 0,
            fscr: 0,
            dscr: 0,
            ctrl: 0,
            vrsave: 0,
            sprg: [0; 4],
            ppr: 0,
            ebbhr: 0,
            ebbrr: 0,
            bescr: 0,
            pvr: PVR_POWER9,
            pir: u64::from(index),
            xer_rest: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(index + 1),
            unknown_sprs: BTreeSet::new(),
            illegal_words: BTreeSet::new(),
            counters: Counters::default(),
            sampler: None,
        };
        cpu.update_contexts();
        cpu
    }

    /// Back to the state of [`Cpu::new`].
    pub fn reset(&mut self) {
        let sampler = self.sampler.take();
        *self = Cpu::new(self.pir as u32);
        self.sampler = sampler;
    }

    /// General purpose register `n` (0 to 31).
    pub fn gpr(&self, n: usize) -> u64 {
        self.core.regs[n & 31]
    }
    /// Sets general purpose register `n`.
    pub fn set_gpr(&mut self, n: usize, v: u64) {
        self.core.regs[n & 31] = v;
    }
    /// Address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.core.pc
    }
    /// Sets the address of the next instruction.
    pub fn set_pc(&mut self, pc: u64) {
        self.core.pc = pc;
    }
    /// Machine state register.
    pub fn msr(&self) -> u64 {
        self.msr
    }
    /// Sets the machine state register; bits that a guest cannot have stay 0.
    pub fn set_msr(&mut self, msr: u64) {
        let msr = msr & MSR_WRITABLE;
        let changed = self.msr ^ msr;
        self.msr = msr;
        let has = |bit, facility| if msr & bit != 0 { facility } else { 0 };
        let facilities = has(MSR_FP, HAS_FP) | has(MSR_VEC, HAS_VMX) | has(MSR_VSX, HAS_VSX);
        self.core.regs[usize::from(R_FACILITIES)] = u64::from(facilities);
        if changed & (MSR_PR | MSR_IR | MSR_DR) != 0 {
            self.update_contexts();
        }
    }
    /// Link register.
    pub fn lr(&self) -> u64 {
        self.core.regs[R_LR as usize]
    }
    /// Sets the link register.
    pub fn set_lr(&mut self, v: u64) {
        self.core.regs[R_LR as usize] = v;
    }
    /// Count register.
    pub fn ctr(&self) -> u64 {
        self.core.regs[R_CTR as usize]
    }
    /// Sets the count register.
    pub fn set_ctr(&mut self, v: u64) {
        self.core.regs[R_CTR as usize] = v;
    }
    /// Condition register.
    pub fn cr(&self) -> u32 {
        (0..8).fold(0, |cr, i| {
            cr << 4 | (self.core.regs[R_CR0 as usize + i] & 15) as u32
        })
    }
    /// Sets the condition register.
    pub fn set_cr(&mut self, v: u32) {
        for i in 0..8 {
            self.core.regs[R_CR0 as usize + i] = u64::from(v >> (28 - 4 * i) & 15);
        }
    }
    /// Vector-scalar register `n` (0 to 63), bit 0 of the ISA in the most significant place.
    pub fn vsr(&self, n: usize) -> u128 {
        let at = usize::from(R_VSR) + 2 * (n & 63);
        u128::from(self.core.regs[at + 1]) << 64 | u128::from(self.core.regs[at])
    }
    /// Sets vector-scalar register `n`.
    pub fn set_vsr(&mut self, n: usize, v: u128) {
        let at = usize::from(R_VSR) + 2 * (n & 63);
        (self.core.regs[at], self.core.regs[at + 1]) = (v as u64, (v >> 64) as u64);
    }
    /// Floating-point status and control register.
    pub fn fpscr(&self) -> u64 {
        self.vec.fpscr
    }
    /// Sets FPSCR.
    pub fn set_fpscr(&mut self, v: u64) {
        self.vec.fpscr = v;
    }
    /// Vector status and control register.
    pub fn vscr(&self) -> u32 {
        self.vec.vscr
    }
    /// Sets VSCR.
    pub fn set_vscr(&mut self, v: u32) {
        self.vec.vscr = v;
    }
    /// Interrupts taken so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

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

    /// How often each (address, in problem state) was sampled.
    pub fn samples(&self) -> impl Iterator<Item = ((u64, bool), u64)> {
        let samples = self.sampler.iter().flat_map(|s| &s.samples);
        samples.map(|(at, n)| (*at, *n))
    }

    fn sample(&mut self, executed: u64) {
        let at = (self.core.pc, self.msr & MSR_PR != 0);
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

    /// Level of the external interrupt line.
    pub fn set_external(&mut self, asserted: bool) {
        self.external = asserted;
    }
    /// Where the process table is, as H_REGISTER_PROC_TBL gives it: address, and log2 of its size minus 12 in the low five bits.
    pub fn set_process_table(&mut self, table: u64) {
        self.process_table = table;
        self.core.tlb.clear();
        self.contexts = mmu::Contexts::default();
        self.update_contexts();
    }
    /// The address translation mode on interrupts (LPCR.AIL: 0, 2 or 3) set by H_SET_MODE.
    pub fn set_ail(&mut self, ail: u8) {
        self.ail = ail;
    }
    /// The byte order of interrupt handlers (LPCR.ILE) set by H_SET_MODE.
    pub fn set_little_endian_interrupts(&mut self, on: bool) {
        self.little_endian_interrupts = on;
    }

    /// Time base: 512 MHz of virtual time.
    pub fn timebase(&self) -> u64 {
        ns_to_timebase(self.now_ns.wrapping_add(self.core.executed))
    }

    fn decrementer(&self) -> u64 {
        let v = self
            .dec_value
            .wrapping_sub(self.timebase().wrapping_sub(self.dec_set_at));
        sign_extend(v)
    }

    fn set_decrementer(&mut self, v: u64) {
        self.dec_value = sign_extend(v);
        self.dec_set_at = self.timebase();
    }

    /// Virtual time at which the decrementer becomes negative; in the past if it is.
    pub fn next_timer_ns(&self) -> Option<u64> {
        let v = self.dec_value as i64;
        let ticks = if v < 0 { 0 } else { v as u64 + 1 };
        let at = u128::from(self.dec_set_at) + u128::from(ticks);
        u64::try_from((at * 125).div_ceil(64)).ok()
    }

    /// True if an interrupt waits for `MSR[EE]` at virtual time `now_ns`: what ends H_CEDE.
    pub fn interrupt_waits(&self, now_ns: u64) -> bool {
        self.external || self.next_timer_ns().is_some_and(|t| t <= now_ns)
    }

    /// Runs at most `max` instructions from virtual time `now_ns`. Whoever calls has reported device writes to code pages with
    /// [`Shared::invalidate_page`].
    pub fn run(&mut self, shared: &mut Shared, bus: &mut dyn Bus, now_ns: u64, max: u64) -> Run {
        self.catch_up(shared);
        let mut done = 0;
        while done < max {
            self.now_ns = now_ns + done;
            self.core.executed = 0;
            let timer = self.next_timer_ns();
            let expired = timer.is_some_and(|t| t <= self.now_ns);
            if self.msr & MSR_EE != 0 {
                let vector = match (self.external, expired) {
                    (true, _) => Some(interrupts::vector::EXTERNAL),
                    (false, true) => Some(interrupts::vector::DECREMENTER),
                    _ => None,
                };
                if let Some(vector) = vector {
                    self.deliver(Interrupt {
                        vector,
                        srr1: 0,
                        dar: None,
                        dsisr: None,
                    });
                }
            }
            let mut budget = max - done;
            if let Some(t) = timer
                && !expired
            {
                budget = budget.min(t - self.now_ns);
            }
            if let Some(s) = &self.sampler {
                budget = budget.min(s.left);
            }
            let traced = self.traces_next(shared);
            if self.msr & (MSR_SE | MSR_BE) != 0 {
                budget = 1;
            }
            let (stop, executed) = exec::exec(self, shared, bus, decode::PURE, budget);
            done += executed;
            self.sample(executed);
            match stop {
                Stop::Fault => {
                    if let Some(i) = self.pending.take() {
                        self.deliver(i);
                    }
                }
                Stop::Budget | Stop::Leave => {
                    if let Some(srr1) = traced {
                        self.trace(srr1);
                    }
                }
            }
            if let Some(what) = shared.mismatch.take() {
                self.exit = Some(Exit::Fatal(what));
            }
            if let Some(exit) = self.exit.take() {
                self.now_ns = now_ns + done;
                self.core.executed = 0;
                return Run {
                    exit,
                    executed: done,
                };
            }
            if self.core.left_for_device() {
                break;
            }
        }
        self.now_ns = now_ns + done;
        self.core.executed = 0;
        Run {
            exit: Exit::Budget,
            executed: done,
        }
    }
}

fn sign_extend(v: u64) -> u64 {
    let unused = 64 - DECREMENTER_BITS;
    ((v << unused) as i64 >> unused) as u64
}

/// Ticks of the 512 MHz time base in `ns` nanoseconds.
pub fn ns_to_timebase(ns: u64) -> u64 {
    (u128::from(ns) * 64 / 125) as u64
}

impl FrontEnd for Cpu {
    const INSTRUCTION_ALIGN: u64 = 4;
    const DIVISIBLE: bool = true;

    #[inline(always)]
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    #[inline(always)]
    fn code_mode(&self) -> u8 {
        (self.msr >> 63) as u8 | ((self.msr & MSR_LE) as u8) << 1
    }

    #[inline(always)]
    fn high_half(&self) -> bool {
        self.msr & MSR_PR == 0
    }

    fn translate(
        &mut self,
        shared: &Shared,
        ea: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        self.translate_address(shared, ea, access)
    }

    fn decode(&mut self, code: &[u8], max: u32, out: &mut crate::engine::code::Decoded) {
        let mode = self.code_mode();
        decode::block(code, self.core.pc, max, mode, out);
    }

    fn call(&mut self, shared: &mut Shared, bus: &mut dyn Bus, uop: Uop) -> Result<(), Fault> {
        self.call_helper(shared, bus, uop)
    }

    fn exception(&self) -> Option<[u64; 4]> {
        let i = self.pending.as_ref()?;
        let (dar, dsisr) = (i.dar.unwrap_or(u64::MAX), i.dsisr.unwrap_or(u64::MAX));
        Some([i.vector, i.srr1, dar, dsisr])
    }

    fn forget_exception(&mut self) {
        self.pending = None;
    }

    fn bus_error(&mut self, ea: u64, gpa: u64, access: Access) -> Result<(), Fault> {
        log::debug!(
            "ppc64: nothing answers at {gpa:#x} ({access:?} of {ea:#x} at {:#x})",
            self.core.pc
        );
        if access == Access::Fetch {
            return Err(self.record_simple(interrupts::vector::INSTRUCTION_STORAGE, 0x1000_0000));
        }
        Ok(())
    }
}
