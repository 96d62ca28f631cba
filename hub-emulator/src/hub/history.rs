//! How twins looked a while ago, for a hub whose queries lag behind.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use iot_hub::query::Source;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::entities::Follower;
use super::{EntityId, Hub};

/// Twins as they were at some time, and what became of them since.
#[derive(Debug, Default)]
pub(super) struct History {
    base: BTreeMap<EntityId, Value>,
    /// In their order; nothing for an identity that was deleted.
    changes: VecDeque<(Timestamp, EntityId, Option<Value>)>,
}

impl Hub {
    /// From now on, remembers how twins look.
    pub(crate) fn remember_twins(&mut self) {
        if self.history.is_some() {
            return;
        }
        self.entities.follow_changes(Follower::History);
        let twins = self.entities.iter();
        let base = twins.map(|(id, entity)| (id.clone(), entity.twin.to_value()));
        self.history = Some(History {
            base: base.collect(),
            changes: VecDeque::new(),
        });
    }

    /// Remembers it no longer.
    pub(crate) fn forget_remembered_twins(&mut self) {
        self.entities.forget_changes(Follower::History);
        self.history = None;
    }

    /// Notes what changed just now, and forgets what is older than anybody asks for.
    pub(crate) fn note_twins(&mut self, longest: Duration, now: Timestamp) {
        let changed = self.entities.take_changed(Follower::History);
        let Some(history) = &mut self.history else {
            return;
        };
        for id in changed {
            let twin = self.entities.get(&id).map(|entity| entity.twin.to_value());
            history.changes.push_back((now, id, twin));
        }
        history.forget_before(before(now, longest));
    }

    /// The documents that a query looks at, when it sees twins as they were `delay` ago. Jobs are
    /// seen as they are.
    pub(crate) fn rows_before(
        &self,
        source: Source,
        delay: Duration,
        now: Timestamp,
    ) -> Vec<Value> {
        match (source, &self.history) {
            (Source::Jobs, _) | (_, None) => self.rows(source),
            (Source::Devices | Source::Modules, Some(history)) => {
                history.rows(source, before(now, delay))
            }
        }
    }
}

impl History {
    fn rows(&self, source: Source, at: Timestamp) -> Vec<Value> {
        let mut twins: BTreeMap<&EntityId, &Value> = self.base.iter().collect();
        for (_, id, twin) in self.changes.iter().take_while(|(time, ..)| *time <= at) {
            match twin {
                Some(twin) => twins.insert(id, twin),
                None => twins.remove(id),
            };
        }
        let wanted = twins.into_iter().filter(|(id, _)| id.is_in(source));
        wanted.map(|(_, twin)| twin.clone()).collect()
    }

    fn forget_before(&mut self, time: Timestamp) {
        while let Some((_, id, twin)) = self.changes.pop_front_if(|(at, ..)| *at <= time) {
            match twin {
                Some(twin) => self.base.insert(id, twin),
                None => self.base.remove(&id),
            };
        }
    }
}

/// The beginning of time where it would be before that.
fn before(now: Timestamp, delay: Duration) -> Timestamp {
    SignedDuration::try_from(delay)
        .ok()
        .and_then(|delay| now.checked_sub(delay).ok())
        .unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    proptest! {
        /// Whatever was forgotten, the twins of each moment that may be asked for are those that
        /// were there at that moment.
        #[test]
        fn what_is_seen_is_what_was(
            changes in proptest::collection::vec((0_i64..4, 0_u8..3, any::<Option<u8>>()), 0..40),
            longest in 0_i64..20,
        ) {
            let mut history = History::default();
            let mut now = 0;
            let mut twins = BTreeMap::new();
            // What was there at the end of each second.
            let mut seen = BTreeMap::from([(0, Vec::new())]);
            for (pause, device, value) in changes {
                for second in now..now + pause {
                    let rows: Vec<Value> = twins.values().cloned().collect();
                    seen.insert(second, rows);
                }
                now += pause;
                let id = EntityId::from(format!("d{device}").parse::<iot_hub::identity::DeviceId>().unwrap());
                let twin = value.map(Value::from);
                match &twin {
                    Some(twin) => twins.insert(id.clone(), twin.clone()),
                    None => twins.remove(&id),
                };
                seen.insert(now, twins.values().cloned().collect());
                history.changes.push_back((at(now), id, twin));
                history.forget_before(at(now - longest));
            }
            for second in (now - longest).max(0)..=now {
                prop_assert_eq!(&history.rows(Source::Devices, at(second)), &seen[&second]);
            }
        }
    }
}
