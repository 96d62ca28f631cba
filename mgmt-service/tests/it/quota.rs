//! More requests than the hub allows: they wait in turn, and those for whom there is no room are told
//! when to come again.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use hub_emulator::{Emulator, EmulatorConfig, Fault, Operation, Times};
use iot_hub::{
    identity::{ConnectionString, DeviceId},
    reboot::RequestId,
};
use mgmt_service::{
    access::{Caller, who::Identity},
    attempt::{Asked, Rules, Trouble},
    error::Error,
    hub::{Hub, HubCredential},
    poller::{Cadence, Poller},
    quota::HubQuota,
    service::{Service, Timing},
    store::{ListQuery, Sqlite, SqliteOptions, Store},
    vital::Vital,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::within;

/// How many methods may be called in a second.
const METHODS: f64 = 20.0;

struct Scene {
    emulator: Emulator,
    service: Service,
    store: Arc<Sqlite>,
    _folder: TempDir,
}

impl Scene {
    async fn start() -> Self {
        Self::reading(1000.0).await
    }

    /// Starts with so many reads of twins in a second.
    async fn reading(reads_per_second: f64) -> Self {
        let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = emulator.service_connection_string();
        let Ok(ConnectionString::Service(connection)) = text.parse() else {
            panic!("a service's connection string");
        };
        let ca = emulator.ca_pem();
        let connection = HubCredential::SharedKey(connection);
        let hub = Hub::new(&connection, emulator.https_port(), Some(ca.as_bytes())).unwrap();
        let hub = Arc::new(hub);
        let options = SqliteOptions {
            path: folder.path().join("service.db"),
            events_per_attempt: 10,
        };
        let store = Arc::new(Sqlite::open(&options).unwrap());
        let cadence = Cadence {
            reads_per_second,
            ..Cadence::default()
        };
        let (vital, shutdown) = (Vital::new(), CancellationToken::new());
        let poller = Poller::start(hub.clone(), &cadence, &vital, shutdown.clone());
        let quota = HubQuota {
            methods_per_second: METHODS,
            updates_per_second: 100.0,
            queries_per_minute: 6.0,
            longest_wait: Duration::from_secs(2),
            hanging_calls: 0,
        };
        let minute = Duration::from_secs(60);
        let timing = Timing {
            answer_timeout: Duration::from_secs(30),
            default_deadline: 30 * minute,
            recovery_pause: minute,
            recovery_limit: minute,
            retention: 60 * minute,
            rules: Rules::default(),
        };
        let service = Service::start(store.clone(), hub, poller, &quota, timing, &vital, shutdown);
        Self {
            emulator,
            service: service.await.unwrap(),
            store,
            _folder: folder,
        }
    }

    /// Asks for a reboot of a device that is registered and not connected.
    async fn reboot(&self, device: &str, who: &str) -> Result<(), Error> {
        let id: DeviceId = device.parse().unwrap();
        let request = RequestId(Uuid::new_v4());
        let caller = caller(who);
        let asked = self.service.reboot(request, id, Asked::default(), &caller);
        within(asked).await.map(drop)
    }

    fn calls(&self) -> u64 {
        self.emulator.counters().method_calls.total
    }
}

fn caller(who: &str) -> Caller {
    Caller {
        identity: Identity::Anonymous,
        who: who.to_owned(),
        from: "127.0.0.1:1".to_owned(),
        expiry: None,
    }
}

#[tokio::test]
async fn a_flood_is_bounded_and_holds_nobody_else_up() {
    let scene = Scene::start().await;
    let devices: Vec<_> = (0..120).map(|number| format!("pump-{number}")).collect();
    for device in &devices {
        let _ = scene.emulator.device(device);
    }
    let _ = scene.emulator.device("fan");
    let flood = join_all(devices.iter().map(|device| scene.reboot(device, "noisy")));
    let polite = async {
        // The flood is polled first, so that all of it is there already.
        let before = scene.calls();
        let refused = scene.reboot("fan", "polite").await.unwrap_err();
        assert!(is_offline(&refused), "{refused}");
        (before, scene.calls())
    };
    let (outcomes, (before, after)) = tokio::join!(flood, polite);

    let (mut sent, mut exhausted) = (0, 0);
    for outcome in outcomes {
        let refused = outcome.unwrap_err();
        if let Error::Exhausted(told) = refused {
            assert!(told.retry_after > Duration::from_secs(1), "{told:?}");
            exhausted += 1;
        } else {
            assert!(is_offline(&refused), "{refused}");
            sent += 1;
        }
    }
    // One passes at once, two seconds' worth waits, and there is no room for the rest. A slow machine
    // does not send all that it may.
    assert!((2..=60).contains(&sent), "{sent} sent, {exhausted} refused");
    assert!(
        after <= before + 8,
        "a caller who came after {before} calls was served after {after}"
    );
    let calls = scene.emulator.counters().method_calls;
    assert_eq!(calls.total, sent + 1);
    assert!(calls.busiest_second <= 21, "{calls:?}");
    // Nothing is left of those that were not begun.
    let all = ListQuery {
        limit: 1000,
        ..ListQuery::default()
    };
    assert_eq!(scene.store.list(all).await.unwrap(), []);
}

#[tokio::test]
async fn a_query_too_many_is_told_when_to_come_again() {
    let scene = Scene::start().await;
    let noisy = caller("noisy");
    let queries = (0..15).map(|_| {
        scene
            .service
            .query("SELECT * FROM devices", 1, None, &noisy)
    });
    let refused = async {
        let mut outcomes: Vec<_> = queries.map(Box::pin).collect();
        let mut refused = Vec::new();
        for query in &mut outcomes {
            // Those that have to wait are pending.
            if let std::task::Poll::Ready(Err(error)) = futures_util::poll!(query) {
                refused.push(error);
            }
        }
        refused
    };
    let refused = refused.await;
    assert!(refused.len() >= 4, "{refused:?}");
    for error in refused {
        let Error::Exhausted(told) = error else {
            panic!("{error}");
        };
        assert!(told.retry_after > Duration::from_secs(30), "{told:?}");
    }
}

#[tokio::test]
async fn who_waits_for_a_read_as_the_hub_shuts_is_sent_away() {
    let scene = Scene::reading(1.0).await;
    let minute = Duration::from_secs(60);
    let throttled = Fault::Answer {
        operation: Some(Operation::ServiceTwinRead),
        device: None,
        status: 429,
        retry_after: Some(minute),
    };
    scene.emulator.faults().inject(throttled, Times::Next(1));
    let caller = caller("somebody");
    let devices: [DeviceId; 2] = ["pump-1", "pump-2"].map(|id| id.parse().unwrap());
    let reads = devices
        .iter()
        .map(|device| scene.service.twin(device, &caller));
    let mut errors = within(join_all(reads))
        .await
        .into_iter()
        .map(Result::unwrap_err);
    let (read, waited) = (errors.next().unwrap(), errors.next().unwrap());
    let throttled = Trouble::Throttled {
        retry_after: Some(minute),
    };
    assert!(matches!(read, Error::Trouble { trouble, .. } if trouble == throttled));
    let Error::Exhausted(told) = waited else {
        panic!("{waited}");
    };
    assert!(told.retry_after > minute / 2, "{told:?}");
}

fn is_offline(error: &Error) -> bool {
    matches!(
        error,
        Error::Trouble {
            trouble: Trouble::Offline,
            ..
        }
    )
}
