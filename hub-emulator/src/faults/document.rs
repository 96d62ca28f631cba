//! Faults as documents: what the admin API and the configuration file say, and what is shown of
//! them.
//!
//! ```json
//! {"fault": "answer", "operation": "methodCall", "device": "d1", "status": 429, "retryAfter": "7s", "times": 2}
//! ```
//!
//! Without `times` a fault lasts until it is removed.

use std::time::Duration;

use iot_hub::identity::DeviceId;
use serde_json::{Map, Value, json};

use super::{ConnectRefusal, Fault, InjectedFault, Operation, Times};
use crate::fields::{Fields, print, print_signed};

/// Longer than any test or demonstration lasts.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks are found to be wrong by years.
const CENTURY: Duration = Duration::from_secs(3_155_760_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Answer,
    Delay,
    RefuseConnect,
    WithholdAcks,
    WithholdTwinAnswers,
    LoseMethodAnswer,
    RedeliverMethod,
    SkewClock,
    DelayQueries,
}

const KINDS: [(&str, Kind); 9] = [
    ("answer", Kind::Answer),
    ("delay", Kind::Delay),
    ("refuseConnect", Kind::RefuseConnect),
    ("withholdAcks", Kind::WithholdAcks),
    ("withholdTwinAnswers", Kind::WithholdTwinAnswers),
    ("loseMethodAnswer", Kind::LoseMethodAnswer),
    ("redeliverMethod", Kind::RedeliverMethod),
    ("skewClock", Kind::SkewClock),
    ("delayQueries", Kind::DelayQueries),
];

const OPERATIONS: [(&str, Operation); 10] = [
    ("serviceTwinRead", Operation::ServiceTwinRead),
    ("serviceTwinUpdate", Operation::ServiceTwinUpdate),
    ("methodCall", Operation::MethodCall),
    ("query", Operation::Query),
    ("job", Operation::Job),
    ("configuration", Operation::Configuration),
    ("registry", Operation::Registry),
    ("deviceTwinRead", Operation::DeviceTwinRead),
    ("deviceTwinUpdate", Operation::DeviceTwinUpdate),
    ("registration", Operation::Registration),
];

const REFUSALS: [(&str, ConnectRefusal); 3] = [
    ("serverUnavailable", ConnectRefusal::ServerUnavailable),
    ("notAuthorized", ConnectRefusal::NotAuthorized),
    ("close", ConnectRefusal::Close),
];

/// Reads a fault and how often it takes effect.
pub(crate) fn read(fields: &mut Fields<'_>) -> Option<(Fault, Times)> {
    let words = KINDS.map(|(word, _)| word).join(", ");
    let expected = format!("one of {words}");
    let kind = fields.demand("fault", &expected, |fields, key| fields.choice(key, &KINDS));
    let Some(kind) = kind else {
        // What else belongs here depends on it.
        fields.ignore_the_rest();
        return None;
    };
    let times = match fields.count("times", 1, u64::MAX) {
        None => Times::Always,
        Some(times) => Times::Next(times),
    };
    Some((read_kind(kind, fields)?, times))
}

fn read_kind(kind: Kind, fields: &mut Fields<'_>) -> Option<Fault> {
    let operation = |fields: &mut Fields<'_>| fields.choice("operation", &OPERATIONS);
    let device = |fields: &mut Fields<'_>| fields.parsed::<DeviceId>("device", DEVICE);
    let one_device =
        |fields: &mut Fields<'_>| fields.demand("device", DEVICE, |fields, _| device(fields));
    Some(match kind {
        Kind::Answer => {
            let (operation, device) = (operation(fields), device(fields));
            let retry_after = fields.duration("retry_after", DAY);
            let status = fields.demand("status", "a status from 400 to 599", |fields, key| {
                fields.count(key, 400, 599)
            });
            Fault::Answer {
                operation,
                device,
                status: u16::try_from(status?).ok()?,
                retry_after,
            }
        }
        Kind::Delay => Fault::Delay {
            operation: operation(fields),
            device: device(fields),
            by: read_by(fields)?,
        },
        Kind::RefuseConnect => {
            let device = device(fields);
            let how = fields.choice("how", &REFUSALS);
            Fault::RefuseConnect {
                device,
                refusal: how.unwrap_or(ConnectRefusal::ServerUnavailable),
            }
        }
        Kind::WithholdAcks => Fault::WithholdAcks {
            device: one_device(fields)?,
        },
        Kind::WithholdTwinAnswers => Fault::WithholdTwinAnswers {
            device: one_device(fields)?,
        },
        Kind::LoseMethodAnswer => Fault::LoseMethodAnswer {
            device: device(fields),
        },
        Kind::RedeliverMethod => Fault::RedeliverMethod {
            device: device(fields),
        },
        Kind::SkewClock => {
            let device = device(fields);
            let by = fields.demand(
                "by",
                "a duration, such as \"10m\" or \"-1h\"",
                |fields, key| fields.signed_duration(key, CENTURY),
            );
            Fault::SkewClock { device, by: by? }
        }
        Kind::DelayQueries => Fault::DelayQueries {
            by: read_by(fields)?,
        },
    })
}

const DEVICE: &str = "a device's id";

fn read_by(fields: &mut Fields<'_>) -> Option<Duration> {
    fields.demand("by", "a duration, such as \"250ms\"", |fields, key| {
        fields.duration(key, DAY)
    })
}

impl InjectedFault {
    /// What is shown of it. Without `id` and `fired` it is what was asked for.
    pub(crate) fn to_value(&self) -> Value {
        let mut document = self.fault.to_document();
        document.insert("id".to_owned(), json!(self.id.0));
        document.insert("fired".to_owned(), json!(self.fired));
        if let Times::Next(times) = self.times {
            document.insert("times".to_owned(), json!(times));
        }
        document.into()
    }
}

impl Fault {
    fn to_document(&self) -> Map<String, Value> {
        let (kind, details) = match self {
            Self::Answer {
                operation,
                device,
                status,
                retry_after,
            } => (
                Kind::Answer,
                json!({
                    "operation": operation.map(|operation| word(&OPERATIONS, operation)),
                    "device": device,
                    "status": status,
                    "retryAfter": retry_after.map(print),
                }),
            ),
            Self::Delay {
                operation,
                device,
                by,
            } => (
                Kind::Delay,
                json!({
                    "operation": operation.map(|operation| word(&OPERATIONS, operation)),
                    "device": device,
                    "by": print(*by),
                }),
            ),
            Self::RefuseConnect { device, refusal } => (
                Kind::RefuseConnect,
                json!({"device": device, "how": word(&REFUSALS, *refusal)}),
            ),
            Self::WithholdAcks { device } => (Kind::WithholdAcks, json!({"device": device})),
            Self::WithholdTwinAnswers { device } => {
                (Kind::WithholdTwinAnswers, json!({"device": device}))
            }
            Self::LoseMethodAnswer { device } => {
                (Kind::LoseMethodAnswer, json!({"device": device}))
            }
            Self::RedeliverMethod { device } => (Kind::RedeliverMethod, json!({"device": device})),
            Self::SkewClock { device, by } => (
                Kind::SkewClock,
                json!({"device": device, "by": print_signed(*by)}),
            ),
            Self::DelayQueries { by } => (Kind::DelayQueries, json!({"by": print(*by)})),
        };
        let mut document = Map::from_iter([("fault".to_owned(), json!(word(&KINDS, kind)))]);
        let details = details.as_object().into_iter().flatten();
        let details = details.filter(|(_, value)| !value.is_null());
        document.extend(details.map(|(name, value)| (name.clone(), value.clone())));
        document
    }
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], meaning: T) -> Option<&'static str> {
    let found = words.iter().find(|(_, known)| *known == meaning)?;
    Some(found.0)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::super::FaultId;
    use super::*;

    fn parse(document: Map<String, Value>) -> Result<(Fault, Times), Vec<String>> {
        let mut mistakes = Vec::new();
        let mut fields = Fields::new(document, &mut mistakes);
        let found = read(&mut fields);
        fields.finish();
        match found {
            Some(found) if mistakes.is_empty() => Ok(found),
            Some(_) | None => Err(mistakes.iter().map(ToString::to_string).collect()),
        }
    }

    fn durations() -> impl Strategy<Value = Duration> {
        (0..=DAY.as_millis() as u64).prop_map(Duration::from_millis)
    }

    fn faults() -> impl Strategy<Value = Fault> {
        let device = || proptest::option::of("[a-z]{1,9}".prop_map(|id| id.parse().unwrap()));
        let one_device = || "[a-z]{1,9}".prop_map(|id| id.parse::<DeviceId>().unwrap());
        let operation = || proptest::option::of(proptest::sample::select(&OPERATIONS[..]));
        let operation = move || operation().prop_map(|found| found.map(|(_, operation)| operation));
        prop_oneof![
            (
                operation(),
                device(),
                400..600_u16,
                proptest::option::of(durations())
            )
                .prop_map(|(operation, device, status, retry_after)| Fault::Answer {
                    operation,
                    device,
                    status,
                    retry_after
                }),
            (operation(), device(), durations()).prop_map(|(operation, device, by)| {
                Fault::Delay {
                    operation,
                    device,
                    by,
                }
            }),
            (device(), proptest::sample::select(&REFUSALS[..])).prop_map(|(device, refusal)| {
                Fault::RefuseConnect {
                    device,
                    refusal: refusal.1,
                }
            }),
            one_device().prop_map(|device| Fault::WithholdAcks { device }),
            one_device().prop_map(|device| Fault::WithholdTwinAnswers { device }),
            device().prop_map(|device| Fault::LoseMethodAnswer { device }),
            device().prop_map(|device| Fault::RedeliverMethod { device }),
            (device(), -1_000_000_i64..1_000_000).prop_map(|(device, seconds)| Fault::SkewClock {
                device,
                by: SignedDuration::from_secs(seconds),
            }),
            durations().prop_map(|by| Fault::DelayQueries { by }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_injected_again(fault in faults(), times in proptest::option::of(1_u64..)) {
            let times = times.map_or(Times::Always, Times::Next);
            let injected = InjectedFault { id: FaultId(1), fault, times, fired: 3 };
            let Value::Object(mut document) = injected.to_value() else { panic!("an object") };
            document.remove("id");
            document.remove("fired");
            prop_assert_eq!(parse(document).unwrap(), (injected.fault, injected.times));
        }
    }

    #[test]
    fn what_is_wrong_is_said_all_at_once() {
        #[track_caller]
        fn check(document: Value, expected: &[&str]) {
            let document = document.as_object().cloned().unwrap();
            assert_eq!(parse(document).unwrap_err(), expected);
        }
        let kinds = "answer, delay, refuseConnect, withholdAcks, withholdTwinAnswers, \
            loseMethodAnswer, redeliverMethod, skewClock, delayQueries";
        check(
            json!({"status": 500}),
            &[&format!("fault: expected one of {kinds}")],
        );
        check(
            json!({"fault": "flood"}),
            &[&format!("fault = \"flood\": expected one of {kinds}")],
        );
        check(
            json!({"fault": "answer", "times": 0, "device": "a b", "opration": "query"}),
            &[
                "times = 0: expected a whole number from 1",
                "device = \"a b\": expected a device's id",
                "status: expected a status from 400 to 599",
                "opration: expected no such name",
            ],
        );
        check(
            json!({"fault": "delay", "by": "soon"}),
            &["by = \"soon\": expected a duration up to 1day, such as \"1m 30s\" or \"250ms\""],
        );
        check(
            json!({"fault": "withholdAcks"}),
            &["device: expected a device's id"],
        );
        check(
            json!({"fault": "skewClock", "by": 5}),
            &["by = 5: expected a duration up to 100years, such as \"10m\" or \"-1h\""],
        );
    }
}
