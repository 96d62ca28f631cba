//! A device's outbox, kept on disk and emptied over its link.

use std::time::Duration;

use iot_hub::{
    identity::DeviceId,
    reboot::{GatewayInfo, Report},
    twin::{self, SectionKind},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::bridge::OWN_KEY;
use crate::{
    causes::chain,
    engine::{Now, Reporting},
    hub_link::LinkHandle,
    outbox::{Document, Folded, Outbox},
    storage::{Storage, StorageError},
};

/// The most bytes that a local device may report of itself, as JSON. The rest of what a hub allows is
/// room for the reports of its reboots.
const OWN_BYTES: usize = 24 * 1024;

/// How often the pause may double after which a patch is sent again.
const DOUBLINGS: u32 = 4;

/// A device's outbox at work.
#[derive(Debug)]
pub(super) struct Mail {
    outbox: Outbox,
    /// What the properties should be, as far as that is on disk.
    kept: Option<Folded>,
    /// What the hub has of it is not on disk as it is known.
    stale: bool,
    gateway: GatewayInfo,
    /// What a local device reports of itself; nothing, when it is not bridged.
    device: Option<Document>,
    /// How much of its telemetry was dropped.
    dropped: u64,
    /// How much of it earlier processes dropped.
    dropped_before: u64,
    /// How long a report that nobody waits for is held back.
    delay: Duration,
    /// How long to wait after the hub could not take a patch, or the disk the outbox.
    retry: Duration,
    /// The link's number for the present time of being connected.
    connected: Option<u64>,
    /// The twin has been read since the device connected.
    known: bool,
    /// When to look for something to send.
    due: Option<Instant>,
    /// How often the hub could not take a patch, one time after the other.
    failures: u32,
    /// There was something to send while a patch was under way.
    held_up: bool,
    /// The hub refused this, and would again.
    refused: Option<Folded>,
    /// The number of the newest report that the hub is known to have.
    acked: Option<u64>,
    /// The number was looked for in this.
    looked_at: Option<Folded>,
    /// The number of the report in what the properties should be.
    posted: Option<u64>,
}

impl Mail {
    pub(super) fn new(
        outbox: Outbox,
        gateway: GatewayInfo,
        bridged: bool,
        delay: Duration,
        retry: Duration,
    ) -> Self {
        let target = outbox.target.open();
        let kept = |key| target.get(key).and_then(Value::as_object);
        let device = bridged.then(|| kept(OWN_KEY).cloned().unwrap_or_default());
        let dropped =
            kept("iothubDM").and_then(|own| own.get("bridge")?.get("telemetryDropped")?.as_u64());
        Self {
            device,
            dropped_before: dropped.unwrap_or_default(),
            dropped: 0,
            kept: Some(outbox.target.clone()),
            stale: false,
            outbox,
            gateway,
            delay,
            retry,
            connected: None,
            known: false,
            due: None,
            failures: 0,
            held_up: false,
            refused: None,
            acked: None,
            looked_at: None,
            posted: None,
        }
    }

    /// Takes in a report.
    pub(super) fn post(&mut self, reporting: &Reporting) {
        let mut document = document_of(&reporting.report, &self.gateway);
        self.add_bridged(&mut document);
        self.outbox.set_target(document);
        self.posted = Some(reporting.report.seq);
        let at = Instant::now()
            + if reporting.urgent {
                Duration::ZERO
            } else {
                self.delay
            };
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The journal cannot be used, for this reason, or it can be.
    pub(super) fn trouble(&mut self, why: Option<String>) {
        if self.gateway.trouble.is_some() == why.is_some() {
            return;
        }
        self.gateway.trouble = why;
        self.retarget();
        self.due = Some(Instant::now());
    }

    /// Merges what a local device reports of itself. Returns why it cannot be in a twin.
    pub(super) fn merge(&mut self, patch: &Document) -> Result<(), String> {
        let Some(device) = &self.device else {
            return Err("this device is not bridged".to_owned());
        };
        let section = |own: Document| -> Document {
            [(OWN_KEY.to_owned(), Value::Object(own))]
                .into_iter()
                .collect()
        };
        twin::validate(SectionKind::Reported, &section(patch.clone()))
            .map_err(|error| error.to_string())?;
        let mut merged = device.clone();
        twin::merge(&mut merged, patch);
        let bytes = Value::Object(merged.clone()).to_string().len();
        if bytes > OWN_BYTES {
            return Err(format!(
                "the reported properties would have {bytes} bytes, and may have {OWN_BYTES}"
            ));
        }
        self.device = Some(merged);
        self.retarget();
        Ok(())
    }

    /// Keeps what a local device reported.
    pub(super) async fn keep(&mut self, device: &DeviceId, storage: &Storage) -> Result<(), ()> {
        let at = Instant::now() + self.delay;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
        self.write(device, storage).await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot keep reported properties; they are not acknowledged"
            );
        })
    }

    /// Writes the outbox, and notes what is on disk then.
    async fn write(&mut self, device: &DeviceId, storage: &Storage) -> Result<(), StorageError> {
        storage.write_outbox(device, &self.outbox).await?;
        self.kept = Some(self.outbox.target.clone());
        self.stale = false;
        Ok(())
    }

    /// Takes in how much telemetry this process has dropped.
    pub(super) fn count_dropped(&mut self, dropped: u64) {
        if self.dropped != dropped {
            self.dropped = dropped;
            self.retarget();
            self.due.get_or_insert(Instant::now() + self.delay);
        }
    }

    fn retarget(&mut self) {
        let mut target = self.outbox.target.open();
        if let Some(Value::Object(own)) = target.get_mut("iothubDM") {
            own.insert("gateway".to_owned(), json!(self.gateway));
        }
        self.add_bridged(&mut target);
        self.outbox.set_target(target);
    }

    fn add_bridged(&self, document: &mut Document) {
        let Some(device) = &self.device else { return };
        document.insert(OWN_KEY.to_owned(), Value::Object(device.clone()));
        let dropped = self.dropped_before + self.dropped;
        let own = document.entry("iothubDM").or_insert_with(|| json!({}));
        if let (Value::Object(own), 1..) = (own, dropped) {
            own.insert("bridge".to_owned(), json!({ "telemetryDropped": dropped }));
        }
    }

    /// Says since when the gateway's host is about to go down.
    pub(super) fn mark(&mut self, going_down: Option<Timestamp>, report: Report) {
        self.gateway.going_down = going_down.map(|at| Now::new(at, Duration::ZERO).wall);
        self.post(&Reporting {
            report,
            urgent: going_down.is_some(),
        });
    }

    /// The twin should say that the gateway's host is about to go down.
    pub(super) fn is_marked(&self) -> bool {
        self.gateway.going_down.is_some()
    }

    /// When there may be something to send.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.due.filter(|_| self.connected.is_some() && self.known)
    }

    /// Sends what is to be sent. What the twin should say is on disk before it leaves, but for what
    /// says that nothing can be written. That it has left is not: the twin is read first whenever the
    /// device connects.
    pub(super) async fn send(&mut self, device: &DeviceId, storage: &Storage, link: &LinkHandle) {
        self.due = None;
        let Some(epoch) = self.connected else {
            return;
        };
        let was_in_trouble = self.gateway.trouble.is_some();
        if was_in_trouble {
            self.try_to_keep(device, storage).await;
        }
        if self.refused.as_ref() == Some(&self.outbox.target) {
            return;
        }
        let Some(patch) = self.outbox.next_patch() else {
            self.held_up = self.outbox.is_under_way();
            return;
        };
        let is_kept = self.kept.as_ref() == Some(&self.outbox.target);
        if !is_kept && (!was_in_trouble || self.gateway.trouble.is_none()) {
            self.try_to_keep(device, storage).await;
            if self.gateway.trouble.is_some() {
                // Nothing left, so nothing can have been applied.
                self.outbox.on_refused();
                self.due = Some(Instant::now());
                return;
            }
        }
        if !link.patch(epoch, patch) {
            self.on_unanswered();
        }
    }

    /// Writes the outbox, and says in it if that cannot be done.
    async fn try_to_keep(&mut self, device: &DeviceId, storage: &Storage) {
        match self.write(device, storage).await {
            Ok(()) => self.trouble(None),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot keep the outbox"
                );
                self.trouble(Some(trouble_of(&error)));
                self.due = Some(Instant::now() + self.retry);
            }
        }
    }

    pub(super) fn on_up(&mut self, epoch: u64) {
        self.connected = Some(epoch);
        self.due = Some(Instant::now());
    }

    pub(super) fn on_down(&mut self) {
        self.connected = None;
        self.known = false;
        self.outbox.on_unknown();
    }

    /// The hub says what the twin holds. Of that only our own part counts.
    pub(super) fn on_twin(&mut self, reported: &Map<String, Value>) {
        let believed = self.outbox.acked.clone();
        self.outbox
            .on_truth(own_part(reported, self.device.is_some()));
        self.stale |= self.outbox.acked != believed;
        self.known = true;
        self.due = Some(Instant::now());
    }

    /// The twin has been read since the device connected.
    pub(super) fn knows_twin(&self) -> bool {
        self.known
    }

    pub(super) fn on_applied(&mut self) {
        self.outbox.on_applied();
        self.failures = 0;
        self.stale = true;
        // What became due meanwhile goes now; what may wait, waits.
        if std::mem::take(&mut self.held_up) {
            self.due.get_or_insert_with(Instant::now);
        }
    }

    /// Writes what the hub has, at the end. Until then nobody reads it, and after a power cut the
    /// twin says it.
    pub(super) async fn put_away(&mut self, device: &DeviceId, storage: &Storage) {
        if self.stale
            && let Err(error) = self.write(device, storage).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot keep what the hub has"
            );
        }
    }

    /// The hub refused a patch. Returns whether that was for what a local device reports of itself: then
    /// that is given up, so that it does not stand in the way of the rest.
    pub(super) fn on_refused(&mut self, status: u16, message: &str) -> bool {
        self.outbox.on_refused();
        let (target, acked) = (self.outbox.target.open(), self.outbox.acked.open());
        let theirs = target.get(OWN_KEY) != acked.get(OWN_KEY);
        if theirs && self.device.is_some() && (400..500).contains(&status) && status != 429 {
            let acked = acked.get(OWN_KEY).and_then(Value::as_object);
            self.device = Some(acked.cloned().unwrap_or_default());
            self.retarget();
            self.due = Some(Instant::now());
            return true;
        }
        if status == 429 || status >= 500 {
            tracing::info!(status, "the hub cannot take the report now");
            self.send_later();
        } else {
            tracing::error!(status, message, "the hub refused the report");
            self.refused = Some(self.outbox.target.clone());
            self.due = Some(Instant::now());
        }
        false
    }

    pub(super) fn on_unanswered(&mut self) {
        self.outbox.on_unknown();
        self.send_later();
    }

    /// Sends again after a pause that grows, and is not the same for all: a hub that has too much to do
    /// is not to have more for it.
    fn send_later(&mut self) {
        let pause = self.retry * 2_u32.pow(self.failures.min(DOUBLINGS));
        self.failures += 1;
        self.due = Some(Instant::now() + pause.mul_f64(1.0 + rand::random::<f64>()));
    }

    /// The hub has all that the twin should say.
    pub(super) fn is_settled(&self) -> bool {
        self.outbox.is_settled()
    }

    /// The hub has, or can have for now, all that the twin should say.
    pub(super) fn is_delivered(&self) -> bool {
        self.wakes_at().is_none() && (self.connected.is_none() || self.outbox.is_settled())
    }

    /// The number of the newest report that the hub has, once, when it is certain.
    pub(super) fn acknowledges(&mut self) -> Option<u64> {
        let certain = self.known && self.outbox.unsettled.is_empty();
        if !certain || self.looked_at.as_ref() == Some(&self.outbox.acked) {
            return None;
        }
        self.looked_at = Some(self.outbox.acked.clone());
        let seq = match self.posted {
            Some(posted) if self.outbox.acked == self.outbox.target => Some(posted),
            Some(_) | None => seq_in(&self.outbox.acked.open()),
        };
        let news = seq.is_some() && seq != self.acked;
        if news {
            self.acked = seq;
        }
        seq.filter(|_| news)
    }
}

/// The number of the report in reported properties.
fn seq_in(properties: &Document) -> Option<u64> {
    properties
        .get("iothubDM")?
        .get("reboot")?
        .get("seq")?
        .as_u64()
}

/// What the hub is told of the disk's trouble. A property of a twin holds no more than a few thousand
/// bytes.
pub(super) fn trouble_of(error: &StorageError) -> String {
    let text = format!("the journal cannot be used: {}", chain(error));
    text.chars().take(300).collect()
}

fn document_of(report: &Report, gateway: &GatewayInfo) -> Document {
    let own = json!({ "reboot": report.to_value(), "gateway": gateway });
    [("iothubDM".to_owned(), own)].into_iter().collect()
}

fn own_part(reported: &Map<String, Value>, bridged: bool) -> Document {
    let device = reported.get(OWN_KEY).filter(|_| bridged);
    let device = device.map(|device| (OWN_KEY.to_owned(), device.clone()));
    let Some(Value::Object(all)) = reported.get("iothubDM") else {
        return device.into_iter().collect();
    };
    let own = ["reboot", "gateway", "bridge"];
    let part: Document = own
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), all.get(key)?.clone())))
        .collect();
    [("iothubDM".to_owned(), Value::Object(part))]
        .into_iter()
        .chain(device)
        .collect()
}
