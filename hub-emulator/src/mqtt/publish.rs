//! What a device says: telemetry, answers to methods, questions and reports about its twin.

use std::time::Duration;

use bytes::Bytes;
use iot_hub::error::HubError;
use iot_hub::topic::{DeviceTopic, PropertyBag, RequestId, TopicError};
use mqtt_wire::{LastWill, Publish, QoS};
use tokio::time::Instant;

use super::connection::{Connection, End, after};
use crate::faults::Operation;
use crate::hub::{CloseReason, Effect, EntityId, LinkId};
use crate::rest::new_tracking;
use crate::switchboard::State;
use crate::throttle::Kind;

/// The largest message to the cloud, its properties included.
const MAX_MESSAGE: usize = 256 * 1024;

/// A message of the device's that has to wait, for a limit's sake or a fault's. Nothing else has to
/// wait for it, but what is of its kind: nothing overtakes another.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) due: Instant,
    packet_id: Option<u16>,
    work: Work,
}

/// What may have to wait.
#[derive(Debug)]
enum Work {
    /// To be kept.
    Telemetry(PropertyBag, Bytes),
    /// A twin request to be answered, or why it is not done.
    Twin(RequestId, Result<TwinRequest, HubError>),
}

#[derive(Debug)]
enum TwinRequest {
    Read,
    Patch { expected: Option<u64>, patch: Bytes },
}

impl Connection {
    /// Takes a message from the device.
    pub(super) fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let packet_id = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(publish.pkid),
            QoS::ExactlyOnce => return Err(End::Protocol("a message of QoS 2")),
        };
        let topic = match publish.topic.parse::<DeviceTopic>() {
            Ok(topic) => Some(topic),
            // The answer to a method under a status that is no number reaches nobody.
            Err(TopicError::Status) => None,
            Err(error) => {
                return Err(End::Topic {
                    topic: publish.topic,
                    error,
                });
            }
        };
        let (delay, work) = match topic {
            None => {
                self.switchboard
                    .change(|state, _| acknowledge(state, self.link.id, packet_id));
                return Ok(());
            }
            Some(DeviceTopic::Telemetry {
                device,
                module,
                properties,
            }) => {
                if (EntityId { device, module }) != self.id {
                    return Err(End::ForeignTopic(publish.topic));
                }
                self.weigh_telemetry(properties, publish.retain, publish.payload)?
            }
            Some(DeviceTopic::MethodResponse { status, rid }) => {
                self.method_answer(packet_id, &rid, status, publish.payload);
                return Ok(());
            }
            Some(DeviceTopic::TwinGet { rid }) => {
                self.weigh_twin_request(Operation::DeviceTwinRead, rid, TwinRequest::Read)
            }
            Some(DeviceTopic::TwinReported { rid, version }) => {
                let request = TwinRequest::Patch {
                    expected: version,
                    patch: publish.payload,
                };
                self.weigh_twin_request(Operation::DeviceTwinUpdate, rid, request)
            }
        };
        let turn = self.held.back().map(|last| last.due);
        let held = Held {
            due: after(delay).max(turn.unwrap_or_else(Instant::now)),
            packet_id,
            work,
        };
        if delay.is_zero() && self.held.is_empty() {
            return self.perform(held);
        }
        self.held.push_back(held);
        Ok(())
    }

    /// Does what is held and due.
    pub(super) fn release(&mut self) -> Result<(), End> {
        let now = Instant::now();
        while let Some(held) = self.held.pop_front_if(|held| held.due <= now) {
            self.perform(held)?;
        }
        Ok(())
    }

    fn perform(&self, held: Held) -> Result<(), End> {
        let Held {
            packet_id, work, ..
        } = held;
        match work {
            Work::Telemetry(properties, payload) => self.telemetry(packet_id, properties, payload),
            Work::Twin(rid, request) => {
                self.answer_twin_request(packet_id, &rid, request);
                Ok(())
            }
        }
    }

    /// Lets the throttle at a message to the cloud, and says how long it has to wait. MQTT knows no
    /// answer for one that is refused, so the connection ends then.
    fn weigh_telemetry(
        &self,
        mut properties: PropertyBag,
        retain: bool,
        payload: Bytes,
    ) -> Result<(Duration, Work), End> {
        let admitted = self.switchboard.admit(Kind::Telemetry, 1);
        let delay = admitted.map_err(|_| End::Closed(CloseReason::Throttled))?;
        if retain {
            // Nothing is retained; the reader of the message is told that it was asked for.
            mark(&mut properties, "mqtt-retain", "true");
        }
        Ok((delay, Work::Telemetry(properties, payload)))
    }

    /// Takes a message to the cloud.
    fn telemetry(
        &self,
        packet_id: Option<u16>,
        properties: PropertyBag,
        payload: Bytes,
    ) -> Result<(), End> {
        let bytes = payload.len() + properties.to_string().len();
        if bytes > MAX_MESSAGE {
            return Err(End::Protocol("a message of more than 256 KiB"));
        }
        let spent = self.switchboard.change(|state, now| {
            state.spend(bytes, now.wall)?;
            // Not from a connection that was taken over a moment ago.
            if state.hub.owner(self.link.id).is_some() {
                state.meters.telemetry.count_one(now.instant);
                state
                    .hub
                    .take_telemetry(&self.id, properties, payload, now.wall);
            }
            acknowledge(state, self.link.id, packet_id);
            Ok::<(), HubError>(())
        });
        spent.map_err(|_| End::Closed(CloseReason::QuotaExceeded))
    }

    fn method_answer(&self, packet_id: Option<u16>, rid: &RequestId, status: i32, payload: Bytes) {
        let link = self.link.id;
        self.switchboard.change(|state, now| {
            acknowledge(state, link, packet_id);
            let lost =
                state.hub.is_awaited(link, rid) && state.faults.lose_method_answer(&self.id.device);
            if !lost {
                let effect = state
                    .hub
                    .method_answer(link, rid, status, payload, now.wall);
                state.carry_out(effect);
            }
        });
    }

    /// Counts a twin request, lets throttles and faults at it, and says how long it has to wait.
    fn weigh_twin_request(
        &self,
        operation: Operation,
        rid: RequestId,
        request: TwinRequest,
    ) -> (Duration, Work) {
        self.switchboard.change(|state, now| {
            state.meters.of(operation).count_one(now.instant);
            let device = Some(&self.id.device);
            let passed = match state.faults.answer(operation, device) {
                None => state.admit(operation.into(), 1, now.instant),
                Some(answer) => Err(answer.to_error()),
            };
            let delay = state.faults.delay(operation, device);
            match passed {
                Ok(wait) => (delay.saturating_add(wait), Work::Twin(rid, Ok(request))),
                Err(error) => (delay, Work::Twin(rid, Err(error))),
            }
        })
    }

    /// Answers a twin request. There is always an answer: SDKs wait for one for ever.
    fn answer_twin_request(
        &self,
        packet_id: Option<u16>,
        rid: &RequestId,
        request: Result<TwinRequest, HubError>,
    ) {
        let link = self.link.id;
        self.switchboard.change(|state, now| {
            let hub = &mut state.hub;
            let handled = request.and_then(|request| match request {
                TwinRequest::Read => Ok((0, hub.device_reads_twin(link, rid))),
                TwinRequest::Patch { expected, patch } => hub
                    .device_patches_twin(link, rid, expected, &patch, now.wall)
                    .map(|answer| (patch.len(), answer)),
            });
            if let Ok((asked, Some(Effect::Publish { payload, .. }))) = &handled {
                state.quota.charge(payload.len().max(*asked), now.wall);
            }
            let effect = match handled {
                Ok((_, answer)) => answer,
                Err(error) => {
                    tracing::info!(device = %self.id, %error, "refused a twin request");
                    let body = error.mqtt_body(&new_tracking()).to_string();
                    state
                        .hub
                        .refuse_twin_request(link, rid, error.status, body.into())
                }
            };
            acknowledge(state, link, packet_id);
            state.carry_out(effect);
        });
    }

    /// Delivers the message that the device left for the case that it goes without a goodbye.
    pub(super) fn last_will(&self, will: LastWill) {
        let topic = will.topic.parse::<DeviceTopic>();
        let Ok(DeviceTopic::Telemetry {
            device,
            module,
            mut properties,
        }) = topic
        else {
            return tracing::info!(device = %self.id, topic = will.topic, "ignored a last will");
        };
        if (EntityId { device, module }) != self.id {
            return tracing::info!(device = %self.id, topic = will.topic, "ignored a last will");
        }
        mark(&mut properties, "iothub-MessageType", "Will");
        self.switchboard.change(|state, now| {
            state.meters.telemetry.count_one(now.instant);
            state
                .hub
                .take_telemetry(&self.id, properties, will.message, now.wall);
        });
    }
}

fn acknowledge(state: &mut State, link: LinkId, packet_id: Option<u16>) {
    if let Some(packet_id) = packet_id {
        state.acknowledge(link, packet_id);
    }
}

/// Tells the reader of a message something about how it came.
fn mark(properties: &mut PropertyBag, name: &str, value: &str) {
    let marked = properties.push(name, Some(value.to_owned()));
    marked.expect("the name is not empty");
}
