//! A device's session with the hub, and the only place that knows rumqttc.
//!
//! ```text
//!   dial ──► CONNECT ──► SUBSCRIBE ──► twin GET ──► Up: calls, patches, answers
//!    ▲                                                │
//!    │ at once, over a connection that stands already │ 85 % of the token's life, and idle
//!    ├────────────────────────────────────────────────┤
//!    │ after a wait with full jitter                  │ lost
//!    └────────────────────────────────────────────────┘
//! ```
//!
//! The protocol's state machine is rumqttc's; the loop around it is ours, because the outbox has to
//! know what became of each message. What was not acknowledged is not lost with a connection:
//! answers are sent again by the next one, and a patch is told to be unsettled.

mod backoff;
mod dial;
mod session;
mod turnstile;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use backoff::Backoff;
pub(crate) use dial::Dialer;
pub use dial::TlsSetupError;
use iot_hub::identity::{DeviceAuth, DeviceConnection};
use iot_hub::sas::SasToken;
use jiff::{SignedDuration, Timestamp};
use rumqttc::ConnectReturnCode;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use session::{End, Session};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{self, Instant},
};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
pub(crate) use turnstile::Turnstile;

use crate::config::LinkTiming;

/// The version of the hub's API that is spoken.
const API_VERSION: &str = "2021-04-12";

/// How many calls may wait for their answers. Each holds a place for its answer, so none is lost to
/// a full queue.
const CALLS: usize = 32;

/// How many events may wait for the device's task; it is told of no more calls than it can answer.
const EVENTS: usize = CALLS + 16;

/// How many patches may wait: the one under way, and those that were given up.
const PATCHES: usize = 4;

/// How many checks of the twin may wait: there is one under way, and a newer one replaces it.
const CHECKS: usize = 2;

/// How long an answer that was not acknowledged is worth sending again: a caller waits up to 5
/// minutes.
const ANSWER_LIFE: Duration = Duration::from_secs(300);

/// What happened on the link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The device is connected and subscribed. Nothing is under way. The number names this time of
    /// being connected.
    Up(u64),
    /// It is not any more. What became of a patch that was under way is not known.
    Down,
    /// The connection is going to be replaced as soon as no call is without its answer.
    Renewing,
    /// A direct method was called.
    Call(MethodCall),
    /// The hub has this answer.
    AnswerAcked(String),
    /// The twin, as the hub has it.
    Twin {
        /// What the device reported.
        reported: Map<String, Value>,
        /// What is desired of it.
        desired: Map<String, Value>,
    },
    /// The answer to [`LinkHandle::check`].
    Checked {
        /// The number it was asked with.
        number: u64,
        /// What is desired of the device.
        desired: Map<String, Value>,
    },
    /// A change of what is desired.
    Desired {
        /// Its number.
        version: u64,
        /// The change.
        patch: Map<String, Value>,
    },
    /// The patch was applied.
    PatchApplied,
    /// The patch was not applied.
    PatchRefused {
        /// The hub's status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The hub did not say in time what became of the patch.
    PatchUnanswered,
}

/// A direct method.
#[derive(Debug)]
pub(crate) struct MethodCall {
    pub(crate) rid: String,
    pub(crate) name: String,
    /// What was sent, or why it is no JSON.
    pub(crate) payload: Result<Value, String>,
    /// The place of the answer.
    pub(crate) reply: Reply,
}

/// The place of one answer.
#[derive(Debug)]
pub(crate) struct Reply {
    rid: String,
    place: mpsc::OwnedPermit<Outgoing>,
}

impl Reply {
    pub(crate) fn send(self, status: i32, payload: &Value) {
        self.place.send(Outgoing {
            rid: self.rid,
            status,
            payload: payload.to_string().into_bytes(),
            made: Instant::now(),
        });
    }
}

/// An answer on its way.
#[derive(Debug, Clone)]
struct Outgoing {
    rid: String,
    status: i32,
    payload: Vec<u8>,
    made: Instant,
}

/// The device's end of its link.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    patches: mpsc::Sender<Patch>,
    checks: mpsc::Sender<u64>,
}

/// A patch on its way.
#[derive(Debug)]
struct Patch {
    /// When the device believed to be connected. A patch of an earlier time was given up.
    epoch: u64,
    document: Map<String, Value>,
}

impl LinkHandle {
    /// Sends a patch; there must be none under way. Returns whether it was taken.
    pub(crate) fn patch(&self, epoch: u64, document: Map<String, Value>) -> bool {
        self.patches.try_send(Patch { epoch, document }).is_ok()
    }

    /// Asks to read the twin from now on. Without a connection that lasts there is no answer, and
    /// whoever wants one asks again.
    pub(crate) fn check(&self, number: u64) {
        // A full queue is one that nobody serves for now.
        let _ = self.checks.try_send(number);
    }
}

/// One device's link.
#[derive(Debug)]
pub(crate) struct Link {
    connection: DeviceConnection,
    timing: LinkTiming,
    dialer: Dialer,
    turnstile: Arc<Turnstile>,
    events: mpsc::Sender<LinkEvent>,
    patches: mpsc::Receiver<Patch>,
    checks: mpsc::Receiver<u64>,
    /// The number of the newest time of being connected.
    epoch: u64,
    answers: mpsc::Receiver<Outgoing>,
    /// Gives each call the place for its answer.
    places: mpsc::Sender<Outgoing>,
    /// Answers that no connection has sent, or none has seen acknowledged.
    unsent: VecDeque<Outgoing>,
    /// The number of the newest twin request.
    requests: u64,
}

/// Why a link was lost or is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("connect to {host}")]
    Dial {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("{0} took longer than {1:?}")]
    Slow(&'static str, Duration),
    #[error("{}", refusal(*.0))]
    Refused(ConnectReturnCode),
    #[error("the hub refused a subscription")]
    Subscription,
    #[error("the hub closed the connection")]
    Closed,
    #[error("speak MQTT: {0}")]
    Protocol(String),
}

fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword => {
            "the hub refused the credentials: check the key, that the device exists and is \
             enabled, and this machine's clock"
        }
        ConnectReturnCode::ServiceUnavailable => "the hub is busy",
        ConnectReturnCode::BadClientId | ConnectReturnCode::RefusedProtocolVersion => {
            "the hub refused the session"
        }
        ConnectReturnCode::Success => "the hub accepted the session",
    }
}

impl Link {
    /// Makes a link and the device's end of it.
    pub(crate) fn new(
        connection: DeviceConnection,
        timing: LinkTiming,
        dialer: Dialer,
        turnstile: Arc<Turnstile>,
    ) -> (Self, LinkHandle) {
        let (events_in, events) = mpsc::channel(EVENTS);
        let (patches, patches_out) = mpsc::channel(PATCHES);
        let (checks, checks_out) = mpsc::channel(CHECKS);
        let (places, answers) = mpsc::channel(CALLS);
        let link = Self {
            connection,
            timing,
            dialer,
            turnstile,
            events: events_in,
            patches: patches_out,
            checks: checks_out,
            epoch: 0,
            answers,
            places,
            unsent: VecDeque::new(),
            requests: 0,
        };
        let handle = LinkHandle {
            events,
            patches,
            checks,
        };
        (link, handle)
    }

    /// Keeps the device connected until told to stop.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let timing = &self.timing;
        let mut backoff =
            Backoff::new(timing.reconnect_min, timing.reconnect_max, timing.link_good);
        let mut standing = None;
        loop {
            let renewed = standing.is_some();
            let began = Instant::now();
            let opened = tokio::select! {
                opened = self.open(standing.take()) => opened,
                () = shutdown.cancelled() => return,
            };
            let mut was_up = Duration::ZERO;
            let error = match opened {
                Ok(session) => {
                    let connected = Instant::now();
                    let end = self.hold(session, renewed, &shutdown).await;
                    was_up = connected.elapsed();
                    match end {
                        End::Stopped => return,
                        End::Renew(stream) => {
                            standing = Some(*stream);
                            continue;
                        }
                        End::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            if self.events.send(LinkEvent::Down).await.is_err() {
                return;
            }
            let wait = backoff.next_wait(was_up, &mut rand::rng());
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                after = ?began.elapsed(),
                wait = ?wait,
                "no link to the hub, trying again"
            );
            tokio::select! {
                () = time::sleep(wait) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Connects and signs in.
    async fn open(&mut self, standing: Option<TlsStream<TcpStream>>) -> Result<Session, LinkError> {
        let limit = self.timing.connect_limit;
        // One that stands is renewed; its device is away until that is done.
        let _turn = match standing {
            Some(_) => None,
            None => self.turnstile.pass().await,
        };
        let connecting = async {
            let stream = match standing {
                Some(stream) => stream,
                None => self.dial().await?,
            };
            Session::open(stream, self.login(), self.timing.keep_alive, self.renewal()).await
        };
        match time::timeout(limit, connecting).await {
            Ok(opened) => opened,
            Err(_) => Err(LinkError::Slow("connecting", limit)),
        }
    }

    async fn dial(&self) -> Result<TlsStream<TcpStream>, LinkError> {
        let host = self
            .connection
            .gateway
            .as_ref()
            .unwrap_or(&self.connection.host);
        let host = host.address();
        self.dialer
            .dial(host)
            .await
            .map_err(|source| LinkError::Dial {
                host: host.to_owned(),
                source,
            })
    }

    /// The credentials of a new connection: a token that begins its life now.
    fn login(&self) -> session::Login {
        let life = SignedDuration::try_from(self.timing.token_life).unwrap_or(SignedDuration::MAX);
        let expiry = Timestamp::now()
            .saturating_add(life)
            .unwrap_or(Timestamp::MAX);
        let password = match &self.connection.auth {
            DeviceAuth::Key(key) => {
                SasToken::sign(&self.connection.scope(), key, None, expiry).to_string()
            }
            DeviceAuth::Token(token) => token.expose_secret().to_owned(),
            DeviceAuth::X509 => String::new(),
        };
        session::Login {
            client_id: self.connection.client_id(),
            user: self.connection.mqtt_user(API_VERSION).to_string(),
            password,
        }
    }

    /// When a connection that begins now has to be renewed; never where we cannot sign.
    fn renewal(&self) -> Option<Instant> {
        match &self.connection.auth {
            DeviceAuth::Key(_) => Instant::now().checked_add(self.timing.token_life.mul_f64(0.85)),
            DeviceAuth::Token(_) | DeviceAuth::X509 => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! A link's end without a link, for the tests of what is behind it.

    use super::*;

    /// What a device told its link.
    pub(crate) struct LooseLink {
        pub(crate) events: mpsc::Sender<LinkEvent>,
        patches: mpsc::Receiver<Patch>,
        checks: mpsc::Receiver<u64>,
        places: mpsc::Sender<Outgoing>,
        answers: mpsc::Receiver<Outgoing>,
    }

    impl LooseLink {
        pub(crate) fn new() -> (Self, LinkHandle) {
            let (events_in, events) = mpsc::channel(EVENTS);
            let (patches, patches_out) = mpsc::channel(PATCHES);
            let (checks, checks_out) = mpsc::channel(CHECKS);
            let (places, answers) = mpsc::channel(CALLS);
            let link = Self {
                events: events_in,
                patches: patches_out,
                checks: checks_out,
                places,
                answers,
            };
            let handle = LinkHandle {
                events,
                patches,
                checks,
            };
            (link, handle)
        }

        /// Calls a method, and returns the answer's status and payload.
        pub(crate) async fn call(&mut self, name: &str, payload: Value) -> (i32, Value) {
            self.deliver(name, payload).await;
            self.answer().await
        }

        /// Calls a method.
        pub(crate) async fn deliver(&mut self, name: &str, payload: Value) {
            let place = self.places.clone().reserve_owned().await.unwrap();
            let rid = "1".to_owned();
            let call = MethodCall {
                rid: rid.clone(),
                name: name.to_owned(),
                payload: Ok(payload),
                reply: Reply { rid, place },
            };
            self.events.send(LinkEvent::Call(call)).await.unwrap();
        }

        /// The next answer's status and payload.
        pub(crate) async fn answer(&mut self) -> (i32, Value) {
            let answer = soon(self.answers.recv()).await;
            (
                answer.status,
                serde_json::from_slice(&answer.payload).unwrap(),
            )
        }

        /// Says whether every call was answered, or forgotten, and the answers taken.
        pub(crate) fn is_quiet(&self) -> bool {
            self.answers.is_empty() && self.places.capacity() == CALLS
        }

        /// Says whether there is an answer that was not taken.
        pub(crate) fn is_answered(&self) -> bool {
            !self.answers.is_empty()
        }

        pub(crate) async fn patch(&mut self) -> Map<String, Value> {
            soon(self.patches.recv()).await.document
        }

        pub(crate) async fn check(&mut self) -> u64 {
            soon(self.checks.recv()).await
        }
    }
    async fn soon<T>(wanted: impl Future<Output = Option<T>>) -> T {
        let limit = Duration::from_secs(30);
        time::timeout(limit, wanted).await.unwrap().unwrap()
    }
}
