//! How late the end of a reboot is seen, and what it costs the hub, where the gateway tells by a call
//! that is left hanging, and where twins are polled: the real programs, with devices that restart.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{FutureExt as _, future::try_join_all};
use iothubdm_proto::v1::{
    AttemptState, RebootAttempt, WatchRebootRequest,
    device_management_client::DeviceManagementClient, reboot_event::Event,
};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;

use super::Row;
use crate::{
    Effort,
    emulator::EmulatorProcess,
    gateway::{GatewayProcess, LOCAL_PASSWORD},
    measure::Measure,
    plot::{Plot, Point},
    process::{Built, Process, program},
    service::{ServiceProcess, request},
    statistics::percentile,
};

pub(super) const ROW: Row = Row {
    name: "hanging",
    about: "the end of a reboot, told by a hanging call and found by polling",
    ids: &["A9"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// How long a device may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// What S1 allows, which is the default, and no watch.
const POLLING: &str = "[quota]\nhanging_calls = 0\n";

/// What many reboots at the same time took.
struct Seen {
    /// From the hub's own stamp of the last report to the watcher's event.
    late: Vec<Duration>,
    reads: f64,
    methods: f64,
}

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let count = effort.count(30, 4);
    let mut told = see(count, "", effort).await?;
    let mut polled = see(count, POLLING, effort).await?;
    let mut measures = Vec::new();
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        let [told, polled] =
            [&mut told.late, &mut polled.late].map(|late| percentile(late, share) / 1e3);
        let name = format!("A9 hanging: the end of {count} reboots seen late, {what} (ms)");
        let measure = Measure::new(name, told).peer("polling", Some(polled));
        let points = match what {
            "p99" => vec![Point {
                plot: Plot::Staleness,
                curve: "told by a hanging call".to_owned(),
                x: count as f64,
                y: told / 1e3,
            }],
            _ => Vec::new(),
        };
        measures.push(Measure { points, ..measure }.at_most(500.0));
    }
    measures.extend([
        Measure::new(
            "A9 hanging: twin reads of a reboot, from its request on",
            told.reads,
        )
        .peer("polling", Some(polled.reads)),
        Measure::new(
            "A9 hanging: method calls of a reboot, beyond its request",
            told.methods,
        )
        .peer("polling", Some(polled.methods)),
    ]);
    Ok(measures)
}

/// Reboots so many devices at once, through everything.
async fn see(count: usize, settings: &str, effort: Effort) -> anyhow::Result<Seen> {
    let emulator = EmulatorProcess::start(count).await?;
    let gateway = GatewayProcess::start(&emulator, count, "", "settle = \"1s\"").await?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let boot_time = format!("{}s", effort.count(30, 3));
    let started = emulator.devices.keys();
    let started = started.map(|id| local_device(id, gateway.local_mqtt()?, &boot_time, &folder));
    let _devices: Vec<Process> = started.collect::<anyhow::Result<_>>()?;
    let service = ServiceProcess::start_with(&emulator, settings).await?;
    let client = service.client().await?;

    let attempts = emulator.devices.keys().map(|id| ask(client.clone(), id));
    let attempts = try_join_all(attempts).await?;
    let (reads, methods) = costs(&emulator).await?;
    let ends = attempts.iter().map(|attempt| end(client.clone(), attempt));
    let ends = try_join_all(ends).await?;
    let (reads_after, methods_after) = costs(&emulator).await?;
    let mut late = Vec::new();
    for (id, seen) in emulator.devices.keys().zip(ends) {
        let reported = reported(&emulator, id).await?;
        late.push(Duration::try_from(seen.duration_since(reported)).unwrap_or_default());
    }
    Ok(Seen {
        late,
        reads: (reads_after - reads) / count as f64,
        methods: (methods_after - methods) / count as f64,
    })
}

async fn costs(emulator: &EmulatorProcess) -> anyhow::Result<(f64, f64)> {
    Ok((
        emulator.counter("serviceTwinReads").await?,
        emulator.counter("methodCalls").await?,
    ))
}

fn local_device(
    id: &str,
    broker: &str,
    boot_time: &str,
    folder: &TempDir,
) -> anyhow::Result<Process> {
    let mut command = Command::new(program(Built::Released, "local-device")?);
    command
        .args(["--id", id, "--password", LOCAL_PASSWORD, "--broker", broker])
        .args(["--boot-time", boot_time])
        .arg("--state-dir")
        .arg(folder.path());
    Process::spawn(command)
}

/// Asks for a reboot until the device is there to be asked.
async fn ask(
    mut client: DeviceManagementClient<Channel>,
    device: &str,
) -> anyhow::Result<RebootAttempt> {
    let begin = Instant::now();
    loop {
        match client.reboot(request(device)).await {
            Ok(attempt) => return Ok(attempt.into_inner()),
            Err(status) => ensure!(begin.elapsed() < PATIENCE, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Watches an attempt; returns when its success was seen.
async fn end(
    mut client: DeviceManagementClient<Channel>,
    attempt: &RebootAttempt,
) -> anyhow::Result<Timestamp> {
    let watch = WatchRebootRequest {
        name: attempt.name.clone(),
        ..WatchRebootRequest::default()
    };
    let mut events = client.watch_reboot(watch).await?.into_inner();
    loop {
        let event = events.message().await?.context("the watch ended early")?;
        if let Some(Event::Progress(progress)) = event.event
            && progress.terminal
        {
            let state = progress.state();
            ensure!(state == AttemptState::Succeeded, "{}", progress.message);
            return Ok(Timestamp::now());
        }
    }
}

/// When the hub had the last word on a device's reboot.
async fn reported(emulator: &EmulatorProcess, device: &str) -> anyhow::Result<Timestamp> {
    let (hub, token) = emulator.service()?;
    let url = emulator.url(&format!("/twins/{device}"));
    let answer = hub.get(url).header("Authorization", token).send().await?;
    let twin: Value = serde_json::from_str(&answer.error_for_status()?.text().await?)?;
    let state = &twin["properties"]["reported"]["$metadata"]["iothubDM"]["reboot"]["state"];
    let time = state["$lastUpdated"].as_str();
    let time = time.context("find when the state was reported")?;
    time.parse().context("read when the state was reported")
}
