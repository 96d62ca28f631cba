//! An empty call of a gRPC server, whoever's it is.

use std::time::Instant;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{Effort, process::Process, statistics::percentile};

/// Ours: the health service answers without a look at anything.
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// A peer's.
pub(crate) const EMPTY: &str = "/bench.Peer/Empty";

const AT_ONCE: usize = 32;

/// Calls a server over and over: `{"p50", "p99", "cpu"}`, in microseconds, `cpu` being the server's
/// processor time of a call when there are many at once.
pub(crate) async fn measure(
    process: &Process,
    address: &str,
    path: &'static str,
    effort: Effort,
) -> anyhow::Result<Value> {
    let channel = Channel::from_shared(format!("http://{address}"))?;
    let channel = channel.connect().await.context("connect")?;
    let mut times = Vec::new();
    for number in 0..effort.count(2_000, 100) {
        let begin = Instant::now();
        call(channel.clone(), path, ()).await?;
        if number >= 20 {
            times.push(begin.elapsed());
        }
    }
    let count = effort.count(5_000, 500);
    let before = process.processor_time()?;
    let mut calls = stream::iter(0..count)
        .map(|_| call(channel.clone(), path, ()))
        .buffer_unordered(AT_ONCE);
    while let Some(done) = calls.next().await {
        done?;
    }
    let cpu = (process.processor_time()? - before).as_secs_f64() * 1e6 / count as f64;
    Ok(json!({
        "p50": percentile(&mut times, 0.5),
        "p99": percentile(&mut times, 0.99),
        "cpu": cpu,
    }))
}

/// One call, whose answer is not looked at.
pub(crate) async fn call<M: Message + 'static>(
    channel: Channel,
    path: &'static str,
    message: M,
) -> anyhow::Result<()> {
    let mut client = Grpc::new(channel);
    client.ready().await.context("wait for the connection")?;
    let codec = ProstCodec::<M, ()>::default();
    let path = PathAndQuery::from_static(path);
    client.unary(Request::new(message), path, codec).await?;
    Ok(())
}
