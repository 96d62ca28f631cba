//! What a service is made of, ours and others': a call of the hub, and an empty call of its own.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use serde_json::json;

use super::Row;
use crate::{
    Effort,
    device::Dialer,
    emulator::EmulatorProcess,
    floor,
    measure::Measure,
    peers,
    process::own_processor_time,
    service::ServiceProcess,
    statistics::{micros, percentile},
    unary,
};

pub(super) const ROW: Row = Row {
    name: "hub-calls",
    about: "a method call and a twin read with each library for services, and an empty gRPC call",
    ids: &["A1"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let emulator = EmulatorProcess::start(1).await?;
    let (id, connection) = emulator.devices.iter().next().context("a device")?;
    let device = Dialer::new(&emulator)?.connect(connection).await?;
    // It ends with the emulator, whose end is an error here.
    let device = tokio::spawn(device.answer_methods());
    let peers = peers::reboots(&emulator, id, effort).await;
    let service = ServiceProcess::start(&emulator).await?;
    let empty = unary::measure(&service.process, &service.address, unary::HEALTH, effort).await?;

    let (client, token) = emulator.service()?;
    let body = json!({"methodName": "echo", "payload": {"n": 1}}).to_string();
    let method = || {
        client
            .post(emulator.url(&format!("/twins/{id}/methods")))
            .header("Authorization", &token)
            .header("Content-Type", "application/json")
            .body(body.clone())
    };
    let twin = || {
        let url = emulator.url(&format!("/twins/{id}"));
        client.get(url).header("Authorization", &token)
    };
    let methods = Calls::measure(method, effort).await?;
    let twins = Calls::measure(twin, effort).await?;
    device.abort();
    let (hop, _) = floor::ping_pong(effort.count(20_000, 1_000))?;
    let of = |part: &'static str, field: &'static str| {
        move |said: &serde_json::Value| said[part][field].as_f64()
    };
    let mut measures = Vec::new();
    for (what, part, calls, hops) in [
        ("method call", "method", methods, 2.0),
        ("twin read", "twin", twins, 1.0),
    ] {
        measures.extend([
            Measure::new(format!("A1 part: {what} of the hub, p50 (us)"), calls.p50)
                .floor(hops * hop)
                .peers(&peers, of(part, "p50")),
            Measure::new(format!("A1 part: {what} of the hub, p99 (us)"), calls.p99)
                .peers(&peers, of(part, "p99")),
            Measure::new(
                format!("A1 part: {what} of the hub, processor time (us)"),
                calls.cpu,
            )
            .peers(&peers, of(part, "cpu")),
        ]);
    }
    for (what, field) in [
        ("p50", "p50"),
        ("p99", "p99"),
        ("processor time, 32 at once", "cpu"),
    ] {
        let ours = empty[field].as_f64().unwrap_or(f64::NAN);
        measures.push(
            Measure::new(format!("A1 part: empty gRPC call, {what} (us)"), ours)
                .peers(&peers, of("unary", field)),
        );
    }
    Ok(measures)
}

/// One call after the other, in microseconds.
struct Calls {
    p50: f64,
    p99: f64,
    /// The processor time of this process, which answers for the device, too.
    cpu: f64,
}

impl Calls {
    async fn measure(
        request: impl Fn() -> reqwest::RequestBuilder,
        effort: Effort,
    ) -> anyhow::Result<Self> {
        let mut times: Vec<Duration> = Vec::new();
        let count = effort.count(3_000, 100);
        let before = own_processor_time()?;
        for _ in 0..count {
            let begin = Instant::now();
            let answer = request().send().await?.error_for_status()?;
            answer.bytes().await?;
            times.push(begin.elapsed());
        }
        Ok(Self {
            cpu: micros(&(own_processor_time()? - before)) / count as f64,
            p50: percentile(&mut times, 0.5),
            p99: percentile(&mut times, 0.99),
        })
    }
}
