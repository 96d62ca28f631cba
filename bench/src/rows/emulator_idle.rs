//! Devices that are connected and say nothing.

use std::time::Instant;

use futures_util::FutureExt as _;

use super::Row;
use crate::{Effort, device::Dialer, emulator::EmulatorProcess, measure::Measure};

pub(super) const ROW: Row = Row {
    name: "emulator-idle",
    about: "memory and processor time of devices that are connected and idle",
    ids: &["C2", "C3"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let (few, many) = (effort.count(1_000, 50), effort.count(10_000, 200));
    let emulator = EmulatorProcess::start(many).await?;
    let dialer = Dialer::new(&emulator)?;
    let mut devices = emulator.devices.values();
    let mut connect = async |count| dialer.connect_all(devices.by_ref().take(count)).await;
    // The first ones pay for what is made once.
    let first = connect(10).await?;
    let nothing = emulator.memory()?;
    let (begin, before) = (Instant::now(), emulator.processor_time()?);
    let few_more = connect(few - 10).await?;
    let at_few = emulator.memory()?;
    let many_more = connect(many - few).await?;
    let at_many = emulator.memory()?;
    let connects = (many - 10) as f64;
    let rate = connects / begin.elapsed().as_secs_f64();
    let cpu = (emulator.processor_time()? - before).as_secs_f64() * 1e3 / connects;
    let slope_few = (at_few - nothing) / (few - 10) as f64;
    let slope_many = (at_many - at_few) / (many - few) as f64;
    drop((first, few_more, many_more));
    let plotted = |count, memory| {
        Measure::memory_with("C2", "devices of the emulator", count, memory, nothing)
    };
    Ok(vec![
        plotted(few, at_few),
        plotted(many, at_many).at_most(150.0),
        Measure::new(
            format!("C2 emulator: memory per device at {few} (KiB)"),
            slope_few,
        )
        .at_most(14.0),
        Measure::new(
            format!("C2 emulator: memory per device at {many} (KiB)"),
            slope_many,
        )
        .at_most(14.0),
        Measure::new(
            format!("C2 emulator: growth to {many} against to {few}"),
            slope_many / slope_few,
        )
        .at_most(1.05),
        Measure::new("C3 emulator: connects, 8 at once (1/s)", rate).at_least(1_700.0),
        Measure::new(
            "C3 emulator: processor time of a connect, 8 at once (ms)",
            cpu,
        )
        .at_most(0.35),
    ])
}
