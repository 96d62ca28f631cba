//! What stands between a request and a command, besides the device itself: the interlocks, the hook
//! that prepares the device, and the order of a host and the devices behind it.
//!
//! ```text
//!   before an attempt begins          interlocks · family           ──┐
//!   before its command                hook, then both again         ──┴─► blockers, by name
//! ```
//!
//! Each of them ends within a limit of its own. One that hangs, breaks or cannot be asked has not said
//! yes.

pub(crate) mod family;
mod hook;
mod interlock;
pub(crate) mod naming;

use std::{collections::BTreeMap, time::Duration};

pub(crate) use family::{Family, Member};
use futures_util::future::join_all;
use interlock::Interlock;
pub(crate) use interlock::blocker_name;
use iot_hub::reboot::{Blocker, Mode};

use crate::{
    config::{HookConfig, SafetyConfig},
    driver::Order,
    local_mqtt::Accounts,
};

/// How long the host waits for its devices to tell the hub that it goes down.
const TELL_LIMIT: Duration = Duration::from_secs(3);

/// What must say yes to the reboots of one device.
#[derive(Debug)]
pub(crate) struct Safety {
    interlocks: Vec<Interlock>,
    hook: Option<HookConfig>,
    member: Member,
}

impl Safety {
    /// What is configured.
    pub(crate) fn new(config: SafetyConfig, accounts: Option<&Accounts>, member: Member) -> Self {
        let interlocks = config.interlocks.into_iter();
        Self {
            interlocks: interlocks
                .map(|interlock| Interlock::new(interlock, accounts))
                .collect(),
            hook: config.prepare,
            member,
        }
    }

    /// Of a device that has nobody beside it.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        let id = "alone".parse().expect("a device id");
        let member = Family::default().member(id, false);
        Self::new(SafetyConfig::default(), None, member)
    }

    /// The device's place among the devices of this gateway.
    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// Who forbids a reboot for now.
    pub(crate) async fn blockers(&self) -> BTreeMap<String, Blocker> {
        let mut blockers = self.member.blockers();
        blockers.extend(self.said_no().await);
        blockers
    }

    /// Prepares the device for a command, and asks once more whether it may be given. The host counts
    /// as going down from then on.
    pub(crate) async fn prepare(&self, order: &Order) -> BTreeMap<String, Blocker> {
        let mut blockers = BTreeMap::new();
        if let (Some(hook), false) = (&self.hook, order.mode == Mode::Forced) {
            blockers.extend(hook::run(hook, order).await);
        }
        // The hook may have taken minutes.
        blockers.extend(self.said_no().await);
        let insists = order.force || order.mode == Mode::Forced;
        if order.dry_run {
            blockers.extend(self.member.blockers());
        } else if blockers.is_empty() || insists {
            blockers.extend(self.member.claim(insists, TELL_LIMIT).await);
        }
        blockers
    }

    async fn said_no(&self) -> BTreeMap<String, Blocker> {
        let asked = join_all(self.interlocks.iter().map(Interlock::ask)).await;
        asked.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
