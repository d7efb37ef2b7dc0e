//! An x86-64 processor: real, protected, compatibility and 64-bit mode, in software.
//!
//! `decode` turns instructions into the engine's micro-operations; what has none goes as a [`packet::Packet`] to the helpers of
//! `integer`, `system` or `simd`. `Core::pc` is a linear address: the base of CS plus RIP.
//!
//! Absent on purpose: virtual-8086 mode (an IRET to it is #GP), system-management mode, VMX, breakpoints by debug registers (which hold what
//! is written), performance counters, alignment checks.

pub mod cpuid;
pub mod exception;
pub mod packet;
pub mod regs;
pub mod segment;
pub mod simd;
pub mod x87;

mod contexts;
mod decode;
mod delivery;
mod flags;
mod integer;
mod memory;
mod msr;
mod paging;
mod run;
mod state;
mod system;
mod vector;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::code::Decoded;
use crate::engine::exec::{Access, Core, Fault, FrontEnd, Translation};
use crate::engine::uop::{Op, Uop};
use contexts::{Contexts, Rights};
use cpuid::Model;
use exception::Exception;
use packet::{Packet, Unit};
use regs::*;
use segment::{DescriptorTable, Segment};

/// Why `Cpu::run` returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The instructions are used up, or (with fewer executed) a device was accessed and may want attention.
    Budget,
    /// HLT: nothing more until an interrupt that IF lets through, an NMI or an INIT. Or the CPU waits for a start-up interrupt.
    Halt,
    /// Triple fault: the machine is to be reset.
    Shutdown,
    /// The CPU cannot go on: two tiers differ.
    Fatal(String),
}

/// Outcome of `Cpu::run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Why it returned.
    pub exit: Exit,
    /// Instructions executed: the virtual nanoseconds that passed. An instruction that is interrupted counts.
    pub executed: u64,
}

/// State to begin with, as a loader leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialState {
    /// General registers in the order of their encoding.
    pub gpr: [u64; 16],
    /// Instruction pointer, an offset in CS.
    pub rip: u64,
    /// EFLAGS; bit 1 is set in any case.
    pub rflags: u64,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: DescriptorTable,
    /// Interrupt descriptor table.
    pub idtr: DescriptorTable,
}

/// Exceptions and interrupts taken, by vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exceptions, and software interrupts.
    pub exceptions: BTreeMap<u8, u64>,
    /// External interrupts and NMIs.
    pub interrupts: BTreeMap<u8, u64>,
}

/// What the CPU does when it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// Executes instructions.
    Active,
    /// HLT.
    Halted,
    /// After a triple fault.
    Shutdown,
    /// After an INIT: waits for a start-up interrupt.
    WaitForSipi,
}

/// One virtual processor.
#[derive(Debug)]
pub struct Cpu {
    pub(crate) core: Core,
    /// ES, CS, SS, DS, FS, GS. Their bases are also in the flat register file: see [`R_SEGMENT_BASE`].
    pub(crate) segments: [Segment; 6],
    pub(crate) ldtr: Segment,
    pub(crate) tr: Segment,
    pub(crate) gdtr: DescriptorTable,
    pub(crate) idtr: DescriptorTable,
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
    pub(crate) xcr0: u64,
    pub(crate) dr: [u64; 8],
    /// MXCSR, x87 and MMX. XMM registers are in the flat register file: see [`R_XMM`].
    vectors: simd::Vectors,
    /// EFLAGS without the arithmetic ones.
    pub(crate) system_flags: u64,
    /// Recorded by a helper or a translation that answered [`Fault`].
    pub(crate) pending: Option<Exception>,
    /// Number of the processor, and its initial APIC id.
    pub(crate) index: u32,
    /// What CPUID says.
    pub(crate) model: Model,
    /// PAE paging without long mode: the four entries that CR3 led to when it was loaded.
    pdpte: [u64; 4],
    contexts: Contexts,
    /// Whose rights data accesses have now.
    rights: Rights,
    msrs: msr::Msrs,
    activity: Activity,
    /// The last instruction was STI or a load of SS: no interrupt before the next one has run.
    shadow: bool,
    /// An NMI waits.
    nmi: bool,
    /// No NMI until the next IRET.
    nmi_blocked: bool,
    exit: Option<Exit>,
    now_ns: u64,
    /// Unknown model-specific registers that were logged.
    unknown_msrs: BTreeSet<u32>,
    counters: Counters,
    sampler: Option<Box<run::Sampler>>,
}

impl FrontEnd for Cpu {
    const INSTRUCTION_ALIGN: u64 = 1;
    /// Flags that a later instruction overwrites are not computed.
    const DIVISIBLE: bool = false;

    #[inline(always)]
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    #[inline(always)]
    fn code_mode(&self) -> u8 {
        decode::Mode::of(self).0
    }

    #[inline(always)]
    fn high_half(&self) -> bool {
        self.is_long() && self.cpl() != 3
    }

    fn translate(
        &mut self,
        shared: &Shared,
        ea: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        self.translate_address(shared, ea, access)
    }

    fn decode(&mut self, code: &[u8], max: u32, out: &mut Decoded) {
        decode::block(code, max, decode::Mode::of(self), out);
    }

    fn call(&mut self, shared: &mut Shared, bus: &mut dyn Bus, uop: Uop) -> Result<(), Fault> {
        if !matches!(uop.op, Op::Call | Op::CallEnd) {
            // An operand of a vector instruction is not aligned.
            return Err(self.raise(Exception::general_protection()));
        }
        let packet = Packet::decode(uop);
        match packet.unit {
            Unit::Integer => self.integer_call(shared, bus, packet),
            Unit::System => self.system_call(shared, bus, packet),
            Unit::Vector => self.vector_call(shared, bus, packet),
            Unit::Invalid if packet.imm == decode::TOO_LONG => {
                Err(self.raise(Exception::general_protection()))
            }
            Unit::Invalid => Err(self.raise(Exception::invalid_opcode())),
        }
    }

    fn vector(regs: &mut [u64; 256], uop: &Uop) {
        vector::pure(regs, uop);
    }

    fn exception(&self) -> Option<[u64; 4]> {
        let e = self.pending.as_ref()?;
        let how = u64::from(e.trap) | u64::from(e.software) << 1;
        Some([
            u64::from(e.vector) | how << 8,
            e.error.map_or(u64::MAX, u64::from),
            e.address.unwrap_or(u64::MAX),
            u64::from(e.address.is_some()),
        ])
    }

    fn forget_exception(&mut self) {
        self.pending = None;
    }

    fn bus_error(&mut self, ea: u64, gpa: u64, access: Access) -> Result<(), Fault> {
        log::debug!(
            "x86-64: nothing answers at {gpa:#x} ({access:?} of {ea:#x} at {:#x})",
            self.core.pc
        );
        if access == Access::Fetch {
            // All-ones is no instruction.
            return Err(self.raise(Exception::invalid_opcode()));
        }
        Ok(())
    }
}

impl Cpu {
    /// Current privilege level: that of the stack segment.
    #[inline(always)]
    pub(crate) fn cpl(&self) -> u8 {
        if self.cr0 & CR0_PE == 0 {
            0
        } else {
            self.segments[2].dpl()
        }
    }

    /// Records an exception at the current instruction.
    pub(crate) fn raise(&mut self, exception: Exception) -> Fault {
        self.pending = Some(exception);
        Fault
    }
}
