//! Local APICs of all processors: xAPIC and x2APIC, messages to them and between them. Intel SDM volume 3, chapter "Advanced
//! Programmable Interrupt Controller (APIC)".
//!
//! Processor n has APIC id n. The timer counts nanoseconds of virtual time, as the time stamp counter. What the APIC tells its processor
//! beside interrupts (NMI, INIT, start-up) are values that the machine takes: [`Apics::take_signals`].

pub mod local;
pub mod regs;
mod timer;
mod vectors;

#[cfg(test)]
mod tests;

use local::{Local, Sent, mode};
use regs::{MSR_BASE, MSR_DEADLINE, MSR_X2APIC};

use crate::vtd::Interrupt;

/// Most processors: their ids are of 8 bits, and 255 is everybody.
pub const CPUS_MAX: u32 = 254;

/// What a processor is told beside its interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// INIT: to be done before `startup`.
    pub init: bool,
    /// Start-up, with its vector: a processor that waits for it begins at this page of memory; others ignore it.
    pub startup: Option<u8>,
}

impl Signals {
    /// True if there are any.
    pub fn any(&self) -> bool {
        self.nmi || self.init || self.startup.is_some()
    }
}

/// What a processor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// An interrupt with this vector.
    Vector(u8),
    /// An external interrupt: the 8259 gives its vector.
    External,
}

/// The local APICs.
#[derive(Clone, Debug)]
pub struct Apics {
    locals: Vec<Local>,
    eois: Vec<u8>,
}

impl Apics {
    /// APICs of `cpus` processors (1 to [`CPUS_MAX`]) after power-on; `x2apic`: they have x2APIC mode.
    pub fn new(cpus: u32, x2apic: bool) -> Self {
        let ids = 0..cpus.clamp(1, CPUS_MAX);
        Apics {
            locals: ids.map(|id| Local::new(id, x2apic)).collect(),
            eois: Vec::new(),
        }
    }

    /// Number of processors.
    pub fn cpus(&self) -> usize {
        self.locals.len()
    }

    /// The APIC of a processor.
    pub fn local(&self, cpu: usize) -> Option<&Local> {
        self.locals.get(cpu)
    }

    /// Offset in the page of registers of `cpu` that `gpa` has, if that page is there (xAPIC mode).
    pub fn offset(&self, cpu: usize, gpa: u64) -> Option<u16> {
        let local = self.locals.get(cpu)?;
        let page = local.base() & !0xfff;
        (local.enabled() && !local.x2apic() && gpa & !0xfff == page).then_some(gpa as u16 & 0xfff)
    }

    /// Reads a register in the page of `cpu`. Accesses that are not of 32 aligned bytes are not defined, and read 0.
    pub fn mmio_read(&mut self, cpu: usize, offset: u16, data: &mut [u8], now_ns: u64) {
        let aligned = offset & 15 == 0 && data.len() == 4;
        let local = self.locals.get_mut(cpu).filter(|_| aligned);
        let value = local.and_then(|local| local.read(offset, now_ns));
        data.fill(0);
        for (to, from) in data.iter_mut().zip(value.unwrap_or(0).to_le_bytes()) {
            *to = from;
        }
    }

    /// Writes a register in the page of `cpu`. Accesses that are not of 32 aligned bytes are ignored.
    pub fn mmio_write(&mut self, cpu: usize, offset: u16, data: &[u8], now_ns: u64) {
        let Ok(bytes) = <[u8; 4]>::try_from(data) else {
            return;
        };
        if offset & 15 == 0
            && let Some(local) = self.locals.get_mut(cpu)
        {
            let sent = local.write(offset, u32::from_le_bytes(bytes).into(), now_ns);
            self.send(cpu, sent);
        }
    }

    /// Reads IA32_APIC_BASE, IA32_TSC_DEADLINE or a register in x2APIC mode. None if there is none.
    pub fn msr_read(&mut self, cpu: usize, msr: u32, now_ns: u64) -> Option<u64> {
        let local = self.locals.get_mut(cpu)?;
        match msr {
            MSR_BASE => Some(local.base()),
            MSR_DEADLINE => {
                local.run(now_ns);
                Some(local.tsc_deadline())
            }
            _ if local.x2apic() => local.read(x2apic_offset(msr)?, now_ns),
            _ => None,
        }
    }

    /// Writes such a register. None if there is none, or the value is refused.
    pub fn msr_write(&mut self, cpu: usize, msr: u32, value: u64, now_ns: u64) -> Option<()> {
        let local = self.locals.get_mut(cpu)?;
        match msr {
            MSR_BASE => local.set_base(value),
            MSR_DEADLINE => {
                local.set_tsc_deadline(value, now_ns);
                Some(())
            }
            _ if local.x2apic() => {
                let sent = local.write(x2apic_offset(msr)?, value, now_ns);
                self.send(cpu, sent);
                (sent != Sent::Refused).then_some(())
            }
            _ => None,
        }
    }

    /// Task priority of a processor (CR8), 0 to 15.
    pub fn task_priority(&self, cpu: usize) -> u8 {
        self.locals.get(cpu).map_or(0, |local| local.tpr() >> 4)
    }

    /// Sets it.
    pub fn set_task_priority(&mut self, cpu: usize, priority: u8) {
        if let Some(local) = self.locals.get_mut(cpu) {
            local.set_tpr(priority << 4);
        }
    }

    /// True if the processor has an interrupt to take.
    pub fn waits(&self, cpu: usize) -> bool {
        self.locals
            .get(cpu)
            .is_some_and(|local| local.external() || local.pending().is_some())
    }

    /// The processor takes an interrupt: the external controller's first, as it has no priority here.
    pub fn acknowledge(&mut self, cpu: usize) -> Option<Taken> {
        let local = self.locals.get_mut(cpu)?;
        if local.external() {
            local.acknowledge_external();
            return Some(Taken::External);
        }
        local.acknowledge().map(Taken::Vector)
    }

    /// What a processor is told beside its interrupts, once.
    pub fn take_signals(&mut self, cpu: usize) -> Signals {
        self.locals
            .get_mut(cpu)
            .map(|local| std::mem::take(&mut local.signals))
            .unwrap_or_default()
    }

    /// True if [`Apics::take_signals`] has something.
    pub fn has_signals(&self, cpu: usize) -> bool {
        self.locals.get(cpu).is_some_and(|l| l.signals.any())
    }

    /// Sets a pin of all processors: 0 is LINT0 (output of the 8259), 1 is LINT1 (NMI).
    pub fn set_lint(&mut self, pin: usize, level: bool) {
        for local in &mut self.locals {
            local.set_lint(pin, level);
        }
    }

    /// Vectors of level-triggered interrupts that ended, for the I/O APICs, oldest first.
    pub fn take_eois(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.eois)
    }

    /// When the next timer expires, in nanoseconds of virtual time.
    pub fn next_deadline(&self) -> Option<u64> {
        self.locals.iter().filter_map(Local::deadline).min()
    }

    /// Lets the timers' time pass.
    pub fn run(&mut self, now_ns: u64) {
        for local in &mut self.locals {
            local.run(now_ns);
        }
    }

    /// Delivers a message. False if no APIC takes it.
    pub fn deliver(&mut self, interrupt: &Interrupt) -> bool {
        let &Interrupt {
            vector,
            destination,
            logical,
            redirection_hint,
            delivery_mode,
            level,
        } = interrupt;
        // Only interrupts with a vector can choose among their destinations.
        let lowest = delivery_mode == mode::LOWEST
            || redirection_hint && logical && delivery_mode == mode::FIXED;
        let is_target = |local: &Local| local.is_destination(destination, logical);
        if lowest {
            // Of equal ones the first, so that runs repeat.
            let chosen = self
                .locals
                .iter_mut()
                .filter(|local| is_target(local))
                .min_by_key(|local| local.ppr());
            let found = chosen.is_some();
            if let Some(local) = chosen {
                local.accept(delivery_mode, vector, level);
            }
            return found;
        }
        let mut found = false;
        for local in self.locals.iter_mut().filter(|local| is_target(local)) {
            local.accept(delivery_mode, vector, level);
            found = true;
        }
        found
    }

    fn send(&mut self, cpu: usize, sent: Sent) {
        match sent {
            Sent::Eoi(vector) => self.eois.push(vector),
            Sent::Ipi(command) => self.send_ipi(cpu, command),
            Sent::Nothing | Sent::Refused => {}
        }
    }

    /// Carries out an interrupt command. SDM volume 3, "Interrupt Command Register (ICR)".
    fn send_ipi(&mut self, cpu: usize, command: u64) {
        let (vector, delivery) = (command as u8, (command >> 8 & 7) as u8);
        let (level, trigger) = (command >> 14 & 1 != 0, command >> 15 & 1 != 0);
        if delivery == mode::INIT && trigger && !level {
            // INIT level de-assert sets arbitration ids, which later processors do not have.
            return;
        }
        let shorthand = command >> 18 & 3;
        if shorthand == 0 {
            let x2 = self.locals.get(cpu).is_some_and(Local::x2apic);
            self.deliver(&Interrupt {
                vector,
                destination: if x2 {
                    (command >> 32) as u32
                } else {
                    (command >> 56) as u32
                },
                logical: command >> 11 & 1 != 0,
                redirection_hint: false,
                delivery_mode: delivery,
                level: false,
            });
            return;
        }
        for (index, local) in self.locals.iter_mut().enumerate() {
            let chosen = match shorthand {
                1 => index == cpu,
                2 => true,
                _ => index != cpu,
            };
            if chosen && local.enabled() {
                local.accept(delivery, vector, false);
            }
        }
    }
}

/// Offset of the register behind an MSR of x2APIC mode.
fn x2apic_offset(msr: u32) -> Option<u16> {
    let number = msr.checked_sub(MSR_X2APIC).filter(|&n| n < 0x40)?;
    Some((number as u16) << 4)
}
