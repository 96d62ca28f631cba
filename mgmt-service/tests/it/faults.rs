//! Faults in the service itself: whatever panics, each attempt goes on to its end.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt as _, future::BoxFuture};
use iot_hub::{
    identity::DeviceId,
    reboot::{Grade, RequestId, State},
};
use iothubdm_proto::v1::{
    AttemptState, CancelRebootRequest, RebootEvent, RebootRequest, reboot_event::Event,
    reboot_request::Start,
};
use jiff::Timestamp;
use mgmt_service::{
    attempt::{Attempt, View},
    durations::Learned,
    store::{Audit, AuditQuery, Audited, Change, ListQuery, Sqlite, Store, StoreError, Taken},
};
use serde_json::json;
use tokio::sync::Semaphore;
use tonic::Code;

use crate::{
    device::Device,
    world::{Watch, World, details, request, states},
};

/// Repeated calls of a device would come after this long, and none is meant to.
const RARELY: &str = "retry_min = \"60s\"\nretry_max = \"60s\"";

#[tokio::test]
async fn an_attempt_whose_task_panics_is_followed_to_its_verdict_and_not_sent_again() {
    for fault in [Fault::BeforeItIsStored, Fault::OnceItIsStored] {
        let (mut world, faults) = World::with_faults(RARELY).await;
        let mut device = Device::native(&world.emulator, "pump-1").await;
        let (id, watch) = struck_on_acceptance(&mut world, &mut device, &faults, [fault]).await;
        device.succeed(id, Grade::Caused).await;

        let seen = all(watch).await;
        assert!(faults.all_struck(), "{fault:?}");
        assert_eq!(states(&seen).last(), Some(&AttemptState::Succeeded));
        // Who comes later reads what is stored.
        let stored = all(world.watch(&name(id), "").await.unwrap()).await;
        assert_eq!(revisions(&seen), revisions(&stored), "{fault:?}");
        assert_eq!(world.emulator.counters().method_calls.total, 1);
    }
}

#[tokio::test]
async fn a_tutorial_device_is_not_called_again_after_a_panic() {
    let (mut world, faults) = World::with_faults("default_deadline = \"3s\"").await;
    let mut device = Device::plain(&world.emulator, "node").await;
    let reboot = world.ask_meanwhile(request("node"));
    let call = device.called().await;
    faults.strike_next_events([Fault::BeforeItIsStored]);
    device.answer(&call, 200, &json!("Reboot started")).await;
    let name = reboot.await.unwrap().unwrap().name;
    world.reaches(&name, AttemptState::Lost).await;
    assert!(faults.all_struck());
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn an_attempt_whose_task_panics_twice_ends_as_one_whose_outcome_nobody_knows() {
    let (mut world, faults) = World::with_faults(RARELY).await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let twice = [Fault::BeforeItIsStored, Fault::BeforeItIsStored];
    let (id, watch) = struck_on_acceptance(&mut world, &mut device, &faults, twice).await;
    let name = name(id);
    let seen = all(watch).await;
    assert!(faults.all_struck());
    assert_eq!(states(&seen).last(), Some(&AttemptState::Lost));
    let ended = world.get(&name).await.unwrap();
    assert_eq!(ended.error.unwrap().code, "SERVICE_FAULT");
    assert_eq!(world.emulator.counters().method_calls.total, 1);

    // The device is free for another request.
    let next = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    assert_ne!(next.await.unwrap().unwrap().name, name);
}

#[tokio::test]
async fn a_request_that_was_not_sent_before_its_task_panicked_twice_was_certainly_not_begun() {
    let (mut world, faults) = World::with_faults("").await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let later = RebootRequest {
        start: Some(Start::Delay(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        })),
        ..request("pump-1")
    };
    let asked = world.ask(later).await.unwrap();
    assert_eq!(asked.state(), AttemptState::Pending);
    faults.strike_next_events([Fault::BeforeItIsStored, Fault::BeforeItIsStored]);
    let ended = world.reaches(&asked.name, AttemptState::Expired).await;
    assert!(faults.all_struck());
    assert_eq!(ended.error.unwrap().code, "SERVICE_FAULT");
    assert_eq!(world.emulator.counters().method_calls.total, 0);
}

#[tokio::test]
async fn a_request_whose_caller_leaves_while_it_is_stored_is_worked_on() {
    let (mut world, faults) = World::with_faults("").await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    faults.holds_requests.store(true, Ordering::Relaxed);
    let reboot = world.ask_meanwhile(request("pump-1"));
    faults.stored.acquire().await.unwrap().forget();
    reboot.abort();
    assert!(reboot.await.unwrap_err().is_cancelled());
    // Whatever the service does about a caller that is gone, it has done before it answers this.
    world.get("devices/pump-1/reboots/none").await.unwrap_err();
    faults.told.add_permits(1);
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    let name = name(call.id());
    world.reaches(&name, AttemptState::Accepted).await;
}

#[tokio::test]
async fn a_request_that_may_be_stored_is_not_said_to_have_come_to_nothing() {
    let (mut world, faults) = World::with_faults("").await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    faults.unsettles_requests.store(true, Ordering::Relaxed);
    let status = world.ask(request("pump-1")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    let (reason, details) = details(&status);
    assert_eq!(reason, "OUTCOME_UNKNOWN");
    assert!(details.retry_info().is_some());
    let name = details.resource_info().unwrap().resource_name.clone();

    faults.unsettles_requests.store(false, Ordering::Relaxed);
    world.kill().await;
    world.start_again().await;
    let call = device.called().await;
    assert_eq!(name, self::name(call.id()));
    device.accept(&call, State::Accepted).await;
    world.reaches(&name, AttemptState::Accepted).await;
}

#[tokio::test]
async fn a_cancel_is_told_although_the_audit_cannot_say_what_came_of_it() {
    let (mut world, faults) = World::with_faults("").await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let later = RebootRequest {
        start: Some(Start::Delay(prost_types::Duration {
            seconds: 3600,
            nanos: 0,
        })),
        ..request("pump-1")
    };
    let name = world.ask(later).await.unwrap().name;
    faults.loses_outcomes.store(true, Ordering::Relaxed);
    let cancel = CancelRebootRequest {
        name,
        ..CancelRebootRequest::default()
    };
    let told = world.client.cancel_reboot(cancel).await;
    assert_eq!(told.unwrap().into_inner().state(), AttemptState::Cancelled);
}

/// Asks for a reboot whose task panics so when the device has accepted; the caller hears of it.
async fn struck_on_acceptance<const N: usize>(
    world: &mut World,
    device: &mut Device,
    faults: &Faults,
    panics: [Fault; N],
) -> (RequestId, Watch) {
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    let watch = world.watch(&name(call.id()), "").await.unwrap();
    faults.strike_next_events(panics);
    device.accept(&call, State::Accepted).await;
    let attempt = reboot.await.unwrap().unwrap();
    assert_eq!(attempt.name, name(call.id()));
    (call.id(), watch)
}

fn name(id: RequestId) -> String {
    format!("devices/pump-1/reboots/{id}")
}

async fn all(watch: Watch) -> Vec<RebootEvent> {
    watch.read_to_end().await
}

fn revisions(events: &[RebootEvent]) -> Vec<i64> {
    let progress = events
        .iter()
        .filter(|event| matches!(event.event, Some(Event::Progress(_))));
    progress.map(|event| event.revision).collect()
}

/// A fault that strikes while an attempt's events are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    BeforeItIsStored,
    OnceItIsStored,
}

/// What goes wrong in a store, and when.
#[derive(Debug)]
pub(crate) struct Faults {
    at_events: Mutex<VecDeque<Fault>>,
    /// Whoever stores a new request waits before it goes on.
    holds_requests: AtomicBool,
    /// Who stores a new request is told that nobody knows whether it is stored.
    unsettles_requests: AtomicBool,
    /// What came of a decision cannot be added to the audit.
    loses_outcomes: AtomicBool,
    /// Has a permit for each new request that is on disk and waits.
    stored: Semaphore,
    /// Has a permit for each of them that may go on.
    told: Semaphore,
}

impl Faults {
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self {
            at_events: Mutex::default(),
            holds_requests: AtomicBool::new(false),
            unsettles_requests: AtomicBool::new(false),
            loses_outcomes: AtomicBool::new(false),
            stored: Semaphore::new(0),
            told: Semaphore::new(0),
        })
    }

    fn strike_next_events<const N: usize>(&self, faults: [Fault; N]) {
        self.at_events.lock().unwrap().extend(faults);
    }

    fn all_struck(&self) -> bool {
        self.at_events.lock().unwrap().is_empty()
    }
}

/// A store in which faults strike.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) store: Sqlite,
    pub(crate) faults: Arc<Faults>,
}

impl Store for FaultyStore {
    fn create(
        &self,
        change: Change,
        audit: Audit,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>> {
        async {
            let created = self.store.create(change, audit).await;
            if self.faults.holds_requests.load(Ordering::Relaxed) {
                self.faults.stored.add_permits(1);
                self.faults.told.acquire().await.unwrap().forget();
            }
            if self.faults.unsettles_requests.load(Ordering::Relaxed) {
                return Err(StoreError::unsettled("the disk failed under the commit"));
            }
            created
        }
        .boxed()
    }

    fn save(&self, change: Change) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let fault = if change.events.is_empty() {
                None
            } else {
                self.faults.at_events.lock().unwrap().pop_front()
            };
            assert!(
                !matches!(fault, Some(Fault::BeforeItIsStored)),
                "a fault before it is stored"
            );
            let saved = self.store.save(change).await;
            assert!(fault.is_none(), "a fault once it is stored");
            saved
        }
        .boxed()
    }

    fn find(
        &self,
        id: RequestId,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>> {
        self.store.find(id, device)
    }

    fn forget(&self, id: RequestId, verdict: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.forget(id, verdict)
    }

    fn audit(&self, audit: Audit) -> BoxFuture<'_, Result<(), StoreError>> {
        if audit.verdict.text != "ASKED" && self.faults.loses_outcomes.load(Ordering::Relaxed) {
            return async { Err(StoreError::unsettled("the disk is full")) }.boxed();
        }
        self.store.audit(audit)
    }

    fn get(&self, id: RequestId) -> BoxFuture<'_, Result<Option<Attempt>, StoreError>> {
        self.store.get(id)
    }

    fn unsettled(&self, lost_since: Timestamp) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>> {
        self.store.unsettled(lost_since)
    }

    fn ended(
        &self,
        device: DeviceId,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>> {
        self.store.ended(device, since)
    }

    fn events(
        &self,
        id: RequestId,
    ) -> BoxFuture<'_, Result<Vec<mgmt_service::attempt::Event>, StoreError>> {
        self.store.events(id)
    }

    fn durations(
        &self,
        class: String,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Vec<Learned>, StoreError>> {
        self.store.durations(class, device)
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<View>, StoreError>> {
        self.store.list(query)
    }

    fn audited(&self, query: AuditQuery) -> BoxFuture<'_, Result<Vec<Audited>, StoreError>> {
        self.store.audited(query)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.close()
    }

    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.prune(before)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.check()
    }
}
