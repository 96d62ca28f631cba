//! Messages from devices, kept for tests to read.

use bytes::Bytes;
use iot_hub::identity::DeviceId;
use iot_hub::topic::PropertyBag;
use jiff::Timestamp;

use super::{Hub, LinkId};

/// More than a test reads; beyond it the oldest message goes.
const LOG_LENGTH: usize = 1_000;

/// One message from a device to the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Who sent it.
    pub device: DeviceId,
    /// The properties, decoded from the topic.
    pub properties: PropertyBag,
    /// The body.
    pub payload: Bytes,
    /// When the hub took it.
    pub enqueued: Timestamp,
}

impl Hub {
    /// Takes a message; the log forgets its oldest when it is full.
    pub(crate) fn take_telemetry(
        &mut self,
        link: LinkId,
        properties: PropertyBag,
        payload: Bytes,
        enqueued: Timestamp,
    ) {
        let Some(id) = self.links.get(&link) else {
            return;
        };
        let device = id.device.clone();
        if self.telemetry.len() == LOG_LENGTH {
            self.telemetry.pop_front();
        }
        self.telemetry.push_back(Telemetry {
            device,
            properties,
            payload,
            enqueued,
        });
    }

    /// The newest messages, oldest first.
    pub(crate) fn telemetry(&self) -> Vec<Telemetry> {
        self.telemetry.iter().cloned().collect()
    }
}
