//! Mutexes around what is whole at every moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what is changed in single steps, so that nobody's panic can leave it half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
