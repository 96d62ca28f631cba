//! What became of direct methods, kept for tests to read.

use bytes::Bytes;
use iot_hub::identity::{DeviceId, ModuleId};
use iot_hub::topic::MethodName;
use jiff::Timestamp;
use serde_json::Value;

use super::log::Log;
use super::{CallId, EntityId};

/// A direct method that was delivered to a device.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodRecord {
    /// To whom.
    pub device: DeviceId,
    /// To which of its modules, if it was one.
    pub module: Option<ModuleId>,
    /// The method.
    pub name: String,
    /// What the caller sent along.
    pub payload: Value,
    /// How often the device was sent it: once, unless a fault sent it again.
    pub deliveries: u32,
    /// What became of it.
    pub outcome: MethodOutcome,
    /// When it was first sent.
    pub started: Timestamp,
    /// When its caller's waiting ended.
    pub ended: Option<Timestamp>,
}

/// What became of a delivered method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodOutcome {
    /// Its caller still waits.
    Waiting,
    /// The device answered with this status.
    Answered(i32),
    /// The device's connection ended before it answered.
    DeviceGone,
    /// The caller's time was up, or the caller went away, before an answer came through.
    GivenUp,
}

/// The newest delivered methods.
#[derive(Debug, Default)]
pub(super) struct CallLog(Log<(CallId, MethodRecord)>);

impl CallLog {
    pub(super) fn opened(
        &mut self,
        id: CallId,
        entity: &EntityId,
        name: &MethodName,
        payload: &Bytes,
        now: Timestamp,
    ) {
        let record = MethodRecord {
            device: entity.device.clone(),
            module: entity.module.clone(),
            name: name.to_string(),
            // What was read from JSON and printed again can be read again.
            payload: serde_json::from_slice(payload).unwrap_or_default(),
            deliveries: 0,
            outcome: MethodOutcome::Waiting,
            started: now,
            ended: None,
        };
        self.0.push(payload.len(), (id, record));
    }

    pub(super) fn delivered(&mut self, id: CallId) {
        if let Some((_, record)) = self.0.newest_mut(|(known, _)| *known == id) {
            record.deliveries += 1;
        }
    }

    pub(super) fn ended(&mut self, id: CallId, outcome: MethodOutcome, now: Timestamp) {
        if let Some((_, record)) = self.0.newest_mut(|(known, _)| *known == id) {
            record.outcome = outcome;
            record.ended = Some(now);
        }
    }

    /// Oldest first.
    pub(super) fn records(&self) -> impl DoubleEndedIterator<Item = &MethodRecord> {
        self.0.iter().map(|(_, record)| record)
    }
}
