//! Many watchers of one service, most of them idle. A thousand with the normal tests, ten thousand
//! with `cargo xtask watchers`; `WATCHERS` says how many otherwise.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use iothubdm_proto::v1::{
    AttemptState, OfflinePolicy, RebootEvent, WatchRebootRequest,
    device_management_client::DeviceManagementClient, reboot_event::Event,
};
use iothubdm_tests::{PATIENCE, World, request};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::{Streaming, transport::Channel};

/// Over how many connections the watchers come.
const CONNECTIONS: usize = 8;

/// How many watchers begin at once.
const AT_ONCE: usize = 100;

/// What an idle watcher may cost the service. The program under test is not optimised; its tasks and
/// futures are several times the size of those of a release.
const BYTES_EACH: usize = 12 * 1024;

fn watchers() -> usize {
    let given = std::env::var("WATCHERS").ok();
    given.and_then(|count| count.parse().ok()).unwrap_or(1000)
}

/// The memory that the service really uses, in bytes.
fn memory(world: &World) -> usize {
    let status = format!("/proc/{}/status", world.service().id());
    let status = fs::read_to_string(status).expect("read the service's status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    number.expect("a size in kB") * 1024
}

async fn watch(mut client: DeviceManagementClient<Channel>, name: &str) -> Streaming<RebootEvent> {
    let asked = WatchRebootRequest {
        name: name.to_owned(),
        resume_token: String::new(),
    };
    let answer = client.watch_reboot(asked).await.expect("begin to watch");
    answer.into_inner()
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a measurement says what it found")]
async fn idle_watchers_cost_little_and_each_of_them_sees_the_end() {
    let world = World::builder().bare_device("asleep").start().await;
    let mut asked = request("asleep");
    asked.set_offline_policy(OfflinePolicy::Queue);
    let attempt = world.request(asked).await.expect("queue a reboot");
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let address = format!("http://{}", world.service_address());
        let channel = Channel::from_shared(address).expect("an address");
        let channel = channel.connect().await.expect("connect");
        connections.push(DeviceManagementClient::new(channel));
    }
    // Readers that are there and never read, on connections that others use too.
    let mut stuck = Vec::new();
    for client in &connections {
        stuck.push(watch(client.clone(), &attempt.name).await);
    }

    let before = memory(&world);
    let reads = world.emulator.counters().service_twin_reads.total;
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut watching = JoinSet::new();
    for number in 0..watchers() {
        let client = connections[number % CONNECTIONS].clone();
        let name = attempt.name.clone();
        let turn = tokio::time::timeout(PATIENCE, turns.clone().acquire_owned()).await;
        let mut turn = turn.expect("a watcher begins in time").ok();
        watching.spawn(async move {
            let mut stream = watch(client, &name).await;
            let mut ended = None;
            while let Some(event) = stream.message().await.expect("the watch ends well") {
                turn.take();
                if let Some(Event::Progress(progress)) = event.event
                    && progress.terminal
                {
                    ended = Some(progress.state());
                }
            }
            ended
        });
    }
    let all = turns.acquire_many(u32::try_from(AT_ONCE).expect("a small number"));
    let all = tokio::time::timeout(PATIENCE, all).await;
    drop(all.expect("every watcher begins in time"));
    let each = memory(&world).saturating_sub(before) / watchers();
    let asked = Instant::now();
    let cancelled = world.cancel(&attempt.name).await.expect("cancel");
    assert_eq!(cancelled.state(), AttemptState::Cancelled);
    let ends = tokio::time::timeout(4 * PATIENCE, watching.join_all()).await;
    let took: Duration = asked.elapsed();
    let ends = ends.expect("every watcher sees the end in time");
    assert!(ends.iter().all(|end| *end == Some(AttemptState::Cancelled)));
    eprintln!(
        "{} watchers: {each} bytes each, all at the end after {took:?}",
        ends.len()
    );
    assert!(each < BYTES_EACH, "{each} bytes for each watcher");
    // The attempt itself is looked after; nobody reads a twin for a watcher.
    let reads = world.emulator.counters().service_twin_reads.total - reads;
    assert!(reads < 200, "{reads} reads");
    drop(stuck);
}
