//! Construction, reset and access to registers.

use std::collections::BTreeSet;

use super::cpuid::{self, Model};
use super::regs::*;
use super::segment::{DescriptorTable, Segment, SegmentRegister};
use super::{Activity, Contexts, Counters, Cpu, InitialState, Rights, msr, simd};
use crate::engine::core::Core;
use crate::engine::exec::NEXT_PC;

/// EFLAGS bits that exist: what no instruction can set otherwise.
const FLAGS_KNOWN: u64 = 0x003f_7fd7;
/// Value of DR6 after reset: the bits that are always set.
pub(super) const DR6_RESET: u64 = 0xffff_0ff0;
/// Value of DR7 after reset.
pub(super) const DR7_RESET: u64 = 0x400;

impl Cpu {
    /// CPU number `index`, in the state after a reset: real mode, at the reset vector.
    pub fn new(index: u32, model: Model) -> Self {
        let mut cpu = Cpu {
            core: Core::default(),
            segments: [Segment::default(); 6],
            ldtr: Segment::default(),
            tr: Segment::default(),
            gdtr: DescriptorTable::default(),
            idtr: DescriptorTable::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: 1,
            dr: [0; 8],
            vectors: simd::Vectors::default(),
            system_flags: FLAG_ONE,
            pending: None,
            index,
            model,
            pdpte: [0; 4],
            contexts: Contexts::default(),
            rights: Rights::Supervisor,
            msrs: msr::Msrs::default(),
            activity: Activity::Active,
            shadow: false,
            nmi: false,
            nmi_blocked: false,
            exit: None,
            now_ns: 0,
            unknown_msrs: BTreeSet::new(),
            counters: Counters::default(),
            sampler: None,
        };
        cpu.cr0 = CR0_CD | CR0_NW | CR0_ET;
        cpu.reset_registers();
        cpu
    }

    /// Back to the state of [`Cpu::new`].
    pub fn reset(&mut self) {
        let sampler = self.sampler.take();
        *self = Cpu::new(self.index, self.model);
        self.sampler = sampler;
    }

    /// What a reset and an INIT have in common (Intel SDM vol. 3, table 9-1).
    pub(super) fn reset_registers(&mut self) {
        self.core.regs[..16].fill(0);
        self.core.regs[R_RDX as usize] = u64::from(cpuid::SIGNATURE);
        let data = Segment {
            selector: 0,
            base: 0,
            limit: 0xffff,
            attributes: 0x93,
        };
        self.segments = [data; 6];
        self.segments[1] = Segment {
            selector: 0xf000,
            base: 0xffff_0000,
            limit: 0xffff,
            attributes: 0x9b,
        };
        self.ldtr = Segment {
            attributes: 0x82,
            ..data
        };
        self.tr = Segment {
            attributes: 0x8b,
            ..data
        };
        let table = DescriptorTable {
            base: 0,
            limit: 0xffff,
        };
        (self.gdtr, self.idtr) = (table, table);
        self.cr0 = self.cr0 & (CR0_CD | CR0_NW) | CR0_ET;
        (self.cr2, self.cr3, self.cr4, self.efer) = (0, 0, 0, 0);
        self.dr = [0; 8];
        self.dr[6] = DR6_RESET;
        self.dr[7] = DR7_RESET;
        self.pending = None;
        self.exit = None;
        self.shadow = false;
        (self.nmi, self.nmi_blocked) = (false, false);
        self.activity = Activity::Active;
        self.set_rflags(FLAG_ONE);
        self.update_bases();
        self.set_rip(0xfff0);
        self.flush_all();
    }

    /// Begins with a state that a loader made.
    pub fn load(&mut self, state: &InitialState) {
        let InitialState {
            gpr,
            rip,
            rflags,
            cr0,
            cr3,
            cr4,
            efer,
            segments,
            tr,
            gdtr,
            idtr,
        } = state;
        self.core.regs[..16].copy_from_slice(gpr);
        self.cr0 = *cr0 | CR0_ET;
        self.cr3 = *cr3;
        self.cr4 = *cr4;
        self.efer = *efer;
        if self.cr0 & CR0_PG != 0 && self.efer & EFER_LME != 0 {
            self.efer |= EFER_LMA;
        }
        self.segments = *segments;
        (self.tr, self.gdtr, self.idtr) = (*tr, *gdtr, *idtr);
        self.ldtr = Segment::default();
        self.activity = Activity::Active;
        self.set_rflags(*rflags);
        self.update_bases();
        self.set_rip(*rip);
        self.flush_all();
    }

    /// General register `n` (0 to 15, in the order of their encoding).
    pub fn gpr(&self, n: usize) -> u64 {
        self.core.regs[n & 15]
    }
    /// Sets general register `n`.
    pub fn set_gpr(&mut self, n: usize, value: u64) {
        self.core.regs[n & 15] = value;
    }
    /// Instruction pointer: an offset in CS.
    pub fn rip(&self) -> u64 {
        self.offset_in_code(self.core.pc)
    }
    /// Sets the instruction pointer.
    pub fn set_rip(&mut self, rip: u64) {
        self.core.pc = self.linear_of_code(rip);
    }
    /// EFLAGS.
    pub fn rflags(&self) -> u64 {
        self.system_flags & !FLAGS_ARITHMETIC | self.arithmetic_flags() | FLAG_ONE
    }
    /// Sets EFLAGS; bits that do not exist stay 0, and so do RF and VM, which mean nothing here.
    pub fn set_rflags(&mut self, flags: u64) {
        let flags = flags & FLAGS_KNOWN & !(FLAG_RF | FLAG_VM) | FLAG_ONE;
        self.set_arithmetic_flags(flags & FLAGS_ARITHMETIC);
        let changed = self.system_flags ^ flags;
        self.system_flags = flags & !FLAGS_ARITHMETIC;
        if changed & FLAG_AC != 0 {
            self.update_contexts();
        }
    }
    /// CR0, CR2, CR3, CR4 by number; 0 for another one.
    pub fn control_register(&self, n: u8) -> u64 {
        match n {
            0 => self.cr0,
            2 => self.cr2,
            3 => self.cr3,
            4 => self.cr4,
            _ => 0,
        }
    }
    /// Extended feature enable register.
    pub fn efer(&self) -> u64 {
        self.efer
    }
    /// A segment register with its hidden part.
    pub fn segment(&self, register: SegmentRegister) -> Segment {
        self.segments[register as usize]
    }
    /// Exceptions and interrupts taken so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
    /// Number of the CPU.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Time-stamp counter: virtual nanoseconds, plus what the guest added.
    pub fn tsc(&self) -> u64 {
        self.now_ns
            .wrapping_add(self.core.executed)
            .wrapping_add(self.msrs.tsc_offset)
    }

    /// 64-bit mode: long mode is active, and CS says so.
    #[inline(always)]
    pub(crate) fn is_long(&self) -> bool {
        self.efer & EFER_LMA != 0 && self.segments[1].is_long()
    }

    /// Protected mode without long mode, compatibility mode, or 64-bit mode.
    #[inline(always)]
    pub(crate) fn is_protected(&self) -> bool {
        self.cr0 & CR0_PE != 0
    }

    /// Offset in CS of a linear address.
    pub(crate) fn offset_in_code(&self, linear: u64) -> u64 {
        if self.is_long() {
            linear
        } else {
            linear.wrapping_sub(self.segments[1].base) & 0xffff_ffff
        }
    }

    /// Linear address of an offset in CS.
    pub(crate) fn linear_of_code(&self, offset: u64) -> u64 {
        if self.is_long() {
            offset
        } else {
            self.segments[1].base.wrapping_add(offset) & 0xffff_ffff
        }
    }

    /// Offset in CS of the instruction that follows, in a helper.
    pub(crate) fn next_rip(&self) -> u64 {
        self.offset_in_code(self.core.regs[NEXT_PC])
    }

    /// Goes on at an offset in CS, after a helper that ends its block.
    pub(crate) fn jump_to(&mut self, rip: u64) {
        self.core.regs[NEXT_PC] = self.linear_of_code(rip);
    }

    /// Loads a segment register with its hidden part.
    pub(crate) fn set_segment(&mut self, register: SegmentRegister, segment: Segment) {
        self.segments[register as usize] = segment;
        match register {
            SegmentRegister::Cs => self.update_bases(),
            SegmentRegister::Ss => {
                self.update_base(2);
                self.update_contexts();
            }
            _ => self.update_base(register as usize),
        }
    }

    fn update_base(&mut self, n: usize) {
        let base = if n < 4 && self.is_long() {
            0
        } else {
            self.segments[n].base
        };
        self.core.regs[R_SEGMENT_BASE as usize + n] = base;
    }

    /// Brings the flat register file up to date with all segments and the mode.
    pub(crate) fn update_bases(&mut self) {
        for n in 0..6 {
            self.update_base(n);
        }
    }
}
