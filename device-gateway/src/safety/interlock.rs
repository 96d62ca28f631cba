//! Something that must say yes before a device is rebooted.

use std::sync::Arc;

use bytes::Bytes;
use iot_hub::reboot::Blocker;
use tokio::sync::watch;

use super::naming::{clip, property_name};
use crate::{
    config::{InterlockConfig, QuestionConfig},
    driver::command::run::{End, run},
    local_mqtt::{Accounts, Event, Listener},
};

/// Something that must say yes.
#[derive(Debug)]
pub(super) struct Interlock {
    config: InterlockConfig,
    /// What the device said that is asked, where a device is.
    pub(super) told: Option<watch::Receiver<Option<Bytes>>>,
}

/// What an interlock objects with.
pub(crate) fn blocker_name(name: &str) -> String {
    format!("interlock-{}", property_name(name))
}

impl Interlock {
    pub(super) fn new(config: InterlockConfig, accounts: Option<&Accounts>) -> Self {
        let told = match &config.question {
            QuestionConfig::Value { device, topic, .. } => {
                accounts.map(|accounts| follow(accounts.clone(), device.clone(), topic.clone()))
            }
            QuestionConfig::Command { .. } => None,
        };
        Self { config, told }
    }

    /// Asks it. Whatever is not a yes is an objection.
    pub(super) async fn ask(&self) -> Option<(String, Blocker)> {
        let why = match &self.config.question {
            QuestionConfig::Command { command, timeout } => {
                match run(command, &[], *timeout).await {
                    Ok(finished) if finished.end == End::Exited(0) => return None,
                    Ok(finished) => finished.why(),
                    Err(error) => format!("{}: {error}", command.program),
                }
            }
            // What it said last may be a yes of long ago.
            QuestionConfig::Value { device, .. } if self.is_deaf() => {
                format!("nobody listens to {device} any more")
            }
            QuestionConfig::Value { device, yes, .. } => {
                match self.told.as_ref().and_then(|told| told.borrow().clone()) {
                    Some(said) if said == yes.as_bytes() => return None,
                    Some(said) => format!("{device} says {:?}", String::from_utf8_lossy(&said)),
                    None => format!("{device} has said nothing since it connected"),
                }
            }
        };
        let name = &self.config.name;
        let blocker = Blocker {
            who: clip(name),
            why: clip(&why),
            until: None,
        };
        Some((blocker_name(name), blocker))
    }

    /// Whoever followed the device has ended, as by a panic.
    fn is_deaf(&self) -> bool {
        let told = self.told.as_ref();
        told.is_some_and(|told| told.has_changed().is_err())
    }
}

/// Follows what a device says on one of its topics. Only what it said on its present connection counts:
/// what it said before may no longer be so.
fn follow(accounts: Accounts, device: String, topic: String) -> watch::Receiver<Option<Bytes>> {
    let (told, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut admitted = accounts.admitted();
        loop {
            let account = accounts.device(&device);
            // It lives as long as this account is the device's.
            let ear = Arc::new(Ear {
                topic: topic.clone(),
                told: told.clone(),
            });
            if let Some(account) = &account {
                account.listen(&ear);
            }
            let is_another = async {
                loop {
                    let _ = admitted.changed().await;
                    let now = accounts.device(&device);
                    match (&account, &now) {
                        (Some(account), Some(now)) if account.is_same(now) => {}
                        (None, None) => {}
                        (Some(_) | None, Some(_) | None) => return,
                    }
                }
            };
            tokio::select! {
                () = is_another => told.send_replace(None),
                () = told.closed() => return,
            };
        }
    });
    receiver
}

/// Listens to a device for one of its topics.
#[derive(Debug)]
struct Ear {
    topic: String,
    told: watch::Sender<Option<Bytes>>,
}

impl Listener for Ear {
    fn hear(&self, event: &Event) {
        match event {
            Event::Connected | Event::Disconnected | Event::Unheard => {
                self.told.send_replace(None);
            }
            Event::Message { name, payload } if *name == self.topic => {
                self.told.send_replace(Some(payload.clone()));
            }
            Event::Message { .. } | Event::Elsewhere { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_yes_counts_no_more_once_nobody_listens() {
        let (follower, told) = watch::channel(Some(Bytes::from_static(b"yes")));
        let interlock = Interlock {
            config: InterlockConfig {
                name: "press idle".to_owned(),
                question: QuestionConfig::Value {
                    device: "press-1".to_owned(),
                    topic: "state/idle".to_owned(),
                    yes: "yes".to_owned(),
                },
                absolute: false,
            },
            told: Some(told),
        };
        assert_eq!(interlock.ask().await, None);
        drop(follower);
        let (_, blocker) = interlock.ask().await.expect("an objection");
        assert_eq!(blocker.why, "nobody listens to press-1 any more");
    }
}
