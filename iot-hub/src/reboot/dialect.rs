//! How devices that follow a tutorial's conventions are driven and read.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{UnknownName, method};

/// Where a device tells that it has begun.
const STARTED: &[&str] = &["iothubDM", "reboot", "startedRebootTime"];

/// Where the tutorials' devices report a reboot, below the reported properties. A change of any of
/// these, by the hub's own `$lastUpdated`, is the device's claim; the text is not judged, for three
/// of the five dialects write local time without a zone.
pub const CLAIM_PATHS: [&[&str]; 4] = [
    &["iothubDM", "reboot", "lastReboot"],
    STARTED,
    &["lastReboot"],
    &["rebootTime"],
];

/// The conventions a device follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// This project's gateway.
    Native,
    /// The Node and .NET tutorials.
    Tutorial,
    /// The Java tutorial.
    TutorialJava,
    /// The Python tutorial.
    TutorialPython,
    /// The Node SDK's sample.
    SdkSample,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 5] = [
        Self::Native,
        Self::Tutorial,
        Self::TutorialJava,
        Self::TutorialPython,
        Self::SdkSample,
    ];

    /// The name in the twin tag `iothubDM.dialect`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tutorial => "tutorial",
            Self::TutorialJava => "tutorial-java",
            Self::TutorialPython => "tutorial-python",
            Self::SdkSample => "sdk-sample",
        }
    }

    /// The direct method that asks for a reboot.
    pub fn method(self) -> &'static str {
        match self {
            Self::Native | Self::Tutorial | Self::TutorialJava | Self::SdkSample => method::REBOOT,
            Self::TutorialPython => method::REBOOT_DEVICE,
        }
    }

    /// Says whether a device of this dialect recognises a request that it has had before. One that
    /// does not must never be sent a request again whose first sending may have arrived.
    pub fn dedupes(self) -> bool {
        self == Self::Native
    }

    /// Says whether a change of this one of [`CLAIM_PATHS`] claims a reboot. That a reboot has begun is a
    /// claim only of a device that says no more.
    pub fn claims_by(self, path: &[&str]) -> bool {
        (self == Self::SdkSample) == (path == STARTED)
    }

    /// Tells a device's dialect from its twin: the tag `iothubDM.dialect` where it is set, else the
    /// shape of what it has reported. `None` when it has reported nothing of the kind.
    pub fn detect(tags: &Map<String, Value>, reported: &Map<String, Value>) -> Option<Self> {
        let tag = tags
            .get("iothubDM")
            .and_then(|tag| tag.get("dialect"))
            .and_then(Value::as_str);
        if let Some(dialect) = tag.and_then(|name| name.parse().ok()) {
            return Some(dialect);
        }
        let reboot = reported.get("iothubDM").and_then(|root| root.get("reboot"));
        let has = |field: &str| reboot.is_some_and(|reboot| reboot.get(field).is_some());
        if has("schema") && has("capabilities") {
            Some(Self::Native)
        } else if has("lastReboot") {
            Some(Self::Tutorial)
        } else if has("startedRebootTime") {
            Some(Self::SdkSample)
        } else if reported.contains_key("rebootTime") {
            Some(Self::TutorialPython)
        } else if reported.contains_key("lastReboot") {
            Some(Self::TutorialJava)
        } else {
            None
        }
    }
}

impl FromStr for Dialect {
    type Err = UnknownName;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.name() == s)
            .ok_or(UnknownName)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(tags: Value, reported: Value, expected: Option<Dialect>) {
        let (tags, reported) = (tags.as_object().unwrap(), reported.as_object().unwrap());
        assert_eq!(Dialect::detect(tags, reported), expected);
    }

    #[test]
    fn a_dialect_is_told_from_the_tag_or_from_what_was_reported() {
        check(json!({}), json!({}), None);
        let native = json!({ "iothubDM": { "reboot": { "schema": 1, "capabilities": {} } } });
        check(json!({}), native.clone(), Some(Dialect::Native));
        check(
            json!({}),
            json!({ "iothubDM": { "reboot": { "lastReboot": "x" } } }),
            Some(Dialect::Tutorial),
        );
        let sample = json!({ "iothubDM": { "reboot": { "startedRebootTime": "x" } } });
        check(json!({}), sample, Some(Dialect::SdkSample));
        check(
            json!({}),
            json!({ "rebootTime": "x" }),
            Some(Dialect::TutorialPython),
        );
        check(
            json!({}),
            json!({ "lastReboot": "x" }),
            Some(Dialect::TutorialJava),
        );
        let tag = json!({ "iothubDM": { "dialect": "tutorial-python" } });
        check(tag, native.clone(), Some(Dialect::TutorialPython));
        check(
            json!({ "iothubDM": { "dialect": "klingon" } }),
            native,
            Some(Dialect::Native),
        );
    }

    #[test]
    fn the_start_is_a_claim_only_of_a_device_that_says_no_more() {
        for dialect in Dialect::ALL {
            let says_no_more = dialect == Dialect::SdkSample;
            let claims = CLAIM_PATHS.map(|path| dialect.claims_by(path));
            let started = CLAIM_PATHS.map(|path| path.ends_with(&["startedRebootTime"]));
            assert_eq!(claims, started.map(|started| started == says_no_more));
        }
    }

    #[test]
    fn names_in_json_are_the_tag_names() {
        for dialect in Dialect::ALL {
            assert_eq!(serde_json::to_value(dialect).unwrap(), dialect.name());
            assert_eq!(dialect.name().parse(), Ok(dialect));
        }
    }
}
