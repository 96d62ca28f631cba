//! Reboots that are asked for at a rate: forty a second, which is what a large hub's quota of methods
//! is like, and a thousand.

use anyhow::{Context as _, anyhow};
use futures_util::{FutureExt as _, future::try_join_all};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::Row;
use crate::{
    Effort,
    device::Dialer,
    emulator::EmulatorProcess,
    measure::Measure,
    offered::{Offered, offer},
    peers::{self, PeerServer, Peers},
    service::{ServiceProcess, request, unhurried},
    statistics::percentile,
    unary,
};

pub(super) const ROW: Row = Row {
    name: "rates",
    about: "reboots begun through the service, 40 and 1,000 a second, each when it is due",
    ids: &["A2"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// How many a second, and for how many seconds.
pub(super) fn rates(effort: Effort) -> [(usize, usize); 2] {
    [(40, effort.count(20, 5)), (1_000, effort.count(10, 2))]
}

/// Over how many connections reboots are asked for.
pub(super) const CONNECTIONS: usize = 4;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for (rate, seconds) in rates(effort) {
        let measured = begin(rate, seconds).await;
        measures.extend(measured.with_context(|| format!("offer {rate} a second"))?);
    }
    Ok(measures)
}

async fn begin(rate: usize, seconds: usize) -> anyhow::Result<Vec<Measure>> {
    // Each device is asked once: it has an open attempt from then on.
    let emulator = EmulatorProcess::start(rate * seconds).await?;
    let dialer = Dialer::new(&emulator)?;
    let mut answering = JoinSet::new();
    for device in dialer.connect_all(emulator.devices.values()).await? {
        answering.spawn(device.answer_methods());
    }
    let service = ServiceProcess::start_with(&emulator, &unhurried()).await?;
    let clients = try_join_all((0..CONNECTIONS).map(|_| service.client())).await?;
    let devices: Vec<&String> = emulator.devices.keys().collect();
    let ask = async |number: usize| {
        let mut client = clients[number % CONNECTIONS].clone();
        client.reboot(request(devices[number])).await?;
        Ok(())
    };
    let connections = emulator.counter("httpConnections").await?;
    let (before, memory) = (service.process.processor_time()?, service.process.memory()?);
    let offered = offer(rate, seconds, ask).await?;
    let used = service.process.processor_time()? - before;
    let connections = emulator.counter("httpConnections").await? - connections;
    let each = 1.0 / (rate * seconds) as f64;
    let about = format!("A2 service: {rate} reboots offered a second");
    let peers = peers(&emulator, rate, seconds).await;
    let mut measures = told(&about, rate, offered, &peers)?;
    measures.extend([
        Measure::new(
            format!("{about}, processor time of each (us)"),
            used.as_secs_f64() * 1e6 * each,
        )
        .peers(&peers, |said| said["cpu"].as_f64()),
        Measure::new(
            format!("{about}, growth of memory for each (KiB)"),
            (service.process.memory()? - memory) * each,
        ),
        Measure::new(format!("{about}, connections to the hub"), connections),
    ]);
    Ok(measures)
}

/// The same rate offered to others' services, for a quarter of the time: what they do not keep up with
/// they have to catch up with.
async fn peers(emulator: &EmulatorProcess, rate: usize, seconds: usize) -> Peers {
    let devices: Vec<&String> = emulator.devices.keys().collect();
    let mut peers = Peers::new();
    for (name, service) in peers::services(emulator).await {
        let said = async {
            let service = service?;
            let offered = offer_peer(&service, &devices, rate, seconds.div_ceil(4)).await;
            offered.map_err(|error| format!("{error:#}"))
        };
        peers.push((name, said.await));
    }
    peers
}

async fn offer_peer(
    service: &PeerServer,
    devices: &[&String],
    rate: usize,
    seconds: usize,
) -> anyhow::Result<Value> {
    let endpoint = Channel::from_shared(format!("http://{}", service.address))?;
    let channels = try_join_all((0..CONNECTIONS).map(|_| endpoint.connect())).await?;
    let ask = async |number: usize| {
        let channel = channels[number % CONNECTIONS].clone();
        unary::call(channel, "/bench.Peer/Reboot", devices[number].clone()).await
    };
    let before = service.process.processor_time()?;
    let mut offered = offer(rate, seconds, ask).await?;
    let used = service.process.processor_time()? - before;
    Ok(json!({
        "rate": offered.rate(),
        "p50": percentile(&mut offered.times, 0.5) / 1e3,
        "p99": percentile(&mut offered.times, 0.99) / 1e3,
        "failed": offered.failures.len(),
        "cpu": used.as_secs_f64() * 1e6 / (rate * seconds) as f64,
    }))
}

/// How many were begun, how soon, and how many were not.
pub(super) fn told<T>(
    about: &str,
    rate: usize,
    mut offered: Offered<T>,
    peers: &Peers,
) -> anyhow::Result<Vec<Measure>> {
    let failed = offered.failures.len();
    let failure = offered.failures.pop();
    if offered.times.is_empty() {
        return Err(failure.unwrap_or_else(|| anyhow!("nothing was offered")));
    }
    let mut late = |share| percentile(&mut offered.times, share) / 1e3;
    let (half, most) = (late(0.5), late(0.99));
    let mut measures = vec![
        Measure::new(format!("{about}, begun (1/s)"), offered.rate())
            .peers(peers, |said| said["rate"].as_f64())
            .at_least(0.99 * rate as f64),
        Measure::new(format!("{about}, begun after, p50 (ms)"), half)
            .peers(peers, |said| said["p50"].as_f64()),
        Measure::new(format!("{about}, begun after, p99 (ms)"), most)
            .peers(peers, |said| said["p99"].as_f64()),
        Measure::new(format!("{about}, not begun"), failed as f64)
            .peers(peers, |said| said["failed"].as_f64())
            .at_most(0.0),
    ];
    measures.extend(
        failure.map(|why| {
            Measure::absent(format!("{about}, why the last was not"), format!("{why:#}"))
        }),
    );
    Ok(measures)
}
