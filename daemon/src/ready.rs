//! How a program says that it serves: a file for whoever started it, and a word to systemd.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{files::write_whole, systemd};

/// Where to say that the program serves.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReadyArguments {
    /// Write how to reach the program to this file, as JSON, once it serves.
    #[arg(id = "ready-file", long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Why a ready file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReadyError {
    /// The one of an earlier run cannot be removed.
    #[error("remove the old ready file {0}")]
    Remove(PathBuf, #[source] io::Error),
    /// It cannot be written.
    #[error("write the ready file {0}")]
    Write(PathBuf, #[source] io::Error),
}

impl ReadyArguments {
    /// Removes what an earlier run wrote: it would lead others to a program that is gone.
    pub fn withdraw(&self) -> Result<(), ReadyError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ReadyError::Remove(path.clone(), error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Says that the program serves, and how to reach it.
    pub fn announce(&self, how: &serde_json::Value) -> Result<(), ReadyError> {
        if let Some(path) = &self.file {
            write(path, how)?;
        }
        systemd::ready();
        Ok(())
    }
}

fn write(path: &Path, how: &serde_json::Value) -> Result<(), ReadyError> {
    // Indented, for people read it too.
    let text = format!("{how:#}\n");
    write_whole(path, text.as_bytes()).map_err(|error| ReadyError::Write(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_file_is_there_from_the_announcement_to_the_withdrawal() {
        let folder = tempfile::tempdir().unwrap();
        let ready = ReadyArguments {
            file: Some(folder.path().join("ready.json")),
        };
        ready.withdraw().unwrap();
        ready
            .announce(&json!({ "address": "127.0.0.1:1" }))
            .unwrap();
        let bytes = std::fs::read(folder.path().join("ready.json")).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read["address"], "127.0.0.1:1");
        ready.withdraw().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_file_nothing_is_written() {
        let ready = ReadyArguments::default();
        ready.withdraw().unwrap();
        ready.announce(&json!({})).unwrap();
    }
}
