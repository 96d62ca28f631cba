//! Watching: late, again, with any token, and idle.

use std::time::Duration;

use iot_hub::{
    identity::DeviceId,
    reboot::{Grade, RequestId, State},
};
use iothubdm_proto::v1::{AttemptState, reboot_event::Event};
use jiff::Timestamp;
use mgmt_service::{
    attempt::{Asked, Attempt, Input, Rules},
    store::{Audit, Change, Sqlite, SqliteOptions, Store as _, Verdict},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    device::Device,
    world::{World, details, request, states},
};

async fn accepted(world: &World, device: &mut Device, name: &str) -> (String, RequestId) {
    let reboot = world.ask_meanwhile(request(name));
    let call = device.called().await;
    let id = device.accept(&call, State::Accepted).await;
    (reboot.await.unwrap().unwrap().name, id)
}

#[tokio::test]
async fn a_late_watcher_gets_a_snapshot_every_event_and_the_end() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let (name, id) = accepted(&world, &mut device, "pump-1").await;
    device.succeed(id, Grade::Caused).await;
    world.reaches(&name, AttemptState::Succeeded).await;
    let events = world.watch(&name, "").await.unwrap().read_to_end().await;
    let Some(Event::Snapshot(snapshot)) = &events[0].event else {
        panic!("a snapshot comes first");
    };
    assert_eq!(snapshot.state(), AttemptState::Succeeded);
    let Some(Event::Progress(last)) = &events.last().unwrap().event else {
        panic!("progress comes last");
    };
    assert!(last.terminal);
    assert_eq!(states(&events).len(), 7);
}

#[tokio::test]
async fn every_token_continues_right_after_its_event() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let (name, id) = accepted(&world, &mut device, "pump-1").await;
    device.succeed(id, Grade::Caused).await;
    let all = world.watch(&name, "").await.unwrap().read_to_end().await;
    for (index, event) in all.iter().enumerate() {
        let watch = world.watch(&name, &event.resume_token).await.unwrap();
        let rest = watch.read_to_end().await;
        assert_eq!(rest[1..], all[index + 1..], "after {event:?}");
    }
}

#[tokio::test]
async fn an_idle_watch_gets_bookmarks_with_the_age_of_the_twin() {
    let mut world = World::with("bookmark_interval = \"20ms\"").await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let (name, _) = accepted(&world, &mut device, "pump-1").await;
    let mut watch = world.watch(&name, "").await.unwrap();
    let mut newest = 0;
    let bookmark = loop {
        let event = watch.next().await.unwrap().unwrap();
        match event.event {
            Some(Event::Bookmark(bookmark)) => {
                assert_eq!(event.revision, newest);
                assert_ne!(event.resume_token, "");
                break bookmark;
            }
            Some(Event::Snapshot(_) | Event::Progress(_)) | None => newest = event.revision,
        }
    };
    assert!(bookmark.twin_age.is_some());
}

#[tokio::test]
async fn a_watch_that_is_too_old_ends_with_a_bookmark_to_go_on_from() {
    let mut world = World::with("[limits]\nwatch_age = \"500ms\"").await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let (name, id) = accepted(&world, &mut device, "pump-1").await;
    let mut events = Vec::new();
    let mut token = String::new();
    for _ in 0..2 {
        let end = watch_once(&mut world, &name, &mut token, &mut events).await;
        let status = end.expect_err("an open attempt's watch ends by its age");
        assert_eq!(status.code(), Code::Unavailable);
        let (reason, details) = details(&status);
        assert_eq!(reason, "WATCH_AGED");
        let retry = details.retry_info().unwrap().retry_delay;
        assert_eq!(retry, Some(Duration::ZERO));
    }
    device.succeed(id, Grade::Caused).await;
    // On a slow machine the verdict takes more than one watch too.
    while watch_once(&mut world, &name, &mut token, &mut events)
        .await
        .is_err()
    {}
    let newest = *events.last().unwrap();
    let all: Vec<_> = (1..=newest).collect();
    assert_eq!(events, all, "each event once, over all watches");
}

/// Watches until the stream ends, from a token to the one to go on with.
async fn watch_once(
    world: &mut World,
    name: &str,
    token: &mut String,
    events: &mut Vec<i64>,
) -> Result<(), Status> {
    let mut watch = world.watch(name, token).await.unwrap();
    let mut last = None;
    let end = loop {
        let event = match watch.next().await {
            Some(Ok(event)) => event,
            Some(Err(status)) => break Err(status),
            None => break Ok(()),
        };
        if matches!(event.event, Some(Event::Progress(_))) {
            events.push(event.revision);
        }
        last = Some(event);
    };
    let last = last.expect("a watch begins with a snapshot");
    let bookmarked = matches!(last.event, Some(Event::Bookmark(_)));
    assert_eq!(bookmarked, end.is_err(), "{last:?}");
    *token = last.resume_token;
    end
}

#[tokio::test]
async fn a_bad_token_is_refused_by_name() {
    let mut world = World::start().await;
    let mut one = Device::native(&world.emulator, "pump-1").await;
    let mut other = Device::native(&world.emulator, "pump-2").await;
    let (one, _) = accepted(&world, &mut one, "pump-1").await;
    let (other, _) = accepted(&world, &mut other, "pump-2").await;
    let mut watch = world.watch(&other, "").await.unwrap();
    let foreign = watch.next_event().await.unwrap().resume_token;
    for token in ["x", "!!", "AQ", foreign.as_str()] {
        let status = world.watch(&one, token).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{token}");
        let (_, details) = details(&status);
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "resume_token");
    }
}

#[tokio::test]
async fn a_token_older_than_the_kept_events_is_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let (name, tokens) = long_story(folder.path()).await;
    let mut world = World::in_folder(folder, "").await;
    let kept = world.watch(&name, "").await.unwrap().read_to_end().await;
    assert_eq!(kept.len(), 11, "the snapshot and the newest ten");
    let status = world.watch(&name, &tokens[0]).await.err().unwrap();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(details(&status).0, "TOKEN_TOO_OLD");
}

#[tokio::test]
async fn an_unknown_attempt_is_not_found() {
    let mut world = World::start().await;
    let name = format!("devices/pump-1/reboots/{}", Uuid::nil());
    let status = world.watch(&name, "").await.err().unwrap();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(details(&status).0, "ATTEMPT_NOT_FOUND");
}

/// Stores an ended attempt with more events than are kept; returns its name and an early token.
async fn long_story(folder: &std::path::Path) -> (String, Vec<String>) {
    let options = SqliteOptions {
        path: folder.join("mgmt-service.db"),
        events_per_attempt: 10,
    };
    let store = Sqlite::open(&options).unwrap();
    let device: DeviceId = "pump-1".parse().unwrap();
    let id = RequestId(Uuid::from_u128(1));
    let now = Timestamp::now();
    let hour = Duration::from_secs(3600);
    let (mut attempt, step) = Attempt::begin(id, device.clone(), Asked::default(), hour, now);
    let audit = Audit {
        time: now,
        who: "anonymous".into(),
        from: String::new(),
        action: "REBOOT",
        id: Some(id),
        device: Some(device.clone()),
        why: String::new(),
        verdict: Verdict::allowed(""),
    };
    let mut event = step.events[0].clone();
    let change = Change {
        attempt: attempt.clone(),
        events: step.events,
    };
    store.create(change, audit).await.unwrap();
    for revision in 2..=20 {
        attempt.view.revision = revision;
        event.revision = revision;
        event.view.clone_from(&attempt.view);
        let change = Change {
            attempt: attempt.clone(),
            events: vec![event.clone()],
        };
        store.save(change).await.unwrap();
    }
    let step = attempt.handle(Input::Cancel { abandon: false }, &Rules::default(), now);
    let change = Change {
        attempt,
        events: step.events,
    };
    store.save(change).await.unwrap();
    // Version 1, the id, and revision 3, as any token of this attempt would be.
    let mut bytes = vec![1];
    bytes.extend(id.0.as_bytes());
    bytes.extend(3_i64.to_be_bytes());
    let token = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
    (format!("devices/{device}/reboots/{id}"), vec![token])
}
