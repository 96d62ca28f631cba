//! A device asks the provisioning service which hub is its own.
//!
//! ```text
//!  signed in ──► SUBSCRIBE ──► register ──► 202, wait, status ──► 200: assigned
//!                                               ▲        │
//!                                               └────────┘ not decided
//! ```

use std::time::Duration;

use iot_hub::{
    error::HubError,
    provisioning::{
        ANSWERS, AnswerTopic, Assignment, Operation, OperationError, Progress, RegistrationFailure,
        RegistrationId, RegistrationRequest, RegistrationTopic,
    },
    topic::RequestId,
};
use mqtt_wire::FromServer;
use rumqttc::{Packet, PubAck, Publish, QoS, Subscribe, SubscribeReasonCode};
use serde_json::Value;
use tokio::time;

use super::{LinkError, packets::Packets};

/// How long to wait before asking again when the service does not say.
const POLL: Duration = Duration::from_secs(2);

/// The longest that a wait on a connection may be; the service is asked anew after that.
const LONGEST_POLL: Duration = Duration::from_secs(60);

/// How often to ask what became of a request.
const POLLS: usize = 60;

/// Why the service gave no hub.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error("it has too much to do")]
    Busy {
        retry_after: Option<Duration>,
        #[source]
        source: HubError,
    },
    #[error("it refused the request")]
    Refused(#[source] HubError),
    #[error("it found no hub for the device")]
    Failed(#[source] RegistrationFailure),
    #[error("the device's enrolment is disabled")]
    Disabled,
    #[error("its answer makes no sense")]
    Answer(#[from] OperationError),
    #[error("it has not decided in time")]
    Undecided,
    #[error(transparent)]
    Link(Box<LinkError>),
}

impl From<LinkError> for RegistrationError {
    fn from(error: LinkError) -> Self {
        Self::Link(Box::new(error))
    }
}

impl RegistrationError {
    /// How long the service wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::Refused(_)
            | Self::Failed(_)
            | Self::Disabled
            | Self::Answer(_)
            | Self::Undecided
            | Self::Link(_) => None,
        }
    }
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Assigned(Assignment),
    /// Ask what became of this operation, after so long.
    Ask(String, Duration),
}

fn judge(topic: &AnswerTopic, body: &[u8]) -> Result<Verdict, RegistrationError> {
    if topic.status >= 300 {
        let source = HubError::parse(topic.status, None, &String::from_utf8_lossy(body));
        return Err(match topic.status {
            429.. => RegistrationError::Busy {
                retry_after: topic.retry_after,
                source,
            },
            _ => RegistrationError::Refused(source),
        });
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let operation = Operation::from_value(&body)?;
    match operation.progress {
        Progress::Assigned(registration) => Ok(Verdict::Assigned(registration.assignment)),
        Progress::Assigning => {
            let wait = topic.retry_after.unwrap_or(POLL).min(LONGEST_POLL);
            Ok(Verdict::Ask(operation.id, wait))
        }
        Progress::Failed(failure) => Err(RegistrationError::Failed(failure)),
        Progress::Disabled => Err(RegistrationError::Disabled),
    }
}

/// Registers over a connection that is signed in on; each answer may take `limit`.
pub(super) async fn register(
    mut packets: Packets,
    registration: &RegistrationId,
    limit: Duration,
) -> Result<Assignment, RegistrationError> {
    let mut subscribe = Subscribe::new(ANSWERS, QoS::AtLeastOnce);
    subscribe.pkid = 1;
    packets.send(Packet::Subscribe(subscribe)).await?;
    let request = RegistrationRequest {
        registration: registration.clone(),
        payload: None,
    };
    let mut body = request.to_value().to_string();
    let mut asked = None;
    for number in 1..=POLLS {
        let rid = RequestId::from(number as u64);
        let topic = match asked.take() {
            None => RegistrationTopic::Register { rid: rid.clone() },
            Some(operation) => RegistrationTopic::Status {
                rid: rid.clone(),
                operation,
            },
        };
        let publish = Publish::new(topic.to_string(), QoS::AtMostOnce, body);
        packets.send(Packet::Publish(publish)).await?;
        let answer = time::timeout(limit, answer(&mut packets, &rid)).await;
        let (topic, told) =
            answer.unwrap_or(Err(LinkError::Slow("an answer to a registration", limit)))?;
        match judge(&topic, &told)? {
            Verdict::Assigned(assignment) => {
                // It is all the same to us whether the service hears of it.
                let _ = packets.send(Packet::Disconnect).await;
                return Ok(assignment);
            }
            Verdict::Ask(operation, wait) => {
                time::sleep(wait).await;
                asked = Some(operation);
                body = " ".to_owned();
            }
        }
    }
    Err(RegistrationError::Undecided)
}

/// Waits for the answer to a request.
async fn answer(
    packets: &mut Packets,
    rid: &RequestId,
) -> Result<(AnswerTopic, Vec<u8>), LinkError> {
    loop {
        match packets.next().await? {
            FromServer::Publish(publish) => {
                if publish.qos == QoS::AtLeastOnce {
                    packets
                        .send(Packet::PubAck(PubAck::new(publish.pkid)))
                        .await?;
                }
                if let Ok(topic) = publish.topic.parse::<AnswerTopic>()
                    && topic.rid == *rid
                {
                    return Ok((topic, publish.payload.to_vec()));
                }
            }
            FromServer::SubAck(ack) if ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
                return Err(LinkError::Subscription);
            }
            FromServer::SubAck(_)
            | FromServer::ConnAck(_)
            | FromServer::PubAck(_)
            | FromServer::UnsubAck(_)
            | FromServer::PingResp => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(topic: &str) -> AnswerTopic {
        let topic = format!("$dps/registrations/res/{topic}");
        topic.parse().unwrap()
    }

    fn judged(topic: &str, body: &Value) -> Result<Verdict, RegistrationError> {
        judge(&answer(topic), body.to_string().as_bytes())
    }

    #[test]
    fn an_answer_decides_or_says_when_to_ask() {
        let assigning = json!({"operationId": "4.a", "status": "assigning"});
        for (topic, seconds) in [
            ("202/?$rid=1&retry-after=3", 3),
            ("202/?$rid=1", 2),
            ("202/?$rid=1&retry-after=86400", 60),
        ] {
            let wait = Duration::from_secs(seconds);
            let verdict = judged(topic, &assigning).unwrap();
            assert_eq!(verdict, Verdict::Ask("4.a".to_owned(), wait), "{topic}");
        }
        let state = json!({"assignedHub": "h", "deviceId": "d"});
        let assigned = json!({"status": "assigned", "registrationState": state});
        let verdict = judged("200/?$rid=1", &assigned).unwrap();
        assert!(matches!(verdict, Verdict::Assigned(found) if found.hub.as_str() == "h"));
    }

    #[test]
    fn a_refusal_says_why_and_for_how_long() {
        let busy = judged("429/?$rid=1&retry-after=7", &json!({})).unwrap_err();
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
        let refused = judged(
            "401/?$rid=1",
            &json!({"errorCode": 401_002, "message": "no"}),
        );
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, RegistrationError::Refused(error) if error.message == "no"));
        assert_eq!(refused.retry_after(), None);
        for (body, expected) in [
            (
                json!({"status": "disabled"}),
                "the device's enrolment is disabled",
            ),
            (
                json!({"status": "failed"}),
                "it found no hub for the device",
            ),
            (json!(7), "its answer makes no sense"),
        ] {
            assert_eq!(
                judged("200/?$rid=1", &body).unwrap_err().to_string(),
                expected
            );
        }
    }
}
