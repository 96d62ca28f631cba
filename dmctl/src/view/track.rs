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
    /// The verdict has been shown.
    concluded: bool,
}

impl Track {
    /// Nothing shown yet.
    pub(crate) fn new(label: Option<String>) -> Self {
        Self {
            label,
            attempt: None,
            shown: BTreeSet::new(),
            remarks: Vec::new(),
            concluded: false,
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
        if words::is_terminal(attempt.state()) && !self.concluded {
            lines.extend(text::verdict(attempt, self.label()));
            self.concluded = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{GOOD, attempt};

    #[test]
    fn each_stage_is_told_once_and_an_older_state_tells_nothing() {
        let mut track = Track::new(None);
        let first = track.advance(&attempt(&GOOD[..2]), "");
        assert_eq!(
            first.len(),
            4,
            "two lines of heading, two stages: {first:?}"
        );
        assert_eq!(track.advance(&attempt(&GOOD[..2]), ""), [""; 0]);
        assert_eq!(track.advance(&attempt(&GOOD[..4]), "").len(), 2);

        assert_eq!(track.advance(&attempt(&GOOD[..1]), "replayed"), [""; 0]);
        assert_eq!(track.attempt().unwrap().revision, 4);
    }

    #[test]
    fn only_an_open_attempt_has_a_line_that_moves() {
        let mut track = Track::new(None);
        let now = crate::fake::after(3_000);
        assert_eq!(track.moving_line(now), None);
        track.advance(&attempt(&GOOD[..5]), "");
        assert!(track.moving_line(now).unwrap().contains("0.9 s"));
        let verdict = track.advance(&attempt(&GOOD), "");
        assert!(verdict.last().unwrap().contains("after 3.1 s"));
        assert_eq!(track.advance(&attempt(&GOOD), ""), [""; 0]);
        assert_eq!(track.moving_line(now), None);
    }
}
