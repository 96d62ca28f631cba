//! A request that waits in the twin of a device that is not connected.

use iot_hub::reboot::{Dialect, Grade, State};
use jiff::Timestamp;
use serde_json::json;

use super::scene::{Scene, evidence, id, native, queue, reported, tutorial};
use crate::attempt::{Asked, Effect, Input, Reading, Trouble, Written};

/// What a twin shows in which nothing of the attempt is.
fn without(etag: &str) -> Reading {
    Reading {
        etag: etag.into(),
        ..native(None)
    }
}

/// What a twin shows in which the request waits.
fn with_entry(etag: &str) -> Reading {
    Reading {
        queued: Some(id()),
        ..without(etag)
    }
}

/// A scene whose request is being written into the twin.
fn writing() -> Scene {
    let mut scene = Scene::begin(queue());
    scene.read(without("e1"));
    scene.take_effects();
    scene.input(Input::Undelivered(Trouble::Offline));
    scene
}

/// A scene whose request waits in the twin.
fn queued() -> Scene {
    let mut scene = writing();
    scene.take_effects();
    scene.input(Input::Enqueued(Written::Done));
    assert_eq!(scene.take_effects(), []);
    scene
}

impl Scene {
    #[track_caller]
    fn removes(&mut self, etag: &str) {
        let etag = etag.to_owned();
        assert_eq!(self.take_effects(), [Effect::Dequeue { etag }]);
    }
}

#[test]
fn an_offline_device_gets_the_request_into_its_twin() {
    let mut scene = writing();
    let deadline = scene.at(90).to_string();
    let effects = scene.take_effects();
    let [Effect::Enqueue { request, etag }] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(etag, "e1");
    assert_eq!(request["requestId"], json!(id().to_string()));
    assert_eq!(request["deadline"], json!(deadline));
    // Nothing of a request that was there before stays behind in the merge.
    assert_eq!(request.get("ifBootId"), Some(&json!(null)));
    assert_eq!(scene.attempt.view.state, State::Pending);
    assert!(scene.attempt.is_under_way());

    scene.input(Input::Enqueued(Written::Done));
    scene.read(with_entry("e2"));
    assert_eq!(scene.take_effects(), [], "no second call, no second write");
    scene.read(Reading {
        queued: Some(id()),
        ..native(Some(reported(State::Rebooting, scene.now)))
    });
    assert_eq!(scene.attempt.view.state, State::Rebooting);
    scene.removes("");
}

#[test]
fn only_a_gateway_of_ours_finds_a_request_in_the_twin() {
    for dialect in [None, Some(Dialect::Tutorial)] {
        let mut scene = Scene::begin(queue());
        scene.read(tutorial(dialect, None));
        scene.take_effects();
        scene.input(Input::Undelivered(Trouble::Offline));
        assert_eq!(scene.take_effects(), []);
        scene.wake();
        assert_eq!(scene.take_effects(), [Effect::Read]);
    }
}

/// A scene whose first call may have arrived, and whose device was away at the second: the request is
/// being written into its twin.
fn asked_twice() -> Scene {
    let mut scene = Scene::begin(queue());
    scene.read(without("e1"));
    scene.takes_call("reboot");
    scene.input(Input::Ambiguous("cut".into()));
    scene.after(2);
    scene.take_effects();
    scene.read(without("e1"));
    scene.takes_call("reboot");
    scene.input(Input::Undelivered(Trouble::Offline));
    let effects = scene.take_effects();
    assert!(
        matches!(&effects[..], [Effect::Enqueue { .. }]),
        "{effects:?}"
    );
    scene.input(Input::Enqueued(Written::Conflict));
    scene.wake();
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene
}

#[test]
fn a_device_that_seems_to_be_of_another_kind_meanwhile_is_not_called_again() {
    for dialect in [None, Some(Dialect::Tutorial)] {
        let mut scene = asked_twice();
        // Whoever set the tag changed the twin between our reading and our writing.
        scene.read(Reading {
            dialect,
            ..without("e2")
        });
        scene.after(60);
        scene.input(Input::Tick);
        scene.read(Reading {
            dialect,
            ..without("e2")
        });
        let calls = |effect: &Effect| matches!(effect, Effect::Call { .. });
        assert!(!scene.take_effects().iter().any(calls), "{dialect:?}");
        scene.pass_deadline();
        scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
    }
}

#[test]
fn what_may_have_begun_has_not_failed_for_what_is_in_the_way_of_asking_again() {
    let mut gone = asked_twice();
    gone.input(Input::NotRead(Trouble::NoDevice));
    let mut other = asked_twice();
    let mut reading = without("e2");
    let report = reading.report.as_mut().unwrap();
    report.capabilities.as_mut().unwrap().modes.clear();
    other.read(reading);
    for mut scene in [gone, other] {
        assert!(!scene.attempt.view.state.is_terminal());
        let mut report = reported(State::Succeeded, scene.now);
        report.evidence = Some(evidence(Grade::Caused));
        scene.read(native(Some(report)));
        scene.ended(State::Succeeded, None);
    }
}

#[test]
fn a_twin_that_changed_meanwhile_is_read_again() {
    let mut scene = writing();
    scene.take_effects();
    scene.input(Input::Enqueued(Written::Conflict));
    scene.wake();
    assert_eq!(scene.take_effects(), [Effect::Read]);
    // The write can take no effect any more, so the device is called first: it may be back.
    scene.read(without("e2"));
    scene.takes_call("reboot");
    scene.input(Input::Undelivered(Trouble::Offline));
    let effects = scene.take_effects();
    assert!(
        matches!(&effects[..], [Effect::Enqueue { etag, .. }] if etag == "e2"),
        "{effects:?}"
    );
}

#[test]
fn a_write_of_which_nobody_knows_is_found_or_repeated() {
    let mut scene = writing();
    scene.take_effects();
    scene.input(Input::Enqueued(Written::Unknown("cut".into())));
    scene.wake();
    scene.take_effects();
    // It may take effect yet: the same write again does no harm.
    scene.read(without("e1"));
    let effects = scene.take_effects();
    assert!(
        matches!(&effects[..], [Effect::Enqueue { etag, .. }] if etag == "e1"),
        "{effects:?}"
    );
    scene.input(Input::Enqueued(Written::Unknown("cut".into())));
    scene.wake();
    scene.take_effects();
    scene.read(with_entry("e2"));
    assert_eq!(scene.take_effects(), []);
}

#[test]
fn a_service_killed_while_it_writes_finds_out_what_came_of_it() {
    for (shown, calls) in [(with_entry("e2"), false), (without("e2"), true)] {
        let mut scene = writing();
        scene.take_effects();
        scene.input(Input::Resumed);
        assert_eq!(scene.take_effects(), [Effect::Read]);
        scene.read(shown);
        let effects = scene.take_effects();
        let called = matches!(&effects[..], [Effect::Call { .. }]);
        assert_eq!(called, calls, "{effects:?}");
    }
}

#[test]
fn cancelling_removes_the_request_and_then_looks_whether_it_was_taken() {
    for taken in [false, true] {
        let mut scene = queued();
        scene.input(Input::Cancel { abandon: false });
        assert_eq!(scene.take_effects(), [Effect::Read]);
        assert!(!scene.attempt.is_cancel_settled());
        scene.read(with_entry("e2"));
        scene.removes("e2");
        scene.input(Input::Dequeued(Written::Done));
        assert_eq!(scene.take_effects(), [Effect::Read]);
        assert!(!scene.attempt.view.state.is_terminal(), "not certain yet");
        scene.after(1);
        if taken {
            scene.read(native(Some(reported(State::Accepted, scene.now))));
            scene.takes_cancel();
            assert_eq!(scene.attempt.view.state, State::Accepted);
        } else {
            scene.read(without("e3"));
            scene.ended(State::Cancelled, None);
            assert_eq!(scene.take_effects(), []);
            assert!(!scene.attempt.has_aftermath());
        }
    }
}

#[test]
fn a_reading_begun_before_the_removal_settles_nothing() {
    let mut scene = queued();
    scene.input(Input::Cancel { abandon: false });
    scene.read(with_entry("e2"));
    let before = scene.now;
    scene.after(1);
    scene.input(Input::Dequeued(Written::Done));
    let mut old = without("e3");
    old.begun = before;
    scene.input(Input::Read(Box::new(old)));
    assert!(!scene.attempt.view.state.is_terminal());
    scene.read(without("e3"));
    scene.ended(State::Cancelled, None);
}

#[test]
fn a_cancel_before_the_writes_outcome_is_known_shuts_it_out() {
    let mut scene = writing();
    scene.take_effects();
    scene.input(Input::Cancel { abandon: false });
    scene.take_effects();
    // The twin is as it was: the write may take effect yet, unless the twin moves on.
    scene.read(without("e1"));
    scene.removes("e1");
    scene.input(Input::Enqueued(Written::Conflict));
    scene.input(Input::Dequeued(Written::Done));
    scene.read(without("e2"));
    scene.ended(State::Cancelled, None);
}

#[test]
fn at_the_deadline_the_request_is_removed_and_expires() {
    let mut scene = queued();
    scene.wake();
    assert_eq!(scene.now, scene.at(0).min(scene.attempt.view.deadline));
    assert!(scene.now < scene.attempt.view.deadline);
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene.read(with_entry("e2"));
    scene.removes("e2");
    scene.input(Input::Dequeued(Written::Done));
    scene.read(without("e3"));
    scene.take_effects();
    assert!(!scene.attempt.view.state.is_terminal());
    scene.pass_deadline();
    scene.ended(State::Expired, Some("DEADLINE_EXCEEDED"));
    assert!(!scene.attempt.has_aftermath());
}

#[test]
fn a_request_that_could_not_be_removed_in_time_is_lost_and_removed_later() {
    let mut scene = queued();
    scene.pass_deadline();
    scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
    assert!(scene.attempt.has_aftermath());
    scene.take_effects();
    scene.input(Input::Resumed);
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene.read(with_entry("e2"));
    scene.removes("e2");
    scene.input(Input::Dequeued(Written::Conflict));
    scene.take_effects();
    scene.read(with_entry("e3"));
    scene.removes("e3");
    scene.input(Input::Dequeued(Written::Done));
    scene.read(without("e4"));
    assert_eq!(scene.attempt.view.state, State::Lost);
}

#[test]
fn a_service_that_was_down_at_the_deadline_still_finds_out() {
    let mut scene = queued();
    scene.now = scene.attempt.view.deadline;
    scene.after(5);
    scene.input(Input::Resumed);
    scene.take_effects();
    scene.read(with_entry("e2"));
    scene.removes("e2");
    scene.input(Input::Dequeued(Written::Done));
    scene.take_effects();
    scene.read(without("e3"));
    scene.ended(State::Expired, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn another_attempts_request_is_left_alone() {
    let mut scene = queued();
    scene.input(Input::Cancel { abandon: true });
    scene.ended(State::Lost, Some("ABANDONED"));
    scene.take_effects();
    scene.after(1);
    scene.read(Reading {
        queued: Some(iot_hub::reboot::RequestId(uuid::Uuid::nil())),
        ..without("e2")
    });
    assert_eq!(scene.take_effects(), []);
}

#[test]
fn a_request_that_somebody_else_removed_is_sent_again() {
    let mut scene = queued();
    scene.after(1);
    scene.read(without("e3"));
    assert_eq!(scene.take_effects(), []);
    scene.wake();
    scene.take_effects();
    scene.read(without("e3"));
    scene.takes_call("reboot");
}

#[test]
fn a_device_that_was_gone_after_an_ambiguous_call_is_queued_for_too() {
    let mut scene = Scene::begin(queue());
    scene.read(without("e1"));
    scene.input(Input::Ambiguous("504101".into()));
    scene.after(1);
    scene.take_effects();
    scene.read(without("e1"));
    scene.takes_call("reboot");
    scene.input(Input::Undelivered(Trouble::Offline));
    let effects = scene.take_effects();
    assert!(
        matches!(&effects[..], [Effect::Enqueue { .. }]),
        "{effects:?}"
    );
    assert_eq!(scene.attempt.view.state, State::Dispatching);
    scene.input(Input::Enqueued(Written::Done));
    scene.wake();
    scene.read(with_entry("e2"));
    scene.take_effects();
    scene.input(Input::Dequeued(Written::Done));
    scene.read(without("e3"));
    scene.pass_deadline();
    // The first call may have arrived.
    scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn an_attempt_of_a_version_that_did_not_queue_is_read() {
    let (attempt, _) = crate::attempt::Attempt::begin(
        id(),
        "d".parse().unwrap(),
        Asked::default(),
        std::time::Duration::from_secs(9),
        Timestamp::UNIX_EPOCH,
    );
    let mut value = serde_json::to_value(&attempt).unwrap();
    let progress = value["progress"].as_object_mut().unwrap();
    assert!(progress.remove("entry").is_some() && progress.remove("removing").is_some());
    assert_eq!(
        serde_json::from_value::<crate::attempt::Attempt>(value).unwrap(),
        attempt
    );
}
