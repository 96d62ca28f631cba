//! What a Zigbee2MQTT says of itself. Pure: messages in, a picture out.

use std::time::Instant;

use serde::Deserialize;

use crate::driver::{
    Health,
    mqtt::{
        contact::{Answer, Contact},
        watched::Picture,
    },
    reading::clip,
};

/// What a bridge has shown of itself.
#[derive(Debug)]
pub(super) struct View {
    contact: Contact,
    /// What its topics of interest begin with.
    prefix: String,
    /// It said so on this connection.
    online: bool,
    health: Option<Health>,
    /// How often it told its health.
    count: u64,
}

impl View {
    pub(super) fn new(base_topic: &str) -> Self {
        Self {
            contact: Contact::default(),
            prefix: format!("{base_topic}/bridge/"),
            online: false,
            health: None,
            count: 0,
        }
    }

    /// It is connected and said that it works.
    pub(super) fn is_online(&self) -> bool {
        self.contact.is_present() && self.online
    }

    /// It is connected, and has not said whether it works.
    pub(super) fn is_undecided(&self) -> bool {
        self.contact.is_present() && !self.online
    }

    /// How often it has told its health.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Its health, if it told that since it had told it so often.
    pub(super) fn newer_than(&self, count: u64) -> Option<Health> {
        self.health.clone().filter(|_| self.count > count)
    }
}

impl Picture for View {
    fn contact(&mut self) -> &mut Contact {
        &mut self.contact
    }

    fn forget(&mut self) {
        self.online = false;
        self.health = None;
    }

    fn message_elsewhere(
        &mut self,
        topic: &str,
        payload: &[u8],
        _now: Instant,
    ) -> Result<(), serde_json::Error> {
        match topic.strip_prefix(&self.prefix) {
            Some("state") => {
                if is_online(payload)? {
                    self.online = true;
                    self.contact.says_online();
                } else {
                    self.contact.says_offline();
                    self.forget();
                }
            }
            Some("response/restart") => {
                let response: Response = serde_json::from_slice(payload)?;
                let awaited = self.contact.awaited();
                let transaction = response.transaction.as_deref();
                if awaited.is_some() && transaction.and_then(|id| id.parse().ok()) == awaited {
                    self.contact.answered(match response.error() {
                        None => Answer::Accepted,
                        Some(error) => Answer::Refused(error),
                    });
                }
            }
            Some("response/health_check") => {
                let response: Response = serde_json::from_slice(payload)?;
                let healthy = response.data.as_ref().and_then(|data| data.healthy);
                self.health = Some(match (response.error(), healthy) {
                    (None, Some(true)) => Health::Healthy,
                    (None, _) => Health::Unhealthy("it says that it is not healthy".to_owned()),
                    (Some(error), _) => Health::Unhealthy(error),
                });
                self.count += 1;
                // Whoever answers is there: its state may be old news by now, which no broker repeats.
                self.online = true;
                self.contact.says_online();
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

/// Reads a state: `{"state":"online"}`, or `online` alone, as older ones have it.
fn is_online(payload: &[u8]) -> Result<bool, serde_json::Error> {
    #[derive(Deserialize)]
    struct State {
        state: String,
    }
    if payload.first() == Some(&b'{') {
        let state: State = serde_json::from_slice(payload)?;
        return Ok(state.state == "online");
    }
    Ok(payload == b"online")
}

#[derive(Debug, Deserialize)]
struct Response {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    transaction: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    #[serde(default)]
    healthy: Option<bool>,
}

impl Response {
    fn error(&self) -> Option<String> {
        let words = self.error.as_deref().unwrap_or(&self.status);
        (self.status != "ok").then(|| clip(words))
    }
}

/// Shows a view whatever a bridge may send: a topic, a line's end and a payload, and a zero byte before
/// the next. Panics when a promise does not hold.
pub(crate) fn fuzz(data: &[u8]) {
    let mut view = View::new("z");
    let now = Instant::now();
    for message in data.split(|byte| *byte == 0) {
        let mut parts = message.splitn(2, |byte| *byte == b'\n');
        let topic = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let _ = view.message_elsewhere(&topic, parts.next().unwrap_or_default(), now);
        assert!(!view.is_online(), "it is not connected");
        assert_eq!(view.contact().answer(), None, "nobody asked");
    }
}

#[cfg(test)]
#[path = "bridge/tests.rs"]
mod tests;
