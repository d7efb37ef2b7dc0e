//! The state of the first processor when a kernel is entered.

use viommu_cpu::x86_64::InitialState;
use viommu_cpu::x86_64::segment::{Descriptor, DescriptorTable, Segment};

use super::Placement;

/// How the processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit protected mode without paging.
    Protected32,
    /// 64-bit mode with 4-level paging.
    Long64,
}

/// Number of RAX among the general registers.
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
/// Attributes of a present, busy task of 32 or 64 bits.
const BUSY_TASK: u16 = 0x8b;

/// Linux boot protocol: __BOOT_CS and __BOOT_DS.
const CODE: (u16, u64) = (0x10, 0x00cf_9b00_0000_ffff);
const CODE64: (u16, u64) = (0x10, 0x00af_9b00_0000_ffff);
const DATA: (u16, u64) = (0x18, 0x00cf_9300_0000_ffff);

/// A segment by its descriptor.
fn segment((selector, low): (u16, u64)) -> Segment {
    Descriptor { low, high: 0 }.segment(selector)
}

/// The processor at `rip`, and the tables that it needs in memory.
pub fn enter(mode: Mode, rip: u64) -> (InitialState, Vec<Placement>) {
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
    let (code, data) = (segment(code), segment(DATA));
    let start = InitialState {
        gpr,
        rip,
        // Bit 1 is always set; interrupts are off.
        rflags: 2,
        cr0: PROTECTED | if long { PAGING } else { 0 },
        cr3: if long { PAGE_TABLES } else { 0 },
        cr4: if long { PAE } else { 0 },
        efer: if long { LONG } else { 0 },
        segments: [data, code, data, data, data, data],
        tr: Segment {
            selector: 0,
            base: 0,
            limit: 0x67,
            attributes: BUSY_TASK,
        },
        gdtr: DescriptorTable {
            base: GDT,
            limit: 8 * 4 - 1,
        },
        idtr: DescriptorTable::default(),
    };
    (start, placements)
}

/// Maps the first 4 GiB to themselves with pages of 2 MiB. Intel SDM vol. 3 §4.5.
fn page_tables() -> Vec<u8> {
    const TABLE: u64 = 3; // present, writable
    const PAGE: u64 = 0x83; // present, writable, large
    const GIB: u64 = 4;
    let mut entries = vec![0u64; 512 * (2 + GIB as usize)];
    entries[0] = (PAGE_TABLES + 0x1000) | TABLE;
    for n in 0..GIB {
        entries[512 + n as usize] = (PAGE_TABLES + 0x2000 + n * 0x1000) | TABLE;
    }
    for (n, entry) in (0..).zip(&mut entries[1024..]) {
        *entry = n << 21 | PAGE;
    }
    entries.iter().flat_map(|e| e.to_le_bytes()).collect()
}
