//! The merged patch that waits for its 204: what a device's twin should say, and what it may say by
//! now.
//!
//! The reported properties are a document that patches are merged into. A patch that was sent and
//! never answered was applied or was not, so the next one is made to be right in either case:
//! wherever the two differ it says what should be there, and `null` where nothing should. A few such
//! patches are enough: after them, the hub has to say what it made of them.

mod folded;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::folded::Folded;

/// A JSON object.
pub type Document = Map<String, Value>;

/// How many patches may be without an answer. Each was another one, and what they may have left behind
/// grows with their number.
pub const UNSETTLED: usize = 4;

/// What one device's reported properties should be and may be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    /// What they should be. Only what this process owns of them is here.
    pub target: Folded,
    /// What they were at the last answer.
    pub acked: Folded,
    /// Patches that left since and were not answered: each was applied or was not. There are at most
    /// [`UNSETTLED`].
    pub unsettled: Vec<Document>,
    /// What the properties are once the patch under way is applied.
    #[serde(skip)]
    in_flight: Option<InFlight>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct InFlight {
    makes: Folded,
    /// It is the newest of the unsettled ones, and was not there before.
    added: bool,
}

impl Outbox {
    /// Sets what the properties should be. Empty objects are left out: a merge patch cannot tell
    /// them from nothing.
    pub fn set_target(&mut self, target: Document) {
        self.target = Folded::new(pruned(target));
    }

    /// Says whether the twin certainly is as it should be.
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty() && self.acked == self.target
    }

    /// Says whether too many patches are without an answer: no other leaves before the hub has
    /// [said](Self::on_truth) what the properties are.
    pub fn wants_truth(&self) -> bool {
        self.unsettled.len() >= UNSETTLED
    }

    /// Makes the next patch, and remembers that it may have been applied. `None` while one is under
    /// way, when nothing needs to change, and when the hub has to say first what the properties are.
    pub fn next_patch(&mut self) -> Option<Document> {
        if self.in_flight.is_some() || self.wants_truth() {
            return None;
        }
        let unsettled: Vec<_> = self.unsettled.iter().map(Touch::Merged).collect();
        let patch = object_patch(&self.target.open(), Some(&self.acked.open()), &unsettled);
        if patch.is_empty() {
            return None;
        }
        let added = !self.unsettled.contains(&patch);
        if added {
            self.unsettled.push(patch.clone());
        }
        self.in_flight = Some(InFlight {
            makes: self.target.clone(),
            added,
        });
        Some(patch)
    }

    /// Says whether there is a patch that nobody has said the fate of.
    pub fn is_under_way(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The hub applied the patch that was under way. That one was right whatever became of those
    /// before it.
    pub fn on_applied(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            self.acked = in_flight.makes;
            // With its room: nearly always there is nothing unsettled.
            self.unsettled = Vec::new();
        }
    }

    /// The hub refused the patch that was under way, and applied nothing of it.
    pub fn on_refused(&mut self) {
        if self
            .in_flight
            .take()
            .is_some_and(|in_flight| in_flight.added)
        {
            self.unsettled.pop();
        }
    }

    /// Nobody will say what became of the patch that was under way.
    pub fn on_unknown(&mut self) {
        self.in_flight = None;
    }

    /// The hub said what the properties are. Meaningless while a patch is under way.
    pub fn on_truth(&mut self, reported: Document) {
        if self.in_flight.is_none() {
            let reported = Folded::new(reported);
            // One copy is enough.
            let same = reported == self.target;
            self.acked = if same { self.target.clone() } else { reported };
            self.unsettled.clear();
        }
    }
}

/// What a patch that may have been applied did to one place.
#[derive(Debug, Clone, Copy)]
enum Touch<'a> {
    /// It merged an object in.
    Merged(&'a Document),
    /// It put a value there that is no object.
    Put(&'a Value),
    /// It removed what was there.
    Removed,
}

impl<'a> Touch<'a> {
    /// What it did to a place below.
    fn below(self, key: &str) -> Option<Self> {
        match self {
            Self::Merged(document) => document.get(key).map(|value| match value {
                Value::Object(document) => Self::Merged(document),
                Value::Null => Self::Removed,
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Self::Put(value)
                }
            }),
            // Whatever was below is gone.
            Self::Put(_) | Self::Removed => Some(Self::Removed),
        }
    }
}

/// The patch that makes `target` of a document that is `acked`, or that with any of `touches`.
fn object_patch(target: &Document, acked: Option<&Document>, touches: &[Touch<'_>]) -> Document {
    let mut keys: Vec<&String> = target.keys().collect();
    keys.extend(acked.into_iter().flat_map(Document::keys));
    for touch in touches {
        match touch {
            Touch::Merged(document) => keys.extend(document.keys()),
            Touch::Put(_) | Touch::Removed => {}
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter_map(|key| {
            let below: Vec<_> = touches
                .iter()
                .filter_map(|touch| touch.below(key))
                .collect();
            let acked = acked.and_then(|acked| acked.get(key));
            let patch = value_patch(target.get(key), acked, &below)?;
            Some((key.clone(), patch))
        })
        .collect()
}

fn value_patch(
    target: Option<&Value>,
    acked: Option<&Value>,
    touches: &[Touch<'_>],
) -> Option<Value> {
    match target {
        None => {
            let may_be_there = touches.iter().any(|touch| !matches!(touch, Touch::Removed));
            (acked.is_some() || may_be_there).then_some(Value::Null)
        }
        Some(Value::Object(target)) => {
            let patch = object_patch(target, acked.and_then(Value::as_object), touches);
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        Some(target) => {
            let certain = acked == Some(target)
                && touches
                    .iter()
                    .all(|touch| matches!(touch, Touch::Put(value) if *value == target));
            (!certain).then(|| target.clone())
        }
    }
}

fn pruned(document: Document) -> Document {
    document
        .into_iter()
        .filter_map(|(key, value)| match value {
            Value::Null => None,
            Value::Object(inner) => {
                let inner = pruned(inner);
                (!inner.is_empty()).then_some((key, Value::Object(inner)))
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Some((key, value))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use iot_hub::twin;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document(value: Value) -> Document {
        value.as_object().unwrap().clone()
    }

    fn holding(acked: Value, target: Value) -> Outbox {
        let mut outbox = Outbox {
            acked: Folded::new(document(acked)),
            ..Outbox::default()
        };
        outbox.set_target(document(target));
        outbox
    }

    #[track_caller]
    fn check(acked: Value, target: Value, patch: Option<Value>) {
        let made = holding(acked, target).next_patch();
        assert_eq!(made.map(Value::Object), patch);
    }

    #[test]
    fn a_patch_says_what_differs_and_no_more() {
        check(json!({}), json!({}), None);
        check(json!({ "a": 1 }), json!({ "a": 1 }), None);
        check(
            json!({ "a": 1, "b": 2 }),
            json!({ "a": 1, "b": 3 }),
            Some(json!({ "b": 3 })),
        );
        check(json!({ "a": 1 }), json!({}), Some(json!({ "a": null })));
        check(
            json!({ "r": { "a": 1, "b": 2 } }),
            json!({ "r": { "b": 2, "c": 3 } }),
            Some(json!({ "r": { "a": null, "c": 3 } })),
        );
        check(
            json!({ "r": { "a": 1 } }),
            json!({ "r": {} }),
            Some(json!({ "r": null })),
        );
        check(
            json!({ "r": 5 }),
            json!({ "r": { "a": 1 } }),
            Some(json!({ "r": { "a": 1 } })),
        );
        check(
            json!({ "r": { "a": 1 } }),
            json!({ "r": 5 }),
            Some(json!({ "r": 5 })),
        );
    }

    #[test]
    fn an_unanswered_patch_is_made_up_for_in_both_cases() {
        let mut outbox = holding(json!({ "a": 1 }), json!({ "a": 2, "error": "x" }));
        assert!(outbox.next_patch().is_some());
        assert_eq!(outbox.next_patch(), None, "one at a time");
        outbox.on_unknown();
        outbox.set_target(document(json!({ "a": 1 })));
        let patch = outbox.next_patch().map(Value::Object);
        assert_eq!(patch, Some(json!({ "a": 1, "error": null })));
        outbox.on_applied();
        assert_eq!(outbox.next_patch(), None);
    }

    #[test]
    fn a_restart_makes_a_patch_under_way_an_unanswered_one() {
        let mut outbox = holding(json!({}), json!({ "a": 1 }));
        let patch = outbox.next_patch();
        let mut restarted: Outbox = serde_json::from_value(json!(outbox)).unwrap();
        assert_eq!(restarted.next_patch(), patch);
    }

    #[test]
    fn a_hub_that_says_nothing_costs_no_more_than_so_many_patches() {
        let mut outbox = holding(json!({}), json!({}));
        for number in 0..100 {
            outbox.set_target(document(json!({ format!("k{number}"): number })));
            outbox.next_patch();
            outbox.on_unknown();
            let restarted = serde_json::from_value(json!(outbox)).unwrap();
            outbox = restarted;
        }
        assert_eq!(outbox.unsettled.len(), UNSETTLED);
        assert!(!outbox.is_settled() && outbox.wants_truth());
        outbox.on_truth(document(json!({ "k1": 1 })));
        let patch = outbox.next_patch().map(Value::Object);
        assert_eq!(patch, Some(json!({ "k1": null, "k99": 99 })));
    }

    #[test]
    fn a_refused_patch_left_no_trace() {
        let mut outbox = holding(json!({ "a": 1 }), json!({ "a": 2 }));
        assert!(outbox.next_patch().is_some());
        outbox.on_refused();
        outbox.set_target(document(json!({ "a": 1 })));
        assert_eq!(outbox.next_patch(), None);
    }

    /// What becomes of one patch, and what else happens.
    #[derive(Debug, Clone)]
    enum Happening {
        Target(Document),
        Applied,
        AppliedInSilence,
        Lost,
        Refused,
        Restart,
        Truth,
    }

    fn documents() -> impl Strategy<Value = Document> {
        let leaf = prop_oneof![Just(json!(1)), Just(json!("x")), Just(json!(null))];
        let value = leaf.prop_recursive(2, 12, 3, |inner| {
            prop::collection::hash_map("[abc]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        });
        prop::collection::hash_map("[abc]", value, 0..4).prop_map(|map| map.into_iter().collect())
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let one = prop_oneof![
            3 => documents().prop_map(Happening::Target),
            1 => Just(Happening::Applied),
            2 => Just(Happening::AppliedInSilence),
            2 => Just(Happening::Lost),
            1 => Just(Happening::Refused),
            1 => Just(Happening::Restart),
            1 => Just(Happening::Truth),
        ];
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn whatever_is_lost_the_hub_ends_up_with_the_target(
            already in documents(),
            happenings in happenings(),
        ) {
            let mut hub = pruned(already);
            let mut outbox = Outbox { acked: Folded::new(hub.clone()), ..Outbox::default() };
            for happening in happenings {
                match happening {
                    Happening::Target(target) => outbox.set_target(target),
                    Happening::Applied => {
                        if let Some(patch) = outbox.next_patch() {
                            twin::merge(&mut hub, &patch);
                            outbox.on_applied();
                        }
                    }
                    Happening::AppliedInSilence => {
                        if let Some(patch) = outbox.next_patch() {
                            twin::merge(&mut hub, &patch);
                            outbox.on_unknown();
                        }
                    }
                    Happening::Lost => {
                        outbox.next_patch();
                        outbox.on_unknown();
                    }
                    Happening::Refused => {
                        outbox.next_patch();
                        outbox.on_refused();
                    }
                    Happening::Restart => {
                        outbox.next_patch();
                        outbox = serde_json::from_value(json!(outbox)).unwrap();
                    }
                    Happening::Truth => outbox.on_truth(hub.clone()),
                }
                prop_assert!(outbox.unsettled.len() <= UNSETTLED);
            }
            if outbox.wants_truth() {
                prop_assert_eq!(outbox.next_patch(), None);
                outbox.on_truth(hub.clone());
            }
            if let Some(patch) = outbox.next_patch() {
                twin::merge(&mut hub, &patch);
                outbox.on_applied();
            }
            prop_assert_eq!(hub, outbox.target.open());
            prop_assert_eq!(outbox.next_patch(), None);
        }
    }
}
