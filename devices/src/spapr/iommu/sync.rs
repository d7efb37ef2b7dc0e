//! The atomics of [`super::gate`]; a model checker puts its own in their place.

pub use std::sync::Mutex;
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Lets another thread go on.
pub fn pause() {
    std::thread::yield_now();
}
