//! SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the bases of FS and GS.

use iced_x86::Code::*;

use super::*;
use crate::x86_64::segment::Segment;

/// Flags that SYSRET takes from R11.
const SYSRET_FLAGS: u64 = 0x003c_7fd7;

/// How wide the code of a flat segment is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Bits32,
    Bits64,
}

/// A code segment without limit.
fn flat_code(selector: u16, cpl: u8, width: Width) -> Segment {
    let mode = if width == Width::Bits64 {
        0x2000
    } else {
        0x4000
    };
    Segment {
        selector: selector & !3 | u16::from(cpl),
        base: 0,
        limit: 0xffff_ffff,
        attributes: 0x809b | mode | u16::from(cpl) << 5,
    }
}

/// A stack segment without limit.
fn flat_stack(selector: u16, cpl: u8) -> Segment {
    Segment {
        selector: selector & !3 | u16::from(cpl),
        base: 0,
        limit: 0xffff_ffff,
        attributes: 0xc093 | u16::from(cpl) << 5,
    }
}

impl Cpu {
    fn enter_flat(&mut self, cs: Segment, ss: Segment, rip: u64) {
        self.segments[2] = ss;
        self.set_segment(SegmentRegister::Cs, cs);
        self.update_contexts();
        self.jump_to(rip);
    }

    pub(super) fn syscall(&mut self) -> Result<(), Fault> {
        if self.efer & EFER_SCE == 0 || !self.is_long() {
            return self.undefined();
        }
        let flags = self.rflags();
        self.core.regs[usize::from(R_RCX)] = self.next_rip();
        self.core.regs[usize::from(R_R11)] = flags;
        self.set_rflags(flags & !self.msrs.fmask);
        let selector = (self.msrs.star >> 32) as u16;
        self.enter_flat(
            flat_code(selector, 0, Width::Bits64),
            flat_stack(selector.wrapping_add(8), 0),
            self.msrs.lstar,
        );
        Ok(())
    }

    pub(super) fn sysret(&mut self, p: &Packet) -> Result<(), Fault> {
        if self.efer & EFER_SCE == 0 || !self.is_long() {
            return self.undefined();
        }
        self.privileged()?;
        let wide = p.code == Sysretq;
        let rcx = self.core.regs[usize::from(R_RCX)];
        if wide && !self.is_canonical(rcx) {
            return self.refuse();
        }
        let selector = (self.msrs.star >> 48) as u16;
        let flags = self.core.regs[usize::from(R_R11)] & SYSRET_FLAGS;
        self.set_rflags(flags);
        let ss = flat_stack(selector.wrapping_add(8), 3);
        if wide {
            let cs = flat_code(selector.wrapping_add(16), 3, Width::Bits64);
            self.enter_flat(cs, ss, rcx);
        } else {
            let cs = flat_code(selector, 3, Width::Bits32);
            self.enter_flat(cs, ss, rcx & 0xffff_ffff);
        }
        Ok(())
    }

    pub(super) fn sysenter(&mut self) -> Result<(), Fault> {
        let selector = self.msrs.sysenter_cs as u16;
        if !self.is_protected() || selector & !3 == 0 {
            return self.refuse();
        }
        let flags = self.rflags() & !(FLAG_IF | FLAG_VM | FLAG_RF);
        self.set_rflags(flags);
        let (esp, eip) = (self.msrs.sysenter_esp, self.msrs.sysenter_eip);
        let ss = flat_stack(selector.wrapping_add(8), 0);
        let (width, mask) = if self.efer & EFER_LMA != 0 {
            (Width::Bits64, u64::MAX)
        } else {
            (Width::Bits32, 0xffff_ffff)
        };
        self.core.regs[usize::from(R_RSP)] = esp & mask;
        self.enter_flat(flat_code(selector, 0, width), ss, eip & mask);
        Ok(())
    }

    pub(super) fn sysexit(&mut self, p: &Packet) -> Result<(), Fault> {
        let selector = self.msrs.sysenter_cs as u16;
        if !self.is_protected() || selector & !3 == 0 {
            return self.refuse();
        }
        self.privileged()?;
        let rcx = self.core.regs[usize::from(R_RCX)];
        let rdx = self.core.regs[usize::from(R_RDX)];
        if p.code == Sysexitq {
            if !self.is_canonical(rcx) || !self.is_canonical(rdx) {
                return self.refuse();
            }
            self.core.regs[usize::from(R_RSP)] = rcx;
            let cs = flat_code(selector.wrapping_add(32), 3, Width::Bits64);
            self.enter_flat(cs, flat_stack(selector.wrapping_add(40), 3), rdx);
        } else {
            self.core.regs[usize::from(R_RSP)] = rcx & 0xffff_ffff;
            let cs = flat_code(selector.wrapping_add(16), 3, Width::Bits32);
            let ss = flat_stack(selector.wrapping_add(24), 3);
            self.enter_flat(cs, ss, rdx & 0xffff_ffff);
        }
        Ok(())
    }

    pub(super) fn swapgs(&mut self) -> Result<(), Fault> {
        if !self.is_long() {
            return self.undefined();
        }
        self.privileged()?;
        let base = self.segments[5].base;
        let new = std::mem::replace(&mut self.msrs.kernel_gs_base, base);
        self.set_base(SegmentRegister::Gs, new);
        Ok(())
    }

    /// Sets the base of FS or GS.
    pub(in crate::x86_64) fn set_base(&mut self, register: SegmentRegister, base: u64) {
        let segment = Segment {
            base,
            ..self.segments[register as usize]
        };
        self.set_segment(register, segment);
    }

    /// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE.
    pub(super) fn segment_base(&mut self, p: &Packet) -> Result<(), Fault> {
        if !self.is_long() || self.cr4 & CR4_FSGSBASE == 0 {
            return self.undefined();
        }
        let (register, size, write) = match p.code {
            Rdfsbase_r32 => (SegmentRegister::Fs, 4, false),
            Rdfsbase_r64 => (SegmentRegister::Fs, 8, false),
            Rdgsbase_r32 => (SegmentRegister::Gs, 4, false),
            Rdgsbase_r64 => (SegmentRegister::Gs, 8, false),
            Wrfsbase_r32 => (SegmentRegister::Fs, 4, true),
            Wrfsbase_r64 => (SegmentRegister::Fs, 8, true),
            Wrgsbase_r32 => (SegmentRegister::Gs, 4, true),
            _ => (SegmentRegister::Gs, 8, true),
        };
        if write {
            let base = self.register(p.rm, size);
            if !self.is_canonical(base) {
                return self.refuse();
            }
            self.set_base(register, base);
        } else {
            let base = self.segments[register as usize].base;
            self.set_register(p.rm, size, base);
        }
        Ok(())
    }
}
