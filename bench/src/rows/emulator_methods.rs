//! A method from a service to a device and back.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::json;

use super::Row;
use crate::{
    Effort, device::Dialer, emulator::EmulatorProcess, floor, measure::Measure,
    statistics::percentile,
};

pub(super) const ROW: Row = Row {
    name: "emulator-methods",
    about: "a direct method to a device and back",
    ids: &["C4"],
    rounds: 3,
    run: |effort| run(effort).boxed_local(),
};

const AT_ONCE: usize = 32;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let emulator = EmulatorProcess::start(1).await?;
    let (id, connection) = emulator.devices.iter().next().context("a device")?;
    let device = Dialer::new(&emulator)?.connect(connection).await?;
    // It ends with the emulator, whose end is an error here.
    let device = tokio::spawn(device.answer_methods());
    let (client, token) = emulator.service()?;
    let url = emulator.url(&format!("/twins/{id}/methods"));
    let body = json!({"methodName": "echo", "payload": {"n": 1}}).to_string();
    let call = async || {
        let request = client
            .post(&url)
            .header("Authorization", &token)
            .header("Content-Type", "application/json")
            .body(body.clone());
        let answer = request.send().await?.error_for_status()?.text().await?;
        ensure!(answer.contains("\"status\":200"), "{answer}");
        anyhow::Ok(())
    };

    let mut times = Vec::new();
    for number in 0..effort.count(20_000, 500) {
        let begin = Instant::now();
        call().await?;
        // The first ones pay for the connection.
        if number >= 50 {
            times.push(begin.elapsed());
        }
    }
    let count = effort.count(60_000, 1_000);
    let before = emulator.processor_time()?;
    let begin = Instant::now();
    let mut calls = stream::iter(0..count)
        .map(|_| call())
        .buffer_unordered(AT_ONCE);
    while let Some(done) = calls.next().await {
        done?;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    let cpu = (emulator.processor_time()? - before).as_secs_f64() * 1e6 / count as f64;
    device.abort();
    let (floor, floor_99) = floor::ping_pong(effort.count(20_000, 1_000))?;
    Ok(vec![
        // Two hops: to the emulator, and on to the device.
        Measure::new("C4 emulator: method, p50 (us)", percentile(&mut times, 0.5))
            .floor(2.0 * floor)
            .at_most(200.0),
        Measure::new(
            "C4 emulator: method, p99 (us)",
            percentile(&mut times, 0.99),
        )
        .floor(2.0 * floor_99)
        .at_most(500.0),
        Measure::new("C4 emulator: methods, 32 at once (1/s)", rate).at_least(15_000.0),
        Measure::new("C4 emulator: processor time of a method (us)", cpu),
    ])
}
