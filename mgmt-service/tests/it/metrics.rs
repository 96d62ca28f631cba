//! What is counted while attempts live and end.

use std::{collections::BTreeSet, time::Duration};

use iot_hub::reboot::{Grade, State};
use iothubdm_proto::v1::{AttemptState, OfflinePolicy, RebootRequest};
use serde_json::Value;
use tonic::Code;

use crate::{
    device::Device,
    world::{World, request, within},
};

#[tokio::test]
async fn an_attempt_is_counted_from_its_beginning_to_its_verdict() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    assert_eq!(
        world.metric("mgmt_service_attempts{state=\"ACCEPTED\"}"),
        0.0
    );
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    assert_eq!(
        world.metric("mgmt_service_attempts{state=\"DISPATCHING\"}"),
        1.0
    );
    let id = device.accept(&call, State::Accepted).await;
    let attempt = reboot.await.unwrap().unwrap();
    assert_eq!(
        world.metric("mgmt_service_attempts{state=\"ACCEPTED\"}"),
        1.0
    );
    assert_eq!(
        world.metric("mgmt_service_acknowledgement_seconds_count"),
        1.0
    );

    let watch = world.watch(&attempt.name, "").await.unwrap();
    assert_eq!(world.metric("mgmt_service_watchers"), 1.0);
    // A service that was stopped counts anew, and counts what is open.
    drop(watch);
    world.stop().await;
    world.start_again().await;
    world.get(&attempt.name).await.unwrap();
    assert_eq!(
        world.metric("mgmt_service_attempts{state=\"ACCEPTED\"}"),
        1.0
    );

    let watch = world.watch(&attempt.name, "").await.unwrap();
    device.succeed(id, Grade::Caused).await;
    watch.read_to_end().await;
    let verdict =
        "mgmt_service_attempts_ended_total{state=\"SUCCEEDED\",error=\"\",grade=\"CAUSED\"}";
    assert_eq!(world.metric(verdict), 1.0, "{}", world.metrics());
    let decided = "mgmt_service_time_to_verdict_seconds_count{state=\"SUCCEEDED\"}";
    assert_eq!(world.metric(decided), 1.0);
    for state in State::ALL {
        let open = format!("mgmt_service_attempts{{state=\"{state}\"}}");
        assert_eq!(world.metric(&open), 0.0, "{state}");
    }
    assert_eq!(
        world.metric("mgmt_service_acknowledgement_seconds_count"),
        0.0
    );
    let methods = "mgmt_service_hub_calls_total{kind=\"method\",result=\"ok\"}";
    assert_eq!(
        world.metric(methods),
        0.0,
        "the call was made by the service before"
    );
    assert!(world.metric("mgmt_service_hub_calls_total{kind=\"twin\",result=\"ok\"}") >= 1.0);
    let saved = "mgmt_service_store_operation_seconds_count{operation=\"save\"}";
    assert!(world.metric(saved) >= 1.0);
    within(async {
        while world.metric("mgmt_service_watchers") > 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let text = world.metrics();
    assert!(
        !text.contains("pump-1") && !text.contains(&id.to_string()),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_begun_is_counted_as_withdrawn() {
    let mut world = World::start().await;
    let refused = world.reboot("nobody").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(
        world.metric("mgmt_service_attempts_begun_total{mode=\"graceful\"}"),
        1.0
    );
    assert_eq!(world.metric("mgmt_service_attempts_withdrawn_total"), 1.0);
    assert_eq!(
        world.metric("mgmt_service_attempts{state=\"PENDING\"}"),
        0.0
    );
    assert!(
        world.metric("mgmt_service_hub_calls_total{kind=\"twin\",result=\"no_device\"}") >= 1.0
    );
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end_and_while_they_are_open() {
    let mut world = World::start().await;
    world.emulator.register(&"asleep".parse().unwrap());
    let ended = |method: &str, code: &str| {
        format!("mgmt_service_rpcs_total{{method=\"{method}\",code=\"{code}\"}}")
    };
    let refused = world.reboot("nobody").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(world.metric(&ended("Reboot", "NotFound")), 1.0);
    let queued = RebootRequest {
        offline_policy: OfflinePolicy::Queue.into(),
        ..request("asleep")
    };
    let attempt = world.ask(queued).await.unwrap();
    assert_eq!(world.metric(&ended("Reboot", "Ok")), 1.0);
    let open = "mgmt_service_rpcs_open{method=\"WatchReboot\"}";
    let mut watch = world.watch(&attempt.name, "").await.unwrap();
    assert_eq!(world.metric(open), 1.0);
    world.cancel_and_expect(&mut watch, &attempt.name).await;
    watch.read_to_end().await;
    let given_up = world.watch(&attempt.name, "").await.unwrap();
    drop(given_up);
    within(async {
        while world.metric(open) > 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(world.metric(&ended("WatchReboot", "Ok")) >= 1.0);
    let kinds = ["twin", "twin_patch", "method", "hanging", "query"];
    for kind in kinds {
        let limit = format!("mgmt_service_hub_calls_per_second_limit{{kind=\"{kind}\"}}");
        assert!(world.metric(&limit) > 0.0, "{}", world.metrics());
    }
}

#[tokio::test]
async fn how_old_the_readings_are_is_known_while_an_attempt_is_open() {
    let world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    assert_eq!(world.metric("mgmt_service_twin_staleness_seconds"), 0.0);
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    let attempt = reboot.await.unwrap().unwrap();
    assert_eq!(attempt.state(), AttemptState::Accepted);
    world.emulator.faults().pause();
    within(async {
        while world.metric("mgmt_service_twin_staleness_seconds") < 0.2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(world.metric("mgmt_service_hub_reached"), 0.0);
}

/// The metrics that a text of queries names, without what Prometheus adds to a histogram's name.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("mgmt_service_") || word.starts_with("process_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect()
}

#[tokio::test]
async fn what_the_dashboard_and_the_alerts_ask_for_is_there() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    let id = device.accept(&call, State::Accepted).await;
    let attempt = reboot.await.unwrap().unwrap();
    let watch = world.watch(&attempt.name, "").await.unwrap();
    device.succeed(id, Grade::Caused).await;
    watch.read_to_end().await;
    let metrics = world.metrics();
    let samples: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect();

    let dashboard = include_str!("../../../deploy/grafana/mgmt-service.json");
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    let alerts = include_str!("../../../deploy/prometheus/alerts.yaml");
    let asked: BTreeSet<_> = queries
        .iter()
        .flat_map(|query| named(query))
        .chain(named(alerts))
        .collect();
    assert!(asked.len() > 15, "{asked:?}");
    let missing: Vec<_> = asked.difference(&samples).collect();
    assert!(missing.is_empty(), "{missing:?} not in {metrics}");
    let help = include_str!("../../README.md");
    for name in samples
        .iter()
        .filter(|name| name.starts_with("mgmt_service_"))
    {
        let family = name
            .strip_suffix("_count")
            .or(name.strip_suffix("_sum"))
            .unwrap_or(name);
        assert!(
            help.contains(&format!("`{family}`")),
            "{family} is not in the README"
        );
    }
}
