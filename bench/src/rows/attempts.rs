//! Reboots that are asked for and not over.

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use iothubdm_proto::v1::OfflinePolicy;

use super::Row;
use crate::{
    Effort,
    emulator::EmulatorProcess,
    measure::Measure,
    service::{ServiceProcess, request},
};

pub(super) const ROW: Row = Row {
    name: "attempts",
    about: "memory of a service with many open attempts",
    ids: &["A2"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

const AT_ONCE: usize = 32;

/// A request that waits for its device is written into the twin: the largest hub takes most of them.
const LARGEST_HUB: &str =
    "[quota]\ntier = \"S3\"\nunits = 10\n[limits]\ncalls_per_second = 1000000\n";

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let steps: &[usize] = if effort.quick {
        &[10, 100, 1_000]
    } else {
        &[10, 100, 1_000, 10_000]
    };
    let most = steps.last().copied().unwrap_or_default();
    let emulator = EmulatorProcess::start(most).await?;
    let devices: Vec<&String> = emulator.devices.keys().collect();
    let service = ServiceProcess::start_with(&emulator, LARGEST_HUB).await?;
    let client = service.client().await?;
    let none = service.process.memory()?;
    let mut measures = Vec::new();
    let mut begun = 0;
    for &count in steps {
        let mut asked = stream::iter(&devices[begun..count])
            .map(|device| {
                let mut client = client.clone();
                // They are not there, and wait.
                let mut asked = request(device);
                asked.set_offline_policy(OfflinePolicy::Queue);
                async move { client.reboot(asked).await }
            })
            .buffer_unordered(AT_ONCE);
        while let Some(done) = asked.next().await {
            done.context("ask for a reboot")?;
        }
        begun = count;
        let memory = service.process.memory()?;
        measures.push(Measure::memory_with(
            "A2",
            "open attempts",
            count,
            memory,
            none,
        ));
    }
    Ok(measures)
}
