//! Files that appear whole: whoever sees one sees all of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Whom the process lets read what it makes.
    Usual,
    /// Its owner alone: there are keys in it.
    Owner,
}

impl Readers {
    /// How a file for them is opened or made.
    pub(crate) fn options(self) -> OpenOptions {
        let mut options = File::options();
        #[cfg(unix)]
        if self == Self::Owner {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        options
    }
}

/// Writes a file beside its place and moves it there. What stood there before is replaced, a link
/// too: it is not followed.
pub(crate) fn write_atomically(path: &Path, readers: Readers, bytes: &[u8]) -> io::Result<()> {
    replace(path, readers, |file| file.write_all(bytes)).map(drop)
}

/// The same for a file that is written by `write` and stays open; when this returns, it and its place
/// are on the disk.
pub(crate) fn replace_durably(
    path: &Path,
    readers: Readers,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let file = replace(path, readers, |file| {
        write(file)?;
        file.sync_all()
    })?;
    // The name is the folder's to keep.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

fn replace(
    path: &Path,
    readers: Readers,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(
        ".{}.{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let unfinished = PathBuf::from(unfinished);
    let created = readers
        .options()
        .write(true)
        .create_new(true)
        .open(&unfinished);
    let written = created.and_then(|mut file| {
        write(&mut file)?;
        std::fs::rename(&unfinished, path)?;
        Ok(file)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}
