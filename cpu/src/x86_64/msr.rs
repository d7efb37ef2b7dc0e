//! Model-specific registers (Intel SDM vol. 4).

use super::memory::Env;
use super::regs::*;
use super::segment::SegmentRegister;
use super::{Cpu, cpuid};
use crate::engine::exec::Fault;

const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const APIC_BASE: u32 = 0x1b;
const FEATURE_CONTROL: u32 = 0x3a;
const TSC_ADJUST: u32 = 0x3b;
const SPEC_CTRL: u32 = 0x48;
const PRED_CMD: u32 = 0x49;
const UPDATE_TRIGGER: u32 = 0x79;
const UPDATE_SIGNATURE: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const MTRR_CAP: u32 = 0xfe;
const ARCH_CAPABILITIES: u32 = 0x10a;
const MISC_FEATURES_ENABLES: u32 = 0x140;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUG_CONTROL: u32 = 0x1d9;
const MTRR_VARIABLE: u32 = 0x200;
const MTRR_VARIABLE_LAST: u32 = MTRR_VARIABLE + 2 * VARIABLE_MTRRS as u32 - 1;
const PAT: u32 = 0x277;
const MTRR_DEFAULT: u32 = 0x2ff;
const MC_FIRST: u32 = 0x400;
const MC_LAST: u32 = MC_FIRST + 4 * MC_BANKS as u32 - 1;
const TSC_DEADLINE: u32 = 0x6e0;
const X2APIC: std::ops::RangeInclusive<u32> = 0x800..=0x8ff;
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

const VARIABLE_MTRRS: usize = 8;
const MC_BANKS: usize = 4;
/// Fixed-range MTRRs in order.
const FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];
/// PAT after reset (vol. 3 §11.12.4).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// Fast strings; no branch trace, no precise events.
const MISC_ENABLE_RESET: u64 = 1 | 1 << 11 | 1 << 12;
/// Eight ranges, fixed ranges, write-combining.
const MTRR_CAP_VALUE: u64 = VARIABLE_MTRRS as u64 | 1 << 8 | 1 << 10;
/// Both enable bits, write-back: as firmware leaves it.
const MTRR_DEFAULT_RESET: u64 = 1 << 11 | 1 << 10 | 6;
/// Locked, with nothing on: VMX is absent.
const FEATURE_CONTROL_VALUE: u64 = 1;
/// None of the side channels exists: RDCL, SSB, MDS, PSCHANGE, TAA, SBDR, FBSDP, PSDP, BHI, PBRSB, GDS, RFDS, ITS; IBRS once for all; no L1D
/// flush on VM entry.
const ARCH_CAPABILITIES_VALUE: u64 = 1
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 20
    | 1 << 24
    | 1 << 26
    | 1 << 27
    | 1 << 62;
/// Highest ratio 10 of 100 MHz: the TSC's frequency.
const PLATFORM_INFO_VALUE: u64 = 10 << 8;
/// Unknown registers that are logged at most.
const MAX_LOGGED: usize = 256;
const EFER_KNOWN: u64 = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

/// What is stored.
#[derive(Debug)]
pub(super) struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub tsc_aux: u64,
    /// What the guest added to virtual time, modulo 2^64: also TSC_ADJUST.
    pub tsc_offset: u64,
    pat: u64,
    mtrr_default: u64,
    mtrr_variable: [u64; 2 * VARIABLE_MTRRS],
    mtrr_fixed: [u64; FIXED.len()],
    misc_enable: u64,
    misc_features: u64,
    spec_ctrl: u64,
    debug_control: u64,
    mcg_status: u64,
    /// CTL of each bank; there are no errors, so that the other registers stay 0.
    mc_control: [u64; MC_BANKS],
    update_signature: u64,
}

impl Default for Msrs {
    fn default() -> Self {
        Msrs {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            tsc_aux: 0,
            tsc_offset: 0,
            pat: PAT_RESET,
            mtrr_default: MTRR_DEFAULT_RESET,
            mtrr_variable: [0; 2 * VARIABLE_MTRRS],
            mtrr_fixed: [0x0606_0606_0606_0606; FIXED.len()],
            misc_enable: MISC_ENABLE_RESET,
            misc_features: 0,
            spec_ctrl: 0,
            debug_control: 0,
            mcg_status: 0,
            mc_control: [0; MC_BANKS],
            update_signature: 0,
        }
    }
}

/// A memory type that MTRRs and PAT know; PAT also has 7.
fn is_memory_type(t: u64, pat: bool) -> bool {
    matches!(t, 0 | 1 | 4 | 5 | 6) || pat && t == 7
}

fn all_types(value: u64, pat: bool) -> bool {
    value
        .to_le_bytes()
        .iter()
        .all(|t| is_memory_type(u64::from(*t), pat))
}

fn fixed_index(msr: u32) -> Option<usize> {
    FIXED.iter().position(|m| *m == msr)
}

impl Cpu {
    /// RDMSR.
    pub(super) fn rdmsr(&mut self, env: &mut Env<'_>) -> Result<(), Fault> {
        let msr = self.core.regs[usize::from(R_RCX)] as u32;
        let value = if self.cpl() == 0 {
            self.read_msr(env, msr)
        } else {
            None
        };
        let Some(value) = value else {
            self.log_msr("RDMSR", msr);
            return Err(self.raise(super::exception::Exception::general_protection()));
        };
        self.core.regs[usize::from(R_RAX)] = value & 0xffff_ffff;
        self.core.regs[usize::from(R_RDX)] = value >> 32;
        Ok(())
    }

    /// WRMSR.
    pub(super) fn wrmsr(&mut self, env: &mut Env<'_>) -> Result<(), Fault> {
        let msr = self.core.regs[usize::from(R_RCX)] as u32;
        let low = self.core.regs[usize::from(R_RAX)] & 0xffff_ffff;
        let value = self.core.regs[usize::from(R_RDX)] << 32 | low;
        let done = if self.cpl() == 0 {
            self.write_msr(env, msr, value)
        } else {
            None
        };
        if done.is_none() {
            self.log_msr("WRMSR", msr);
            return Err(self.raise(super::exception::Exception::general_protection()));
        }
        Ok(())
    }

    fn log_msr(&mut self, what: &str, msr: u32) {
        if self.unknown_msrs.len() < MAX_LOGGED && self.unknown_msrs.insert(msr) {
            log::info!(
                "x86-64: {what} of {msr:#x} at {:#x} is refused",
                self.core.pc
            );
        }
    }

    /// A register's value; `None`: #GP.
    fn read_msr(&mut self, env: &mut Env<'_>, msr: u32) -> Option<u64> {
        let m = &self.msrs;
        Some(match msr {
            TSC => self.tsc(),
            TSC_ADJUST => m.tsc_offset,
            PLATFORM_ID => 0,
            APIC_BASE => return self.read_apic(env, msr),
            TSC_DEADLINE => return self.read_deadline(env),
            m if X2APIC.contains(&m) => return self.read_apic(env, msr),
            FEATURE_CONTROL => FEATURE_CONTROL_VALUE,
            SPEC_CTRL => m.spec_ctrl,
            UPDATE_SIGNATURE => m.update_signature,
            PLATFORM_INFO => PLATFORM_INFO_VALUE,
            MTRR_CAP => MTRR_CAP_VALUE,
            ARCH_CAPABILITIES => ARCH_CAPABILITIES_VALUE,
            MISC_FEATURES_ENABLES => m.misc_features,
            SYSENTER_CS => m.sysenter_cs,
            SYSENTER_ESP => m.sysenter_esp,
            SYSENTER_EIP => m.sysenter_eip,
            MCG_CAP => MC_BANKS as u64,
            MCG_STATUS => m.mcg_status,
            MISC_ENABLE => m.misc_enable,
            DEBUG_CONTROL => m.debug_control,
            MTRR_VARIABLE..=MTRR_VARIABLE_LAST => m.mtrr_variable[(msr - MTRR_VARIABLE) as usize],
            PAT => m.pat,
            MTRR_DEFAULT => m.mtrr_default,
            MC_FIRST..=MC_LAST if (msr - MC_FIRST).is_multiple_of(4) => {
                m.mc_control[(msr - MC_FIRST) as usize / 4]
            }
            MC_FIRST..=MC_LAST => 0,
            EFER => self.efer,
            STAR => m.star,
            LSTAR => m.lstar,
            CSTAR => m.cstar,
            FMASK => m.fmask,
            FS_BASE => self.segments[4].base,
            GS_BASE => self.segments[5].base,
            KERNEL_GS_BASE => m.kernel_gs_base,
            TSC_AUX => m.tsc_aux,
            _ => m.mtrr_fixed[fixed_index(msr)?],
        })
    }

    fn read_apic(&mut self, env: &mut Env<'_>, msr: u32) -> Option<u64> {
        let value = env.bus.msr_read(msr);
        self.core.leave_soon();
        value
    }

    /// Writes a register; `None`: #GP.
    fn write_msr(&mut self, env: &mut Env<'_>, msr: u32, value: u64) -> Option<()> {
        match msr {
            TSC => {
                let now = self.tsc();
                let offset = self.msrs.tsc_offset;
                self.set_tsc_offset(env, offset.wrapping_add(value.wrapping_sub(now)));
            }
            TSC_ADJUST => self.set_tsc_offset(env, value),
            APIC_BASE => return self.write_apic(env, msr, value),
            TSC_DEADLINE => return self.write_deadline(env, value),
            m if X2APIC.contains(&m) => return self.write_apic(env, msr, value),
            SPEC_CTRL if value & !0x87 == 0 => self.msrs.spec_ctrl = value,
            PRED_CMD if value & !0x81 == 0 => {}
            // No update is taken.
            UPDATE_TRIGGER => {}
            // The revision appears after a CPUID.
            UPDATE_SIGNATURE => self.msrs.update_signature = value & 0xffff_ffff << 32,
            MISC_FEATURES_ENABLES if value == 0 => {}
            SYSENTER_CS => self.msrs.sysenter_cs = value & 0xffff_ffff,
            SYSENTER_ESP if self.is_canonical(value) => self.msrs.sysenter_esp = value,
            SYSENTER_EIP if self.is_canonical(value) => self.msrs.sysenter_eip = value,
            MCG_STATUS if value == 0 => self.msrs.mcg_status = 0,
            MISC_ENABLE => self.msrs.misc_enable = value & !(3 << 11) | MISC_ENABLE_RESET & 3 << 11,
            DEBUG_CONTROL if value & !0xdfc7 == 0 => self.msrs.debug_control = value & !0x3fc1,
            MTRR_VARIABLE..=MTRR_VARIABLE_LAST | MTRR_DEFAULT => {
                return self.write_mtrr(msr, value);
            }
            PAT if all_types(value, true) => self.msrs.pat = value,
            MC_FIRST..=MC_LAST if (msr - MC_FIRST).is_multiple_of(4) => {
                self.msrs.mc_control[(msr - MC_FIRST) as usize / 4] = value;
            }
            MC_FIRST..=MC_LAST if value == 0 => {}
            EFER => return self.write_efer(value),
            STAR => self.msrs.star = value,
            LSTAR if self.is_canonical(value) => self.msrs.lstar = value,
            CSTAR if self.is_canonical(value) => self.msrs.cstar = value,
            FMASK => self.msrs.fmask = value & 0xffff_ffff,
            FS_BASE if self.is_canonical(value) => self.set_base(SegmentRegister::Fs, value),
            GS_BASE if self.is_canonical(value) => self.set_base(SegmentRegister::Gs, value),
            KERNEL_GS_BASE if self.is_canonical(value) => self.msrs.kernel_gs_base = value,
            TSC_AUX if value >> 32 == 0 => self.msrs.tsc_aux = value,
            _ => {
                let i = fixed_index(msr)?;
                if !all_types(value, false) {
                    return None;
                }
                self.msrs.mtrr_fixed[i] = value;
            }
        }
        Some(())
    }

    fn write_apic(&mut self, env: &mut Env<'_>, msr: u32, value: u64) -> Option<()> {
        let done = env.bus.msr_write(msr, value);
        self.core.leave_soon();
        done
    }

    /// The APIC knows the deadline in nanoseconds of virtual time; 0 is none.
    fn read_deadline(&mut self, env: &mut Env<'_>) -> Option<u64> {
        let at = self.read_apic(env, TSC_DEADLINE)?;
        Some(match at {
            0 => 0,
            at => at.wrapping_add(self.msrs.tsc_offset),
        })
    }

    fn write_deadline(&mut self, env: &mut Env<'_>, value: u64) -> Option<()> {
        let at = value.wrapping_sub(self.msrs.tsc_offset);
        let at = match value {
            0 => 0,
            // Before power-on: long past.
            _ if at as i64 <= 0 => 1,
            _ => at,
        };
        self.write_apic(env, TSC_DEADLINE, at)
    }

    /// A deadline is a value of the counter, and stays one.
    fn set_tsc_offset(&mut self, env: &mut Env<'_>, offset: u64) {
        let deadline = self.read_deadline(env).unwrap_or(0);
        self.msrs.tsc_offset = offset;
        if deadline != 0 {
            self.write_deadline(env, deadline);
        }
    }

    fn write_mtrr(&mut self, msr: u32, value: u64) -> Option<()> {
        let physical = (1 << super::paging::PHYSICAL_BITS) - 1;
        if msr == MTRR_DEFAULT {
            if value & !0xcff != 0 || !is_memory_type(value & 0xff, false) {
                return None;
            }
            self.msrs.mtrr_default = value;
            return Some(());
        }
        let i = (msr - MTRR_VARIABLE) as usize;
        let (low, fits) = if i.is_multiple_of(2) {
            (0xff, is_memory_type(value & 0xff, false))
        } else {
            (1 << 11, true)
        };
        if value & !(physical & !0xfff | low) != 0 || !fits {
            return None;
        }
        self.msrs.mtrr_variable[i] = value;
        Some(())
    }

    fn write_efer(&mut self, value: u64) -> Option<()> {
        let changed = self.efer ^ value;
        let paging = self.cr0 & CR0_PG != 0;
        if value & !EFER_KNOWN != 0 || paging && changed & EFER_LME != 0 {
            return None;
        }
        // LMA follows from LME and paging alone.
        self.efer = value & !EFER_LMA | self.efer & EFER_LMA;
        if changed & EFER_NXE != 0 {
            self.flush_all();
        }
        Some(())
    }

    /// CPUID: fills EAX to EDX for the leaf in EAX and ECX.
    pub(super) fn identify(&mut self) {
        let leaf = self.core.regs[usize::from(R_RAX)] as u32;
        let sub = self.core.regs[usize::from(R_RCX)] as u32;
        let state = cpuid::State {
            index: self.index,
            osxsave: self.cr4 & CR4_OSXSAVE != 0,
            xcr0: self.xcr0,
        };
        let [a, b, c, d] = self.model.leaf(leaf, sub, state);
        for (r, value) in [(R_RAX, a), (R_RBX, b), (R_RCX, c), (R_RDX, d)] {
            self.core.regs[usize::from(r)] = u64::from(value);
        }
        if leaf == 1 {
            self.msrs.update_signature = cpuid::MICROCODE << 32;
        }
    }
}
