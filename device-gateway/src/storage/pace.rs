//! How often a file that cannot be opened is tried again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::StorageError;

/// The first pause. Many devices ask at once, and a damaged file takes long to be found so.
const SHORTEST: Duration = Duration::from_millis(250);

/// The longest pause: so long at most nothing is begun though it could be.
const LONGEST: Duration = Duration::from_secs(30);

/// Remembers why the file could not be opened, until it is time to try again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    why: Arc<StorageError>,
    pause: Duration,
    again: Instant,
}

impl Pace {
    /// Why there is no use in trying now, if there is none.
    pub(super) fn holds_back(&self, now: Instant) -> Option<Arc<StorageError>> {
        let failed = self.failed.as_ref().filter(|failed| now < failed.again)?;
        Some(failed.why.clone())
    }

    /// It was tried in vain.
    pub(super) fn failed(&mut self, why: StorageError, now: Instant) -> Arc<StorageError> {
        let before = self.failed.as_ref().map(|failed| failed.pause);
        let pause = before.map_or(SHORTEST, |pause| (pause * 2).min(LONGEST));
        let why = Arc::new(why);
        self.failed = Some(Failed {
            why: why.clone(),
            pause,
            again: now + pause,
        });
        why
    }

    /// It was opened.
    pub(super) fn opened(&mut self) {
        self.failed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        assert!(pace.holds_back(now).is_none());
        for millis in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let pause = Duration::from_millis(millis);
            pace.failed(StorageError::Panicked, now);
            assert!(pace.holds_back(now).is_some());
            assert!(
                pace.holds_back(now + pause - Duration::from_millis(1))
                    .is_some()
            );
            now += pause;
            assert!(pace.holds_back(now).is_none(), "after {millis} ms");
        }
        pace.opened();
        pace.failed(StorageError::Panicked, now);
        assert!(pace.holds_back(now + SHORTEST).is_none());
    }
}
