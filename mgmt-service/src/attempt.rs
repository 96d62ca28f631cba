//! The life of one attempt: a state machine without a clock, a socket or a store.
//!
//! ```text
//!              Reading ──► Waiting (for the start) ──► Reading
//!                 │                                      │
//!                 ▼                                      │
//!   ┌────────► Calling ◄─────────────────────────────────┘
//!   │         │   │   │ certainly undelivered
//!   │ answered│   │   └──────────────► Retrying ──► Reading
//!   │         │   │ ambiguous
//!   │         │   └──► Settling ──► (the twin shows our id) ──┐
//!   │         │            │                                  │
//!   └─────────┼────────────┘ the twin does not show it,       │
//!             ▼              and the device dedupes           ▼
//!         Following ◄─────────────────────────────────── Following ──► Ended
//! ```
//!
//! A request for a device that is not connected may wait in the device's twin: from Calling it goes
//! to Queueing and Queued, and from there to Following as soon as the gateway has taken it (`queue`).
//!
//! [`Attempt::handle`] takes what happened and returns what to tell watchers and what to do. Whoever
//! drives it stores the attempt and its events **before** doing anything: so the intent to call a
//! device is on disk before the call leaves, and a service that dies in the middle knows, on
//! [`Input::Resumed`], that the call may have arrived.
//!
//! Timers are not effects: [`Attempt::wake_at`] derives the next one from the state, so that none
//! is lost in a restart.
//!
//! # Invariants
//!
//! - A terminal state never changes.
//! - An attempt is open after its deadline only while a resumed service takes its one last look.
//! - A device that does not recognise a repeated request is never called again once a call may have
//!   arrived.

mod cancel;
mod claim;
mod dispatch;
mod expected;
mod follow;
mod queue;
mod reading;
mod request;
mod time;
mod trouble;
mod turn;
mod view;

use std::time::Duration;

use iot_hub::{
    identity::DeviceId,
    method::MethodResult,
    reboot::{RebootCall, RequestId, State, TraceParent},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    cancel::CancelAnswer,
    dispatch::Refused,
    queue::Written,
    reading::Reading,
    request::{Asked, BlockedPolicy, OfflinePolicy, Start},
    trouble::Trouble,
    view::{Event, View},
};
use self::{
    dispatch::{Phase, Progress},
    time::gateway_deadline,
    turn::Turn,
};

/// One reboot of one device, with all that has to survive a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What callers see.
    pub view: View,
    /// The request as it was made, so that a repeated one is recognised.
    pub asked: Asked,
    /// Where the request that began it stands in its caller's trace.
    #[serde(default)]
    pub trace: Option<TraceParent>,
    /// Who made it. Empty for one from before that was kept.
    #[serde(default)]
    pub owner: String,
    /// How far the work is.
    progress: Progress,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The work on it begins again, in a service that was restarted or after a fault in it: what was
    /// in flight is lost.
    Resumed,
    /// The work on it failed again, by a fault of the service's own: nothing more is tried.
    GivenUp,
    /// The device's twin was read.
    Read(Box<Reading>),
    /// The device's twin could not be read.
    NotRead(Trouble),
    /// Nobody waits for the outcome of the first call any more: later trouble is data.
    CallerGone,
    /// The device answered the call.
    Answered(MethodResult),
    /// The call certainly did not reach the device.
    Undelivered(Trouble),
    /// The call may or may not have reached the device.
    Ambiguous(String),
    /// Somebody asks to cancel it.
    Cancel {
        /// End it here, whatever the device does.
        abandon: bool,
    },
    /// What became of asking the device to cancel it.
    CancelAnswered(CancelAnswer),
    /// What became of writing the request into the desired properties.
    Enqueued(Written),
    /// What became of removing it from there.
    Dequeued(Written),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Call this method; ends in [`Input::Answered`], [`Input::Undelivered`] or [`Input::Ambiguous`].
    Call {
        /// The method.
        method: String,
        /// Its argument.
        payload: Value,
    },
    /// Call the method that cancels; ends in [`Input::CancelAnswered`].
    AskToCancel {
        /// Its argument.
        payload: Value,
    },
    /// Write this into the desired properties if the twin has this etag; ends in
    /// [`Input::Enqueued`].
    Enqueue {
        /// The request.
        request: Value,
        /// What the twin's etag has to be.
        etag: String,
    },
    /// Remove the request from the desired properties if the twin has this etag; ends in
    /// [`Input::Dequeued`].
    Dequeue {
        /// What the twin's etag has to be.
        etag: String,
    },
    /// Read the twin now; ends in [`Input::Read`] or [`Input::NotRead`].
    Read,
    /// Nothing was begun, and the caller still waits: tell it why, and forget the attempt.
    Withdraw(Trouble),
}

/// What an input led to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// What to tell watchers, oldest first.
    pub events: Vec<Event>,
    /// What to do once the attempt and the events are stored.
    pub effects: Vec<Effect>,
}

/// How patient the service is.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The first pause before calling a device again.
    pub retry_min: Duration,
    /// The longest pause before calling a device again.
    pub retry_max: Duration,
    /// The least time between two requests to cancel.
    pub cancel_pause: Duration,
    /// How long a service that was down at the deadline may take for its last look at the twin.
    pub last_look: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            cancel_pause: Duration::from_secs(5),
            last_look: Duration::from_secs(20),
        }
    }
}

impl Attempt {
    /// Begins an attempt; `default_deadline` counts from the start when the caller names no deadline.
    pub fn begin(
        id: RequestId,
        device: DeviceId,
        asked: Asked,
        default_deadline: Duration,
        now: Timestamp,
    ) -> (Self, Step) {
        let view = View::begin(id, device, &asked, default_deadline, now);
        let progress = Progress::begin(view.not_before.is_none(), now);
        let step = Step {
            events: vec![Event::of(&view, now, "the request is stored")],
            effects: vec![Effect::Read],
        };
        let attempt = Self {
            view,
            asked,
            trace: None,
            owner: String::new(),
            progress,
        };
        (attempt, step)
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, input: Input, rules: &Rules, now: Timestamp) -> Step {
        let before = self.view.clone();
        let mut turn = Turn::new(self, rules, now);
        turn.take(input);
        turn.finish(&before)
    }

    /// When to [`Input::Tick`] next. `None` once it has ended.
    pub fn wake_at(&self) -> Option<Timestamp> {
        time::wake_at(self)
    }

    /// The attempt has ended, but its device may still be seen again.
    pub fn awaits_return(&self) -> bool {
        self.view.state == State::Lost && self.view.recovered_time.is_none()
    }

    /// The attempt has ended, and something is still to be done about it: its device may be seen
    /// again, or its request is left in the desired properties.
    pub fn has_aftermath(&self) -> bool {
        let leftover = self.view.state.is_terminal() && self.progress.entry.may_be_there();
        leftover || self.awaits_return()
    }

    /// The twin has to be read from time to time: a call may have arrived.
    pub fn needs_reading(&self) -> bool {
        !self.view.state.is_terminal() && self.progress.may_have_arrived()
    }

    /// The call that asked for this attempt need not wait any longer: something is known, or the
    /// outcome of the first call is known to be unknown.
    pub fn is_under_way(&self) -> bool {
        !self.progress.caller_waits
    }

    /// After this it is too late to call the device.
    pub fn call_by(&self) -> Timestamp {
        gateway_deadline(&self.view)
    }

    /// The device has been called more than once.
    pub fn is_repeated(&self) -> bool {
        self.progress.tries > 1
    }

    /// Nothing is under way about a cancel at this moment.
    pub fn is_cancel_settled(&self) -> bool {
        let progress = &self.progress;
        let calling = matches!(progress.phase, Phase::Calling { .. });
        let withdrawing =
            self.view.cancel_requested && progress.entry.is_pending() && !progress.known;
        !(progress.cancel_in_flight || calling || withdrawing)
    }

    /// The request as our gateway takes it.
    fn to_call(&self) -> RebootCall {
        self.asked.to_call(self.view.id, self.call_by(), self.trace)
    }

    /// How the device refused it.
    pub fn refused(&self) -> Option<&Refused> {
        self.progress.refused.as_ref()
    }
}

#[cfg(test)]
mod tests;
