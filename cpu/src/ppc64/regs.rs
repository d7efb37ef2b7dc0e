//! Numbers of the flat register file, and bits of the MSR. 0 to 31 are the GPRs.

use crate::engine::uop::Reg;

/// Link register.
pub const R_LR: Reg = 32;
/// Count register.
pub const R_CTR: Reg = 33;
/// Target address register.
pub const R_TAR: Reg = 35;
/// XER.OV, 0 or 1.
pub const R_OV: Reg = 38;
/// XER.OV32.
pub const R_OV32: Reg = 39;
/// Scratch within one instruction.
pub const R_T2: Reg = 43;
/// Scratch within one instruction.
pub const R_T3: Reg = 44;

/// Facilities that MSR makes available: [`HAS_FP`], [`HAS_VMX`], [`HAS_VSX`].
pub const R_FACILITIES: Reg = 45;
/// Low half of VSR 0; its high half, which is FPR 0, and the other VSRs follow.
pub const R_VSR: Reg = 128;

/// Floating point.
pub const HAS_FP: u8 = 1;
/// VMX.
pub const HAS_VMX: u8 = 2;
/// VSX.
pub const HAS_VSX: u8 = 4;

/// 64-bit mode.
pub const MSR_SF: u64 = 1 << 63;
/// Vector available.
pub const MSR_VEC: u64 = 1 << 25;
/// VSX available.
pub const MSR_VSX: u64 = 1 << 23;
/// External interrupts enabled.
pub const MSR_EE: u64 = 1 << 15;
/// Problem state.
pub const MSR_PR: u64 = 1 << 14;
/// Floating point available.
pub const MSR_FP: u64 = 1 << 13;
/// Machine check enabled.
pub const MSR_ME: u64 = 1 << 12;
/// Floating-point exception mode 0.
pub const MSR_FE0: u64 = 1 << 11;
/// Single-step trace.
pub const MSR_SE: u64 = 1 << 10;
/// Branch trace.
pub const MSR_BE: u64 = 1 << 9;
/// Floating-point exception mode 1.
pub const MSR_FE1: u64 = 1 << 8;
/// Instruction relocation.
pub const MSR_IR: u64 = 1 << 5;
/// Data relocation.
pub const MSR_DR: u64 = 1 << 4;
/// Recoverable interrupt.
pub const MSR_RI: u64 = 1 << 1;
/// Little-endian.
pub const MSR_LE: u64 = 1;
/// Bits that a guest can set: no hypervisor state, no transactions.
pub const MSR_WRITABLE: u64 = MSR_SF
    | MSR_VEC
    | MSR_VSX
    | MSR_EE
    | MSR_PR
    | MSR_FP
    | MSR_ME
    | MSR_FE0
    | MSR_SE
    | MSR_BE
    | MSR_FE1
    | MSR_IR
    | MSR_DR
    | MSR_RI
    | MSR_LE;
