//! What is new about one attempt since it was last shown.

use std::collections::BTreeSet;

use iothubdm_client::is_terminal;
use iothubdm_proto::v1::{RebootAttempt, RebootProgress};
use jiff::Timestamp;

use crate::{view::text, words};

/// One attempt as far as it has been shown.
#[derive(Debug)]
pub(crate) struct Track {
    /// Stands before each line where several attempts share a view.
    label: Option<String>,
    /// The newest that is known of it.
    attempt: Option<RebootAttempt>,
    /// The entries of the timeline that have been shown: state and microseconds, as precise as
    /// every source of them is.
    shown: BTreeSet<(i32, Option<i64>)>,
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

    /// The newest that is known of the attempt.
    pub(crate) fn attempt(&self) -> Option<&RebootAttempt> {
        self.attempt.as_ref()
    }

    /// The newest that is known of the attempt, at the end.
    pub(crate) fn into_attempt(self) -> Option<RebootAttempt> {
        self.attempt
    }

    /// Takes the first message of a stream. The events that led there follow it and tell more, so
    /// all it yields is what the attempt is, the first time.
    pub(crate) fn snapshot(&mut self, attempt: &RebootAttempt) -> Vec<String> {
        let lines = match self.attempt {
            None => text::heading(attempt, self.label()),
            Some(_) => Vec::new(),
        };
        self.keep_newest(attempt);
        lines
    }

    /// Takes an event and returns the lines that tell of it, and of any stage before it whose own
    /// event was missed.
    pub(crate) fn progress(&mut self, progress: &RebootProgress) -> Vec<String> {
        let Some(attempt) = &progress.attempt else {
            return Vec::new();
        };
        let mut lines = self.stages(attempt, &progress.message);
        if lines.is_empty() && !progress.message.is_empty() && !progress.terminal {
            let time = words::moment(progress.time.as_ref());
            lines.push(text::stage(
                attempt,
                progress.state(),
                time,
                &progress.message,
                self.label(),
            ));
        }
        self.keep_newest(attempt);
        if progress.terminal {
            lines.extend(self.conclude());
        }
        lines
    }

    /// Takes the end of the stream, which may come without any event.
    pub(crate) fn end(&mut self) -> Vec<String> {
        let Some(attempt) = self.attempt.clone() else {
            return Vec::new();
        };
        let mut lines = self.stages(&attempt, "");
        lines.extend(self.conclude());
        lines
    }

    /// The line that moves while the attempt is open.
    pub(crate) fn moving_line(&self, now: Timestamp) -> Option<String> {
        let attempt = self.attempt.as_ref()?;
        (!is_terminal(attempt.state())).then(|| text::moving(attempt, now, self.label()))
    }

    /// The stages of an attempt that have not been shown; the message is of the present one. The
    /// verdict is no stage, it has lines of its own.
    fn stages(&mut self, attempt: &RebootAttempt, message: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in &attempt.timeline {
            let time = words::moment(entry.time.as_ref());
            let key = (entry.state, time.map(Timestamp::as_microsecond));
            if self.shown.insert(key) && !is_terminal(entry.state()) {
                let is_present = entry.state == attempt.state;
                let message = if is_present { message } else { "" };
                lines.push(text::stage(
                    attempt,
                    entry.state(),
                    time,
                    message,
                    self.label(),
                ));
            }
        }
        let remarks = text::remarks(attempt, self.label());
        if remarks != self.remarks {
            lines.extend(remarks.iter().cloned());
            self.remarks = remarks;
        }
        lines
    }

    fn conclude(&mut self) -> Vec<String> {
        match &self.attempt {
            Some(attempt) if is_terminal(attempt.state()) && !self.concluded => {
                self.concluded = true;
                text::verdict(attempt, self.label())
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn keep_newest(&mut self, attempt: &RebootAttempt) {
        let is_newer = self
            .attempt
            .as_ref()
            .is_none_or(|known| attempt.revision >= known.revision);
        if is_newer {
            self.attempt = Some(attempt.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use iothubdm_proto::v1::reboot_event::Event;

    use super::*;
    use crate::fake::{self, GOOD, attempt};

    fn progress(attempt: RebootAttempt, message: &str) -> RebootProgress {
        match fake::progress(attempt, message).unwrap().event {
            Some(Event::Progress(progress)) => progress,
            other => unreachable!("not a progress: {other:?}"),
        }
    }

    #[track_caller]
    fn check(lines: Vec<String>, expected: &[&str]) {
        let lines: Vec<_> = lines.iter().map(|l| strip_str(l).to_string()).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn replayed_events_tell_each_stage_once_and_the_newest_state_stays() {
        let mut track = Track::new(None);
        assert_eq!(track.snapshot(&attempt(&GOOD[..4])).len(), 2);
        check(
            track.progress(&progress(attempt(&GOOD[..1]), "the request is being sent")),
            &["  03:41:07Z     +0.0 s  DISPATCHING  the request is being sent"],
        );
        assert_eq!(track.attempt().unwrap().revision, 4);
        check(
            track.progress(&progress(attempt(&GOOD[..3]), "gone")),
            &[
                "  03:41:07Z     +0.2 s  ACCEPTED     accepted",
                "  03:41:08Z     +1.3 s  REBOOTING    gone",
            ],
        );
        check(track.snapshot(&attempt(&GOOD[..4])), &[]);
        check(
            track.end(),
            &["  03:41:08Z     +1.4 s  DOWN         waiting for the device to come back"],
        );
    }

    #[test]
    fn an_event_within_a_state_is_told_too() {
        let mut track = Track::new(None);
        track.progress(&progress(attempt(&GOOD[..1]), "the request is being sent"));
        check(
            track.progress(&progress(
                attempt(&GOOD[..1]),
                "no answer; reading the twin",
            )),
            &["  03:41:07Z     +0.0 s  DISPATCHING  no answer; reading the twin"],
        );
    }

    #[test]
    fn only_an_open_attempt_has_a_line_that_moves() {
        let mut track = Track::new(None);
        let now = fake::after(3_000);
        assert_eq!(track.moving_line(now), None);
        track.snapshot(&attempt(&GOOD[..5]));
        assert!(track.moving_line(now).unwrap().contains("0.9 s"));
        let verdict = track.progress(&progress(attempt(&GOOD), "verified"));
        assert!(verdict.last().unwrap().contains("after 3.1 s"));
        check(track.end(), &[]);
        assert_eq!(track.moving_line(now), None);
    }
}
