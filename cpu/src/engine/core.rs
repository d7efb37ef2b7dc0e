//! State of a CPU that the engine itself works on.

use super::tlb::{self, Tlb};
use super::verify::Journal;

/// The part of a CPU's state that every front end has. Compiled code reaches its fields by offset.
#[derive(Debug)]
#[repr(C)]
pub struct Core {
    /// The flat register file.
    pub regs: [u64; 256],
    /// Address of the next instruction; while a helper runs or a fault is recorded, of the current one.
    pub pc: u64,
    /// Context numbers for data accesses, by the top bit of the address, where the soft TLB's tags have them.
    data_context: [u64; 2],
    /// Exclusive or of the two.
    pub(crate) data_context_xor: u64,
    /// Context numbers for instruction fetch, likewise.
    code_context: [u64; 2],
    /// Caches of translations.
    pub tlb: Tlb,
    /// What compiled code and its helpers tell each other.
    pub(crate) exchange: Exchange,
    /// Instructions executed before the current one since [`super::exec::exec`] was entered. Valid in helpers.
    pub executed: u64,
    pub(crate) leave: bool,
    /// The block in which the last budget ended.
    pub(super) resume: Option<Resume>,
    /// While a block is run to be compared: what it stores.
    pub(super) journal: Option<Box<Journal>>,
}

/// A block of which the first instructions have run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    /// Address of the next instruction.
    pub pc: u64,
    /// The block, and its address.
    pub number: u32,
    pub base: u64,
    /// The epoch of the code cache in which the number is that block's.
    pub epoch: u32,
    /// How many instructions have run.
    pub from: u64,
}

/// Values that pass between compiled code, its helpers and the dispatcher.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Exchange {
    /// A loaded value.
    pub value: u64,
    /// Its upper half, if it has 16 bytes; also of a value to be stored.
    pub value_high: u64,
    /// To be taken from the counter of instructions left, so that the next block is not entered.
    pub bias: u64,
    /// The counter when compiled code was left.
    pub left: u64,
    /// Instructions of the block that follow the one that faulted.
    pub rest: u64,
    /// Place of a jump that may be made direct, or 0.
    pub site: u64,
    /// The context of the half of the addresses that is usual now, as a part of a soft TLB's tag.
    pub usual_context: u64,
    /// Tags for the jump cache, by the top bit of the address.
    pub tags: [u32; 2],
}

impl Default for Core {
    fn default() -> Self {
        Core {
            regs: [0; 256],
            pc: 0,
            data_context: [0; 2],
            data_context_xor: 0,
            code_context: [0; 2],
            tlb: Tlb::default(),
            exchange: Exchange::default(),
            executed: 0,
            leave: false,
            resume: None,
            journal: None,
        }
    }
}

impl Core {
    /// True if a device access ended the last [`super::exec::exec`].
    pub fn left_for_device(&self) -> bool {
        self.leave
    }

    /// Asks [`super::exec::exec`] to return at the end of the current block.
    pub fn leave_soon(&mut self) {
        self.leave = true;
    }

    /// Sets the context numbers for data accesses and instruction fetch, each by the top bit of the address.
    pub fn set_contexts(&mut self, data: [u64; 2], code: [u64; 2]) {
        self.data_context = data.map(tlb::context_tag);
        self.data_context_xor = self.data_context[0] ^ self.data_context[1];
        self.code_context = code;
    }

    /// Context of a data access, as a part of a soft TLB's tag.
    #[inline(always)]
    pub fn context_of(&self, ea: u64) -> u64 {
        self.data_context[(ea >> 63) as usize]
    }

    /// Tag of the jump cache for code at `pc` in a code mode.
    #[inline(always)]
    pub(crate) fn jump_tag(&self, pc: u64, mode: u8) -> u32 {
        (self.code_context[(pc >> 63) as usize] as u32) << 6 | u32::from(mode)
    }

    /// Where the first data context lies.
    pub(crate) const DATA_CONTEXT: usize = std::mem::offset_of!(Core, data_context);
}
