//! A device whose journal cannot be read or written: it is connected, begins nothing, and says why.

use iot_hub::{
    reboot::{GatewayInfo, RefusalCode},
    twin,
};
use serde_json::{Map, Value, json};
use tokio::time::{self, Instant};

use super::{Device, Event, Parts, Stop, StorageError, UNWRITABLE, mail::trouble_of, refuse};
use crate::hub_link::LinkEvent;

/// What the link said since it was connected, for whoever takes it over.
#[derive(Debug, Default)]
struct Heard {
    events: Vec<LinkEvent>,
    /// The link's number for the present time of being connected.
    epoch: Option<u64>,
    /// What the twin holds of the gateway, as far as that is known; nothing before it was read.
    told: Option<Told>,
    /// What is said on its way to the hub.
    under_way: Option<Map<String, Value>>,
}

#[derive(Debug, PartialEq)]
enum Told {
    Nothing,
    This(String),
}

/// Waits until the journal can be used, and goes on where it ends.
pub(super) async fn wait(failed: Box<(Parts, StorageError)>, stop: &Stop) -> Option<Box<Device>> {
    let (mut parts, mut error) = *failed;
    let mut heard = Heard::default();
    let mut known = String::new();
    loop {
        let trouble = trouble_of(&error);
        if known != trouble {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot use the journal; nothing is begun until it can be"
            );
            known.clone_from(&trouble);
        }
        parts.desk.journal(Some(&error));
        if let Some((local, _)) = &parts.bridged {
            local.bar(error.is_of_one_device());
        }
        let again = Instant::now() + parts.retry;
        loop {
            heard.tell(&parts, &trouble);
            tokio::select! {
                event = parts.link.events.recv() => match event? {
                    LinkEvent::Call(call) => {
                        refuse(call.reply, RefusalCode::Internal, UNWRITABLE.to_owned());
                    }
                    LinkEvent::Down => {
                        parts.desk.linked(false);
                        heard = Heard::default();
                    }
                    event @ LinkEvent::Up(epoch) => {
                        parts.desk.connected(true);
                        heard.epoch = Some(epoch);
                        heard.events.push(event);
                    }
                    event @ LinkEvent::Twin { .. } => heard.read(event),
                    LinkEvent::PatchApplied => heard.arrived(),
                    LinkEvent::PatchRefused { status, message } => {
                        tracing::warn!(status, message, "the hub does not take what is wrong");
                        heard.under_way = None;
                    }
                    LinkEvent::PatchUnanswered => heard.may_have_arrived(),
                    event @ (LinkEvent::Renewing
                    | LinkEvent::AnswerAcked(_)
                    | LinkEvent::Checked { .. }
                    | LinkEvent::Desired { .. }
                    | LinkEvent::MessageAcked(_)) => heard.events.push(event),
                },
                () = parts.pulse.beat() => {}
                // Whoever takes over has to know what the twin holds.
                () = time::sleep_until(again), if heard.under_way.is_none() => break,
                () = stop.now.cancelled() => return None,
                () = stop.drained.cancelled() => return None,
            }
        }
        match Device::start(Box::new(parts)).await {
            Ok(mut device) => {
                tracing::info!("the journal can be used");
                device.desk.journal(None);
                for event in heard.events {
                    device.handle(Event::Link(event)).await;
                }
                return Some(device);
            }
            Err(failed) => (parts, error) = *failed,
        }
    }
}

impl Heard {
    /// Takes in the twin, which is the news of all that was heard before: a link that lasts reads it with
    /// each new token.
    fn read(&mut self, twin: LinkEvent) {
        self.told = Some(Told::Nothing);
        self.events
            .retain(|event| matches!(event, LinkEvent::Up(_)));
        self.events.push(twin);
    }

    /// Has the twin say what is wrong, once.
    fn tell(&mut self, parts: &Parts, trouble: &str) {
        let Some(epoch) = self.epoch else { return };
        let news = match &self.told {
            None => false,
            Some(Told::Nothing) => true,
            Some(Told::This(told)) => told != trouble,
        };
        if !news || self.under_way.is_some() {
            return;
        }
        let gateway = GatewayInfo {
            trouble: Some(trouble.to_owned()),
            ..parts.gateway.clone()
        };
        let document = gateway_document(json!(gateway));
        if parts.link.patch(epoch, document.clone()) {
            self.told = Some(Told::This(trouble.to_owned()));
            self.under_way = Some(document);
        }
    }

    fn arrived(&mut self) {
        if let Some(document) = self.under_way.take() {
            self.merge(&document);
        }
    }

    /// The twin holds it or not, so it is removed in the end, and what else was said is said again.
    fn may_have_arrived(&mut self) {
        if self.under_way.take().is_some() {
            self.merge(&gateway_document(json!({ "trouble": true })));
        }
    }

    /// Makes the twin that was read the one that the hub has by now.
    fn merge(&mut self, patch: &Map<String, Value>) {
        for event in &mut self.events {
            if let LinkEvent::Twin { reported, .. } = event {
                twin::merge(reported, patch);
            }
        }
    }
}

fn gateway_document(gateway: Value) -> Map<String, Value> {
    let own = json!({ "gateway": gateway });
    [("iothubDM".to_owned(), own)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_no_more_after_many_tokens() {
        let properties = |number: u64| json!({ "n": number }).as_object().unwrap().clone();
        let mut heard = Heard::default();
        heard.events.push(LinkEvent::Up(1));
        for number in 0..100 {
            heard.events.push(LinkEvent::Renewing);
            heard.read(LinkEvent::Twin {
                reported: Map::new(),
                desired: properties(number),
            });
            let patch = properties(number + 1);
            heard.events.push(LinkEvent::Desired {
                version: number,
                patch,
            });
        }
        let [
            LinkEvent::Up(1),
            LinkEvent::Twin { desired, .. },
            LinkEvent::Desired { .. },
        ] = &heard.events[..]
        else {
            panic!("{:?}", heard.events);
        };
        assert_eq!(desired["n"], 99);
    }
}
