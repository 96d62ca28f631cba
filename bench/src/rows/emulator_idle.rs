//! Devices that are connected and say nothing.

use std::time::Instant;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::Row;
use crate::{
    Effort,
    device::{Device, Dialer},
    emulator::EmulatorProcess,
    measure::Measure,
};

pub(super) const ROW: Row = Row {
    name: "emulator-idle",
    about: "memory and processor time of devices that are connected and idle",
    ids: &["C2", "C3"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

const AT_ONCE: usize = 8;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let (few, many) = (effort.count(1_000, 50), effort.count(10_000, 200));
    let emulator = EmulatorProcess::start(many).await?;
    let dialer = Dialer::new(&emulator)?;
    let devices: Vec<&String> = emulator.devices.values().collect();
    let mut held: Vec<Device> = Vec::new();
    // The first ones pay for what is made once.
    connect(&dialer, &devices[..10], &mut held).await?;
    let nothing = emulator.memory()?;
    let (begin, before) = (Instant::now(), emulator.processor_time()?);
    connect(&dialer, &devices[10..few], &mut held).await?;
    let at_few = emulator.memory()?;
    connect(&dialer, &devices[few..], &mut held).await?;
    let at_many = emulator.memory()?;
    let connects = (many - 10) as f64;
    let rate = connects / begin.elapsed().as_secs_f64();
    let cpu = (emulator.processor_time()? - before).as_secs_f64() * 1e3 / connects;
    let slope_few = (at_few - nothing) / (few - 10) as f64;
    let slope_many = (at_many - at_few) / (many - few) as f64;
    drop(held);
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

async fn connect(
    dialer: &Dialer,
    devices: &[&String],
    held: &mut Vec<Device>,
) -> anyhow::Result<()> {
    let connects = devices.iter().map(|device| dialer.connect(device));
    let connected = stream::iter(connects)
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    held.extend(connected);
    Ok(())
}
