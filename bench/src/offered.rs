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
    /// How long the calls were offered, or until the last of them was over, if that is longer.
    pub(crate) took: Duration,
}

impl<T> Offered<T> {
    /// How many calls succeeded in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
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
        took: due(count) - begin,
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
                    }
                    Err(failure) => offered.failures.push(failure),
                }
                offered.took = offered.took.max(begin.elapsed());
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
        let limit = Duration::from_millis(300);
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
        assert!(offered.took >= limit && offered.took < LIMIT);
    }

    #[tokio::test]
    async fn no_more_is_achieved_than_was_offered() {
        let offered = offer_within(LIMIT, 100, 10, async |number| Ok(number));
        let rate = offered.await.unwrap().rate();
        assert!(rate <= 100.0, "{rate}");
    }
}
