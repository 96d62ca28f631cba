//! What a connection carries: calls and their answers, and the twin requests.

use iot_hub::{
    reboot::{Refusal, RefusalCode},
    topic::{DeviceTopic, HubTopic, TopicError},
};
use rumqttc::{Packet, Publish, QoS};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    super::{
        Link, LinkError, LinkEvent, Message, MethodCall, Outgoing, Patch, Reply, packets::protocol,
    },
    IN_FLIGHT, Session,
};

/// How much of what the hub says of an error is worth repeating.
const MESSAGE_CHARS: usize = 500;

/// One kind of twin request; there is one of each under way at a time.
#[derive(Debug, Default)]
pub(super) struct Asked {
    rid: Option<String>,
    /// When an answer is overdue, or when to ask again.
    pub(super) until: Option<Instant>,
}

impl Asked {
    pub(super) fn ask(&mut self, rid: u64, until: Instant) {
        self.rid = Some(rid.to_string());
        self.until = Some(until);
    }

    /// Takes the request that an answer belongs to.
    fn takes(&mut self, rid: &str) -> bool {
        let ours = self.rid.as_deref() == Some(rid);
        if ours {
            *self = Self::default();
        }
        ours
    }

    pub(super) fn is_answered(&self) -> bool {
        self.rid.is_none()
    }

    /// Says once that it is overdue, and waits for no answer any more.
    pub(super) fn is_late(&mut self, now: Instant) -> bool {
        let late = self.until.is_some_and(|until| until <= now);
        if late {
            *self = Self::default();
        }
        late
    }
}

impl Link {
    pub(super) async fn answer(
        &mut self,
        session: &mut Session,
        answer: Outgoing,
    ) -> Result<(), LinkError> {
        if answer.hub != self.moves {
            // The hub that asked is not ours any more, and this one may use the same number.
            return Ok(());
        }
        let Ok(rid) = answer.rid.parse() else {
            return Ok(());
        };
        let topic = DeviceTopic::MethodResponse {
            status: answer.status,
            rid,
        };
        let payload = answer.payload.clone();
        let publish = Publish::new(topic.to_string(), QoS::AtLeastOnce, payload);
        let limit = self.timing.request_limit;
        match session.publish(publish, limit).await {
            Ok(pkid) => {
                session
                    .in_flight
                    .insert(pkid, answer, Instant::now() + limit);
                Ok(())
            }
            Err(error) => {
                self.unsent.push_back(answer);
                Err(error)
            }
        }
    }

    /// Sends a message to the cloud; it is kept until the hub has it.
    pub(super) async fn send_message(
        &mut self,
        session: &mut Session,
        message: Message,
    ) -> Result<(), LinkError> {
        let Some(connection) = &self.connection else {
            self.unsent_messages.push_back(message);
            return Err(LinkError::Homeless);
        };
        let topic = DeviceTopic::Telemetry {
            device: connection.device.clone(),
            module: None,
            properties: message.properties.clone(),
        };
        let payload = message.payload.clone();
        let publish = Publish::new(topic.to_string(), QoS::AtLeastOnce, payload);
        let limit = self.timing.request_limit;
        match session.publish(publish, limit).await {
            Ok(pkid) => {
                session
                    .messages
                    .insert(pkid, message, Instant::now() + limit);
                Ok(())
            }
            Err(error) => {
                self.unsent_messages.push_back(message);
                Err(error)
            }
        }
    }

    pub(super) async fn send_patch(
        &mut self,
        session: &mut Session,
        patch: &Patch,
    ) -> Result<(), LinkError> {
        if patch.epoch != self.epoch {
            return Ok(());
        }
        let (rid, until) = self.next_request();
        session.patch.ask(rid, until);
        let topic = DeviceTopic::TwinReported {
            rid: rid.into(),
            version: None,
        };
        let payload = serde_json::to_vec(&patch.document).map_err(protocol)?;
        self.publish(session, &topic, payload).await
    }

    pub(super) async fn get_twin(&mut self, session: &mut Session) -> Result<(), LinkError> {
        let (rid, until) = self.next_request();
        session.get.ask(rid, until);
        let topic = DeviceTopic::TwinGet { rid: rid.into() };
        self.publish(session, &topic, Vec::new()).await
    }

    /// Reads the twin once more. An answer to an earlier check is of no use any more.
    pub(super) async fn check_twin(
        &mut self,
        session: &mut Session,
        number: u64,
    ) -> Result<(), LinkError> {
        let (rid, until) = self.next_request();
        session.check.ask(rid, until);
        session.checked = number;
        let topic = DeviceTopic::TwinGet { rid: rid.into() };
        self.publish(session, &topic, Vec::new()).await
    }

    /// Sends a request whose answer is its acknowledgement.
    async fn publish(
        &self,
        session: &mut Session,
        topic: &DeviceTopic,
        payload: Vec<u8>,
    ) -> Result<(), LinkError> {
        let publish = Publish::new(topic.to_string(), QoS::AtMostOnce, payload);
        let limit = self.timing.request_limit;
        session.send(Packet::Publish(publish), limit).await
    }

    pub(super) fn next_request(&mut self) -> (u64, Instant) {
        self.requests += 1;
        (self.requests, Instant::now() + self.timing.request_limit)
    }

    pub(super) async fn on_publish(
        &mut self,
        session: &mut Session,
        publish: &Publish,
    ) -> Result<(), LinkError> {
        let topic = match publish.topic.parse() {
            Ok(topic) => topic,
            Err(error) => {
                let error: TopicError = error;
                tracing::debug!(topic = publish.topic, %error, "ignored a message of the hub");
                return Ok(());
            }
        };
        match topic {
            HubTopic::Method { name, rid } => {
                let rid = rid.to_string();
                let Some(place) = self.places.keep_place() else {
                    self.refuse_call(rid);
                    return Ok(());
                };
                let call = MethodCall {
                    name: name.to_string(),
                    payload: payload(&publish.payload),
                    reply: Reply {
                        rid: rid.clone(),
                        hub: self.moves,
                        place,
                    },
                    rid,
                };
                self.tell(LinkEvent::Call(call)).await
            }
            HubTopic::TwinResponse { status, rid, .. } => {
                self.on_twin_response(session, status, rid.as_str(), &publish.payload)
                    .await
            }
            HubTopic::Desired { version } => match payload(&publish.payload) {
                Ok(Value::Object(patch)) => self.tell(LinkEvent::Desired { version, patch }).await,
                Ok(_) | Err(_) => Ok(()),
            },
            HubTopic::CloudToDevice { .. } | HubTopic::ModuleInput { .. } => Ok(()),
        }
    }

    async fn on_twin_response(
        &mut self,
        session: &mut Session,
        status: u16,
        rid: &str,
        body: &[u8],
    ) -> Result<(), LinkError> {
        if session.patch.takes(rid) {
            let event = if (200..300).contains(&status) {
                session.unanswered = 0;
                LinkEvent::PatchApplied
            } else {
                let message = String::from_utf8_lossy(body);
                LinkEvent::PatchRefused {
                    status,
                    message: message.chars().take(MESSAGE_CHARS).collect(),
                }
            };
            return self.tell(event).await;
        }
        if session.check.takes(rid) {
            if let (200, Ok(Value::Object(mut twin))) = (status, payload(body))
                && let Some(Value::Object(desired)) = twin.remove("desired")
            {
                let number = session.checked;
                return self.tell(LinkEvent::Checked { number, desired }).await;
            }
            return Ok(());
        }
        if !session.get.takes(rid) {
            return Ok(());
        }
        if let (200, Ok(Value::Object(mut twin))) = (status, payload(body))
            && let Some(Value::Object(reported)) = twin.remove("reported")
            && let Some(Value::Object(desired)) = twin.remove("desired")
        {
            return self.tell(LinkEvent::Twin { reported, desired }).await;
        }
        // Throttled, or the hub is unwell: ask again after as long as an answer may take.
        tracing::debug!(status, "the twin could not be read");
        session.get.until = Some(Instant::now() + self.timing.request_limit);
        Ok(())
    }

    /// Answers a call that there is no place for, unless too many such answers wait already: of a hub
    /// that takes none, callers learn nothing anyway.
    fn refuse_call(&mut self, rid: String) {
        if self.unsent.len() >= IN_FLIGHT {
            return;
        }
        let refusal = Refusal::new(RefusalCode::Internal, "too many calls at once");
        self.unsent.push_back(Outgoing {
            rid,
            hub: self.moves,
            status: refusal.code.method_status(),
            payload: refusal.to_payload().to_string().into_bytes(),
            made: Instant::now(),
        });
    }

    pub(super) async fn tell(&self, event: LinkEvent) -> Result<(), LinkError> {
        // The device's task is gone only when everything stops.
        let told = self.events.send(event).await;
        told.map_err(|_| LinkError::Closed)
    }
}

/// An empty body is what a caller sends that sends nothing.
fn payload(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
