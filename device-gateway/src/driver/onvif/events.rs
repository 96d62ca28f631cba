//! What a camera's event service tells of its operating times. They are properties: who subscribes is
//! told what they are, at once.
//!
//! ```text
//!   GetCapabilities ───────────── where the event service is
//!   CreatePullPointSubscription ─ a subscription of this look's own, that ends by itself
//!   PullMessages ──────────────── what the properties are, in one answer or a few
//!   Unsubscribe ───────────────── a camera has few subscriptions to give
//! ```

use std::sync::{Mutex, PoisonError};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    service::{Call, Clock, DEVICE, SERVICE, Service, no_soap},
    soap::{Element, text},
};
use crate::driver::http::{Trouble, client::path_of};

const EVENTS: &str = "http://www.onvif.org/ver10/events/wsdl";

const NOTIFICATION: &str = "http://docs.oasis-open.org/wsn";

const ADDRESSING: &str = "http://www.w3.org/2005/08/addressing";

/// How many answers a camera may divide its properties into.
const PULLS: usize = 3;

/// How long what names a subscription may be.
const LONGEST: usize = 4_096;

/// The event service of one camera.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Where it was found.
    found: Mutex<Option<String>>,
}

/// What is told of a camera's operating times, by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Times {
    pub(super) last_reboot: Option<Timestamp>,
    /// When its clock was last set.
    pub(super) last_clock: Option<Timestamp>,
}

/// A subscription that was made.
#[derive(Debug)]
struct Subscription {
    /// As the camera calls it.
    address: String,
    /// Where to ask it, at the camera as the settings name it.
    path: String,
    /// What the camera wants to be told with each request, as XML.
    parameters: String,
}

impl Events {
    /// Reads the operating times, signed by that clock.
    pub(super) async fn times(&self, service: &Service, clock: Clock) -> Result<Times, Trouble> {
        let known = self.lock().clone();
        let path = match known {
            Some(path) => path,
            None => find(service, clock).await?,
        };
        let subscription = subscribe(service, &path, clock).await;
        // Where there is none any more, another one is looked for next time.
        *self.lock() = subscription.is_ok().then_some(path);
        let subscription = subscription?;
        let times = subscription.pull_all(service, clock).await;
        // One that the camera keeps nevertheless ends by itself.
        let _ = subscription.end(service, clock).await;
        times
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // No holder of the lock can leave the value half changed.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn find(service: &Service, clock: Clock) -> Result<String, Trouble> {
    let call = Call {
        path: SERVICE,
        action: &format!("{DEVICE}/GetCapabilities"),
        header: "",
        body: &format!(
            "<GetCapabilities xmlns=\"{DEVICE}\"><Category>Events</Category></GetCapabilities>"
        ),
    };
    let said = service.send(call, Some(clock)).await?.map_err(no_soap)?;
    let address = said.at(&["Capabilities", "Events", "XAddr"]);
    let path = address.and_then(|address| path_of(address.text()));
    path.ok_or_else(|| Trouble::Error("it has no event service".to_owned()))
}

async fn subscribe(service: &Service, path: &str, clock: Clock) -> Result<Subscription, Trouble> {
    let action = format!("{EVENTS}/EventPortType/CreatePullPointSubscriptionRequest");
    let call = Call {
        path,
        action: &action,
        header: &format!("<a:Action xmlns:a=\"{ADDRESSING}\">{action}</a:Action>"),
        body: &format!(
            "<CreatePullPointSubscription xmlns=\"{EVENTS}\"><Filter>\
             <n:TopicExpression xmlns:n=\"{NOTIFICATION}/b-2\" \
             xmlns:tns1=\"http://www.onvif.org/ver10/topics\" \
             Dialect=\"http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet\">\
             tns1:Monitoring/OperatingTime//.</n:TopicExpression></Filter>\
             <InitialTerminationTime>PT60S</InitialTerminationTime></CreatePullPointSubscription>"
        ),
    };
    let said = service.send(call, Some(clock)).await?.map_err(no_soap)?;
    let nowhere = || Trouble::Error("its subscription has no address".to_owned());
    let reference = said.at(&["SubscriptionReference"]).ok_or_else(nowhere)?;
    let address = reference.at(&["Address"]).ok_or_else(nowhere)?.text();
    let parameters = reference.at(&["ReferenceParameters"]);
    let parameters = parameters.map(Element::inner).unwrap_or_default();
    if address.len() + parameters.len() > LONGEST {
        return Err(Trouble::Error(
            "its subscription has too long an address".to_owned(),
        ));
    }
    Ok(Subscription {
        path: path_of(address).ok_or_else(nowhere)?,
        address: address.to_owned(),
        parameters,
    })
}

impl Subscription {
    async fn pull_all(&self, service: &Service, clock: Clock) -> Result<Times, Trouble> {
        let mut times = Times::default();
        for _ in 0..PULLS {
            let messages = self.pull(service, clock).await?;
            let told: Vec<_> = messages.named("NotificationMessage").collect();
            for message in &told {
                times.take(message);
            }
            if told.is_empty() || times.last_reboot.is_some() {
                break;
            }
        }
        Ok(times)
    }

    async fn pull(&self, service: &Service, clock: Clock) -> Result<Element, Trouble> {
        let action = format!("{EVENTS}/PullPointSubscription/PullMessagesRequest");
        let body = format!(
            "<PullMessages xmlns=\"{EVENTS}\"><Timeout>PT1S</Timeout>\
             <MessageLimit>100</MessageLimit></PullMessages>"
        );
        self.ask(service, clock, &action, &body).await
    }

    async fn end(&self, service: &Service, clock: Clock) -> Result<Element, Trouble> {
        let action = format!("{NOTIFICATION}/bw-2/SubscriptionManager/UnsubscribeRequest");
        let body = format!("<Unsubscribe xmlns=\"{NOTIFICATION}/b-2\"/>");
        self.ask(service, clock, &action, &body).await
    }

    async fn ask(
        &self,
        service: &Service,
        clock: Clock,
        action: &str,
        body: &str,
    ) -> Result<Element, Trouble> {
        let header = format!(
            "<a:Action xmlns:a=\"{ADDRESSING}\">{action}</a:Action>\
             <a:To xmlns:a=\"{ADDRESSING}\">{}</a:To>{}",
            text(&self.address),
            self.parameters
        );
        let call = Call {
            path: &self.path,
            action,
            header: &header,
            body,
        };
        service.send(call, Some(clock)).await?.map_err(no_soap)
    }
}

impl Times {
    /// Takes in what a message tells, if it is one of these times.
    fn take(&mut self, message: &Element) {
        let topic = message
            .at(&["Topic"])
            .map(Element::text)
            .unwrap_or_default();
        let names = topic.split('/').map(|name| {
            let (_, name) = name.split_once(':').unwrap_or(("", name));
            name
        });
        let time = match names.collect::<Vec<_>>().as_slice() {
            ["Monitoring", "OperatingTime", "LastReboot"] => &mut self.last_reboot,
            ["Monitoring", "OperatingTime", "LastClockSynchronization"] => &mut self.last_clock,
            _ => return,
        };
        let Some(data) = message.at(&["Message", "Message", "Data"]) else {
            return;
        };
        let value = data
            .named("SimpleItem")
            .find_map(|item| instant(item.attribute("Value")?));
        *time = value.or(*time);
    }
}

/// A time as XML writes it; one without a zone is taken for UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let time: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(time).ok()
    })
}

/// Reads any answer as what a subscription tells.
pub(super) fn fuzz(said: &Element) {
    let mut times = Times::default();
    for message in said.named("NotificationMessage") {
        times.take(message);
    }
}
