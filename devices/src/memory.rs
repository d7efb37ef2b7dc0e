//! Guest RAM, and the watch that tells a CPU's code cache which pages devices wrote.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};

/// Guest RAM as every device, hypercall and loader sees it. Cheap to clone.
///
/// Writes through it mark watched pages in [`WriteWatch`]; a CPU's own stores do not pass here.
pub type GuestRam = vm_memory::GuestMemoryMmap<WriteWatch>;

/// Size of the pages that [`WriteWatch`] distinguishes, in bytes.
pub const WATCH_PAGE: usize = 4096;

const WATCHED: u8 = 1;
const PENDING: u8 = 2;

#[derive(Debug, Default)]
struct Shared {
    pages: Vec<AtomicU8>,
    any: AtomicBool,
    written: Mutex<Vec<usize>>,
}

/// Remembers which watched pages of one RAM region were written by anything but a CPU.
///
/// A page is watched while translated code of it may be cached. A write to it is queued once until [`WriteWatch::take_written`].
#[derive(Clone, Debug, Default)]
pub struct WriteWatch {
    shared: Arc<Shared>,
}

impl WriteWatch {
    /// Watches the page that holds `offset` (bytes from the start of the region).
    pub fn watch(&self, offset: usize) {
        if let Some(p) = self.shared.pages.get(offset / WATCH_PAGE) {
            p.fetch_or(WATCHED, Ordering::Relaxed);
        }
    }

    /// The watched pages written since the last call, as byte offsets in the region, in order of writing. They are no longer watched.
    pub fn take_written(&self) -> Vec<usize> {
        // Almost always there is none: look before taking the cache line.
        if !self.shared.any.load(Ordering::Relaxed)
            || !self.shared.any.swap(false, Ordering::Acquire)
        {
            return Vec::new();
        }
        let list = std::mem::take(
            &mut *self
                .shared
                .written
                .lock()
                .unwrap_or_else(|e| e.into_inner()),
        );
        for &page in &list {
            self.shared.pages[page].store(0, Ordering::Relaxed);
        }
        list.into_iter().map(|p| p * WATCH_PAGE).collect()
    }

    fn wrote(&self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        let first = offset / WATCH_PAGE;
        let last = offset.saturating_add(len - 1) / WATCH_PAGE;
        for page in first..=last.min(self.shared.pages.len().saturating_sub(1)) {
            let Some(state) = self.shared.pages.get(page) else {
                return;
            };
            if state.load(Ordering::Relaxed) == WATCHED
                && state.fetch_or(PENDING, Ordering::Relaxed) == WATCHED
            {
                self.shared
                    .written
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .push(page);
                self.shared.any.store(true, Ordering::Release);
            }
        }
    }
}

impl WithBitmapSlice<'_> for WriteWatch {
    type S = WriteWatchSlice;
}

impl Bitmap for WriteWatch {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.wrote(offset, len);
    }
    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }
    fn slice_at(&self, offset: usize) -> WriteWatchSlice {
        WriteWatchSlice {
            watch: self.clone(),
            base: offset,
        }
    }
}

impl NewBitmap for WriteWatch {
    fn with_len(len: usize) -> Self {
        let mut pages = Vec::new();
        pages.resize_with(len.div_ceil(WATCH_PAGE), AtomicU8::default);
        WriteWatch {
            shared: Arc::new(Shared {
                pages,
                ..Shared::default()
            }),
        }
    }
}

/// A [`WriteWatch`] seen from an offset, as vm-memory's slices carry it.
#[derive(Clone, Debug)]
pub struct WriteWatchSlice {
    watch: WriteWatch,
    base: usize,
}

impl WriteWatchSlice {
    /// The watch itself; its offsets count from the start of the region.
    pub fn watch(&self) -> &WriteWatch {
        &self.watch
    }
}

impl WithBitmapSlice<'_> for WriteWatchSlice {
    type S = WriteWatchSlice;
}

impl BitmapSlice for WriteWatchSlice {}

impl Bitmap for WriteWatchSlice {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.watch.wrote(self.base.saturating_add(offset), len);
    }
    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }
    fn slice_at(&self, offset: usize) -> WriteWatchSlice {
        WriteWatchSlice {
            watch: self.watch.clone(),
            base: self.base.saturating_add(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

    #[test]
    fn a_write_to_a_watched_page_is_told_once() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        let region = ram.iter().next().unwrap();
        let slice = region.bitmap();
        let watch = slice.watch();
        watch.watch(0x3008);
        ram.write_slice(&[1; 8], GuestAddress(0x5000)).unwrap();
        assert!(watch.take_written().is_empty());
        ram.write_slice(&[1; 8], GuestAddress(0x2ffc)).unwrap();
        ram.write_slice(&[1; 8], GuestAddress(0x3000)).unwrap();
        assert_eq!(watch.take_written(), [0x3000]);
        ram.write_slice(&[1; 8], GuestAddress(0x3000)).unwrap();
        assert!(watch.take_written().is_empty());
    }
}
