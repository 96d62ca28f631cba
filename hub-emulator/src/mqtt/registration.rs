//! A device that asks the provisioning service for its hub, until it goes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use iot_hub::error::HubError;
use iot_hub::identity::DeviceId;
use iot_hub::provisioning::{ANSWERS, AnswerTopic, RegistrationTopic, RegistrationUser};
use iot_hub::topic::RequestId;
use jiff::Timestamp;
use mqtt_wire::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck,
};
use serde_json::Value;
use tokio::time::timeout;

use super::Packets;
use super::connection::{End, granted_qos};
use crate::auth::Denied;
use crate::certificate::DeviceCertificate;
use crate::faults::Operation;
use crate::provisioning::{Admitted, Shown};
use crate::rest::new_tracking;
use crate::switchboard::{Switchboard, hold_up};

/// A device that asks for nothing for so long is gone: registering is short.
const MAX_SILENCE: Duration = Duration::from_secs(180);

/// Who asks, when a CONNECT is for the provisioning service: its first name is none of the hub's.
pub(super) fn user(connect: &Connect, switchboard: &Switchboard) -> Option<RegistrationUser> {
    let user = &connect.login.as_ref()?.username;
    let user: RegistrationUser = user.parse().ok()?;
    let is_hub = switchboard.names().know(&user.scope.to_string());
    (!is_hub).then_some(user)
}

/// Decides about a CONNECT.
pub(super) fn admit(
    switchboard: &Switchboard,
    connect: &Connect,
    user: &RegistrationUser,
    certificate: Option<&DeviceCertificate>,
) -> Result<Admitted, ConnectReturnCode> {
    let shown = Shown {
        user,
        password: connect
            .login
            .as_ref()
            .map_or("", |login| login.password.as_str()),
        certificate,
    };
    let admitted = switchboard.change(|state, now| {
        if user.scope != switchboard.config.provisioning.id_scope {
            return Err(Denied::UnknownScope(user.scope.clone()));
        }
        if connect.client_id != user.registration.as_str() {
            return Err(Denied::NotEnrolled(user.registration.clone()));
        }
        let skew = state.faults.clock_skew(None);
        let mut admitted =
            state
                .provisioning
                .admit(shown, &switchboard.authorities, now.skewed(skew))?;
        // As at the hub: a token that is still good at the door is good for a while.
        admitted.ends = admitted
            .ends
            .saturating_sub(skew)
            .and_then(|ends| ends.saturating_add(switchboard.config.token_grace))
            .unwrap_or(Timestamp::MAX);
        state.meters.connects_accepted.count_one(now.instant);
        Ok(admitted)
    });
    admitted.map_err(|denied| {
        tracing::info!(registration = %user.registration, reason = %denied, "refused a registration");
        ConnectReturnCode::NotAuthorized
    })
}

/// A connection of an admitted device.
pub(super) struct Registering {
    pub(super) packets: Packets,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) admitted: Admitted,
    pub(super) subscribed: bool,
}

impl Registering {
    pub(super) async fn run(mut self) {
        let id = self.admitted.registration.clone();
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        tracing::info!(registration = %id, reason = %end, "left the provisioning service");
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let welcome = ConnAck::new(ConnectReturnCode::Success, false);
        self.send(Packet::ConnAck(welcome)).await?;
        loop {
            let received = timeout(MAX_SILENCE, self.packets.next()).await;
            match received.map_err(|_| End::Silent)?.ok_or(End::Eof)?? {
                Packet::Publish(publish) => self.publish(publish).await?,
                Packet::Subscribe(subscribe) => self.subscribe(subscribe).await?,
                Packet::Unsubscribe(unsubscribe) => {
                    self.subscribed &= !unsubscribe.topics.iter().any(|topic| topic == ANSWERS);
                    self.send(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)))
                        .await?;
                }
                Packet::PingReq => self.send(Packet::PingResp).await?,
                Packet::Disconnect => return Err(End::Disconnect),
                Packet::Connect(_)
                | Packet::ConnAck(_)
                | Packet::PubAck(_)
                | Packet::PubRec(_)
                | Packet::PubRel(_)
                | Packet::PubComp(_)
                | Packet::SubAck(_)
                | Packet::UnsubAck(_)
                | Packet::PingResp => {
                    return Err(End::Protocol("a packet that registers nobody"));
                }
            }
        }
    }

    async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        let codes = subscribe.filters.iter().map(|filter| {
            if filter.path != ANSWERS {
                return SubscribeReasonCode::Failure;
            }
            self.subscribed = true;
            SubscribeReasonCode::Success(granted_qos(filter.qos).1)
        });
        let codes = codes.collect();
        self.send(Packet::SubAck(SubAck::new(subscribe.pkid, codes)))
            .await
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Protocol("a message of QoS 2"));
        }
        let topic = match publish.topic.parse::<RegistrationTopic>() {
            Ok(topic) => topic,
            Err(error) => return Err(End::Registration(publish.topic, error)),
        };
        if publish.qos == QoS::AtLeastOnce {
            self.send(Packet::PubAck(PubAck::new(publish.pkid))).await?;
        }
        let (topic, body) = self.answer(topic, &publish.payload).await;
        if !self.subscribed {
            return Ok(());
        }
        let answer = Publish::from_bytes(topic.to_string(), QoS::AtMostOnce, body.into());
        self.send(Packet::Publish(answer)).await
    }

    /// Counts a request, lets throttles and faults at it, and answers it.
    async fn answer(&self, topic: RegistrationTopic, body: &[u8]) -> (AnswerTopic, String) {
        let device = self.admitted.registration.as_str().parse::<DeviceId>().ok();
        let kind = Operation::Registration;
        let (delay, passed) = self.switchboard.change(|state, now| {
            state.meters.of(kind).count_one(now.instant);
            let passed = match state.faults.answer(kind, device.as_ref()) {
                Some(answer) => Err((answer.to_error(), answer.retry_after)),
                None => state
                    .admit(kind.into(), 1, now.instant)
                    .map_err(|error| (error, None)),
            };
            (state.faults.delay(kind, device.as_ref()), passed)
        });
        hold_up(delay).await;
        let (rid, answered) = match topic {
            RegistrationTopic::Register { rid } => {
                (rid, passed.and_then(|_| no_wait(self.register(body))))
            }
            RegistrationTopic::Status { rid, operation } => {
                let status = |_| {
                    self.switchboard.read(|state| {
                        let id = &self.admitted.registration;
                        no_wait(state.provisioning.status(id, &operation))
                    })
                };
                (rid, passed.and_then(status))
            }
        };
        self.dress(rid, answered)
    }

    fn register(&self, body: &[u8]) -> Result<Value, HubError> {
        self.switchboard.change(|state, now| {
            let host = &self.switchboard.config.host_name;
            let request = (rand::random(), now.wall);
            state
                .provisioning
                .register(&mut state.hub, host, &self.admitted, body, request)
        })
    }

    fn dress(
        &self,
        rid: RequestId,
        answered: Result<Value, (HubError, Option<Duration>)>,
    ) -> (AnswerTopic, String) {
        let (status, retry_after, body) = match answered {
            Ok(body) if body["status"] == "assigning" => {
                let retry_after = self.switchboard.config.provisioning.retry_after;
                (202, Some(retry_after), body)
            }
            Ok(body) => (200, None, body),
            Err((error, retry_after)) => {
                tracing::info!(registration = %self.admitted.registration, %error, "refused a request");
                (error.status, retry_after, error.mqtt_body(&new_tracking()))
            }
        };
        let topic = AnswerTopic {
            status,
            rid,
            retry_after,
        };
        (topic, body.to_string())
    }

    async fn send(&mut self, packet: Packet) -> Result<(), End> {
        if self.admitted.ends < Timestamp::now() {
            return Err(End::Closed(crate::hub::CloseReason::TokenExpired));
        }
        let limit = self.switchboard.config.limits.write;
        match timeout(limit, self.packets.send(packet)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(End::Stuck),
        }
    }
}

/// An error of the service's own says not how long to wait.
fn no_wait(answered: Result<Value, HubError>) -> Result<Value, (HubError, Option<Duration>)> {
    answered.map_err(|error| (error, None))
}
