//! What a device says: telemetry, answers to methods, questions and reports about its twin.

use std::time::Duration;

use bytes::Bytes;
use iot_hub::error::HubError;
use iot_hub::topic::{DeviceTopic, PropertyBag, RequestId, TopicError};
use mqtt_wire::{LastWill, Publish, QoS};

use super::connection::{Connection, End};
use crate::faults::Operation;
use crate::hub::{CloseReason, Effect, EntityId, LinkId};
use crate::rest::new_tracking;
use crate::switchboard::{Now, State, hold_up};
use crate::throttle::Kind;

/// The largest message to the cloud, its properties included.
const MAX_MESSAGE: usize = 256 * 1024;

impl Connection {
    /// Takes a message from the device.
    pub(super) async fn publish(&mut self, publish: Publish) -> Result<(), End> {
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
        match topic {
            None => self.acknowledge(packet_id),
            Some(DeviceTopic::Telemetry {
                device,
                module,
                properties,
            }) => {
                if (EntityId { device, module }) != self.id {
                    return Err(End::ForeignTopic(publish.topic));
                }
                self.telemetry(packet_id, properties, publish.retain, publish.payload)
                    .await?;
            }
            Some(DeviceTopic::MethodResponse { status, rid }) => {
                let link = self.link.id;
                self.switchboard.change(|state, now| {
                    acknowledge(state, link, packet_id);
                    let lost = state.hub.is_awaited(link, &rid)
                        && state.faults.lose_method_answer(&self.id.device);
                    if !lost {
                        let effect =
                            state
                                .hub
                                .method_answer(link, &rid, status, publish.payload, now.wall);
                        state.carry_out(effect);
                    }
                });
            }
            Some(DeviceTopic::TwinGet { rid }) => {
                let link = self.link.id;
                let answer = |state: &mut State, _| Ok(state.hub.device_reads_twin(link, &rid));
                self.twin_request(Operation::DeviceTwinRead, packet_id, &rid, 0, answer)
                    .await;
            }
            Some(DeviceTopic::TwinReported { rid, version }) => {
                let (link, patch) = (self.link.id, publish.payload);
                let asked = patch.len();
                let answer = |state: &mut State, now: Now| {
                    state
                        .hub
                        .device_patches_twin(link, &rid, version, &patch, now.wall)
                };
                self.twin_request(Operation::DeviceTwinUpdate, packet_id, &rid, asked, answer)
                    .await;
            }
        }
        Ok(())
    }

    /// Takes a message to the cloud. MQTT knows no answer for one that is refused, so the connection
    /// ends then.
    async fn telemetry(
        &self,
        packet_id: Option<u16>,
        mut properties: PropertyBag,
        retain: bool,
        payload: Bytes,
    ) -> Result<(), End> {
        let passed = self.switchboard.pass(Kind::Telemetry, 1).await;
        passed.map_err(|_| End::Closed(CloseReason::Throttled))?;
        if retain {
            // Nothing is retained; the reader of the message is told that it was asked for.
            mark(&mut properties, "mqtt-retain", "true");
        }
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

    /// Counts a twin request of so many bytes, lets throttles and faults at it, and answers it with what `handle` says. There is
    /// always an answer: SDKs wait for one for ever.
    async fn twin_request(
        &self,
        operation: Operation,
        packet_id: Option<u16>,
        rid: &RequestId,
        asked: usize,
        handle: impl FnOnce(&mut State, Now) -> Result<Option<Effect>, HubError>,
    ) {
        let (delay, passed) = self.switchboard.change(|state, now| {
            state.meters.of(operation).count_one(now.instant);
            let device = Some(&self.id.device);
            let passed = match state.faults.answer(operation, device) {
                None => state.admit(operation.into(), 1, now.instant),
                Some(answer) => Err(answer.to_error()),
            };
            (state.faults.delay(operation, device), passed)
        });
        hold_up(delay + *passed.as_ref().unwrap_or(&Duration::ZERO)).await;
        self.switchboard.change(|state, now| {
            let link = self.link.id;
            let handled = passed.and_then(|_| handle(state, now));
            if let Ok(Some(Effect::Publish { payload, .. })) = &handled {
                state.quota.charge(asked.max(payload.len()), now.wall);
            }
            let effect = handled.unwrap_or_else(|error| {
                tracing::info!(device = %self.id, %error, "refused a twin request");
                let body = error.mqtt_body(&new_tracking()).to_string();
                state
                    .hub
                    .refuse_twin_request(link, rid, error.status, body.into())
            });
            acknowledge(state, link, packet_id);
            state.carry_out(effect);
        });
    }

    fn acknowledge(&self, packet_id: Option<u16>) {
        self.switchboard
            .change(|state, _| acknowledge(state, self.link.id, packet_id));
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
