//! Radix translation as a PAPR guest sees it: process-scoped tables only. Power ISA 3.0B, Book III §5.7.

use rustc_hash::FxHashMap;

use super::Cpu;
use super::interrupts::{Interrupt, vector};
use super::regs::{MSR_DR, MSR_IR, MSR_PR};
use crate::engine::Shared;
use crate::engine::exec::{Access, Fault, Translation};
use crate::engine::tlb::{MAX_CONTEXTS, Shootdown};

/// DSISR and SRR1: no translation.
const NOT_FOUND: u64 = 0x4000_0000;
/// Access not permitted.
const PROTECTED: u64 = 0x0800_0000;
/// SRR1 of an instruction storage interrupt: no-execute.
const NO_EXECUTE: u64 = 0x1000_0000;
/// DSISR: the access was a store.
const STORE: u64 = 0x0200_0000;
/// DSISR: the tables have an unsupported shape.
const BAD_CONFIG: u64 = 0x0008_0000;

const PTE_VALID: u64 = 1 << 63;
const PTE_LEAF: u64 = 1 << 62;
const PTE_R: u64 = 0x100;
const PTE_C: u64 = 0x80;
const EAA_PRIVILEGED: u64 = 8;
const EAA_READ: u64 = 4;
const EAA_WRITE: u64 = 2;
const EAA_EXECUTE: u64 = 1;
const REAL_MASK: u64 = 0x0fff_ffff_ffff_ffff;
/// Levels that a walk may have; the architecture's tables have at most 4.
const MAX_LEVELS: u32 = 5;
/// Times a walk starts again because an entry changed under it.
const MAX_RETRIES: u32 = 8;

/// Numbers address spaces for the soft TLB.
#[derive(Debug)]
pub(super) struct Contexts {
    ids: FxHashMap<(u32, u8), u64>,
    next: u64,
}

impl Default for Contexts {
    fn default() -> Self {
        Contexts {
            ids: FxHashMap::default(),
            next: 1,
        }
    }
}

impl Contexts {
    fn forget(&mut self, pid: u32) {
        self.ids.retain(|k, _| k.0 != pid);
    }
}

const REAL: (u32, u8) = (u32::MAX, 0);

enum Walk {
    Leaf {
        gpa: u64,
        eaa: u64,
    },
    Fault(u64),
    /// Outside the table: a segment interrupt.
    Segment,
}

impl Cpu {
    /// Brings the context numbers up to date with MSR, PIDR, AMR and IAMR.
    pub(super) fn update_contexts(&mut self) {
        let pr = self.msr & MSR_PR != 0;
        let keys = (self.amr >> 62) as u8 | ((self.iamr >> 62) as u8 & 1) << 2;
        let user = (self.pidr, if pr { 0x80 } else { keys });
        let kernel = (0, if pr { 0x80 } else { 0x40 });
        let data = if self.msr & MSR_DR != 0 {
            [user, kernel]
        } else {
            [REAL, REAL]
        };
        let code = if self.msr & MSR_IR != 0 {
            [user, kernel]
        } else {
            [REAL, REAL]
        };
        if self.contexts.next + 8 > MAX_CONTEXTS {
            self.forget_all_contexts();
        }
        let mut id = |key| {
            let next = &mut self.contexts.next;
            *self.contexts.ids.entry(key).or_insert_with(|| {
                *next += 1;
                *next - 1
            })
        };
        let data = [id(data[0]), id(data[1])];
        let code = [id(code[0]), id(code[1])];
        self.core.set_contexts(data, code);
    }

    fn forget_all_contexts(&mut self) {
        self.core.tlb.clear();
        self.contexts = Contexts::default();
    }

    /// Applies what other CPUs invalidated.
    pub(super) fn catch_up(&mut self, shared: &Shared) {
        let tlb = &self.core.tlb;
        if tlb.is_up_to_date(&shared.shootdowns, &shared.code) {
            return;
        }
        let contexts = &mut self.contexts;
        let mut all = false;
        self.core
            .tlb
            .catch_up(&shared.shootdowns, &shared.code, |pid| match pid {
                Some(pid) => contexts.forget(pid),
                None => all = true,
            });
        if all {
            self.forget_all_contexts();
        }
        self.update_contexts();
    }

    /// Carries out `tlbie` (`global`) or `tlbiel`. Power ISA 3.0B, Book III §5.9.3.3.
    pub(super) fn invalidate(&mut self, shared: &mut Shared, insn: u32, global: bool) {
        let rb = self.core.regs[(insn >> 11 & 31) as usize];
        let rs = self.core.regs[(insn >> 21 & 31) as usize];
        let ric = insn >> 18 & 3;
        if ric == 1 {
            // Only page-walk caches, of which there are none.
            return;
        }
        let what = match rb >> 10 & 3 {
            0 => {
                let size = match rb >> 5 & 7 {
                    5 => 64 << 10,
                    1 => 2 << 20,
                    2 => 1 << 30,
                    _ => 4096,
                };
                Shootdown::Range {
                    ea: rb & !0xfff & !(size - 1),
                    len: size,
                }
            }
            1 => Shootdown::Context((rs >> 32) as u32),
            _ => Shootdown::All,
        };
        match what {
            Shootdown::Range { ea, len } => self.core.tlb.drop_range(ea, len),
            Shootdown::Context(pid) => self.contexts.forget(pid),
            Shootdown::All => self.forget_all_contexts(),
        }
        self.update_contexts();
        if global {
            shared.shootdowns.push(what);
        }
    }

    /// Translates; on failure records the interrupt.
    pub(super) fn translate_address(
        &mut self,
        shared: &Shared,
        ea: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        let relocate = self.msr
            & if access == Access::Fetch {
                MSR_IR
            } else {
                MSR_DR
            }
            != 0;
        if !relocate {
            return Ok(Translation {
                gpa: ea & REAL_MASK,
                cacheable: true,
            });
        }
        match self.walk(shared, ea, access) {
            Walk::Leaf { gpa, eaa } => {
                let pr = self.msr & MSR_PR != 0;
                // In the kernel's quadrant the soft TLB's tag does not name AMR and IAMR.
                let cacheable = pr || eaa & EAA_PRIVILEGED != 0 || ea >> 62 == 0;
                Ok(Translation { gpa, cacheable })
            }
            Walk::Fault(status) => Err(self.storage_interrupt(ea, access, status)),
            Walk::Segment => {
                let i = if access == Access::Fetch {
                    Interrupt {
                        vector: vector::INSTRUCTION_SEGMENT,
                        srr1: 0,
                        dar: None,
                        dsisr: None,
                    }
                } else {
                    Interrupt {
                        vector: vector::DATA_SEGMENT,
                        srr1: 0,
                        dar: Some(ea),
                        dsisr: None,
                    }
                };
                Err(self.record(i))
            }
        }
    }

    fn storage_interrupt(&mut self, ea: u64, access: Access, status: u64) -> Fault {
        let i = match access {
            Access::Fetch => Interrupt {
                vector: vector::INSTRUCTION_STORAGE,
                srr1: status,
                dar: None,
                dsisr: None,
            },
            Access::Read => Interrupt {
                vector: vector::DATA_STORAGE,
                srr1: 0,
                dar: Some(ea),
                dsisr: Some(status),
            },
            Access::Write => Interrupt {
                vector: vector::DATA_STORAGE,
                srr1: 0,
                dar: Some(ea),
                dsisr: Some(status | STORE),
            },
        };
        self.record(i)
    }

    fn walk(&mut self, shared: &Shared, ea: u64, access: Access) -> Walk {
        let pid = match ea >> 62 {
            0 => self.pidr,
            3 => 0,
            _ => return Walk::Segment,
        };
        let size = 1_u64 << ((self.process_table & 0x1f) + 12).min(40);
        let at = u64::from(pid) * 16;
        if at >= size {
            return Walk::Fault(NOT_FOUND);
        }
        let entry = (self.process_table & 0x0fff_ffff_ffff_f000) + at;
        let Some(prtbe) = shared.ram.read(entry).map(u64::from_be_bytes) else {
            return Walk::Fault(BAD_CONFIG);
        };
        let rts = ((prtbe >> 61 & 3) << 3 | prtbe >> 5 & 7) as u32 + 31;
        let ea_low = ea & 0x3fff_ffff_ffff_ffff;
        if rts < 62 && ea_low >> rts != 0 {
            return Walk::Segment;
        }
        'again: for _ in 0..MAX_RETRIES {
            let mut base = prtbe & 0x0fff_ffff_ffff_ff00;
            let mut bits = (prtbe & 0x1f) as u32;
            let mut shift = rts;
            for _ in 0..MAX_LEVELS {
                if bits == 0 || bits > 16 || shift < bits + 12 {
                    return Walk::Fault(if base == 0 { NOT_FOUND } else { BAD_CONFIG });
                }
                shift -= bits;
                let at = base + (ea_low >> shift & ((1 << bits) - 1)) * 8;
                let Some(pte) = shared.ram.read(at).map(u64::from_be_bytes) else {
                    return Walk::Fault(BAD_CONFIG);
                };
                if pte & PTE_VALID == 0 {
                    return Walk::Fault(NOT_FOUND);
                }
                if pte & PTE_LEAF == 0 {
                    base = pte & 0x0fff_ffff_ffff_ff00;
                    bits = (pte & 0x1f) as u32;
                    continue;
                }
                if let Some(status) = self.denied(pte, access) {
                    return Walk::Fault(status);
                }
                let want = if access == Access::Write {
                    PTE_R | PTE_C
                } else {
                    PTE_R
                };
                if pte & want != want && !shared.ram.compare_exchange_be64(at, pte, pte | want) {
                    continue 'again;
                }
                let low = (1_u64 << shift) - 1;
                let gpa = pte & 0x01ff_ffff_ffff_f000 & !low | ea_low & low;
                return Walk::Leaf {
                    gpa,
                    eaa: pte & 0xf,
                };
            }
            return Walk::Fault(BAD_CONFIG);
        }
        Walk::Fault(NOT_FOUND)
    }

    /// The status bit of a refused access.
    fn denied(&self, pte: u64, access: Access) -> Option<u64> {
        let pr = self.msr & MSR_PR != 0;
        let privileged = pte & EAA_PRIVILEGED != 0;
        if pr && privileged {
            return Some(PROTECTED);
        }
        let keys = !pr && !privileged;
        match access {
            Access::Read if pte & (EAA_READ | EAA_WRITE) == 0 => Some(PROTECTED),
            Access::Read if keys && self.amr >> 62 & 1 != 0 => Some(PROTECTED),
            Access::Write if pte & EAA_WRITE == 0 => Some(PROTECTED),
            Access::Write if keys && self.amr >> 63 != 0 => Some(PROTECTED),
            Access::Fetch if pte & EAA_EXECUTE == 0 => Some(NO_EXECUTE),
            Access::Fetch if keys && self.iamr >> 62 & 1 != 0 => Some(NO_EXECUTE),
            _ => None,
        }
    }
}
