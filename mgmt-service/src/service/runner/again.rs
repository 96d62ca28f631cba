//! An attempt whose task panics is taken up again, as a restarted service would.
//!
//! ```text
//!   runs ──panics──► resumed ──panics──► given up ──panics──► left to the next start
//! ```
//!
//! Nothing of what the task held is used any more: what is stored decides, by the rules that hold after
//! a restart. A fault that strikes again would do so for ever, so the second one ends the attempt; what
//! is then left, to look for a device that is lost, can do without.

use daemon::panics::caught_in;
use futures_util::stream::FuturesUnordered;

use super::{Hanging, Runner, until_done};
use crate::attempt::{Effect, Input};

impl Runner {
    /// Works on the attempt until its end, or the service's, through faults of its own.
    pub(super) async fn live(&mut self, effects: Vec<Effect>, input: Option<Input>) {
        let mut work = caught_in(Box::pin(self.run(effects, input))).await;
        for input in [Input::Resumed, Input::GivenUp] {
            let Err(panicked) = work else { return };
            let id = self.attempt.view.id;
            tracing::error!(%id, "the attempt's task {panicked}; taking it up again");
            work = caught_in(Box::pin(self.run_again(input))).await;
        }
        if let Err(panicked) = work {
            let id = self.attempt.view.id;
            tracing::error!(%id, "the attempt's task {panicked}; leaving it to the next start");
        }
    }

    /// Goes on from what is stored.
    async fn run_again(&mut self, input: Input) {
        // What was in flight is lost.
        self.calls = FuturesUnordered::new();
        self.hanging = Hanging::default();
        if self.reload().await {
            self.run(Vec::new(), Some(input)).await;
        }
    }

    /// Reads the attempt and its events, and tells those who follow it what they have not heard. Says
    /// whether there is an attempt to go on with.
    async fn reload(&mut self) -> bool {
        let (inner, id) = (&self.inner, self.attempt.view.id);
        let Some(stored) = until_done(inner, id, || inner.store.get(id)).await else {
            return false;
        };
        let Some(attempt) = stored else {
            // It was withdrawn in that moment, as a request that was never begun.
            return false;
        };
        let Some(mut events) = until_done(inner, id, || inner.store.events(id)).await else {
            return false;
        };
        let told = self.log.newest();
        events.retain(|event| event.revision > told);
        self.attempt = attempt.clone();
        self.log.add(attempt, events);
        true
    }
}
