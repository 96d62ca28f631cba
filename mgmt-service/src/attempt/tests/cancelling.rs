//! Cancelling and abandoning.

use iot_hub::{
    method::{MethodResult, Payload},
    reboot::{Refusal, RefusalCode, State},
};

use super::scene::{Scene, acceptance, native, queue, reported, tutorial};
use crate::attempt::{Asked, CancelAnswer, Input, Trouble};

#[test]
fn cancelling_before_the_call_ends_it_at_once() {
    let mut scene = Scene::begin(queue());
    scene.read(tutorial(None, None));
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.input(Input::Cancel { abandon: false });
    scene.ended(State::Cancelled, None);
}

#[test]
fn cancelling_after_the_call_asks_the_device() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.take_effects();
    scene.input(Input::Cancel { abandon: false });
    assert_eq!(scene.take_effects(), [], "the call is still out");
    scene.input(Input::Answered(acceptance(State::Blocked, scene.now)));
    scene.takes_cancel();
    assert!(scene.attempt.view.cancel_requested);
    scene.input(Input::CancelAnswered(CancelAnswer::Ambiguous(
        "504101".into(),
    )));
    scene.read(native(Some(reported(State::Blocked, scene.now))));
    assert!(scene.attempt.view.cancel_requested);
    scene.take_effects();
    scene.after(10);
    scene.read(native(Some(reported(State::Blocked, scene.at(-10)))));
    scene.takes_cancel();
    let answer = acceptance(State::Cancelled, scene.now);
    scene.input(Input::CancelAnswered(CancelAnswer::Answered(answer)));
    scene.ended(State::Cancelled, None);
    assert!(!scene.attempt.view.cancel_requested);
}

#[test]
fn past_the_point_of_no_return_only_abandoning_ends_it() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Rebooting, scene.now)));
    scene.take_effects();
    scene.input(Input::Cancel { abandon: false });
    assert_eq!(scene.take_effects(), []);
    assert_eq!(scene.attempt.view.state, State::Rebooting);
    scene.input(Input::Cancel { abandon: true });
    scene.ended(State::Lost, Some("ABANDONED"));
}

#[test]
fn a_device_whose_cancel_came_too_late_goes_on() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    scene.input(Input::Cancel { abandon: false });
    let refusal = Refusal::new(RefusalCode::TooLate, "the command is out");
    scene.input(Input::CancelAnswered(CancelAnswer::Answered(
        MethodResult {
            status: 412,
            payload: Payload::Json(refusal.to_payload()),
        },
    )));
    assert!(!scene.attempt.view.cancel_requested);
    assert!(!scene.attempt.view.state.is_terminal());
}
