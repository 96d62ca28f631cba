//! How often a watch says something, and how long it lasts.

use std::time::{Duration, Instant};

/// How often a watch says something, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Pace {
    /// How long nothing happens before it gets a bookmark, and another one.
    pub(in crate::api) bookmarks: Duration,
    /// How long it lasts, up to a tenth less.
    pub(in crate::api) age: Duration,
}

impl Pace {
    /// Watches that began together, after a restart for example, end at different times.
    pub(super) fn ends_at(self) -> Instant {
        Instant::now() + self.age.mul_f64(1.0 - 0.1 * rand::random::<f64>())
    }

    /// When the next bookmark is due after `told`, where nothing has happened since `since`.
    ///
    /// That depends on the attempt alone, not on when its watchers came: all are due at the same moments,
    /// so that they leave together, and each connection has one thing to do instead of thousands.
    pub(super) fn bookmark_at(self, since: Instant, told: Instant) -> Instant {
        let quiet = told.saturating_duration_since(since);
        let past = quiet.as_nanos() / self.bookmarks.as_nanos().max(1);
        let next = u32::try_from(past + 1).unwrap_or(u32::MAX);
        since + self.bookmarks.saturating_mul(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(bookmarks: Duration) -> Pace {
        Pace {
            bookmarks,
            age: Duration::from_secs(3600),
        }
    }

    #[test]
    fn a_change_begins_anew() {
        let told = Instant::now();
        let since = told + Duration::from_secs(100);
        let interval = Duration::from_secs(15);
        assert_eq!(pace(interval).bookmark_at(since, told), since + interval);
    }

    proptest! {
        #[test]
        fn whenever_a_watcher_came_it_is_told_with_the_others_and_within_an_interval(
            interval in 10u64..3_600_000,
            came in 0.0f64..500.0,
        ) {
            let since = Instant::now();
            let pace = pace(Duration::from_millis(interval));
            let came = since + pace.bookmarks.mul_f64(came);
            let due = pace.bookmark_at(since, came);
            prop_assert!(due > came);
            prop_assert!(due - came <= pace.bookmarks);
            let mut others = since;
            while others < due {
                others = pace.bookmark_at(since, others);
            }
            prop_assert_eq!(others, due);
        }
    }
}
