//! The desired properties as the hub has them, put together from the twin and its changes.

use iot_hub::twin;
use serde_json::{Map, Value};

/// The desired properties.
#[derive(Debug, Default)]
pub(super) struct Desired {
    version: Option<u64>,
    properties: Map<String, Value>,
}

impl Desired {
    /// Takes in the whole of them. Returns whether that is news.
    pub(super) fn on_twin(&mut self, mut desired: Map<String, Value>) -> bool {
        let version = desired
            .remove("$version")
            .and_then(|version| version.as_u64());
        desired.remove("$metadata");
        // A read that was answered before a change that we were told of meanwhile is old.
        if version < self.version {
            return false;
        }
        self.version = version;
        // A map that was emptied keeps its room, and most devices have nothing desired of them.
        self.properties = match desired.is_empty() {
            true => Map::new(),
            false => desired,
        };
        true
    }

    /// Takes in a change. Returns whether that is news.
    pub(super) fn on_patch(&mut self, version: u64, mut patch: Map<String, Value>) -> bool {
        if self.version.is_none_or(|known| version <= known) {
            // The twin that is being read has it.
            return false;
        }
        patch.remove("$version");
        patch.remove("$metadata");
        self.version = Some(version);
        twin::merge(&mut self.properties, &patch);
        true
    }

    /// Forgets what it knows: while the device was away it was told of no changes.
    pub(super) fn on_down(&mut self) {
        self.version = None;
    }

    /// The version and all of them.
    pub(super) fn all(&self) -> (Option<u64>, &Map<String, Value>) {
        (self.version, &self.properties)
    }

    /// The queued request for a reboot.
    pub(super) fn reboot(&self) -> Option<Map<String, Value>> {
        let reboot = self.properties.get("iothubDM")?.get("reboot")?;
        reboot.as_object().cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn asked(id: &str) -> Value {
        json!({ "iothubDM": { "reboot": { "requestId": id } } })
    }

    #[test]
    fn a_request_is_put_together_from_twin_and_changes() {
        let mut desired = Desired::default();
        assert!(
            !desired.on_patch(3, document(asked("early"))),
            "the twin comes first"
        );
        let mut twin = document(asked("a"));
        twin.insert("$version".into(), json!(4));
        assert!(desired.on_twin(twin.clone()));
        assert_eq!(desired.reboot().unwrap()["requestId"], "a");

        let more = json!({ "iothubDM": { "reboot": { "mode": "forced" } }, "$version": 5 });
        assert!(desired.on_patch(5, document(more)));
        let expected = json!({ "requestId": "a", "mode": "forced" });
        assert_eq!(desired.reboot(), Some(document(expected)));

        assert!(!desired.on_patch(5, document(asked("again"))));
        assert!(!desired.on_twin(twin), "older than the change");
        assert!(desired.on_patch(6, document(json!({ "iothubDM": null }))));
        assert_eq!(desired.reboot(), None);
    }

    #[test]
    fn after_an_absence_the_twin_decides() {
        let mut desired = Desired::default();
        let mut twin = document(asked("a"));
        twin.insert("$version".into(), json!(4));
        desired.on_twin(twin);
        desired.on_down();
        // The hub may have been restored, with fewer versions.
        let mut twin = document(asked("b"));
        twin.insert("$version".into(), json!(1));
        assert!(desired.on_twin(twin));
        assert_eq!(desired.reboot().unwrap()["requestId"], "b");
    }
}
