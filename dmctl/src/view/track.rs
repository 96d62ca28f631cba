//! What is new about one attempt since it was last shown.

use std::collections::BTreeSet;

use iothubdm_proto::v1::RebootAttempt;
use jiff::Timestamp;

use crate::{view::text, words};

/// One attempt as far as it has been shown.
#[derive(Debug)]
pub(crate) struct Track {
    /// Stands before each line where several attempts share a view.
    label: Option<String>,
    attempt: Option<RebootAttempt>,
    /// The entries of the timeline that have been shown: state and time.
    shown: BTreeSet<(i32, Option<Timestamp>)>,
    /// The blockers and the like that have been shown last.
    remarks: Vec<String>,
}

impl Track {
    /// Nothing shown yet.
    pub(crate) fn new(label: Option<String>) -> Self {
        Self {
            label,
            attempt: None,
            shown: BTreeSet::new(),
            remarks: Vec::new(),
        }
    }

    /// The label.
    pub(crate) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The newest state of the attempt.
    pub(crate) fn attempt(&self) -> Option<&RebootAttempt> {
        self.attempt.as_ref()
    }

    /// The newest state of the attempt, at the end.
    pub(crate) fn into_attempt(self) -> Option<RebootAttempt> {
        self.attempt
    }

    /// Takes a newer state of the attempt and returns the lines that tell what is new. An older
    /// one, as a replayed event carries, tells nothing.
    pub(crate) fn advance(&mut self, attempt: &RebootAttempt, message: &str) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.attempt {
            None => lines.extend(text::heading(attempt, self.label())),
            Some(known) if attempt.revision < known.revision => return lines,
            Some(_) => {}
        }

        for entry in &attempt.timeline {
            let time = words::moment(entry.time.as_ref());
            // The verdict has lines of its own.
            let is_new = self.shown.insert((entry.state, time));
            if is_new && !words::is_terminal(entry.state()) {
                let is_present = entry.state == attempt.state;
                let message = if is_present { message } else { "" };
                lines.push(text::stage(attempt, entry, message, self.label()));
            }
        }

        let remarks = text::remarks(attempt, self.label());
        if remarks != self.remarks {
            lines.extend(remarks.iter().cloned());
            self.remarks = remarks;
        }
        self.attempt = Some(attempt.clone());
        lines
    }

    /// The line that moves while the attempt is open.
    pub(crate) fn moving_line(&self, now: Timestamp) -> Option<String> {
        let attempt = self.attempt.as_ref()?;
        (!words::is_terminal(attempt.state())).then(|| text::moving(attempt, now, self.label()))
    }
}
