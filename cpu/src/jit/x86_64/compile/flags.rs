//! Templates for operations with the flags of an x86 CPU.
//!
//! What the flags follow from (see [`crate::engine::flags`]) is stored as late as can be: at the end of the block, before a helper, in the
//! way of an access that the soft TLB does not have, or when a register that it is in changes. Host flags are the guest's right after an
//! operation, so that a branch that follows needs no comparison of its own.

use super::alu::Y;
use super::{Compiler, small};
use crate::engine::flags::Kind as Flags;
use crate::engine::uop::{R_FLAG_OP, R_FLAG_OPERAND, R_FLAG_RESULT, Reg};
use crate::jit::host::thunks::register;
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

/// Where a value is that is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A register of the flat file.
    Reg(Reg),
    /// A number.
    Imm(u64),
}

/// A value to be stored, in code out of the way: where it is when the way there is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Host(u8),
    File(Reg),
    Imm(u64),
}

/// Conditions for which the host's flags are the guest's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Valid {
    #[default]
    None,
    All,
    /// Those that do not need the overflow.
    NoOverflow,
    /// Those of ZF, SF and PF alone.
    Result,
    /// That of CF alone.
    Carry,
}

impl Valid {
    /// For a condition numbered as in Jcc.
    pub(super) fn covers(self, condition: u8) -> bool {
        let kind = condition >> 1 & 7;
        match self {
            Valid::None => false,
            Valid::All => true,
            Valid::NoOverflow => matches!(kind, 1..=5),
            Valid::Result => matches!(kind, 2 | 4 | 5),
            Valid::Carry => kind == 1,
        }
    }
}

/// What is known of the flags at one point of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// Values that the file does not have yet, of [`R_FLAG_OP`], [`R_FLAG_RESULT`] and [`R_FLAG_OPERAND`].
    pub(super) op: Option<u64>,
    pub(super) result: Option<Source>,
    pub(super) operand: Option<Source>,
    /// The value of [`R_FLAG_OP`], if it is known.
    pub(super) known: Option<u64>,
    pub(super) valid: Valid,
}

impl Compiler<'_> {
    /// True if the host's flags are the guest's, for some conditions.
    pub(super) fn has_host_flags(&self) -> bool {
        self.flags.valid != Valid::None
    }

    /// The host's flags no longer are the guest's.
    pub(super) fn forget_host_flags(&mut self) {
        self.flags.valid = Valid::None;
    }

    /// A helper may have changed the flags.
    pub(super) fn forget_flags(&mut self) {
        self.flags = State::default();
    }

    /// `r` is about to change: what the flags need of it is stored.
    pub(super) fn settle_flags(&mut self, r: Reg) {
        if self.flags.result == Some(Source::Reg(r)) {
            self.flags.result = None;
            self.put_flag(R_FLAG_RESULT, Source::Reg(r));
        }
        if self.flags.operand == Some(Source::Reg(r)) {
            self.flags.operand = None;
            self.put_flag(R_FLAG_OPERAND, Source::Reg(r));
        }
    }

    /// Stores what the file does not have yet. Changes no flag; uses rdx.
    pub(super) fn write_flags_back(&mut self) {
        if let Some(op) = self.flags.op.take() {
            self.put_flag(R_FLAG_OP, Source::Imm(op));
        }
        if let Some(source) = self.flags.result.take() {
            self.put_flag(R_FLAG_RESULT, source);
        }
        if let Some(source) = self.flags.operand.take() {
            self.put_flag(R_FLAG_OPERAND, source);
        }
    }

    /// The same for code out of the way that begins at this point.
    pub(super) fn late_flags(&self) -> Vec<(Reg, Late)> {
        let late = |source| match source {
            Source::Imm(v) => Late::Imm(v),
            Source::Reg(r) => self.regs.peek(r).map_or(Late::File(r), Late::Host),
        };
        let f = &self.flags;
        let op = f.op.map(|op| (R_FLAG_OP, Late::Imm(op)));
        let result = f.result.map(|s| (R_FLAG_RESULT, late(s)));
        let operand = f.operand.map(|s| (R_FLAG_OPERAND, late(s)));
        [op, result, operand].into_iter().flatten().collect()
    }

    pub(super) fn put_flag(&mut self, flag: Reg, source: Source) {
        let late = match source {
            Source::Imm(v) => Late::Imm(v),
            Source::Reg(r) => self.regs.peek(r).map_or(Late::File(r), Late::Host),
        };
        self.put_late(flag, late);
    }

    /// Stores a value to a register of the file that never is in a host register. Changes no flag; uses rdx.
    pub(super) fn put_late(&mut self, flag: Reg, late: Late) {
        match late {
            Late::Host(h) => self.store_register(h, flag),
            Late::File(r) => {
                x!(self ; mov rdx, [rbp + register(r)]);
                self.store_register(2, flag);
            }
            Late::Imm(v) => match (small(v), i8::try_from(register(flag))) {
                (Some(v), Ok(at)) => x!(self ; mov QWORD [BYTE rbp + at], DWORD v),
                (Some(v), Err(_)) => x!(self ; mov QWORD [rbp + register(flag)], DWORD v),
                (None, _) => {
                    x!(self ; mov rdx, QWORD v as i64);
                    self.store_register(2, flag);
                }
            },
        }
    }

    /// The flags are those of an operation whose result and operand are known; `None` of an operand: the file has it, or it stays.
    pub(super) fn new_flags(
        &mut self,
        kind: Flags,
        log: u8,
        result: Option<Source>,
        operand: Option<Source>,
    ) {
        let op = kind.at(log);
        self.flags.op = Some(op);
        self.flags.known = Some(op);
        self.flags.result = result;
        if operand.is_some() {
            self.flags.operand = operand;
        }
    }

    /// What follows from the flags before is not needed any more, but for the operand if that stays.
    pub(super) fn drop_old_flags(&mut self, operand_too: bool) {
        self.flags.op = None;
        self.flags.result = None;
        if operand_too {
            self.flags.operand = None;
        }
    }

    /// The flags become those of EFLAGS in eax.
    pub(super) fn set_eflags(&mut self) {
        self.store_register(0, R_FLAG_OPERAND);
        self.forget_flags();
        self.flags.op = Some(Flags::Eflags.at(0));
        self.flags.known = self.flags.op;
    }

    /// eax = the arithmetic flags, as in EFLAGS.
    pub(super) fn eflags(&mut self) {
        self.write_flags_back();
        x!(self ; call extern self.thunks.arithmetic);
    }

    /// Makes the host's flags right for a condition; false if they cannot be.
    pub(super) fn host_flags_for(&mut self, condition: u8) -> bool {
        if self.flags.valid.covers(condition) {
            return true;
        }
        let Some(op) = self.flags.known else {
            return false;
        };
        let log = (op & 3) as u8;
        let result = self.flags.result;
        let is = |kind: Flags| op >> 2 == kind as u64;
        if is(Flags::Cmp) {
            self.load_flag(0, R_FLAG_RESULT, result);
            self.load_flag(1, R_FLAG_OPERAND, self.flags.operand);
            self.host_cmp(log, 0, Y::Host(1));
            self.flags.valid = Valid::All;
        } else if is(Flags::Eflags) {
            return false;
        } else {
            self.load_flag(0, R_FLAG_RESULT, result);
            self.host_test(log, 0);
            self.flags.valid = if is(Flags::Logic) {
                Valid::All
            } else {
                Valid::Result
            };
        }
        self.flags.valid.covers(condition)
    }

    pub(super) fn load_flag(&mut self, host: u8, flag: Reg, source: Option<Source>) {
        match source {
            None => x!(self ; mov Rq(host), [rbp + register(flag)]),
            Some(Source::Imm(v)) => self.set(host, v),
            Some(Source::Reg(r)) => match self.regs.peek(r) {
                Some(h) => x!(self ; mov Rq(host), Rq(h)),
                None => x!(self ; mov Rq(host), [rbp + register(r)]),
            },
        }
    }

    /// Makes a condition one of the host's: its number.
    pub(super) fn host_condition(&mut self, condition: u8) -> u8 {
        if self.host_flags_for(condition) {
            return condition & 15;
        }
        self.write_flags_back();
        x!(self
            ; mov ecx, i32::from(condition & 15)
            ; call extern self.thunks.condition
            ; test eax, eax
        );
        self.forget_host_flags();
        // Not zero.
        5
    }
}
