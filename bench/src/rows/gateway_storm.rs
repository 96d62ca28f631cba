//! All devices of a gateway connect at once, to a hub that takes so many in a second; and again.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::Row;
use crate::{
    Effort,
    emulator::EmulatorProcess,
    gateway::{GatewayProcess, UNPACED},
    measure::Measure,
};

pub(super) const ROW: Row = Row {
    name: "gateway-storm",
    about: "a gateway's devices connect to a hub with the limits of S1, lose it and connect again",
    ids: &["B6", "B12"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// What the gateway allows itself; S1 takes 100.
const PACED: &str = "connects_per_second = 90";

const PATIENCE: Duration = Duration::from_secs(300);

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let count = effort.count(1_000, 50);
    let small = EmulatorProcess::start_as(count, &["--tier", "S1", "--burst", "0"]).await?;
    let gateway = GatewayProcess::start(&small, count, PACED, "").await?;
    let begin = Instant::now();
    until_accepted(&small, count).await?;
    let paced = gateway.process.took + begin.elapsed();
    let refused = small.counter("connects").await? - small.counter("connectsAccepted").await?;
    drop((gateway, small));

    let hub = EmulatorProcess::start(count).await?;
    let gateway = GatewayProcess::start(&hub, count, UNPACED, "").await?;
    gateway.connected(&hub, count).await?;
    let resumed = async || hub.counter("tlsResumed").await;
    let before = (resumed().await?, gateway.process.processor_time()?);
    hub.cut().await?;
    until_accepted(&hub, 2 * count).await?;
    let used = gateway.process.processor_time()? - before.1;
    let resumed = resumed().await? - before.0;
    Ok(vec![
        Measure::new(
            format!("B6 gateway: {count} devices connected, paced for S1 (s)"),
            paced.as_secs_f64(),
        )
        .at_most(count as f64 * 0.0108 + 1.0),
        Measure::new("B6 gateway: connects that S1 refused", refused).at_most(0.0),
        Measure::new(
            format!("B12 gateway: TLS sessions resumed by {count} that come again (%)"),
            resumed * 100.0 / count as f64,
        )
        .at_least(95.0),
        Measure::new(
            "B12 gateway: processor time of a connect that resumes (ms)",
            used.as_secs_f64() * 1e3 / count as f64,
        )
        .at_most(0.45),
    ])
}

/// Waits until the hub has let in so many. Its own counter tells, for S1 limits questions as well.
async fn until_accepted(hub: &EmulatorProcess, count: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    while hub.counter("connectsAccepted").await? < count as f64 {
        anyhow::ensure!(begin.elapsed() < PATIENCE, "the devices do not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
