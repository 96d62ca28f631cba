//! Somebody else's broker instead of the endpoint: the gateway is one of its clients.
//!
//! ```text
//!   device ══► broker ══ control, clean session ════════► what is said live ─► events ─► drivers
//!                     ══ telemetry, persistent session ═► one at a time, acknowledged once kept ─► hub
//! ```
//!
//! Who may write what is the broker's to decide. It tells nobody who is connected, so a device is there
//! once it is heard live. When our own line to the broker is cut, nothing is known of any device until it
//! is heard again: that is no absence of the device. What is retained is old news and is not looked at;
//! each device is asked to speak instead, again and again until it is heard.
//!
//! A broker that ends may send the last wills of all its clients, and none of them is gone. So what is
//! said is believed only once the broker has answered a ping that was sent after it was heard.

mod line;
mod standing;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
pub(crate) use line::BrokerSettings;
use line::{Heard, Line, LineError, Sign};
use mqtt_wire::Publish;
pub(crate) use standing::Standing;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::{Event, account::Account, accounts::Accounts, is_for_hub};
use crate::{causes::chain, hub_link::Backoff, queue};

/// How many messages for devices may wait to be written.
const OUTGOING: usize = 256;

/// How many messages of devices may wait for the broker's answer to a ping: more than any broker
/// sends without acknowledgements, so that only what comes with QoS 0 can be too many.
const UNPROVED: usize = 4096;

/// The pauses before the broker is tried again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];

/// The pauses before a device that was not heard is asked again: at first, and at most.
const QUESTIONS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// A line that stayed up that long was a good one.
const GOOD: Duration = Duration::from_secs(60);

/// A message of the gateway for a device.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
}

/// The gateway's part at a broker.
#[derive(Debug)]
pub(crate) struct BrokerClient {
    settings: BrokerSettings,
    accounts: Accounts,
    standing: Arc<Standing>,
}

/// What a line is for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Control,
    Telemetry,
}

impl BrokerClient {
    /// Connects to nobody yet.
    pub(crate) fn new(settings: BrokerSettings) -> Self {
        let standing = Arc::new(Standing::default());
        Self {
            settings,
            accounts: Accounts::at_broker(standing.clone()),
            standing,
        }
    }

    /// The devices, to be changed at any time.
    pub(crate) fn accounts(&self) -> Accounts {
        self.accounts.clone()
    }

    /// Serves until told to stop. Its last will says then that it is gone.
    pub(crate) async fn serve(self, shutdown: CancellationToken) {
        let both = async {
            tokio::join!(
                self.keep_up(Purpose::Control),
                self.keep_up(Purpose::Telemetry)
            )
        };
        tokio::select! {
            _ = both => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Connects again and again.
    async fn keep_up(&self, purpose: Purpose) {
        let [least, most] = PAUSES;
        let mut backoff = Backoff::new(least, most, GOOD);
        loop {
            let began = Instant::now();
            let Err(error) = match purpose {
                Purpose::Control => {
                    let ended = self.control().await;
                    for account in self.accounts.all() {
                        account.unhear().await;
                    }
                    ended
                }
                Purpose::Telemetry => self.telemetry().await,
            };
            let error = chain(&error);
            tracing::warn!(?purpose, error, "no connection to the broker, trying on");
            self.standing.set(purpose, Some(error));
            let wait = backoff.next_wait(began.elapsed(), &mut rand::rng());
            time::sleep(wait).await;
        }
    }

    /// Commands, and what devices say to the gateway: none of it is of use later.
    async fn control(&self) -> Result<Infallible, LineError> {
        let mut line = Line::open(&self.settings, Sign::InWithWill).await?;
        self.standing.set(Purpose::Control, None);
        tracing::info!("connected to the broker");
        line.publish(Outgoing {
            topic: self.settings.status_topic(),
            payload: Bytes::from_static(b"online"),
            retain: true,
        })
        .await?;
        let (sender, mut outgoing) = queue::bounded(OUTGOING);
        let mut members = Members::of(&self.accounts);
        let mut unproved = Unproved::default();
        let mut questions = Questions::begin();
        loop {
            for account in members.added() {
                line.subscribe(account.topics().heard()).await?;
                for message in account.raise(sender.clone()) {
                    line.publish(message).await?;
                }
                questions = Questions::begin();
            }
            tokio::select! {
                heard = line.next() => match heard? {
                    Heard::Message(publish) if self.is_passed_over(&publish) => {
                        line.acknowledge(&publish).await?;
                    }
                    Heard::Message(publish) => {
                        unproved.add(publish)?;
                        unproved.ask(&mut line).await?;
                    }
                    Heard::Pong => {
                        for publish in unproved.proved() {
                            line.acknowledge(&publish).await?;
                            self.hear(&publish).await;
                        }
                        unproved.ask(&mut line).await?;
                    }
                    Heard::Nothing => {
                        line.ping().await?;
                    }
                },
                Some(message) = outgoing.recv() => line.publish(message).await?,
                () = members.changed() => {}
                () = time::sleep_until(questions.due) => {
                    for question in self.accounts.all().iter().filter_map(|one| one.question()) {
                        line.publish(question).await?;
                    }
                    questions.put_off();
                }
            }
        }
    }

    /// It is old, or on its way to the hub, or of nobody we know.
    fn is_passed_over(&self, publish: &Publish) -> bool {
        publish.retain
            || match self.accounts.told(&publish.topic, &publish.payload) {
                Some((_, Event::Message { name, .. })) => is_for_hub(&name) || is_ours(&name),
                Some(_) => false,
                None => true,
            }
    }

    async fn hear(&self, publish: &Publish) {
        if let Some((account, event)) = self.accounts.told(&publish.topic, &publish.payload) {
            account.hear(event).await;
        }
    }

    /// What is on its way to the hub. The broker keeps it while we are away, and what is not acknowledged
    /// comes again, in order, on the next line.
    async fn telemetry(&self) -> Result<Infallible, LineError> {
        let mut line = Line::open(&self.settings, Sign::InForGood("-telemetry")).await?;
        self.standing.set(Purpose::Telemetry, None);
        let mut members = Members::of(&self.accounts);
        loop {
            for account in members.added() {
                line.subscribe(account.topics().for_hub()).await?;
            }
            tokio::select! {
                heard = line.next() => match heard? {
                    Heard::Message(publish) => {
                        if !self.is_kept(&publish).await {
                            return Err(LineError::NotKept);
                        }
                        line.acknowledge(&publish).await?;
                    }
                    Heard::Pong => {}
                    Heard::Nothing => {
                        line.ping().await?;
                    }
                },
                () = members.changed() => {}
            }
        }
    }

    /// Hands a message on. Those of nobody we know, and those that are retained and old, need not be. One
    /// that cannot be kept for a reason of its device alone is lost: it would come again before any other
    /// message, of whatever device.
    async fn is_kept(&self, publish: &Publish) -> bool {
        match self.accounts.told(&publish.topic, &publish.payload) {
            Some((account, event)) if !publish.retain => {
                account.tell(event).await || account.is_barred()
            }
            Some(_) | None => true,
        }
    }
}

/// What was heard, until the broker has shown that it was alive after it said so.
#[derive(Debug, Default)]
struct Unproved {
    waiting: VecDeque<Publish>,
    /// How many of them were heard before the ping that is under way.
    asked: usize,
}

impl Unproved {
    fn add(&mut self, publish: Publish) -> Result<(), LineError> {
        self.waiting.push_back(publish);
        if self.waiting.len() > UNPROVED {
            return Err(LineError::Flood);
        }
        Ok(())
    }

    /// Asks the broker, if there is anything to ask about and no ping under way.
    async fn ask(&mut self, line: &mut Line) -> Result<(), LineError> {
        if !self.waiting.is_empty() && line.ping().await? {
            self.asked = self.waiting.len();
        }
        Ok(())
    }

    /// The broker has answered.
    fn proved(&mut self) -> VecDeque<Publish> {
        let rest = self.waiting.split_off(self.asked);
        self.asked = 0;
        std::mem::replace(&mut self.waiting, rest)
    }
}

/// When those that were not heard are asked again.
#[derive(Debug)]
struct Questions {
    due: Instant,
    pause: Duration,
}

impl Questions {
    fn begin() -> Self {
        let [pause, _] = QUESTIONS;
        let due = Instant::now() + pause;
        Self { due, pause }
    }

    fn put_off(&mut self) {
        let [_, most] = QUESTIONS;
        self.pause = most.min(self.pause * 2);
        self.due = Instant::now() + self.pause;
    }
}

/// The devices that a line knows.
struct Members<'a> {
    accounts: &'a Accounts,
    changes: tokio::sync::watch::Receiver<()>,
    known: Vec<Arc<Account>>,
    is_new: bool,
}

impl<'a> Members<'a> {
    fn of(accounts: &'a Accounts) -> Self {
        Self {
            changes: accounts.admitted(),
            accounts,
            known: Vec::new(),
            is_new: true,
        }
    }

    /// Those that it did not know. One that came anew under the same name may have other topics.
    fn added(&mut self) -> Vec<Arc<Account>> {
        // The sender lives as long as the accounts.
        let changed = self.changes.has_changed().unwrap_or(false);
        if !std::mem::take(&mut self.is_new) && !changed {
            return Vec::new();
        }
        self.changes.mark_unchanged();
        let present = self.accounts.all();
        let is_new =
            |account: &&Arc<Account>| !self.known.iter().any(|known| Arc::ptr_eq(known, account));
        let added = present.iter().filter(is_new).cloned().collect();
        self.known = present;
        added
    }

    async fn changed(&mut self) {
        if self.changes.changed().await.is_ok() {
            self.is_new = true;
        }
    }
}

/// What the gateway itself says in a device's corner.
fn is_ours(name: &str) -> bool {
    name == "twin/desired" || name.starts_with("cmd/") || name.starts_with("bridge/")
}
