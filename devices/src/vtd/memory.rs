//! Guest memory as the unit reads its tables: whole entries, atomically.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use vm_memory::bitmap::{Bitmap, WithBitmapSlice};
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress, VolatileMemory,
};

/// No memory at this address, or the access is not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inaccessible;

/// What a compare-and-swap did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The value was the expected one and has been replaced.
    Done,
    /// Another value is there.
    Changed,
}

/// Memory that holds the unit's tables and queues. Values are in host byte order; memory is little-endian.
///
/// Every access is one atomic operation on naturally aligned bytes, so that other CPUs and devices never see half of one.
pub trait TableMemory: Send + Sync {
    /// Reads 8 bytes.
    ///
    /// # Errors
    /// [`Inaccessible`].
    fn load(&self, address: u64) -> Result<u64, Inaccessible>;

    /// Replaces 8 bytes if they are still `old`.
    ///
    /// # Errors
    /// [`Inaccessible`].
    fn compare_exchange(&self, address: u64, old: u64, new: u64) -> Result<Swap, Inaccessible>;

    /// Writes 4 bytes.
    ///
    /// # Errors
    /// [`Inaccessible`].
    fn store_u32(&self, address: u64, value: u32) -> Result<(), Inaccessible>;

    /// Writes 8 bytes.
    ///
    /// # Errors
    /// [`Inaccessible`].
    fn store(&self, address: u64, value: u64) -> Result<(), Inaccessible>;
}

impl<M> TableMemory for M
where
    M: GuestMemoryBackend + Send + Sync + fmt::Debug,
{
    #[inline]
    fn load(&self, address: u64) -> Result<u64, Inaccessible> {
        with_slice(self, address, 8, |slice| {
            let cell = slice
                .get_atomic_ref::<AtomicU64>(0)
                .map_err(|_| Inaccessible)?;
            Ok(u64::from_le(cell.load(Ordering::Acquire)))
        })
    }

    fn compare_exchange(&self, address: u64, old: u64, new: u64) -> Result<Swap, Inaccessible> {
        with_slice(self, address, 8, |slice| {
            let cell = slice
                .get_atomic_ref::<AtomicU64>(0)
                .map_err(|_| Inaccessible)?;
            let swapped =
                cell.compare_exchange(old.to_le(), new.to_le(), Ordering::SeqCst, Ordering::SeqCst);
            if swapped.is_err() {
                return Ok(Swap::Changed);
            }
            slice.bitmap().mark_dirty(0, 8);
            Ok(Swap::Done)
        })
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), Inaccessible> {
        with_slice(self, address, 4, |slice| {
            let cell = slice
                .get_atomic_ref::<AtomicU32>(0)
                .map_err(|_| Inaccessible)?;
            cell.store(value.to_le(), Ordering::SeqCst);
            slice.bitmap().mark_dirty(0, 4);
            Ok(())
        })
    }

    fn store(&self, address: u64, value: u64) -> Result<(), Inaccessible> {
        with_slice(self, address, 8, |slice| {
            let cell = slice
                .get_atomic_ref::<AtomicU64>(0)
                .map_err(|_| Inaccessible)?;
            cell.store(value.to_le(), Ordering::SeqCst);
            slice.bitmap().mark_dirty(0, 8);
            Ok(())
        })
    }
}

/// Memory to look at: what is written to it is lost.
pub(super) struct Untouched<'a, M>(pub &'a M);

impl<M: TableMemory> TableMemory for Untouched<'_, M> {
    fn load(&self, address: u64) -> Result<u64, Inaccessible> {
        self.0.load(address)
    }

    fn compare_exchange(&self, address: u64, old: u64, _: u64) -> Result<Swap, Inaccessible> {
        let same = self.0.load(address)? == old;
        Ok(if same { Swap::Done } else { Swap::Changed })
    }

    fn store_u32(&self, _: u64, _: u32) -> Result<(), Inaccessible> {
        Ok(())
    }

    fn store(&self, _: u64, _: u64) -> Result<(), Inaccessible> {
        Ok(())
    }
}

type Slice<'a, M> = vm_memory::VolatileSlice<
    'a,
    <<<M as GuestMemoryBackend>::R as GuestMemoryRegion>::B as WithBitmapSlice<'a>>::S,
>;

#[inline]
fn with_slice<M: GuestMemoryBackend, T>(
    memory: &M,
    address: u64,
    size: u64,
    f: impl FnOnce(&Slice<'_, M>) -> Result<T, Inaccessible>,
) -> Result<T, Inaccessible> {
    if !address.is_multiple_of(size) {
        return Err(Inaccessible);
    }
    let (region, offset) = memory
        .to_region_addr(GuestAddress(address))
        .ok_or(Inaccessible)?;
    let slice = region
        .get_slice(MemoryRegionAddress(offset.0), size as usize)
        .map_err(|_| Inaccessible)?;
    f(&slice)
}

/// Reads `N` quadwords of one entry. With `torn`, last first and each on its own; otherwise the first is read again until it did not
/// change in between (as a 128-bit or wider read would see it, if its writer changes the first quadword last or first), a few times at
/// most.
///
/// # Errors
/// [`Inaccessible`].
pub fn load_entry<M: TableMemory + ?Sized, const N: usize>(
    memory: &M,
    address: u64,
    torn: bool,
) -> Result<[u64; N], Inaccessible> {
    const RETRIES: usize = 8;
    let mut words = [0; N];
    for _ in 0..RETRIES {
        for i in 0..N {
            let i = if torn { N - 1 - i } else { i };
            let at = address.checked_add(8 * i as u64).ok_or(Inaccessible)?;
            words[i] = memory.load(at)?;
        }
        if torn || N == 1 || memory.load(address)? == words[0] {
            break;
        }
    }
    Ok(words)
}
