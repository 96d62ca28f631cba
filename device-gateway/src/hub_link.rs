//! A device's session with the hub, and the only place that knows rumqttc.
//!
//! ```text
//!   home ──► dial ──► CONNECT ──► SUBSCRIBE ──► twin GET ──► Up: calls, patches, answers
//!    ▲                                                │
//!    │ at once, over a connection that stands already │ 85 % of the token's life, and idle
//!    ├────────────────────────────────────────────────┤
//!    │ after a wait with full jitter                  │ lost
//!    └────────────────────────────────────────────────┘
//! ```
//!
//! The packets are rumqttc's; their order is ours, because the outbox has to know what became of each
//! message. What was not acknowledged is not lost with a connection: answers are sent again by the
//! next one, and a patch is told to be unsettled. A hub that is there and leaves a message without its
//! acknowledgement, or patches without answers, is left and connected to again.

mod advice;
mod backoff;
mod certificate;
#[cfg(test)]
mod clock_tests;
mod credentials;
mod dial;
mod find_home;
mod home;
mod packets;
mod registration;
mod session;
mod sign_in;
mod tunnel;
mod turnstile;
mod websocket;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

pub(crate) use advice::advice;
pub(crate) use backoff::Backoff;
use certificate::{CertificateError, DeviceCertificate};
pub use dial::TlsSetupError;
use dial::Way;
pub(crate) use dial::{Dialer, Stream, client_config};
use home::Doubt;
pub(crate) use home::Home;
use iot_hub::identity::DeviceConnection;
use iot_hub::topic::PropertyBag;
use jiff::Timestamp;
pub(crate) use packets::Packets;
use registration::RegistrationError;
use rumqttc::ConnectReturnCode;
use serde_json::{Map, Value};
use session::{End, Session};
pub(crate) use sign_in::{Login, sign_in};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
pub(crate) use turnstile::Turnstile;

use crate::{
    backlog::WINDOW,
    config::LinkTiming,
    queue::{self, Place, Receiver, Sender},
};

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
    /// The hub has the message of this number.
    MessageAcked(u64),
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
    /// Which of the device's hubs asked.
    hub: u64,
    place: Place<Outgoing>,
}

impl Reply {
    pub(crate) fn send(self, status: i32, payload: &Value) {
        self.place.send(Outgoing {
            rid: self.rid,
            hub: self.hub,
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
    /// Which of the device's hubs asked.
    hub: u64,
    status: i32,
    payload: Vec<u8>,
    made: Instant,
}

/// The device's end of its link.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    pub(crate) events: Receiver<LinkEvent>,
    patches: Sender<Patch>,
    messages: Sender<Message>,
    checks: Sender<u64>,
}

/// A message to the cloud. The link does not lose it as long as the process lives, and keeps the order.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) number: u64,
    pub(crate) properties: PropertyBag,
    pub(crate) payload: Vec<u8>,
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

    /// Sends a message. Returns whether it was taken: there are at most [`WINDOW`] on their way.
    pub(crate) fn send(&self, message: Message) -> bool {
        self.messages.try_send(message).is_ok()
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
    home: Arc<Home>,
    doubt: Doubt,
    /// How to reach the hub, once it is known.
    connection: Option<Arc<DeviceConnection>>,
    /// How often the device has moved to another hub.
    moves: u64,
    way: Way,
    /// What was shown last.
    certificate: Option<DeviceCertificate>,
    timing: Arc<LinkTiming>,
    dialer: Dialer,
    turnstile: Arc<Turnstile>,
    events: Sender<LinkEvent>,
    patches: Receiver<Patch>,
    messages: Receiver<Message>,
    /// Messages that no connection has sent, or none has seen acknowledged, in order.
    unsent_messages: VecDeque<Message>,
    checks: Receiver<u64>,
    /// The number of the newest time of being connected.
    epoch: u64,
    answers: Receiver<Outgoing>,
    /// Gives each call the place for its answer.
    places: Sender<Outgoing>,
    /// Answers that no connection has sent, or none has seen acknowledged.
    unsent: VecDeque<Outgoing>,
    /// The number of the newest twin request.
    requests: u64,
    /// Tells the time to make tokens by. It may be wrong, and is asked for each anew.
    clock: fn() -> Timestamp,
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
    /// It is there, and does not do its part.
    #[error("the hub has not {0} within {1:?}")]
    Unanswered(&'static str, Duration),
    #[error("{}", refusal(*.0))]
    Refused(ConnectReturnCode),
    #[error(
        "the hub refused the certificate with the SHA-256 thumbprint {0}: check that it is \
         registered or signed by the hub's authority, that its name is the device's, that the \
         device exists and is enabled"
    )]
    RefusedCertificate(String),
    #[error("show a certificate")]
    Certificate(#[from] CertificateError),
    #[error("register with {host}")]
    Registration {
        host: String,
        #[source]
        source: Box<RegistrationError>,
    },
    #[error("no hub is known")]
    Homeless,
    #[error("the hub refused a subscription")]
    Subscription,
    #[error("the hub closed the connection")]
    Closed,
    #[error("speak MQTT: {0}")]
    Protocol(String),
}

impl LinkError {
    /// For how long a link was of use that was up so long and ended with this.
    fn was_of_use(&self, was_up: Duration) -> Duration {
        match self {
            Self::Unanswered(_, waited) => was_up.saturating_sub(*waited),
            Self::Dial { .. }
            | Self::Slow(..)
            | Self::Refused(_)
            | Self::RefusedCertificate(_)
            | Self::Certificate(_)
            | Self::Registration { .. }
            | Self::Homeless
            | Self::Subscription
            | Self::Closed
            | Self::Protocol(_) => was_up,
        }
    }
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
        home: Arc<Home>,
        timing: Arc<LinkTiming>,
        dialer: Dialer,
        turnstile: Arc<Turnstile>,
    ) -> (Box<Self>, LinkHandle) {
        let (events_in, events) = queue::bounded(EVENTS);
        let (patches, patches_out) = queue::bounded(PATCHES);
        let (checks, checks_out) = queue::bounded(CHECKS);
        let (messages, messages_out) = queue::bounded(WINDOW);
        let (places, answers) = queue::bounded(CALLS);
        let link = Box::new(Self {
            home,
            doubt: Doubt::new(&timing),
            connection: None,
            moves: 0,
            way: dialer.first_way(),
            certificate: None,
            timing,
            dialer,
            turnstile,
            events: events_in,
            patches: patches_out,
            messages: messages_out,
            unsent_messages: VecDeque::new(),
            checks: checks_out,
            epoch: 0,
            answers,
            places,
            unsent: VecDeque::new(),
            requests: 0,
            clock: Timestamp::now,
        });
        let handle = LinkHandle {
            events,
            patches,
            messages,
            checks,
        };
        (link, handle)
    }

    /// Keeps the device connected until told to stop.
    ///
    /// What a link does now and then is in boxes of its own, here and below: it waits nearly all of
    /// its life, and thousands may wait.
    pub(crate) async fn run(mut self: Box<Self>, shutdown: CancellationToken) {
        let timing = &self.timing;
        let mut backoff =
            Backoff::new(timing.reconnect_min, timing.reconnect_max, timing.link_good);
        self.connection = Box::pin(self.home.known(self.scope())).await;
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
                    if was_up >= self.timing.link_good {
                        self.doubt.on_good();
                    }
                    match end {
                        End::Stopped => return,
                        End::Renew(stream) => {
                            standing = Some(stream);
                            continue;
                        }
                        End::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.on_failure(&error, was_up);
            if self.events.send(LinkEvent::Down).await.is_err() {
                return;
            }
            let wait = backoff.next_wait(error.was_of_use(was_up), &mut rand::rng());
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                advice = advice(&error, (self.clock)()),
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

    /// Signs in once, and hangs up. Returns the hub.
    pub(crate) async fn try_once(mut self) -> Result<String, LinkError> {
        self.connection = self.home.known(self.scope()).await;
        drop(self.open(None).await?);
        Ok(self.hub().to_owned())
    }

    /// Connects and signs in.
    async fn open(&mut self, standing: Option<Stream>) -> Result<Box<Session>, LinkError> {
        if standing.is_none() && self.home.registers_as().is_some() {
            Box::pin(self.find_home()).await?;
        }
        // One that stands is renewed; its device is away until that is done.
        let turnstile = Arc::clone(&self.turnstile);
        let _turn = match standing {
            Some(_) => None,
            None => turnstile.pass().await,
        };
        // Room is taken when it is its turn: thousands may wait for theirs.
        Box::pin(self.connect(standing)).await
    }

    async fn connect(&mut self, standing: Option<Stream>) -> Result<Box<Session>, LinkError> {
        let limit = self.timing.connect_limit;
        let connecting = async {
            let stream = match standing {
                Some(stream) => stream,
                None => self.dial().await?,
            };
            Session::open(stream, self.login()?, self.renewal()).await
        };
        let opened = match time::timeout(limit, connecting).await {
            Ok(opened) => opened,
            Err(_) => Err(LinkError::Slow("connecting", limit)),
        };
        if opened.is_ok() {
            self.doubt.on_welcome();
        }
        match (opened, &self.certificate) {
            (Err(LinkError::Refused(code)), Some(certificate)) if is_refusal(code) => Err(
                LinkError::RefusedCertificate(certificate.thumbprint().to_owned()),
            ),
            (opened, _) => opened,
        }
    }

    /// Looks what a lost or refused connection says about the way and about the hub.
    fn on_failure(&mut self, error: &LinkError, was_up: Duration) {
        if was_up.is_zero() && matches!(error, LinkError::Dial { .. } | LinkError::Slow(..)) {
            self.way = self.dialer.way_after(self.way);
        }
        self.doubt.on_failure(error, Instant::now());
    }

    /// The hub's name, for people.
    fn hub(&self) -> &str {
        let connection = self.connection.as_ref();
        connection.map_or("", |connection| connection.host.as_str())
    }

    /// The part of the provisioning service that is asked.
    fn scope(&self) -> &str {
        let service = self.dialer.provisioning();
        service.map_or("", |service| service.id_scope.as_str())
    }
}

/// The credentials were refused, and not only for now.
fn is_refusal(code: ConnectReturnCode) -> bool {
    match code {
        ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword => true,
        ConnectReturnCode::Success
        | ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::BadClientId
        | ConnectReturnCode::RefusedProtocolVersion => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! A link's end without a link, for the tests of what is behind it.

    use super::*;

    /// What a device told its link.
    pub(crate) struct LooseLink {
        pub(crate) events: Sender<LinkEvent>,
        patches: Receiver<Patch>,
        checks: Receiver<u64>,
        places: Sender<Outgoing>,
        answers: Receiver<Outgoing>,
    }

    impl LooseLink {
        pub(crate) fn new() -> (Self, LinkHandle) {
            let (events_in, events) = queue::bounded(EVENTS);
            let (patches, patches_out) = queue::bounded(PATCHES);
            let (checks, checks_out) = queue::bounded(CHECKS);
            let (messages, _) = queue::bounded(WINDOW);
            let (places, answers) = queue::bounded(CALLS);
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
                messages,
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
            let place = self.places.keep_place().unwrap();
            let rid = "1".to_owned();
            let call = MethodCall {
                rid: rid.clone(),
                name: name.to_owned(),
                payload: Ok(payload),
                reply: Reply { rid, hub: 0, place },
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
            self.places.is_unused()
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
