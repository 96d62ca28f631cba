//! Files that appear whole: whoever sees one sees all of it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes a file beside its place and moves it there. What stood there before is replaced, a link
/// too: it is not followed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, |file| file.write_all(bytes)).map(drop)
}

/// The same for a file that is written by `write` and stays open; when this returns, it and its place
/// are on the disk.
pub(crate) fn replace_durably(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let file = replace(path, |file| {
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

fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(
        ".{}.{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let unfinished = PathBuf::from(unfinished);
    let written = File::create_new(&unfinished).and_then(|mut file| {
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
