//! One device's way to its subscriptions, over and over: a Nagle delay would show here.

use std::time::Instant;

use anyhow::Context as _;
use futures_util::FutureExt as _;

use super::Row;
use crate::{
    Effort, device::Dialer, emulator::EmulatorProcess, floor, measure::Measure,
    statistics::percentile,
};

pub(super) const ROW: Row = Row {
    name: "emulator-connect",
    about: "TCP, TLS, CONNECT and SUBSCRIBE of one device",
    ids: &["C7"],
    rounds: 3,
    run: |effort| run(effort).boxed_local(),
};

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let emulator = EmulatorProcess::start(1).await?;
    let dialer = Dialer::new(&emulator)?;
    let device = emulator.devices.values().next().context("a device")?;
    let mut times = Vec::new();
    let before = emulator.processor_time()?;
    let count = effort.count(2_000, 100);
    let all = Instant::now();
    for _ in 0..count {
        let begin = Instant::now();
        let connected = dialer.connect(device).await?;
        times.push(begin.elapsed());
        drop(connected);
    }
    let rate = count as f64 / all.elapsed().as_secs_f64();
    let cpu = (emulator.processor_time()? - before).as_secs_f64() * 1e3 / count as f64;
    let (floor, _) = floor::ping_pong(effort.count(20_000, 1_000))?;
    Ok(vec![
        Measure::new(
            "C7 emulator: connect to SUBACK, p50 (ms)",
            percentile(&mut times, 0.5) / 1e3,
        )
        // TCP, two of TLS 1.3 with its first data, and the acknowledgements.
        .floor(3.0 * floor / 1e3)
        .at_most(10.0),
        Measure::new("C7 emulator: connects, one after the other (1/s)", rate),
        Measure::new("C7 emulator: processor time of a connect (ms)", cpu).at_most(0.35),
    ])
}
