//! An x86-64 processor: real, protected, compatibility and 64-bit mode, in software.
//!
//! [`decode`] turns instructions into the engine's micro-operations; what has none goes as a [`packet::Packet`] to the helpers of
//! [`integer`], [`system`] or [`simd`]. `Core::pc` is a linear address: the base of CS plus RIP.

pub mod exception;
pub mod packet;
pub mod regs;
pub mod segment;

use crate::engine::exec::{Core, Fault};
use exception::Exception;
use regs::*;
use segment::{DescriptorTable, Segment};

/// Why `Cpu::run` returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The instructions are used up, or (with fewer executed) a device was accessed and may want attention.
    Budget,
    /// HLT: nothing more until an interrupt that IF lets through, an NMI or an INIT.
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
    /// Instructions executed: the virtual nanoseconds that passed.
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
    pub(crate) dr: [u64; 8],
    /// EFLAGS without the arithmetic ones.
    pub(crate) system_flags: u64,
    /// Recorded by a helper or a translation that answered [`Fault`].
    pub(crate) pending: Option<Exception>,
    /// Number of the processor, and its initial APIC id.
    pub(crate) index: u32,
}

impl Cpu {
    /// Current privilege level: that of the stack segment.
    #[inline(always)]
    pub(crate) fn cpl(&self) -> u8 {
        if self.cr0 & CR0_PE == 0 {
            0
        } else if self.system_flags & FLAG_VM != 0 {
            3
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
