//! From the emulator's start to the first accepted connection at both ports.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::FutureExt as _;
use tokio::net::TcpStream;

use super::Row;
use crate::{
    Effort, floor,
    guard::watch_over,
    measure::Measure,
    process::{Built, program, resident},
    statistics::{median, micros},
};

pub(super) const ROW: Row = Row {
    name: "emulator-start",
    about: "start to first accepted connection, memory, size of the program",
    ids: &["C1"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

const PATIENCE: Duration = Duration::from_secs(10);

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let (mut times, mut memories, mut floors, mut peers) = (vec![], vec![], vec![], vec![]);
    for _ in 0..effort.count(15, 3) {
        let ports = [free_port()?, free_port()?];
        let begin = Instant::now();
        let child = watch_over(&mut Command::new(program(Built::Released, "hub-emulator")?))?
            .args(["--https-port", &ports[0].to_string()])
            .args(["--mqtt-port", &ports[1].to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the emulator")?;
        let mut child = Killed(child);
        accepts(&mut child, &ports).await?;
        times.push(micros(&begin.elapsed()) / 1e3);
        memories.push(resident(child.0.id())? / 1024.0);
        floors.push(micros(&floor::empty_program()?) / 1e3);
        peers.extend(mosquitto().await?);
    }
    let size =
        fs::metadata(program(Built::Released, "hub-emulator")?)?.len() as f64 / f64::from(1 << 20);
    let peer = (!peers.is_empty()).then(|| median(&mut peers));
    Ok(vec![
        Measure::new(
            "C1 emulator: start to both ports accepting (ms)",
            median(&mut times),
        )
        .floor(median(&mut floors))
        .peer("mosquitto", peer)
        .at_most(10.0),
        Measure::new(
            "C1 emulator: memory after the start (MiB)",
            median(&mut memories),
        )
        .at_most(6.0),
        Measure::new("C1 emulator: program (MiB)", size).at_most(4.0),
    ])
}

/// The same of a broker without TLS, where it is installed.
async fn mosquitto() -> anyhow::Result<Option<f64>> {
    let port = free_port()?;
    let begin = Instant::now();
    let child = watch_over(&mut Command::new("mosquitto"))?
        .args(["-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else { return Ok(None) };
    accepts(&mut Killed(child), &[port]).await?;
    Ok(Some(micros(&begin.elapsed()) / 1e3))
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn accepts(child: &mut Killed, ports: &[u16]) -> anyhow::Result<()> {
    let begin = Instant::now();
    for port in ports {
        while TcpStream::connect(("127.0.0.1", *port)).await.is_err() {
            ensure!(child.0.try_wait()?.is_none(), "it ended");
            ensure!(begin.elapsed() < PATIENCE, "it does not listen");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
