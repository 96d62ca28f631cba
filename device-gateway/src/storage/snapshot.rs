//! A look at a file that is not touched: what would be written stays in memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use redb::{Database, StorageBackend};

use super::{Storage, StorageError, folder, make_tables};

const BLOCK: usize = 4_096;

/// A file, and over it what was written since.
#[derive(Debug)]
struct Overlay {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// How much of the file shows through.
    shown: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Storage {
    /// Reads the memory in a folder that no gateway uses, and changes nothing there.
    pub fn snapshot(folder: &Path) -> Result<Self, StorageError> {
        let path = folder.join(folder::FILE);
        let io = |error| StorageError::from(Box::new(redb::Error::Io(error)));
        let unread = |source| StorageError::Open {
            path: path.clone(),
            source: Box::new(source),
        };
        if folder::is_in_use(folder).map_err(|error| unread(io(error)))? {
            return Err(StorageError::InUse(folder.to_owned()));
        }
        let opened = move |path: &Path| {
            let overlay = Overlay::over(File::open(path).map_err(io)?).map_err(io)?;
            if overlay.len().map_err(io)? == 0 {
                return Err(io(io::ErrorKind::UnexpectedEof.into()));
            }
            let database = Database::builder().create_with_backend(overlay);
            let database = database.map_err(|error| Box::new(error.into()))?;
            make_tables(&database)?;
            Ok(database)
        };
        let file = path.clone();
        let storage = Self::with_opener(move || {
            opened(&file).map_err(|source| StorageError::Open {
                path: file.clone(),
                source: Box::new(source),
            })
        });
        storage.with_database(|_| Ok(()))?;
        Ok(storage)
    }

    /// A memory that is gone with the process.
    pub(crate) fn in_memory() -> Self {
        Self::with_opener(|| {
            let backend = redb::backends::InMemoryBackend::new();
            let database = Database::builder().create_with_backend(backend);
            let database = database.map_err(|error| Box::new(error.into()))?;
            make_tables(&database)?;
            Ok(database)
        })
    }
}

impl Overlay {
    fn over(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            written: Mutex::new(Written {
                length,
                shown: length,
                blocks: BTreeMap::new(),
            }),
        })
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's part of a block; what lies behind its end is zero.
    fn below(&self, number: u64, shown: u64) -> io::Result<Box<[u8; BLOCK]>> {
        let mut block = Box::new([0; BLOCK]);
        let from = number * BLOCK as u64;
        let there = usize::try_from(shown.saturating_sub(from)).unwrap_or(BLOCK);
        self.file
            .read_exact_at(&mut block[..there.min(BLOCK)], from)?;
        Ok(block)
    }
}

/// Cuts a range into its parts by blocks: the block, where in it, and where in the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= length {
            return None;
        }
        let position = offset + at as u64;
        let within = usize::try_from(position % BLOCK as u64).unwrap_or_default();
        let end = length.min(at + BLOCK - within);
        let part = (position / BLOCK as u64, within, at..end);
        at = end;
        Some(part)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, range) in parts(offset, out.len()) {
            let out = &mut out[range];
            let place = within..within + out.len();
            match written.blocks.get(&number) {
                Some(block) => out.copy_from_slice(&block[place]),
                None => out.copy_from_slice(&self.below(number, written.shown)?[place]),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            // What grows again is zero.
            let first = length / BLOCK as u64;
            written.shown = written.shown.min(length);
            written.blocks.split_off(&(first + 1));
            let within = usize::try_from(length % BLOCK as u64).unwrap_or_default();
            if let Some(block) = written.blocks.get_mut(&first) {
                block[within..].fill(0);
            }
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (number, within, range) in parts(offset, data.len()) {
            let data = &data[range];
            if !written.blocks.contains_key(&number) {
                let below = self.below(number, written.shown)?;
                written.blocks.insert(number, below);
            }
            if let Some(block) = written.blocks.get_mut(&number) {
                block[within..within + data.len()].copy_from_slice(data);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Use {
        Write(usize, Vec<u8>),
        Length(usize),
    }

    fn uses() -> impl Strategy<Value = Use> {
        let bytes = prop::collection::vec(any::<u8>(), 1..9_000);
        prop_oneof![
            3 => (0..20_000_usize, bytes).prop_map(|(at, bytes)| Use::Write(at, bytes)),
            1 => (0..20_000_usize).prop_map(Use::Length),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against bytes in memory; the file stays as it is.
        #[test]
        fn it_reads_as_if_it_had_been_written(
            whole in prop::collection::vec(any::<u8>(), 0..20_000),
            uses in prop::collection::vec(uses(), 0..10),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            fs::write(&path, &whole).unwrap();
            let overlay = Overlay::over(File::open(&path).unwrap()).unwrap();
            let mut model = whole.clone();
            for used in uses {
                match used {
                    Use::Length(length) => {
                        overlay.set_len(length as u64).unwrap();
                        model.resize(length, 0);
                    }
                    Use::Write(at, bytes) if at + bytes.len() <= model.len() => {
                        overlay.write(at as u64, &bytes).unwrap();
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    // Nobody writes behind the end.
                    Use::Write(..) => {}
                }
                let mut seen = vec![0; model.len()];
                overlay.read(0, &mut seen).unwrap();
                prop_assert!(seen == model);
            }
            prop_assert!(fs::read(&path).unwrap() == whole);
        }
    }
}
