//! Calls that wait until it is known what the twin says: a journal that is older than the twin would
//! take a request that was carried out for a new one.

use iot_hub::reboot::{RefusalCode, method};
use tokio::time::Instant;

use super::refuse;
use crate::hub_link::MethodCall;

/// What a caller is told when that takes too long.
const UNREAD: &str = "the hub has not told the twin, without which nothing is begun";

/// Calls that wait, in the order in which they came. Nearly always there are none.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Box<Waiting>>);

#[derive(Debug)]
struct Waiting {
    calls: Vec<MethodCall>,
    /// Since the first of them came.
    until: Instant,
}

impl Held {
    /// Says whether a method begins something, or ends what another may have begun.
    pub(super) fn concerns(name: &str) -> bool {
        [method::REBOOT, method::REBOOT_DEVICE, method::CANCEL].contains(&name)
    }

    /// Holds a call, until that moment if there was none before.
    pub(super) fn hold(&mut self, call: MethodCall, until: Instant) {
        let waiting = self.0.get_or_insert_with(|| {
            Box::new(Waiting {
                calls: Vec::new(),
                until,
            })
        });
        waiting.calls.push(call);
    }

    /// When they are to wait no longer.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.0.as_ref().map(|waiting| waiting.until)
    }

    /// Nobody knows what the twin says: nothing is begun.
    pub(super) fn give_up(&mut self) {
        for call in self.release() {
            refuse(call.reply, RefusalCode::Internal, UNREAD.to_owned());
        }
    }

    /// Forgets all: their connection is gone, and their callers know.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// All of them, to be carried out.
    pub(super) fn release(&mut self) -> Vec<MethodCall> {
        self.0
            .take()
            .map(|waiting| waiting.calls)
            .unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::hub_link::{LinkEvent, tests::LooseLink};

    #[tokio::test]
    async fn who_waits_too_long_is_told_so_and_who_is_gone_is_not() {
        let (mut link, mut handle) = LooseLink::new();
        let mut held = Held::default();
        let until = Instant::now() + Duration::from_secs(1);
        for wait in 0..2 {
            link.deliver("reboot", json!(null)).await;
            let Some(LinkEvent::Call(call)) = handle.events.recv().await else {
                panic!("a call");
            };
            held.hold(call, until + Duration::from_secs(wait));
        }
        assert_eq!(held.wakes_at(), Some(until), "the first decides");
        assert!(!link.is_answered());
        held.give_up();
        for _ in 0..2 {
            let (status, body) = link.answer().await;
            assert_eq!((status, &body["error"]["code"]), (500, &json!("INTERNAL")));
        }
        link.deliver("reboot", json!(null)).await;
        let Some(LinkEvent::Call(call)) = handle.events.recv().await else {
            panic!("a call");
        };
        held.hold(call, until);
        held.forget();
        assert!(held.is_empty() && !link.is_answered() && link.is_quiet());
    }
}
