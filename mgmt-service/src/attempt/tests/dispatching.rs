//! Whether and when a device is called, and what its answers mean.

use std::time::Duration;

use iot_hub::{
    method::{MethodResult, Payload},
    reboot::{Dialect, Grade, Mode, Preconditions, Refusal, RefusalCode, State, method},
};
use serde_json::json;

use super::scene::{Scene, acceptance, evidence, id, native, plain, queue, reported, tutorial};
use crate::attempt::{Asked, Effect, Input, Reading, Start, Trouble};

#[test]
fn an_ambiguous_call_is_settled_by_the_twin() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Ambiguous("504101".into()));
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene.read(native(Some(reported(State::Rebooting, scene.now))));
    assert_eq!(scene.take_effects(), []);
    scene.went_through(&[State::Pending, State::Dispatching, State::Rebooting]);
}

#[test]
fn a_device_that_dedupes_is_called_again_once_the_twin_does_not_show_the_request() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Ambiguous("cut".into()));
    scene.take_effects();
    scene.read(native(None));
    assert_eq!(scene.take_effects(), [], "the pause is not over");
    scene.after(1);
    let mut stale = native(None);
    stale.begun = scene.at(-5);
    scene.input(Input::Read(Box::new(stale)));
    assert_eq!(
        scene.take_effects(),
        [],
        "the reading is older than the try"
    );
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.pass_deadline();
    scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn a_device_that_does_not_dedupe_is_never_called_twice() {
    for dialect in [None, Some(Dialect::Tutorial), Some(Dialect::TutorialPython)] {
        let mut scene = Scene::begin(Asked::default());
        scene.read(tutorial(dialect, None));
        assert!(matches!(
            scene.take_effects().as_slice(),
            [Effect::Call { .. }]
        ));
        scene.input(Input::Ambiguous("504101".into()));
        for _ in 0..20 {
            scene.after(4);
            scene.read(tutorial(dialect, None));
        }
        let calls = scene.take_effects();
        assert!(
            !calls
                .iter()
                .any(|effect| matches!(effect, Effect::Call { .. })),
            "{calls:?}"
        );
        scene.pass_deadline();
        scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
    }
}

#[test]
fn an_offline_device_withdraws_the_request_of_a_caller_that_does_not_queue() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    assert_eq!(scene.take_effects(), [Effect::Withdraw(Trouble::Offline)]);
}

#[test]
fn a_request_for_an_offline_device_of_no_known_kind_is_tried_until_it_expires() {
    let mut scene = Scene::begin(queue());
    for _ in 0..4 {
        scene.read(tutorial(None, None));
        scene.takes_call(method::REBOOT);
        scene.input(Input::Undelivered(Trouble::Offline));
        assert_eq!(scene.attempt.view.state, State::Pending);
        scene.wake();
        assert_eq!(scene.take_effects(), [Effect::Read]);
    }
    scene.went_through(&[State::Pending, State::Dispatching, State::Pending]);
    scene.pass_deadline();
    scene.ended(State::Expired, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn no_call_is_begun_so_late_that_the_deadline_would_find_it_out() {
    let mut scene = Scene::begin(queue());
    scene.read(tutorial(None, None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.after(91);
    scene.input(Input::Tick);
    scene.take_effects();
    scene.read(tutorial(None, None));
    assert_eq!(scene.take_effects(), []);
    assert_eq!(scene.attempt.wake_at(), Some(scene.attempt.view.deadline));
    scene.pass_deadline();
    scene.ended(State::Expired, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn retry_after_is_honoured() {
    let mut scene = Scene::begin(queue());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    let retry_after = Some(Duration::from_secs(17));
    scene.input(Input::Undelivered(Trouble::Throttled { retry_after }));
    assert_eq!(scene.attempt.wake_at(), Some(scene.at(17)));
}

#[test]
fn a_device_that_knows_no_reboot_is_asked_by_the_other_name() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(tutorial(None, None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Answered(plain(404)));
    scene.takes_call(method::REBOOT_DEVICE);
    scene.input(Input::Answered(plain(404)));
    scene.ended(State::Rejected, Some("METHOD_STATUS_404"));
}

#[test]
fn a_refusal_ends_the_attempt_and_keeps_its_reasons() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    let refusal = Refusal::new(RefusalCode::Cooldown, "rebooted a moment ago");
    scene.input(Input::Answered(MethodResult {
        status: 429,
        payload: Payload::Json(refusal.to_payload()),
    }));
    scene.ended(State::Rejected, Some("COOLDOWN"));
    assert_eq!(
        scene.attempt.refused().unwrap().refusal.as_ref(),
        Some(&refusal)
    );
}

#[test]
fn what_a_device_cannot_do_is_refused_before_anything_is_sent() {
    let asked = |required_grade, mode, preconditions| Asked {
        required_grade,
        mode,
        preconditions,
        ..Asked::default()
    };
    let none = Preconditions::default();
    let boot_id = Preconditions {
        boot_id: Some("b".into()),
        min_uptime: None,
    };
    let healthy = Some(Grade::Healthy);
    for (asked, reading, trouble) in [
        (
            asked(healthy, Mode::Graceful, none.clone()),
            native(None),
            Trouble::CannotProve {
                required: Grade::Healthy,
                best: Grade::Caused,
            },
        ),
        (
            asked(None, Mode::PowerCycle, none),
            native(None),
            Trouble::NoSuchMode(Mode::PowerCycle),
        ),
        (
            asked(
                Some(Grade::Returned),
                Mode::Graceful,
                Preconditions::default(),
            ),
            tutorial(None, None),
            Trouble::CannotProve {
                required: Grade::Returned,
                best: Grade::Claimed,
            },
        ),
        (
            asked(None, Mode::Graceful, boot_id),
            tutorial(None, None),
            Trouble::CannotCheck,
        ),
    ] {
        let mut scene = Scene::begin(asked);
        scene.read(reading);
        assert_eq!(scene.take_effects(), [Effect::Withdraw(trouble)]);
    }
}

#[test]
fn a_start_in_the_future_waits_and_is_called_with_a_fresh_baseline() {
    let mut scene = Scene::begin(Asked {
        start: Start::After(Duration::from_secs(40)),
        ..Asked::default()
    });
    scene.read(native(None));
    assert_eq!(scene.take_effects(), []);
    assert_eq!(scene.attempt.wake_at(), Some(scene.at(40)));
    scene.wake();
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.ended(State::Failed, Some("UNREACHABLE"));
}

#[test]
fn the_gateway_gets_an_earlier_deadline() {
    let mut scene = Scene::begin(Asked::default());
    let deadline = scene.at(90);
    scene.read(native(None));
    let [Effect::Call { payload, .. }] = &scene.take_effects()[..] else {
        panic!("no call");
    };
    assert_eq!(payload["deadline"], json!(deadline.to_string()));
    assert_eq!(payload["requestId"], json!(id().to_string()));
}

#[test]
fn a_gateway_under_a_tutorials_tag_is_told_which_request_it_is() {
    for (dialect, method) in [
        (Dialect::Tutorial, method::REBOOT),
        (Dialect::TutorialPython, method::REBOOT_DEVICE),
    ] {
        let tagged = |attempt| Reading {
            dialect: Some(dialect),
            ..native(attempt)
        };
        let called = || {
            let mut scene = Scene::begin(Asked::default());
            scene.read(tagged(None));
            let effects = scene.take_effects();
            let [
                Effect::Call {
                    method: called,
                    payload,
                },
            ] = &effects[..]
            else {
                panic!("{effects:?}");
            };
            assert_eq!(called, method);
            assert_eq!(payload["requestId"], id().to_string());
            scene
        };
        let mut scene = called();
        scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
        assert_eq!(scene.attempt.view.dialect, Some(Dialect::Native));
        let mut report = reported(State::Succeeded, scene.now);
        report.evidence = Some(evidence(Grade::Caused));
        scene.read(tagged(Some(report)));
        scene.ended(State::Succeeded, None);

        // The device has moved on to a tutorial's program, and the report is an old one.
        let mut scene = called();
        scene.input(Input::Answered(plain(200)));
        assert_eq!(scene.attempt.view.dialect, Some(dialect));
        scene.read(Reading {
            claims: [Some(scene.now); 4],
            ..tagged(None)
        });
        scene.ended(State::Succeeded, None);
        let evidence = scene.attempt.view.evidence.unwrap();
        assert_eq!(evidence.grade, Grade::Claimed);
    }
}
