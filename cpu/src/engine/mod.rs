//! The engine that all front ends share: micro-operations, code cache by physical page, soft TLB, the dispatcher and the interpreter
//! (Tier 0). The compiled tier is [`crate::jit`].
//!
//! Data flow: [`exec::exec`] looks up the block at the program counter (jump cache, then the code cache, then the front end's decoder),
//! runs it on the tier that has it, and follows links to the next block until the budget of instructions is used up, the front end
//! records an exception, or a micro-operation asks to leave.

mod access;
pub mod alu;
pub mod code;
pub(crate) mod core;
pub mod exec;
pub mod flags;
mod front_end;
pub(crate) mod interpret;
pub mod tlb;
pub mod uop;
mod verify;

use std::time::Duration;

use vm_memory::GuestMemoryMmap;
use vm_memory::bitmap::Bitmap;

use crate::ram::Ram;
pub(crate) use access::{load_slow, load_wide_slow, modify_slow, store_slow, store_wide_slow};
pub use code::CodeCache;
pub use front_end::FrontEnd;

/// What all CPUs of a machine share: RAM and translated code.
#[derive(Debug)]
pub struct Shared {
    /// Guest RAM.
    pub ram: Ram,
    /// Translated code of all CPUs.
    pub code: CodeCache,
    /// Translation changes that every CPU must see before it runs again, oldest first, and how many were dropped from the front.
    pub(crate) shootdowns: tlb::Shootdowns,
    /// The first block on which the tiers differed, under [`Engine::Verify`]: what differed.
    pub mismatch: Option<String>,
    /// Kept for its memory.
    decoded: code::Decoded,
}

/// Which tiers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The interpreter alone.
    Interpreter,
    /// The interpreter, and compiled code for blocks that run often. Hosts without a compiled tier interpret.
    #[default]
    Compiled,
    /// Every block on both, the first times that it runs and now and then, and compared: slow, to find errors of the compiled tier.
    Verify,
}

/// Counters of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Blocks decoded.
    pub blocks_decoded: u64,
    /// Guest instructions decoded.
    pub instructions_decoded: u64,
    /// Blocks compiled.
    pub blocks_compiled: u64,
    /// Runs of blocks that were compared on both tiers.
    pub blocks_verified: u64,
    /// Pages of which cached code was thrown away.
    pub pages_invalidated: u64,
    /// Times the whole cache was emptied because it was full.
    pub resets: u64,
    /// Times compiled code was entered from the dispatcher.
    pub entries: u64,
    /// Blocks that the jump cache did not have.
    pub jump_misses: u64,
    /// Loads and stores that the soft TLB did not have, devices among them.
    pub tlb_misses: u64,
    /// Host time spent decoding and compiling, if [`CodeCache::measure`] asked for it.
    pub translation: Duration,
}

impl Shared {
    /// Shares `ram` among CPUs.
    pub fn new<B: Bitmap + Send + Sync + 'static>(ram: &GuestMemoryMmap<B>) -> Self
    where
        GuestMemoryMmap<B>: Clone + Send + Sync,
    {
        Shared {
            ram: Ram::new(ram),
            code: CodeCache::default(),
            shootdowns: tlb::Shootdowns::default(),
            mismatch: None,
            decoded: code::Decoded::default(),
        }
    }

    /// Something other than a CPU wrote the page at `gpa`: drop the code cached of it.
    pub fn invalidate_page(&mut self, gpa: u64) {
        self.code.invalidate_page(gpa);
    }

    /// Counters since the start.
    pub fn stats(&self) -> EngineStats {
        self.code.stats()
    }
}
