//! Load that goes on while a service is killed under it, and an account of what it was told.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::Duration,
};

use iothubdm_proto::v1::{
    AttemptState, OfflinePolicy, RebootEvent, RebootRequest, WatchRebootRequest,
    device_management_client::DeviceManagementClient, reboot_event::Event,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::world::request;

type Client = DeviceManagementClient<Channel>;

/// How long to wait before a call is made again.
const PAUSE: Duration = Duration::from_millis(50);

/// Numbers that are the same for the same seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with the seed of the environment's `SOAK_SEED`, or a new one; it is printed.
    #[expect(
        clippy::print_stderr,
        reason = "a failed run is repeated with its seed"
    )]
    pub fn new() -> Self {
        let given = env::var("SOAK_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        eprintln!("SOAK_SEED={seed}");
        Self(seed)
    }

    /// A time up to `most`.
    pub fn pause(&mut self, most: Duration) -> Duration {
        most.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// One of two.
    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

/// How many rounds the environment's `SOAK_ROUNDS` asks for.
pub fn rounds(otherwise: u32) -> u32 {
    let given = env::var("SOAK_ROUNDS").ok();
    given
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(otherwise)
}

/// What callers were told of one attempt.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Every step, by its revision.
    pub steps: BTreeMap<i64, (AttemptState, String)>,
    /// How it ended.
    pub verdict: Option<AttemptState>,
}

/// Callers that reboot devices one after the other, and follow each attempt to its end.
#[derive(Debug)]
pub struct Load {
    clients: watch::Sender<Client>,
    stop: CancellationToken,
    callers: JoinSet<()>,
    told: Arc<Mutex<BTreeMap<String, Told>>>,
}

impl Load {
    /// Begins with one caller for each device.
    pub fn start(client: Client, devices: &[String]) -> Self {
        let (clients, _) = watch::channel(client);
        let mut load = Self {
            clients,
            stop: CancellationToken::new(),
            callers: JoinSet::new(),
            told: Arc::default(),
        };
        for device in devices {
            let caller = Caller {
                device: device.clone(),
                clients: load.clients.subscribe(),
                told: load.told.clone(),
            };
            load.callers.spawn(caller.run(load.stop.clone()));
        }
        load
    }

    /// The service was started again, and is found here.
    pub fn moved(&self, client: Client) {
        self.clients.send_replace(client);
    }

    /// How many attempts have ended so far.
    pub fn ended(&self) -> usize {
        let told = self.told.lock().expect("no caller panicked");
        told.values().filter(|told| told.verdict.is_some()).count()
    }

    /// Begins no more attempts, waits for the ends of those that are open, and returns what was told
    /// of each, by its name.
    pub async fn finish(mut self, limit: Duration) -> BTreeMap<String, Told> {
        self.stop.cancel();
        let ended = async {
            while let Some(caller) = self.callers.join_next().await {
                caller.expect("a caller sees nothing that must not be");
            }
        };
        let ended = tokio::time::timeout(limit, ended).await;
        let told = self.told.lock().expect("no caller panicked").clone();
        assert!(ended.is_ok(), "not all attempts ended: {told:#?}");
        told
    }
}

/// Reboots one device again and again.
struct Caller {
    device: String,
    clients: watch::Receiver<Client>,
    told: Arc<Mutex<BTreeMap<String, Told>>>,
}

impl Caller {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let mut asked = request(&self.device);
            asked.request_id = Uuid::new_v4().to_string();
            asked.set_offline_policy(OfflinePolicy::Queue);
            let Some(name) = self.ask(&asked).await else {
                continue;
            };
            self.told(&name, |_| {});
            self.follow(&name).await;
        }
    }

    /// Asks with the same id until there is an answer.
    ///
    /// The answer may be that the gateway, begun again a moment ago, does not see the device yet. That
    /// ends the request: whoever asks with its id again is told the same again.
    async fn ask(&mut self, asked: &RebootRequest) -> Option<String> {
        loop {
            let mut client = self.clients.borrow_and_update().clone();
            let status = match client.reboot(asked.clone()).await {
                Ok(attempt) => return Some(attempt.into_inner().name),
                Err(status) => status,
            };
            self.pause(&status).await;
            let explained = status.get_details_error_info();
            if explained.is_some_and(|info| info.reason == "UNREACHABLE") {
                return None;
            }
        }
    }

    /// Follows an attempt to its end, over as many watches as it takes.
    async fn follow(&mut self, name: &str) {
        let (mut token, mut newest) = (String::new(), 0);
        loop {
            let asked = WatchRebootRequest {
                name: name.to_owned(),
                resume_token: token.clone(),
            };
            let mut client = self.clients.borrow_and_update().clone();
            let status = match client.watch_reboot(asked).await {
                Err(status) => status,
                Ok(answer) => {
                    let mut stream = answer.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(event)) => {
                                token.clone_from(&event.resume_token);
                                if self.note(name, &event, &mut newest) {
                                    return;
                                }
                            }
                            Ok(None) => panic!("{name}: the watch ended before the attempt"),
                            Err(status) => break status,
                        }
                    }
                }
            };
            self.pause(&status).await;
        }
    }

    /// Takes down an event. Says whether it is the last one.
    fn note(&self, name: &str, event: &RebootEvent, newest: &mut i64) -> bool {
        let Some(Event::Progress(progress)) = &event.event else {
            return false;
        };
        assert_eq!(event.revision, *newest + 1, "{name}: missed or repeated");
        *newest = event.revision;
        self.told(name, |told| {
            let step = (progress.state(), progress.message.clone());
            told.steps.insert(event.revision, step);
            told.verdict = progress.terminal.then(|| progress.state());
        });
        progress.terminal
    }

    fn told(&self, name: &str, change: impl FnOnce(&mut Told)) {
        let mut all = self.told.lock().expect("no caller panicked");
        change(all.entry(name.to_owned()).or_default());
    }

    /// Waits after an error that a killed service explains; any other is a defect.
    async fn pause(&mut self, status: &Status) {
        let explained = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
        );
        assert!(explained, "{}: {status}", self.device);
        // A new service is called at once.
        let _ = tokio::time::timeout(PAUSE, self.clients.changed()).await;
    }
}
