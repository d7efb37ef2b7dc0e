//! Descriptors in memory, and the instructions that look at them: LAR, LSL, VERR, VERW, ARPL.

use iced_x86::Code::*;

use super::*;
use crate::x86_64::segment::Descriptor;

/// Address of a selector's descriptor within its table.
fn offset_of(selector: u16) -> u64 {
    u64::from(selector & !7)
}

impl Cpu {
    fn table_of(&self, selector: u16) -> Option<(u64, u64)> {
        if selector & 4 == 0 {
            Some((self.gdtr.base, u64::from(self.gdtr.limit)))
        } else if self.ldtr.is_usable() {
            Some((self.ldtr.base, u64::from(self.ldtr.limit)))
        } else {
            None
        }
    }

    /// The descriptor of a selector; `None` if it lies outside its table.
    pub(in crate::x86_64) fn descriptor(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
    ) -> Result<Option<Descriptor>, Fault> {
        let Some((base, limit)) = self.table_of(selector) else {
            return Ok(None);
        };
        let at = offset_of(selector);
        if at + 7 > limit {
            return Ok(None);
        }
        let low = self.read_system(env, base.wrapping_add(at), 8)?;
        let mut d = Descriptor { low, high: 0 };
        // In long mode, a system descriptor takes 16 bytes.
        if self.efer & EFER_LMA != 0 && !d.is_user() {
            if at + 15 > limit {
                return Ok(None);
            }
            d.high = self.read_system(env, base.wrapping_add(at + 8), 8)?;
        }
        Ok(Some(d))
    }

    /// Sets the accessed bit of a code or data descriptor in memory.
    pub(in crate::x86_64) fn mark_accessed(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        d: Descriptor,
    ) -> Result<(), Fault> {
        if d.kind() & 1 != 0 {
            return Ok(());
        }
        self.write_descriptor_type(env, selector, d, d.kind() | 1)
    }

    /// Changes the type of a descriptor in memory.
    pub(super) fn write_descriptor_type(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        d: Descriptor,
        kind: u8,
    ) -> Result<(), Fault> {
        let Some((base, _)) = self.table_of(selector) else {
            return Ok(());
        };
        let byte = d.low >> 40 & 0xf0 | u64::from(kind);
        self.write_system(env, base.wrapping_add(offset_of(selector) + 5), 1, byte)
    }

    /// A descriptor that LAR, LSL, VERR or VERW may see.
    fn visible(&mut self, env: &mut Env<'_>, selector: u16) -> Result<Option<Descriptor>, Fault> {
        if selector & !3 == 0 {
            return Ok(None);
        }
        let level = self.cpl().max((selector & 3) as u8);
        Ok(self
            .descriptor(env, selector)?
            .filter(|d| d.is_conforming() || level <= d.dpl()))
    }

    fn set_zero_flag(&mut self, on: bool) {
        let flags = self.arithmetic_flags() & !FLAG_ZF;
        self.set_arithmetic_flags(flags | if on { FLAG_ZF } else { 0 });
    }

    /// LAR and LSL.
    pub(super) fn load_descriptor_part(
        &mut self,
        env: &mut Env<'_>,
        p: &Packet,
    ) -> Result<(), Fault> {
        if !self.is_protected() {
            return self.undefined();
        }
        let (limit, size) = match p.code {
            Lar_r16_rm16 => (false, 2),
            Lar_r32_r32m16 => (false, 4),
            Lar_r64_r64m16 => (false, 8),
            Lsl_r16_rm16 => (true, 2),
            Lsl_r32_r32m16 => (true, 4),
            _ => (true, 8),
        };
        let selector = self.read_rm(env, p, 2)? as u16;
        let long = self.efer & EFER_LMA != 0;
        let found = self.visible(env, selector)?.filter(|d| {
            d.is_user()
                || match d.kind() {
                    2 | 9 | 11 => true,
                    1 | 3 => !long,
                    12 => !limit,
                    4 | 5 => !limit && !long,
                    _ => false,
                }
        });
        if let Some(d) = found {
            let value = if limit {
                u64::from(d.segment(selector).limit)
            } else {
                d.low >> 32 & 0x00ff_ff00
            };
            self.set_register(p.reg, size, value);
        }
        self.set_zero_flag(found.is_some());
        Ok(())
    }

    /// VERR and VERW.
    pub(super) fn verify_segment(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if !self.is_protected() {
            return self.undefined();
        }
        let write = p.code.mnemonic() == Mnemonic::Verw;
        let selector = self.read_rm(env, p, 2)? as u16;
        let found = self.visible(env, selector)?;
        let fits = |d: Descriptor| {
            if write {
                d.is_writable()
            } else {
                d.is_readable()
            }
        };
        self.set_zero_flag(found.is_some_and(fits));
        Ok(())
    }

    /// ARPL.
    pub(super) fn adjust_rpl(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if !self.is_protected() {
            return self.undefined();
        }
        let selector = self.read_rm(env, p, 2)?;
        let rpl = self.register(p.reg, 2) & 3;
        let lower = selector & 3 < rpl;
        if lower {
            self.write_rm(env, p, 2, selector & !3 | rpl)?;
        }
        self.set_zero_flag(lower);
        Ok(())
    }
}
