//! An admitted device's connection, until it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use iot_hub::error::HubError;
use iot_hub::topic::{DeviceTopic, PropertyBag, RequestId, TopicError};
use jiff::Timestamp;
use mqtt_wire::{
    ConnAck, ConnectReturnCode, Error as PacketError, Packet, PubAck, Publish, QoS, SubAck,
    Subscribe, SubscribeFilter, SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Packets;
use super::admission::{Admitted, Link};
use crate::faults::Operation;
use crate::hub::{CloseReason, Effect, EntityId, Grant, LinkId};
use crate::rest::new_tracking;
use crate::switchboard::{LinkReceiver, Now, State, Switchboard, ToDevice};

/// The hub lets nobody be silent for longer, whatever keep-alive was asked for.
const MAX_SILENCE: Duration = Duration::from_secs(1767);
/// A client that takes nothing for so long is gone.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Connection {
    packets: Packets,
    switchboard: Arc<Switchboard>,
    id: EntityId,
    link: Link,
    receiver: LinkReceiver,
    session_present: bool,
    max_silence: Duration,
    token_ends: Instant,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the device said goodbye")]
    Disconnect,
    #[error("the device closed the connection")]
    Eof,
    #[error("the hub closes it: {0:?}")]
    Closed(CloseReason),
    #[error("silent for longer than its keep-alive allows")]
    Silent,
    #[error("{0}")]
    Packet(#[from] PacketError),
    #[error("not allowed: {0}")]
    Protocol(&'static str),
    #[error("publish to {topic}: {error}")]
    Topic { topic: String, error: TopicError },
    #[error("publish to a topic of another device: {0}")]
    ForeignTopic(String),
    #[error("takes nothing we send")]
    Stuck,
}

impl Connection {
    pub(super) fn new(packets: Packets, switchboard: Arc<Switchboard>, admitted: Admitted) -> Self {
        let Admitted {
            id,
            link,
            receiver,
            session_present,
            keep_alive,
            token_ends,
        } = admitted;
        let max_silence = match keep_alive.mul_f32(1.5) {
            Duration::ZERO => MAX_SILENCE,
            silence => silence.min(MAX_SILENCE),
        };
        let left = token_ends.duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        let left = left.saturating_add(switchboard.config.token_grace);
        // A token may end later than the clock can say.
        let token_ends = Instant::now()
            .checked_add(left)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(u32::MAX.into()));
        Self {
            packets,
            switchboard,
            id,
            link,
            receiver,
            session_present,
            max_silence,
            token_ends,
        }
    }

    pub(super) async fn run(mut self) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        tracing::info!(device = %self.id, reason = %end, "disconnected");
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let session_present = self.session_present;
        self.send(Packet::ConnAck(ConnAck::new(
            ConnectReturnCode::Success,
            session_present,
        )))
        .await?;
        let mut silent_until = Instant::now() + self.max_silence;
        loop {
            tokio::select! {
                biased;
                reason = &mut self.receiver.close => {
                    return Err(End::Closed(reason.unwrap_or(CloseReason::ShuttingDown)));
                }
                Some(message) = self.receiver.messages.recv() => self.send(packet(message)).await?,
                () = sleep_until(self.token_ends) => {
                    return Err(End::Closed(CloseReason::TokenExpired));
                }
                received = timeout_at(silent_until, self.packets.next()) => {
                    let packet = received.map_err(|_| End::Silent)?.ok_or(End::Eof)??;
                    silent_until = Instant::now() + self.max_silence;
                    self.receive(packet).await?;
                }
            }
        }
    }

    async fn receive(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe).await,
            Packet::PingReq => self.send(Packet::PingResp).await,
            // Everything we send is QoS 0, so there is nothing to acknowledge.
            Packet::PubAck(_) => Ok(()),
            Packet::Disconnect => Err(End::Disconnect),
            Packet::Connect(_) => Err(End::Protocol("a second CONNECT")),
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                Err(End::Protocol("a packet of QoS 2"))
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(End::Protocol("a packet that only a server sends"))
            }
        }
    }

    async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        let link = self.link.id;
        let codes = self.switchboard.change(|state, _| {
            let grant = |SubscribeFilter { path, qos }: &SubscribeFilter| match state
                .hub
                .subscribe(link, path)
            {
                Grant::Granted => SubscribeReasonCode::Success(granted_qos(*qos)),
                Grant::Refused => {
                    tracing::info!(device = %self.id, filter = path, "refused a subscription");
                    SubscribeReasonCode::Failure
                }
            };
            subscribe.filters.iter().map(grant).collect()
        });
        self.send(Packet::SubAck(SubAck::new(subscribe.pkid, codes)))
            .await
    }

    async fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), End> {
        self.switchboard.change(|state, _| {
            for filter in &unsubscribe.topics {
                state.hub.unsubscribe(self.link.id, filter);
            }
        });
        self.send(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)))
            .await
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
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
                self.telemetry(packet_id, properties, publish.retain, publish.payload);
            }
            Some(DeviceTopic::MethodResponse { status, rid }) => {
                let link = self.link.id;
                self.switchboard.change(|state, _| {
                    acknowledge(state, link, packet_id);
                    let lost = state.hub.is_awaited(link, &rid)
                        && state.faults.lose_method_answer(&self.id.device);
                    if !lost {
                        let effect = state.hub.method_answer(link, &rid, status, publish.payload);
                        state.carry_out(effect);
                    }
                });
            }
            Some(DeviceTopic::TwinGet { rid }) => {
                let link = self.link.id;
                let answer = |state: &mut State, _| Ok(state.hub.device_reads_twin(link, &rid));
                self.twin_request(Operation::DeviceTwinRead, packet_id, &rid, answer)
                    .await;
            }
            Some(DeviceTopic::TwinReported { rid, version }) => {
                let (link, patch) = (self.link.id, publish.payload);
                let answer = |state: &mut State, now: Now| {
                    state
                        .hub
                        .device_patches_twin(link, &rid, version, &patch, now.wall)
                };
                self.twin_request(Operation::DeviceTwinUpdate, packet_id, &rid, answer)
                    .await;
            }
        }
        Ok(())
    }

    fn telemetry(
        &self,
        packet_id: Option<u16>,
        mut properties: PropertyBag,
        retain: bool,
        payload: Bytes,
    ) {
        if retain {
            // Nothing is retained; the reader of the message is told that it was asked for.
            properties
                .push("mqtt-retain", Some("true".to_owned()))
                .expect("the name is not empty");
        }
        self.switchboard.change(|state, now| {
            state.meters.telemetry.count_one(now.instant);
            state
                .hub
                .take_telemetry(self.link.id, properties, payload, now.wall);
            acknowledge(state, self.link.id, packet_id);
        });
    }

    /// Counts a twin request, lets faults at it, and answers it with what `handle` says. There is
    /// always an answer: SDKs wait for one for ever.
    async fn twin_request(
        &self,
        operation: Operation,
        packet_id: Option<u16>,
        rid: &RequestId,
        handle: impl FnOnce(&mut State, Now) -> Result<Option<Effect>, HubError>,
    ) {
        let (delay, injected) = self.switchboard.change(|state, now| {
            state.meters.of(operation).count_one(now.instant);
            (
                state.faults.delay(operation),
                state.faults.answer(operation),
            )
        });
        tokio::time::sleep(delay).await;
        self.switchboard.change(|state, now| {
            let link = self.link.id;
            let handled = match injected {
                None => handle(state, now),
                Some(answer) => Err(answer.to_error()),
            };
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

    async fn send(&mut self, packet: Packet) -> Result<(), End> {
        match timeout(WRITE_LIMIT, self.packets.send(packet)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(End::Stuck),
        }
    }
}

fn acknowledge(state: &mut State, link: LinkId, packet_id: Option<u16>) {
    if let Some(packet_id) = packet_id {
        state.acknowledge(link, packet_id);
    }
}

/// The hub grants 1 to whoever asks for 2.
fn granted_qos(asked: QoS) -> QoS {
    match asked {
        QoS::AtMostOnce => QoS::AtMostOnce,
        QoS::AtLeastOnce | QoS::ExactlyOnce => QoS::AtLeastOnce,
    }
}

/// Everything goes out as QoS 0: nothing that the hub sends is queued for a device.
fn packet(message: ToDevice) -> Packet {
    match message {
        ToDevice::Ack { packet_id } => Packet::PubAck(PubAck::new(packet_id)),
        ToDevice::Publish { topic, payload } => Packet::Publish(Publish::from_bytes(
            topic.to_string(),
            QoS::AtMostOnce,
            payload,
        )),
    }
}
