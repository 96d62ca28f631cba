//! Reboots that are asked for at a rate and come to an end: is the verdict about each the right one?

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::try_join_all};
use iothubdm_proto::v1::{
    EvidenceGrade, ListRebootsRequest, RebootAttempt,
    device_management_client::DeviceManagementClient,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    Row,
    rates::{CONNECTIONS, rates, told},
};
use crate::{
    Effort,
    device::{Dialer, Fate},
    emulator::EmulatorProcess,
    measure::Measure,
    offered::offer,
    service::{ServiceProcess, UNLIMITED, request},
};

pub(super) const ROW: Row = Row {
    name: "verdicts",
    about: "reboots begun and ended, 40 and 1,000 a second, of devices that do not all reboot",
    ids: &["A2"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// How long the last verdict may take after the last reboot was begun.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what is still open.
const PAUSE: Duration = Duration::from_millis(100);

/// What a page of the list holds at most.
const PAGE: i32 = 1_000;

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for (rate, seconds) in rates(effort) {
        let measured = begin_and_end(rate, seconds).await;
        measures.extend(measured.with_context(|| format!("offer {rate} a second"))?);
    }
    Ok(measures)
}

async fn begin_and_end(rate: usize, seconds: usize) -> anyhow::Result<Vec<Measure>> {
    let emulator = EmulatorProcess::start(rate * seconds).await?;
    let dialer = Dialer::new(&emulator)?;
    let devices: Vec<&String> = emulator.devices.keys().collect();
    let mut rebooting = JoinSet::new();
    let connected = dialer.connect_all(emulator.devices.values()).await?;
    for (number, device) in connected.into_iter().enumerate() {
        rebooting.spawn(device.reboot_when_told(Fate::of(number)));
    }
    let service = ServiceProcess::start_with(&emulator, UNLIMITED).await?;
    let clients = try_join_all((0..CONNECTIONS).map(|_| service.client())).await?;
    let ask = async |number: usize| {
        let mut client = clients[number % CONNECTIONS].clone();
        let mut request = request(devices[number]);
        request.set_required_evidence(EvidenceGrade::Caused);
        let attempt = client.reboot(request).await?.into_inner();
        Ok((attempt.name, Fate::of(number)))
    };
    let before = service.process.processor_time()?;
    let reads = emulator.counter("serviceTwinReads").await?;
    let connections = emulator.counter("httpConnections").await?;
    let offered = offer(rate, seconds, ask).await?;
    let begin = Instant::now();
    let mut client = service.client().await?;
    let is_open = async |client: &mut DeviceManagementClient<Channel>| {
        let open = list(client, "open = true", 1, String::new()).await?;
        anyhow::Ok(!open.0.is_empty())
    };
    while is_open(&mut client).await? && begin.elapsed() < PATIENCE {
        tokio::time::sleep(PAUSE).await;
    }
    let last = begin.elapsed();
    let used = service.process.processor_time()? - before;
    let reads = emulator.counter("serviceTwinReads").await? - reads;
    let connections = emulator.counter("httpConnections").await? - connections;
    let found = all(&mut client).await?;
    let found: HashMap<_, _> = found.iter().map(|one| (&one.name, one)).collect();
    let (mut open, mut wrong) = (0, 0);
    for (name, fate) in &offered.answers {
        let attempt = found.get(name).with_context(|| format!("find {name}"))?;
        if attempt.end_time.is_none() {
            open += 1;
        } else if attempt.state() != fate.verdict() {
            wrong += 1;
        }
    }
    let count = offered.answers.len() as f64;
    let about = format!("A2 service: {rate} whole reboots offered a second");
    let name = |what: &str| format!("{about}, {what}");
    let mut measures = told(&about, rate, offered, &Vec::new())?;
    measures.extend([
        Measure::new(name("wrong verdicts"), f64::from(wrong)).at_most(0.0),
        Measure::new(name("without a verdict"), f64::from(open)).at_most(0.0),
        Measure::new(
            name("the last verdict after the last was begun (s)"),
            last.as_secs_f64(),
        ),
        Measure::new(
            name("processor time of each with its end (us)"),
            used.as_secs_f64() * 1e6 / count,
        ),
        Measure::new(name("twin reads of each"), reads / count),
        Measure::new(name("connections to the hub"), connections),
    ]);
    Ok(measures)
}

/// Every attempt that the service has.
async fn all(client: &mut DeviceManagementClient<Channel>) -> anyhow::Result<Vec<RebootAttempt>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (found, next) = list(client, "", PAGE, token).await?;
        all.extend(found);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// A page of attempts, and what asks for the next one.
async fn list(
    client: &mut DeviceManagementClient<Channel>,
    filter: &str,
    page_size: i32,
    page_token: String,
) -> anyhow::Result<(Vec<RebootAttempt>, String)> {
    let request = ListRebootsRequest {
        parent: "devices/-".to_owned(),
        page_size,
        page_token,
        filter: filter.to_owned(),
    };
    let page = client.list_reboots(request).await?.into_inner();
    Ok((page.reboots, page.next_page_token))
}
