//! What a gateway's devices are asked and told, one at a time and all at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time};

use super::Row;
use crate::{
    Effort, device::Dialer, emulator::EmulatorProcess, gateway::GatewayProcess, local::LocalDevice,
    measure::Measure, statistics::percentile,
};

pub(super) const ROW: Row = Row {
    name: "gateway-methods",
    about: "methods, reports and reboots of a gateway's devices, one at a time and all at once",
    ids: &["B8", "B9"],
    rounds: 1,
    run: |effort| run(effort).boxed_local(),
};

/// Connects do not wait for their turn, nor do reports that nobody waits for.
const PROMPT: &str = "connects_per_second = 100000\nreport_delay = \"0s\"";

const PATIENCE: Duration = Duration::from_secs(300);

/// Calls methods of the emulator's devices.
struct Caller<'a> {
    emulator: &'a EmulatorProcess,
    client: reqwest::Client,
    token: String,
}

impl Caller<'_> {
    /// Calls a method, and returns its status.
    async fn call(&self, id: &str, name: &str) -> anyhow::Result<i64> {
        let body = json!({"methodName": name, "payload": {}, "responseTimeoutInSeconds": 60});
        let url = self.emulator.url(&format!("/twins/{id}/methods"));
        let answer = self.post(&url, body).await?;
        answer["status"].as_i64().context("find the status")
    }

    /// How many devices have that in their twins.
    async fn count(&self, condition: &str) -> anyhow::Result<usize> {
        let query = format!("SELECT COUNT() AS found FROM devices WHERE {condition}");
        let url = self.emulator.url("/devices/query");
        let found = self.post(&url, json!({ "query": query })).await?;
        Ok(found[0]["found"].as_u64().unwrap_or(0) as usize)
    }

    async fn post(&self, url: &str, body: Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .post(url)
            .header("Authorization", &self.token)
            .header("Content-Type", "application/json")
            .body(body.to_string());
        let answer = request.send().await?.error_for_status()?.text().await?;
        serde_json::from_str(&answer).context("read the answer")
    }

    /// Calls a method over and over; how long each call took.
    async fn repeat(&self, id: &str, name: &str, times: usize) -> anyhow::Result<Vec<Duration>> {
        let mut took = Vec::new();
        for number in 0..times {
            let begin = Instant::now();
            ensure!(self.call(id, name).await? == 200, "it is not answered");
            // The first ones pay for the connection.
            if number >= 20 {
                took.push(begin.elapsed());
            }
        }
        Ok(took)
    }
}

async fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let count = effort.count(1_000, 20);
    let emulator = EmulatorProcess::start(count + 1).await?;
    let (client, token) = emulator.service()?;
    let caller = Caller {
        emulator: &emulator,
        client,
        token,
    };
    let (raw_id, connection) = emulator.devices.iter().nth(count).context("a device")?;
    let raw = Dialer::new(&emulator)?.connect(connection).await?;
    let raw = tokio::spawn(raw.answer_methods());
    let times = effort.count(5_000, 100);
    let mut direct = caller.repeat(raw_id, "capabilities", times).await?;
    raw.abort();
    drop(raw.await);

    emulator.until_connected(0).await?;
    let gateway = GatewayProcess::start(&emulator, count, PROMPT, "settle = \"1s\"").await?;
    gateway.connected(&emulator, count).await?;
    let ids: Vec<_> = emulator.devices.keys().take(count).collect();
    let mut through = caller.repeat(ids[0], "capabilities", times).await?;
    let mut added = |share| percentile(&mut through, share) - percentile(&mut direct, share);
    let (added_50, added_99) = (added(0.5), added(0.99));
    let calls = stream::iter(&ids)
        .map(|id| caller.call(id, "capabilities"))
        .buffer_unordered(count);
    let answered = calls.filter(|status| std::future::ready(matches!(status, Ok(200))));
    let lost = count - answered.count().await;

    let (up, mut booted) = mpsc::channel(count);
    let broker = gateway.local_mqtt()?;
    let mut reports = Vec::new();
    for id in &ids {
        let (give, given) = mpsc::channel(1);
        reports.push(give);
        tokio::spawn(LocalDevice::new(id, broker).live(up.clone(), given));
    }
    for _ in 0..count {
        let next = time::timeout(PATIENCE, booted.recv()).await;
        next.context("a device does not start")?;
    }
    // What the gateway says of a device that has come is not of this.
    time::sleep(Duration::from_secs(effort.count(10, 3) as u64)).await;

    let (before, begin) = (gateway.process.processor_time()?, Instant::now());
    for give in &reports {
        give.send(json!({"n": 1})).await?;
    }
    let all_reported =
        async || Ok(caller.count("properties.reported.device.n = 1").await? == count);
    until(all_reported).await.context("see the reports")?;
    let reporting = begin.elapsed();
    let reporting_used = gateway.process.processor_time()? - before;

    let (before, begin) = (gateway.process.processor_time()?, Instant::now());
    let calls = stream::iter(&ids)
        .map(|id| caller.call(id, "reboot"))
        .buffer_unordered(count);
    let accepted = calls.filter(|status| std::future::ready(matches!(status, Ok(200))));
    let accepted = accepted.count().await;
    let accepting = begin.elapsed();
    let is = |state: &str| format!("properties.reported.iothubDM.reboot.state = '{state}'");
    let succeeded = is("SUCCEEDED");
    let all_rebooted = async || Ok(caller.count(&succeeded).await? == count);
    until(all_rebooted).await.context("see the reboots")?;
    let rebooting = begin.elapsed();
    let rebooting_used = gateway.process.processor_time()? - before;
    let each = |used: Duration, unit: f64| used.as_secs_f64() * unit / count as f64;
    Ok(vec![
        Measure::new("B8 gateway: added to a method call, p50 (us)", added_50),
        Measure::new("B8 gateway: added to a method call, p99 (us)", added_99).at_most(500.0),
        Measure::new(
            format!("B8 gateway: answers lost of {count} methods at once"),
            lost as f64,
        )
        .at_most(0.0),
        Measure::new(
            format!("B9 gateway: {count} reports at once, on disk and in the twins (ms)"),
            reporting.as_secs_f64() * 1e3,
        )
        .at_most(50.0),
        Measure::new(
            "B9 gateway: processor time of a report (us)",
            each(reporting_used, 1e6),
        )
        .at_most(40.0),
        Measure::new(
            format!("gateway: reboots refused of {count} at once"),
            (count - accepted) as f64,
        )
        .at_most(0.0),
        Measure::new(
            format!("gateway: {count} reboots accepted, all at once (s)"),
            accepting.as_secs_f64(),
        ),
        Measure::new(
            format!("gateway: {count} reboots at once, all SUCCEEDED (s)"),
            rebooting.as_secs_f64(),
        ),
        Measure::new(
            "gateway: processor time of a reboot (ms)",
            each(rebooting_used, 1e3),
        ),
    ])
}

/// Waits until something is so.
async fn until(mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !is_so().await? {
        ensure!(begin.elapsed() < PATIENCE, "it takes too long");
        time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
