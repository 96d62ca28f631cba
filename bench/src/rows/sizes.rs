//! The programs as they are packed: what they weigh, and what memory they have after the start, most
//! of which is what they weigh.

use std::{fs, time::Duration};

use futures_util::FutureExt as _;

use super::Row;
use crate::{
    Effort,
    emulator::EmulatorProcess,
    gateway::{GatewayProcess, UNPACED},
    measure::Measure,
    peers,
    process::{Built, program},
    service::ServiceProcess,
};

pub(super) const ROW: Row = Row {
    name: "sizes",
    about: "the programs of the profile `dist`: size, memory after the start",
    ids: &["A12", "B4", "B10", "C1"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

const MIB: f64 = 1024.0 * 1024.0;

/// How long a gateway's first device may take to have its twin read and its first report made.
const SETTLING: Duration = Duration::from_secs(5);

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let emulator = EmulatorProcess::start(1).await?;
    let installed = if effort.quick {
        peers::Peers::new()
    } else {
        peers::installed(&emulator).await
    };
    let mut measures = vec![
        size("A12", "mgmt-service", 4.0),
        size("B10", "device-gateway", 3.0).peers(&installed, |said| {
            Some((said["bytes"].as_f64()? + said["interpreter"].as_f64()?) / MIB)
        }),
        size("C1", "hub-emulator", 4.0),
    ];
    let memories = memories(&emulator).await;
    let names = [
        ("A12 service, packed: memory after the start (MiB)", 6.0),
        ("B4 gateway, packed: memory with one device (MiB)", 5.0),
        ("C1 emulator, packed: memory after the start (MiB)", 6.0),
    ];
    let memories = names.iter().enumerate().map(|(at, (name, most))| {
        let measure = match &memories {
            Ok(memories) => Measure::new(*name, memories[at] / 1024.0),
            Err(why) => Measure::absent(*name, format!("{why:#}")),
        };
        measure.at_most(*most)
    });
    measures.extend(memories);
    Ok(measures)
}

fn size(id: &str, name: &str, most: f64) -> Measure {
    let title = format!("{id} {name}: program (MiB)");
    let measured = program(Built::Packed, name).and_then(|file| Ok(fs::metadata(file)?.len()));
    match measured {
        Ok(bytes) => Measure::new(title, bytes as f64 / MIB),
        Err(_) => Measure::absent(title, "not built: cargo xtask bench --only sizes"),
    }
    .at_most(most)
}

/// Of the service, of a gateway with one device, and of the emulator without any, in KiB.
async fn memories(emulator: &EmulatorProcess) -> anyhow::Result<[f64; 3]> {
    let alone = EmulatorProcess::start_built(Built::Packed, 0, &[]).await?;
    let service = ServiceProcess::start_built(Built::Packed, emulator, "").await?;
    let gateway = GatewayProcess::start_built(Built::Packed, emulator, 1, UNPACED, "").await?;
    gateway.connected(emulator, 1).await?;
    tokio::time::sleep(SETTLING).await;
    Ok([
        service.process.memory()?,
        gateway.process.memory()?,
        alone.memory()?,
    ])
}
