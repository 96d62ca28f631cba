//! A service reads a twin.

use std::time::Instant;

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::Row;
use crate::{Effort, emulator::EmulatorProcess, floor, measure::Measure, statistics::percentile};

pub(super) const ROW: Row = Row {
    name: "emulator-twins",
    about: "a service reads a twin",
    ids: &["C5"],
    rounds: 3,
    run: |effort| run(effort).boxed_local(),
};

const AT_ONCE: usize = 32;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let emulator = EmulatorProcess::start(1).await?;
    let id = emulator.devices.keys().next().context("a device")?;
    let (client, token) = emulator.service()?;
    let url = emulator.url(&format!("/twins/{id}"));
    let read = async || {
        let request = client.get(&url).header("Authorization", &token);
        request.send().await?.error_for_status()?.bytes().await?;
        anyhow::Ok(())
    };
    let mut times = Vec::new();
    for number in 0..effort.count(20_000, 500) {
        let begin = Instant::now();
        read().await?;
        if number >= 50 {
            times.push(begin.elapsed());
        }
    }
    let count = effort.count(100_000, 1_000);
    let begin = Instant::now();
    let mut reads = stream::iter(0..count)
        .map(|_| read())
        .buffer_unordered(AT_ONCE);
    while let Some(done) = reads.next().await {
        done?;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    let (floor, _) = floor::ping_pong(effort.count(20_000, 1_000))?;
    Ok(vec![
        Measure::new(
            "C5 emulator: twin read, p50 (us)",
            percentile(&mut times, 0.5),
        )
        .floor(floor)
        .at_most(100.0),
        Measure::new("C5 emulator: twin reads, 32 at once (1/s)", rate).at_least(20_000.0),
    ])
}
