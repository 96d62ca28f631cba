//! One change, and everybody who watches.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use iothubdm_proto::v1::{CancelRebootRequest, OfflinePolicy, WatchRebootRequest};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::Row;
use crate::{
    Effort,
    emulator::EmulatorProcess,
    measure::Measure,
    peers::{self, PeerServer, Peers},
    service::{ServiceProcess, UNLIMITED, request},
    statistics::{median, micros},
    streams::{Arrival, Streams},
    unary,
};

pub(super) const ROW: Row = Row {
    name: "fan-out",
    about: "one change of an attempt, until the last of its watchers knows",
    ids: &["A5"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// After so much silence nothing more is on its way.
const QUIET: Duration = Duration::from_millis(300);
const CONNECTIONS: usize = 8;
/// The method that is watched through.
pub(super) const WATCH: &str = "/iothubdm.v1.DeviceManagement/WatchReboot";
const PEERS_WATCH: &str = "/bench.Peer/Watch";
const PUBLISH: &str = "/bench.Peer/Publish";

/// What a change took, several times, in milliseconds.
#[derive(Debug, Default)]
struct Spread {
    first: Vec<f64>,
    last: Vec<f64>,
    /// Processor time of the server for each watcher, in microseconds.
    cpu: Vec<f64>,
    /// Memory of a watcher, in KiB.
    each: Vec<f64>,
}

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let (few, many) = (10, effort.count(10_000, 500));
    let times = effort.count(5, 2);
    let small = ours(few, times).await?;
    let [alone, large] = [ours(1, times).await?, ours(many, times).await?];
    let ours = large.beside(alone);
    let mut peers = Peers::new();
    for (name, server) in peers::grpc_servers().await {
        let spread = match server {
            Ok(server) => both(&server, many, times)
                .await
                .map_err(|error| format!("{error:#}")),
            Err(why) => Err(why),
        };
        peers.push((name, spread));
    }
    let measure = |name: String, field: &str| {
        let ours = ours[field].as_f64().unwrap_or(f64::NAN);
        let field = field.to_owned();
        Measure::new(name, ours).peers(&peers, move |said| said[&field].as_f64())
    };
    Ok(vec![
        measure(
            format!("A5 one change to {many} watchers, the last after one alone (ms)"),
            "last",
        )
        .at_most(30.0),
        measure(
            format!("A5 processor time of a delivery to {many} (us)"),
            "cpu",
        )
        .at_most(2.5),
        measure(
            "A5 one change to one watcher, the call with it (ms)".to_owned(),
            "alone",
        ),
        Measure::new(
            format!("A5 one change to {few} watchers, the last after the first (ms)"),
            small.apart(),
        )
        .at_most(0.25),
        measure(
            format!("A4 thin watchers: memory of one of {many} (KiB)"),
            "each",
        )
        .at_most(1.6),
    ])
}

/// One watcher, and many.
async fn both(server: &PeerServer, many: usize, times: usize) -> anyhow::Result<Value> {
    let alone = theirs(server, 1, times).await?;
    let large = theirs(server, many, times).await?;
    Ok(large.beside(alone))
}

/// The change is the end of an attempt: its caller cancels it while its device is not there. It is
/// stored before anybody sees it.
async fn ours(watchers: usize, times: usize) -> anyhow::Result<Spread> {
    let emulator = EmulatorProcess::start(1).await?;
    // What is said to idle watchers from time to time is not what is waited for.
    let settings = format!("{UNLIMITED}[timing]\nbookmark_interval = \"1h\"\n");
    let service = ServiceProcess::start_with(&emulator, &settings).await?;
    let device = emulator.devices.keys().next().context("a device")?;
    let mut client = service.client().await?;
    let mut spread = Spread::default();
    for _ in 0..times {
        let mut asked = request(device);
        asked.set_offline_policy(OfflinePolicy::Queue);
        let attempt = client.reboot(asked).await?.into_inner();
        let watch = WatchRebootRequest {
            name: attempt.name.clone(),
            ..WatchRebootRequest::default()
        };
        let mut streams = Streams::connect(&service.address, CONNECTIONS).await?;
        let memory = service.process.memory()?;
        streams
            .open(WATCH, &watch.encode_to_vec(), watchers)
            .await?;
        let each = (service.process.memory()? - memory) / watchers as f64;
        streams.settle(QUIET).await?;
        let before = service.process.processor_time()?;
        let begin = Instant::now();
        let cancel = CancelRebootRequest {
            name: attempt.name,
            ..CancelRebootRequest::default()
        };
        let (answer, arrival) = tokio::join!(client.cancel_reboot(cancel), streams.next());
        answer.context("cancel the attempt")?;
        let cpu = service.process.processor_time()? - before;
        spread.add(begin, &arrival?, micros(&cpu) / watchers as f64, each);
    }
    Ok(spread)
}

async fn theirs(server: &PeerServer, watchers: usize, times: usize) -> anyhow::Result<Spread> {
    let channel = Channel::from_shared(format!("http://{}", server.address))?;
    let channel = channel.connect().await?;
    let mut spread = Spread::default();
    let mut streams = Streams::connect(&server.address, CONNECTIONS).await?;
    let memory = server.process.memory()?;
    streams.open(PEERS_WATCH, &[], watchers).await?;
    let each = (server.process.memory()? - memory) / watchers as f64;
    for _ in 0..times {
        streams.settle(QUIET).await?;
        let before = server.process.processor_time()?;
        let begin = Instant::now();
        let publish = unary::call(channel.clone(), PUBLISH, ());
        let (answer, arrival) = tokio::join!(publish, streams.next());
        answer?;
        let cpu = server.process.processor_time()? - before;
        spread.add(begin, &arrival?, micros(&cpu) / watchers as f64, each);
    }
    Ok(spread)
}

impl Spread {
    fn add(&mut self, begin: Instant, arrival: &Arrival, cpu: f64, each: f64) {
        let since = |at: Instant| micros(&(at - begin)) / 1e3;
        self.first.push(since(arrival.first));
        self.last.push(since(arrival.last));
        self.cpu.push(cpu);
        self.each.push(each);
    }

    /// The first and the last of few hear of it so far apart.
    fn apart(&self) -> f64 {
        let each = self.first.iter().zip(&self.last);
        let mut apart: Vec<f64> = each.map(|(first, last)| last - first).collect();
        median(&mut apart)
    }

    /// What is to be said of many watchers. What the change itself takes is what it takes with one.
    fn beside(mut self, mut alone: Self) -> Value {
        let alone = median(&mut alone.last);
        json!({
            "last": median(&mut self.last) - alone,
            "alone": alone,
            "cpu": median(&mut self.cpu),
            // Later ones use what the first has left.
            "each": self.each.first(),
        })
    }
}
