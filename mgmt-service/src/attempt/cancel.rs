//! Cancelling an attempt, as long as that is possible.

use iot_hub::{
    method::MethodResult,
    reboot::{Acceptance, Dialect, Failure, FailureCode, Refusal, RefusalCode, State},
};
use serde_json::json;

use super::{Effect, Trouble, dispatch::Phase, time::later, turn::Turn};

/// What became of asking the device to cancel.
#[derive(Debug, Clone, PartialEq)]
pub enum CancelAnswer {
    /// The device answered.
    Answered(MethodResult),
    /// It certainly was not asked.
    Undelivered(Trouble),
    /// It may or may not have been asked.
    Ambiguous(String),
}

impl Turn<'_> {
    /// Somebody asks to cancel the attempt.
    pub(super) fn cancel(&mut self, abandon: bool) {
        if !self.attempt.progress.may_have_arrived() {
            self.end(
                State::Cancelled,
                self.now,
                None,
                "cancelled before it was sent",
            );
        } else if abandon {
            let message = "given up; the device may still reboot";
            let error = Failure {
                code: FailureCode::Abandoned,
                message: message.to_owned(),
                retryable: false,
            };
            self.end(State::Lost, self.now, Some(error), message);
        } else if !self.attempt.view.state.is_past_no_return() {
            if !self.attempt.view.cancel_requested {
                self.attempt.view.cancel_requested = true;
                self.note("a cancel is asked for");
            }
            self.ask_to_cancel();
            if self.attempt.progress.entry.is_pending() {
                self.ask_for_read();
            }
        }
    }

    /// Asks the device to cancel, if that is wanted and possible now.
    pub(super) fn ask_to_cancel(&mut self) {
        let view = &self.attempt.view;
        let progress = &mut self.attempt.progress;
        // While the request itself is on its way, the device would not know what is meant.
        let calling = matches!(progress.phase, Phase::Calling { .. });
        let understands = view.dialect == Some(Dialect::Native);
        // A request that is only in the twin is removed from there.
        let there = progress.may_have_arrived;
        if view.cancel_requested && understands && there && !calling && !progress.cancel_in_flight {
            progress.cancel_in_flight = true;
            progress.cancel_next = Some(later(self.now, self.rules.cancel_pause));
            let payload = json!({ "requestId": view.id });
            self.step.effects.push(Effect::AskToCancel { payload });
        }
    }

    /// The device was asked to cancel.
    pub(super) fn cancel_answered(&mut self, answer: CancelAnswer) {
        if !std::mem::take(&mut self.attempt.progress.cancel_in_flight) {
            return;
        }
        match answer {
            CancelAnswer::Undelivered(_) => {}
            CancelAnswer::Ambiguous(_) => self.ask_for_read(),
            CancelAnswer::Answered(result) => self.cancel_decided(&result),
        }
    }

    fn cancel_decided(&mut self, result: &MethodResult) {
        let payload = result.payload.as_json();
        let acceptance = payload
            .and_then(Acceptance::from_payload)
            .filter(|acceptance| acceptance.request_id == self.attempt.view.id);
        let code = payload
            .and_then(Refusal::from_payload)
            .map(|refusal| refusal.code);
        match (acceptance, code) {
            (Some(acceptance), _) if acceptance.state == State::Cancelled => {
                self.end(
                    State::Cancelled,
                    acceptance.state_time,
                    None,
                    "cancelled by the device",
                );
            }
            // It may have ended otherwise; a device that does not know the request may yet get it.
            (Some(_), _) | (None, Some(RefusalCode::UnknownAttempt)) => self.ask_for_read(),
            (None, Some(RefusalCode::TooLate)) => self.cannot_cancel("it is too late to cancel"),
            (None, Some(_)) => self.cannot_cancel("the device refused to cancel"),
            (None, None) => self.cannot_cancel("the device cannot cancel"),
        }
    }

    fn cannot_cancel(&mut self, why: &str) {
        self.attempt.view.cancel_requested = false;
        self.note(why);
        self.ask_for_read();
    }
}
