//! What watchers cost the hub: nothing.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use iothubdm_proto::v1::WatchRebootRequest;
use prost::Message as _;
use tokio::task::JoinHandle;

use super::{Row, fan_out::WATCH};
use crate::{
    Effort,
    device::Dialer,
    emulator::EmulatorProcess,
    measure::Measure,
    service::{ServiceProcess, request},
    streams::Streams,
};

pub(super) const ROW: Row = Row {
    name: "reads",
    about: "twin reads for one watcher and for very many, at the same time",
    ids: &["A6"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

const CONNECTIONS: usize = 8;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let many = effort.count(10_000, 500);
    let one = Watched::start().await?;
    let other = Watched::start().await?;
    let _one = one.watch(1).await?;
    let _many = other.watch(many).await?;
    let (one_before, other_before) = (one.reads().await?, other.reads().await?);
    let seconds = effort.count(30, 5);
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let (one_after, other_after) = (one.reads().await?, other.reads().await?);
    let (for_one, for_many) = (one_after - one_before, other_after - other_before);
    anyhow::ensure!(for_one > 0.0, "nothing was read");
    Ok(vec![
        Measure::new(
            format!("A6 watchers: twin reads in {seconds} s for {many}, beyond those for one"),
            for_many - for_one,
        )
        // One may fall on either side of the end.
        .at_most(1.0),
        Measure::new(
            format!("A6 watchers: twin reads in {seconds} s for one"),
            for_one,
        ),
    ])
}

/// A service with one open attempt, of a device that has accepted it and says nothing more.
struct Watched {
    emulator: EmulatorProcess,
    service: ServiceProcess,
    attempt: String,
    device: JoinHandle<anyhow::Result<()>>,
}

impl Watched {
    async fn start() -> anyhow::Result<Self> {
        let emulator = EmulatorProcess::start(1).await?;
        let (id, connection) = emulator.devices.iter().next().context("a device")?;
        let device = Dialer::new(&emulator)?.connect(connection).await?;
        let device = tokio::spawn(device.answer_methods());
        let service = ServiceProcess::start_with(&emulator, "").await?;
        let attempt = service.client().await?.reboot(request(id)).await?;
        Ok(Self {
            attempt: attempt.into_inner().name,
            emulator,
            service,
            device,
        })
    }

    async fn watch(&self, count: usize) -> anyhow::Result<Streams> {
        let watch = WatchRebootRequest {
            name: self.attempt.clone(),
            ..WatchRebootRequest::default()
        };
        let connections = CONNECTIONS.min(count);
        let mut streams = Streams::connect(&self.service.address, connections).await?;
        streams.open(WATCH, &watch.encode_to_vec(), count).await?;
        Ok(streams)
    }

    async fn reads(&self) -> anyhow::Result<f64> {
        self.emulator.counter("serviceTwinReads").await
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.device.abort();
    }
}
