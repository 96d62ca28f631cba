//! The folder of the gateway's memory: whose it is, and how its file is made and opened.
//!
//! ```text
//!   gateway.lock      held by the gateway that the folder belongs to, as long as it lives
//!   gateway.redb      the file; once it has this name it is whole
//!   gateway.redb.new  a file that is being made
//! ```
//!
//! A file that is there is opened and never made anew, however little can be read of it: without what
//! it holds, a request might be carried out twice.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use redb::{Builder, Database};

use super::{StorageError, make_tables};

/// The name of the file in the state folder.
pub(super) const FILE: &str = "gateway.redb";

const NEW: &str = "gateway.redb.new";

const LOCK: &str = "gateway.lock";

/// How much of the file is kept in memory. What it holds is read once per device, at the start; the
/// default would let all of it stay.
const CACHE: usize = 256 * 1024;

/// A state folder, once it can be used the property of this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    lock: OnceLock<File>,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lock: OnceLock::new(),
        }
    }

    /// Opens the file, and makes it where there is none.
    pub(super) fn open(&self) -> Result<Database, StorageError> {
        let path = self.path.join(FILE);
        self.own()?;
        self.open_or_make(&path)
            .map_err(|source| StorageError::Open {
                path,
                source: Box::new(source),
            })
    }

    fn open_or_make(&self, path: &Path) -> Result<Database, StorageError> {
        let io = |error| StorageError::from(Box::new(redb::Error::Io(error)));
        if !path.try_exists().map_err(io)? {
            let new = self.path.join(NEW);
            // Nobody else is here, so this is of a process that died while it made it.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                Ok(()) | Err(_) => {}
            }
            let made = builder()
                .create(&new)
                .map_err(|error| Box::new(error.into()))?;
            make_tables(&made)?;
            drop(made);
            fs::rename(&new, path).map_err(io)?;
            let folder = File::open(&self.path).map_err(io)?;
            folder.sync_all().map_err(io)?;
        }
        let database = builder()
            .open(path)
            .map_err(|error| Box::new(error.into()))?;
        make_tables(&database)?;
        Ok(database)
    }

    /// Makes the folder where it is missing, and takes it for this process.
    fn own(&self) -> Result<(), StorageError> {
        if self.lock.get().is_some() {
            return Ok(());
        }
        let unusable = |source| StorageError::Folder {
            path: self.path.clone(),
            source,
        };
        fs::create_dir_all(&self.path).map_err(unusable)?;
        match lock(&self.path).map_err(unusable)? {
            Some(lock) => {
                // Another thread of this process cannot have got it.
                let _ = self.lock.set(lock);
                Ok(())
            }
            None => Err(StorageError::InUse(self.path.clone())),
        }
    }
}

/// Says whether a gateway works with a folder.
pub fn is_in_use(folder: &Path) -> io::Result<bool> {
    let file = match File::open(folder.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// Takes a folder for as long as the file lives that is returned; nothing, where somebody else has it.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = match options.open(&path) {
        // A disk that only can be read keeps a lock as well.
        Err(_) if path.exists() => File::open(&path)?,
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
