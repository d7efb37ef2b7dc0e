//! Registers of a local APIC by their offset in the page, which is 16 times their number in the x2APIC range of MSRs.
//! Intel SDM volume 3, tables 12-1 and 12-6 ("Local APIC Register Address Map").

/// Local APIC id.
pub const ID: u16 = 0x20;
/// Version.
pub const VERSION: u16 = 0x30;
/// Task priority.
pub const TPR: u16 = 0x80;
/// Arbitration priority (xAPIC only).
pub const APR: u16 = 0x90;
/// Processor priority.
pub const PPR: u16 = 0xa0;
/// End of interrupt.
pub const EOI: u16 = 0xb0;
/// Logical destination.
pub const LDR: u16 = 0xd0;
/// Destination format (xAPIC only).
pub const DFR: u16 = 0xe0;
/// Spurious interrupt vector.
pub const SVR: u16 = 0xf0;
/// In service, 8 registers.
pub const ISR: u16 = 0x100;
/// Trigger mode, 8 registers.
pub const TMR: u16 = 0x180;
/// Interrupt request, 8 registers.
pub const IRR: u16 = 0x200;
/// Error status.
pub const ESR: u16 = 0x280;
/// Interrupt command; all 64 bits of it in x2APIC mode.
pub const ICR: u16 = 0x300;
/// Interrupt command, upper half (xAPIC only).
pub const ICR_HIGH: u16 = 0x310;
/// Local vector table: timer, thermal sensor, performance counters, LINT0, LINT1, error; one every 16 bytes.
pub const LVT: u16 = 0x320;
/// Initial count of the timer.
pub const TIMER_INITIAL: u16 = 0x380;
/// Current count of the timer.
pub const TIMER_CURRENT: u16 = 0x390;
/// Divider of the timer.
pub const TIMER_DIVIDE: u16 = 0x3e0;
/// Interrupt to itself (x2APIC only).
pub const SELF_IPI: u16 = 0x3f0;

/// Entries of the local vector table.
pub const LVT_ENTRIES: usize = 6;
/// Index of the timer's entry.
pub const LVT_TIMER: usize = 0;
/// Index of LINT0's entry; LINT1's follows.
pub const LVT_LINT0: usize = 3;
/// Index of the entry for errors.
pub const LVT_ERROR: usize = 5;

/// Local vector table: the interrupt is held back.
pub const LVT_MASKED: u32 = 1 << 16;
/// Local vector table: delivery status, which is never seen set.
pub const LVT_STATUS: u32 = 1 << 12;
/// Local vector table of LINT0 and LINT1: accepted, and not yet ended.
pub const LVT_REMOTE_IRR: u32 = 1 << 14;
/// Local vector table of LINT0 and LINT1: level-triggered.
pub const LVT_LEVEL: u32 = 1 << 15;

/// IA32_APIC_BASE.
pub const MSR_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
pub const MSR_DEADLINE: u32 = 0x6e0;
/// First of the 64 MSRs of x2APIC mode.
pub const MSR_X2APIC: u32 = 0x800;

/// IA32_APIC_BASE: the processor that boots.
pub const BASE_BSP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode.
pub const BASE_EXTD: u64 = 1 << 10;
/// IA32_APIC_BASE: enabled.
pub const BASE_EN: u64 = 1 << 11;

/// Spurious interrupt vector: the APIC is enabled by software.
pub const SVR_ENABLE: u32 = 1 << 8;

/// Error status: an interrupt with a vector below 16 was to be sent.
pub const ESR_SEND_VECTOR: u32 = 1 << 5;
/// Error status: an interrupt with a vector below 16 came.
pub const ESR_RECEIVE_VECTOR: u32 = 1 << 6;
/// Error status: a register that does not exist was accessed (xAPIC only).
pub const ESR_REGISTER: u32 = 1 << 7;
