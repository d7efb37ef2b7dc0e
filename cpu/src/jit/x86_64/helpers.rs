//! What compiled code calls.

use super::LEAVE_BIAS;
use crate::bus::Bus;
use crate::engine::core::Core;
use crate::engine::exec::{Fault, NEXT_PC, Pure};
use crate::engine::flags;
use crate::engine::{
    FrontEnd, Shared, code, interpret, load_slow, load_wide_slow, modify_slow, store_slow,
    store_wide_slow,
};

/// What helpers need besides their arguments: the dispatcher's references.
pub(super) struct Env<'a, F> {
    pub(super) f: *mut F,
    pub(super) shared: *mut Shared,
    pub(super) bus: *mut (dyn Bus + 'a),
    pub(super) pure: &'a [Pure],
    pub(super) budget: u64,
}

/// Answers of helpers, and of compiled code to the dispatcher.
pub(super) struct Status;

impl Status {
    /// Go on; to the dispatcher: the next block is to be found.
    pub(super) const NEXT: u64 = 0;
    /// An exception is recorded.
    pub(super) const FAULT: u64 = 1;
    /// The CPU leaves.
    pub(super) const LEAVE: u64 = 2;
}

/// Place of an instruction, as it is passed to helpers: its first byte, from the start of its block's page (16 bits), its length (8 bits),
/// and how many instructions of the block follow it.
#[derive(Clone, Copy)]
pub(super) struct Place(u32);

impl Place {
    pub(super) fn new(place: code::Place, block: &code::Block) -> Place {
        let rest = block
            .instructions
            .saturating_sub(u32::from(place.index) + 1);
        // A block's first byte lies in its page, and its instructions take two kilobytes at most.
        let offset = (block.offset + u32::from(place.offset)) & 0xffff;
        Place(offset | u32::from(place.len) << 16 | rest << 24)
    }
    /// As a number that code can hold.
    pub(super) fn raw(self) -> u32 {
        self.0
    }
    fn offset(self) -> u64 {
        u64::from(self.0 & 0xffff)
    }
    fn len(self) -> u64 {
        u64::from(self.0 >> 16 & 0xff)
    }
    fn rest(self) -> u64 {
        u64::from(self.0 >> 24)
    }
}

/// Ends a helper. `leaving` is whether the CPU was leaving before it.
fn finish(core: &mut Core, leaving: bool, place: Place, done: Result<(), Fault>) -> u64 {
    if core.leave && !leaving {
        core.exchange.bias = LEAVE_BIAS;
    }
    core.exchange.rest = place.rest();
    match done {
        Ok(()) => Status::NEXT,
        Err(Fault) => Status::FAULT,
    }
}

/// Carries out a part of the instruction at `place`. The address of the block's page is in [`Core::pc`].
///
/// # Safety
/// `env` is what `enter` passed, and nothing else uses what it points to.
#[inline(always)]
unsafe fn instruction<F: FrontEnd>(
    env: *mut Env<'_, F>,
    place: u32,
    part: impl FnOnce(&mut F, &mut Shared, &mut dyn Bus) -> Result<(), Fault>,
) -> u64 {
    // SAFETY: by contract.
    let (f, shared, bus) = unsafe { (&mut *(*env).f, &mut *(*env).shared, &mut *(*env).bus) };
    let place = Place(place);
    let core = f.core();
    let leaving = core.leave;
    core.pc = core.pc.wrapping_add(place.offset());
    let done = part(f, shared, bus);
    finish(f.core(), leaving, place, done)
}

/// Loads `N` bytes at `ea` into [`crate::engine::core::Exchange::value`].
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn load<F: FrontEnd, const N: usize>(
    env: *mut Env<'_, F>,
    ea: u64,
    place: u32,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        instruction(env, place, |f, shared, bus| {
            load_slow(f, shared, bus, ea, N).map(|v| f.core().exchange.value = v)
        })
    }
}

/// As [`load`], of what will be stored to.
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn modify<F: FrontEnd, const N: usize>(
    env: *mut Env<'_, F>,
    ea: u64,
    place: u32,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        instruction(env, place, |f, shared, bus| {
            modify_slow(f, shared, bus, ea, N).map(|v| f.core().exchange.value = v)
        })
    }
}

/// Stores the low `N` bytes of `value` at `ea`.
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn store<F: FrontEnd, const N: usize>(
    env: *mut Env<'_, F>,
    ea: u64,
    place: u32,
    value: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        instruction(env, place, |f, shared, bus| {
            store_slow(f, shared, bus, ea, N, value)
        })
    }
}

/// As [`load`], of 16 bytes.
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn load_wide<F: FrontEnd>(
    env: *mut Env<'_, F>,
    ea: u64,
    place: u32,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        instruction(env, place, |f, shared, bus| {
            load_wide_slow(f, shared, bus, ea).map(|[low, high]| {
                let exchange = &mut f.core().exchange;
                (exchange.value, exchange.value_high) = (low, high);
            })
        })
    }
}

/// As [`store`], of the 16 bytes of [`crate::engine::core::Exchange::value`] and what follows.
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn store_wide<F: FrontEnd>(
    env: *mut Env<'_, F>,
    ea: u64,
    place: u32,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        instruction(env, place, |f, shared, bus| {
            let exchange = &f.core().exchange;
            let value = [exchange.value, exchange.value_high];
            store_wide_slow(f, shared, bus, ea, value)
        })
    }
}

/// Carries out [`crate::engine::uop::Op::Call`] or `CallEnd`. `left` is the counter of instructions left.
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn call<F: FrontEnd>(
    env: *mut Env<'_, F>,
    uop: u32,
    place: u32,
    left: u64,
) -> u64 {
    // SAFETY: by contract.
    let budget = unsafe { (*env).budget };
    let at = Place(place);
    // SAFETY: by contract.
    unsafe {
        instruction(env, place, |f, shared, bus| {
            let core = f.core();
            let left = if core.leave {
                left.wrapping_add(LEAVE_BIAS)
            } else {
                left
            };
            core.executed = budget
                .wrapping_sub(left)
                .wrapping_sub(at.rest())
                .wrapping_sub(1);
            core.regs[NEXT_PC] = core.pc.wrapping_add(at.len());
            let uop = shared.code.uop(uop as usize);
            f.call(shared, bus, uop)
        })
    }
}

/// Ends a [`crate::engine::uop::Op::CallEnd`] that went well.
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn call_end<F: FrontEnd>(
    env: *mut Env<'_, F>,
    uop: u32,
    place: u32,
    left: u64,
) -> u64 {
    // SAFETY: by contract.
    let status = unsafe { call(env, uop, place, left) };
    if status != Status::NEXT {
        return status;
    }
    // SAFETY: by contract.
    let f = unsafe { &mut *(*env).f };
    let core = f.core();
    core.pc = core.regs[NEXT_PC];
    Status::LEAVE
}

/// Carries out a micro-operation on registers that has no template.
///
/// # Safety
/// As [`instruction`].
pub(super) unsafe extern "sysv64" fn simple<F: FrontEnd>(env: *mut Env<'_, F>, uop: u32) {
    // SAFETY: by contract.
    let (f, shared, pure) = unsafe { (&mut *(*env).f, &*(*env).shared, (*env).pure) };
    let uop = shared.code.uop(uop as usize);
    interpret::simple(f.core(), pure, 0, &uop);
}

/// Whether a condition of an x86 CPU's flags holds.
///
/// # Safety
/// `core` is that of the CPU that runs.
pub(super) unsafe extern "sysv64" fn condition(core: *const Core, condition: u32) -> u64 {
    // SAFETY: by contract.
    let regs = unsafe { &(*core).regs };
    u64::from(flags::condition(regs, condition as u8))
}

/// The carry, 0 or 1.
///
/// # Safety
/// As [`condition`].
pub(super) unsafe extern "sysv64" fn carry(core: *const Core) -> u64 {
    // SAFETY: by contract.
    flags::carry(unsafe { &(*core).regs })
}

/// The arithmetic flags.
///
/// # Safety
/// As [`condition`].
pub(super) unsafe extern "sysv64" fn arithmetic(core: *const Core) -> u64 {
    // SAFETY: by contract.
    flags::arithmetic(unsafe { &(*core).regs })
}

/// Carries out [`crate::engine::uop::Op::Vec`] or `VecMask`, which has a number.
///
/// # Safety
/// As [`instruction`], and `core` is that of the CPU that runs.
pub(super) unsafe extern "sysv64" fn vector<F: FrontEnd>(
    core: *mut Core,
    uop: u32,
    env: *mut Env<'_, F>,
) {
    // SAFETY: by contract.
    let (regs, shared) = unsafe { (&mut (*core).regs, &*(*env).shared) };
    F::vector(regs, &shared.code.uop(uop as usize));
}
