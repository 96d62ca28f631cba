//! How many of something may pass in a while: for each of many, and in all.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How many may pass in a while.
#[derive(Debug)]
pub(super) struct Bound {
    window: Duration,
    of_one: u32,
    of_all: u32,
    begun: Instant,
    passed: HashMap<String, u32>,
    /// How many passed since `begun`. It bounds the map, too.
    all: u32,
    /// How many did not pass since somebody asked.
    rest: u64,
}

impl Bound {
    pub(super) fn new(window: Duration, of_one: u32, of_all: u32, now: Instant) -> Self {
        Self {
            window,
            of_one,
            of_all,
            begun: now,
            passed: HashMap::new(),
            all: 0,
            rest: 0,
        }
    }

    /// Says whether one more of this key may pass.
    pub(super) fn admit(&mut self, key: &str, now: Instant) -> bool {
        if now.saturating_duration_since(self.begun) >= self.window {
            self.begun = now;
            self.passed.clear();
            self.all = 0;
        }
        let passed = self.passed.get(key).copied().unwrap_or_default();
        if passed >= self.of_one || self.all >= self.of_all {
            self.rest += 1;
            return false;
        }
        self.passed.insert(key.to_owned(), passed + 1);
        self.all += 1;
        true
    }

    /// How many did not pass since this was last asked.
    pub(super) fn take_rest(&mut self) -> u64 {
        std::mem::take(&mut self.rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_and_all_have_a_bound_for_a_while() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut bound = Bound::new(Duration::from_secs(60), 2, 3, begin);
        assert!(bound.admit("a", at(0)) && bound.admit("a", at(1)));
        assert!(!bound.admit("a", at(2)), "its own are used up");
        assert!(bound.admit("b", at(3)));
        assert!(!bound.admit("c", at(59)), "those of all are used up");
        assert_eq!((bound.take_rest(), bound.take_rest()), (2, 0));
        assert!(bound.admit("a", at(60)) && bound.admit("c", at(60)));
    }

    proptest! {
        #[test]
        fn neither_time_nor_memory_lets_more_pass(
            calls in proptest::collection::vec((0..50_u8, 0..30_u64), 0..300),
        ) {
            let mut now = Instant::now();
            let mut bound = Bound::new(Duration::from_secs(60), 5, 20, now);
            let mut passed: Vec<Instant> = Vec::new();
            let mut refused = 0;
            for (key, pause) in calls {
                now += Duration::from_secs(pause);
                if bound.admit(&key.to_string(), now) {
                    passed.push(now);
                } else {
                    refused += 1;
                }
                prop_assert!(bound.passed.len() <= 20);
                let recent = passed.iter().filter(|at| now.duration_since(**at) < Duration::from_secs(60));
                // Two windows touch any minute.
                prop_assert!(recent.count() <= 40);
            }
            prop_assert_eq!(bound.take_rest(), refused);
        }
    }
}
