//! Control and debug registers, XCR0 (Intel SDM vol. 3 §2.5, §2.6, §17.2).

use iced_x86::Code;

use super::*;
use crate::x86_64::paging::ADDRESS_RESERVED;

/// CR0 bits that exist.
const CR0_KNOWN: u64 = 0xe005_003f;
/// CR4 bits that exist, but for LA57.
const CR4_KNOWN: u64 = CR4_TSD
    | CR4_DE
    | CR4_PSE
    | CR4_PAE
    | CR4_MCE
    | CR4_PGE
    | CR4_PCE
    | CR4_OSFXSR
    | CR4_OSXMMEXCPT
    | CR4_UMIP
    | CR4_FSGSBASE
    | CR4_PCIDE
    | CR4_OSXSAVE
    | CR4_SMEP
    | CR4_SMAP;
/// CR3: do not drop the translations of the PCID.
const CR3_KEEP: u64 = 1 << 63;
/// DR7: the next access to a debug register is #DB.
const DR7_GD: u64 = 1 << 13;
/// DR6: it was.
const DR6_BD: u64 = 1 << 13;

impl Cpu {
    fn control_size(&self) -> u8 {
        if self.is_long() { 8 } else { 4 }
    }

    /// MOV from a control register.
    pub(super) fn read_control(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if !matches!(p.reg, 0 | 2 | 3 | 4 | 8) {
            return self.undefined();
        }
        self.privileged()?;
        let value = match p.reg {
            8 => u64::from(env.bus.task_priority()),
            n => self.control_register(n),
        };
        self.set_register(p.rm, self.control_size(), value);
        Ok(())
    }

    /// MOV to a control register.
    pub(super) fn write_control(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        if !matches!(p.reg, 0 | 2 | 3 | 4 | 8) {
            return self.undefined();
        }
        self.privileged()?;
        let value = self.register(p.rm, self.control_size());
        match p.reg {
            0 => self.set_cr0(env, value),
            2 => {
                self.cr2 = value;
                Ok(())
            }
            3 => self.set_cr3(env, value),
            4 => self.set_cr4(env, value),
            _ => {
                if value > 15 {
                    return self.refuse();
                }
                env.bus.set_task_priority(value as u8);
                self.core.leave_soon();
                Ok(())
            }
        }
    }

    fn uses_pdptes(&self, cr0: u64, cr4: u64) -> bool {
        cr0 & CR0_PG != 0 && cr4 & CR4_PAE != 0 && self.efer & EFER_LME == 0
    }

    /// Writes CR0 with its checks.
    pub(super) fn set_cr0(&mut self, env: &mut Env<'_>, value: u64) -> Result<(), Fault> {
        let (pg, pe) = (value & CR0_PG != 0, value & CR0_PE != 0);
        let off = !pg && self.cr0 & CR0_PG != 0;
        let on = pg && self.cr0 & CR0_PG == 0;
        let long = self.efer & EFER_LME != 0;
        let wrong = value >> 32 != 0
            || pg && !pe
            || value & CR0_NW != 0 && value & CR0_CD == 0
            || off && (self.cr4 & CR4_PCIDE != 0 || self.is_long())
            || on && long && (self.cr4 & CR4_PAE == 0 || self.segments[1].is_long());
        if wrong {
            return self.refuse();
        }
        let changed = self.cr0 ^ value;
        let loads = changed & (CR0_PG | CR0_CD | CR0_NW) != 0;
        if loads && self.uses_pdptes(value, self.cr4) && !self.load_pdptes(env.shared, self.cr3) {
            return self.refuse();
        }
        let rip = self.next_rip();
        self.cr0 = value & CR0_KNOWN | CR0_ET;
        if on && long {
            self.efer |= EFER_LMA;
        } else if off {
            self.efer &= !EFER_LMA;
        }
        if changed & (CR0_PG | CR0_PE | CR0_WP) != 0 {
            self.update_bases();
            self.jump_to(rip);
            self.flush_all();
        }
        Ok(())
    }

    fn set_cr3(&mut self, env: &mut Env<'_>, value: u64) -> Result<(), Fault> {
        let pcide = self.cr4 & CR4_PCIDE != 0;
        let keep = pcide && value & CR3_KEEP != 0;
        let value = if pcide { value & !CR3_KEEP } else { value };
        let long = self.efer & EFER_LMA != 0;
        if long && value & (ADDRESS_RESERVED | 0xfff << 52) != 0 {
            return self.refuse();
        }
        if self.uses_pdptes(self.cr0, self.cr4) && !self.load_pdptes(env.shared, value) {
            return self.refuse();
        }
        self.cr3 = value;
        if keep {
            self.drop_private();
            self.update_contexts();
        } else {
            self.flush_pcid(if pcide { value & 0xfff } else { 0 });
        }
        Ok(())
    }

    fn set_cr4(&mut self, env: &mut Env<'_>, value: u64) -> Result<(), Fault> {
        let known = CR4_KNOWN | if self.model.la57 { CR4_LA57 } else { 0 };
        let changed = self.cr4 ^ value;
        let long = self.efer & EFER_LMA != 0;
        let wrong = value & !known != 0
            || long && (value & CR4_PAE == 0 || changed & CR4_LA57 != 0)
            || changed & value & CR4_PCIDE != 0 && (!long || self.cr3 & 0xfff != 0);
        if wrong {
            return self.refuse();
        }
        let loads = changed & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_SMEP) != 0;
        if loads && self.uses_pdptes(self.cr0, value) && !self.load_pdptes(env.shared, self.cr3) {
            return self.refuse();
        }
        self.cr4 = value;
        let paging = CR4_PGE | CR4_PAE | CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_LA57 | CR4_PCIDE;
        if changed & paging != 0 {
            self.flush_all();
        }
        Ok(())
    }

    /// The debug register that a number means; DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE is set.
    fn debug_register(&mut self, n: u8) -> Result<usize, Fault> {
        match n {
            4 | 5 if self.cr4 & CR4_DE != 0 => return self.undefined(),
            8.. => return self.undefined(),
            _ => {}
        }
        self.privileged()?;
        if self.dr[7] & DR7_GD != 0 {
            self.dr[7] &= !DR7_GD;
            self.dr[6] |= DR6_BD;
            return Err(self.raise(Exception::plain(vector::DB)));
        }
        Ok(usize::from(if matches!(n, 4 | 5) { n + 2 } else { n }))
    }

    /// MOV from a debug register.
    pub(super) fn read_debug(&mut self, p: &Packet) -> Result<(), Fault> {
        let n = self.debug_register(p.reg)?;
        let size = if p.code == Code::Mov_r64_dr { 8 } else { 4 };
        self.set_register(p.rm, size, self.dr[n]);
        Ok(())
    }

    /// MOV to a debug register.
    pub(super) fn write_debug(&mut self, p: &Packet) -> Result<(), Fault> {
        let n = self.debug_register(p.reg)?;
        let size = if p.code == Code::Mov_dr_r64 { 8 } else { 4 };
        let value = self.register(p.rm, size);
        if n >= 6 && value >> 32 != 0 {
            return self.refuse();
        }
        self.dr[n] = match n {
            6 => value & 0xe00f | 0xffff_0ff0,
            7 => value & 0xffff_2bff | 0x400,
            _ => value,
        };
        Ok(())
    }

    /// XGETBV.
    pub(super) fn xgetbv(&mut self) -> Result<(), Fault> {
        if self.cr4 & CR4_OSXSAVE == 0 {
            return self.undefined();
        }
        // 1 is XCR0 and what is in use: all of it.
        if self.register(1, 4) > 1 {
            return self.refuse();
        }
        self.set_edx_eax(self.xcr0);
        Ok(())
    }

    /// XSETBV.
    pub(super) fn xsetbv(&mut self) -> Result<(), Fault> {
        if self.cr4 & CR4_OSXSAVE == 0 {
            return self.undefined();
        }
        self.privileged()?;
        let value = self.edx_eax();
        let avx_alone = value & 6 == 4;
        if self.register(1, 4) != 0
            || value & 1 == 0
            || value & !self.model.xcr0() != 0
            || avx_alone
        {
            return self.refuse();
        }
        self.xcr0 = value;
        Ok(())
    }

    /// RDTSC and RDTSCP.
    pub(super) fn read_time(&mut self, processor: bool) -> Result<(), Fault> {
        if self.cr4 & CR4_TSD != 0 && self.cpl() != 0 {
            return self.refuse();
        }
        self.set_edx_eax(self.tsc());
        if processor {
            self.set_register(1, 4, self.msrs.tsc_aux);
        }
        Ok(())
    }

    /// RDPID.
    pub(super) fn rdpid(&mut self, p: &Packet) -> Result<(), Fault> {
        self.set_register(p.rm, 8, self.msrs.tsc_aux);
        Ok(())
    }
}
