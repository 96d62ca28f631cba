//! Sending the request to the device at most once, or as often as a device allows that recognises it.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::{
    method::MethodResult,
    reboot::{Acceptance, Dialect, Failure, FailureCode, Refusal, RefusalCode, State, method},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Effect, OfflinePolicy, Trouble,
    expected::Expected,
    queue::Entry,
    reading::Baseline,
    time::{gateway_deadline, later},
    turn::Turn,
};

/// How far the work on an attempt is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    /// What the twin said just before the last call.
    pub(super) baseline: Option<Baseline>,
    /// How many calls were made.
    pub(super) tries: u32,
    /// Whether one of the calls that are over may have reached the device.
    pub(super) may_have_arrived: bool,
    /// What is known of the request in the desired properties.
    #[serde(default)]
    pub(super) entry: Entry,
    /// It is being removed from there.
    #[serde(default)]
    pub(super) removing: bool,
    /// The device has shown that it knows the request.
    pub(super) known: bool,
    /// The call that asked for this attempt waits for the outcome of the first try.
    pub(super) caller_waits: bool,
    /// The gateway's stages that were told already.
    pub(super) told: BTreeMap<State, Timestamp>,
    /// A resumed service's last look at the twin ends then.
    pub(super) overtime: Option<Timestamp>,
    /// The last read before the deadline has been asked for.
    pub(super) last_read_asked: bool,
    /// The device is being asked to cancel.
    pub(super) cancel_in_flight: bool,
    /// When the device may be asked to cancel again.
    pub(super) cancel_next: Option<Timestamp>,
    /// How the device refused.
    pub(super) refused: Option<Refused>,
    /// When the device should be back.
    #[serde(default)]
    pub(super) expected: Expected,
}

/// What the service is doing about an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The twin is being read; only a reading begun since then counts.
    Reading { since: Timestamp },
    /// For the start.
    Waiting { until: Timestamp },
    /// A call is out.
    Calling { method: String },
    /// A call ended without an answer, then; the twin decides.
    Settling {
        since: Timestamp,
        next_try: Timestamp,
    },
    /// No call has reached the device; the next one is made then.
    Retrying { at: Timestamp },
    /// The request is being written into the desired properties.
    Queueing,
    /// It waits there; the twin tells.
    Queued,
    /// The device has it; the twin tells.
    Following,
    /// It has ended.
    Ended,
}

/// A device's refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The direct method's status.
    pub status: i32,
    /// The reasons; a device that is not ours gives none.
    pub refusal: Option<Refusal>,
}

impl Progress {
    pub(super) fn begin(caller_waits: bool, now: Timestamp) -> Self {
        Self {
            phase: Phase::Reading { since: now },
            baseline: None,
            tries: 0,
            may_have_arrived: false,
            entry: Entry::Absent,
            removing: false,
            known: false,
            caller_waits,
            told: BTreeMap::new(),
            overtime: None,
            last_read_asked: false,
            cancel_in_flight: false,
            cancel_next: None,
            refused: None,
            expected: Expected::default(),
        }
    }

    /// The device may have, or may yet get, the request.
    pub(super) fn may_have_arrived(&self) -> bool {
        self.may_have_arrived
            || matches!(self.phase, Phase::Calling { .. })
            || self.entry.is_pending()
    }
}

impl Turn<'_> {
    /// Calls the device with the method of its dialect.
    pub(super) fn call(&mut self) {
        let dialect = self.attempt.view.dialect.unwrap_or(Dialect::Native);
        self.call_method(dialect.method());
    }

    fn call_method(&mut self, method: &str) {
        let view = &self.attempt.view;
        if self.now >= gateway_deadline(view) {
            // Too late for the device to begin, and a call that is out at the deadline would leave
            // open whether it arrived.
            self.too_late(view.deadline);
            return;
        }
        let may_be_ours = match view.dialect {
            None | Some(Dialect::Native) => method == method::REBOOT,
            // A gateway has reported, and the tag may be wrong or newer. No tutorial reads its argument, and
            // a gateway knows its request by it.
            Some(
                Dialect::Tutorial
                | Dialect::TutorialJava
                | Dialect::TutorialPython
                | Dialect::SdkSample,
            ) => {
                let baseline = self.attempt.progress.baseline.as_ref();
                baseline.is_some_and(|baseline| baseline.has_report)
            }
        };
        let payload = if may_be_ours {
            let call = self.attempt.to_call();
            call.to_payload()
        } else {
            Value::Null
        };
        let progress = &mut self.attempt.progress;
        progress.tries += 1;
        progress.phase = Phase::Calling {
            method: method.to_owned(),
        };
        // Later tries for a device that is not connected are not worth an event each.
        if progress.tries == 1 {
            self.enter(State::Dispatching, self.now, "the request is being sent");
        }
        self.step.effects.push(Effect::Call {
            method: method.to_owned(),
            payload,
        });
    }

    /// No call is made any more; what remains is to wait for the deadline.
    fn too_late(&mut self, deadline: Timestamp) {
        let progress = &mut self.attempt.progress;
        progress.caller_waits = false;
        if !progress.may_have_arrived {
            progress.phase = Phase::Retrying { at: deadline };
        }
    }

    /// The device answered.
    pub(super) fn answered(&mut self, result: &MethodResult) {
        let Phase::Calling { method } = &self.attempt.progress.phase else {
            return;
        };
        let first_guess = method == method::REBOOT && self.attempt.view.dialect.is_none();
        let payload = result.payload.as_json();
        let acceptance = payload
            .and_then(Acceptance::from_payload)
            .filter(|acceptance| acceptance.request_id == self.attempt.view.id);
        let refusal = payload.and_then(Refusal::from_payload);
        if let (200..=299, Some(acceptance)) = (result.status, acceptance) {
            self.accepted(&acceptance);
        } else if (200..=299).contains(&result.status) {
            self.accepted_plainly();
        } else if self.attempt.progress.known || self.holds_us(refusal.as_ref()) {
            self.follow();
        } else if first_guess && refusal.is_none() && matches!(result.status, 404 | 501) {
            // The device says that it did nothing: it may know the other tutorial's name.
            self.call_method(method::REBOOT_DEVICE);
        } else if refusal.is_some() || matches!(result.status, 400..=499 | 501) {
            self.rejected(result.status, refusal);
        } else if result.status >= 500 {
            let message = format!("the device answered the request with {}", result.status);
            let error = Failure {
                code: FailureCode::TriggerFailed,
                message: message.clone(),
                retryable: false,
            };
            self.end(State::Failed, self.now, Some(error), &message);
        } else {
            self.ambiguous(&format!("the device answered with {}", result.status));
        }
    }

    /// Says whether the device refuses because of this very request.
    fn holds_us(&self, refusal: Option<&Refusal>) -> bool {
        refusal.is_some_and(|refusal| {
            refusal.code == RefusalCode::Busy && refusal.holder == Some(self.attempt.view.id)
        })
    }

    fn accepted(&mut self, acceptance: &Acceptance) {
        self.attempt.view.dialect = Some(Dialect::Native);
        if let Some(seconds) = acceptance.expected_duration_sec {
            self.foretold(Duration::from_secs(seconds.into()));
        }
        let reported_before = self.attempt.progress.known;
        self.attempt.progress.known = true;
        self.follow();
        // How an attempt ended is for the twin to say, which has the evidence.
        if !reported_before && !acceptance.state.is_terminal() {
            self.stages(
                [(acceptance.state, acceptance.state_time)],
                acceptance.state,
                &BTreeMap::new(),
            );
        }
    }

    /// The device said yes in a tutorial's way.
    fn accepted_plainly(&mut self) {
        self.follow();
        if self.attempt.view.state > State::Dispatching {
            return;
        }
        self.enter(State::Accepted, self.now, "the device answered yes");
        if self.attempt.view.dialect != Some(Dialect::Native) {
            let message = "the device says nothing between its answer and its report";
            self.enter(State::Rebooting, self.now, message);
        }
    }

    /// From now on the twin tells.
    pub(super) fn follow(&mut self) {
        let progress = &mut self.attempt.progress;
        progress.may_have_arrived = true;
        progress.caller_waits = false;
        progress.phase = Phase::Following;
        self.ask_for_read();
        self.ask_to_cancel();
    }

    fn rejected(&mut self, status: i32, refusal: Option<Refusal>) {
        let (code, message, retryable) = match &refusal {
            Some(refusal) => (
                refusal.code.name().to_owned(),
                refusal.message.clone(),
                may_help_later(refusal.code),
            ),
            None => (
                format!("METHOD_STATUS_{status}"),
                format!("the device answered the request with {status}"),
                false,
            ),
        };
        self.attempt.progress.refused = Some(Refused { status, refusal });
        let error = Failure {
            code: FailureCode::from(code),
            message: message.clone(),
            retryable,
        };
        let message = format!("the device refused: {message}");
        self.end(State::Rejected, self.now, Some(error), &message);
    }

    /// The call certainly did not reach the device.
    pub(super) fn undelivered(&mut self, trouble: Trouble) {
        let progress = &mut self.attempt.progress;
        if !matches!(progress.phase, Phase::Calling { .. }) {
            return;
        }
        if progress.known {
            self.follow();
        } else {
            progress.phase = Phase::Retrying { at: self.now };
            self.not_begun(trouble);
        }
    }

    /// The device could not be asked, and nothing was begun by that.
    pub(super) fn not_begun(&mut self, trouble: Trouble) {
        if self.attempt.progress.may_have_arrived {
            // An earlier call may have begun it.
            if self.may_queue(&trouble) {
                self.enqueue();
            } else {
                self.settle(retry_after(&trouble));
            }
            return;
        }
        let policy = self.attempt.asked.offline;
        let keep = trouble.passes() && policy == OfflinePolicy::Queue;
        if self.attempt.view.cancel_requested && !self.attempt.progress.may_have_arrived() {
            self.end(
                State::Cancelled,
                self.now,
                None,
                "cancelled before it began",
            );
        } else if self.attempt.progress.caller_waits && !keep {
            let error = trouble.to_failure();
            self.end(State::Expired, self.now, Some(error), &trouble.to_string());
            self.step.effects = vec![Effect::Withdraw(trouble)];
        } else if self.may_queue(&trouble) {
            self.enqueue();
        } else if keep || (trouble.passes() && trouble != Trouble::Offline) {
            let pause = self.backoff().max(retry_after(&trouble));
            self.attempt.progress.caller_waits = false;
            self.attempt.progress.phase = Phase::Retrying {
                at: later(self.now, pause),
            };
            if self.attempt.view.state != State::Pending {
                let message = format!("waiting: {trouble}");
                self.enter(State::Pending, self.now, &message);
            }
        } else {
            let error = trouble.to_failure();
            self.end(State::Failed, self.now, Some(error), &trouble.to_string());
        }
    }

    /// Nobody knows whether the call reached the device.
    pub(super) fn ambiguous(&mut self, why: &str) {
        let progress = &mut self.attempt.progress;
        if !matches!(progress.phase, Phase::Calling { .. }) {
            return;
        }
        progress.may_have_arrived = true;
        progress.caller_waits = false;
        if progress.known {
            self.follow();
            return;
        }
        let message = format!("the outcome of the call is unknown: {why}");
        if self.attempt.view.state == State::Pending {
            self.enter(State::Dispatching, self.now, &message);
        } else {
            self.note(&message);
        }
        self.settle(Duration::ZERO);
        self.ask_to_cancel();
    }

    fn settle(&mut self, at_least: Duration) {
        let pause = self.backoff().max(at_least);
        self.attempt.progress.phase = Phase::Settling {
            since: self.now,
            next_try: later(self.now, pause),
        };
        self.ask_for_read();
    }

    /// The pause before the next try: twice as long after each one.
    pub(super) fn backoff(&self) -> Duration {
        let doublings = self.attempt.progress.tries.saturating_sub(1).min(16);
        let pause = self.rules.retry_min.saturating_mul(1 << doublings);
        pause.min(self.rules.retry_max)
    }
}

pub(super) fn retry_after(trouble: &Trouble) -> Duration {
    match trouble {
        Trouble::Throttled { retry_after } => retry_after.unwrap_or_default(),
        Trouble::NoDevice
        | Trouble::Offline
        | Trouble::HubUnreachable(_)
        | Trouble::HubDenied(_)
        | Trouble::HubRefused(_)
        | Trouble::CannotProve { .. }
        | Trouble::NoSuchMode(_)
        | Trouble::CannotCheck => Duration::ZERO,
    }
}

/// Says whether another request may do better later.
fn may_help_later(code: RefusalCode) -> bool {
    match code {
        RefusalCode::Busy
        | RefusalCode::Blocked
        | RefusalCode::Cooldown
        | RefusalCode::Unreachable
        | RefusalCode::Internal => true,
        RefusalCode::Invalid
        | RefusalCode::Policy
        | RefusalCode::UnknownMethod
        | RefusalCode::UnknownAttempt
        | RefusalCode::Precondition
        | RefusalCode::TooLate
        | RefusalCode::Looping
        | RefusalCode::Unsupported => false,
    }
}
