//! What is promised of the store, on a real file.

use std::{sync::Arc, time::Duration};

use daemon::admin::Pages as _;
use iot_hub::reboot::{RequestId, State};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Sqlite, SqliteOptions, lock, rows, schema};
use crate::{
    attempt::{Asked, Attempt, Input, Rules, Step},
    metrics::Instruments,
    store::{
        Audit, AuditQuery, Change, Comparison, Condition, ListQuery, Measured, Store, StoreError,
        Taken, Verdict, position,
    },
};

#[tokio::test]
async fn a_store_that_fails_makes_the_service_unready_until_it_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let instruments = Instruments::new(Duration::from_secs(30), &[]);
    instruments.readiness().hub_answered();
    let store = Measured::new(Arc::new(open(&folder)), instruments.clone());
    store.check().await.unwrap();
    assert_eq!(instruments.trouble(), None);
    let vandal = rusqlite::Connection::open(options(&folder).path).unwrap();
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        vandal.execute_batch(&sql).unwrap();
    };
    rename("audit", "stolen");
    store.prune(Timestamp::now()).await.unwrap_err();
    let trouble = instruments.trouble().unwrap();
    assert!(trouble.starts_with("the store fails: "), "{trouble}");
    let failures = "store_failures_total{operation=\"prune\"} 1";
    assert!(instruments.metrics().contains(failures));
    store.list(ListQuery::default()).await.unwrap();
    assert!(instruments.trouble().is_some(), "a read proves nothing");
    rename("stolen", "audit");
    store.check().await.unwrap();
    assert_eq!(instruments.trouble(), None);
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (attempt, change) = new(1, "pump-1");
    {
        let store = open(&folder);
        assert_eq!(store.create(change, audit(&attempt)).await.unwrap(), None);
        let (ended, change) = cancel(attempt.clone());
        store.save(change).await.unwrap();
        assert_eq!(store.get(attempt.view.id).await.unwrap(), Some(ended));
    }
    let store = open(&folder);
    let events = store.events(attempt.view.id).await.unwrap();
    let states: Vec<_> = events
        .iter()
        .map(|event| (event.revision, event.view.state))
        .collect();
    assert_eq!(states, [(1, State::Pending), (2, State::Cancelled)]);
    assert_eq!(store.unsettled(Timestamp::UNIX_EPOCH).await.unwrap(), []);
}

#[tokio::test]
async fn an_id_is_used_once_and_a_device_has_one_open_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (first, change) = new(1, "pump-1");
    store.create(change.clone(), audit(&first)).await.unwrap();
    let again = store.create(change, audit(&first)).await.unwrap();
    assert_eq!(again, Some(Taken::Known(Box::new(first.clone()))));
    let (second, change) = new(2, "pump-1");
    let busy = store.create(change.clone(), audit(&second)).await.unwrap();
    assert_eq!(busy, Some(Taken::Busy(first.view.id)));
    store.save(cancel(first.clone()).1).await.unwrap();
    assert_eq!(store.create(change, audit(&second)).await.unwrap(), None);
    assert_eq!(
        store.unsettled(Timestamp::UNIX_EPOCH).await.unwrap(),
        [second]
    );
}

#[tokio::test]
async fn what_is_forgotten_leaves_its_line_in_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (attempt, change) = new(1, "pump-1");
    store.create(change, audit(&attempt)).await.unwrap();
    store
        .forget(attempt.view.id, "DEVICE_OFFLINE".into())
        .await
        .unwrap();
    assert_eq!(store.get(attempt.view.id).await.unwrap(), None);
    assert_eq!(store.events(attempt.view.id).await.unwrap(), []);
    let connection = rusqlite::Connection::open(folder.path().join("db")).unwrap();
    let verdict: String = connection
        .query_row("SELECT verdict FROM audit", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "DEVICE_OFFLINE");
}

#[tokio::test]
async fn the_oldest_events_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (mut attempt, change) = new(1, "pump-1");
    let template = change.events[0].clone();
    store.create(change, audit(&attempt)).await.unwrap();
    for revision in 2..=8 {
        attempt.view.revision = revision;
        let mut event = template.clone();
        event.revision = revision;
        let change = Change {
            attempt: attempt.clone(),
            events: vec![event],
        };
        store.save(change).await.unwrap();
    }
    let kept: Vec<_> = store
        .events(attempt.view.id)
        .await
        .unwrap()
        .iter()
        .map(|event| event.revision)
        .collect();
    assert_eq!(kept, [4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut attempts = Vec::new();
    for number in 1..=5 {
        let (attempt, change) = new(number, &format!("pump-{}", number % 2));
        store.create(change, audit(&attempt)).await.unwrap();
        let (ended, change) = cancel(attempt);
        store.save(change).await.unwrap();
        attempts.insert(0, ended.view);
    }
    let all = ListQuery {
        limit: 10,
        ..ListQuery::default()
    };
    assert_eq!(store.list(all.clone()).await.unwrap(), attempts);
    let page = ListQuery {
        limit: 2,
        after: Some(position(&attempts[1])),
        ..ListQuery::default()
    };
    assert_eq!(store.list(page).await.unwrap(), attempts[2..4]);
    let device = ListQuery {
        device: Some("pump-0".parse().unwrap()),
        ..all.clone()
    };
    assert_eq!(store.list(device).await.unwrap().len(), 2);
    for (condition, count) in [
        (Condition::StateIs(State::Cancelled), 5),
        (Condition::StateIs(State::Lost), 0),
        (Condition::StateIsNot(State::Cancelled), 0),
        (Condition::Open(true), 0),
        (
            Condition::Created(Comparison::AtOrAfter, attempts[1].create_time),
            2,
        ),
        (
            Condition::Created(Comparison::After, attempts[1].create_time),
            1,
        ),
        (
            Condition::Created(Comparison::Before, attempts[1].create_time),
            3,
        ),
        (
            Condition::Created(Comparison::AtOrBefore, attempts[1].create_time),
            4,
        ),
    ] {
        let query = ListQuery {
            conditions: vec![condition],
            ..all.clone()
        };
        assert_eq!(
            store.list(query).await.unwrap().len(),
            count,
            "{condition:?}"
        );
    }
}

#[tokio::test]
async fn the_retention_spares_open_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (open_one, change) = new(1, "pump-1");
    store.create(change, audit(&open_one)).await.unwrap();
    let (other, change) = new(2, "pump-2");
    store.create(change, audit(&other)).await.unwrap();
    store.save(cancel(other.clone()).1).await.unwrap();
    store.prune(Timestamp::MAX).await.unwrap();
    assert_eq!(store.get(other.view.id).await.unwrap(), None);
    assert_eq!(store.get(open_one.view.id).await.unwrap(), Some(open_one));
}

#[tokio::test]
async fn a_write_that_fails_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (first, change) = new(1, "pump-1");
    let good = store.create(change.clone(), audit(&first));
    // Events of an attempt that is not there break a rule of the schema.
    let orphan = store.save(Change {
        attempt: new(9, "pump-9").0,
        events: change.events.clone(),
    });
    let (second, change) = new(2, "pump-2");
    let also_good = store.create(change, audit(&second));
    let (good, orphan, also_good) = tokio::join!(good, orphan, also_good);
    assert!(matches!(orphan, Err(StoreError::Database { .. })));
    assert_eq!(good.unwrap(), None);
    assert_eq!(also_good.unwrap(), None);
}

#[tokio::test]
async fn each_write_of_a_group_has_its_own_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (first, change) = new(1, "pump-1");
    let created = store.create(change.clone(), audit(&first));
    let again = store.create(change, audit(&first));
    let (missing, orphan) = new(9, "pump-9");
    let orphan = store.save(orphan);
    let audited = store.audit(audit(&missing));
    let (created, again, orphan, audited) = tokio::join!(created, again, orphan, audited);
    assert_eq!(created.unwrap(), None);
    assert_eq!(again.unwrap(), Some(Taken::Known(Box::new(first.clone()))));
    assert!(matches!(orphan, Err(StoreError::Database { .. })));
    audited.unwrap();
    let lines = store.audited(AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    });
    assert_eq!(lines.await.unwrap().len(), 2, "nothing is written twice");
    assert_eq!(store.events(first.view.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_write_that_fails_half_way_leaves_nothing_alone_or_in_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (attempt, _) = new(1, "pump-1");
    let half = || {
        let line = audit(&attempt);
        store.write(move |connection| {
            rows::add_audit(connection, &line)?;
            Err::<(), _>(StoreError::Closed)
        })
    };
    assert!(matches!(half().await, Err(StoreError::Closed)));
    let whole = store.audit(audit(&attempt));
    let (whole, before, after) = tokio::join!(whole, half(), half());
    whole.unwrap();
    for failed in [before, after] {
        assert!(matches!(failed, Err(StoreError::Closed)));
    }
    let lines = store.audited(AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    });
    assert_eq!(lines.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_panic_is_an_error_of_that_write_or_reading_and_ends_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (attempt, _) = new(1, "pump-1");
    let line = audit(&attempt);
    let bad = store.write(move |connection| -> Result<(), _> {
        rows::add_audit(connection, &line)?;
        panic!("half way");
    });
    let (good, bad) = tokio::join!(store.audit(audit(&attempt)), bad);
    good.unwrap();
    assert!(matches!(bad, Err(StoreError::Panicked(_))), "{bad:?}");
    let bad = store.read(|_| -> Result<(), _> { panic!("reading") }).await;
    assert!(matches!(bad, Err(StoreError::Panicked(_))), "{bad:?}");
    let query = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    assert_eq!(store.audited(query).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_log_is_brought_into_the_database_beside_the_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let size = || std::fs::metadata(folder.path().join("db")).unwrap().len();
    let empty = size();
    let (attempt, _) = new(1, "pump-1");
    let mut long = audit(&attempt);
    // More than SQLite would leave in its log at the end of a commit.
    long.why = "x".repeat(5_000_000);
    store.audit(long).await.unwrap();
    assert_eq!(size(), empty, "a commit does not do it");
    for _ in 0..100 {
        store.audit(audit(&attempt)).await.unwrap();
    }
    let brought = async {
        while size() == empty {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, brought).await.unwrap();
}

#[tokio::test]
async fn what_an_older_version_stored_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (attempt, change) = new(1, "pump-1");
    let (ended, later) = cancel(attempt.clone());
    {
        let old = rusqlite::Connection::open(options(&folder).path).unwrap();
        for step in &schema::MIGRATIONS[..3] {
            old.execute_batch(step).unwrap();
        }
        old.pragma_update(None, "user_version", 3).unwrap();
        let data = serde_json::to_string(&ended).unwrap();
        let id = attempt.view.id.to_string();
        old.execute(
            "INSERT INTO attempts VALUES (?1, 'pump-1', 'CANCELLED', 0, 0, 1000000, 1000000, ?2)",
            [&id, &data],
        )
        .unwrap();
        for event in change.events.iter().chain(&later.events) {
            let view = serde_json::to_string(&event.view).unwrap();
            let sql = "INSERT INTO events VALUES (?1, ?2, 1000000000, 'S', 'm', ?3)";
            let values = rusqlite::params![id, event.revision, view];
            old.execute(sql, values).unwrap();
        }
    }
    let store = open(&folder);
    let id = attempt.view.id;
    assert_eq!(store.get(id).await.unwrap().as_ref(), Some(&ended));
    let events = store.events(id).await.unwrap();
    let views: Vec<_> = events.iter().map(|event| &event.view).collect();
    let stored: Vec<_> = change.events.iter().chain(&later.events).collect();
    let expected: Vec<_> = stored.iter().map(|event| &event.view).collect();
    assert_eq!(views, expected);
    // Events still go with their attempt.
    store.prune(Timestamp::MAX).await.unwrap();
    assert_eq!(store.get(id).await.unwrap(), None);
    let connection = rusqlite::Connection::open(options(&folder).path).unwrap();
    let left: i64 = connection
        .query_row("SELECT count(*) FROM events", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn one_process_has_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let path = options(&folder).path;
    let second = lock::hold(&path, Duration::ZERO).unwrap_err();
    assert!(matches!(second, StoreError::InUse), "{second}");
    drop(store);
    // The thread that writes ends after the handle.
    lock::hold(&path, Duration::from_secs(30)).unwrap();
}

#[test]
fn a_database_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let connection = rusqlite::Connection::open(folder.path().join("db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let error = Sqlite::open(&options(&folder)).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 99, .. }),
        "{error}"
    );
}

fn options(folder: &tempfile::TempDir) -> SqliteOptions {
    SqliteOptions {
        path: folder.path().join("db"),
        events_per_attempt: 5,
    }
}

fn open(folder: &tempfile::TempDir) -> Sqlite {
    Sqlite::open(&options(folder)).unwrap()
}

/// Attempt `number`, created `number` seconds after the beginning of time.
fn new(number: u8, device: &str) -> (Attempt, Change) {
    let now = Timestamp::from_second(number.into()).unwrap();
    let id = RequestId(Uuid::from_u128(number.into()));
    let hour = Duration::from_secs(3600);
    let (attempt, step) = Attempt::begin(id, device.parse().unwrap(), Asked::default(), hour, now);
    (attempt.clone(), change(attempt, step))
}

fn cancel(mut attempt: Attempt) -> (Attempt, Change) {
    let now = attempt.view.create_time;
    let step = attempt.handle(Input::Cancel { abandon: false }, &Rules::default(), now);
    (attempt.clone(), change(attempt, step))
}

fn change(attempt: Attempt, step: Step) -> Change {
    Change {
        attempt,
        events: step.events,
    }
}

fn audit(attempt: &Attempt) -> Audit {
    Audit {
        time: attempt.view.create_time,
        who: "anonymous".into(),
        from: "127.0.0.1:1".into(),
        action: "REBOOT",
        id: Some(attempt.view.id),
        device: Some(attempt.view.device.clone()),
        why: String::new(),
        verdict: Verdict::allowed(""),
    }
}

#[tokio::test]
async fn a_success_is_learned_from_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let class = || "grade:CAUSED".to_owned();
    let device: iot_hub::identity::DeviceId = "pump-1".parse().unwrap();
    assert_eq!(store.durations(class(), device.clone()).await.unwrap(), []);
    let (attempt, change) = new(1, "pump-1");
    store.create(change, audit(&attempt)).await.unwrap();
    let (mut ended, change) = cancel(attempt);
    store.save(change).await.unwrap();
    assert_eq!(store.durations(class(), device.clone()).await.unwrap(), []);

    let (attempt, change) = new(2, "pump-1");
    store.create(change, audit(&attempt)).await.unwrap();
    let gone = Timestamp::from_second(1_000).unwrap();
    ended.view = crate::attempt::View {
        state: State::Succeeded,
        timeline: vec![(State::Rebooting, gone)],
        state_time: Timestamp::from_second(1_090).unwrap(),
        ..attempt.view
    };
    for _ in 0..2 {
        let change = Change {
            attempt: ended.clone(),
            events: Vec::new(),
        };
        store.save(change).await.unwrap();
    }
    // Its class is not known; the fleet and the device are.
    drop(store);
    let learned = open(&folder).durations(class(), device).await.unwrap();
    assert_eq!(learned.len(), 2, "{learned:?}");
    for group in learned {
        assert!((group.mean - 90.0_f64.ln()).abs() < 1e-9, "{group:?}");
        assert!((group.count - 1.0).abs() < 1e-9, "{group:?}");
    }
}
