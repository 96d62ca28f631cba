//! How many connections to the hub the service opens for its calls.

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use iothubdm_proto::v1::GetDeviceRequest;

use super::Row;
use crate::{
    Effort, device::Dialer, emulator::EmulatorProcess, measure::Measure, peers,
    service::ServiceProcess,
};

pub(super) const ROW: Row = Row {
    name: "connections",
    about: "connections to the hub for ten thousand calls of the service",
    ids: &["A3"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// What the target counts.
const CALLS: usize = 10_000;

const AT_ONCE: usize = 32;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let count = effort.count(CALLS, 500);
    // Calls for one device within a moment are one call of the hub.
    let emulator = EmulatorProcess::start(2 * count).await?;
    let devices: Vec<&String> = emulator.devices.keys().collect();
    let (id, connection) = emulator.devices.iter().next().context("a device")?;
    let device = Dialer::new(&emulator)?.connect(connection).await?;
    // It ends with the emulator, whose end is an error here.
    let device = tokio::spawn(device.answer_methods());
    let peers = peers::hub_calls(&emulator, id, effort).await;
    device.abort();
    let service = ServiceProcess::start(&emulator).await?;
    let client = service.client().await?;
    let mut measures = Vec::new();
    for (at_once, devices) in [1, AT_ONCE].into_iter().zip(devices.chunks(count)) {
        let opened = emulator.counter("httpConnections").await?;
        let read = emulator.counter("serviceTwinReads").await?;
        let mut calls = stream::iter(devices)
            .map(|device| {
                let mut client = client.clone();
                let request = GetDeviceRequest {
                    name: format!("devices/{device}"),
                };
                async move { client.get_device(request).await }
            })
            .buffer_unordered(at_once);
        while let Some(answer) = calls.next().await {
            answer.context("ask for a device")?;
        }
        let opened = emulator.counter("httpConnections").await? - opened;
        let read = emulator.counter("serviceTwinReads").await? - read;
        anyhow::ensure!(
            read >= count as f64,
            "{read} of {count} calls reached the hub"
        );
        let name = format!("A3 service: connections for {count} calls, {at_once} at once");
        let measure = Measure::new(name, opened).floor(1.0);
        measures.push(match at_once {
            1 => measure
                .peers(&peers, |said| {
                    let each = said["connections"].as_f64()? / said["calls"].as_f64()?;
                    Some(each * count as f64)
                })
                .at_most(4.0),
            _ => measure,
        });
    }
    Ok(measures)
}
