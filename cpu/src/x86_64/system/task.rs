//! Hardware task switches (Intel SDM vol. 3 §7.3). They exist without long mode only.

use super::*;
use crate::x86_64::segment::{Descriptor, Segment};

/// What causes a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::x86_64) enum Reason {
    /// JMP.
    Jump,
    /// CALL.
    Call,
    /// An interrupt or exception through a task gate.
    Interrupt,
    /// IRET with NT.
    Return,
}

/// Registers as a task-state segment holds them.
struct TaskState {
    cr3: Option<u64>,
    ip: u64,
    flags: u64,
    gpr: [u64; 8],
    /// In the order of their encoding; FS and GS are null in a 16-bit one.
    selectors: [u16; 6],
    ldt: u16,
}

/// Byte offsets of a task-state segment's parts.
struct Layout {
    size: u8,
    limit: u32,
    ip: u64,
    gpr: u64,
    selectors: u64,
    count: u64,
    ldt: u64,
}

const LAYOUT_16: Layout = Layout {
    size: 2,
    limit: 43,
    ip: 14,
    gpr: 18,
    selectors: 34,
    count: 4,
    ldt: 42,
};
const LAYOUT_32: Layout = Layout {
    size: 4,
    limit: 103,
    ip: 32,
    gpr: 40,
    selectors: 72,
    count: 6,
    ldt: 96,
};

fn layout(kind: u8) -> &'static Layout {
    if kind & 8 != 0 {
        &LAYOUT_32
    } else {
        &LAYOUT_16
    }
}

impl Cpu {
    /// Switches to the task of a selector. `back` is the instruction pointer that the old task goes on at.
    pub(in crate::x86_64) fn switch_task(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        reason: Reason,
        back: u64,
        ext: u32,
    ) -> Result<(), Fault> {
        let error = u32::from(selector & !3) | ext;
        let wrong = if reason == Reason::Return {
            vector::TS
        } else {
            vector::GP
        };
        let d = if selector & 4 != 0 || selector & !3 == 0 {
            None
        } else {
            self.descriptor(env, selector)?
        };
        let busy = reason == Reason::Return;
        let fits = |d: &Descriptor| !d.is_user() && d.kind() & 7 == if busy { 3 } else { 1 };
        let Some(d) = d.filter(fits) else {
            return self.refuse_with(wrong, error);
        };
        if !d.is_present() {
            return self.refuse_with(vector::NP, error);
        }
        let new = d.segment(selector);
        if new.limit < layout(d.kind()).limit {
            return self.refuse_with(vector::TS, error);
        }
        let state = self.read_task(env, new)?;
        self.save_task(env, reason, back)?;
        if matches!(reason, Reason::Jump | Reason::Return) {
            let old = self.tr.selector;
            if let Some(d) = self.descriptor(env, old)? {
                self.write_descriptor_type(env, old, d, d.kind() & !2)?;
            }
        }
        let nested = matches!(reason, Reason::Call | Reason::Interrupt);
        if nested {
            let link = u64::from(self.tr.selector);
            self.write_system(env, new.base, 2, link)?;
        }
        if reason != Reason::Return {
            self.write_descriptor_type(env, selector, d, d.kind() | 2)?;
        }
        self.tr = new;
        self.tr.attributes |= 2;
        self.cr0 |= CR0_TS;
        self.enter_task(env, &state, nested)
    }

    fn read_task(&mut self, env: &mut Env<'_>, tss: Segment) -> Result<TaskState, Fault> {
        let l = layout(tss.kind());
        let size = u64::from(l.size);
        let mut at = |cpu: &mut Cpu, offset: u64| {
            cpu.read_system(env, tss.base.wrapping_add(offset), l.size)
        };
        let mut gpr = [0; 8];
        for (i, r) in gpr.iter_mut().enumerate() {
            *r = at(self, l.gpr + size * i as u64)?;
        }
        let mut selectors = [0; 6];
        for (i, s) in selectors.iter_mut().enumerate().take(l.count as usize) {
            *s = at(self, l.selectors + size * i as u64)? as u16;
        }
        Ok(TaskState {
            cr3: if l.size == 4 {
                Some(at(self, 28)?)
            } else {
                None
            },
            ip: at(self, l.ip)?,
            flags: at(self, l.ip + size)?,
            gpr,
            selectors,
            ldt: at(self, l.ldt)? as u16,
        })
    }

    fn save_task(&mut self, env: &mut Env<'_>, reason: Reason, back: u64) -> Result<(), Fault> {
        let tss = self.tr;
        let l = layout(tss.kind());
        let size = u64::from(l.size);
        let mut put = |cpu: &mut Cpu, offset: u64, value: u64| {
            cpu.write_system(env, tss.base.wrapping_add(offset), l.size, value)
        };
        let mut flags = self.rflags();
        if reason == Reason::Return {
            flags &= !FLAG_NT;
        }
        put(self, l.ip, back)?;
        put(self, l.ip + size, flags)?;
        for i in 0..8 {
            let value = self.core.regs[i as usize];
            put(self, l.gpr + size * i, value)?;
        }
        for i in 0..l.count {
            let value = u64::from(self.segments[i as usize].selector);
            put(self, l.selectors + size * i, value)?;
        }
        Ok(())
    }

    /// Loads the registers of the new task. From here on exceptions belong to it.
    fn enter_task(
        &mut self,
        env: &mut Env<'_>,
        state: &TaskState,
        nested: bool,
    ) -> Result<(), Fault> {
        if self.cr0 & CR0_PG != 0
            && let Some(cr3) = state.cr3
        {
            if self.cr4 & CR4_PAE != 0 && !self.load_pdptes(env.shared, cr3) {
                return self.refuse();
            }
            self.cr3 = cr3;
            self.flush_pcid(0);
        }
        self.core.regs[..8].copy_from_slice(&state.gpr);
        self.set_rflags(state.flags | if nested { FLAG_NT } else { 0 });
        // Until each is loaded, none is valid; the level is that of CS.
        let cs = state.selectors[1];
        let cpl = (cs & 3) as u8;
        for (s, selector) in self.segments.iter_mut().zip(state.selectors) {
            *s = Segment {
                selector,
                ..Segment::default()
            };
        }
        self.segments[2].attributes = u16::from(cpl) << 5;
        self.update_bases();
        self.update_contexts();
        self.set_rip(state.ip);
        self.ldtr = self.local_table(env, state.ldt, vector::TS)?;
        let ss = self.stack_segment(env, state.selectors[2], cpl, vector::TS)?;
        self.set_segment(SegmentRegister::Ss, ss);
        let error = u32::from(cs & !3);
        let Some(d) = self.descriptor(env, cs)?.filter(|d| {
            d.is_code()
                && if d.is_conforming() {
                    d.dpl() <= cpl
                } else {
                    d.dpl() == cpl
                }
        }) else {
            return self.refuse_with(vector::TS, error);
        };
        if !d.is_present() {
            return self.refuse_with(vector::NP, error);
        }
        self.mark_accessed(env, cs, d)?;
        let mut code = d.segment(cs);
        code.attributes |= 1;
        self.set_segment(SegmentRegister::Cs, code);
        self.set_rip(state.ip);
        use SegmentRegister::*;
        for register in [Es, Ds, Fs, Gs] {
            self.load_segment(env, register, state.selectors[register as usize])
                .inspect_err(|Fault| self.as_invalid_task())?;
        }
        Ok(())
    }

    /// A bad data segment in a task switch is #TS.
    fn as_invalid_task(&mut self) {
        if let Some(e) = &mut self.pending
            && e.vector == vector::GP
        {
            e.vector = vector::TS;
        }
    }
}
