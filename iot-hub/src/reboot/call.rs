//! What a caller asks for: the payload of the direct method `reboot`, and of a queued request in
//! the twin's desired properties.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Grade, Mode, TraceParent};

/// The longest reason that is carried.
pub const MAX_REASON_CHARS: usize = 256;

/// The longest time a start may be put off.
pub const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// Identifies one request for a reboot, over every retry of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub Uuid);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

impl FromStr for RequestId {
    type Err = CallError;

    /// Reads the 36-character form only, so that one id has one spelling but for case.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let error = CallError {
            field: "requestId",
            rule: "must be a UUID of 36 characters",
        };
        if s.len() != 36 {
            return Err(error);
        }
        Uuid::try_parse(s).map(Self).map_err(|_| error)
    }
}

/// A request for a reboot.
///
/// A tutorial's caller sends nothing, `null`, `""` or a string that means nothing to us; all of
/// these ask for a graceful reboot at once, with no id of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RebootCall {
    /// Identifies the request. Absent from callers that do not know of it.
    pub request_id: Option<RequestId>,
    /// How to reboot.
    pub mode: Mode,
    /// How far to go, as far as the device's own policy goes too, where milder means were not enough.
    /// Absent, no further than `mode`.
    #[serde(default)]
    pub escalate_to: Option<Mode>,
    /// Go on although hooks failed.
    pub force: bool,
    /// Why, for the device's log.
    pub reason: String,
    /// Start at this moment.
    pub not_before: Option<Timestamp>,
    /// Start this long after the call arrives; wins over a moment.
    pub delay: Option<Duration>,
    /// Have ended by then.
    pub deadline: Option<Timestamp>,
    /// What has to hold for it to begin.
    pub preconditions: Preconditions,
    /// The least evidence that counts as success; absent, the device's own rule.
    pub required_grade: Option<Grade>,
    /// Refuse instead of waiting when something forbids the reboot.
    pub fail_if_blocked: bool,
    /// Go through everything but the command itself.
    pub dry_run: bool,
    /// The caller's place in a trace; one that is malformed counts as none.
    #[serde(default)]
    pub traceparent: Option<TraceParent>,
}

/// What has to hold for a reboot to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preconditions {
    /// The device's boot identity.
    pub boot_id: Option<String>,
    /// How long the device has been up, at least.
    pub min_uptime: Option<Duration>,
}

/// A payload that breaks the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct CallError {
    /// The field, as the payload spells it; `payload` for the whole.
    pub field: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl RebootCall {
    /// Reads a method's payload. Unknown fields are ignored: a newer caller may send more.
    pub fn from_payload(payload: &Value) -> Result<Self, CallError> {
        let fields = Fields::of(payload)?;
        fields.integer("v", 1, 1)?;
        let reason = fields.text("reason")?.unwrap_or_default();
        if reason.chars().count() > MAX_REASON_CHARS {
            return Err(CallError {
                field: "reason",
                rule: "must have at most 256 characters",
            });
        }
        let mode = fields.mode("mode")?.unwrap_or_default();
        let escalate_to = fields.mode("escalateTo")?;
        if escalate_to.is_some_and(|most| most < mode) {
            return Err(CallError {
                field: "escalateTo",
                rule: "must not be milder than mode",
            });
        }
        let max_delay = MAX_DELAY.as_secs();
        Ok(Self {
            request_id: fields.text("requestId")?.map(str::parse).transpose()?,
            mode,
            escalate_to,
            force: fields.flag("force")?,
            reason: reason.to_owned(),
            not_before: fields.time("notBefore")?,
            delay: fields
                .integer("delaySec", 0, max_delay)?
                .map(Duration::from_secs),
            deadline: fields.time("deadline")?,
            preconditions: Preconditions {
                boot_id: fields.text("ifBootId")?.map(str::to_owned),
                min_uptime: fields
                    .integer("ifUptimeAtLeastSec", 0, u64::from(u32::MAX))?
                    .map(Duration::from_secs),
            },
            required_grade: fields
                .integer("requiredGrade", 0, 5)?
                .and_then(|number| Grade::try_from(u8::try_from(number).ok()?).ok()),
            fail_if_blocked: fields.flag("failIfBlocked")?,
            dry_run: fields.flag("dryRun")?,
            traceparent: fields
                .get("traceparent")
                .and_then(|value| value.as_str()?.parse().ok()),
        })
    }

    /// Writes a method's payload.
    pub fn to_payload(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("v", json!(1));
        if let Some(id) = self.request_id {
            put("requestId", json!(id.to_string()));
        }
        put("mode", json!(self.mode.name()));
        if let Some(most) = self.escalate_to {
            put("escalateTo", json!(most.name()));
        }
        if self.force {
            put("force", json!(true));
        }
        if !self.reason.is_empty() {
            put("reason", json!(self.reason));
        }
        if let Some(at) = self.not_before {
            put("notBefore", json!(at.to_string()));
        }
        if let Some(delay) = self.delay {
            put("delaySec", json!(delay.as_secs()));
        }
        if let Some(at) = self.deadline {
            put("deadline", json!(at.to_string()));
        }
        if let Some(boot_id) = &self.preconditions.boot_id {
            put("ifBootId", json!(boot_id));
        }
        if let Some(uptime) = self.preconditions.min_uptime {
            put("ifUptimeAtLeastSec", json!(uptime.as_secs()));
        }
        if let Some(grade) = self.required_grade {
            put("requiredGrade", json!(u8::from(grade)));
        }
        if self.fail_if_blocked {
            put("failIfBlocked", json!(true));
        }
        if self.dry_run {
            put("dryRun", json!(true));
        }
        if let Some(traceparent) = self.traceparent {
            put("traceparent", json!(traceparent.to_string()));
        }
        Value::Object(fields)
    }

    /// Writes a queued request for the desired properties. They are merged, so what is absent from
    /// this request is null: nothing of an earlier one stays behind in it.
    pub fn to_desired(&self) -> Value {
        let mut request = self.to_payload();
        if let Value::Object(fields) = &mut request {
            for name in OPTIONAL {
                fields.entry(name).or_insert(Value::Null);
            }
        }
        request
    }
}

/// The fields that a payload may do without.
const OPTIONAL: [&str; 11] = [
    "escalateTo",
    "force",
    "reason",
    "notBefore",
    "delaySec",
    "deadline",
    "ifBootId",
    "ifUptimeAtLeastSec",
    "requiredGrade",
    "failIfBlocked",
    "dryRun",
];

/// Typed access to a payload's fields; an absent field and `null` are the same.
pub(super) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    /// Of a payload without an object there are none, as with callers that know of no fields.
    pub(super) fn of(payload: &'a Value) -> Result<Self, CallError> {
        match payload {
            Value::Null | Value::String(_) => Ok(Self(None)),
            Value::Object(fields) => Ok(Self(Some(fields))),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(CallError {
                field: "payload",
                rule: "must be an object, a string or null",
            }),
        }
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.0?.get(field).filter(|value| !value.is_null())
    }

    fn text(&self, field: &'static str) -> Result<Option<&'a str>, CallError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        value.as_str().map(Some).ok_or(CallError {
            field,
            rule: "must be a string",
        })
    }

    fn mode(&self, field: &'static str) -> Result<Option<Mode>, CallError> {
        let Some(name) = self.text(field)? else {
            return Ok(None);
        };
        name.parse().map(Some).map_err(|_| CallError {
            field,
            rule: "must be graceful, forced or powerCycle",
        })
    }

    fn flag(&self, field: &'static str) -> Result<bool, CallError> {
        let Some(value) = self.get(field) else {
            return Ok(false);
        };
        value.as_bool().ok_or(CallError {
            field,
            rule: "must be true or false",
        })
    }

    fn time(&self, field: &'static str) -> Result<Option<Timestamp>, CallError> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| CallError {
            field,
            rule: "must be an ISO 8601 time",
        })
    }

    pub(super) fn integer(
        &self,
        field: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, CallError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let number = value.as_u64().ok_or(CallError {
            field,
            rule: "must be an integer that is not negative",
        })?;
        if (min..=max).contains(&number) {
            Ok(Some(number))
        } else {
            Err(CallError {
                field,
                rule: "is out of range",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn refused(payload: Value, field: &str) {
        let error = RebootCall::from_payload(&payload).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }

    #[test]
    fn a_tutorial_caller_asks_for_a_plain_reboot() {
        for payload in [
            json!(null),
            json!(""),
            json!("{\"method_number\":\"42\"}"),
            json!({}),
        ] {
            assert_eq!(
                RebootCall::from_payload(&payload),
                Ok(RebootCall::default())
            );
        }
    }

    #[test]
    fn an_error_names_the_field_and_the_rule() {
        refused(json!(1), "payload");
        refused(json!([]), "payload");
        refused(json!(true), "payload");
        refused(json!({"v": 2}), "v");
        refused(json!({"requestId": "x"}), "requestId");
        refused(
            json!({"requestId": "00000000000000000000000000000001"}),
            "requestId",
        );
        refused(json!({"mode": "now"}), "mode");
        refused(json!({"escalateTo": "now"}), "escalateTo");
        refused(
            json!({"mode": "forced", "escalateTo": "graceful"}),
            "escalateTo",
        );
        refused(json!({"force": "yes"}), "force");
        refused(json!({"reason": "é".repeat(257)}), "reason");
        refused(json!({"notBefore": "tomorrow"}), "notBefore");
        refused(json!({"delaySec": -1}), "delaySec");
        refused(json!({"delaySec": 86_401}), "delaySec");
        refused(json!({"deadline": 5}), "deadline");
        refused(json!({"ifUptimeAtLeastSec": 1.5}), "ifUptimeAtLeastSec");
        refused(json!({"requiredGrade": 6}), "requiredGrade");
    }

    #[test]
    fn a_trace_context_is_carried_and_a_malformed_one_is_as_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let call = RebootCall::from_payload(&json!({ "traceparent": good })).unwrap();
        assert_eq!(call.traceparent, good.parse().ok());
        for bad in [json!(5), json!("x"), json!({}), json!("0".repeat(100_000))] {
            let call = RebootCall::from_payload(&json!({ "traceparent": bad })).unwrap();
            assert_eq!(call, RebootCall::default());
        }
        let mut journalled = serde_json::to_value(RebootCall::default()).unwrap();
        journalled.as_object_mut().unwrap().remove("traceparent");
        let call: RebootCall = serde_json::from_value(journalled).unwrap();
        assert_eq!(call, RebootCall::default(), "written before there were any");
    }

    prop_compose! {
        fn calls()(
            id in any::<Option<u128>>(),
            mode in prop::sample::select(Mode::ALL.to_vec()),
            most in prop::option::of(prop::sample::select(Mode::ALL.to_vec())),
            grade in prop::option::of(prop::sample::select(Grade::ALL.to_vec())),
            flags in any::<[bool; 3]>(),
            reason in "\\PC{0,40}",
            times in any::<[Option<u32>; 2]>(),
            spans in any::<[Option<u16>; 2]>(),
            boot_id in prop::option::of("[a-z0-9-]{1,36}"),
            trace in any::<Option<(std::num::NonZero<u128>, std::num::NonZero<u64>, u8)>>(),
        ) -> RebootCall {
            let time = |s: u32| Timestamp::from_second(i64::from(s)).unwrap();
            let span = |s: u16| Duration::from_secs(u64::from(s));
            RebootCall {
                request_id: id.map(|id| RequestId(Uuid::from_u128(id))),
                mode,
                escalate_to: most.filter(|most| *most >= mode),
                force: flags[0],
                reason,
                not_before: times[0].map(time),
                delay: spans[0].map(span),
                deadline: times[1].map(time),
                preconditions: Preconditions { boot_id, min_uptime: spans[1].map(span) },
                required_grade: grade,
                fail_if_blocked: flags[1],
                dry_run: flags[2],
                traceparent: trace.map(|(trace_id, span_id, flags)| TraceParent {
                    trace_id,
                    span_id,
                    flags,
                }),
            }
        }
    }

    proptest! {
        #[test]
        fn reading_inverts_writing(call in calls()) {
            prop_assert_eq!(RebootCall::from_payload(&call.to_payload()), Ok(call));
        }
    }
}
