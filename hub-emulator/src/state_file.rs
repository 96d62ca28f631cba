//! The file that keeps a hub's state over restarts.
//!
//! One JSON object per line: first the keys of the policies, then identities, jobs and configurations,
//! a later line about the same thing replacing an earlier one. What one change does to several things
//! is an array of such objects in one line, so that it is there whole or not at all. A change is
//! appended before anybody is told of it, so whatever ends the process, what a client saw confirmed is there next time; a line
//! that was cut short by that end was confirmed to nobody and is dropped. On start, and when it has
//! grown, the file is written anew beside its place, forced onto the disk and moved there.
//!
//! Lines in between are handed to the operating system and forced onto the disk when the hub ends: a
//! power cut may cost the last of them, never the file.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::mem;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files::{Readers, replace_durably};
use crate::hub::{Hub, Keys, Line, Newest};
use crate::policies::Policies;

/// The keys of every device and policy are in it.
const READERS: Readers = Readers::Owner;
/// A file of this size is never too large.
const SMALL: u64 = 1024 * 1024;
/// How many times its size after the last rewriting a file may reach.
const GROWTH: u64 = 4;

/// Why a state cannot be kept, or not be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("use the state file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another emulator has it.
    #[error("use the state file {}: another emulator has it", .0.display())]
    InUse(PathBuf),
    /// A line of it is none that an emulator writes.
    #[error("read line {line} of the state file {}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The open file.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    file: File,
    size: u64,
    size_when_rewritten: u64,
    /// The last line may be half written, so that none can follow it.
    torn: bool,
    policies: BTreeMap<String, Keys>,
}

impl StateFile {
    /// Takes up the state that the file keeps, if it is there, and keeps `hub`'s changes from now
    /// on. The policies get the keys they had.
    pub(crate) fn open(
        path: &Path,
        policies: &mut Policies,
        hub: &mut Hub,
    ) -> Result<Self, StateError> {
        let error = |source| StateError::File {
            path: path.to_owned(),
            source,
        };
        let mut options = READERS.options();
        options.read(true).append(true).create(true);
        let mut old = loop {
            let old = options.open(path).map_err(error)?;
            lock(&old, path)?;
            // Between the two another emulator may have put a new file in its place, and holds that.
            if is_at(&old, path).map_err(error)? {
                break old;
            }
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut old, &mut bytes).map_err(error)?;
        read(&bytes, policies, hub).map_err(|(line, reason)| StateError::Line {
            path: path.to_owned(),
            line,
            reason,
        })?;
        hub.follow_changes();

        let policies = policies.keys();
        let (file, size) = rewrite(path, &policies, hub)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            size_when_rewritten: size,
            torn: false,
            policies,
        })
    }

    /// Keeps what changed. To be called before anybody is told of it.
    pub(crate) fn keep(&mut self, hub: &mut Hub) {
        let changed = hub.take_changed();
        if changed.is_empty() {
            return;
        }
        let mut lines = Vec::new();
        append(&mut lines, &changed);
        if !self.torn
            && let Err(error) = self.file.write_all(&lines)
        {
            tracing::error!(path = %self.path.display(), %error, "failed to keep a change");
            self.torn = true;
        }
        self.size += lines.len() as u64;
        if self.torn || self.size > SMALL.max(self.size_when_rewritten * GROWTH) {
            self.rewrite(hub);
        }
    }

    /// Forces what was kept onto the disk.
    pub(crate) fn close(self) {
        if let Err(error) = self.file.sync_all() {
            tracing::error!(path = %self.path.display(), %error, "failed to keep the last changes");
        }
    }

    fn rewrite(&mut self, hub: &Hub) {
        match rewrite(&self.path, &self.policies, hub) {
            Ok((file, size)) => {
                self.file = file;
                self.size = size;
                self.torn = false;
            }
            Err(error) => tracing::error!(%error, "failed to rewrite the state file"),
        }
        // Also after a failure, so that not every change tries again.
        self.size_when_rewritten = self.size;
    }
}

fn lock(file: &File, path: &Path) -> Result<(), StateError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StateError::InUse(path.to_owned()),
        TryLockError::Error(source) => StateError::File {
            path: path.to_owned(),
            source,
        },
    })
}

/// Whether an open file is still the one of that name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let ours = file.metadata()?;
        match std::fs::metadata(path) {
            Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        Ok(true)
    }
}

/// Reads the lines; what follows the last line's end is a line that was cut short.
fn read(bytes: &[u8], policies: &mut Policies, hub: &mut Hub) -> Result<(), (usize, String)> {
    let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &bytes[..end],
        None if bytes.is_empty() => return Ok(()),
        // The first line is never cut short. Somebody named a file that is none of ours, and it
        // must not be overwritten.
        None => return Err((1, "it is not a state file".to_owned())),
    };
    let mut newest = Newest::default();
    for (index, line) in whole.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let changes: Vec<Line> = if line.starts_with(b"[") {
            serde_json::from_slice(line)
        } else {
            serde_json::from_slice(line).map(|line| vec![line])
        }
        .map_err(|error| (number, error.to_string()))?;
        for change in changes {
            let taken = newest.take(number, change);
            taken.map_err(|error| (number, error.to_string()))?;
        }
    }
    policies.set_keys(mem::take(&mut newest.policies));
    let restored = newest.restore(hub);
    restored.map_err(|(number, error)| (number, error.to_string()))
}

/// Writes everything into a new file, puts it in the old one's place and returns it, locked.
fn rewrite(
    path: &Path,
    policies: &BTreeMap<String, Keys>,
    hub: &Hub,
) -> Result<(File, u64), StateError> {
    let mut lines = Vec::new();
    append(&mut lines, &Line::Policies(policies.clone()));
    for line in hub.lines() {
        append(&mut lines, &line);
    }
    let mut failed = None;
    let replaced = replace_durably(path, READERS, |file| {
        if let Err(error) = lock(file, path) {
            failed = Some(error);
        }
        file.write_all(&lines)
    });
    match (failed, replaced) {
        (Some(error), _) => Err(error),
        (None, Ok(file)) => Ok((file, lines.len() as u64)),
        (None, Err(source)) => Err(StateError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn append(lines: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *lines, line).expect("a line is made of JSON's own kinds");
    lines.push(b'\n');
}

#[cfg(test)]
mod tests;
