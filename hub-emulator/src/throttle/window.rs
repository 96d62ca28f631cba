//! A limit without shaping: no 60 seconds hold more than a minute's worth, which may come at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
/// What came within such a time is remembered together, which bounds the memory it takes.
const SLOT: Duration = Duration::from_millis(10);

/// What was admitted within the last 60 seconds.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The end of each slot and what came within it, oldest first.
    slots: VecDeque<(Instant, u64)>,
    sum: u64,
}

impl Window {
    /// Whether something of this cost is admitted now; then it counts.
    pub(super) fn admit(&mut self, cost: u64, limit: u64, now: Instant) -> bool {
        self.forget_before(now);
        let fits = self.sum.saturating_add(cost) <= limit;
        if fits {
            self.add(cost, now);
        }
        fits
    }

    fn forget_before(&mut self, now: Instant) {
        while let Some((end, cost)) = self.slots.front()
            && now.saturating_duration_since(*end) >= WINDOW
        {
            self.sum -= cost;
            self.slots.pop_front();
        }
    }

    fn add(&mut self, cost: u64, now: Instant) {
        self.sum += cost;
        match self.slots.back_mut() {
            Some((end, sum)) if now <= *end => *sum += cost,
            Some(_) | None => self.slots.push_back((now + SLOT, cost)),
        }
    }
}
