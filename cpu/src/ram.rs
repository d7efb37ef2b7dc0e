//! Guest RAM as a CPU reaches it: by host address, page by page.
#![allow(
    unsafe_code,
    reason = "the CPU reads and writes guest RAM by host address; every address comes from a mapping held here"
)]

use std::any::Any;
use std::sync::Arc;

use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// Size of the pages in which RAM is handed out, in bytes.
pub const PAGE: u64 = 4096;

#[derive(Clone, Copy, Debug)]
struct Region {
    start: u64,
    len: u64,
    host: usize,
}

/// A view of guest RAM that keeps the mapping alive.
#[derive(Clone)]
pub struct Ram {
    regions: Vec<Region>,
    _mapping: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Ram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ram")
            .field("regions", &self.regions)
            .finish()
    }
}

/// Host address of one page of guest RAM. Only [`Ram`] makes these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPage(usize);

impl HostPage {
    /// The address, for a soft TLB's addend.
    pub fn address(self) -> usize {
        self.0
    }
}

impl Ram {
    /// A view of all whole pages of `memory`.
    pub fn new<B: Bitmap + Send + Sync + 'static>(memory: &GuestMemoryMmap<B>) -> Self
    where
        GuestMemoryMmap<B>: Clone + Send + Sync,
    {
        let regions = memory
            .iter()
            .map(|r| Region {
                start: r.start_addr().raw_value(),
                len: r.len() & !(PAGE - 1),
                host: memory
                    .get_host_address(r.start_addr())
                    .map_or(0, |p| p as usize),
            })
            .filter(|r| r.host != 0 && r.start % PAGE == 0)
            .collect();
        Ram {
            regions,
            _mapping: Arc::new(memory.clone()),
        }
    }

    /// The page that holds `gpa`, if it is RAM.
    pub fn page(&self, gpa: u64) -> Option<HostPage> {
        let page = gpa & !(PAGE - 1);
        self.regions
            .iter()
            .find(|r| page.wrapping_sub(r.start) < r.len)
            .map(|r| HostPage(r.host + (page - r.start) as usize))
    }

    /// Reads `N` bytes at `gpa`, if they lie in one page of RAM.
    pub fn read<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        let offset = gpa % PAGE;
        if offset + N as u64 > PAGE {
            return None;
        }
        let page = self.page(gpa)?;
        // SAFETY: the page is mapped for as long as `self` lives, and offset + N <= PAGE was checked.
        Some(unsafe { ((page.0 + offset as usize) as *const [u8; N]).read_unaligned() })
    }

    /// Copies bytes from `gpa` on; false if they do not lie in one page of RAM.
    pub fn copy(&self, gpa: u64, out: &mut [u8]) -> bool {
        let offset = gpa % PAGE;
        let Some(page) = self.page(gpa) else {
            return false;
        };
        if offset + out.len() as u64 > PAGE {
            return false;
        }
        let from = (page.0 + offset as usize) as *const u8;
        // SAFETY: the page is mapped for as long as `self` lives, the bytes lie in it, and `out` is no guest memory.
        unsafe { std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
        true
    }

    /// Replaces the aligned big-endian doubleword at `gpa` if it still is `old`; true if it did.
    pub fn compare_exchange_be64(&self, gpa: u64, old: u64, new: u64) -> bool {
        let Some(page) = self.page(gpa) else {
            return false;
        };
        if !gpa.is_multiple_of(8) {
            return false;
        }
        // SAFETY: aligned, within a page that is mapped for as long as `self` lives; others access it atomically or as volatile.
        let cell = unsafe {
            std::sync::atomic::AtomicU64::from_ptr((page.0 + (gpa % PAGE) as usize) as *mut u64)
        };
        let order = std::sync::atomic::Ordering::SeqCst;
        cell.compare_exchange(old.to_be(), new.to_be(), order, order)
            .is_ok()
    }

    /// As [`Ram::compare_exchange_be64`], little-endian.
    pub fn compare_exchange_le64(&self, gpa: u64, old: u64, new: u64) -> bool {
        self.compare_exchange_be64(gpa, old.swap_bytes(), new.swap_bytes())
    }

    /// Replaces the aligned little-endian word at `gpa` if it still is `old`; true if it did.
    pub fn compare_exchange_le32(&self, gpa: u64, old: u32, new: u32) -> bool {
        let Some(page) = self.page(gpa) else {
            return false;
        };
        if !gpa.is_multiple_of(4) {
            return false;
        }
        // SAFETY: as in `compare_exchange_be64`.
        let cell = unsafe {
            std::sync::atomic::AtomicU32::from_ptr((page.0 + (gpa % PAGE) as usize) as *mut u32)
        };
        let order = std::sync::atomic::Ordering::SeqCst;
        cell.compare_exchange(old.to_le(), new.to_le(), order, order)
            .is_ok()
    }
}

/// Reads `N` (1, 2, 4, 8) bytes at a host address, as a little-endian number.
///
/// # Safety
/// The bytes must lie in a page that a live [`Ram`] handed out.
#[inline(always)]
pub(crate) unsafe fn load_le<const N: usize>(address: usize) -> u64 {
    // SAFETY: by contract of this function.
    unsafe {
        match N {
            1 => u64::from((address as *const u8).read()),
            2 => u64::from(u16::from_le((address as *const u16).read_unaligned())),
            4 => u64::from(u32::from_le((address as *const u32).read_unaligned())),
            _ => u64::from_le((address as *const u64).read_unaligned()),
        }
    }
}

/// Writes the low `N` (1, 2, 4, 8) bytes of `value` at a host address, little-endian.
///
/// # Safety
/// As [`load_le`].
#[inline(always)]
pub(crate) unsafe fn store_le<const N: usize>(address: usize, value: u64) {
    // SAFETY: by contract of this function.
    unsafe {
        match N {
            1 => (address as *mut u8).write(value as u8),
            2 => (address as *mut u16).write_unaligned((value as u16).to_le()),
            4 => (address as *mut u32).write_unaligned((value as u32).to_le()),
            _ => (address as *mut u64).write_unaligned(value.to_le()),
        }
    }
}

/// Zeroes `len` bytes at a host address.
///
/// # Safety
/// As [`load_le`].
#[inline(always)]
pub(crate) unsafe fn zero(address: usize, len: usize) {
    // SAFETY: by contract of this function.
    unsafe { std::ptr::write_bytes(address as *mut u8, 0, len) }
}

/// Copies `len` bytes from one host address to a lower one, or to one where nothing overlaps.
///
/// # Safety
/// As [`load_le`], for both.
#[inline(always)]
pub(crate) unsafe fn copy_down(to: usize, from: usize, len: usize) {
    // SAFETY: by contract of this function.
    unsafe { std::ptr::copy(from as *const u8, to as *mut u8, len) }
}

/// Fills `len` bytes at a host address with a value of `unit` (1, 2, 4, 8) bytes; `len` is a multiple of it.
///
/// # Safety
/// As [`load_le`].
#[inline(always)]
pub(crate) unsafe fn fill(address: usize, len: usize, value: u64, unit: usize) {
    let b = (value & 0xff) * 0x0101_0101_0101_0101;
    // SAFETY: by contract of this function.
    unsafe {
        match unit {
            1 => std::ptr::write_bytes(address as *mut u8, value as u8, len),
            8 if value == b => std::ptr::write_bytes(address as *mut u8, value as u8, len),
            2 => (0..len)
                .step_by(2)
                .for_each(|i| store_le::<2>(address + i, value)),
            4 => (0..len)
                .step_by(4)
                .for_each(|i| store_le::<4>(address + i, value)),
            _ => (0..len)
                .step_by(8)
                .for_each(|i| store_le::<8>(address + i, value)),
        }
    }
}
