//! What is promised between the store and the attempts' tasks.

use iot_hub::identity::ConnectionString;
use uuid::Uuid;

use super::*;
use crate::{
    attempt::{Asked, Attempt},
    hub::HubCredential,
    poller::Cadence,
    store::{Change, Sqlite, SqliteOptions},
};

/// A service over a store in a folder, of a hub that is never asked.
async fn service(folder: &tempfile::TempDir) -> Service {
    let text = "HostName=localhost;SharedAccessKeyName=service;\
                SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let Ok(ConnectionString::Service(connection)) = text.parse() else {
        panic!("a service's connection string");
    };
    let hub = Arc::new(Hub::new(&HubCredential::SharedKey(connection), 1, None).unwrap());
    let store = Sqlite::open(&SqliteOptions {
        path: folder.path().join("db"),
        events_per_attempt: 10,
    });
    let (vital, shutdown) = (Vital::new(), CancellationToken::new());
    let poller = Poller::start(hub.clone(), &Cadence::default(), &vital, shutdown.clone());
    let hour = Duration::from_secs(3600);
    let quota = HubQuota {
        methods_per_second: 1.0,
        updates_per_second: 1.0,
        queries_per_minute: 1.0,
        longest_wait: hour,
        hanging_calls: 0,
    };
    let timing = Timing {
        answer_timeout: hour,
        default_deadline: hour,
        recovery_pause: hour,
        recovery_limit: hour,
        retention: hour,
        rules: Rules::default(),
    };
    let store = Arc::new(store.unwrap());
    let service = Service::start(store, hub, poller, &quota, timing, &vital, shutdown);
    service.await.unwrap()
}

#[tokio::test]
async fn whoever_asks_for_an_attempt_before_its_task_has_begun_follows_that_task() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(&folder).await;
    let inner = &service.inner;
    let (id, device): (_, DeviceId) = (RequestId(Uuid::from_u128(1)), "pump-1".parse().unwrap());
    let (now, hour) = (Timestamp::now(), Duration::from_secs(3600));
    let (attempt, step) = Attempt::begin(id, device.clone(), Asked::default(), hour, now);
    let change = Change {
        attempt: attempt.clone(),
        events: step.events.clone(),
    };
    let caller = Caller {
        identity: crate::access::who::Identity::Anonymous,
        who: String::new(),
        from: String::new(),
        expiry: None,
    };
    let line = Service::line(&caller, "REBOOT", &attempt.view, "");
    inner.store.create(change, line).await.unwrap();
    let log = Arc::new(Log::new(attempt.clone(), step.events));
    let asks = async { service.log(&device, id).await.unwrap() };
    // Polled second: whoever asks has looked for the task by then.
    let begins = async {
        let follower = inner.poller.follow(device.clone());
        Runner::spawn(inner, attempt, log.clone(), follower, Vec::new(), None);
    };
    let (asked, ()) = tokio::join!(biased; asks, begins);
    assert!(
        Arc::ptr_eq(&asked, &log),
        "it would never be told how it goes on"
    );
    inner.shutdown.cancel();
    service.stopped().await;
}
