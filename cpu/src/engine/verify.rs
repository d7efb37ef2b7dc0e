//! [`super::Engine::Verify`]: a block on both tiers, and what they did compared.
//!
//! Blocks are cut so that a helper's instruction is alone in its block; those run on the compiled tier only, for they are the same code on
//! both. Every other block runs interpreted first, with a journal of its stores; then everything is put back, and it runs compiled. A block
//! that touches a device or stores to cached code cannot be put back: it runs compiled only.
#![allow(
    unsafe_code,
    reason = "stores to guest RAM are read back and undone by host address"
)]

use super::Shared;
use super::code::Decoded;
use super::front_end::{Fault, FrontEnd, Pure};
use super::interpret::{self, End};
use super::uop::{Op, R_T0, Uop};
use crate::bus::Bus;
use crate::jit::{self, Exit};
use crate::ram;

/// A block is compared on its first runs, and then on one of as many.
const OFTEN: u16 = 64;

/// Stores of a block, in order: host address, old byte.
#[derive(Debug, Default)]
pub(super) struct Journal {
    stores: Vec<(usize, u8)>,
    gave_up: bool,
}

impl Journal {
    /// `len` bytes at `host`, in one page of RAM, are about to be stored.
    pub(super) fn note(&mut self, host: usize, len: usize) {
        for at in host..host + len {
            // SAFETY: the caller found the page in guest RAM, which lives as long as `Shared`.
            let old = unsafe { ram::load_le::<1>(at) } as u8;
            self.stores.push((at, old));
        }
    }

    /// This block cannot be run twice.
    pub(super) fn give_up(&mut self) -> Result<(), Fault> {
        self.gave_up = true;
        Err(Fault)
    }

    /// What the stores left.
    fn contents(&self) -> Vec<(usize, u8)> {
        self.stores
            .iter()
            // SAFETY: as in `note`.
            .map(|(at, _)| (*at, unsafe { ram::load_le::<1>(*at) } as u8))
            .collect()
    }

    fn undo(&self) {
        for (at, old) in self.stores.iter().rev() {
            // SAFETY: as in `note`.
            unsafe { ram::store_le::<1>(*at, u64::from(*old)) };
        }
    }
}

/// How many instructions a block may have so that a helper's instruction is alone: `None` if it may stay as it is.
pub(super) fn cut(decoded: &Decoded) -> Option<u32> {
    let first = decoded.uops.iter().position(is_call)?;
    let index = u32::from(decoded.places[first].index);
    (decoded.instructions > index.max(1)).then_some(index.max(1))
}

fn is_call(u: &Uop) -> bool {
    matches!(u.op, Op::Call | Op::CallEnd)
}

/// Everything that a block changes.
#[derive(Debug, PartialEq)]
struct Outcome {
    regs: Box<[u64; 256]>,
    next: Next,
    exception: Option<[u64; 4]>,
    /// Bytes after the block, by host address.
    memory: Vec<(usize, u8)>,
}

#[derive(Debug, PartialEq)]
enum Next {
    At(u64),
    Fault { pc: u64, index: u64 },
    Leave,
}

/// Runs block `number`, which is compiled, at `base`, alone, on the compiled tier; before that on the interpreter too, if it can be compared
/// and its turn has come. `budget - left` instructions were executed before it.
#[allow(clippy::too_many_arguments, reason = "as `jit::enter`")]
pub(super) fn block<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pure: &[Pure],
    number: u32,
    base: u64,
    left: u64,
    budget: u64,
) -> Exit {
    let block = *shared.code.block(number);
    let instructions = u64::from(block.instructions);
    let (before, after) = (budget - left, left - instructions);
    let runs = block.runs.wrapping_add(1);
    shared.code.block_mut(number).runs = runs;
    let comparable = !shared.code.uops_of(number).0.iter().any(is_call);
    let turn = runs < OFTEN || runs.is_multiple_of(OFTEN);
    let start = f.core().regs;
    let mut expected = None;
    if comparable && turn {
        let core = f.core();
        core.tlb.forget_writes();
        core.journal = Some(Box::default());
        let end = interpret::block(f, shared, bus, pure, block.start as usize, base, before);
        let journal = f.core().journal.take().unwrap_or_default();
        let exception = f.exception();
        f.forget_exception();
        let core = f.core();
        if !journal.gave_up {
            let next = match end {
                End::Branch { target, .. } => Next::At(target),
                End::Fault(index) => Next::Fault {
                    pc: core.pc,
                    index: u64::from(index),
                },
                End::Leave => Next::Leave,
            };
            expected = Some(outcome(core.regs, next, exception, journal.contents()));
        }
        journal.undo();
        core.regs = start;
    }
    let Some(expected) = expected else {
        return add_left(
            enter(
                f,
                shared,
                bus,
                pure,
                block.entry,
                base,
                instructions,
                before,
            ),
            after,
        );
    };
    shared.code.count_verified();
    // Every other time its stores take the slow way too, so that one too many is seen.
    let journal = runs.is_multiple_of(2);
    if journal {
        f.core().journal = Some(Box::default());
    }
    let exit = enter(
        f,
        shared,
        bus,
        pure,
        block.entry,
        base,
        instructions,
        before,
    );
    let memory = match f.core().journal.take() {
        Some(journal) => journal.contents(),
        // SAFETY: as in `Journal::note`.
        None => expected
            .memory
            .iter()
            .map(|(at, _)| (*at, unsafe { ram::load_le::<1>(*at) } as u8))
            .collect(),
    };
    let core = f.core();
    let next = match exit {
        Exit::Next { pc, .. } => Next::At(pc),
        Exit::Fault { left } => Next::Fault {
            pc: core.pc,
            index: instructions - left - 1,
        },
        Exit::Leave { .. } => Next::Leave,
    };
    let regs = core.regs;
    let exception = f.exception();
    let found = outcome(regs, next, exception, memory);
    if found != expected && shared.mismatch.is_none() {
        shared.mismatch = Some(describe(shared, number, base, &start, &expected, &found));
        return Exit::Leave { left: after };
    }
    add_left(exit, after)
}

fn outcome(
    mut regs: [u64; 256],
    next: Next,
    exception: Option<[u64; 4]>,
    memory: Vec<(usize, u8)>,
) -> Outcome {
    regs[usize::from(R_T0)..usize::from(R_T0) + 4].fill(0);
    Outcome {
        regs: Box::new(regs),
        next,
        exception,
        memory,
    }
}

/// Compiled code for one block: `instructions` are left, and `before` were executed.
#[allow(clippy::too_many_arguments, reason = "as `jit::enter`")]
fn enter<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pure: &[Pure],
    entry: usize,
    base: u64,
    instructions: u64,
    before: u64,
) -> Exit {
    let budget = before + instructions;
    match jit::enter(f, shared, bus, pure, entry, base, instructions, budget) {
        // Jumps are not made direct: the next block is entered by way of here.
        Exit::Next { pc, left, .. } => Exit::Next { pc, left, site: 0 },
        exit => exit,
    }
}

fn add_left(exit: Exit, after: u64) -> Exit {
    match exit {
        Exit::Next { pc, left, site } => Exit::Next {
            pc,
            left: left + after,
            site,
        },
        Exit::Fault { left } => Exit::Fault { left: left + after },
        Exit::Leave { left } => Exit::Leave { left: left + after },
    }
}

fn describe(
    shared: &Shared,
    number: u32,
    base: u64,
    start: &[u64; 256],
    expected: &Outcome,
    found: &Outcome,
) -> String {
    let mut lines = vec![format!("the tiers differ in the block at {base:#x}")];
    for u in shared.code.uops_of(number).0 {
        lines.push(format!("  {u:x?}"));
    }
    for (r, ((was, a), b)) in start
        .iter()
        .zip(expected.regs.iter())
        .zip(found.regs.iter())
        .enumerate()
    {
        if a != b {
            lines.push(format!(
                "  register {r}: {was:#x} before, {a:#x} interpreted, {b:#x} compiled"
            ));
        }
    }
    if expected.next != found.next {
        lines.push(format!("  then {:x?} or {:x?}", expected.next, found.next));
    }
    if expected.exception != found.exception {
        let (a, b) = (expected.exception, found.exception);
        lines.push(format!("  exception {a:x?} or {b:x?}"));
    }
    if expected.memory != found.memory {
        lines.push(format!(
            "  stores {:x?} or {:x?}",
            expected.memory, found.memory
        ));
    }
    lines.join("\n")
}
