//! Messages from devices, kept for tests to read.

use bytes::Bytes;
use iot_hub::identity::{DeviceId, ModuleId};
use iot_hub::topic::PropertyBag;
use jiff::Timestamp;

use super::{EntityId, Hub};

/// About what a property takes beside its text.
const PROPERTY_BYTES: usize = 64;

/// One message from a device to the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Who sent it.
    pub device: DeviceId,
    /// The device's module that sent it, if it was one.
    pub module: Option<ModuleId>,
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
        id: &EntityId,
        properties: PropertyBag,
        payload: Bytes,
        enqueued: Timestamp,
    ) {
        let Some(entity) = self.entities.get_mut_in_passing(id) else {
            return;
        };
        entity.twin.last_activity = Some(enqueued);
        let EntityId { device, module } = id.clone();
        // Many short properties take far more room than the topic that they came in.
        let held = |(name, value): (&str, Option<&str>)| {
            PROPERTY_BYTES + name.len() + value.map_or(0, str::len)
        };
        let bytes = payload.len() + properties.iter().map(held).sum::<usize>();
        let message = Telemetry {
            device,
            module,
            properties,
            payload,
            enqueued,
        };
        self.telemetry.push(bytes, message);
    }

    /// The newest messages, oldest first.
    pub(crate) fn telemetry(&self) -> impl DoubleEndedIterator<Item = &Telemetry> {
        self.telemetry.iter()
    }
}
