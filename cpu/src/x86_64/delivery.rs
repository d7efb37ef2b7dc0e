//! Delivery of exceptions and interrupts (Intel SDM vol. 3 §6).

mod long;
mod protected;
mod real;

use super::exception::{Exception, vector};
use super::memory::{Env, Stack};
use super::regs::*;
use super::segment::{Segment, SegmentRegister};
use super::{Activity, Cpu};
use crate::engine::exec::{Access, Fault, FrontEnd};

/// Error code: the selector part is a vector.
const IDT: u32 = 2;
/// Exceptions that can follow each other before the CPU has shut down: a double fault and a page fault among them.
const MAX_NESTED: u32 = 4;

/// What is delivered.
#[derive(Clone, Copy, Debug)]
struct Event {
    vector: u8,
    error: Option<u32>,
    /// INT n, INT3 or INTO.
    software: bool,
    /// An exception of the fault class: RF is set in the flags that are saved.
    fault: bool,
    /// Linear address of the instruction to come back to.
    back: u64,
}

impl Event {
    /// The EXT bit of exceptions in its delivery.
    fn ext(self) -> u32 {
        u32::from(!self.software)
    }

    /// Error code that names the gate.
    fn gate_error(self) -> u32 {
        u32::from(self.vector) << 3 | IDT | self.ext()
    }
}

/// How exceptions combine (§6.15, table 6-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

fn class(e: &Exception) -> Class {
    match e.vector {
        _ if e.software => Class::Benign,
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP => Class::Contributory,
        vector::PF => Class::PageFault,
        vector::DF => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// What an exception in the delivery of another one makes of the two; `None`: the CPU shuts down.
fn combine(first: Class, second: Exception) -> Option<Exception> {
    use Class::*;
    match (first, class(&second)) {
        (DoubleFault, Contributory | PageFault | DoubleFault) => None,
        (Contributory, Contributory) | (PageFault, Contributory | PageFault) => {
            Some(Exception::with_code(vector::DF, 0))
        }
        _ => Some(second),
    }
}

impl Cpu {
    /// Takes an exception; `back` is the linear address to come back to.
    pub(super) fn deliver(&mut self, env: &mut Env<'_>, exception: Exception, back: u64) {
        let (mut e, mut back) = (exception, back);
        for _ in 0..MAX_NESTED {
            let n = self.counters.exceptions.entry(e.vector).or_default();
            *n += 1;
            self.note_page_fault(e);
            log::trace!(
                "x86-64: {e:x?} at {:#x}, RSP {:#x} CR2 {:#x}, {} ns",
                self.core.pc,
                self.core.regs[R_RSP as usize],
                self.cr2,
                self.now_ns
            );
            let event = Event {
                vector: e.vector,
                error: e.error.filter(|_| self.is_protected()),
                software: e.software,
                fault: !e.trap && e.vector != vector::DF,
                back,
            };
            if self.enter(env, event).is_ok() {
                return;
            }
            let Some(second) = self.pending.take() else {
                break;
            };
            self.note_page_fault(second);
            match combine(class(&e), second) {
                Some(next) => e = next,
                None => break,
            }
            back = self.core.pc;
        }
        self.shut_down();
    }

    fn note_page_fault(&mut self, e: Exception) {
        if e.vector == vector::PF
            && let Some(address) = e.address
        {
            self.cr2 = address;
        }
    }

    /// Takes an interrupt between instructions.
    pub(super) fn interrupt(&mut self, env: &mut Env<'_>, vector: u8) {
        *self.counters.interrupts.entry(vector).or_default() += 1;
        let event = Event {
            vector,
            error: None,
            software: false,
            fault: false,
            back: self.core.pc,
        };
        if self.enter(env, event).is_err()
            && let Some(e) = self.pending.take()
        {
            let back = self.core.pc;
            self.deliver(env, e, back);
        }
    }

    fn shut_down(&mut self) {
        log::debug!(
            "x86-64: triple fault at {:#x}, RSP {:#x}",
            self.core.pc,
            self.core.regs[R_RSP as usize]
        );
        self.activity = Activity::Shutdown;
    }

    /// Enters the handler of an event; on failure nothing but memory below the stack pointer has changed.
    fn enter(&mut self, env: &mut Env<'_>, event: Event) -> Result<(), Fault> {
        if !self.is_protected() {
            self.enter_real(env, event)
        } else if self.efer & EFER_LMA != 0 {
            self.enter_long(env, event)
        } else {
            self.enter_protected(env, event)
        }
    }

    /// Flags as they are saved.
    fn saved_flags(&self, event: Event) -> u64 {
        let rf = if event.fault { FLAG_RF } else { 0 };
        self.rflags() | rf
    }

    /// Flags of a handler.
    fn enter_flags(&mut self, interrupt_gate: bool) {
        let mut clear = FLAG_TF | FLAG_NT | FLAG_VM | FLAG_RF;
        if interrupt_gate {
            clear |= FLAG_IF;
        }
        let flags = self.rflags() & !clear;
        self.set_rflags(flags);
    }

    /// The code segment that a gate leads to, and the privilege level of the handler. Common to protected and long mode (§6.12.1).
    fn handler_code(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        ext: u32,
        long: bool,
    ) -> Result<(Segment, u8), Fault> {
        let error = u32::from(selector & !3) | ext;
        if selector & !3 == 0 {
            return Err(self.raise(Exception::with_code(vector::GP, ext)));
        }
        let Some(descriptor) = self.descriptor(env, selector)? else {
            return Err(self.raise(Exception::with_code(vector::GP, error)));
        };
        let mode_fits = !long || descriptor.is_long() && !descriptor.is_big();
        if !descriptor.is_code() || descriptor.dpl() > self.cpl() || !mode_fits {
            return Err(self.raise(Exception::with_code(vector::GP, error)));
        }
        if !descriptor.is_present() {
            return Err(self.raise(Exception::with_code(vector::NP, error)));
        }
        let cpl = if descriptor.is_conforming() {
            self.cpl()
        } else {
            descriptor.dpl()
        };
        self.mark_accessed(env, selector, descriptor)?;
        let mut segment = descriptor.segment(selector & !3 | u16::from(cpl));
        segment.attributes |= 1;
        Ok((segment, cpl))
    }

    /// A pointer of the task-state segment (`size` bytes at `offset`).
    pub(super) fn read_tss(
        &mut self,
        env: &mut Env<'_>,
        offset: u64,
        size: u8,
        ext: u32,
    ) -> Result<u64, Fault> {
        if offset + u64::from(size) - 1 > u64::from(self.tr.limit) {
            let error = u32::from(self.tr.selector & !3) | ext;
            return Err(self.raise(Exception::with_code(vector::TS, error)));
        }
        let at = self.tr.base.wrapping_add(offset);
        self.read_system(env, at, size)
    }

    /// Whether the instruction at [`crate::engine::core::Core::pc`] accesses memory through SS: its faults are #SS.
    pub(super) fn is_stack_access(&mut self, shared: &crate::engine::Shared) -> bool {
        use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, Register};
        let pc = self.core.pc;
        let mut bytes = [0; 15];
        let first = (4096 - pc % 4096).min(15) as usize;
        let mut len = 0;
        for (at, range) in [(pc, 0..first), (pc.wrapping_add(first as u64), first..15)] {
            match self.translate(shared, at, Access::Fetch) {
                Ok(t) if !range.is_empty() && shared.ram.copy(t.gpa, &mut bytes[range.clone()]) => {
                    len = range.end;
                }
                Ok(_) => {}
                Err(Fault) => {
                    self.pending = None;
                    break;
                }
            }
        }
        let bits = if self.is_long() {
            64
        } else if self.segments[1].is_big() {
            32
        } else {
            16
        };
        let instruction = Decoder::with_ip(bits, &bytes[..len], pc, DecoderOptions::NONE).decode();
        let mut info = InstructionInfoFactory::new();
        let info = info.info(&instruction);
        info.used_memory()
            .iter()
            .any(|m| m.segment() == Register::SS)
    }
}

/// A gate of the IDT.
#[derive(Clone, Copy, Debug)]
struct Gate {
    low: u64,
    high: u64,
}

impl Gate {
    fn kind(self) -> u8 {
        (self.low >> 40 & 31) as u8
    }
    fn dpl(self) -> u8 {
        (self.low >> 45 & 3) as u8
    }
    fn is_present(self) -> bool {
        self.low >> 47 & 1 != 0
    }
    fn selector(self) -> u16 {
        (self.low >> 16) as u16
    }
    fn offset(self) -> u64 {
        self.low & 0xffff | self.low >> 32 & 0xffff_0000 | self.high << 32
    }
    fn ist(self) -> u64 {
        self.low >> 32 & 7
    }
}

impl Cpu {
    /// The gate of an event, with the checks that come before its type's.
    fn gate(&mut self, env: &mut Env<'_>, event: Event, size: u64) -> Result<Gate, Fault> {
        let at = u64::from(event.vector) * size;
        if at + size - 1 > u64::from(self.idtr.limit) {
            return Err(self.raise(Exception::with_code(vector::GP, event.gate_error())));
        }
        let base = self.idtr.base.wrapping_add(at);
        let low = self.read_system(env, base, 8)?;
        let high = if size == 16 {
            self.read_system(env, base.wrapping_add(8), 8)? & 0xffff_ffff
        } else {
            0
        };
        Ok(Gate { low, high })
    }

    /// The checks of a gate whose type is right.
    fn check_gate(&mut self, gate: Gate, event: Event) -> Result<(), Fault> {
        let vector = if event.software && gate.dpl() < self.cpl() {
            vector::GP
        } else if !gate.is_present() {
            vector::NP
        } else {
            return Ok(());
        };
        Err(self.raise(Exception::with_code(vector, event.gate_error())))
    }
}
