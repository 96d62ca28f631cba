//! Patches of twins, and twins as a client reads them.

use iot_hub::twin::{Section, SectionKind, Twin, patch};
use jiff::Timestamp;
use serde_json::{Map, Value};

pub(crate) fn run(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Ok(twin) = Twin::from_value(&value) {
        assert_eq!(Twin::from_value(&twin.to_value()).as_ref(), Ok(&twin));
    }
    // A list is a history of patches.
    let patches = match value {
        Value::Array(patches) => patches,
        one => vec![one],
    };
    let patches: Vec<&Map<String, Value>> = patches.iter().filter_map(Value::as_object).collect();
    for kind in [SectionKind::Desired, SectionKind::Reported] {
        let mut section = Section::new(kind, Timestamp::UNIX_EPOCH);
        for patch in &patches {
            let before = section.clone();
            match section.patch(patch, Timestamp::UNIX_EPOCH) {
                Ok(version) => assert_eq!(version, before.version() + 1),
                Err(_) => assert_eq!(section, before),
            }
        }
        let written = section.to_value(true);
        assert_eq!(Section::from_value(kind, &written), Some(section));
    }
    let mut tags = Map::new();
    for change in patches {
        let _ = patch(SectionKind::Tags, &mut tags, change);
    }
}
