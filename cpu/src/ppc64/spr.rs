//! Special purpose registers. Power ISA 3.0B, Book III §4.4 and appendix.

use super::Cpu;
use super::interrupts::{PROGRAM_ILLEGAL, PROGRAM_PRIVILEGED, vector};
use super::regs::*;
use crate::engine::exec::Fault;

/// FSCR bit of the target address register.
const FSCR_TAR: u64 = 1 << 8;
/// FSCR bit of DSCR in problem state.
const FSCR_DSCR: u64 = 1 << 2;

impl Cpu {
    /// XER as the ISA lays it out.
    pub fn xer(&self) -> u64 {
        let r = |n: u8| self.core.regs[n as usize] & 1;
        r(crate::engine::uop::R_SO) << 31
            | r(R_OV) << 30
            | r(crate::engine::uop::R_CA) << 29
            | r(R_OV32) << 19
            | r(crate::engine::uop::R_CA32) << 18
            | self.xer_rest
    }

    /// Sets XER.
    pub fn set_xer(&mut self, v: u64) {
        let mut put = |n: u8, bit: u32| self.core.regs[n as usize] = v >> bit & 1;
        put(crate::engine::uop::R_SO, 31);
        put(R_OV, 30);
        put(crate::engine::uop::R_CA, 29);
        put(R_OV32, 19);
        put(crate::engine::uop::R_CA32, 18);
        self.xer_rest = v & 0x7f;
    }

    fn illegal_spr(&mut self, spr: u32) -> Result<(), Fault> {
        if self.msr & MSR_PR != 0 {
            let why = if spr & 0x10 != 0 {
                PROGRAM_PRIVILEGED
            } else {
                PROGRAM_ILLEGAL
            };
            return Err(self.record_simple(vector::PROGRAM, why));
        }
        if matches!(spr, 0 | 4 | 5 | 6) {
            return Err(self.record_simple(vector::PROGRAM, PROGRAM_ILLEGAL));
        }
        if self.unknown_sprs.insert(spr) {
            log::warn!(
                "ppc64: SPR {spr} is not implemented; accesses do nothing (first at {:#x})",
                self.core.pc
            );
        }
        Ok(())
    }

    /// `mfspr`: `None` means that the register does not exist and the target keeps its value.
    pub(super) fn read_spr(&mut self, spr: u32) -> Result<Option<u64>, Fault> {
        let problem = self.msr & MSR_PR != 0;
        if problem && spr & 0x10 != 0 {
            return Err(self.record_simple(vector::PROGRAM, PROGRAM_PRIVILEGED));
        }
        Ok(Some(match spr {
            1 => self.xer(),
            3 if problem && self.fscr & FSCR_DSCR == 0 => return Err(self.facility_unavailable(2)),
            3 | 17 => self.dscr,
            8 => self.core.regs[R_LR as usize],
            9 => self.core.regs[R_CTR as usize],
            13 | 29 => self.amr,
            18 => self.dsisr,
            19 => self.dar,
            22 => self.decrementer(),
            26 => self.srr0,
            27 => self.srr1,
            28 => 0,
            48 => u64::from(self.pidr),
            61 => self.iamr,
            136 | 152 => self.ctrl,
            153 => self.fscr,
            157 => self.uamor,
            159 => 0,
            256 => self.vrsave,
            259 => self.sprg[3],
            268 => self.timebase(),
            269 => self.timebase() >> 32,
            272..=275 => self.sprg[(spr - 272) as usize],
            287 => self.pvr,
            308 | 309 => self.timebase(),
            318 | 319 => 0,
            // Performance monitor: problem-state and supervisor numbers, all zero.
            768..=799 => 0,
            800..=803 => self.bescr,
            804 => self.ebbhr,
            805 => self.ebbrr,
            806 => self.bescr,
            815 if problem && self.fscr & FSCR_TAR == 0 => return Err(self.facility_unavailable(8)),
            815 => self.core.regs[R_TAR as usize],
            849 => self.timebase(),
            880 => 0,
            896 | 898 => self.ppr,
            1023 => self.pir,
            _ => {
                self.illegal_spr(spr)?;
                return Ok(None);
            }
        }))
    }

    /// `mtspr`.
    pub(super) fn write_spr(&mut self, spr: u32, v: u64) -> Result<(), Fault> {
        let problem = self.msr & MSR_PR != 0;
        if problem && spr & 0x10 != 0 {
            return Err(self.record_simple(vector::PROGRAM, PROGRAM_PRIVILEGED));
        }
        match spr {
            1 => self.set_xer(v),
            3 if problem && self.fscr & FSCR_DSCR == 0 => return Err(self.facility_unavailable(2)),
            3 | 17 => self.dscr = v,
            8 => self.core.regs[R_LR as usize] = v,
            9 => self.core.regs[R_CTR as usize] = v,
            13 | 29 => {
                self.amr = if problem {
                    self.amr & !self.uamor | v & self.uamor
                } else {
                    v
                };
                self.update_contexts();
            }
            18 => self.dsisr = v & 0xffff_ffff,
            19 => self.dar = v,
            22 => self.set_decrementer(v),
            26 => self.srr0 = v,
            27 => self.srr1 = v,
            28 => {}
            48 => {
                self.pidr = v as u32 & 0xf_ffff;
                self.update_contexts();
            }
            61 => {
                self.iamr = v;
                self.update_contexts();
            }
            152 => self.ctrl = v,
            153 => self.fscr = v,
            157 => self.uamor = v,
            159 => {}
            256 => self.vrsave = v & 0xffff_ffff,
            272..=275 => self.sprg[(spr - 272) as usize] = v,
            318 | 319 => {}
            768..=799 => {}
            800..=803 => {}
            804 => self.ebbhr = v,
            805 => self.ebbrr = v,
            806 => self.bescr = v,
            815 if problem && self.fscr & FSCR_TAR == 0 => return Err(self.facility_unavailable(8)),
            815 => self.core.regs[R_TAR as usize] = v,
            // 882: PAPR's event-based throttling of speculation; kernels write it on every exit.
            880 | 882 => {}
            896 => self.ppr = v,
            898 => self.ppr = v << 32,
            _ => self.illegal_spr(spr)?,
        }
        Ok(())
    }
}
