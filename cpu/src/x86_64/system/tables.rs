//! Descriptor-table and task registers, and the machine status word.

use iced_x86::Code::*;

use super::*;
use crate::x86_64::packet::MEMORY;
use crate::x86_64::segment::{DescriptorTable, Segment};

impl Cpu {
    /// Instructions that tell user mode about the system: #GP(0) there if UMIP is on.
    fn check_umip(&mut self) -> Result<(), Fault> {
        if self.cr4 & CR4_UMIP != 0 && self.is_protected() && self.cpl() > 0 {
            return self.refuse();
        }
        Ok(())
    }

    /// LGDT and LIDT.
    pub(super) fn load_table(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        self.privileged()?;
        let at = self.operand_address(0);
        let limit = self.read(env, at, 2)? as u16;
        let at = self.operand_address(2);
        let base = match p.code {
            Lgdt_m1664 | Lidt_m1664 => self.read(env, at, 8)?,
            Lgdt_m1632_16 | Lidt_m1632_16 => self.read(env, at, 4)? & 0xff_ffff,
            _ => self.read(env, at, 4)?,
        };
        if !self.is_canonical(base) {
            return self.refuse();
        }
        let table = DescriptorTable { base, limit };
        if p.code.mnemonic() == Mnemonic::Lgdt {
            self.gdtr = table;
        } else {
            self.idtr = table;
        }
        Ok(())
    }

    /// SGDT and SIDT.
    pub(super) fn store_table(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        self.check_umip()?;
        let table = if p.code.mnemonic() == Mnemonic::Sgdt {
            self.gdtr
        } else {
            self.idtr
        };
        let size = if matches!(p.code, Sgdt_m1664 | Sidt_m1664) {
            8
        } else {
            4
        };
        let at = self.operand_address(0);
        self.check_write(env, at, 2 + u64::from(size))?;
        self.write(env, at, 2, u64::from(table.limit))?;
        let at = self.operand_address(2);
        self.write(env, at, size, table.base)
    }

    /// LLDT.
    pub(super) fn load_ldtr(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if !self.is_protected() {
            return self.undefined();
        }
        self.privileged()?;
        let selector = self.read_rm(env, p, 2)? as u16;
        self.ldtr = self.local_table(env, selector, vector::GP)?;
        Ok(())
    }

    /// What LDTR holds for a selector. `wrong` is the exception of a bad one.
    pub(super) fn local_table(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        wrong: u8,
    ) -> Result<Segment, Fault> {
        if selector & !3 == 0 {
            return Ok(Segment {
                selector,
                ..Segment::default()
            });
        }
        let error = u32::from(selector & !3);
        let d = if selector & 4 != 0 {
            None
        } else {
            self.descriptor(env, selector)?
        };
        let Some(d) = d.filter(|d| !d.is_user() && d.kind() == 2) else {
            return self.refuse_with(wrong, error);
        };
        if !d.is_present() {
            let vector = if wrong == vector::GP {
                vector::NP
            } else {
                wrong
            };
            return self.refuse_with(vector, error);
        }
        Ok(d.segment(selector))
    }

    /// LTR.
    pub(super) fn load_tr(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if !self.is_protected() {
            return self.undefined();
        }
        self.privileged()?;
        let selector = self.read_rm(env, p, 2)? as u16;
        if selector & !3 == 0 {
            return self.refuse();
        }
        let error = u32::from(selector & !3);
        let long = self.efer & EFER_LMA != 0;
        let d = if selector & 4 != 0 {
            None
        } else {
            self.descriptor(env, selector)?
        };
        let fits = |kind| kind == 9 || kind == 1 && !long;
        let Some(d) = d.filter(|d| !d.is_user() && fits(d.kind())) else {
            return self.refuse_with(vector::GP, error);
        };
        if !d.is_present() {
            return self.refuse_with(vector::NP, error);
        }
        self.write_descriptor_type(env, selector, d, d.kind() | 2)?;
        self.tr = d.segment(selector);
        self.tr.attributes |= 2;
        Ok(())
    }

    /// SLDT and STR.
    pub(super) fn store_selector(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if !self.is_protected() {
            return self.undefined();
        }
        self.check_umip()?;
        let (selector, size) = match p.code {
            Sldt_rm16 => (self.ldtr.selector, 2),
            Sldt_r32m16 => (self.ldtr.selector, 4),
            Sldt_r64m16 => (self.ldtr.selector, 8),
            Str_rm16 => (self.tr.selector, 2),
            Str_r32m16 => (self.tr.selector, 4),
            _ => (self.tr.selector, 8),
        };
        let size = if p.rm == MEMORY { 2 } else { size };
        self.write_rm(env, p, size, u64::from(selector))
    }

    /// SMSW.
    pub(super) fn store_status(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        self.check_umip()?;
        let size = match p.code {
            _ if p.rm == MEMORY => 2,
            Smsw_rm16 => 2,
            Smsw_r32m16 => 4,
            _ => 8,
        };
        self.write_rm(env, p, size, self.cr0)
    }

    /// LMSW: cannot leave protected mode.
    pub(super) fn load_status(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        self.privileged()?;
        let value = self.read_rm(env, p, 2)? & 0xf;
        let value = self.cr0 & !0xe | value;
        self.set_cr0(env, value)
    }

    /// CLTS.
    pub(super) fn clear_task_switched(&mut self) -> Result<(), Fault> {
        self.privileged()?;
        self.cr0 &= !CR0_TS;
        Ok(())
    }
}
