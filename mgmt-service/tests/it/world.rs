//! A hub, a service and a client in this process.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use daemon::admin::Pages as _;
use futures_util::StreamExt as _;
use hub_emulator::{Emulator, EmulatorConfig};
use iothubdm_proto::v1::{
    AttemptState, GetRebootRequest, RebootAttempt, RebootEvent, RebootRequest, WatchRebootRequest,
    device_management_client::DeviceManagementClient, reboot_event::Event,
};
use mgmt_service::{Config, Reload, metrics::Instruments, store::Sqlite};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::faults::{Faults, FaultyStore};

/// Far longer than anything here takes, short enough to see a test hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How long the hub waits for a device in these tests, instead of the 5 s it asks for at least.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) folder: TempDir,
    pub(crate) client: DeviceManagementClient<Channel>,
    pub(crate) address: SocketAddr,
    settings: String,
    faults: Option<Arc<Faults>>,
    service: Service,
}

/// A service on a runtime of its own, so that it can be killed with all its tasks.
struct Service {
    runtime: Option<Runtime>,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    instruments: Instruments,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// Starts with further settings, as text of the settings' `[timing]` section.
    pub(crate) async fn with(timing: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::in_folder(folder, timing).await
    }

    /// Starts over a folder that may hold a database.
    pub(crate) async fn in_folder(folder: TempDir, timing: &str) -> Self {
        let emulator = emulator(Some(ANSWER_TIMEOUT)).await;
        let settings = settings(&emulator, folder.path(), timing);
        Self::of(emulator, folder, settings).await
    }

    /// Starts with a hub that waits so long for devices, or as long as it is asked to. Nobody is read
    /// in time but those whose change is expected.
    pub(crate) async fn patient(answer_timeout: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(answer_timeout).await;
        let settings = settings(&emulator, folder.path(), "");
        let settings = settings.replace("max_interval = \"50ms\"", "max_interval = \"1h\"");
        Self::of(emulator, folder, settings).await
    }

    /// Starts with a service that reads nobody within the hour, whatever is expected of them, unless
    /// something asks for that read by name.
    pub(crate) async fn unasked_for() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(None).await;
        let settings = settings(&emulator, folder.path(), "");
        let settings = settings
            .replace("min_interval = \"10ms\"", "min_interval = \"1h\"")
            .replace("max_interval = \"50ms\"", "max_interval = \"1h\"");
        Self::of(emulator, folder, settings).await
    }

    /// Starts with a store in which faults strike, and further settings as in [`World::with`].
    pub(crate) async fn with_faults(timing: &str) -> (Self, Arc<Faults>) {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(Some(ANSWER_TIMEOUT)).await;
        let settings = settings(&emulator, folder.path(), timing);
        let faults = Faults::none();
        let world = Self::faulty(emulator, folder, settings, Some(faults.clone())).await;
        (world, faults)
    }

    async fn of(emulator: Emulator, folder: TempDir, settings: String) -> Self {
        Self::faulty(emulator, folder, settings, None).await
    }

    async fn faulty(
        emulator: Emulator,
        folder: TempDir,
        settings: String,
        faults: Option<Arc<Faults>>,
    ) -> Self {
        let (address, service) = serve(&settings, folder.path(), faults.clone()).await;
        Self {
            client: connect(address).await,
            emulator,
            folder,
            address,
            settings,
            faults,
            service,
        }
    }

    /// Stops the service as a signal would.
    pub(crate) async fn stop(&mut self) {
        self.service.shutdown.cancel();
        let ended = timeout(DEADLINE, &mut self.service.task).await;
        ended.expect("the service stops in time").unwrap();
    }

    /// Ends the service at once, as a kill would.
    pub(crate) async fn kill(&mut self) {
        let runtime = self.service.runtime.take().unwrap();
        let killed = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DEADLINE));
        killed.await.unwrap();
    }

    /// Starts the service again, over what the one before left behind.
    pub(crate) async fn start_again(&mut self) {
        let faults = self.faults.clone();
        let (address, service) = serve(&self.settings, self.folder.path(), faults).await;
        self.service = service;
        self.address = address;
        self.client = connect(address).await;
    }

    /// What a scrape of the metrics says now.
    pub(crate) fn metrics(&self) -> String {
        self.service.instruments.metrics()
    }

    /// The value of one metric, named with its labels; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) async fn reboot(&mut self, device: &str) -> Result<RebootAttempt, Status> {
        self.ask(request(device)).await
    }

    pub(crate) async fn ask(&mut self, request: RebootRequest) -> Result<RebootAttempt, Status> {
        let answer = timeout(DEADLINE, self.client.reboot(request)).await;
        Ok(answer.expect("an answer in time")?.into_inner())
    }

    /// Asks in the background, so that the test can be the device meanwhile.
    pub(crate) fn ask_meanwhile(
        &self,
        request: RebootRequest,
    ) -> JoinHandle<Result<RebootAttempt, Status>> {
        let mut client = self.client.clone();
        tokio::spawn(async move {
            let answer = timeout(DEADLINE, client.reboot(request)).await;
            Ok(answer.expect("an answer in time")?.into_inner())
        })
    }

    pub(crate) async fn get(&mut self, name: &str) -> Result<RebootAttempt, Status> {
        let request = GetRebootRequest { name: name.into() };
        Ok(self.client.get_reboot(request).await?.into_inner())
    }

    pub(crate) async fn watch(&mut self, name: &str, resume_token: &str) -> Result<Watch, Status> {
        let request = WatchRebootRequest {
            name: name.into(),
            resume_token: resume_token.into(),
        };
        let stream = self.client.watch_reboot(request).await?.into_inner();
        Ok(Watch { stream })
    }

    /// Waits until an attempt is as wanted; for what no event tells of.
    pub(crate) async fn becomes(
        &mut self,
        name: &str,
        wanted: impl Fn(&RebootAttempt) -> bool,
    ) -> RebootAttempt {
        within(async {
            loop {
                let attempt = self.get(name).await.unwrap();
                if wanted(&attempt) {
                    return attempt;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    /// Waits until an attempt is in a state.
    pub(crate) async fn reaches(&mut self, name: &str, state: AttemptState) -> RebootAttempt {
        let mut watch = self.watch(name, "").await.unwrap();
        // A bookmark may come again and again where the state does not.
        within(async {
            loop {
                let event = watch.next_event().await;
                let event = event.expect("the state comes before the end");
                let attempt = match event.event {
                    Some(Event::Snapshot(attempt)) => attempt,
                    Some(Event::Progress(progress)) => progress.attempt.unwrap(),
                    Some(Event::Bookmark(_)) | None => continue,
                };
                if attempt.state() == state {
                    return attempt;
                }
            }
        })
        .await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn emulator(answer_timeout: Option<Duration>) -> Emulator {
    let config = EmulatorConfig {
        response_timeout_cap: answer_timeout,
        ..EmulatorConfig::default()
    };
    Emulator::start(config).await.unwrap()
}

/// Waits for something, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it happens in time")
}

/// A stream of events, read with a deadline.
pub(crate) struct Watch {
    stream: Streaming<RebootEvent>,
}

impl Watch {
    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<RebootEvent, Status>> {
        let next = timeout(DEADLINE, self.stream.next()).await;
        next.expect("a message in time")
    }

    /// The next message that is no bookmark.
    pub(crate) async fn next_event(&mut self) -> Option<RebootEvent> {
        loop {
            let event = self.next().await?.unwrap();
            if !matches!(event.event, Some(Event::Bookmark(_))) {
                return Some(event);
            }
        }
    }

    /// Everything up to the end, but for bookmarks.
    pub(crate) async fn read_to_end(mut self) -> Vec<RebootEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.next_event().await {
            events.push(event);
        }
        events
    }
}

/// The states that a reboot goes through when all is well.
pub(crate) const WHOLE_REBOOT: [AttemptState; 7] = [
    AttemptState::Pending,
    AttemptState::Dispatching,
    AttemptState::Accepted,
    AttemptState::Rebooting,
    AttemptState::Down,
    AttemptState::Verifying,
    AttemptState::Succeeded,
];

/// Checks that the events tell of a whole reboot, each once and in order, after the first event.
pub(crate) fn tell_of_a_whole_reboot(events: &[RebootEvent]) {
    assert_eq!(states(events), WHOLE_REBOOT);
    let revisions: Vec<_> = events[1..].iter().map(|event| event.revision).collect();
    assert!(
        revisions.is_sorted_by(|one, next| one < next),
        "{revisions:?}"
    );
}

/// The states that the progress among these events went through.
pub(crate) fn states(events: &[RebootEvent]) -> Vec<AttemptState> {
    let mut states: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.event {
            Some(Event::Progress(progress)) => Some(progress.state()),
            Some(Event::Snapshot(_) | Event::Bookmark(_)) | None => None,
        })
        .collect();
    states.dedup();
    states
}

pub(crate) fn request(device: &str) -> RebootRequest {
    RebootRequest {
        device: format!("devices/{device}"),
        ..RebootRequest::default()
    }
}

/// An error's machine-readable cause and its details.
#[track_caller]
pub(crate) fn details(status: &Status) -> (String, ErrorDetails) {
    let details = status.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "iothubdm");
    (info.reason.clone(), details)
}

pub(crate) async fn connect(address: SocketAddr) -> DeviceManagementClient<Channel> {
    DeviceManagementClient::new(channel(address).await)
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// Fast enough for a test, and otherwise as it is.
pub(crate) fn settings(emulator: &Emulator, folder: &Path, timing: &str) -> String {
    std::fs::write(folder.join("ca.pem"), emulator.ca_pem()).unwrap();
    let retries = if timing.contains("retry_min") {
        ""
    } else {
        "retry_min = \"20ms\"\nretry_max = \"100ms\""
    };
    format!(
        r#"
        [hub]
        connection_string = "{}"
        https_port = {}
        ca_file = "ca.pem"
        [store]
        events_per_attempt = 10
        [quota]
        tier = "S3"
        [polling]
        reads_per_second = 1000
        min_interval = "10ms"
        max_interval = "50ms"
        [timing]
        {retries}
        cancel_pause = "20ms"
        recovery_interval = "20ms"
        drain_timeout = "5s"
        {timing}
        "#,
        emulator.service_connection_string(),
        emulator.https_port(),
    )
}

async fn serve(
    settings: &str,
    folder: &Path,
    faults: Option<Arc<Faults>>,
) -> (SocketAddr, Service) {
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let config = Config::parse(settings, folder, listen).unwrap();
    let instruments = config.instruments();
    let told_of = instruments.clone();
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let shutdown = CancellationToken::new();
    let (tell, told) = oneshot::channel();
    let stop = shutdown.clone();
    let task = runtime.spawn(async move {
        let listener = TcpListener::bind(config.listen).await.unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        let same = config.clone();
        let reload = Reload::new(move || Ok(same.clone()));
        let served = match faults {
            None => mgmt_service::serve_observed(listener, config, told_of, reload, stop).await,
            Some(faults) => {
                let store = Sqlite::open(&config.store).unwrap();
                let store = Arc::new(FaultyStore { store, faults });
                mgmt_service::serve_from(store, listener, config, told_of, reload, stop).await
            }
        };
        served.unwrap();
    });
    let service = Service {
        runtime: Some(runtime),
        task,
        shutdown,
        instruments,
    };
    (told.await.unwrap(), service)
}
