//! One input's way through the machine.

use iot_hub::reboot::{Failure, FailureCode, State};
use jiff::Timestamp;

use super::{
    Attempt, Effect, Event, Input, Rules, Step, View,
    dispatch::Phase,
    queue::Entry,
    time::{end_by, gateway_deadline, last_read_at, later},
};

/// How many states a timeline tells of: a device may go to and fro between two for days, and each event
/// carries the whole.
const TIMELINE: usize = 200;

/// An attempt while it takes in one input; the topics beside this file add their parts.
pub(super) struct Turn<'a> {
    pub(super) attempt: &'a mut Attempt,
    pub(super) rules: &'a Rules,
    pub(super) now: Timestamp,
    pub(super) step: Step,
}

impl<'a> Turn<'a> {
    pub(super) fn new(attempt: &'a mut Attempt, rules: &'a Rules, now: Timestamp) -> Self {
        Self {
            attempt,
            rules,
            now,
            step: Step::default(),
        }
    }

    /// Takes in one input.
    pub(super) fn take(&mut self, mut input: Input) {
        self.forgive_clock(&mut input);
        if self.is_ended() {
            self.take_afterwards(input);
            return;
        }
        match input {
            Input::Tick => {}
            Input::Resumed => self.resume(),
            Input::GivenUp => self.give_up(),
            Input::Read(reading) => self.read(&reading),
            Input::NotRead(trouble) => self.not_read(trouble),
            Input::CallerGone => self.attempt.progress.caller_waits = false,
            Input::Answered(result) => self.answered(&result),
            Input::Undelivered(trouble) => self.undelivered(trouble),
            Input::Ambiguous(why) => self.ambiguous(&why),
            Input::Cancel { abandon } => self.cancel(abandon),
            Input::CancelAnswered(answer) => self.cancel_answered(answer),
            Input::Enqueued(written) => self.enqueued(&written),
            Input::Dequeued(written) => self.dequeued(&written),
        }
        self.timers();
    }

    /// What the service noted as past and lies ahead was noted before its clock was set back: waiting
    /// for that moment would be waiting for nothing.
    fn forgive_clock(&mut self, input: &mut Input) {
        if let Input::Read(reading) = input
            && reading.begun > self.now
        {
            // Nobody knows what it came before.
            reading.begun = Timestamp::MIN;
        }
        let progress = &mut self.attempt.progress;
        if let Phase::Reading { since } | Phase::Settling { since, .. } = &mut progress.phase {
            *since = self.now.min(*since);
        }
        if let Entry::There { since: at } | Entry::Removed { at } = &mut progress.entry {
            *at = self.now.min(*at);
        }
    }

    /// Takes in what still matters after the end.
    fn take_afterwards(&mut self, input: Input) {
        match input {
            Input::Read(reading) => {
                self.note_entry(&reading);
                self.recover(&reading);
                self.remove_entry(&reading);
            }
            Input::Enqueued(written) => self.enqueued(&written),
            Input::Dequeued(written) => self.dequeued(&written),
            Input::Resumed | Input::GivenUp => {
                self.attempt.progress.removing = false;
                if self.attempt.progress.entry.may_be_there() {
                    self.ask_for_read();
                }
            }
            Input::Tick
            | Input::NotRead(_)
            | Input::CallerGone
            | Input::Answered(_)
            | Input::Undelivered(_)
            | Input::Ambiguous(_)
            | Input::Cancel { .. }
            | Input::CancelAnswered(_) => {}
        }
    }

    /// Closes the turn: a change that no event tells of yet goes into the last event, or gets one.
    pub(super) fn finish(mut self, before: &View) -> Step {
        let view = &mut self.attempt.view;
        match self.step.events.last_mut() {
            Some(last) => last.view.clone_from(view),
            None if view != before => {
                view.revision += 1;
                // Watchers have left after the terminal event; a late return is found by reading.
                if !before.state.is_terminal() {
                    let event = Event::of(view, self.now, "the details changed");
                    self.step.events.push(event);
                }
            }
            None => {}
        }
        self.step
    }

    pub(super) fn is_ended(&self) -> bool {
        self.attempt.view.state.is_terminal()
    }

    /// Moves the attempt on and tells it.
    pub(super) fn enter(&mut self, state: State, time: Timestamp, message: &str) {
        let view = &mut self.attempt.view;
        view.state = state;
        view.state_time = time;
        if view.timeline.len() == TIMELINE {
            view.timeline.remove(TIMELINE / 2);
        }
        view.timeline.push((state, time));
        if state != State::Blocked {
            view.blockers.clear();
        }
        if state.is_terminal() || state.is_past_no_return() {
            view.cancel_requested = false;
        }
        self.expect_return(state, time);
        self.tell(time, message);
    }

    /// Tells something that leaves the state as it is.
    pub(super) fn note(&mut self, message: &str) {
        self.tell(self.now, message);
    }

    fn tell(&mut self, time: Timestamp, message: &str) {
        let view = &mut self.attempt.view;
        view.revision += 1;
        self.step.events.push(Event::of(view, time, message));
    }

    /// Ends the attempt.
    pub(super) fn end(
        &mut self,
        state: State,
        time: Timestamp,
        error: Option<Failure>,
        message: &str,
    ) {
        self.attempt.progress.phase = Phase::Ended;
        self.attempt.progress.caller_waits = false;
        self.attempt.view.error = error;
        self.attempt.view.end_time = Some(self.attempt.view.within(time, self.now));
        self.attempt.view.eta = None;
        self.enter(state, time, message);
        if self.attempt.progress.entry.may_be_there() {
            self.ask_for_read();
        }
    }

    pub(super) fn ask_for_read(&mut self) {
        if !self.step.effects.contains(&Effect::Read) {
            self.step.effects.push(Effect::Read);
        }
    }

    fn resume(&mut self) {
        let progress = &mut self.attempt.progress;
        progress.caller_waits = false;
        progress.cancel_in_flight = false;
        progress.removing = false;
        let overdue = self.now >= self.attempt.view.deadline;
        if overdue && progress.may_have_arrived() && progress.overtime.is_none() {
            progress.overtime = Some(later(self.now, self.rules.last_look));
        }
        match &mut progress.phase {
            Phase::Reading { since } => {
                *since = self.now;
                self.ask_for_read();
            }
            Phase::Calling { .. } => {
                self.ambiguous("the service was interrupted while the call was out");
            }
            Phase::Queueing => {
                progress.phase = Phase::Reading { since: self.now };
                self.ask_for_read();
            }
            Phase::Settling { .. } | Phase::Queued | Phase::Following => self.ask_for_read(),
            Phase::Waiting { .. } | Phase::Retrying { .. } | Phase::Ended => {}
        }
        if self.attempt.progress.entry.is_pending() {
            self.ask_for_read();
        }
    }

    /// Ends it as what is known of it allows: nobody is going to find out more.
    fn give_up(&mut self) {
        let begun = self.attempt.progress.may_have_arrived();
        let (state, message) = if begun {
            let message = "given up for a fault in the service; the device may still reboot";
            (State::Lost, message)
        } else {
            let message = "given up for a fault in the service before the request was sent";
            (State::Expired, message)
        };
        let error = Failure {
            code: FailureCode::Other("SERVICE_FAULT".into()),
            message: message.to_owned(),
            retryable: !begun,
        };
        self.attempt.progress.cancel_in_flight = false;
        self.attempt.progress.removing = false;
        self.end(state, self.now, Some(error), message);
    }

    fn timers(&mut self) {
        if self.is_ended() {
            return;
        }
        if self.now >= end_by(self.attempt) {
            self.run_out();
            return;
        }
        self.check_late();
        let last_read_due = self.now >= last_read_at(&self.attempt.view);
        let removal_due = self.now >= gateway_deadline(&self.attempt.view);
        let progress = &mut self.attempt.progress;
        match progress.phase {
            Phase::Waiting { until: at } | Phase::Retrying { at } if self.now >= at => {
                progress.phase = Phase::Reading { since: self.now };
                self.ask_for_read();
            }
            Phase::Queueing | Phase::Queued if removal_due && !progress.last_read_asked => {
                progress.last_read_asked = true;
                self.ask_for_read();
            }
            Phase::Calling { .. } | Phase::Settling { .. } | Phase::Following
                if last_read_due && !progress.last_read_asked =>
            {
                progress.last_read_asked = true;
                self.ask_for_read();
            }
            Phase::Waiting { .. }
            | Phase::Retrying { .. }
            | Phase::Reading { .. }
            | Phase::Calling { .. }
            | Phase::Settling { .. }
            | Phase::Queueing
            | Phase::Queued
            | Phase::Following
            | Phase::Ended => {}
        }
    }

    /// The deadline passed.
    fn run_out(&mut self) {
        let failure = |code, message: &str, retryable| {
            Some(Failure {
                code,
                message: message.to_owned(),
                retryable,
            })
        };
        if !self.attempt.progress.may_have_arrived() {
            let message = "the deadline passed before the request could be sent";
            let error = failure(FailureCode::DeadlineExceeded, message, true);
            self.end(State::Expired, self.now, error, message);
        } else if let Some(error) = self.disputed() {
            let message = error.message.clone();
            self.end(State::Failed, self.now, Some(error), &message);
        } else if self.attempt.view.state.is_past_no_return() {
            let message = "the device went to reboot and did not come back before the deadline";
            let error = failure(FailureCode::NoReturn, message, false);
            self.end(State::Lost, self.now, error, message);
        } else {
            let message = "the deadline passed, and the device may have begun";
            let error = failure(FailureCode::DeadlineExceeded, message, false);
            self.end(State::Lost, self.now, error, message);
        }
    }
}
