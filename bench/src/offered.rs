//! Calls at a rate: each leaves when it is due, whatever became of those before it.
//!
//! What a call takes is counted from when it was due. So a server that falls behind shows in every call
//! that it keeps waiting, and not only in those that were made while it did not.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::timeout};

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What became of the calls.
#[derive(Debug)]
pub(crate) struct Offered<T> {
    /// What was answered, in the order of the answers.
    pub(crate) answers: Vec<T>,
    /// From when a call was due until its answer.
    pub(crate) times: Vec<Duration>,
    /// Why calls failed.
    pub(crate) failures: Vec<anyhow::Error>,
    /// From the first due moment until each answer.
    answered: Vec<Duration>,
    /// How many calls a second were due.
    rate: usize,
}

impl<T> Offered<T> {
    /// How many calls succeeded in a second. The last answers in a hundred do not count, for one that
    /// came a moment late at the end says nothing of the rate.
    pub(crate) fn rate(&self) -> f64 {
        let counted = self.answered.len() - self.answered.len() / 100;
        let last = self.answered[..counted].last();
        let rate = last.map(|last| counted as f64 / last.as_secs_f64());
        rate.unwrap_or_default().min(self.rate as f64)
    }
}

/// Makes so many calls a second for so many seconds; each is told its number.
pub(crate) async fn offer<T>(
    rate: usize,
    seconds: usize,
    call: impl AsyncFn(usize) -> anyhow::Result<T>,
) -> anyhow::Result<Offered<T>> {
    offer_within(LIMIT, rate, rate * seconds, call).await
}

async fn offer_within<T>(
    limit: Duration,
    rate: usize,
    count: usize,
    call: impl AsyncFn(usize) -> anyhow::Result<T>,
) -> anyhow::Result<Offered<T>> {
    let begin = Instant::now();
    let due = move |number: usize| begin + Duration::from_secs_f64(number as f64 / rate as f64);
    let (offer, mut offers) = mpsc::unbounded_channel();
    // The timers of the runtime are late by up to a millisecond, which is as long as some calls take.
    let clock = thread::Builder::new().name("clock".to_owned());
    let clock = clock.spawn(move || {
        for number in 0..count {
            thread::sleep(due(number).saturating_duration_since(Instant::now()));
            // Nobody waits for the rest where the measurement was given up.
            if offer.send(number).is_err() {
                break;
            }
        }
    });
    clock.context("start a clock")?;
    let call = &call;
    let mut open = FuturesUnordered::new();
    let mut offered = Offered {
        answers: Vec::with_capacity(count),
        times: Vec::with_capacity(count),
        failures: Vec::new(),
        answered: Vec::with_capacity(count),
        rate,
    };
    loop {
        tokio::select! {
            Some(number) = offers.recv() => open.push(async move {
                let answer = timeout(limit, call(number)).await;
                (number, answer.unwrap_or_else(|_| Err(anyhow!("no answer within {limit:?}"))))
            }),
            Some((number, answer)) = open.next() => {
                match answer {
                    Ok(answer) => {
                        offered.answers.push(answer);
                        offered.times.push(due(number).elapsed());
                        offered.answered.push(begin.elapsed());
                    }
                    Err(failure) => offered.failures.push(failure),
                }
            }
            else => return Ok(offered),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_call_that_is_kept_waiting_has_waited_since_it_was_due() {
        let stall = Duration::from_millis(200);
        let offered = offer_within(LIMIT, 1_000, 20, async |number| {
            if number == 0 {
                // All that this runtime has to do waits for it.
                thread::sleep(stall);
            }
            Ok(number)
        })
        .await
        .unwrap();
        assert_eq!(offered.answers.len(), 20);
        // The last was due 19 ms after the first.
        let shortest = offered.times.iter().min().unwrap();
        assert!(
            *shortest >= stall - Duration::from_millis(20),
            "{shortest:?}"
        );
    }

    #[tokio::test]
    async fn a_call_without_an_answer_keeps_no_other_from_its_turn_and_is_given_up() {
        let (limit, begin) = (Duration::from_millis(300), Instant::now());
        let offered = offer_within(limit, 1_000, 20, async |number| match number {
            3 => pending().await,
            4 => Err(anyhow!("busy")),
            number => Ok(number),
        })
        .await
        .unwrap();
        assert_eq!(offered.answers.len(), 18);
        let failures: Vec<_> = offered.failures.iter().map(ToString::to_string).collect();
        assert_eq!(failures, ["busy", "no answer within 300ms"]);
        assert!(begin.elapsed() < LIMIT);
    }

    /// The rate of what was answered after so many milliseconds, when a hundred a second were due.
    #[track_caller]
    fn check_rate(answered: impl IntoIterator<Item = u64>, expected: f64) {
        let offered = Offered::<()> {
            answers: Vec::new(),
            times: Vec::new(),
            failures: Vec::new(),
            answered: answered.into_iter().map(Duration::from_millis).collect(),
            rate: 100,
        };
        let rate = offered.rate();
        assert!((rate - expected).abs() < 1.0, "{rate}");
    }

    #[test]
    fn the_rate_is_that_of_the_answers_and_no_more_than_was_offered() {
        check_rate((0..200).map(|number| number * 10), 100.0);
        check_rate((0..200).map(|number| number * 20), 50.0);
        // Whatever is answered all at once has waited first.
        check_rate((0..200).map(|number| 14_000 + number), 14.0);
        // A pause in the midst counts, one last answer does not.
        check_rate(
            (0..200).map(|number| number * 10 + number / 100 * 1_950),
            50.0,
        );
        check_rate((0..199).map(|number| number * 10).chain([9_000]), 100.0);
        check_rate([], 0.0);
        check_rate([7], 100.0);
    }
}
