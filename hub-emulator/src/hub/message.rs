//! A message from the cloud to a device, as a service sends it.

use bytes::Bytes;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::DeviceId;
use iot_hub::topic::PropertyBag;
use jiff::Timestamp;

/// The largest message: payload, names and values together.
const MAX_BYTES: usize = 64 * 1024;
/// The properties travel in the topic, which has at most 65,535 bytes and holds the device's id too.
const MAX_TOPIC: usize = 65_000;

/// A message for a device. It waits for the device until it expires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudToDeviceMessage {
    /// What the sender knows the message by.
    pub message_id: Option<String>,
    /// The message that this one answers.
    pub correlation_id: Option<String>,
    /// Who sent it.
    pub user_id: Option<String>,
    /// The kind of payload.
    pub content_type: Option<String>,
    /// How the payload is encoded.
    pub content_encoding: Option<String>,
    /// When it need not be delivered any more; the hub's default is an hour after it was sent, its
    /// limit two days.
    pub expiry: Option<Timestamp>,
    /// What the sender wants to hear of its fate. The device sees the wish, too.
    pub feedback: Option<Feedback>,
    /// The sender's own properties, in their order; one without a value is written as its name.
    pub properties: Vec<(String, Option<String>)>,
    /// The body.
    pub payload: Bytes,
}

/// Of which ends of a message its sender wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Of none.
    None,
    /// That the device took it.
    Positive,
    /// That it expired or could not be delivered.
    Negative,
    /// Of both.
    Full,
}

impl CloudToDeviceMessage {
    /// The properties as the device reads them in the topic.
    pub(super) fn bag(&self, device: &DeviceId) -> Result<PropertyBag, HubError> {
        let to = format!("/devices/{device}/messages/deviceBound");
        let expiry = self.expiry.map(|expiry| expiry.to_string());
        let feedback = self.feedback.map(|feedback| feedback.as_str().to_owned());
        let system = [
            ("$.mid", self.message_id.clone()),
            ("$.cid", self.correlation_id.clone()),
            ("$.uid", self.user_id.clone()),
            ("$.to", Some(to)),
            ("$.ct", self.content_type.clone()),
            ("$.ce", self.content_encoding.clone()),
            ("$.exp", expiry),
            ("iothub-ack", feedback),
        ];
        let system = system.into_iter().filter(|(_, value)| value.is_some());
        let system = system.map(|(name, value)| (name.to_owned(), value));

        let mut bag = PropertyBag::default();
        for (name, value) in system.chain(self.properties.iter().cloned()) {
            bag.push(name, value)
                .map_err(|error| HubError::new(ErrorCode::ArgumentInvalid, error.to_string()))?;
        }
        let bytes: usize = bag
            .iter()
            .map(|(name, value)| name.len() + value.unwrap_or_default().len())
            .sum();
        if bytes + self.payload.len() > MAX_BYTES || bag.to_string().len() > MAX_TOPIC {
            return Err(HubError::new(
                ErrorCode::MessageTooLarge,
                format!("a message to a device has at most {MAX_BYTES} bytes"),
            ));
        }
        Ok(bag)
    }
}

impl Feedback {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Full => "full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceId {
        "dev1".parse().unwrap()
    }

    #[test]
    fn the_bag_is_written_as_the_hub_writes_it() {
        let message = CloudToDeviceMessage {
            message_id: Some("abc".to_owned()),
            content_type: Some("text/plain".to_owned()),
            feedback: Some(Feedback::Full),
            properties: vec![
                ("prop1".to_owned(), Some("val".to_owned())),
                ("k".to_owned(), None),
                ("e".to_owned(), Some(String::new())),
            ],
            ..CloudToDeviceMessage::default()
        };
        let expected = "%24.mid=abc&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound\
            &%24.ct=text%2Fplain&iothub-ack=full&prop1=val&k&e=";
        assert_eq!(message.bag(&device()).unwrap().to_string(), expected);
    }

    #[test]
    fn what_is_too_large_or_nameless_is_refused() {
        #[track_caller]
        fn check(properties: &[(&str, usize)], payload: usize, expected: Option<ErrorCode>) {
            let own = |(name, length): &(&str, usize)| {
                ((*name).to_owned(), Some("\u{1}".repeat(*length)))
            };
            let message = CloudToDeviceMessage {
                properties: properties.iter().map(own).collect(),
                payload: vec![0; payload].into(),
                ..CloudToDeviceMessage::default()
            };
            let refused = message.bag(&device()).err();
            assert_eq!(refused.and_then(|error| error.code), expected);
        }
        // `$.to` and its value take 38 bytes.
        check(&[], MAX_BYTES - 38, None);
        check(&[], MAX_BYTES - 37, Some(ErrorCode::MessageTooLarge));
        check(&[("a", 21_000)], 0, None);
        check(&[("a", 22_000)], 0, Some(ErrorCode::MessageTooLarge));
        check(&[("", 1)], 0, Some(ErrorCode::ArgumentInvalid));
    }
}
