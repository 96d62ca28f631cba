//! What a local device has to do with the hub besides reboots: telemetry and reported properties up,
//! desired properties down.
//!
//! ```text
//!   telemetry[/properties] ──► backlog, on disk ──► hub, in order
//!   twin/reported          ──► outbox, merged   ──► properties.reported.device
//!   twin/desired           ◄── kept, retained   ◄── properties.desired.device
//!   bridge/status, bridge/refused ◄── how it goes
//! ```
//!
//! A message is acknowledged to the device once it is on disk, or once it is refused for good.

use iot_hub::{identity::DeviceId, topic::PropertyBag};
use serde_json::{Map, Value, json};

use super::mail::Mail;
use crate::{
    backlog::{Backlog, Bounds},
    hub_link::{LinkHandle, Message},
    local_mqtt::{Inbound, LocalDevice},
    queue::Receiver,
    storage::{Append, Storage},
};

/// The largest message that a hub takes, with its properties.
const MESSAGE_BYTES: usize = 256 * 1024;

/// How many messages that the hub has may stay on disk until they are removed together.
const FORGOTTEN_TOGETHER: usize = 32;

/// A local device's part of the twin, on both sides.
pub(super) const OWN_KEY: &str = "device";

/// The bridge of one device.
#[derive(Debug)]
pub(super) struct Bridge {
    local: LocalDevice,
    inbound: Receiver<Inbound>,
    backlog: Backlog,
    /// Messages that the hub has, and that are on disk yet.
    done: Vec<u64>,
    /// What the device was last told of its desired properties.
    desired: Option<String>,
    /// What it was last told of the bridge.
    status: Option<String>,
    connected: bool,
    /// Reading failed: not before there is news.
    stuck: bool,
}

/// Why something a device sent does not reach the hub.
#[derive(Debug)]
enum Trouble {
    /// It never will, and is acknowledged so that it is not sent again.
    Refused(String),
    /// It cannot be kept now, and is not acknowledged.
    Unwritable,
}

impl Bridge {
    pub(super) fn new(
        local: LocalDevice,
        bounds: Bounds,
        desired: Option<String>,
        telemetry: Vec<(u64, usize)>,
    ) -> Self {
        let bridge = Self {
            inbound: local.bridge(),
            local,
            backlog: Backlog::new(bounds, telemetry),
            done: Vec::new(),
            desired,
            status: None,
            connected: false,
            stuck: false,
        };
        if let Some(told) = &bridge.desired {
            bridge.local.retain("twin/desired", told.clone());
        }
        bridge
    }

    /// The next message of the device for the hub; none any more when the endpoint has ended.
    pub(super) async fn next(&mut self) -> Option<Inbound> {
        self.inbound.recv().await
    }

    /// Takes a message of the device.
    pub(super) async fn take(
        &mut self,
        inbound: Inbound,
        device: &DeviceId,
        mail: &mut Mail,
        storage: &Storage,
        link: &LinkHandle,
    ) {
        let taken = if inbound.name == "twin/reported" {
            self.report(&inbound.payload, device, mail, storage).await
        } else {
            self.keep(&inbound, device, storage).await
        };
        match taken {
            Ok(()) => inbound.answer(true),
            Err(Trouble::Refused(why)) => {
                self.refuse(&inbound.name, &why);
                inbound.answer(true);
            }
            Err(Trouble::Unwritable) => inbound.answer(false),
        }
        mail.count_dropped(self.backlog.dropped());
        self.tell();
        self.send(device, storage, link).await;
    }

    pub(super) async fn on_link(
        &mut self,
        connected: bool,
        device: &DeviceId,
        storage: &Storage,
        link: &LinkHandle,
    ) {
        self.connected = connected;
        self.stuck = false;
        self.tell();
        self.send(device, storage, link).await;
    }

    /// The hub has a message.
    pub(super) async fn on_acked(
        &mut self,
        number: u64,
        device: &DeviceId,
        storage: &Storage,
        link: &LinkHandle,
    ) {
        if self.backlog.on_acked(number) {
            self.done.push(number);
        }
        if self.done.len() >= FORGOTTEN_TOGETHER || self.backlog.is_empty() {
            let done = std::mem::take(&mut self.done);
            if let Err(error) = storage.forget(device, done).await {
                // They are sent once more after a restart.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot remove telemetry"
                );
            }
        }
        self.send(device, storage, link).await;
    }

    /// The hub's desired properties are these. The device is told of its own.
    pub(super) async fn on_desired(
        &mut self,
        version: Option<u64>,
        properties: &Map<String, Value>,
        device: &DeviceId,
        storage: &Storage,
    ) {
        let own = match properties.get(OWN_KEY) {
            Some(Value::Object(own)) => Value::Object(own.clone()),
            Some(_) | None => json!({}),
        };
        let known = self.desired.as_deref().and_then(|told| {
            let told: Value = serde_json::from_str(told).ok()?;
            told.get("properties").cloned()
        });
        if known.as_ref() == Some(&own) {
            return;
        }
        let told = json!({ "version": version, "properties": own }).to_string();
        if let Err(error) = storage.write_desired(device, &told).await {
            // The hub says it again after a restart.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot keep the desired properties"
            );
        }
        self.local.retain("twin/desired", told.clone());
        self.desired = Some(told);
    }

    /// Says that something the device sent is not taken.
    pub(super) fn refuse(&self, topic: &str, why: &str) {
        tracing::warn!(topic, why, "refused a message of a local device");
        let told = json!({ "topic": topic, "why": why }).to_string();
        // Whoever is there hears it.
        let _ = self.local.publish("bridge/refused", told);
    }

    async fn keep(
        &mut self,
        inbound: &Inbound,
        device: &DeviceId,
        storage: &Storage,
    ) -> Result<(), Trouble> {
        let properties = inbound.name.strip_prefix("telemetry").unwrap_or_default();
        let properties = properties.strip_prefix('/').unwrap_or_default();
        let refused = |why: String| Err(Trouble::Refused(why));
        if let Err(error) = properties.parse::<PropertyBag>() {
            return refused(format!("properties: {error}"));
        }
        if properties.len() + inbound.payload.len() > MESSAGE_BYTES {
            return refused(format!("it has more than {MESSAGE_BYTES} bytes"));
        }
        let body = to_body(properties, &inbound.payload);
        let Some(admission) = self.backlog.admit(body.len()) else {
            return refused("there is no room for it".to_owned());
        };
        let append = Append {
            device: device.clone(),
            number: admission.number,
            body,
            remove: [admission.drops.as_slice(), &std::mem::take(&mut self.done)].concat(),
        };
        if let Err(error) = storage.append(append).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot keep telemetry; it is not acknowledged"
            );
            return Err(Trouble::Unwritable);
        }
        if !admission.drops.is_empty() && self.backlog.dropped() == 0 {
            tracing::warn!("telemetry is dropped, the oldest first: the hub takes none");
        }
        self.backlog.take_in(&admission);
        Ok(())
    }

    async fn report(
        &self,
        payload: &[u8],
        device: &DeviceId,
        mail: &mut Mail,
        storage: &Storage,
    ) -> Result<(), Trouble> {
        let patch = match serde_json::from_slice(payload) {
            Ok(Value::Object(patch)) => patch,
            Ok(_) => return Err(Trouble::Refused("it is no JSON object".to_owned())),
            Err(error) => return Err(Trouble::Refused(format!("it is no JSON: {error}"))),
        };
        mail.merge(&patch).map_err(Trouble::Refused)?;
        let kept = mail.keep(device, storage).await;
        kept.map_err(|()| Trouble::Unwritable)
    }

    /// Sends what is due, in order.
    async fn send(&mut self, device: &DeviceId, storage: &Storage, link: &LinkHandle) {
        if self.stuck || !self.connected {
            return;
        }
        let due: Vec<_> = self.backlog.due().collect();
        if due.is_empty() {
            return;
        }
        let mut found = match storage.telemetry(device, due.clone()).await {
            Ok(found) => found.into_iter().peekable(),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot read telemetry"
                );
                self.stuck = true;
                return;
            }
        };
        for number in due {
            let body = found.next_if(|(at, _)| *at == number);
            let message = body.and_then(|(_, body)| of_body(number, body));
            let Some(message) = message else {
                tracing::error!(number, "a message on disk cannot be read");
                self.backlog.on_sent();
                self.backlog.on_acked(number);
                self.done.push(number);
                continue;
            };
            if !link.send(message) {
                return;
            }
            self.backlog.on_sent();
        }
    }

    /// Lets the device know how it goes.
    fn tell(&mut self) {
        let status = json!({
            "connected": self.connected,
            "telemetryDropped": self.backlog.dropped(),
        });
        let status = status.to_string();
        if self.status.as_ref() != Some(&status) {
            self.local.retain("bridge/status", status.clone());
            self.status = Some(status);
        }
    }
}

/// A message as it is on disk: the length of its properties, these, its payload.
fn to_body(properties: &str, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(properties.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], properties.as_bytes(), payload].concat()
}

fn of_body(number: u64, body: Vec<u8>) -> Option<Message> {
    let (length, rest) = body.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (properties, payload) = rest.split_at_checked(length)?;
    Some(Message {
        number,
        properties: std::str::from_utf8(properties).ok()?.parse().ok()?,
        payload: payload.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_survives_the_disk(
            properties in "(a=[a-z]{1,9}(&b=[0-9]{1,9})?)?",
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let message = of_body(3, to_body(&properties, &payload)).unwrap();
            prop_assert_eq!(message.number, 3);
            prop_assert_eq!(message.payload, payload);
            prop_assert_eq!(message.properties, properties.parse().unwrap());
        }

        #[test]
        fn damaged_bytes_are_no_message_and_no_panic(
            body in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let _ = of_body(0, body);
        }
    }
}
