//! What stands between a request and a command, besides the device itself: the order of a host and the
//! devices behind it.

pub(crate) mod family;
pub(crate) mod naming;

use std::{collections::BTreeMap, time::Duration};

pub(crate) use family::{Family, Member};
use iot_hub::reboot::{Blocker, Mode};

use crate::driver::Order;

/// How long the host waits for its devices to tell the hub that it goes down.
const TELL_LIMIT: Duration = Duration::from_secs(3);

/// What must say yes to the reboots of one device.
#[derive(Debug)]
pub(crate) struct Safety {
    member: Member,
}

impl Safety {
    pub(crate) fn new(member: Member) -> Self {
        Self { member }
    }

    /// Of a device that has nobody beside it.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        let id = "alone".parse().expect("a device id");
        Self::new(Family::default().member(id, false))
    }

    /// The device's place among the devices of this gateway.
    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// Who forbids a reboot for now.
    pub(crate) fn blockers(&self) -> BTreeMap<String, Blocker> {
        self.member.blockers()
    }

    /// Asks once more whether a command may be given. The host counts as going down from then on.
    pub(crate) async fn prepare(&self, order: &Order) -> BTreeMap<String, Blocker> {
        if order.dry_run {
            return self.blockers();
        }
        let insists = order.force || order.mode == Mode::Forced;
        self.member.claim(insists, TELL_LIMIT).await
    }
}

#[cfg(test)]
mod tests;
