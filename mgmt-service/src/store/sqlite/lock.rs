//! One process has the database: two that go on with the same attempts would call their devices twice.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::store::StoreError;

/// How often it is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the database for this process until the file is dropped. One that has it may be about to end,
/// and is waited for so long.
///
/// A file of its own is locked: SQLite's locks on the database would go with any handle of it.
pub(super) fn hold(database: &Path, patience: Duration) -> Result<File, StoreError> {
    let failed = |error| StoreError::database("take the database for this process", error);
    let mut name = OsString::from(database);
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(name)
        .map_err(failed)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= patience => {
                return Err(StoreError::InUse);
            }
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}
