//! Loads and stores of guest memory: the soft TLB's hits, and the way to RAM and devices when it misses.
#![allow(
    unsafe_code,
    reason = "soft-TLB hits read and write guest RAM by host address"
)]

use super::Shared;
use super::front_end::{Access, Fault, FrontEnd};
use crate::bus::Bus;
use crate::ram::{self, PAGE};

#[cold]
fn slow_bytes<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    bytes: &mut [u8],
    access: Access,
) -> Result<(), Fault> {
    shared.code.stats.tlb_misses += 1;
    let t = f.translate(shared, ea, access)?;
    let len = bytes.len() as u64;
    let Some(page) = shared.ram.page(t.gpa) else {
        if let Some(journal) = &mut f.core().journal {
            return journal.give_up();
        }
        f.core().leave_soon();
        let done = match access {
            Access::Write => bus.mmio_write(t.gpa, bytes),
            _ => bus.mmio_read(t.gpa, bytes),
        };
        if done.is_err() {
            bytes.fill(0xff);
            f.bus_error(ea, t.gpa, access)?;
        }
        return Ok(());
    };
    let core = f.core();
    let context = core.context_of(ea);
    let host = page.address() + (t.gpa % PAGE) as usize;
    if access == Access::Write {
        if let Some(journal) = &mut core.journal {
            if shared.code.has_code(t.gpa) {
                return journal.give_up();
            }
            journal.note(host, bytes.len());
        } else if shared.code.has_code(t.gpa) {
            shared.code.note_store(t.gpa, len);
        } else if t.cacheable {
            core.tlb.fill_write(ea, context, page);
        }
    } else if t.cacheable {
        core.tlb.fill_read(ea, context, page);
    }
    for (i, b) in bytes.iter_mut().enumerate() {
        // SAFETY: callers pass pieces that do not cross a page, and the page is RAM.
        unsafe {
            if access == Access::Write {
                ram::store_le::<1>(host + i, u64::from(*b));
            } else {
                *b = ram::load_le::<1>(host + i) as u8;
            }
        }
    }
    Ok(())
}

#[cold]
#[inline(never)]
pub(crate) fn load_slow<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    n: usize,
) -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    let first = (PAGE - ea % PAGE).min(n as u64) as usize;
    slow_bytes(f, shared, bus, ea, &mut bytes[..first], Access::Read)?;
    if first < n {
        slow_bytes(
            f,
            shared,
            bus,
            ea.wrapping_add(first as u64),
            &mut bytes[first..n],
            Access::Read,
        )?;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// Loads what will be stored to: it is an error if a store could not be done.
#[cold]
#[inline(never)]
pub(crate) fn modify_slow<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    n: usize,
) -> Result<u64, Fault> {
    f.translate(shared, ea, Access::Write)?;
    let last = ea.wrapping_add(n as u64 - 1);
    if (ea ^ last) & !(PAGE - 1) != 0 {
        f.translate(shared, last & !(PAGE - 1), Access::Write)?;
    }
    load_slow(f, shared, bus, ea, n)
}

#[cold]
#[inline(never)]
pub(crate) fn store_slow<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    n: usize,
    value: u64,
) -> Result<(), Fault> {
    let mut bytes = value.to_le_bytes();
    let first = (PAGE - ea % PAGE).min(n as u64) as usize;
    if first < n {
        // Both pages must be writable before the first byte changes.
        f.translate(shared, ea, Access::Write)?;
        f.translate(shared, ea.wrapping_add(first as u64), Access::Write)?;
    }
    slow_bytes(f, shared, bus, ea, &mut bytes[..first], Access::Write)?;
    if first < n {
        slow_bytes(
            f,
            shared,
            bus,
            ea.wrapping_add(first as u64),
            &mut bytes[first..n],
            Access::Write,
        )?;
    }
    Ok(())
}

/// Loads 16 bytes.
#[cold]
#[inline(never)]
pub(crate) fn load_wide_slow<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
) -> Result<[u64; 2], Fault> {
    let low = load_slow(f, shared, bus, ea, 8)?;
    let high = load_slow(f, shared, bus, ea.wrapping_add(8), 8)?;
    Ok([low, high])
}

/// Stores 16 bytes.
#[cold]
#[inline(never)]
pub(crate) fn store_wide_slow<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    value: [u64; 2],
) -> Result<(), Fault> {
    let last = ea.wrapping_add(15);
    if (ea ^ last) & !(PAGE - 1) != 0 {
        f.translate(shared, ea, Access::Write)?;
        f.translate(shared, last & !(PAGE - 1), Access::Write)?;
    }
    store_slow(f, shared, bus, ea, 8, value[0])?;
    store_slow(f, shared, bus, ea.wrapping_add(8), 8, value[1])
}

/// Loads `N` bytes at an effective address, as a little-endian number.
///
/// # Errors
/// [`Fault`] after an exception is recorded.
#[inline(always)]
pub fn load<const N: usize, F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
) -> Result<u64, Fault> {
    let core = f.core();
    match core.tlb.read_hit::<N>(ea, core.context_of(ea)) {
        // SAFETY: the soft TLB holds pages of RAM only, and the hit covers all N bytes.
        Some(host) => Ok(unsafe { ram::load_le::<N>(host) }),
        None => load_slow(f, shared, bus, ea, N),
    }
}

/// Stores the low `N` bytes of `value` at an effective address, little-endian.
///
/// # Errors
/// [`Fault`] after an exception is recorded.
#[inline(always)]
pub fn store<const N: usize, F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    value: u64,
) -> Result<(), Fault> {
    let core = f.core();
    match core.tlb.write_hit::<N>(ea, core.context_of(ea)) {
        Some(host) => {
            // SAFETY: as in `load`.
            unsafe { ram::store_le::<N>(host, value) };
            Ok(())
        }
        None => store_slow(f, shared, bus, ea, N, value),
    }
}

/// Copies up to `len` bytes upwards between effective addresses, as if in pieces of `unit` bytes: as many as lie in the two pages and are
/// in the soft TLB. The number copied, a multiple of `unit`; 0 if the caller has to go another way.
pub fn copy_up<F: FrontEnd>(f: &mut F, to: u64, from: u64, len: u64, unit: u64) -> u64 {
    let core = f.core();
    let (Some(target), Some(source)) = (
        core.tlb.write_hit::<1>(to, core.context_of(to)),
        core.tlb.read_hit::<1>(from, core.context_of(from)),
    ) else {
        return 0;
    };
    let mut len = len.min(PAGE - to % PAGE).min(PAGE - from % PAGE);
    // What is written may be read again: no further than to where it begins.
    if target > source {
        len = len.min((target - source) as u64);
    } else if source - target < unit as usize {
        return 0;
    }
    len -= len % unit;
    // SAFETY: the soft TLB holds pages of RAM only, and neither range leaves its page. Where they overlap, the target is below.
    unsafe { ram::copy_down(target, source, len as usize) };
    len
}

/// Stores a value of `unit` bytes (1, 2, 4 or 8) again and again, upwards from an effective address, to at most `len` bytes, as
/// [`copy_up`] copies.
pub fn fill_up<F: FrontEnd>(f: &mut F, to: u64, value: u64, len: u64, unit: u64) -> u64 {
    let core = f.core();
    let Some(target) = core.tlb.write_hit::<1>(to, core.context_of(to)) else {
        return 0;
    };
    let len = len.min(PAGE - to % PAGE);
    let len = len - len % unit;
    // SAFETY: as in `copy_up`.
    unsafe { ram::fill(target, len as usize, value, unit as usize) };
    len
}

/// Zeroes `len` bytes (a power of two, at most a page) at the effective address, aligned down to `len`.
///
/// # Errors
/// [`Fault`] after an exception is recorded.
pub fn zero_aligned<F: FrontEnd>(
    f: &mut F,
    shared: &mut Shared,
    bus: &mut dyn Bus,
    ea: u64,
    len: u64,
) -> Result<(), Fault> {
    let ea = ea & !(len - 1);
    let core = f.core();
    if let Some(host) = core.tlb.write_hit::<1>(ea, core.context_of(ea)) {
        // SAFETY: aligned to its size, so within the page of the hit.
        unsafe { ram::zero(host, len as usize) };
        return Ok(());
    }
    for at in (0..len).step_by(8) {
        store::<8, F>(f, shared, bus, ea + at, 0)?;
    }
    Ok(())
}
