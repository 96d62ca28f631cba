//! Which topics a device may use.

use bytes::Bytes;

use super::Event;

/// The topics of a device outside its corner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Elsewhere {
    /// What those that it may use begin with.
    pub prefixes: Vec<String>,
    /// The ones that its driver listens to.
    pub heard: Vec<String>,
    /// A topic and a payload that make it say there that it is there; nothing for one that speaks the
    /// native contract.
    pub question: Option<(String, &'static str)>,
}

/// The topics of one device: those below `dm/{its id}/`, and what its protocol has names of its own for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics {
    /// What those of its corner begin with.
    own: String,
    /// What the others begin with.
    elsewhere: Elsewhere,
}

/// Where a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In the device's corner; without what its topics begin with.
    Own(&'a str),
    /// Where its protocol has it.
    Elsewhere(&'a str),
    /// Where the device has no business.
    Foreign,
}

impl Topics {
    pub(super) fn of(device: &str, elsewhere: Elsewhere) -> Self {
        Self {
            own: own_prefix(device),
            elsewhere,
        }
    }

    /// What the gateway listens to at a broker, but for what is on its way to the hub.
    pub(super) fn heard(&self) -> Vec<String> {
        let elsewhere = self.elsewhere.heard.iter().cloned();
        [self.own("#")].into_iter().chain(elsewhere).collect()
    }

    /// A topic and a payload that make it speak.
    pub(super) fn question(&self) -> (String, &'static str) {
        let own = || (self.own("cmd/birth"), r#"{"v":1}"#);
        self.elsewhere.question.clone().unwrap_or_else(own)
    }

    /// What is on its way to the hub.
    pub(super) fn for_hub(&self) -> Vec<String> {
        ["telemetry/#", "twin/reported"]
            .map(|name| self.own(name))
            .into()
    }

    /// What a message of the device is to the gateway. One on a foreign topic is nothing: a device that
    /// was made for another server tells things to others there.
    pub(super) fn event(&self, topic: &str, payload: &Bytes) -> Option<Event> {
        let payload = payload.clone();
        match self.place(topic) {
            Place::Own(name) => {
                let name = name.to_owned();
                Some(Event::Message { name, payload })
            }
            Place::Elsewhere(topic) => {
                let topic = topic.to_owned();
                Some(Event::Elsewhere { topic, payload })
            }
            Place::Foreign => None,
        }
    }

    /// A topic of its corner.
    pub(super) fn own(&self, name: &str) -> String {
        format!("{}{name}", self.own)
    }

    /// Where a topic is, or all that a filter may match.
    pub(super) fn place<'a>(&self, topic: &'a str) -> Place<'a> {
        let below = |prefix: &str| topic.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(name) = below(&self.own) {
            Place::Own(name)
        } else if self
            .elsewhere
            .prefixes
            .iter()
            .any(|prefix| below(prefix).is_some())
        {
            Place::Elsewhere(topic)
        } else {
            Place::Foreign
        }
    }

    /// The device was made for another server than this one, and knows nothing of its rules.
    pub(super) fn are_of_a_stranger(&self) -> bool {
        !self.elsewhere.prefixes.is_empty()
    }
}

/// What the topics of a device's corner begin with.
pub(crate) fn own_prefix(device: &str) -> String {
    format!("dm/{device}/")
}

/// The device whose corner a topic seems to be in.
pub(super) fn own_device(topic: &str) -> Option<&str> {
    let (device, _) = topic.strip_prefix("dm/")?.split_once('/')?;
    Some(device)
}
