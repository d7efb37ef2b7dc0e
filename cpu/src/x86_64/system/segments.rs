//! Loads of segment registers (Intel SDM vol. 3 §5.6).

use iced_x86::Code::*;

use super::*;
use crate::x86_64::memory::Stack;
use crate::x86_64::packet::MEMORY;
use crate::x86_64::segment::Segment;

impl Cpu {
    /// Loads a segment register other than CS.
    pub(super) fn load_segment(
        &mut self,
        env: &mut Env<'_>,
        register: SegmentRegister,
        selector: u16,
    ) -> Result<(), Fault> {
        let segment = if !self.is_protected() {
            Segment {
                selector,
                base: u64::from(selector) << 4,
                ..self.segments[register as usize]
            }
        } else if register == SegmentRegister::Ss {
            self.stack_segment(env, selector, self.cpl(), vector::GP)?
        } else {
            self.data_segment(env, selector)?
        };
        self.set_segment(register, segment);
        Ok(())
    }

    fn data_segment(&mut self, env: &mut Env<'_>, selector: u16) -> Result<Segment, Fault> {
        if selector & !3 == 0 {
            return Ok(Segment {
                selector,
                ..Segment::default()
            });
        }
        let error = u32::from(selector & !3);
        let Some(d) = self.descriptor(env, selector)? else {
            return self.refuse_with(vector::GP, error);
        };
        let level = self.cpl().max((selector & 3) as u8);
        if !d.is_readable() || !d.is_conforming() && level > d.dpl() {
            return self.refuse_with(vector::GP, error);
        }
        if !d.is_present() {
            return self.refuse_with(vector::NP, error);
        }
        self.mark_accessed(env, selector, d)?;
        let mut segment = d.segment(selector);
        segment.attributes |= 1;
        Ok(segment)
    }

    /// What SS holds for a selector at privilege level `cpl`. `wrong` is the exception of a bad selector: #GP, or #TS in a task switch.
    pub(super) fn stack_segment(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        cpl: u8,
        wrong: u8,
    ) -> Result<Segment, Fault> {
        if selector & !3 == 0 {
            if self.is_long() && cpl < 3 && selector == u16::from(cpl) {
                return Ok(null_stack(cpl));
            }
            return self.refuse_with(wrong, 0);
        }
        let error = u32::from(selector & !3);
        let Some(d) = self.descriptor(env, selector)? else {
            return self.refuse_with(wrong, error);
        };
        if selector & 3 != u16::from(cpl) || d.dpl() != cpl || !d.is_writable() {
            return self.refuse_with(wrong, error);
        }
        if !d.is_present() {
            return self.refuse_with(vector::SS, error);
        }
        self.mark_accessed(env, selector, d)?;
        let mut segment = d.segment(selector);
        segment.attributes |= 1;
        Ok(segment)
    }

    /// MOV from a segment register.
    pub(super) fn store_segment(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let Some(register) = segment_register(p.reg) else {
            return self.undefined();
        };
        let value = u64::from(self.segments[register as usize].selector);
        let size = match p.code {
            _ if p.rm == MEMORY => 2,
            Mov_rm16_Sreg => 2,
            Mov_r32m16_Sreg => 4,
            _ => 8,
        };
        self.write_rm(env, p, size, value)
    }

    /// MOV to a segment register.
    pub(super) fn load_segment_from(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let register = match segment_register(p.reg) {
            Some(register) if register != SegmentRegister::Cs => register,
            _ => return self.undefined(),
        };
        let selector = self.read_rm(env, p, 2)? as u16;
        self.load_segment(env, register, selector)?;
        self.shadow |= register == SegmentRegister::Ss;
        Ok(())
    }

    /// Which segment register a PUSH or POP names, and the size of the operand.
    fn pushed_segment(p: &Packet) -> Option<(SegmentRegister, u8)> {
        use SegmentRegister::*;
        Some(match p.code {
            Pushw_ES | Popw_ES => (Es, 2),
            Pushd_ES | Popd_ES => (Es, 4),
            Pushw_CS => (Cs, 2),
            Pushd_CS => (Cs, 4),
            Pushw_SS | Popw_SS => (Ss, 2),
            Pushd_SS | Popd_SS => (Ss, 4),
            Pushw_DS | Popw_DS => (Ds, 2),
            Pushd_DS | Popd_DS => (Ds, 4),
            Pushw_FS | Popw_FS => (Fs, 2),
            Pushd_FS | Popd_FS => (Fs, 4),
            Pushq_FS | Popq_FS => (Fs, 8),
            Pushw_GS | Popw_GS => (Gs, 2),
            Pushd_GS | Popd_GS => (Gs, 4),
            Pushq_GS | Popq_GS => (Gs, 8),
            _ => return None,
        })
    }

    /// PUSH of a segment register.
    pub(super) fn push_segment(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let Some((register, size)) = Self::pushed_segment(p) else {
            return self.undefined();
        };
        let value = u64::from(self.segments[register as usize].selector);
        let mut stack = Stack::current(self);
        stack.push(self, env, size, value)?;
        stack.commit(self);
        Ok(())
    }

    /// POP of a segment register.
    pub(super) fn pop_segment(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let Some((register, size)) = Self::pushed_segment(p) else {
            return self.undefined();
        };
        let mut stack = Stack::current(self);
        let selector = stack.pop(self, env, size)? as u16;
        self.load_segment(env, register, selector)?;
        stack.commit(self);
        self.shadow |= register == SegmentRegister::Ss;
        Ok(())
    }

    /// LDS, LES, LSS, LFS, LGS.
    pub(super) fn load_far_pointer(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let register = match p.code.mnemonic() {
            Mnemonic::Lds => SegmentRegister::Ds,
            Mnemonic::Les => SegmentRegister::Es,
            Mnemonic::Lss => SegmentRegister::Ss,
            Mnemonic::Lfs => SegmentRegister::Fs,
            _ => SegmentRegister::Gs,
        };
        let size = match p.code {
            Les_r16_m1616 | Lds_r16_m1616 | Lss_r16_m1616 | Lfs_r16_m1616 | Lgs_r16_m1616 => 2,
            Lss_r64_m1664 | Lfs_r64_m1664 | Lgs_r64_m1664 => 8,
            _ => 4,
        };
        if p.rm != MEMORY {
            return self.undefined();
        }
        let at = self.operand_address(0);
        let offset = self.read(env, at, size)?;
        let at = self.operand_address(u64::from(size));
        let selector = self.read(env, at, 2)? as u16;
        self.load_segment(env, register, selector)?;
        self.set_register(p.reg, size, offset);
        Ok(())
    }
}

/// SS with a null selector, as 64-bit mode has it at CPL 0 to 2.
pub(super) fn null_stack(cpl: u8) -> Segment {
    Segment {
        selector: u16::from(cpl),
        attributes: u16::from(cpl) << 5,
        ..Segment::default()
    }
}
