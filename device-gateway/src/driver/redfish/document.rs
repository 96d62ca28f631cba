//! What the documents of a Redfish service mean. Nothing in them is taken for granted: a value that is
//! missing, or of another kind, is none.

use std::fmt;

use iot_hub::reboot::Mode;
use jiff::Timestamp;
use serde_json::Value;

use crate::driver::{Health, http::client::path_of, reading::clip};

/// How far a boot has got whose operating system says that it runs.
pub(super) const OS_RUNNING: &str = "OSRunning";

/// The states of the power in which no system runs.
const WITHOUT_POWER: [&str; 4] = ["Off", "PoweringOn", "PoweringOff", "Paused"];

/// No time before the year 2000 is one: it comes from a clock that nobody set.
const EARLIEST: Timestamp = Timestamp::constant(946_684_800, 0);

/// The modes, each with what Redfish calls it.
const RESETS: [(Mode, &str); 3] = [
    (Mode::Graceful, "GracefulRestart"),
    (Mode::Forced, "ForceRestart"),
    (Mode::PowerCycle, "PowerCycle"),
];

/// A computer, as its BMC shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    power: Option<String>,
    /// How far its boot has got.
    progress: Option<String>,
    pub(super) last_reset: Option<Timestamp>,
    pub(super) health: Health,
    pub(super) reset: Option<Reset>,
}

/// How a system is reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reset {
    /// Where to.
    pub(super) target: String,
    /// The kinds that are offered.
    pub(super) allowed: Option<Vec<String>>,
    /// The document that tells them otherwise.
    pub(super) info: Option<String>,
}

impl System {
    pub(super) fn of(document: &Value) -> Self {
        let word = |pointer| Some(clip(document.pointer(pointer)?.as_str()?));
        let last_reset = document["LastResetTime"].as_str();
        Self {
            power: word("/PowerState"),
            progress: word("/BootProgress/LastState"),
            last_reset: last_reset
                .and_then(|time| time.parse().ok())
                .filter(|time| *time >= EARLIEST),
            health: match document.pointer("/Status/Health").and_then(Value::as_str) {
                Some("OK" | "Warning") => Health::Healthy,
                Some(health) => Health::Unhealthy(format!("its health is {}", clip(health))),
                None => Health::Unknown,
            },
            reset: Reset::of(&document["Actions"]["#ComputerSystem.Reset"]),
        }
    }

    /// Why it certainly does not run; `ran_os` says that it was known to have booted before.
    pub(super) fn why_away(&self, ran_os: bool) -> Option<String> {
        if let Some(power) = &self.power
            && WITHOUT_POWER.contains(&power.as_str())
        {
            return Some(format!("its power is {power}"));
        }
        match &self.progress {
            Some(progress) if ran_os && progress != OS_RUNNING => {
                Some(format!("its boot has got to {progress}"))
            }
            Some(_) | None => None,
        }
    }

    /// The boot that it is in, by the time of its last reset.
    pub(super) fn boot_id(&self) -> Option<String> {
        self.last_reset.map(|time| time.to_string())
    }

    /// The same as far as it can be compared with the one of before. A clock that went back names no
    /// boot; nor does a time that stayed, of a system that was seen down: its BMC does not keep it.
    pub(super) fn boot_since(&self, before: Option<&str>, went_away: bool) -> Option<String> {
        let now = self.last_reset?;
        let before = before.and_then(|before| before.parse::<Timestamp>().ok());
        let tells = before.is_none_or(|before| now > before || (now == before && !went_away));
        tells.then(|| now.to_string())
    }
}

/// The same for a person.
impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.last_reset.map(|time| format!("last reset {time}")),
            self.power.as_ref().map(|power| format!("power {power}")),
            self.progress.clone(),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        if words.is_empty() {
            return f.write_str("its BMC answers");
        }
        f.write_str(&words.join(", "))
    }
}

impl Reset {
    fn of(action: &Value) -> Option<Self> {
        let text = |name: &str| action[name].as_str().map(str::to_owned);
        Some(Self {
            target: text("target")?,
            allowed: texts(&action["ResetType@Redfish.AllowableValues"]),
            info: text("@Redfish.ActionInfo"),
        })
    }
}

/// Where a link of that name leads.
pub(super) fn link(document: &Value, name: &str) -> Option<String> {
    document[name]["@odata.id"].as_str().map(str::to_owned)
}

/// Where the members of a collection are.
pub(super) fn members(collection: &Value) -> Vec<String> {
    let members = collection["Members"].as_array().into_iter().flatten();
    members
        .filter_map(|member| member["@odata.id"].as_str())
        .map(str::to_owned)
        .collect()
}

/// Takes the member of that name, or the only one.
pub(super) fn choose(members: Vec<String>, named: Option<&str>) -> Result<String, String> {
    let name_of = |path: &String| {
        let path = path.trim_end_matches('/');
        path.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let names: Vec<_> = members.iter().map(name_of).collect();
    let index = match named {
        Some(named) => names.iter().position(|name| name == named),
        None => (names.len() == 1).then_some(0),
    };
    let chosen = index.and_then(|index| members.into_iter().nth(index));
    chosen.ok_or_else(|| {
        let wanted = named.map_or("one system".to_owned(), |named| {
            format!("the system {named}")
        });
        let found = match names.as_slice() {
            [] => "none".to_owned(),
            names => clip(&names.join(", ")),
        };
        format!("there has to be {wanted}, and there is {found}")
    })
}

/// The kinds of reset that an `ActionInfo` tells.
pub(super) fn allowed(info: &Value) -> Option<Vec<String>> {
    let parameters = info["Parameters"].as_array()?;
    let kind = parameters
        .iter()
        .find(|parameter| parameter["Name"] == "ResetType")?;
    texts(&kind["AllowableValues"])
}

/// The modes that these kinds of reset offer; a BMC that tells none is asked for any.
pub(super) fn modes(allowed: Option<&[String]>) -> Vec<Mode> {
    let offered = |kind: &str| allowed.is_none_or(|allowed| allowed.iter().any(|it| it == kind));
    let offered = RESETS.iter().filter(|(_, kind)| offered(kind));
    offered.map(|(mode, _)| *mode).collect()
}

/// What Redfish calls a mode.
pub(super) fn reset_type(mode: Mode) -> &'static str {
    let named = RESETS.iter().find(|(known, _)| *known == mode);
    named.map_or("", |(_, kind)| kind)
}

/// Why a service says no, in its own words.
pub(super) fn error(document: &Value) -> Option<String> {
    let error = &document["error"];
    let extended = error.pointer("/@Message.ExtendedInfo/0/Message");
    let words = extended.and_then(Value::as_str);
    words.or(error["message"].as_str()).map(clip)
}

/// What a task says of itself.
pub(super) fn task(document: &Value) -> Option<String> {
    let state = document["TaskState"].as_str()?;
    let message = document
        .pointer("/Messages/0/Message")
        .and_then(Value::as_str);
    Some(match message {
        Some(message) => clip(&format!("task {state}: {message}")),
        None => clip(&format!("task {state}")),
    })
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let values = value.as_array()?.iter();
    Some(
        values
            .filter_map(|value| Some(value.as_str()?.to_owned()))
            .collect(),
    )
}

/// Reads any bytes as a document.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(document) = serde_json::from_slice(data) {
        take(&document, &String::from_utf8_lossy(data));
    }
}

/// Takes a document, and a text of the service, for all that they could be.
fn take(document: &Value, text: &str) {
    let system = System::of(document);
    assert!(!system.to_string().contains(char::is_control));
    let _ = (system.why_away(true), system.boot_since(Some(text), true));
    let _ = (link(document, text), error(document), task(document));
    let _ = (path_of(text), modes(allowed(document).as_deref()));
    let _ = choose(members(document), Some(text));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn system(document: Value) -> System {
        System::of(&document)
    }

    #[test]
    fn a_clock_that_nobody_set_tells_no_reset() {
        for time in [
            "0000-00-00T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "1970-01-01T00:05:00Z",
            "2026-01-01T00:00:00",
            "soon",
        ] {
            assert_eq!(
                system(json!({ "LastResetTime": time })).boot_id(),
                None,
                "{time}"
            );
        }
        let shifted = system(json!({ "LastResetTime": "2026-01-01T01:00:00+01:00" }));
        assert_eq!(shifted.boot_id().as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn only_a_time_that_grew_names_another_boot() {
        const BEFORE: &str = "2026-01-02T00:00:00Z";
        let boot = |time: &str, before, went_away| {
            system(json!({ "LastResetTime": time })).boot_since(before, went_away)
        };
        for went_away in [false, true] {
            assert_eq!(boot("2026-01-01T00:00:00Z", Some(BEFORE), went_away), None);
            let grown = boot("2026-01-03T00:00:00Z", Some(BEFORE), went_away);
            assert_eq!(grown.as_deref(), Some("2026-01-03T00:00:00Z"));
        }
        assert_eq!(boot(BEFORE, Some(BEFORE), false).as_deref(), Some(BEFORE));
        assert_eq!(boot(BEFORE, Some(BEFORE), true), None);
        assert_eq!(boot(BEFORE, None, true).as_deref(), Some(BEFORE));
    }

    #[test]
    fn a_system_is_away_without_power_and_before_its_boot_got_where_it_was() {
        let away = |power: Value, progress: Value, ran_os| {
            let document =
                json!({ "PowerState": power, "BootProgress": { "LastState": progress } });
            system(document).why_away(ran_os).is_some()
        };
        for power in WITHOUT_POWER {
            assert!(away(json!(power), json!(OS_RUNNING), false), "{power}");
        }
        for known in [json!("On"), json!("Odd"), Value::Null] {
            assert!(!away(known.clone(), json!(OS_RUNNING), true));
            assert!(!away(known.clone(), Value::Null, true));
            assert!(away(known.clone(), json!("OSBootStarted"), true));
            assert!(!away(known, json!("OSBootStarted"), false));
        }
    }

    #[test]
    fn the_modes_are_what_the_bmc_allows() {
        let kinds = |kinds: &[&str]| {
            kinds
                .iter()
                .map(|kind| (*kind).to_owned())
                .collect::<Vec<_>>()
        };
        let all = [Mode::Graceful, Mode::Forced, Mode::PowerCycle];
        assert_eq!(modes(None), all);
        assert_eq!(modes(Some(&kinds(&["On", "ForceRestart"]))), [Mode::Forced]);
        assert_eq!(modes(Some(&[])), []);
        for mode in all {
            assert_eq!(modes(Some(&kinds(&[reset_type(mode)]))), [mode]);
        }
        let info = json!({ "Parameters": [
            { "Name": "Other", "AllowableValues": ["PowerCycle"] },
            { "Name": "ResetType", "AllowableValues": ["GracefulRestart", 7] },
        ] });
        assert_eq!(allowed(&info), Some(kinds(&["GracefulRestart"])));
    }

    #[test]
    fn the_system_is_the_named_one_or_the_only_one() {
        let paths = |names: &[&str]| names.iter().map(|name| format!("/s/{name}")).collect();
        let chosen = |names: &[&str], named| choose(paths(names), named);
        assert_eq!(chosen(&["1"], None), Ok("/s/1".to_owned()));
        assert_eq!(chosen(&["1", "2/"], Some("2")), Ok("/s/2/".to_owned()));
        for (names, named, told) in [
            (
                &[][..],
                None,
                "there has to be one system, and there is none",
            ),
            (
                &["1", "2"],
                None,
                "there has to be one system, and there is 1, 2",
            ),
            (
                &["1"],
                Some("2"),
                "there has to be the system 2, and there is 1",
            ),
        ] {
            assert_eq!(chosen(names, named), Err(told.to_owned()));
        }
    }

    /// Any JSON, with the names and words that mean something more often than by chance.
    fn documents() -> impl Strategy<Value = Value> {
        let word = proptest::sample::select(vec![
            "PowerState",
            "On",
            "Off",
            "BootProgress",
            "LastState",
            OS_RUNNING,
            "LastResetTime",
            "2026-01-01T00:00:00Z",
            "Actions",
            "#ComputerSystem.Reset",
            "target",
            "Parameters",
            "ResetType@Redfish.AllowableValues",
            "@Redfish.ActionInfo",
            "Members",
            "@odata.id",
            "Status",
            "Health",
            "error",
            "message",
            "@Message.ExtendedInfo",
            "TaskState",
            "Name",
            "Messages",
            "Message",
            "/",
            "//x",
            "://",
            "",
        ]);
        let text = prop_oneof![word.prop_map(str::to_owned), any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_document_breaks_a_reader(document in documents(), text: String) {
            take(&document, &text);
        }
    }
}
