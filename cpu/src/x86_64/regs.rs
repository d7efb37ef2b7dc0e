//! Numbers of the flat register file, and bits of control registers and flags (Intel SDM vol. 1 §3.4.3, vol. 3 §2.3 and §2.5).

use crate::engine::uop::Reg;

/// RAX; the other general registers follow in the order of their encoding.
pub const R_RAX: Reg = 0;
/// RCX.
pub const R_RCX: Reg = 1;
/// RDX.
pub const R_RDX: Reg = 2;
/// RBX.
pub const R_RBX: Reg = 3;
/// RSP.
pub const R_RSP: Reg = 4;
/// RBP.
pub const R_RBP: Reg = 5;
/// RSI.
pub const R_RSI: Reg = 6;
/// RDI.
pub const R_RDI: Reg = 7;
/// R11.
pub const R_R11: Reg = 11;
/// Base of segment ES; CS, SS, DS, FS and GS follow. In 64-bit mode those of ES, CS, SS and DS are 0 here.
pub const R_SEGMENT_BASE: Reg = 16;
/// First of the registers that hold the arithmetic flags: see the module `flags`.
pub const R_FLAGS: Reg = 22;

/// XMM0: the low half, and behind it the high one; the others follow.
pub const R_XMM: Reg = 64;
/// A vector that does not outlive an instruction.
pub const R_XT: Reg = R_XMM + 32;

/// Carry.
pub const FLAG_CF: u64 = 1;
/// Always set.
pub const FLAG_ONE: u64 = 1 << 1;
/// Parity of the low byte.
pub const FLAG_PF: u64 = 1 << 2;
/// Carry out of the low four bits.
pub const FLAG_AF: u64 = 1 << 4;
/// Zero.
pub const FLAG_ZF: u64 = 1 << 6;
/// Sign.
pub const FLAG_SF: u64 = 1 << 7;
/// Trap after each instruction.
pub const FLAG_TF: u64 = 1 << 8;
/// Interrupts are enabled.
pub const FLAG_IF: u64 = 1 << 9;
/// String instructions go downwards.
pub const FLAG_DF: u64 = 1 << 10;
/// Overflow.
pub const FLAG_OF: u64 = 1 << 11;
/// I/O privilege level, two bits.
pub const FLAG_IOPL: u64 = 3 << 12;
/// Nested task.
pub const FLAG_NT: u64 = 1 << 14;
/// Resume: no instruction breakpoint for the next instruction.
pub const FLAG_RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const FLAG_VM: u64 = 1 << 17;
/// Alignment check; with SMAP, supervisor access to user pages is allowed.
pub const FLAG_AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const FLAG_VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const FLAG_VIP: u64 = 1 << 20;
/// CPUID exists.
pub const FLAG_ID: u64 = 1 << 21;
/// The flags that arithmetic sets.
pub const FLAGS_ARITHMETIC: u64 = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF;

/// Protected mode.
pub const CR0_PE: u64 = 1;
/// WAIT obeys TS.
pub const CR0_MP: u64 = 1 << 1;
/// No x87.
pub const CR0_EM: u64 = 1 << 2;
/// The floating-point state belongs to another task.
pub const CR0_TS: u64 = 1 << 3;
/// x87 is there: always set.
pub const CR0_ET: u64 = 1 << 4;
/// x87 errors are exceptions.
pub const CR0_NE: u64 = 1 << 5;
/// Supervisor writes obey write protection.
pub const CR0_WP: u64 = 1 << 16;
/// Alignment check in user mode, with EFLAGS.AC.
pub const CR0_AM: u64 = 1 << 18;
/// Not write-through: no effect.
pub const CR0_NW: u64 = 1 << 29;
/// Cache disabled: no effect.
pub const CR0_CD: u64 = 1 << 30;
/// Paging.
pub const CR0_PG: u64 = 1 << 31;

/// Virtual-8086 extensions.
pub const CR4_VME: u64 = 1;
/// Protected-mode virtual interrupts.
pub const CR4_PVI: u64 = 1 << 1;
/// RDTSC is privileged.
pub const CR4_TSD: u64 = 1 << 2;
/// Debugging extensions.
pub const CR4_DE: u64 = 1 << 3;
/// 4 MiB pages in 32-bit paging.
pub const CR4_PSE: u64 = 1 << 4;
/// Physical address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// Machine check.
pub const CR4_MCE: u64 = 1 << 6;
/// Global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// RDPMC in user mode.
pub const CR4_PCE: u64 = 1 << 8;
/// FXSAVE and SSE are enabled.
pub const CR4_OSFXSR: u64 = 1 << 9;
/// #XM is enabled.
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// SGDT, SIDT, SLDT, SMSW and STR are privileged.
pub const CR4_UMIP: u64 = 1 << 11;
/// Five levels of paging.
pub const CR4_LA57: u64 = 1 << 12;
/// RDFSBASE and the like are enabled.
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// Process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// XSAVE is enabled.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// Supervisor mode may not execute user pages.
pub const CR4_SMEP: u64 = 1 << 20;
/// Supervisor mode may not access user pages unless EFLAGS.AC is set.
pub const CR4_SMAP: u64 = 1 << 21;

/// EFER: SYSCALL is enabled.
pub const EFER_SCE: u64 = 1;
/// EFER: long mode is enabled.
pub const EFER_LME: u64 = 1 << 8;
/// EFER: long mode is active.
pub const EFER_LMA: u64 = 1 << 10;
/// EFER: the execute-disable bit of page tables is enabled.
pub const EFER_NXE: u64 = 1 << 11;
