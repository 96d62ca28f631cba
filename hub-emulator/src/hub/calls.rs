//! Direct methods in flight.
//!
//! A call may be delivered under several request ids (a redelivery); the first answer to any of
//! them is the call's answer, and what comes later is dropped, as the real hub does.

use std::collections::HashMap;

use bytes::Bytes;
use iot_hub::error::HubError;
use iot_hub::topic::{Filter, HubTopic, MethodName, RequestId};
use jiff::Timestamp;

use super::call_log::{CallLog, MethodOutcome, MethodRecord};
use super::{Effect, EntityId, Hub, LinkId};

/// One call of a direct method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallId(u64);

/// How a delivered call ended, as far as the device had a say in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MethodAnswer {
    /// The device answered. The payload is what it sent, JSON or not.
    Answered { status: i32, payload: Bytes },
    /// The connection ended before an answer came.
    DeviceGone,
}

/// Why a call cannot be delivered now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NotCallable {
    /// No such device or module.
    Unknown(HubError),
    /// Not connected, or connected and not subscribed to methods.
    NotOnline,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    last_call: u64,
    last_rid: u64,
    open: HashMap<CallId, Call>,
    by_rid: HashMap<RequestId, CallId>,
    log: CallLog,
}

#[derive(Debug)]
struct Call {
    link: LinkId,
    name: MethodName,
    payload: Bytes,
    /// One for each time that it was delivered.
    rids: Vec<RequestId>,
    started: Timestamp,
}

impl Hub {
    /// Delivers a method to a device that is ready for it.
    pub(crate) fn call(
        &mut self,
        id: &EntityId,
        name: MethodName,
        payload: Bytes,
        now: Timestamp,
    ) -> Result<(CallId, Effect), NotCallable> {
        let link = self.callable(id)?;
        self.calls.last_call += 1;
        let call = CallId(self.calls.last_call);
        self.calls.log.opened(call, id, &name, &payload, now);
        let rids = Vec::new();
        self.calls.open.insert(
            call,
            Call {
                link,
                name,
                payload,
                rids,
                started: now,
            },
        );
        let effect = self.redeliver(call).expect("the call was just made");
        Ok((call, effect))
    }

    /// The connection that a method for `id` would go to.
    pub(crate) fn callable(&self, id: &EntityId) -> Result<LinkId, NotCallable> {
        let entity = self.entity(id).map_err(NotCallable::Unknown)?;
        entity
            .session
            .route(&Filter::Methods)
            .ok_or(NotCallable::NotOnline)
    }

    /// Delivers an open call under a fresh request id. `None` when it is no longer open.
    pub(crate) fn redeliver(&mut self, id: CallId) -> Option<Effect> {
        let Calls {
            open,
            by_rid,
            last_rid,
            log,
            ..
        } = &mut self.calls;
        let call = open.get_mut(&id)?;
        *last_rid += 1;
        let rid = RequestId::from(*last_rid);
        by_rid.insert(rid.clone(), id);
        call.rids.push(rid.clone());
        log.delivered(id);
        Some(Effect::Publish {
            link: call.link,
            topic: HubTopic::Method {
                name: call.name.clone(),
                rid,
            },
            payload: call.payload.clone(),
        })
    }

    /// Takes a device's answer. `None` when nobody waits for it any more, or when it is another
    /// device's to give.
    pub(crate) fn method_answer(
        &mut self,
        link: LinkId,
        rid: &RequestId,
        status: i32,
        payload: Bytes,
        now: Timestamp,
    ) -> Option<Effect> {
        let call = *self.calls.by_rid.get(rid)?;
        if self.calls.open.get(&call)?.link != link {
            return None;
        }
        self.calls.end(call, MethodOutcome::Answered(status), now);
        Some(Effect::Answer {
            call,
            answer: MethodAnswer::Answered { status, payload },
        })
    }

    /// Whether an answer under this request id would reach a caller.
    pub(crate) fn is_awaited(&self, link: LinkId, rid: &RequestId) -> bool {
        self.calls
            .by_rid
            .get(rid)
            .and_then(|call| self.calls.open.get(call))
            .is_some_and(|call| call.link == link)
    }

    /// Forgets a call: its caller waits no longer.
    pub(crate) fn end_call(&mut self, call: CallId, now: Timestamp) {
        self.calls.end(call, MethodOutcome::GivenUp, now);
    }

    /// The methods whose callers wait, oldest first.
    pub(crate) fn methods_in_flight(&self) -> Vec<MethodRecord> {
        let mut open: Vec<(&CallId, &Call)> = self.calls.open.iter().collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        let record = |(_, call): (&CallId, &Call)| {
            let EntityId { device, module } = self.links.get(&call.link)?.clone();
            Some(MethodRecord {
                device,
                module,
                name: call.name.to_string(),
                payload: serde_json::from_slice(&call.payload).unwrap_or_default(),
                deliveries: u32::try_from(call.rids.len()).unwrap_or(u32::MAX),
                outcome: MethodOutcome::Waiting,
                started: call.started,
                ended: None,
            })
        };
        open.into_iter().filter_map(record).collect()
    }

    /// The newest delivered methods, oldest first.
    pub(crate) fn method_records(&self) -> impl DoubleEndedIterator<Item = &MethodRecord> {
        self.calls.log.records()
    }
}

impl Calls {
    fn end(&mut self, id: CallId, outcome: MethodOutcome, now: Timestamp) {
        if let Some(call) = self.open.remove(&id) {
            self.log.ended(id, outcome, now);
            for rid in &call.rids {
                self.by_rid.remove(rid);
            }
        }
    }

    /// How many calls wait for an answer on a connection that is still there: all of them.
    #[cfg(test)]
    pub(super) fn open_on_live_links(&self, links: &HashMap<LinkId, EntityId>) -> usize {
        let live = self
            .open
            .values()
            .filter(|call| links.contains_key(&call.link))
            .count();
        assert_eq!(
            live,
            self.open.len(),
            "a call waits on a connection that is gone"
        );
        live
    }

    /// Ends the calls that wait for an answer on a connection that is gone.
    pub(super) fn device_gone(&mut self, link: LinkId, now: Timestamp) -> Vec<Effect> {
        let mut gone: Vec<CallId> = self
            .open
            .iter()
            .filter_map(|(id, call)| (call.link == link).then_some(*id))
            .collect();
        gone.sort_unstable();
        for call in &gone {
            self.end(*call, MethodOutcome::DeviceGone, now);
        }
        gone.into_iter()
            .map(|call| Effect::Answer {
                call,
                answer: MethodAnswer::DeviceGone,
            })
            .collect()
    }
}
