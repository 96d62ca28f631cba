//! Other people's programs at the same work: Microsoft's SDKs, and gRPC's libraries for Python and
//! Node.
//!
//! A script of `peers/` does the work and says how it went in one line of JSON. What it needs is
//! installed from its registry, below the target folder, on first use. A peer that cannot be run
//! is no error: it says so in its place.

use std::{
    path::PathBuf,
    process::{self, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use iothubdm_packages::{Language, sdk};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{Effort, emulator::EmulatorProcess, guard::watch_over, process::Process, unary};

/// What each peer said of its work, or why it said nothing.
pub(crate) type Peers = Vec<(&'static str, Result<Value, String>)>;

/// What services are made of.
const SERVICES: [&str; 2] = ["grpcio + azure-iot-hub", "grpc-js + azure-iothub"];

/// How long a script may take, the installation of what it needs apart.
const LIMIT: Duration = Duration::from_secs(240);

/// Calls a method of a device, and reads its twin, so many times with each of Microsoft's SDKs for
/// services: `{"method": {"p50", "p99", "cpu"}, "twin": …}`, in microseconds, and how many
/// `connections` it opened for how many `calls`.
pub(crate) async fn hub_calls(emulator: &EmulatorProcess, device: &str, effort: Effort) -> Peers {
    let count = effort.count(300, 20).to_string();
    let arguments = [device.to_owned(), count];
    let names = ["azure-iot-hub (Python)", "azure-iothub (Node)"];
    with_sdks(names, emulator, "calls", &arguments).await
}

/// The parts of a service that others would write: [`hub_calls`] with Microsoft's SDK, and of a
/// gRPC server in the same language its `start` (ms), its `memory` (MiB) and as `unary` its empty
/// call.
pub(crate) async fn reboots(emulator: &EmulatorProcess, device: &str, effort: Effort) -> Peers {
    let servers = grpc_servers().await;
    let calls = hub_calls(emulator, device, effort).await;
    let mut peers = Peers::new();
    for ((name, (_, server)), (_, calls)) in SERVICES.into_iter().zip(servers).zip(calls) {
        let said = async {
            let (server, mut said) = (server?, calls?);
            let unary = unary::measure(&server.process, &server.address, unary::EMPTY, effort);
            said["start"] = (server.process.took.as_secs_f64() * 1e3).into();
            said["memory"] = (server.process.memory().map_err(explain)? / 1024.0).into();
            said["unary"] = unary.await.map_err(explain)?;
            Ok(said)
        };
        peers.push((name, said.await));
    }
    peers
}

/// Connects so many devices, with three subscriptions each, with each of Microsoft's SDKs for
/// devices.
///
/// They say `first` (from their start to the first connected device, ms), `base` (memory with one,
/// KiB), `each` (memory of each further one, KiB), `total` (memory, KiB), `threads`, `rate` (connects
/// in a second), `cpu` (processor time of a connect, ms) and `idle` (of a core, for each device, %).
pub(crate) async fn devices(emulator: &EmulatorProcess, count: usize, effort: Effort) -> Peers {
    let strings: Vec<&String> = emulator.devices.values().take(count).collect();
    let strings = Value::from_iter(strings.into_iter().map(String::as_str)).to_string();
    let idle = effort.count(60, 5).to_string();
    let names = ["azure-iot-device (Python)", "azure-iot-device (Node)"];
    with_sdks(names, emulator, "devices", &[strings, idle]).await
}

/// What has to be installed for one device with each of Microsoft's SDKs: so many `bytes` in so many
/// `packages`, and so many of the `interpreter`.
pub(crate) async fn installed(emulator: &EmulatorProcess) -> Peers {
    let names = ["azure-iot-device (Python)", "azure-iot-device (Node)"];
    with_sdks(names, emulator, "installed", &[]).await
}

/// Runs a script of each language, one after the other.
async fn with_sdks(
    names: [&'static str; 2],
    emulator: &EmulatorProcess,
    script: &str,
    arguments: &[String],
) -> Peers {
    let mut peers = Peers::new();
    for (language, name) in [Language::Python, Language::Node].into_iter().zip(names) {
        let said = async {
            let hub = emulator.local_hub();
            let mut command = Command::from(sdk::command(language, &hub, &target()?)?);
            command.arg(path(language, script)).args(arguments);
            let before = emulator.counter("httpConnections").await?;
            let mut said = said(command).await?;
            let after = emulator.counter("httpConnections").await?;
            ensure!(said.is_object(), "it says {said}");
            said["connections"] = (after - before).into();
            anyhow::Ok(said)
        };
        peers.push((name, said.await.map_err(explain)));
    }
    peers
}

/// A gRPC server of each language, with a unary call and a stream, both without protobuf.
///
/// `/bench.Peer/Empty` answers at once; `/bench.Peer/Watch` says one message at once, and one after
/// each `/bench.Peer/Publish`.
pub(crate) async fn grpc_servers() -> Vec<(&'static str, Result<PeerServer, String>)> {
    let mut servers = Vec::new();
    for (language, name) in [(Language::Python, "grpcio"), (Language::Node, "grpc-js")] {
        let server = async {
            let command = language.command(&examples(language), &target()?)?;
            PeerServer::start(language, "server", command).await
        };
        servers.push((name, server.await.map_err(explain)));
    }
    servers
}

/// A gRPC server that is not ours. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct PeerServer {
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) address: String,
}

/// Services as others would write them: `/bench.Peer/Reboot`, which calls the method `reboot` of the
/// device that it is told.
pub(crate) async fn services(
    emulator: &EmulatorProcess,
) -> Vec<(&'static str, Result<PeerServer, String>)> {
    let hub = emulator.local_hub();
    let mut services = Vec::new();
    for (language, name) in [Language::Python, Language::Node].into_iter().zip(SERVICES) {
        let service = async {
            let mut command = sdk::command(language, &hub, &target()?)?;
            language.beside(&mut command, &examples(language), &target()?)?;
            PeerServer::start(language, "service", command).await
        };
        services.push((name, service.await.map_err(explain)));
    }
    services
}

impl PeerServer {
    async fn start(
        language: Language,
        script: &str,
        mut command: process::Command,
    ) -> anyhow::Result<Self> {
        command.arg(path(language, script));
        let process = Process::announced(command).await?;
        let port = process.ready["port"].as_u64().context("find its port")?;
        Ok(Self {
            process,
            address: format!("127.0.0.1:{port}"),
        })
    }
}

/// The last line that a script prints, which is what it has to say.
async fn said(mut command: Command) -> anyhow::Result<Value> {
    let begun = jiff::Timestamp::now().as_millisecond();
    watch_over(command.as_std_mut())?;
    let command = command
        .env("BENCH_BEGUN_MS", begun.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(LIMIT, command.output()).await;
    let output = output.context("it does not end")?.context("start it")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaint = complaints.trim_end().lines().next_back();
    let complaint = complaint.unwrap_or("without a word");
    ensure!(output.status.success(), "{}: {complaint}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.trim_end().lines().next_back().unwrap_or_default();
    serde_json::from_str(line).context("read what it says")
}

fn path(language: Language, script: &str) -> PathBuf {
    let extension = match language {
        Language::Python => "py",
        Language::Node => "js",
    };
    root().join(format!("bench/peers/{script}.{extension}"))
}

/// The examples of how to call us, which need gRPC's library, too.
fn examples(language: Language) -> PathBuf {
    root().join("docs/examples").join(language.name())
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where the tests install such things, too.
fn target() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let folder = own.parent().and_then(|folder| folder.parent());
    Ok(folder.context("find the target folder")?.join("tmp"))
}

/// The first line of an error: an installation tells much.
fn explain(error: anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(script: &str) -> Result<Value, String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        said(command).await.map_err(explain)
    }

    #[tokio::test]
    async fn the_last_line_of_a_script_is_what_it_says() {
        assert_eq!(
            of("echo warning; echo '{\"p50\": 3}'").await.unwrap()["p50"],
            3
        );
        assert!(
            of("echo warning")
                .await
                .unwrap_err()
                .starts_with("read what it says")
        );
        assert!(of("true").await.is_err());
        let failed = of("echo '{}'; echo first >&2; echo no module six >&2; exit 3").await;
        assert_eq!(failed.unwrap_err(), "exit status: 3: no module six");
    }

    #[test]
    fn every_script_is_there() {
        for language in [Language::Python, Language::Node] {
            for script in ["calls", "devices", "installed", "server", "service"] {
                assert!(path(language, script).is_file(), "{script}");
            }
        }
    }
}
