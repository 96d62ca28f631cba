//! A request that waits in the device's twin, among the desired properties, for a device that is
//! away.
//!
//! ```text
//!            write            the answer, or a reading, shows it
//!   Absent ───────► Unsure ───────────────────────────────► There
//!     ▲               │ the twin has moved on without it      │
//!     │               ▼                                       ▼ remove
//!     └──────────────────────────────────────────────────── Removed
//!          a reading begun since then does not show that the device took it
//! ```
//!
//! Every write is made on the condition that the twin is as it was read, so of several writes of
//! which nobody knows what became at most one takes effect, and none does once the twin has moved
//! on. The gateway reports a queued request before it looks whether it is still there, and begins
//! only if so; we remove it before we look for the report. So when it was removed, and a reading
//! begun after that shows nothing of the attempt, it is certain that the device never begins.

use iot_hub::reboot::{Dialect, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Effect, OfflinePolicy, Trouble,
    dispatch::{Phase, retry_after},
    reading::Reading,
    time::{gateway_deadline, later},
    turn::Turn,
};

/// What is known of the request in the desired properties.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) enum Entry {
    /// It is not there, and will not appear.
    #[default]
    Absent,
    /// It was written on the condition that the twin had this etag; what came of it is not known.
    Unsure { etag: String },
    /// It is there; a reading begun before then does not know that.
    There { since: Timestamp },
    /// It was removed then; whether the device took it before is not known.
    Removed { at: Timestamp },
}

/// What became of a write to the desired properties.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// It is done.
    Done,
    /// The twin is not as it was read; nothing was written.
    Conflict,
    /// Nothing was written.
    Not(Trouble),
    /// Nobody knows.
    Unknown(String),
}

impl Entry {
    /// The device may have, or may yet get, the request from there.
    pub(super) fn is_pending(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Unsure { .. } | Self::There { .. } | Self::Removed { .. } => true,
        }
    }

    /// It is there, or may be.
    pub(super) fn may_be_there(&self) -> bool {
        match self {
            Self::Unsure { .. } | Self::There { .. } => true,
            Self::Absent | Self::Removed { .. } => false,
        }
    }
}

impl Turn<'_> {
    /// Says whether the request may wait in the twin: only a gateway of ours looks for it there.
    pub(super) fn may_queue(&self, trouble: &Trouble) -> bool {
        let view = &self.attempt.view;
        *trouble == Trouble::Offline
            && self.attempt.asked.offline == OfflinePolicy::Queue
            && view.dialect == Some(Dialect::Native)
            && !view.cancel_requested
            && self.now < gateway_deadline(view)
    }

    /// Writes the request into the twin as it was last read.
    pub(super) fn enqueue(&mut self) {
        let call = self.attempt.to_call();
        let progress = &mut self.attempt.progress;
        let etag = progress
            .baseline
            .as_ref()
            .map(|baseline| baseline.etag.clone())
            .unwrap_or_default();
        progress.entry = Entry::Unsure { etag: etag.clone() };
        progress.phase = Phase::Queueing;
        progress.caller_waits = false;
        if !progress.may_have_arrived && self.attempt.view.state != State::Pending {
            let message = "the device is not connected; the request waits in its twin";
            self.enter(State::Pending, self.now, message);
        }
        let request = call.to_desired();
        self.step.effects.push(Effect::Enqueue { request, etag });
    }

    /// What became of writing the request into the twin.
    pub(super) fn enqueued(&mut self, written: &Written) {
        let pause = match written {
            Written::Done => {
                self.attempt.progress.entry = Entry::There { since: self.now };
                None
            }
            Written::Conflict | Written::Unknown(_) => Some(self.backoff()),
            Written::Not(trouble) => Some(self.backoff().max(retry_after(trouble))),
        };
        let queueing = self.attempt.progress.phase == Phase::Queueing;
        if queueing {
            self.attempt.progress.phase = match pause {
                None => Phase::Queued,
                Some(pause) => Phase::Retrying {
                    at: later(self.now, pause),
                },
            };
        }
        if !queueing || self.wants_removal() {
            self.ask_for_read();
        }
    }

    /// What became of removing it.
    pub(super) fn dequeued(&mut self, written: &Written) {
        let progress = &mut self.attempt.progress;
        progress.removing = false;
        match written {
            Written::Done => {
                progress.entry = Entry::Removed { at: self.now };
                self.ask_for_read();
            }
            Written::Not(Trouble::NoDevice) => progress.entry = Entry::Absent,
            Written::Conflict | Written::Unknown(_) => self.ask_for_read(),
            // The next reading tries again.
            Written::Not(_) => {}
        }
    }

    /// Takes in what a reading says of the entry.
    pub(super) fn note_entry(&mut self, reading: &Reading) {
        let ours = reading.queued == Some(self.attempt.view.id);
        let begun = reading.begun;
        let entry = &mut self.attempt.progress.entry;
        let next = match entry {
            // Also one that somebody restored.
            Entry::Absent | Entry::Unsure { .. } if ours => Entry::There { since: begun },
            Entry::Unsure { etag } if *etag != reading.etag => Entry::Absent,
            Entry::There { since } if !ours && begun >= *since => Entry::Absent,
            Entry::Removed { at } if begun >= *at => {
                if ours {
                    Entry::There { since: begun }
                } else {
                    Entry::Absent
                }
            }
            Entry::Absent | Entry::Unsure { .. } | Entry::There { .. } | Entry::Removed { .. } => {
                return;
            }
        };
        *entry = next;
    }

    /// Removes the entry from the twin that was just read, when nothing shall come of it any more.
    pub(super) fn remove_entry(&mut self, reading: &Reading) {
        if !self.wants_removal() {
            return;
        }
        let progress = &mut self.attempt.progress;
        if progress.entry.may_be_there() && !progress.removing {
            progress.removing = true;
            let etag = reading.etag.clone();
            self.step.effects.push(Effect::Dequeue { etag });
        }
    }

    /// The device has it, or shall not get it any more.
    fn wants_removal(&self) -> bool {
        let view = &self.attempt.view;
        view.state.is_terminal()
            || view.state.is_past_no_return()
            || view.cancel_requested
            || self.now >= gateway_deadline(view)
    }

    /// The twin, read before the device is called, may hold the request already. Says whether that
    /// decides what to do.
    pub(super) fn goes_on_queued(&mut self) -> bool {
        let removal = self.wants_removal();
        match self.attempt.progress.entry {
            Entry::Absent => return false,
            Entry::Unsure { .. } if !removal => self.enqueue(),
            Entry::Unsure { .. } | Entry::There { .. } | Entry::Removed { .. } => {
                self.attempt.progress.phase = Phase::Queued;
            }
        }
        true
    }

    /// The twin does not show that the device took the queued request.
    pub(super) fn still_queued(&mut self) {
        if self.attempt.progress.entry.is_pending() {
            return;
        }
        // It is not there any more, or was removed by somebody else.
        let deadline = self.attempt.view.deadline;
        let late = self.now >= gateway_deadline(&self.attempt.view);
        let at = if late {
            deadline
        } else {
            later(self.now, self.backoff())
        };
        self.attempt.progress.phase = if self.attempt.progress.may_have_arrived {
            Phase::Settling {
                since: self.now,
                next_try: at,
            }
        } else {
            Phase::Retrying { at }
        };
    }
}
