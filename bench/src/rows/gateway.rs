//! A gateway of many idle devices.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::Value;

use super::Row;
use crate::{
    Effort,
    emulator::EmulatorProcess,
    gateway::{GatewayProcess, UNPACED},
    measure::Measure,
    peers,
};

pub(super) const ROW: Row = Row {
    name: "gateway",
    about: "memory, connects and processor time of a gateway of many devices",
    ids: &["B1", "B2", "B3", "B4", "B5", "B7", "B11"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// How long a gateway needs to come to rest.
const SETTLING: Duration = Duration::from_secs(10);

/// How often one is started again.
const STARTS: usize = 5;

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
    let fewest = effort.count(10, 5);
    let (few, many) = (effort.count(100, 10), effort.count(1_000, 50));
    let (more, most) = (effort.count(5_000, 100), effort.count(10_000, 150));
    let emulator = EmulatorProcess::start(most).await?;
    let peers = peers::devices(&emulator, effort.count(50, 5), effort).await;
    // What they would take for as many as ours: they grow in line.
    let grown = |said: &Value| {
        let more = (many - 1) as f64;
        Some((said["base"].as_f64()? + said["each"].as_f64()? * more) / 1024.0)
    };
    let idle = Duration::from_secs(effort.count(60, 1) as u64);
    let (start, later) = starts(&emulator).await?;
    let one = hold(&emulator, 1, None).await?;
    let smallest = hold(&emulator, fewest, None).await?;
    let small = hold(&emulator, few, None).await?;
    let large = hold(&emulator, many, Some(idle)).await?;
    let larger = hold(&emulator, more, None).await?;
    let largest = hold(&emulator, most, None).await?;
    let slope = |from: &Held, to: &Held, count: usize| (to.memory - from.memory) / count as f64;
    let first = slope(&small, &large, many - few);
    let second = slope(&large, &larger, more - many);
    let third = slope(&larger, &largest, most - more);
    let per_connect =
        |held: &Held, count: usize| held.connecting.as_secs_f64() * 1e3 / count as f64;
    let plotted = |count, held: &Held| {
        let of = "devices of the gateway";
        Measure::memory_with("B2", of, count, held.memory, one.memory)
    };
    Ok(vec![
        plotted(fewest, &smallest),
        plotted(few, &small),
        plotted(many, &large).peers(&peers, grown).at_most(22.0),
        plotted(more, &larger),
        plotted(most, &largest),
        Measure::new(
            format!("B1 gateway: memory of a device, {few} to {many} (KiB)"),
            first,
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
            format!("B3 gateway: memory's growth to {more} against to {many}"),
            second / first,
        )
        .at_most(1.05),
        Measure::new(
            format!("B3 gateway: memory's growth to {most} against to {more}"),
            third / second,
        )
        .at_most(1.05),
        Measure::new(
            format!("B3 gateway: a connect's processor time, of {more} against of {many}"),
            per_connect(&larger, more) / per_connect(&large, many),
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
        Measure::new(
            "B5 gateway: processor time of a connect (ms)",
            per_connect(&large, many),
        )
        .peers(&peers, |said| said["cpu"].as_f64())
        .at_most(0.55),
        Measure::new(
            format!("B7 gateway: processor, {many} idle devices (%)"),
            large.idle,
        )
        .peers(&peers, |said| Some(said["idle"].as_f64()? * many as f64))
        .at_most(0.1),
        Measure::new(
            "B11 gateway: start to the first device connected (ms)",
            later.as_secs_f64() * 1e3,
        )
        .peers(&peers, |said| said["first"].as_f64())
        .at_most(12.0),
        Measure::new(
            "B11 gateway: the very first start, which makes the journal (ms)",
            start.as_secs_f64() * 1e3,
        ),
    ])
}

/// How long one device takes from the start of its gateway until it is connected: the first time, and
/// the middle one of those after it.
async fn starts(emulator: &EmulatorProcess) -> anyhow::Result<(Duration, Duration)> {
    // Whoever looks has its connection by then.
    emulator.until_connected(0).await?;
    let mut gateway = GatewayProcess::start(emulator, 1, UNPACED, "").await?;
    let first = gateway.connected(emulator, 1).await?;
    let mut later = Vec::new();
    for _ in 0..STARTS {
        gateway = gateway.again(emulator).await?;
        later.push(gateway.connected(emulator, 1).await?);
    }
    drop(gateway);
    emulator.until_connected(0).await?;
    later.sort_unstable();
    Ok((first, later[STARTS / 2]))
}

async fn hold(
    emulator: &EmulatorProcess,
    count: usize,
    idle: Option<Duration>,
) -> anyhow::Result<Held> {
    let gateway = GatewayProcess::start(emulator, count, UNPACED, "").await?;
    let storm = gateway.connected(emulator, count).await?;
    let process = &gateway.process;
    let connecting = process.processor_time()?;
    // Twins are read, and first reports made.
    tokio::time::sleep(idle.unwrap_or(SETTLING).min(SETTLING)).await;
    let (before, begin) = (process.processor_time()?, Instant::now());
    tokio::time::sleep(idle.unwrap_or_default()).await;
    let used = (process.processor_time()? - before).as_secs_f64();
    let held = Held {
        memory: process.memory()?,
        threads: process.threads()?,
        storm,
        connecting,
        idle: used * 100.0 / begin.elapsed().as_secs_f64(),
    };
    drop(gateway);
    // Its devices are gone when the next one comes.
    emulator.until_connected(0).await?;
    Ok(held)
}
