//! The audit of what is refused and of who looks.
//!
//! What is allowed and changes something is written by whoever does it, before it is done. The rest
//! passes here: it is written beside the calls, and bounded, so that nobody can fill the disk by being
//! refused.
//!
//! - A refusal is a line: at most `DENIALS_OF_ONE` a minute for one caller and `DENIALS_OF_ALL`
//!   for all; those beyond are counted in one line a minute.
//! - That a caller looks is a line for each of its calls once an hour.

mod bound;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::bound::Bound;
use crate::{
    access::Caller,
    store::{Audit, Store, Verdict},
    vital::Vital,
};

/// How many refusals of one caller are lines of their own in a minute.
const DENIALS_OF_ONE: u32 = 10;

/// How many of all callers.
const DENIALS_OF_ALL: u32 = 60;

const MINUTE: Duration = Duration::from_secs(60);

/// How often it is written that a caller looks.
const LOOKS: Duration = Duration::from_secs(3600);

/// How many pairs of caller and call are told apart in that time.
const LOOKERS: u32 = 1000;

/// How many lines may wait to be written.
const QUEUE: usize = 256;

/// Takes lines for the audit, without making anybody wait.
#[derive(Debug, Clone)]
pub struct Auditor {
    queue: mpsc::Sender<Noted>,
    /// How many found no room in the queue.
    lost: Arc<AtomicU64>,
}

/// Something to write, perhaps.
#[derive(Debug)]
enum Noted {
    Denied(Audit),
    Looked(Audit),
}

/// What a call was about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The device.
    pub device: Option<DeviceId>,
    /// The attempt.
    pub id: Option<RequestId>,
    /// Why, in the caller's words.
    pub why: String,
}

impl Auditor {
    /// Writes into a store until the shutdown.
    pub fn start(store: Arc<dyn Store>, vital: &Vital, shutdown: CancellationToken) -> Self {
        let (queue, noted) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            store,
            noted,
            lost: lost.clone(),
            denials: Bound::new(MINUTE, DENIALS_OF_ONE, DENIALS_OF_ALL, Instant::now()),
            looks: Bound::new(LOOKS, 1, LOOKERS, Instant::now()),
        };
        vital.spawn("audit", writer.run(shutdown));
        Self { queue, lost }
    }

    /// Somebody whom nobody knows was refused.
    pub fn unknown(&self, from: SocketAddr, call: &str, why_not: &str) {
        let audit = line("", from.to_string(), call, Subject::default());
        self.note(Noted::Denied(Audit {
            verdict: Verdict::denied(why_not),
            ..audit
        }));
    }

    /// A caller was refused something.
    pub fn denied(&self, caller: &Caller, call: &str, about: Subject, why_not: &str) {
        let audit = line(&caller.who, caller.from.clone(), call, about);
        self.note(Noted::Denied(Audit {
            verdict: Verdict::denied(why_not),
            ..audit
        }));
    }

    /// A caller looked at something.
    pub fn looked(&self, caller: &Caller, call: &str) {
        let audit = line(&caller.who, caller.from.clone(), call, Subject::default());
        self.note(Noted::Looked(Audit {
            verdict: Verdict::allowed("OK"),
            ..audit
        }));
    }

    fn note(&self, noted: Noted) {
        if self.queue.try_send(noted).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn line(who: &str, from: String, call: &str, about: Subject) -> Audit {
    Audit {
        time: Timestamp::now(),
        who: who.to_owned(),
        from,
        action: action(call),
        id: about.id,
        device: about.device,
        why: about.why,
        verdict: Verdict::denied(""),
    }
}

/// What the audit calls a call.
fn action(call: &str) -> &'static str {
    match call {
        "Reboot" => "REBOOT",
        "CancelReboot" => "CANCEL",
        "GetDevice" => "GET_DEVICE",
        "ListDevices" => "LIST_DEVICES",
        "GetReboot" => "GET_REBOOT",
        "ListReboots" => "LIST_REBOOTS",
        "WatchReboot" => "WATCH_REBOOT",
        "ListAuditEvents" => "LIST_AUDIT_EVENTS",
        _ => "UNKNOWN_CALL",
    }
}

struct Writer {
    store: Arc<dyn Store>,
    noted: mpsc::Receiver<Noted>,
    lost: Arc<AtomicU64>,
    denials: Bound,
    looks: Bound,
}

impl Writer {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut minutes = tokio::time::interval(MINUTE);
        loop {
            tokio::select! {
                noted = self.noted.recv() => match noted {
                    Some(Noted::Denied(audit)) => self.denied(audit).await,
                    Some(Noted::Looked(audit)) => self.looked(audit).await,
                    None => return,
                },
                _ = minutes.tick() => self.count_the_rest().await,
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn denied(&mut self, audit: Audit) {
        let key = if audit.who.is_empty() {
            // Not the port, which is another one for each connection.
            let address = audit.from.parse::<SocketAddr>();
            address.map_or_else(|_| String::new(), |address| address.ip().to_string())
        } else {
            audit.who.clone()
        };
        tracing::info!(
            who = audit.who,
            from = audit.from,
            action = audit.action,
            "refused: {}",
            audit.verdict.text
        );
        if self.denials.admit(&key, Instant::now()) {
            self.write(audit).await;
        }
    }

    async fn looked(&mut self, audit: Audit) {
        let key = format!("{} {}", audit.action, audit.who);
        if self.looks.admit(&key, Instant::now()) {
            self.write(audit).await;
        }
    }

    /// Writes how many refusals have no line of their own.
    async fn count_the_rest(&mut self) {
        let rest = self.denials.take_rest() + self.lost.swap(0, Ordering::Relaxed);
        if rest > 0 {
            tracing::warn!(rest, "more is refused than the audit takes");
            let verdict = Verdict::denied(format!("{rest} more"));
            let audit = line("", String::new(), "", Subject::default());
            self.write(Audit {
                verdict,
                action: "SEVERAL",
                ..audit
            })
            .await;
        }
    }

    async fn write(&self, audit: Audit) {
        if let Err(error) = self.store.audit(audit).await {
            let error = anyhow::Error::from(error);
            tracing::error!("failed to {error:#}");
        }
    }
}
