//! A gate in front of a kind of call: whoever passes may make one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Exhausted,
    queue::{Claim, Queue, Turn},
};
use crate::vital::Vital;

/// How many may wait although that takes longer than it should: a slow kind of call has its users,
/// too.
const LEAST_ROOM: f64 = 10.0;

/// A gate in front of a kind of call.
#[derive(Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
    /// Ends the task that opens it.
    _open: DropGuard,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Somebody has come.
    woken: Notify,
}

#[derive(Debug)]
struct Waiting {
    queue: Queue,
    tell: HashMap<u64, oneshot::Sender<()>>,
    next: u64,
}

impl Gate {
    /// A gate that lets so many pass in a second, and at which nobody waits much longer than
    /// `longest_wait`.
    pub(crate) fn new(per_second: f64, longest_wait: Duration, vital: &Vital) -> Self {
        let room = (per_second * longest_wait.as_secs_f64()).max(LEAST_ROOM);
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting {
                queue: Queue::new(per_second, super::whole(room), Instant::now()),
                tell: HashMap::new(),
                next: 0,
            }),
            woken: Notify::new(),
        });
        let closed = CancellationToken::new();
        let (opened, stop) = (shared.clone(), closed.clone());
        vital.spawn("gate", async move {
            tokio::select! {
                () = opened.open() => {}
                () = stop.cancelled() => {}
            }
        });
        Self {
            shared,
            _open: closed.drop_guard(),
        }
    }

    /// Waits for its turn. Whoever stops waiting leaves the queue.
    pub(crate) async fn pass(&self, claim: Claim<'_>) -> Result<(), Exhausted> {
        let (number, told) = {
            let mut waiting = self.shared.lock();
            waiting.next += 1;
            let number = waiting.next;
            waiting.queue.come(number, claim, Instant::now())?;
            let (tell, told) = oneshot::channel();
            waiting.tell.insert(number, tell);
            // Whoever need not wait passes without the task.
            waiting.serve(Instant::now());
            if waiting.tell.contains_key(&number) {
                self.shared.woken.notify_one();
            }
            (number, told)
        };
        let leaving = Leaving {
            shared: &self.shared,
            number,
            claim,
        };
        // The sender is in the table until this one is served.
        let _ = told.await;
        drop(leaving);
        Ok(())
    }

    /// Passes, if that needs no waiting.
    pub(crate) fn try_pass(&self) -> bool {
        self.shared.lock().queue.try_pass(Instant::now())
    }

    /// Nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.lock().queue.is_idle()
    }

    /// The hub refused a call for want of quota.
    pub(crate) fn refused(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        self.shared.lock().queue.refused(retry_after, now);
    }
}

/// Takes one that waits out of the queue when it is dropped; one that was served is not there.
struct Leaving<'a> {
    shared: &'a Shared,
    number: u64,
    claim: Claim<'a>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut waiting = self.shared.lock();
        if waiting.tell.remove(&self.number).is_some() {
            waiting.queue.leave(self.number, self.claim);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        match self.waiting.lock() {
            Ok(waiting) => waiting,
            // Queue and table are changed together, by code that does not panic in between.
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Lets one after the other through.
    async fn open(&self) {
        loop {
            let next = self.lock().serve(Instant::now());
            match next {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => self.woken.notified().await,
            }
        }
    }
}

impl Waiting {
    /// Lets through whoever may pass now, and returns when the next one may.
    fn serve(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.queue.next(now) {
                Turn::Pass(number) => {
                    if let Some(tell) = self.tell.remove(&number) {
                        // Whoever waits no longer has just left, and one token goes with it.
                        let _ = tell.send(());
                    }
                }
                Turn::Wait(until) => return Some(until),
                Turn::Idle => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_gives_up_leaves_room_behind() {
        let gate = Gate::new(0.001, Duration::ZERO, &Vital::new());
        gate.pass(Claim::Of("a")).await.unwrap();
        let mut waiting: Vec<_> = (0..10)
            .map(|_| Box::pin(gate.pass(Claim::Of("a"))))
            .collect();
        for pass in &mut waiting {
            assert!(futures_util::poll!(pass).is_pending());
        }
        let refused = gate.pass(Claim::Of("a")).await.unwrap_err();
        assert!(
            refused.retry_after > Duration::from_secs(10_000),
            "{refused:?}"
        );
        drop(waiting);
        let mut pass = Box::pin(gate.pass(Claim::Of("a")));
        assert!(futures_util::poll!(&mut pass).is_pending());
    }

    #[tokio::test]
    async fn they_pass_at_the_pace() {
        let gate = Gate::new(100.0, Duration::from_secs(10), &Vital::new());
        let begun = Instant::now();
        let passes = (0..20).map(|_| gate.pass(Claim::First));
        for passed in futures_util::future::join_all(passes).await {
            passed.unwrap();
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(180),
            "{:?}",
            begun.elapsed()
        );
    }
}
