//! The method `rebootWatch`: its caller learns of a device's next report without reading the twin
//! again and again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CallError, call::Fields};

/// The longest time that a gateway is asked to wait: the hub itself waits for five minutes at most.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// How long a gateway waits when the caller does not say: less than the hub waits by default.
const DEFAULT_WAIT: Duration = Duration::from_secs(25);

/// Asks to be told when the twin holds another report than this one.
///
/// It changes nothing, and it begins nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchCall {
    /// The number ([`super::Report::seq`]) of the newest report that the caller has; absent, what
    /// the twin holds when the call arrives.
    pub after: Option<u64>,
    /// How long to wait, in whole seconds.
    pub wait: Duration,
}

/// The answer: the number of the report that the twin holds, the caller's own when the time was up.
///
/// What the report says is for the twin to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAnswer {
    /// The report's number.
    pub seq: u64,
}

impl WatchCall {
    /// Reads a method's payload. Unknown fields are ignored: a newer caller may send more.
    pub fn from_payload(payload: &Value) -> Result<Self, CallError> {
        let fields = Fields::of(payload)?;
        fields.integer("v", 1, 1)?;
        Ok(Self {
            after: fields.integer("afterSeq", 0, u64::MAX)?,
            wait: fields
                .integer("timeoutSec", 1, MAX_WAIT.as_secs())?
                .map_or(DEFAULT_WAIT, Duration::from_secs),
        })
    }

    /// Writes a method's payload.
    pub fn to_payload(&self) -> Value {
        let mut payload = json!({ "v": 1, "timeoutSec": self.wait.as_secs() });
        if let Some(after) = self.after {
            payload["afterSeq"] = json!(after);
        }
        payload
    }
}

impl WatchAnswer {
    /// Writes the answer's body.
    pub fn to_payload(self) -> Value {
        json!(self)
    }

    /// Reads an answer's body; `None` when it is not ours.
    pub fn from_payload(payload: &Value) -> Option<Self> {
        Self::deserialize(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_caller_that_says_nothing_waits_for_the_next_report() {
        for payload in [
            json!(null),
            json!(""),
            json!({}),
            json!({ "afterSeq": null }),
        ] {
            let call = WatchCall::from_payload(&payload);
            assert_eq!(
                call,
                Ok(WatchCall {
                    after: None,
                    wait: DEFAULT_WAIT
                })
            );
        }
    }

    #[test]
    fn an_error_names_the_field() {
        for (payload, field) in [
            (json!([]), "payload"),
            (json!({ "v": 2 }), "v"),
            (json!({ "afterSeq": -1 }), "afterSeq"),
            (json!({ "afterSeq": "5" }), "afterSeq"),
            (json!({ "timeoutSec": 0 }), "timeoutSec"),
            (json!({ "timeoutSec": 301 }), "timeoutSec"),
        ] {
            let error = WatchCall::from_payload(&payload).unwrap_err();
            assert_eq!(error.field, field, "{error}");
        }
    }

    proptest! {
        #[test]
        fn reading_inverts_writing(after in any::<Option<u64>>(), wait in 1_u64..=300, seq: u64) {
            let call = WatchCall { after, wait: Duration::from_secs(wait) };
            prop_assert_eq!(WatchCall::from_payload(&call.to_payload()), Ok(call));
            let answer = WatchAnswer { seq };
            prop_assert_eq!(WatchAnswer::from_payload(&answer.to_payload()), Some(answer));
        }
    }
}
