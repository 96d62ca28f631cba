//! Calls of `rebootWatch` that wait for the hub to have another report.
//!
//! They are held apart from the engine: a watch begins nothing, is not journalled, and ends with
//! the connection it came by.

use iot_hub::reboot::{CallError, WatchAnswer, WatchCall};
use serde_json::Value;
use tokio::time::Instant;

use crate::hub_link::Reply;

/// How many are held for one device. Each holds the place of one answer, and other methods need
/// some; one more makes the oldest end early, as if its time were up.
const MOST: usize = 8;

/// Calls of `rebootWatch` that wait.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// The oldest first.
    waiting: Vec<Watch>,
    /// The number of the report that the twin holds, once that is known.
    seq: Option<u64>,
}

#[derive(Debug)]
struct Watch {
    after: Option<u64>,
    until: Instant,
    reply: Reply,
}

impl Watches {
    /// Takes a call in, and answers it at once when its caller has missed a report.
    pub(super) fn begin(
        &mut self,
        payload: &Value,
        reply: Reply,
        now: Instant,
    ) -> Result<(), (Reply, CallError)> {
        let call = match WatchCall::from_payload(payload) {
            Ok(call) => call,
            Err(error) => return Err((reply, error)),
        };
        if self.waiting.len() == MOST {
            self.waiting.remove(0).answer(self.seq);
        }
        self.waiting.push(Watch {
            after: call.after.or(self.seq),
            until: now + call.wait,
            reply,
        });
        self.answer_if(|watch, seq| watch.missed(seq));
        Ok(())
    }

    /// The hub has this report.
    pub(super) fn on_reported(&mut self, seq: u64) {
        self.seq = Some(seq);
        self.answer_if(|watch, seq| watch.missed(seq));
    }

    /// When the next one's time is up.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.waiting.iter().map(|watch| watch.until).min()
    }

    /// Answers those whose time is up.
    pub(super) fn on_time(&mut self, now: Instant) {
        self.answer_if(|watch, _| watch.until <= now);
    }

    /// Answers all: their connection is about to be replaced.
    pub(super) fn finish(&mut self) {
        self.answer_if(|_, _| true);
    }

    /// Forgets all: their connection is gone, and their callers know.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    fn answer_if(&mut self, so: impl Fn(&Watch, Option<u64>) -> bool) {
        let seq = self.seq;
        for watch in self.waiting.extract_if(.., |watch| so(watch, seq)) {
            watch.answer(seq);
        }
    }
}

impl Watch {
    /// The twin holds another report than the caller has. A smaller number is another one, too:
    /// that of a gateway that lost its journal.
    fn missed(&self, seq: Option<u64>) -> bool {
        seq.is_some() && seq != self.after
    }

    fn answer(self, seq: Option<u64>) {
        let seq = seq.or(self.after).unwrap_or_default();
        self.reply.send(200, &WatchAnswer { seq }.to_payload());
    }
}
