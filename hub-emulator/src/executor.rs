//! What the hub does by itself: runs jobs when their time has come, device by device, applies
//! configurations, and sends messages again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use iot_hub::error::HubError;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::{DeviceOutcome, EntityId, JobId, Started, Work, is_too_deep};
use crate::invoke::invoke;
use crate::switchboard::Switchboard;
use crate::throttle::Kind;

/// How many devices of one job are at work at the same time.
const DEVICES_AT_ONCE: usize = 64;

/// Applies configurations until shutdown.
pub(crate) async fn configure(switchboard: Arc<Switchboard>, shutdown: CancellationToken) {
    while shutdown
        .run_until_cancelled(switchboard.wait_until(|state| state.hub.has_stale_twins()))
        .await
        .is_some()
    {
        switchboard.change(|state, now| {
            let effects = state.hub.apply_configurations(now.wall);
            state.carry_out(effects);
        });
    }
}

/// Sends messages again that were not acknowledged, and lets them expire, until shutdown.
pub(crate) async fn look_at_inboxes(switchboard: Arc<Switchboard>, shutdown: CancellationToken) {
    loop {
        let next = switchboard.read(|state| state.hub.next_look_at_inboxes());
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep_until(next) => switchboard.change(|state, now| {
                let effects = state.hub.look_at_inboxes(now.wall);
                state.carry_out(effects);
            }),
            () = switchboard.wait_until(|state| state.hub.next_look_at_inboxes() != next) => {}
        }
    }
}

/// Runs jobs until shutdown.
pub(crate) async fn run(switchboard: Arc<Switchboard>, shutdown: CancellationToken) {
    let jobs = TaskTracker::new();
    loop {
        while let Some(job) = switchboard.read(|state| state.hub.due_job(Timestamp::now())) {
            let started = switchboard.change(|state, now| state.hub.start_job(&job, now.wall));
            let Some(started) = started else { continue };
            let (switchboard, shutdown) = (Arc::clone(&switchboard), shutdown.clone());
            jobs.spawn(async move {
                shutdown
                    .run_until_cancelled(execute(&switchboard, &job, &started))
                    .await;
            });
        }
        let next = switchboard.read(|state| state.hub.next_job_start());
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep_until(next) => {}
            () = switchboard.wait_until(|state| state.hub.next_job_start() != next) => {}
        }
    }
    jobs.close();
    jobs.wait().await;
}

async fn sleep_until(time: Option<Timestamp>) {
    match time {
        None => std::future::pending().await,
        Some(time) => {
            let wait = time.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
        }
    }
}

/// Does a job's work until it is done, cancelled, or out of time.
async fn execute(switchboard: &Switchboard, job: &JobId, started: &Started) {
    let turns = stream::iter(&started.devices).then(async |device| {
        // A job's turn comes; it is never refused.
        let _ = switchboard.pass(Kind::JobDevices, 1).await;
        device
    });
    let work = turns.for_each_concurrent(DEVICES_AT_ONCE, |device| async {
        switchboard.change(|state, now| state.hub.job_begins(job, device, now.wall));
        let outcome = perform(switchboard, device, &started.work).await;
        switchboard.change(|state, now| state.hub.job_ends(job, device, outcome, now.wall));
    });
    tokio::select! {
        () = work => {}
        () = switchboard.wait_until(|state| !state.hub.job_is_running(job)) => {}
        () = tokio::time::sleep(started.time_limit) => {
            switchboard.change(|state, now| state.hub.job_times_out(job, now.wall));
        }
    }
}

async fn perform(switchboard: &Switchboard, device: &EntityId, work: &Work) -> DeviceOutcome {
    match work {
        Work::Method { call, .. } => {
            let (status, payload) = invoke(switchboard, device, call).await?;
            Ok(json!({"deviceMethodResponse": {"status": status, "payload": answered(&payload)}}))
        }
        Work::UpdateTwin {
            change, condition, ..
        } => switchboard.change(|state, now| {
            let change = change.as_ref().clone();
            let effects = state
                .hub
                .change_twin(device, change, Some(condition), now.wall)?;
            state.carry_out(effects);
            Ok::<Value, HubError>(Value::Null)
        }),
    }
}

/// What a device answered: an empty body is null, as in the answer to a direct call, and what is no
/// JSON, or is nested too deeply to be kept, is kept as its text.
fn answered(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .ok()
        .filter(|answer| !is_too_deep(answer))
        .unwrap_or_else(|| Value::from(String::from_utf8_lossy(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_device_answers_is_kept() {
        for (body, expected) in [
            ("", Value::Null),
            ("null", Value::Null),
            (r#"{"a":1}"#, json!({"a": 1})),
            ("'started'", json!("'started'")),
        ] {
            assert_eq!(answered(body.as_bytes()), expected, "{body}");
        }
        let lists = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(answered(lists(100).as_bytes()).is_array());
        assert_eq!(answered(lists(101).as_bytes()), lists(101));
    }
}
