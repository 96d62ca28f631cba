//! When it is worth observing a device at once, for a protocol on which the device speaks by itself.

use std::sync::Arc;

use crate::rising::Rising;

/// Says when. Clones say it to the same.
#[derive(Debug, Clone, Default)]
pub struct Hinter(Arc<Rising>);

impl Hinter {
    /// It is now.
    pub fn hint(&self) {
        self.0.rise();
    }

    /// All hints from now on.
    pub fn hints(&self) -> Hints {
        Hints {
            given: self.0.clone(),
            seen: self.0.now(),
        }
    }
}

/// Waits for hints. Those that are given while nobody waits are one.
#[derive(Debug)]
pub struct Hints {
    given: Arc<Rising>,
    seen: u64,
}

impl Hints {
    /// Waits for the next hint. It is not lost when it is waited for no longer.
    pub async fn next(&mut self) {
        self.seen = self.given.until(|number| number > self.seen).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn hints_that_nobody_waited_for_are_one_and_none_is_lost() {
        let hinter = Hinter::default();
        hinter.hint();
        let mut hints = hinter.hints();
        assert_eq!(hints.next().now_or_never(), None, "that one is old");
        for _ in 0..3 {
            hinter.hint();
        }
        assert_eq!(hints.next().now_or_never(), Some(()));
        assert_eq!(hints.next().now_or_never(), None, "they were one");
        let waiting = tokio::spawn(async move { hints.next().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        hinter.hint();
        waiting.await.unwrap();
    }
}
