//! The sections `[[fault]]`: faults as the admin API has them, spelled as settings are.

use daemon::settings::Section;
use serde_json::Map;

use super::devices::to_json;
use crate::faults::{self, Fault, Times};
use crate::fields::Fields;

/// The names that a fault may have, here and there.
const NAMES: [(&str, &str); 8] = [
    ("fault", "fault"),
    ("times", "times"),
    ("operation", "operation"),
    ("device", "device"),
    ("status", "status"),
    ("retry_after", "retryAfter"),
    ("by", "by"),
    ("how", "how"),
];

pub(super) fn read(mut section: Section) -> Option<(Fault, Times)> {
    let mut document = Map::new();
    for (key, name) in NAMES {
        if let Some(value) = section
            .take(key, "", |value| Some(to_json(value)))
            .optional()
        {
            document.insert(name.to_owned(), value);
        }
    }
    let mut mistakes = Vec::new();
    let mut fields = Fields::new(document, &mut mistakes);
    let found = faults::read(&mut fields);
    fields.finish();
    for mistake in &mistakes {
        let known = NAMES.iter().find(|(_, name)| *name == mistake.field);
        let key = known.map_or(mistake.field.as_str(), |(key, _)| key);
        let given = mistake.given.as_deref().unwrap_or_default();
        section.mistake(key, given, &mistake.expected);
    }
    found
}
