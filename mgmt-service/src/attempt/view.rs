//! What callers see of an attempt.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::{
    identity::DeviceId,
    reboot::{Blocker, Dialect, Evidence, Failure, Grade, Mode, RequestId, State, Step},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Asked, Start, time::later};

/// What callers see of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The id it was asked for with.
    pub id: RequestId,
    /// The device.
    pub device: DeviceId,
    /// Where it stands.
    pub state: State,
    /// When it entered that state, by the clock of whoever saw it.
    pub state_time: Timestamp,
    /// How the reboot is done.
    pub mode: Mode,
    /// How far it may go when milder means were not enough.
    #[serde(default)]
    pub escalate_to: Option<Mode>,
    /// The commands that were given.
    #[serde(default)]
    pub steps: BTreeMap<Mode, Step>,
    /// Why it was asked for.
    pub reason: String,
    /// When the request was stored.
    pub create_time: Timestamp,
    /// When it may start; `None` at once.
    pub not_before: Option<Timestamp>,
    /// When it has to have ended.
    pub deadline: Timestamp,
    /// When it ended; the service's time where the clock of whoever saw it cannot be right.
    pub end_time: Option<Timestamp>,
    /// The least evidence that counts as success; `None` leaves it to the device.
    pub required_grade: Option<Grade>,
    /// What proves the reboot.
    pub evidence: Option<Evidence>,
    /// Why it did not succeed.
    pub error: Option<Failure>,
    /// What forbids it for now.
    pub blockers: BTreeMap<String, Blocker>,
    /// Every state it has been in, oldest first; of more than 200 the first and the last hundred.
    pub timeline: Vec<(State, Timestamp)>,
    /// When the device is expected back.
    pub eta: Option<Timestamp>,
    /// It is away for longer than most such reboots take.
    #[serde(default)]
    pub late: bool,
    /// When a lost attempt's device was seen again.
    pub recovered_time: Option<Timestamp>,
    /// A cancel was asked for and the device has not answered yet.
    pub cancel_requested: bool,
    /// The conventions the device follows.
    pub dialect: Option<Dialect>,
    /// Rises with every change.
    pub revision: i64,
}

/// One step of an attempt, for those who follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The attempt's revision after this step.
    pub revision: i64,
    /// When it happened, by the clock of whoever saw it.
    pub time: Timestamp,
    /// What happened, for a person.
    pub message: String,
    /// The attempt after this step.
    pub view: View,
}

impl View {
    /// How an attempt begins.
    pub(crate) fn begin(
        id: RequestId,
        device: DeviceId,
        asked: &Asked,
        default_deadline: Duration,
        now: Timestamp,
    ) -> Self {
        let not_before = match asked.start {
            Start::Now => None,
            Start::After(delay) => (!delay.is_zero()).then(|| later(now, delay)),
            Start::At(at) => (at > now).then_some(at),
        };
        let start = not_before.unwrap_or(now);
        Self {
            id,
            device,
            state: State::Pending,
            state_time: now,
            mode: asked.mode,
            escalate_to: asked.escalate_to,
            steps: BTreeMap::new(),
            reason: asked.reason.clone(),
            create_time: now,
            not_before,
            deadline: asked
                .deadline
                .unwrap_or_else(|| later(start, default_deadline)),
            end_time: None,
            required_grade: asked.required_grade,
            evidence: None,
            error: None,
            blockers: BTreeMap::new(),
            timeline: vec![(State::Pending, now)],
            eta: None,
            late: false,
            recovered_time: None,
            cancel_requested: false,
            dialect: None,
            revision: 1,
        }
    }

    /// A time that a device's clock tells; now, when that cannot be, for the clock may be wrong.
    pub(super) fn within(&self, time: Timestamp, now: Timestamp) -> Timestamp {
        if (self.create_time..=now).contains(&time) {
            time
        } else {
            now
        }
    }

    /// When the attempt may start.
    pub(super) fn start(&self) -> Timestamp {
        self.not_before.unwrap_or(self.create_time)
    }
}

impl Event {
    /// The step that led to `view`.
    pub(super) fn of(view: &View, time: Timestamp, message: impl Into<String>) -> Self {
        Self {
            revision: view.revision,
            time,
            message: message.into(),
            view: view.clone(),
        }
    }

    /// Says whether this is the last step.
    pub fn is_terminal(&self) -> bool {
        self.view.state.is_terminal()
    }
}
