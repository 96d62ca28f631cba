//! What a caller asked for.

use std::time::Duration;

use iot_hub::reboot::{Grade, Mode, Preconditions, RebootCall, RequestId, TraceParent};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A request as it was made, before any default is filled in: two requests with one id are the same
/// request when these are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// How to reboot.
    pub mode: Mode,
    /// How far to go when milder means were not enough; `None` no further than `mode`.
    #[serde(default)]
    pub escalate_to: Option<Mode>,
    /// Why.
    pub reason: String,
    /// When to start.
    pub start: Start,
    /// When it has to have ended.
    pub deadline: Option<Timestamp>,
    /// What has to hold on the device.
    pub preconditions: Preconditions,
    /// The least evidence that counts as success.
    pub required_grade: Option<Grade>,
    /// What to do about a device that is not connected.
    pub offline: OfflinePolicy,
    /// What to do about a device that is blocked.
    pub blocked: BlockedPolicy,
}

/// When to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// This long after the request.
    After(Duration),
    /// At this moment.
    At(Timestamp),
}

/// What to do about a device that is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OfflinePolicy {
    /// Give up.
    #[default]
    Fail,
    /// Call it again from time to time, until the deadline.
    Queue,
}

/// What to do about a device that is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BlockedPolicy {
    /// Wait until it is not.
    #[default]
    Wait,
    /// Give up.
    Fail,
}

impl Asked {
    /// The strongest mode that it agrees to.
    pub fn most(&self) -> Mode {
        self.escalate_to
            .map_or(self.mode, |most| most.max(self.mode))
    }

    /// The request as our gateway takes it. It gets an earlier deadline than the attempt has, so
    /// that its own verdict still arrives in time.
    pub(super) fn to_call(
        &self,
        id: RequestId,
        deadline: Timestamp,
        traceparent: Option<TraceParent>,
    ) -> RebootCall {
        RebootCall {
            request_id: Some(id),
            mode: self.mode,
            escalate_to: self.escalate_to,
            force: self.mode == Mode::Forced,
            reason: self.reason.clone(),
            not_before: None,
            delay: None,
            deadline: Some(deadline),
            preconditions: self.preconditions.clone(),
            required_grade: self.required_grade,
            fail_if_blocked: self.blocked == BlockedPolicy::Fail,
            dry_run: false,
            traceparent,
        }
    }
}
