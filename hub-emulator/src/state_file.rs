//! The file that keeps a hub's state over restarts.
//!
//! One JSON object per line: first the keys of the policies, then the identities, a later line of
//! an identity replacing an earlier one. A change is appended before anybody is told of it, so
//! whatever ends the process, what a client saw confirmed is there next time; a line that was cut
//! short by that end was confirmed to nobody and is dropped. On start, and when it has grown, the
//! file is written anew beside its place and moved there.
//!
//! Lines are handed to the operating system, not forced onto the disk: a power cut may cost the
//! last of them, never the file.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use iot_hub::identity::{DeviceId, ModuleId};
use serde::{Deserialize, Serialize};

use crate::files::replace;
use crate::hub::{EntityId, Hub, Keys, Record, RecordError};
use crate::policies::Policies;

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

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Policies(BTreeMap<String, Keys>),
    Identity {
        device: DeviceId,
        module: Option<ModuleId>,
        /// Nothing when it was deleted.
        state: Option<Box<Record>>,
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
        let mut options = File::options();
        let old = options.read(true).append(true).create(true).open(path);
        let mut old = old.map_err(error)?;
        lock(&old, path)?;
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
        for (id, record) in changed {
            append(&mut lines, &line(&id, record));
        }
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

/// Reads the lines; what follows the last line's end is a line that was cut short.
fn read(bytes: &[u8], policies: &mut Policies, hub: &mut Hub) -> Result<(), (usize, String)> {
    let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &bytes[..end],
        None if bytes.is_empty() => return Ok(()),
        // The first line is never cut short. Somebody named a file that is none of ours, and it
        // must not be overwritten.
        None => return Err((1, "it is not a state file".to_owned())),
    };
    let mut newest = BTreeMap::new();
    for (index, line) in whole.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        match serde_json::from_slice(line).map_err(|error| (number, error.to_string()))? {
            Line::Policies(keys) => policies.set_keys(keys),
            Line::Identity {
                device,
                module,
                state,
            } => {
                newest.insert(EntityId { device, module }, (number, state));
            }
        }
    }
    for (id, (number, state)) in newest {
        if let Some(record) = state {
            hub.restore(id, *record)
                .map_err(|error: RecordError| (number, error.to_string()))?;
        }
    }
    Ok(())
}

/// Writes everything into a new file, puts it in the old one's place and returns it, locked.
fn rewrite(
    path: &Path,
    policies: &BTreeMap<String, Keys>,
    hub: &Hub,
) -> Result<(File, u64), StateError> {
    let mut lines = Vec::new();
    append(&mut lines, &Line::Policies(policies.clone()));
    for (id, record) in hub.records() {
        append(&mut lines, &line(id, Some(record)));
    }
    let mut failed = None;
    let replaced = replace(path, |file| {
        if let Err(error) = lock(file, path) {
            failed = Some(error);
        }
        file.write_all(&lines)?;
        file.sync_all()
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

fn line(id: &EntityId, record: Option<Record>) -> Line {
    Line::Identity {
        device: id.device.clone(),
        module: id.module.clone(),
        state: record.map(Box::new),
    }
}

fn append(lines: &mut Vec<u8>, line: &Line) {
    serde_json::to_writer(&mut *lines, line).expect("a line is made of JSON's own kinds");
    lines.push(b'\n');
}

#[cfg(test)]
mod tests;
