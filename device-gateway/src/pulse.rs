//! Whether every loop of the gateway still goes round, for a watchdog that restarts it when one does not.
//!
//! Loops are asked in rounds. A loop answers from its own `select!`, so that one that hangs in what it
//! is doing does not answer; a task beside the loops that feeds the watchdog by itself would prove
//! nothing. Without a watchdog nobody asks, and nothing is done.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time};

/// The loops by their names, each with the round that it answered last.
type Loops = Vec<(String, Weak<AtomicU64>)>;

/// Asks the loops. Clones ask the same.
#[derive(Debug, Clone)]
pub(crate) struct Heart {
    round: watch::Sender<u64>,
    /// Those that go round; one that has ended is asked no more.
    loops: Arc<Mutex<Loops>>,
}

/// A loop's part: it answers.
#[derive(Debug)]
pub(crate) struct Pulse {
    round: watch::Receiver<u64>,
    answered: Arc<AtomicU64>,
}

/// What feeds a watchdog, and how often it has to.
pub(crate) struct Watchdog {
    pub(crate) interval: Duration,
    pub(crate) feed: Box<dyn Fn() + Send>,
}

impl Heart {
    pub(crate) fn new() -> Self {
        Self {
            round: watch::Sender::new(0),
            loops: Arc::default(),
        }
    }

    /// The part of one more loop.
    pub(crate) fn pulse(&self, name: String) -> Pulse {
        let mut loops = self.loops();
        let round = self.round.subscribe();
        // What was asked before it began is no question to it.
        let answered = Arc::new(AtomicU64::new(*round.borrow()));
        loops.push((name, Arc::downgrade(&answered)));
        Pulse { round, answered }
    }

    fn loops(&self) -> MutexGuard<'_, Loops> {
        // No holder of the lock can leave it half changed.
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the watchdog for as long as every loop answers.
    pub(crate) async fn beat(self, watchdog: Watchdog) {
        let mut ticks = time::interval(watchdog.interval);
        loop {
            ticks.tick().await;
            match self.ask() {
                Ok(()) => (watchdog.feed)(),
                Err(silent) => tracing::error!(?silent, "loops hang; the watchdog is not fed"),
            }
        }
    }

    /// Asks every loop, if every loop has answered since it was asked last; else names those that
    /// have not.
    fn ask(&self) -> Result<(), Vec<String>> {
        let mut loops = self.loops();
        let asked = *self.round.borrow();
        let mut silent = Vec::new();
        loops.retain(|(name, answered)| {
            let answered = answered.upgrade();
            if let Some(answered) = &answered
                && answered.load(Ordering::Relaxed) != asked
            {
                silent.push(name.clone());
            }
            answered.is_some()
        });
        if !silent.is_empty() {
            return Err(silent);
        }
        self.round.send_replace(asked + 1);
        Ok(())
    }
}

impl Pulse {
    /// A loop that nobody watches.
    #[cfg(test)]
    pub(crate) fn unwatched() -> Self {
        Heart::new().pulse(String::new())
    }

    /// Waits until the loop is asked, and answers.
    pub(crate) async fn beat(&mut self) {
        if self.round.changed().await.is_err() {
            // Nobody asks any more.
            std::future::pending().await
        }
        let round = *self.round.borrow_and_update();
        self.answered.store(round, Ordering::Relaxed);
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watchdog").field(&self.interval).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_does_not_answer_is_named_and_stops_the_feeding() {
        let heart = Heart::new();
        let mut a = heart.pulse("a".into());
        let mut b = heart.pulse("b".into());
        for _ in 0..3 {
            assert_eq!(heart.ask(), Ok(()));
            assert_eq!(heart.ask(), Err(vec!["a".to_owned(), "b".to_owned()]));
            a.beat().now_or_never().expect("an answer");
            assert_eq!(heart.ask(), Err(vec!["b".to_owned()]));
            // It answers once for each time that it is asked.
            assert_eq!(a.beat().now_or_never(), None);
            b.beat().now_or_never().expect("an answer");
        }
        assert_eq!(heart.ask(), Ok(()));
        a.beat().now_or_never().expect("an answer");
        // One that has ended is missed no more, and one that begins owes no answer.
        drop(b);
        let _c = heart.pulse("c".into());
        assert_eq!(heart.ask(), Ok(()));
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_as_long_as_a_loop_goes_round() {
        let heart = Heart::new();
        let mut pulse = heart.pulse("a".into());
        let fed = Arc::new(AtomicUsize::new(0));
        let feed = fed.clone();
        tokio::spawn(heart.beat(Watchdog {
            interval: Duration::from_millis(1),
            feed: Box::new(move || {
                feed.fetch_add(1, Ordering::SeqCst);
            }),
        }));
        for round in 0..5 {
            let asked = time::timeout(Duration::from_secs(30), pulse.beat()).await;
            assert!(asked.is_ok(), "round {round}");
        }
        // Asked for the fifth time, it had answered four times.
        assert!((4..=5).contains(&fed.load(Ordering::SeqCst)));
    }
}
