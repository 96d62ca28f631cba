//! Where a watch stands, and what follows a stream that ended: no stream, no clock.

use std::time::{Duration, Instant};

use iothubdm_proto::v1::{RebootEvent, reboot_event::Event};
use tonic::{Code, Status};

use crate::{backoff::Backoff, error::Error, is_terminal};

/// Where a watch stands.
#[derive(Debug, Clone)]
pub(super) struct Position {
    token: String,
    patience: Duration,
    backoff: Backoff,
    /// Since when nothing has come.
    away_since: Option<Instant>,
    /// The newest revision that was passed on as a step. None is passed on twice.
    step: i64,
    /// The newest revision that anything passed on includes.
    seen: Option<i64>,
    /// The attempt has ended, as far as snapshots say.
    has_ended: bool,
    /// The terminal event has been passed on.
    is_complete: bool,
}

/// What follows a stream that broke.
#[derive(Debug)]
pub(super) enum Next {
    /// Another stream at once: this one has lasted as long as one may.
    AtOnce,
    /// Another stream, after a pause.
    Again {
        /// Why the last one broke.
        error: Error,
        /// The pause.
        pause: Duration,
    },
    /// Nothing: asking again does not help, or patience has ended.
    GiveUp(Error),
}

impl Position {
    pub(super) fn new(token: String, patience: Duration) -> Self {
        Self {
            token,
            patience,
            backoff: Backoff::default(),
            away_since: None,
            step: 0,
            seen: None,
            has_ended: false,
            is_complete: false,
        }
    }

    /// The token that the next stream continues from.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Says whether the last message has come.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes note of a message; returns it unless its content was passed on before.
    pub(super) fn accept(&mut self, event: RebootEvent) -> Option<RebootEvent> {
        self.away_since = None;
        if !event.resume_token.is_empty() {
            self.token.clone_from(&event.resume_token);
        }
        let is_new = match &event.event {
            Some(Event::Snapshot(attempt)) => {
                self.has_ended |= is_terminal(attempt.state());
                self.seen.is_none_or(|seen| event.revision > seen)
            }
            // A snapshot precedes the steps that it includes: it must not hide them.
            Some(Event::Progress(progress)) => {
                self.backoff.reset();
                let is_new = event.revision > self.step;
                self.step = self.step.max(event.revision);
                self.is_complete = progress.terminal;
                is_new
            }
            Some(Event::Bookmark(_)) => {
                self.backoff.reset();
                true
            }
            // A kind of message that this version does not know.
            None => false,
        };
        self.seen = self.seen.max(Some(event.revision));
        is_new.then_some(event)
    }

    /// Takes note of a stream that ended with OK; an error where the watch goes on.
    pub(super) fn ended(&mut self) -> Result<(), Error> {
        // The terminal event comes before the end, unless the token was already after it.
        if self.has_ended {
            self.is_complete = true;
            return Ok(());
        }
        Err(Status::unavailable("the stream ended before the attempt did").into())
    }

    /// Decides what follows a stream that broke at `now`.
    pub(super) fn broken(&mut self, error: Error, now: Instant) -> Next {
        // Once only, so that a service that ends every stream so is not asked without a pause.
        if error.is_of_age() && self.seen.is_some() && self.away_since.is_none() {
            self.away_since = Some(now);
            return Next::AtOnce;
        }
        if error.code() == Code::OutOfRange && !self.token.is_empty() {
            self.token.clear();
        } else if !error.is_retryable() {
            return Next::GiveUp(error);
        }
        let away_since = *self.away_since.get_or_insert(now);
        if now.duration_since(away_since) > self.patience {
            return Next::GiveUp(error);
        }
        let asked = error.retry_after().unwrap_or_default();
        let pause = self.backoff.next_pause().max(asked);
        Next::Again { error, pause }
    }
}

#[cfg(test)]
mod tests {
    use iothubdm_proto::v1::{AttemptState, Bookmark, RebootAttempt, RebootProgress};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A service that keeps these steps of one attempt; the last one may be terminal.
    struct Log {
        states: Vec<AttemptState>,
        /// Steps up to this one are no longer kept.
        floor: usize,
    }

    impl Log {
        /// The messages of a stream that is begun with a token when `known` steps have happened.
        fn stream(&self, token: &str, known: usize) -> Result<Vec<RebootEvent>, Error> {
            let begin = token.parse().unwrap_or(self.floor);
            if begin < self.floor {
                return Err(Status::out_of_range("too old").into());
            }
            let mut events = vec![message(
                known,
                begin,
                Event::Snapshot(attempt(self.states[known - 1])),
            )];
            events.extend((begin + 1..=known).map(|revision| {
                let state = self.states[revision - 1];
                let progress = RebootProgress {
                    state: state.into(),
                    terminal: is_terminal(state),
                    attempt: Some(attempt(state)),
                    ..RebootProgress::default()
                };
                message(revision, revision, Event::Progress(progress))
            }));
            Ok(events)
        }
    }

    fn attempt(state: AttemptState) -> RebootAttempt {
        RebootAttempt {
            state: state.into(),
            ..RebootAttempt::default()
        }
    }

    fn message(revision: usize, token: usize, event: Event) -> RebootEvent {
        RebootEvent {
            event: Some(event),
            revision: revision.try_into().unwrap(),
            resume_token: token.to_string(),
        }
    }

    fn log(floor: usize) -> Log {
        let states = vec![
            AttemptState::Dispatching,
            AttemptState::Accepted,
            AttemptState::Rebooting,
            AttemptState::Verifying,
            AttemptState::Succeeded,
        ];
        Log { states, floor }
    }

    fn broken() -> Error {
        Status::unavailable("connection reset").into()
    }

    proptest! {
        /// Whatever streams break where, each kept step is passed on once and in order, and the
        /// watch ends once, after the terminal one.
        #[test]
        fn every_step_is_told_once_and_the_end_is_the_last(
            breaks in prop::collection::vec((1_usize..=5, 0_usize..8), 0..12),
        ) {
            let log = log(0);
            let mut position = Position::new(String::new(), PATIENCE);
            let mut steps = Vec::new();
            let now = Instant::now();
            // A service may know less again, as its earlier self did: what it knows is what comes.
            for (known, read) in breaks.into_iter().chain([(5, usize::MAX)]) {
                let known = known.max(position.token().parse().unwrap_or(1));
                for event in log.stream(position.token(), known).unwrap().into_iter().take(read) {
                    prop_assert!(!position.is_complete());
                    if let Some(event) = position.accept(event)
                        && matches!(event.event, Some(Event::Progress(_)))
                    {
                        steps.push(event.revision);
                    }
                }
                if position.is_complete() {
                    break;
                }
                let goes_on = matches!(position.broken(broken(), now), Next::Again { .. });
                prop_assert!(goes_on);
            }
            prop_assert_eq!(steps, vec![1, 2, 3, 4, 5]);
            prop_assert!(position.is_complete());
        }
    }

    #[test]
    fn a_token_that_is_too_old_begins_anew_with_a_snapshot() {
        let log = log(3);
        let mut position = Position::new("1".to_owned(), PATIENCE);
        let error = log.stream(position.token(), 4).unwrap_err();
        let next = position.broken(error, Instant::now());
        assert!(matches!(next, Next::Again { .. }), "{next:?}");
        assert_eq!(position.token(), "");
        let events = log.stream(position.token(), 4).unwrap();
        let passed: Vec<_> = events
            .into_iter()
            .filter_map(|event| position.accept(event))
            .map(|event| event.revision)
            .collect();
        assert_eq!(passed, [4, 4]);
        // Without a token there is nothing to drop: it is no answer that helps.
        let mut position = Position::new(String::new(), PATIENCE);
        let error = Status::out_of_range("too old").into();
        let next = position.broken(error, Instant::now());
        assert!(matches!(next, Next::GiveUp(_)), "{next:?}");
    }

    #[test]
    fn a_watch_that_begins_after_the_end_has_its_snapshot_alone() {
        let log = log(0);
        let mut position = Position::new("5".to_owned(), PATIENCE);
        for event in log.stream(position.token(), 5).unwrap() {
            assert!(position.accept(event).is_some());
        }
        assert!(!position.is_complete());
        assert!(position.ended().is_ok());
        assert!(position.is_complete());
    }

    #[test]
    fn an_end_that_was_announced_and_did_not_come_is_asked_for_again() {
        let log = log(0);
        let mut position = Position::new(String::new(), PATIENCE);
        let events = log.stream(position.token(), 5).unwrap();
        for event in events.into_iter().take(3) {
            position.accept(event);
        }
        let next = position.broken(broken(), Instant::now());
        assert!(matches!(next, Next::Again { .. }), "{next:?}");
        assert_eq!(position.token(), "2");
    }

    #[test]
    fn a_stream_that_just_ends_is_taken_up_again() {
        let mut position = Position::new(String::new(), PATIENCE);
        assert!(position.ended().unwrap_err().is_retryable());
    }

    #[test]
    fn patience_counts_from_the_last_message() {
        let mut position = Position::new(String::new(), PATIENCE);
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let again = |position: &mut Position, at: Duration| {
            matches!(position.broken(broken(), begin + at), Next::Again { .. })
        };
        assert!(again(&mut position, Duration::ZERO));
        assert!(again(&mut position, 10 * second));
        position.accept(message(1, 1, Event::Bookmark(Bookmark::default())));
        assert!(again(&mut position, 11 * second));
        assert!(again(&mut position, 21 * second));
        assert!(!again(&mut position, 22 * second));
    }

    #[test]
    fn a_stream_of_age_is_followed_by_another_at_once_but_not_for_ever() {
        let aged = || {
            let details = ErrorDetails::with_error_info("WATCH_AGED", "iothubdm", HashMap::new());
            Error::from(Status::with_error_details(
                Code::Unavailable,
                "old",
                details,
            ))
        };
        let unauthenticated = || Error::from(Status::unauthenticated("expired"));
        let mut position = Position::new(String::new(), PATIENCE);
        let now = Instant::now();
        let refused = position.broken(unauthenticated(), now);
        assert!(matches!(refused, Next::GiveUp(_)), "{refused:?}");
        let mut position = Position::new(String::new(), PATIENCE);
        for _ in 0..2 {
            position.accept(message(1, 1, Event::Bookmark(Bookmark::default())));
            assert!(matches!(position.broken(aged(), now), Next::AtOnce));
        }
        let next = position.broken(aged(), now);
        assert!(matches!(next, Next::Again { .. }), "{next:?}");
        // What was good at first may have been renewed since; what is still bad is not.
        position.accept(message(1, 1, Event::Bookmark(Bookmark::default())));
        assert!(matches!(
            position.broken(unauthenticated(), now),
            Next::AtOnce
        ));
        let refused = position.broken(unauthenticated(), now);
        assert!(matches!(refused, Next::GiveUp(_)), "{refused:?}");
    }

    #[test]
    fn the_service_may_ask_for_a_longer_pause() {
        let asked = Duration::from_secs(7);
        let details = ErrorDetails::with_retry_info(Some(asked));
        let status = Status::with_error_details(Code::ResourceExhausted, "later", details);
        let mut position = Position::new(String::new(), PATIENCE);
        let next = position.broken(status.into(), Instant::now());
        assert!(
            matches!(next, Next::Again { pause, .. } if pause == asked),
            "{next:?}"
        );
    }
}
