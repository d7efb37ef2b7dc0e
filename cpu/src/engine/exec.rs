//! The dispatcher: finds blocks, runs each on the tier that has it, and keeps the count of instructions.

use super::Shared;
use super::code::{Compile, Decoded};
use super::interpret::{self, End, INDIRECT};
use super::tlb::Jump;
use super::verify;
use crate::bus::Bus;
use crate::jit::{self, Exit};
use crate::ram::{HostPage, PAGE};

pub use super::access::{copy_up, fill_up, load, store, zero_aligned};
pub use super::core::Core;
use super::core::Resume;
pub use super::front_end::{Access, Fault, FrontEnd, Pure, Stop, Translation};
pub use super::interpret::NEXT_PC;

/// Most instructions in a block; compiled code counts them with a signed byte.
const MAX_BLOCK: u32 = 100;
const _: () = assert!(MAX_BLOCK <= i8::MAX as u32);
/// Longest instruction, rounded up.
const MAX_INSTRUCTION_BYTES: usize = 16;
/// More than a block can take.
const MAX_BLOCK_BYTES: usize = MAX_BLOCK as usize * MAX_INSTRUCTION_BYTES;
/// A block that was interpreted this often is compiled.
const HOT: u16 = 4;

/// Runs at most `budget` instructions from [`Core::pc`]. Returns why it stopped and how many were executed.
pub fn exec<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pure: &[Pure],
    budget: u64,
) -> (Stop, u64) {
    let mut left = budget;
    shared.code.start::<F>();
    let core = f.core();
    let mut base = core.pc;
    core.leave = false;
    core.tlb.set_align(F::INSTRUCTION_ALIGN);
    core.tlb.enter_epoch(shared.code.epoch());
    if left == 0 {
        return (Stop::Budget, 0);
    }
    let mut number;
    // Instructions of the block that have run already.
    let mut from = 0;
    if let Some(resume) = resume(f, shared) {
        (number, base, from) = (resume.number, resume.base, resume.from);
    } else {
        match lookup(f, shared, bus, base) {
            Ok(n) => number = n,
            Err(Fault) => return (Stop::Fault, 1),
        }
    }
    loop {
        let block = *shared.code.block(number);
        let instructions = u64::from(block.instructions) - from;
        if instructions > left {
            if from == 0 {
                f.core().pc = base;
            }
            if left == 0 {
                return (Stop::Budget, budget);
            }
            return tail(f, shared, bus, pure, number, base, from, left, budget);
        }
        let (target, side) = if from == 0 && block.entry != 0 {
            shared.code.stats.entries += 1;
            let exit = if shared.code.verifies() {
                verify::block(f, shared, bus, pure, number, base, left, budget)
            } else {
                jit::enter(f, shared, bus, pure, block.entry, base, left, budget)
            };
            match exit {
                Exit::Next {
                    pc,
                    left: rest,
                    site,
                } => {
                    left = rest;
                    base = pc;
                    let core = f.core();
                    if core.leave || left == 0 {
                        core.pc = pc;
                        return (leave_or_budget(left), budget - left);
                    }
                    let epoch = shared.code.epoch();
                    match lookup(f, shared, bus, pc) {
                        Ok(n) => number = n,
                        Err(Fault) => return (Stop::Fault, budget - left + 1),
                    }
                    if site != 0
                        && epoch == shared.code.epoch()
                        && !shared.code.block(number).straddles
                    {
                        shared.code.link_compiled(site, number);
                    }
                    continue;
                }
                Exit::Fault { left } => return (Stop::Fault, budget - left),
                Exit::Leave { left } => return (Stop::Leave, budget - left),
            }
        } else {
            if from != 0 {
                // The rest of a block is not what is compiled.
            } else if block.runs < HOT && !shared.code.verifies() {
                shared.code.block_mut(number).runs = block.runs + 1;
            } else {
                match shared.code.compile(number) {
                    Compile::Done => continue,
                    Compile::Never => {}
                    Compile::Full => {
                        shared.code.reset();
                        f.core().tlb.enter_epoch(shared.code.epoch());
                        match lookup(f, shared, bus, base) {
                            Ok(n) => number = n,
                            Err(Fault) => return (Stop::Fault, budget - left + 1),
                        }
                        continue;
                    }
                }
            }
            let first = shared.code.first_uop(number, from);
            let before = (budget - left).wrapping_sub(from);
            left -= instructions;
            from = 0;
            match interpret::block(f, shared, bus, pure, first, base, before) {
                End::Branch { target, side } => (target, side),
                End::Fault(index) => return (Stop::Fault, executed(before, index)),
                End::Leave => return (Stop::Leave, budget - left),
            }
        };
        let core = f.core();
        if core.leave {
            core.pc = target;
            return (leave_or_budget(left), budget - left);
        }
        let near = side != INDIRECT && (target ^ base) & !(PAGE - 1) == 0;
        base = target;
        if near
            && let Some(n) = block.link(side)
            && shared.code.block(n).alive
        {
            number = n;
            continue;
        }
        core.pc = target;
        if left == 0 {
            return (Stop::Budget, budget);
        }
        let (last, epoch) = (number, shared.code.epoch());
        match lookup(f, shared, bus, target) {
            Ok(n) => number = n,
            Err(Fault) => return (Stop::Fault, budget - left + 1),
        }
        if near && shared.code.epoch() == epoch && !shared.code.block(number).straddles {
            shared.code.link(last, side, number);
        }
    }
}

/// Instructions executed, the faulting one included, which is number `index` of a block; `before` as in [`interpret::block`].
fn executed(before: u64, index: u32) -> u64 {
    before.wrapping_add(u64::from(index) + 1)
}

/// The block that the last budget ended in, if that goes on now and the block is still what lies there.
fn resume<F: FrontEnd>(f: &mut F, shared: &Shared) -> Option<Resume> {
    let mode = f.code_mode();
    let core = f.core();
    let resume = core.resume.take()?;
    if resume.pc != core.pc || resume.epoch != shared.code.epoch() {
        return None;
    }
    let jump = core.tlb.jump(resume.base);
    let known = jump.pc == resume.base
        && jump.tag == core.jump_tag(resume.base, mode)
        && jump.block == resume.number;
    (known && shared.code.block(resume.number).alive).then_some(resume)
}

fn leave_or_budget(left: u64) -> Stop {
    if left == 0 { Stop::Budget } else { Stop::Leave }
}

/// Interprets the last `left` instructions of a budget, which end within block `number` at `base`, of which the first `from` have run
/// already. The next one is at [`Core::pc`].
#[cold]
#[allow(clippy::too_many_arguments, reason = "as `jit::enter`")]
fn tail<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pure: &[Pure],
    number: u32,
    base: u64,
    from: u64,
    left: u64,
    budget: u64,
) -> (Stop, u64) {
    let before = budget - left;
    let to = from + left;
    let epoch = shared.code.epoch();
    let (end, before, rest) = if F::DIVISIBLE
        && let Some(cut) = shared.code.cut(number, to)
    {
        let first = shared.code.first_uop(number, from);
        let before = before.wrapping_sub(from);
        let end = interpret::block(f, shared, bus, pure, first, base, before);
        shared.code.mend(cut);
        (end, before, 0)
    } else {
        // A block that is not kept.
        let pc = f.core().pc;
        let max = left.min(u64::from(MAX_BLOCK)) as u32;
        let Ok(number) = decode(f, shared, bus, pc, max, false) else {
            return (Stop::Fault, before + 1);
        };
        let block = *shared.code.block(number);
        let end = interpret::block(f, shared, bus, pure, block.start as usize, pc, before);
        shared.code.forget_last();
        (end, before, left - u64::from(block.instructions))
    };
    match end {
        End::Branch { target, .. } => {
            let core = f.core();
            core.pc = target;
            if rest == 0 {
                core.resume = Some(Resume {
                    pc: target,
                    number,
                    base,
                    epoch,
                    from: to,
                });
            }
            (leave_or_budget(rest), budget - rest)
        }
        End::Fault(index) => (Stop::Fault, executed(before, index)),
        End::Leave => (Stop::Leave, budget - rest),
    }
}

#[inline(always)]
fn lookup<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pc: u64,
) -> Result<u32, Fault> {
    let mode = f.code_mode();
    let core = f.core();
    let tag = core.jump_tag(pc, mode);
    let j = *core.tlb.jump(pc);
    if j.pc == pc && j.tag == tag && shared.code.block(j.block).alive {
        let entry = shared.code.entry_of(j.block);
        if entry != j.entry {
            core.tlb.set_jump(Jump { entry, ..j });
        }
        return Ok(j.block);
    }
    find_or_decode(f, shared, bus, pc, tag)
}

#[cold]
#[inline(never)]
fn find_or_decode<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pc: u64,
    tag: u32,
) -> Result<u32, Fault> {
    shared.code.stats.jump_misses += 1;
    let block = decode(f, shared, bus, pc, MAX_BLOCK, true)?;
    let core = f.core();
    core.tlb.enter_epoch(shared.code.epoch());
    if !shared.code.block(block).straddles {
        core.tlb.set_jump(Jump {
            pc,
            tag,
            block,
            entry: shared.code.entry_of(block),
        });
    }
    Ok(block)
}

fn decode<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    pc: u64,
    max: u32,
    keep: bool,
) -> Result<u32, Fault> {
    f.core().pc = pc;
    let t = f.translate(shared, pc, Access::Fetch)?;
    let mode = f.code_mode();
    if keep && let Some(n) = shared.code.find(t.gpa, mode) {
        match shared.code.second_page_of(n) {
            None => return Ok(n),
            Some(second) if second == f.translate(shared, next_page(pc), Access::Fetch)?.gpa => {
                return Ok(n);
            }
            Some(_) => {}
        }
    }
    let mut bytes = [0; MAX_BLOCK_BYTES];
    let room = (PAGE - t.gpa % PAGE).min(bytes.len() as u64) as usize;
    let host = fetch(f, shared, pc, t.gpa, &mut bytes[..room])?;
    let mut decoded = std::mem::take(&mut shared.decoded);
    let max = max.clamp(1, MAX_BLOCK);
    decode_bytes(f, shared, &bytes[..room], max, keep, &mut decoded);
    let mut second = None;
    if decoded.instructions == 0 {
        // The first instruction goes on in the next page.
        let next = next_page(pc);
        let t = f.translate(shared, next, Access::Fetch)?;
        let end = (room + MAX_INSTRUCTION_BYTES).min(bytes.len());
        let host = fetch(f, shared, next, t.gpa, &mut bytes[room..end])?;
        decode_bytes(f, shared, &bytes[..end], 1, keep, &mut decoded);
        second = Some((t.gpa, host));
    }
    let made = shared.code.code_pages_made();
    let n = shared.code.add(t.gpa, mode, host, second, &decoded, keep);
    shared.decoded = decoded;
    if shared.code.code_pages_made() != made {
        for (gpa, host) in [Some((t.gpa, host)), second].into_iter().flatten() {
            f.core().tlb.drop_writes_to(host);
            bus.watch_code(gpa & !(PAGE - 1));
        }
    }
    Ok(n)
}

fn next_page(pc: u64) -> u64 {
    (pc | (PAGE - 1)).wrapping_add(1)
}

/// Copies code from RAM, within a page.
fn fetch<F: FrontEnd>(
    f: &mut F,
    shared: &Shared,
    pc: u64,
    gpa: u64,
    code: &mut [u8],
) -> Result<HostPage, Fault> {
    match shared.ram.page(gpa).filter(|_| shared.ram.copy(gpa, code)) {
        Some(host) => Ok(host),
        None => {
            f.bus_error(pc, gpa, Access::Fetch)?;
            Err(Fault)
        }
    }
}

fn decode_bytes<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    code: &[u8],
    max: u32,
    keep: bool,
    decoded: &mut Decoded,
) {
    shared.code.timed(|engine| {
        decoded.clear();
        f.decode(code, max, decoded);
        if keep
            && engine.verifies()
            && let Some(max) = verify::cut(decoded)
        {
            decoded.clear();
            f.decode(code, max, decoded);
        }
    });
}
