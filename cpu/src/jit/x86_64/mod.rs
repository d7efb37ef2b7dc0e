//! Tier 1 for x86-64 Linux hosts, with the System V calling convention.
#![allow(
    unsafe_code,
    reason = "compiled code is entered through a function pointer and works on raw pointers"
)]

mod compile;
mod helpers;
mod memory;
mod registers;
mod thunks;

use super::Exit;
use crate::bus::Bus;
use crate::engine::core::Core;
use crate::engine::exec::Pure;
use crate::engine::{CodeCache, FrontEnd, Shared};
use compile::Host;
use helpers::{Env, Status};
use memory::CodeMemory;
use thunks::Thunks;

/// Subtracted from the counter of instructions left when the CPU should leave: larger than any budget.
const LEAVE_BIAS: u64 = 1 << 62;

/// Bytes of a direct jump.
const JUMP_LEN: usize = 5;

/// Compiled code of one machine.
#[derive(Debug)]
pub struct Jit {
    memory: CodeMemory,
    thunks: Thunks,
    host: Host,
    /// Bytes that the thunks take.
    keep: usize,
}

impl Jit {
    /// Ready to compile for CPUs of type `F`, in `cap` bytes; `None` if the host has no memory for code.
    pub(crate) fn new<F: FrontEnd>(cap: usize) -> Option<Jit> {
        let mut memory = CodeMemory::new(cap)
            .inspect_err(|e| log::warn!("no memory for compiled code ({e}): interpreting"))
            .ok()?;
        let thunks = Thunks::assemble::<F>(&mut memory)?;
        Some(Jit {
            keep: memory.used(),
            memory,
            thunks,
            host: Host::detect(),
        })
    }

    /// Compiles block `n` and gives the address to enter it at; `None` if there is no room.
    pub(crate) fn compile(&mut self, code: &CodeCache, n: u32) -> Option<usize> {
        let entry = self.memory.next();
        let mut block = compile::block(code, n, &self.thunks, self.host, entry)?;
        let cold = self.memory.next_cold(block.cold_len());
        let (code, cold) = block.place_cold(entry, cold)?;
        self.memory.push(code, cold).then_some(entry)
    }

    /// Where compiled code jumps, by the jump cache, for a block that is not compiled.
    pub(crate) fn dispatcher(&self) -> usize {
        self.thunks.exit_jump
    }

    /// Makes the jump whose displacement ends at `site` lead to `entry`. A block that comes next in memory is just run into.
    pub(crate) fn link(&mut self, site: u64, entry: usize) {
        let site = site as usize;
        if self.memory.is_padding(site, entry) {
            self.memory.fill_with_nops(site - JUMP_LEN, entry);
            return;
        }
        let displacement = entry.wrapping_sub(site) as u32;
        self.memory.patch(site - 4, &displacement.to_le_bytes());
    }

    /// The block compiled at `entry` (0: none) is no longer true: whoever jumps there goes to the dispatcher. A run that is within it goes
    /// on to its end.
    pub(crate) fn retire(&mut self, entry: usize) {
        // Where the end of the budget is handled, which leads to the dispatcher.
        let counted = entry + compile::ENTER_LEN;
        if entry != 0
            && let Some(displacement) = self.memory.word(counted - 4)
        {
            let cold = counted + compile::RECOUNT_LEN;
            let to = cold.wrapping_add_signed(displacement as i32 as isize);
            let [a, b, c, d] = (to.wrapping_sub(entry + JUMP_LEN) as u32).to_le_bytes();
            self.memory.patch(entry, &[0xe9, a, b, c, d]);
        }
    }

    /// Throws all blocks away.
    pub(crate) fn reset(&mut self) {
        self.memory.truncate(self.keep);
    }
}

/// Runs compiled code from the block at `entry`, which lies at effective address `pc`. `left` is what remains of `budget`.
#[allow(
    clippy::too_many_arguments,
    reason = "the dispatcher's state, which lives in its local variables"
)]
pub(crate) fn enter<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pure: &[Pure],
    entry: usize,
    pc: u64,
    left: u64,
    budget: u64,
) -> Exit {
    let Some(address) = shared.code.compiled().map(|jit| jit.thunks.enter) else {
        return Exit::Next { pc, left, site: 0 };
    };
    let mode = f.code_mode();
    let usual = if f.high_half() { 1 << 63 } else { 0 };
    let core = f.core();
    core.exchange.usual_context = core.context_of(usual);
    core.exchange.tags = [core.jump_tag(0, mode), core.jump_tag(1 << 63, mode)];
    let core = std::ptr::from_mut::<Core>(core);
    let mut env = Env {
        f,
        shared,
        bus,
        pure,
        budget,
    };
    // SAFETY: `address` is the entry thunk that `Thunks::assemble` wrote, with this signature, in memory that lives as long as `shared`;
    // `entry` is a block compiled there and not retired. `core` and what `env` points to outlive the call, and Rust code touches them
    // only in the helpers that it calls. The front end is the `F` that the thunks call helpers for: a `CodeCache` serves one type of CPU.
    let status = unsafe {
        let enter: thunks::Enter = std::mem::transmute(address);
        enter(
            core.cast::<u8>().add(thunks::CORE_BIAS as usize),
            entry,
            pc,
            left,
            std::ptr::from_mut(&mut env).cast(),
        )
    };
    let core = f.core();
    let mut left = core.exchange.left;
    if core.leave {
        left = left.wrapping_add(LEAVE_BIAS);
    }
    match status {
        Status::NEXT => Exit::Next {
            pc: core.pc,
            left,
            site: core.exchange.site,
        },
        Status::FAULT => Exit::Fault {
            left: left + core.exchange.rest,
        },
        _ => Exit::Leave { left },
    }
}
