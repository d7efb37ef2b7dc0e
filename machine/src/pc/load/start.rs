//! The state of the first processor when a kernel is entered.

use super::Placement;

/// How the processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit protected mode without paging.
    Protected32,
    /// 64-bit mode with 4-level paging.
    Long64,
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// First byte.
    pub base: u64,
    /// Last valid offset, in bytes.
    pub limit: u32,
    /// Type (3:0), S (4), DPL (6:5), P (7), AVL (12), L (13), D/B (14), G (15), as bits 8 to 23 of a descriptor's upper half.
    pub attributes: u16,
}

/// GDTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// First byte.
    pub base: u64,
    /// Last valid offset.
    pub limit: u16,
}

/// Registers; those that are not here are 0. Interrupts are off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// How it runs.
    pub mode: Mode,
    /// Instruction pointer: an offset in CS, which begins at 0.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// General registers in the order of their encoding: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// Descriptor table, which is in memory.
    pub gdt: Table,
    /// CS.
    pub code: Segment,
    /// DS, ES, SS, FS, GS.
    pub data: Segment,
    /// Task register: a busy 32-bit task, without a descriptor.
    pub task: Segment,
}

/// Number of RAX in [`Start::gpr`].
pub const RAX: usize = 0;
/// Number of RBX.
pub const RBX: usize = 3;
/// Number of RSP.
pub const RSP: usize = 4;
/// Number of RSI.
pub const RSI: usize = 6;

/// The descriptor table.
pub const GDT: u64 = 0x500;
/// Page tables: the root, one table of the next level, four of the one after.
pub const PAGE_TABLES: u64 = 0x9000;
/// Top of a small stack, for kernels that use one before they have their own.
const STACK: u64 = 0x8ff0;

/// CR0: PE and ET.
const PROTECTED: u64 = 0x11;
/// CR0.PG.
const PAGING: u64 = 1 << 31;
/// CR4.PAE.
const PAE: u64 = 1 << 5;
/// EFER: LME and LMA.
const LONG: u64 = 0x500;

/// Linux boot protocol: __BOOT_CS and __BOOT_DS.
const CODE: (u16, u64) = (0x10, 0x00cf_9b00_0000_ffff);
const CODE64: (u16, u64) = (0x10, 0x00af_9b00_0000_ffff);
const DATA: (u16, u64) = (0x18, 0x00cf_9300_0000_ffff);

/// A flat segment by its descriptor.
fn flat((selector, descriptor): (u16, u64)) -> Segment {
    Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes: (descriptor >> 40 & 0xf0ff) as u16,
    }
}

/// The processor at `rip`, and the tables that it needs in memory.
pub fn enter(mode: Mode, rip: u64) -> (Start, Vec<Placement>) {
    let long = mode == Mode::Long64;
    let code = if long { CODE64 } else { CODE };
    let gdt = [0, 0, code.1, DATA.1];
    let mut placements = vec![Placement {
        at: GDT,
        what: "descriptor table",
        bytes: gdt.iter().flat_map(|d| d.to_le_bytes()).collect(),
    }];
    if long {
        placements.push(Placement {
            at: PAGE_TABLES,
            what: "page tables",
            bytes: page_tables(),
        });
    }
    let mut gpr = [0; 16];
    gpr[RSP] = STACK;
    let start = Start {
        mode,
        rip,
        rflags: 2,
        gpr,
        cr0: PROTECTED | if long { PAGING } else { 0 },
        cr3: if long { PAGE_TABLES } else { 0 },
        cr4: if long { PAE } else { 0 },
        efer: if long { LONG } else { 0 },
        gdt: Table {
            base: GDT,
            limit: 8 * 4 - 1,
        },
        code: flat(code),
        data: flat(DATA),
        task: Segment {
            selector: 0,
            base: 0,
            limit: 0x67,
            attributes: 0x8b,
        },
    };
    (start, placements)
}

/// Maps the first 4 GiB to themselves with pages of 2 MiB. Intel SDM vol. 3 §4.5.
fn page_tables() -> Vec<u8> {
    const TABLE: u64 = 3; // present, writable
    const PAGE: u64 = 0x83; // present, writable, large
    const GIB: u64 = 4;
    let mut entries = vec![0u64; 512 * (2 + GIB as usize)];
    entries[0] = PAGE_TABLES + 0x1000 | TABLE;
    for n in 0..GIB {
        entries[512 + n as usize] = PAGE_TABLES + 0x2000 + n * 0x1000 | TABLE;
    }
    for (n, entry) in (0..).zip(&mut entries[1024..]) {
        *entry = n << 21 | PAGE;
    }
    entries.iter().flat_map(|e| e.to_le_bytes()).collect()
}
