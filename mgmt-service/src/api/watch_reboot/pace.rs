//! How often a watch says something, and how long it lasts.

use std::time::{Duration, Instant};

/// The pauses between bookmarks double until they are so many intervals.
const RAREST: u32 = 8;

/// How often a watch says something, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Pace {
    /// How long nothing happens before it gets its first bookmark.
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
    /// so that they leave together, and each connection has one thing to do instead of thousands. The
    /// less happens, the rarer they are: what stands for long is likely to stand for longer.
    pub(super) fn bookmark_at(self, since: Instant, told: Instant) -> Instant {
        let quiet = told.saturating_duration_since(since);
        let mut pause = self.bookmarks;
        let mut due = pause;
        while due <= quiet && pause < self.bookmarks * RAREST {
            pause *= 2;
            due += pause;
        }
        if due <= quiet {
            let more = (quiet - due).as_nanos() / pause.as_nanos() + 1;
            due += pause.saturating_mul(u32::try_from(more).unwrap_or(u32::MAX));
        }
        since + due
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
    fn bookmarks_become_rarer_up_to_eight_intervals() {
        let since = Instant::now();
        let pace = pace(Duration::from_secs(15));
        let mut told = since;
        let moments: Vec<u64> = (0..7)
            .map(|_| {
                told = pace.bookmark_at(since, told);
                (told - since).as_secs()
            })
            .collect();
        assert_eq!(moments, [15, 45, 105, 225, 345, 465, 585]);
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
        fn whenever_a_watcher_came_it_is_told_with_the_others_and_within_the_longest_pause(
            interval in 10u64..3_600_000,
            came in 0u64..100_000_000,
        ) {
            let since = Instant::now();
            let pace = pace(Duration::from_millis(interval));
            let came = since + Duration::from_millis(came);
            let due = pace.bookmark_at(since, came);
            prop_assert!(due > came);
            prop_assert!(due - came <= pace.bookmarks * RAREST);
            let mut others = since;
            while others < due {
                others = pace.bookmark_at(since, others);
            }
            prop_assert_eq!(others, due);
        }
    }
}
