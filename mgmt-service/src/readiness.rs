//! Whether the service can do its work: the store takes changes, and the hub answers.
//!
//! ```text
//!            answered                      failed            failing for longer than the limit
//!  Unknown ───────────► Reached ◄────────────────────► Failing ───────────────────► Gone
//!     ▲ not ready        ready        answered          ready                    not ready
//! ```
//!
//! One failed call does not make the service unready: balancers would move callers about at every
//! hiccup of the hub, and all replicas have the same hub.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Knows whether the service can do its work.
#[derive(Debug)]
pub struct Readiness {
    condition: watch::Sender<Condition>,
    hub_limit: Duration,
}

/// What the service needs, and how that is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    hub: HubCondition,
    /// How the store failed, while it does.
    store: Option<String>,
    stopping: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HubCondition {
    /// It was never reached; why, if it was tried.
    Unknown {
        why: Option<String>,
    },
    Reached,
    Failing {
        since: Instant,
    },
    Gone {
        why: String,
    },
}

impl Default for HubCondition {
    fn default() -> Self {
        Self::Unknown { why: None }
    }
}

impl Readiness {
    /// Nothing is known yet. `hub_limit` is how long the hub may fail to answer.
    pub fn new(hub_limit: Duration) -> Self {
        Self {
            condition: watch::Sender::default(),
            hub_limit,
        }
    }

    /// The hub answered.
    pub fn hub_answered(&self) {
        self.change(Condition::hub_answered);
    }

    /// The hub did not answer, or does not let us in.
    pub fn hub_failed(&self, why: &str) {
        self.change(|condition| condition.hub_failed(why, Instant::now(), self.hub_limit));
    }

    /// The store took a change.
    pub fn store_worked(&self) {
        self.change(|condition| condition.store = None);
    }

    /// The store failed.
    pub fn store_failed(&self, why: &str) {
        self.change(|condition| condition.store = Some(why.to_owned()));
    }

    /// The service stops, and is never ready again.
    pub fn stop(&self) {
        self.change(|condition| condition.stopping = true);
    }

    /// How things are.
    pub fn condition(&self) -> Condition {
        self.condition.borrow().clone()
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// How long the hub may fail to answer.
    pub fn hub_limit(&self) -> Duration {
        self.hub_limit
    }

    fn change(&self, change: impl FnOnce(&mut Condition)) {
        self.condition.send_if_modified(|condition| {
            let before = condition.clone();
            change(condition);
            let (was, is) = (before.trouble(), condition.trouble());
            match (was, &is) {
                (Some(_), None) => tracing::info!("the service is ready"),
                // Whoever stops it is told so elsewhere, and a stop is no trouble to be warned of.
                (None, Some(trouble)) if !condition.stopping => {
                    tracing::warn!(trouble, "the service is not ready");
                }
                (None | Some(_), Some(_)) | (None, None) => {}
            }
            *condition != before
        });
    }
}

impl Condition {
    /// Why the service cannot do its work, if that is so.
    pub fn trouble(&self) -> Option<String> {
        if self.stopping {
            return Some("the service is stopping".to_owned());
        }
        if let Some(why) = &self.store {
            return Some(format!("the store fails: {why}"));
        }
        match &self.hub {
            HubCondition::Unknown { why: None } => Some("the hub was not reached yet".to_owned()),
            HubCondition::Unknown { why: Some(why) } => {
                Some(format!("the hub was not reached yet: {why}"))
            }
            HubCondition::Reached | HubCondition::Failing { .. } => None,
            HubCondition::Gone { why } => Some(format!("the hub does not answer: {why}")),
        }
    }

    /// The store failed when it was last used.
    pub fn is_store_failing(&self) -> bool {
        self.store.is_some()
    }

    /// The hub answered when it was last asked.
    pub fn is_hub_reached(&self) -> bool {
        self.hub == HubCondition::Reached
    }

    fn hub_answered(&mut self) {
        self.hub = HubCondition::Reached;
    }

    fn hub_failed(&mut self, why: &str, now: Instant, limit: Duration) {
        self.hub = match &self.hub {
            HubCondition::Unknown { .. } => HubCondition::Unknown {
                why: Some(why.to_owned()),
            },
            HubCondition::Reached if !limit.is_zero() => HubCondition::Failing { since: now },
            HubCondition::Failing { since } if now.duration_since(*since) < limit => return,
            HubCondition::Reached | HubCondition::Failing { .. } | HubCondition::Gone { .. } => {
                HubCondition::Gone {
                    why: why.to_owned(),
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn the_hub_has_to_answer_first_and_then_not_to_fail_for_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut condition = Condition::default();
        assert!(condition.trouble().is_some());
        condition.hub_failed("no route", at(0), LIMIT);
        condition.hub_failed("no route", at(100), LIMIT);
        let never = condition.trouble().unwrap();
        assert_eq!(never, "the hub was not reached yet: no route");
        condition.hub_answered();
        assert_eq!(condition.trouble(), None);
        condition.hub_failed("no route", at(200), LIMIT);
        condition.hub_failed("no route", at(229), LIMIT);
        assert_eq!(condition.trouble(), None);
        condition.hub_failed("no route", at(230), LIMIT);
        let trouble = condition.trouble().unwrap();
        assert_eq!(trouble, "the hub does not answer: no route");
        condition.hub_answered();
        assert_eq!(condition.trouble(), None);
        condition.hub_failed("no route", at(500), LIMIT);
        assert_eq!(
            condition.trouble(),
            None,
            "the failures before are forgotten"
        );
    }

    #[test]
    fn the_store_may_not_fail_at_all() {
        let readiness = Readiness::new(LIMIT);
        readiness.hub_answered();
        readiness.store_failed("disk full");
        let trouble = readiness.condition().trouble().unwrap();
        assert_eq!(trouble, "the store fails: disk full");
        readiness.hub_answered();
        assert!(readiness.condition().trouble().is_some());
        readiness.store_worked();
        assert_eq!(readiness.condition().trouble(), None);
        readiness.stop();
        readiness.hub_answered();
        readiness.store_worked();
        assert!(readiness.condition().trouble().is_some());
    }

    proptest! {
        /// Against the rule itself: unready after the hub failed from some moment on, without an
        /// answer, for the limit.
        #[test]
        fn it_is_unready_exactly_when_failures_last(
            events in prop::collection::vec((0_u64..20, any::<bool>()), 0..30),
        ) {
            let start = Instant::now();
            let mut now = 0;
            let mut condition = Condition::default();
            let mut answered = false;
            let mut failing_since = None;
            for (pause, answers) in events {
                now += pause;
                if answers {
                    answered = true;
                    failing_since = None;
                    condition.hub_answered();
                } else {
                    failing_since = failing_since.or(Some(now));
                    condition.hub_failed("x", start + Duration::from_secs(now), LIMIT);
                }
                let lasting = failing_since.is_some_and(|since| now - since >= LIMIT.as_secs());
                prop_assert_eq!(condition.trouble().is_none(), answered && !lasting);
            }
        }
    }
}
