//! Watchers of one reboot that wait for what does not come.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use iothubdm_proto::v1::{OfflinePolicy, WatchRebootRequest};

use super::Row;
use crate::{
    Effort,
    emulator::EmulatorProcess,
    measure::Measure,
    service::{ServiceProcess, request},
};

pub(super) const ROW: Row = Row {
    name: "watchers",
    about: "memory and processor time of idle watchers",
    ids: &["A4", "A12"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

const CONNECTIONS: usize = 8;
const AT_ONCE: usize = 100;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let steps: &[usize] = if effort.quick {
        &[10, 100, 1_000]
    } else {
        &[10, 100, 1_000, 10_000, 50_000]
    };
    let emulator = EmulatorProcess::start(1).await?;
    let service = ServiceProcess::start(&emulator).await?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(service.client().await?);
    }
    let device = emulator.devices.keys().next().context("a device")?;
    let mut asked = request(device);
    // The device is not there, so nothing happens.
    asked.set_offline_policy(OfflinePolicy::Queue);
    let attempt = clients[0].reboot(asked).await?.into_inner();
    let mut held = Vec::new();
    let mut measures = Vec::new();
    let mut last = None;
    let none = service.process.memory()?;
    for &count in steps {
        let (before, had) = (service.process.memory()?, held.len());
        let watches = (had..count).map(|number| {
            let mut client = clients[number % CONNECTIONS].clone();
            let name = attempt.name.clone();
            async move {
                let request = WatchRebootRequest {
                    name,
                    ..WatchRebootRequest::default()
                };
                let mut watch = client.watch_reboot(request).await?.into_inner();
                watch.message().await?;
                Ok::<_, tonic::Status>(watch)
            }
        });
        let mut watches = stream::iter(watches).buffer_unordered(AT_ONCE);
        while let Some(watch) = watches.next().await {
            held.push(watch?);
        }
        let memory = service.process.memory()?;
        measures.push(Measure::memory_with("A4", "watchers", count, memory, none));
        if count < 1_000 {
            // Too few to tell them from what is made once.
            continue;
        }
        let each = (memory - before) / (count - had) as f64;
        measures.push(
            Measure::new(
                format!("A4 watchers: memory of one, up to {count} (KiB)"),
                each,
            )
            .at_most(1.6),
        );
        if let Some(last) = last.replace(each) {
            measures.push(
                Measure::new(format!("A4 watchers: growth to {count}"), each / last).at_most(1.05),
            );
        }
    }
    let before = service.process.processor_time()?;
    let idle = Duration::from_secs(effort.count(30, 2) as u64);
    tokio::time::sleep(idle).await;
    let used = (service.process.processor_time()? - before).as_secs_f64();
    measures.push(
        Measure::new(
            format!("A12 watchers: processor, {} idle (%)", held.len()),
            used * 100.0 / idle.as_secs_f64(),
        )
        .at_most(0.1),
    );
    Ok(measures)
}
