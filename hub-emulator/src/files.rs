//! Files that appear whole: whoever sees one sees all of it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes a file beside its place and moves it there. What stood there before is replaced, a link
/// too: it is not followed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(
        ".{}.{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let unfinished = PathBuf::from(unfinished);
    let written = std::fs::File::create_new(&unfinished)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&unfinished, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}
