//! The connections that have not signed in.
//!
//! Whoever comes to the endpoint's address may be anybody, and may come as often as it likes. So the
//! newest is always let in, and the oldest has to leave where there are too many: a device that has its
//! password ready is no stranger for longer than a moment.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// The most connections that have not signed in. A device that signed in is none of these, and has one
/// connection at most.
pub(super) const STRANGERS: usize = 32;

/// That there is a crowd is told so often, and no more.
const TOLD: Duration = Duration::from_secs(60);

/// Those that have not signed in, the one that came first in front.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    present: VecDeque<Weak<Notify>>,
    told: Option<Instant>,
}

/// A connection that has not signed in, until it is dropped.
#[derive(Debug)]
pub(super) struct Stranger(Arc<Notify>);

impl Strangers {
    /// Lets one more in.
    pub(super) fn admit(&mut self) -> Stranger {
        self.present.retain(|one| one.strong_count() > 0);
        if self.present.len() >= STRANGERS {
            let oldest = self.present.pop_front();
            if let Some(oldest) = oldest.and_then(|oldest| oldest.upgrade()) {
                oldest.notify_one();
            }
            self.tell();
        }
        let stranger = Arc::default();
        self.present.push_back(Arc::downgrade(&stranger));
        Stranger(stranger)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let present = self.present.iter();
        present.filter(|one| one.strong_count() > 0).count()
    }

    fn tell(&mut self) {
        let now = Instant::now();
        if self
            .told
            .is_none_or(|told| now.duration_since(told) >= TOLD)
        {
            self.told = Some(now);
            tracing::warn!("too many connections have not signed in; the oldest are hung up on");
        }
    }
}

impl Stranger {
    /// Ends when it has to leave.
    pub(super) async fn is_shown_out(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn leaves(stranger: &Stranger) -> bool {
        stranger.is_shown_out().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest_and_nobody_else_does() {
        let mut strangers = Strangers::default();
        let mut crowd: Vec<_> = (0..STRANGERS).map(|_| strangers.admit()).collect();
        assert!(!crowd.iter().any(leaves));
        crowd.push(strangers.admit());
        assert!(leaves(&crowd[0]));
        assert!(!crowd[1..].iter().any(leaves));
        // Whoever has signed in is none of them.
        crowd.remove(1);
        crowd.push(strangers.admit());
        assert!(!crowd[1..].iter().any(leaves));
        assert_eq!(strangers.count(), STRANGERS, "who leaves counts no more");
    }
}
