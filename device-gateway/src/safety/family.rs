//! The devices of one gateway, and the host that takes them all down: the devices come first.
//!
//! - The host waits for the devices whose attempts have begun. Those that only wait are parked: their
//!   attempts go on after the host's reboot.
//! - From the moment the host may go down, no device's attempt begins, and each device's twin says why
//!   it is about to be away.
//!
//! Both look and act in one step, so that never both go on: the host claims its reboot when no attempt
//! has begun, and an attempt that begins meanwhile finds the claim before its command.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use iot_hub::{
    identity::DeviceId,
    reboot::{Blocker, RequestId, State},
};
use jiff::Timestamp;
use tokio::{sync::watch, time};

use super::naming::property_name;

/// The name of the host's objection to a device's reboot.
const PARENT: &str = "parent-rebooting";

/// How many devices a blocked host names.
const NAMED: usize = 8;

/// The devices of one gateway.
#[derive(Debug, Clone, Default)]
pub(crate) struct Family(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    standings: watch::Sender<Standings>,
    /// Since when the host may go down at any moment.
    going_down: watch::Sender<Option<Timestamp>>,
}

#[derive(Debug, Default)]
struct Standings {
    /// Every device but the host.
    children: BTreeSet<DeviceId>,
    /// The attempts that have begun, of these.
    begun: BTreeMap<DeviceId, (RequestId, State)>,
    /// Those that have not told the hub yet that the host goes down.
    untold: BTreeSet<DeviceId>,
    /// The host is prepared, and nothing was in its way.
    claimed: bool,
    /// Its command is out.
    commanded: bool,
    /// It announced that it goes down, whoever asked for that.
    announced: bool,
}

/// One device's place.
#[derive(Debug)]
pub(crate) struct Member {
    id: DeviceId,
    is_host: bool,
    family: Family,
}

impl Family {
    /// Gives a device its place.
    pub(crate) fn member(&self, id: DeviceId, is_host: bool) -> Member {
        if !is_host {
            let child = id.clone();
            self.0.standings.send_modify(|standings| {
                standings.children.insert(child);
            });
        }
        Member {
            id,
            is_host,
            family: self.clone(),
        }
    }
}

impl Member {
    /// Takes in where the device's open attempt stands. To be told after it is journalled and before
    /// anything is done about it.
    pub(crate) fn stands(&self, open: Option<(RequestId, State)>) {
        let begun = open.filter(|(_, state)| has_begun(*state));
        self.shared().standings.send_if_modified(|standings| {
            if self.is_host {
                standings.claimed &= open.is_some_and(|(_, state)| state == State::Preparing);
                standings.commanded =
                    begun.is_some_and(|(_, state)| matches!(state, State::Rebooting | State::Down));
            } else if let Some(begun) = begun {
                standings.begun.insert(self.id.clone(), begun);
            } else {
                standings.begun.remove(&self.id);
            }
            // Somebody may wait for the end of a device's attempt.
            !self.is_host
        });
        if self.is_host {
            self.settle();
        }
    }

    /// Takes in that the host goes down, whoever asked for that, or stays up after all.
    pub(crate) fn announces(&self, goes_down: bool) {
        if self.is_host {
            self.shared().standings.send_modify(|standings| {
                standings.announced = goes_down;
            });
            self.settle();
        }
    }

    /// Who in the family forbids the device's reboot for now.
    pub(super) fn blockers(&self) -> BTreeMap<String, Blocker> {
        self.blockers_in(&self.shared().standings.borrow())
    }

    /// The same; and when there is nobody, or the caller insists, the host is about to go down from now
    /// on. Its devices are given a moment to tell the hub.
    pub(super) async fn claim(&self, insists: bool, limit: Duration) -> BTreeMap<String, Blocker> {
        let mut blockers = BTreeMap::new();
        self.shared().standings.send_modify(|standings| {
            blockers = self.blockers_in(standings);
            if self.is_host && (blockers.is_empty() || insists) {
                standings.claimed = true;
                standings.untold = standings.children.clone();
            }
        });
        if self.is_host {
            self.settle();
            let mut standings = self.shared().standings.subscribe();
            let told = standings.wait_for(|standings| standings.untold.is_empty());
            if time::timeout(limit, told).await.is_err() {
                tracing::info!("the hub has not been told of every device that the host goes down");
            }
        }
        blockers
    }

    /// Since when the host may go down at any moment. The host itself reports its attempt.
    pub(crate) fn going_down(&self) -> Option<watch::Receiver<Option<Timestamp>>> {
        (!self.is_host).then(|| self.shared().going_down.subscribe())
    }

    /// The hub knows of this device that the host goes down, or cannot be told.
    pub(crate) fn has_told(&self) {
        self.shared()
            .standings
            .send_if_modified(|standings| standings.untold.remove(&self.id));
    }

    fn blockers_in(&self, standings: &Standings) -> BTreeMap<String, Blocker> {
        if self.is_host {
            let begun = standings.begun.iter().take(NAMED);
            return begun.map(|(id, attempt)| first(id, *attempt)).collect();
        }
        let blocker = Blocker {
            who: "the gateway's host".to_owned(),
            why: "it is about to go down".to_owned(),
            until: None,
        };
        let leaves = standings.leaves();
        leaves
            .then(|| (PARENT.to_owned(), blocker))
            .into_iter()
            .collect()
    }

    /// Lets the devices know what became of the host.
    fn settle(&self) {
        let leaves = {
            let standings = self.shared().standings.borrow();
            standings.leaves()
        };
        self.shared().going_down.send_if_modified(|since| {
            let news = since.is_some() != leaves;
            if news {
                *since = leaves.then(Timestamp::now);
            }
            news
        });
    }

    fn shared(&self) -> &Shared {
        &self.family.0
    }
}

impl Drop for Member {
    /// A device that is none of the gateway's any more is nobody's to wait for.
    fn drop(&mut self) {
        self.shared().standings.send_modify(|standings| {
            standings.children.remove(&self.id);
            standings.begun.remove(&self.id);
            standings.untold.remove(&self.id);
        });
    }
}

impl Standings {
    fn leaves(&self) -> bool {
        self.claimed || self.commanded || self.announced
    }
}

fn first(id: &DeviceId, (request, state): (RequestId, State)) -> (String, Blocker) {
    let blocker = Blocker {
        who: id.to_string(),
        why: format!("its reboot {request} is {state}, and devices come before their host"),
        until: None,
    };
    (format!("child-{}", property_name(id.as_str())), blocker)
}

/// The device is in the attempt's hands; before that, nothing is lost by waiting.
fn has_begun(state: State) -> bool {
    match state {
        State::Accepted | State::Preparing | State::Rebooting | State::Down | State::Verifying => {
            true
        }
        State::Pending
        | State::Dispatching
        | State::Scheduled
        | State::Blocked
        | State::Succeeded
        | State::Failed
        | State::Cancelled
        | State::Rejected
        | State::Expired
        | State::Lost => false,
    }
}
