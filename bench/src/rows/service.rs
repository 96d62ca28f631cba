//! Reboots through the service, beside the hub's own method call.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};

use super::Row;
use crate::{
    Effort,
    device::Dialer,
    emulator::EmulatorProcess,
    floor,
    measure::Measure,
    peers,
    service::{ServiceProcess, request, unhurried},
    statistics::{micros, percentile},
    unary,
};

pub(super) const ROW: Row = Row {
    name: "service",
    about: "reboots asked for through the service, one after the other and many at once",
    ids: &["A1", "A2", "A12"],
    rounds: 3,
    run: |effort| run(effort).boxed_local(),
};

const AT_ONCE: usize = 32;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    // Each device is asked once: it has an open attempt from then on.
    let (few, many) = (effort.count(500, 20), effort.count(2_000, 100));
    let emulator = EmulatorProcess::start(few + many).await?;
    let dialer = Dialer::new(&emulator)?;
    let devices: Vec<&String> = emulator.devices.keys().collect();
    let connected = dialer.connect_all(emulator.devices.values()).await?;
    // They end with the emulator, whose end is an error here.
    let answering: Vec<_> = connected
        .into_iter()
        .map(|device| tokio::spawn(device.answer_methods()))
        .collect();
    let service = ServiceProcess::start_with(&emulator, &unhurried()).await?;
    let idle = service.process.memory()? / 1024.0;

    let (hub, token) = emulator.service()?;
    let body = json!({"methodName": "echo", "payload": {"n": 1}}).to_string();
    let mut client = service.client().await?;
    let (mut raw, mut whole) = (Vec::new(), Vec::new());
    for device in &devices[..few] {
        let begin = Instant::now();
        let call = hub
            .post(emulator.url(&format!("/twins/{device}/methods")))
            .header("Authorization", &token)
            .header("Content-Type", "application/json")
            .body(body.clone());
        let answer = call.send().await?.error_for_status()?.text().await?;
        raw.push(begin.elapsed());
        ensure!(answer.contains("\"status\":200"), "{answer}");
        let begin = Instant::now();
        client.reboot(request(device)).await?;
        whole.push(begin.elapsed());
    }

    let (before, memory) = (service.process.processor_time()?, service.process.memory()?);
    let begin = Instant::now();
    let mut asked = stream::iter(&devices[few..])
        .map(|device| {
            let mut client = client.clone();
            async move { client.reboot(request(device)).await.map(drop) }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(done) = asked.next().await {
        done.context("ask for a reboot")?;
    }
    let took = begin.elapsed().as_secs_f64();
    let cpu = (service.process.processor_time()? - before).as_secs_f64() * 1e6 / many as f64;
    let each = (service.process.memory()? - memory) / many as f64;
    let peers = peers::reboots(&emulator, devices[0], effort).await;
    let empty = unary::measure(&service.process, &service.address, unary::HEALTH, effort).await?;
    let bare = |field: &str| empty[field].as_f64().unwrap_or(f64::NAN);
    let theirs = |said: &Value, field: &str| {
        Some(said["method"][field].as_f64()? + said["unary"][field].as_f64()?)
    };
    for device in answering {
        device.abort();
    }
    let (raw_50, raw_99) = (percentile(&mut raw, 0.5), percentile(&mut raw, 0.99));
    let added = percentile(&mut whole, 0.5) - raw_50;
    Ok(vec![
        Measure::new(
            "A1 service: added to the hub's method call, p50 (us)",
            added,
        )
        .floor(bare("p50"))
        .peers(&peers, |said| Some(theirs(said, "p50")? - raw_50))
        .at_most(200.0),
        Measure::new(
            "A1 service: added, to an empty gRPC call",
            added / bare("p50"),
        )
        .at_most(1.5),
        Measure::new(
            "A1 service: added to the hub's method call, p99 (us)",
            percentile(&mut whole, 0.99) - raw_99,
        )
        .floor(bare("p99"))
        .peers(&peers, |said| Some(theirs(said, "p99")? - raw_99))
        .at_most(1_000.0),
        Measure::new(
            "A2 service: processor time of a reboot, 32 at once (us)",
            cpu,
        )
        .floor(bare("cpu"))
        .peers(&peers, |said| theirs(said, "cpu"))
        .at_most(60.0),
        Measure::new(
            "A2 service: reboots begun, 32 at once (1/s)",
            many as f64 / took,
        )
        .at_least(1_000.0),
        Measure::new("A2 service: memory of an open attempt (KiB)", each),
        Measure::new("A12 service: memory after the start (MiB)", idle)
            .peers(&peers, |said| said["memory"].as_f64())
            .at_most(6.0),
        Measure::new(
            "A12 service: start to ready (ms)",
            service.process.took.as_secs_f64() * 1e3,
        )
        .floor(micros(&floor::empty_program()?) / 1e3)
        .peers(&peers, |said| said["start"].as_f64())
        .at_most(10.0),
    ])
}
