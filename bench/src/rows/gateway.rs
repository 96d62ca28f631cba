//! A gateway of many idle devices.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::Value;

use super::Row;
use crate::{Effort, emulator::EmulatorProcess, gateway::GatewayProcess, measure::Measure, peers};

pub(super) const ROW: Row = Row {
    name: "gateway",
    about: "memory, connects and processor time of a gateway of many devices",
    ids: &["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B11"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// How long all devices may take to connect.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a gateway of so many devices took.
struct Held {
    memory: f64,
    threads: f64,
    /// From its start until all devices are connected.
    storm: Duration,
    connecting: Duration,
    idle: f64,
}

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let (few, many) = (effort.count(100, 10), effort.count(1_000, 50));
    let emulator = EmulatorProcess::start(many).await?;
    let peers = peers::devices(&emulator, effort.count(50, 5), effort).await;
    // What they would take for as many as ours: they grow in line.
    let grown = |said: &Value| {
        let more = (many - 1) as f64;
        Some((said["base"].as_f64()? + said["each"].as_f64()? * more) / 1024.0)
    };
    // As fast as it can, and as fast as the smallest hub allows.
    let one = hold(&emulator, 1, 100_000, effort).await?;
    let small = hold(&emulator, few, 100_000, effort).await?;
    let large = hold(&emulator, many, 100_000, effort).await?;
    let paced = hold(&emulator, many, 90, effort).await?;
    let slope = |from: &Held, to: &Held, count: usize| (to.memory - from.memory) / count as f64;
    let (first, second) = (
        slope(&one, &small, few - 1),
        slope(&small, &large, many - few),
    );
    let per_connect = large.connecting.as_secs_f64() * 1e3 / many as f64;
    let plotted = |count, held: &Held| {
        let of = "devices of the gateway";
        Measure::memory_with("B2", of, count, held.memory, one.memory)
    };
    Ok(vec![
        plotted(few, &small),
        plotted(many, &large).peers(&peers, grown).at_most(22.0),
        Measure::new(
            format!("B1 gateway: memory of a device, to {many} (KiB)"),
            second,
        )
        .peers(&peers, |said| said["each"].as_f64())
        .at_most(16.0),
        Measure::new(
            format!("B2 gateway: threads with {many} devices; peers with fewer"),
            large.threads,
        )
        .peers(&peers, |said| said["threads"].as_f64())
        .at_most(4.0),
        Measure::new(
            format!("B3 gateway: growth to {many} against to {few}"),
            second / first,
        )
        .at_most(1.05),
        Measure::new(
            "B4 gateway: memory with one device (MiB)",
            one.memory / 1024.0,
        )
        .peers(&peers, |said| Some(said["base"].as_f64()? / 1024.0))
        .at_most(5.0),
        Measure::new(
            format!("B5 gateway: {many} devices connected (s)"),
            large.storm.as_secs_f64(),
        )
        .peers(&peers, |said| Some(many as f64 / said["rate"].as_f64()?))
        .at_most(0.8),
        Measure::new("B5 gateway: processor time of a connect (ms)", per_connect)
            .peers(&peers, |said| said["cpu"].as_f64())
            .at_most(0.55),
        Measure::new(
            format!("B6 gateway: {many} devices connected, paced for S1 (s)"),
            paced.storm.as_secs_f64(),
        )
        .at_most(many as f64 * 0.0108 + 1.0),
        Measure::new(
            format!("B7 gateway: processor, {many} idle devices (%)"),
            large.idle,
        )
        .peers(&peers, |said| Some(said["idle"].as_f64()? * many as f64))
        .at_most(0.1),
        Measure::new(
            "B11 gateway: start to the first device connected (ms)",
            one.storm.as_secs_f64() * 1e3,
        )
        .peers(&peers, |said| said["first"].as_f64())
        .at_most(12.0),
    ])
}

async fn hold(
    emulator: &EmulatorProcess,
    count: usize,
    connects_per_second: u32,
    effort: Effort,
) -> anyhow::Result<Held> {
    let timing = format!("connects_per_second = {connects_per_second}");
    let gateway = GatewayProcess::start(emulator, count, &timing, "").await?;
    let process = &gateway.process;
    let begin = Instant::now();
    let (hub, token) = emulator.service()?;
    let url = emulator.url("/statistics/service");
    loop {
        let request = hub.get(&url).header("Authorization", &token);
        let text = request.send().await?.error_for_status()?.text().await?;
        let said: Value = serde_json::from_str(&text)?;
        if said["connectedDeviceCount"].as_u64() == Some(count as u64) {
            break;
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            "the devices do not connect: {text}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let storm = process.took + begin.elapsed();
    let connecting = process.processor_time()?;
    // Twins are read, and first reports made.
    tokio::time::sleep(Duration::from_secs(effort.count(10, 1) as u64)).await;
    let (before, begin) = (process.processor_time()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(effort.count(30, 1) as u64)).await;
    let used = (process.processor_time()? - before).as_secs_f64();
    Ok(Held {
        memory: process.memory()?,
        threads: process.threads()?,
        storm,
        connecting,
        idle: used * 100.0 / begin.elapsed().as_secs_f64(),
    })
}
