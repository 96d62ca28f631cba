//! An admitted device's connection, until it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use iot_hub::provisioning::RegistrationTopicError;
use iot_hub::topic::TopicError;
use jiff::Timestamp;
use mqtt_wire::{
    ConnAck, ConnectReturnCode, Error as PacketError, LastWill, Packet, PubAck, Publish, QoS,
    SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Packets;
use super::admission::{Admitted, Link};
use super::publish::Held;
use crate::hub::{CloseReason, EntityId, Grant, Qos};
use crate::switchboard::{Messages, Outgoing, Switchboard, ToDevice};

/// The hub lets nobody be silent for longer, whatever keep-alive was asked for.
const MAX_SILENCE: Duration = Duration::from_secs(1767);
/// How much of what a device asked for may wait; it is not heard until there is room again.
const MAX_HELD: usize = 16;

pub(super) struct Connection {
    packets: Packets,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) id: EntityId,
    pub(super) link: Link,
    messages: Messages,
    session_present: bool,
    will: Option<LastWill>,
    max_silence: Duration,
    token_ends: Instant,
    /// What the device asked for and has to wait for, in its order.
    pub(super) held: VecDeque<Held>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
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
    #[error("publish to {0}: {1}")]
    Registration(String, RegistrationTopicError),
    #[error("publish to a topic of another device: {0}")]
    ForeignTopic(String),
    #[error("takes nothing we send")]
    Stuck,
}

impl Connection {
    pub(super) fn new(
        packets: Packets,
        switchboard: Arc<Switchboard>,
        admitted: Admitted,
        messages: Messages,
    ) -> Self {
        let Admitted {
            id,
            link,
            session_present,
            will,
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
        let token_ends = after(left);
        Self {
            packets,
            switchboard,
            id,
            link,
            messages,
            session_present,
            will,
            max_silence,
            token_ends,
            held: VecDeque::new(),
        }
    }

    /// Serves until the device goes or the hub closes the connection, which nothing delays: not what
    /// is held up, and not a client that takes nothing.
    pub(super) async fn run(mut self: Box<Self>, close: oneshot::Receiver<CloseReason>) {
        let end = tokio::select! {
            biased;
            reason = close => End::Closed(reason.unwrap_or(CloseReason::ShuttingDown)),
            end = self.serve_to_the_end() => end,
        };
        if let (false, Some(will)) = (matches!(end, End::Disconnect), self.will.take()) {
            self.last_will(will);
        }
        tracing::info!(device = %self.id, reason = %end, "disconnected");
    }

    /// As [`Self::serve`]; a device that goes has done so after what it asked for.
    async fn serve_to_the_end(&mut self) -> End {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if matches!(end, End::Disconnect | End::Eof) {
            while let Some(first) = self.held.front() {
                sleep_until(first.due).await;
                if let Err(end) = self.release() {
                    return end;
                }
            }
        }
        end
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let welcome = ConnAck::new(ConnectReturnCode::Success, self.session_present);
        Box::pin(self.send(Packet::ConnAck(welcome))).await?;
        let mut silent_until = Instant::now() + self.max_silence;
        loop {
            tokio::select! {
                biased;
                Some(message) = self.messages.recv() => {
                    Box::pin(self.pass_on(*message)).await?;
                }
                () = sleep_until(self.token_ends) => {
                    return Err(End::Closed(CloseReason::TokenExpired));
                }
                () = due(&self.held) => {
                    let was_deaf = self.held.len() >= MAX_HELD;
                    self.release()?;
                    if was_deaf {
                        silent_until = Instant::now() + self.max_silence;
                    }
                }
                received = timeout_at(silent_until, self.packets.next()),
                    if self.held.len() < MAX_HELD =>
                {
                    let packet = received.map_err(|_| End::Silent)?.ok_or(End::Eof)??;
                    silent_until = Instant::now() + self.max_silence;
                    Box::pin(self.receive(packet)).await?;
                }
            }
        }
    }

    /// Sends what the hub has for the device.
    async fn pass_on(&mut self, message: Outgoing) -> Result<(), End> {
        match message {
            Outgoing::One(message) => self.send(packet(message)).await,
            Outgoing::Released(messages) => {
                for message in messages {
                    self.send(packet(message)).await?;
                }
                Ok(())
            }
        }
    }

    async fn receive(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe).await,
            Packet::PingReq => self.send(Packet::PingResp).await,
            Packet::PubAck(ack) => {
                let link = self.link.id;
                self.switchboard.change(|state, now| {
                    state.hub.message_acknowledged(link, ack.pkid, now.wall);
                });
                Ok(())
            }
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
        let codes = self.switchboard.change(|state, now| {
            let grant = |SubscribeFilter { path, qos }: &SubscribeFilter| {
                let (qos, granted) = granted_qos(*qos);
                match state.hub.subscribe(link, path, qos) {
                    Grant::Granted => SubscribeReasonCode::Success(granted),
                    Grant::Refused => {
                        tracing::info!(device = %self.id, filter = path, "refused a subscription");
                        SubscribeReasonCode::Failure
                    }
                }
            };
            let codes = subscribe.filters.iter().map(grant).collect();
            // These wait behind the answer, which does not go through the queue.
            let messages = state.hub.deliver(link, now.wall);
            state.carry_out(messages);
            codes
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

    async fn send(&mut self, packet: Packet) -> Result<(), End> {
        let limit = self.switchboard.config.limits.write;
        match timeout(limit, self.packets.send(packet)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(End::Stuck),
        }
    }
}

/// So long from now. That may be later than the clock can say; then nobody lives to see it.
pub(super) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait)
        .unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()))
}

/// Waits for the time of the first that is held.
async fn due(held: &VecDeque<Held>) {
    match held.front() {
        Some(first) => sleep_until(first.due).await,
        None => std::future::pending().await,
    }
}

/// The hub grants 1 to whoever asks for 2.
pub(super) fn granted_qos(asked: QoS) -> (Qos, QoS) {
    match asked {
        QoS::AtMostOnce => (Qos::AtMostOnce, QoS::AtMostOnce),
        QoS::AtLeastOnce | QoS::ExactlyOnce => (Qos::AtLeastOnce, QoS::AtLeastOnce),
    }
}

/// Methods and twins go out as QoS 0, whatever was granted: only messages are queued.
fn packet(message: ToDevice) -> Packet {
    match message {
        ToDevice::Ack { packet_id } => Packet::PubAck(PubAck::new(packet_id)),
        ToDevice::Publish { topic, payload } => Packet::Publish(Publish::from_bytes(
            topic.to_string(),
            QoS::AtMostOnce,
            payload,
        )),
        ToDevice::Deliver {
            packet_id,
            duplicate,
            topic,
            payload,
        } => {
            let mut publish = Publish::from_bytes(topic.to_string(), QoS::AtLeastOnce, payload);
            publish.pkid = packet_id;
            publish.dup = duplicate;
            Packet::Publish(publish)
        }
    }
}
