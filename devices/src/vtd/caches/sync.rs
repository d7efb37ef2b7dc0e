//! The atomics and sizes that the lock-free parts use; a model checker puts its own in their place.

pub use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Tells the processor, or the model checker, that a loop waits for another thread.
pub fn pause() {
    std::hint::spin_loop();
}

/// DMAs that can be in flight before they share the overflow counter of [`super::grace::Grace`].
pub const SLOTS: usize = 64;
/// Entries among which the hash of a key does not choose.
pub const WAYS: usize = 4;
