//! Who may do what to which devices: the decision itself, from values alone.

use std::collections::BTreeSet;

use iot_hub::{identity::DeviceId, reboot::Mode};
use serde_json::{Map, Value};

use super::{
    right::{Right, Role},
    scope::{Fit, Scope},
    who::{Identity, Who},
};

/// Gives callers a role over devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// To whom: any of these.
    pub who: Vec<Who>,
    /// Which role.
    pub role: Role,
    /// Which rights besides.
    pub extras: BTreeSet<Right>,
    /// Over which devices.
    pub scope: Scope,
}

/// Every binding.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// Each of them; what several give to a caller adds up.
    pub bindings: Vec<Binding>,
    /// Callers without credentials may do everything: there are none that they could have.
    pub open: bool,
}

/// What one caller may do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grants {
    grants: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq)]
struct Grant {
    rights: BTreeSet<Right>,
    scope: Scope,
}

/// What is decided about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The caller may.
    Allowed,
    /// It may not, for it lacks this right; it may know that the device exists.
    Denied(Right),
    /// It may not even know whether the device exists.
    Hidden,
    /// The tags of the device decide.
    NeedsTags,
}

impl Policy {
    /// What a caller may do.
    pub fn grants(&self, identity: &Identity) -> Grants {
        if self.open && *identity == Identity::Anonymous {
            return Grants::everything();
        }
        let given = self
            .bindings
            .iter()
            .filter(|binding| binding.who.iter().any(|who| who.is(identity)));
        let grants = given.map(|binding| Grant {
            rights: &binding.role.rights() | &binding.extras,
            scope: binding.scope.clone(),
        });
        Grants {
            grants: grants.collect(),
        }
    }
}

impl Grants {
    /// Every right over every device.
    pub fn everything() -> Self {
        Self {
            grants: vec![Grant {
                rights: Role::Admin.rights(),
                scope: Scope::default(),
            }],
        }
    }

    /// Says whether the caller has a right over any device that there might be.
    pub fn somewhere(&self, right: Right) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.rights.contains(&right))
    }

    /// Says whether the caller has a right over every device.
    pub fn everywhere(&self, right: Right) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.rights.contains(&right) && grant.scope.is_everything())
    }

    /// Decides whether the caller has all these rights over a device; `tags` are those of its twin, if
    /// they are known.
    pub fn decide(
        &self,
        needed: &[Right],
        device: &DeviceId,
        tags: Option<&Map<String, Value>>,
    ) -> Decision {
        let (mut certain, mut possible) = (BTreeSet::new(), BTreeSet::new());
        for grant in &self.grants {
            match grant.scope.fits(device, tags) {
                Fit::Yes => {
                    certain.extend(&grant.rights);
                    possible.extend(&grant.rights);
                }
                Fit::Unknown => possible.extend(&grant.rights),
                Fit::No => {}
            }
        }
        let lacking = |rights: &BTreeSet<Right>| {
            let mut needed = needed.iter().copied();
            needed.find(|right| !rights.contains(right))
        };
        match (lacking(&certain), lacking(&possible)) {
            (None, _) => Decision::Allowed,
            (Some(_), None) => Decision::NeedsTags,
            (Some(_), Some(right)) if certain.contains(&Right::View) => Decision::Denied(right),
            (Some(_), Some(_)) if possible.contains(&Right::View) => Decision::NeedsTags,
            (Some(_), Some(_)) => Decision::Hidden,
        }
    }
}

/// Every call, and the right without which it is pointless.
const CALLS: [(&str, Right); 8] = [
    ("GetDevice", Right::View),
    ("ListDevices", Right::View),
    ("GetReboot", Right::View),
    ("ListReboots", Right::View),
    ("WatchReboot", Right::View),
    ("Reboot", Right::Reboot),
    ("CancelReboot", Right::Cancel),
    ("ListAuditEvents", Right::Audit),
];

/// A call by its name. `None` for one that nobody has thought about, which nobody may make.
pub fn call(name: &str) -> Option<(&'static str, Right)> {
    CALLS.into_iter().find(|(known, _)| *known == name)
}

/// The right without which a call is pointless.
pub fn least_right(name: &str) -> Option<Right> {
    call(name).map(|(_, right)| right)
}

/// What rebooting needs that begins with `mode` and may go as far as `most`: the rights to every mode
/// on the way.
pub fn to_reboot(mode: Mode, most: Mode) -> &'static [Right] {
    match (mode, most) {
        (_, Mode::Graceful) => &[Right::Reboot],
        (_, Mode::Forced) => &[Right::Reboot, Right::Force],
        (Mode::PowerCycle, Mode::PowerCycle) => &[Right::Reboot, Right::PowerCycle],
        (Mode::Graceful | Mode::Forced, Mode::PowerCycle) => {
            &[Right::Reboot, Right::Force, Right::PowerCycle]
        }
    }
}

/// What ending an attempt early needs.
pub fn to_cancel(own: bool, abandon: bool) -> &'static [Right] {
    match (own, abandon) {
        (true, false) => &[Right::Cancel],
        (true, true) => &[Right::Cancel, Right::Abandon],
        (false, false) => &[Right::Cancel, Right::CancelOthers],
        (false, true) => &[Right::Cancel, Right::CancelOthers, Right::Abandon],
    }
}

#[cfg(test)]
mod tests;
