//! What became of messages to devices, for senders that wished to know.
//!
//! A service takes all there is as one batch, under a lock token, and then says that it is done
//! with it or gives it back.

use std::collections::VecDeque;

use iot_hub::identity::DeviceId;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::inbox::Waiting;
use super::jobs::print;
use super::{EntityId, Hub};

/// As many as the hub keeps; older ones go.
const MAX_RECORDS: usize = 1_000;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackRecord {
    /// The message's id, as its sender gave it.
    pub message_id: Option<String>,
    /// To whom it was sent.
    pub device: DeviceId,
    /// The device's generation, which tells it from others that had its id.
    pub generation: u64,
    /// When that was known.
    pub at: Timestamp,
    /// What it was.
    pub outcome: Outcome,
}

/// Why a message waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device took it.
    Success,
    /// Its time was up.
    Expired,
    /// It was sent ten times, and the device acknowledged none of them.
    DeliveryCountExceeded,
    /// A service removed it.
    Purged,
}

/// The records that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct FeedbackQueue {
    records: VecDeque<FeedbackRecord>,
    /// The batch that somebody has: its token, and how many of the oldest records it holds.
    batch: Option<(Uuid, usize)>,
}

impl Outcome {
    /// As the service API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Expired => "Expired",
            Self::DeliveryCountExceeded => "DeliveryCountExceeded",
            Self::Purged => "Purged",
        }
    }

    /// Whether a sender with this wish wants to hear of it.
    fn is_wished(self, wish: Option<&str>) -> bool {
        match wish {
            Some("full") => true,
            Some("positive") => self == Self::Success,
            Some("negative") => self != Self::Success,
            Some(_) | None => false,
        }
    }
}

impl FeedbackQueue {
    /// Notes what became of a message, if its sender wished to know.
    pub(super) fn tell(
        &mut self,
        id: &EntityId,
        generation: u64,
        message: &Waiting,
        outcome: Outcome,
        now: Timestamp,
    ) {
        if !outcome.is_wished(message.property("iothub-ack")) {
            return;
        }
        self.records.push_back(FeedbackRecord {
            message_id: message.property("$.mid").map(str::to_owned),
            device: id.device.clone(),
            generation,
            at: now,
            outcome,
        });
        while self.records.len() > MAX_RECORDS {
            self.records.pop_front();
            self.batch = None;
        }
    }
}

impl Hub {
    /// The records that nobody has taken yet, oldest first.
    pub(crate) fn feedback(&self) -> Vec<FeedbackRecord> {
        self.feedback.records.iter().cloned().collect()
    }

    /// All records as the API prints them, and the token to answer with; an older batch is void.
    pub(crate) fn take_feedback(&mut self) -> Option<(Uuid, Value)> {
        let queue = &mut self.feedback;
        if queue.records.is_empty() {
            return None;
        }
        let token = Uuid::new_v4();
        queue.batch = Some((token, queue.records.len()));
        Some((token, queue.records.iter().map(to_value).collect()))
    }

    /// Ends a batch, whose records are then gone or `kept`. Says whether the token was good.
    pub(crate) fn settle_feedback(&mut self, token: Uuid, kept: bool) -> bool {
        let queue = &mut self.feedback;
        let Some((_, count)) = queue.batch.take_if(|(current, _)| *current == token) else {
            return false;
        };
        if !kept {
            queue.records.drain(..count);
        }
        true
    }
}

fn to_value(record: &FeedbackRecord) -> Value {
    json!({
        "originalMessageId": record.message_id,
        "enqueuedTimeUtc": print(record.at),
        "statusCode": record.outcome.name(),
        "description": record.outcome.name(),
        "deviceId": record.device.as_ref(),
        "deviceGenerationId": record.generation.to_string(),
    })
}
