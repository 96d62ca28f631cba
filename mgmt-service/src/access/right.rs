//! What a caller may be allowed to do, and the roles that bundle it.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// Something that a caller may be allowed to do to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// See it and its attempts.
    View,
    /// Reboot it gracefully.
    Reboot,
    /// Reboot it without waiting for inhibitors and hooks.
    Force,
    /// Take its power away and give it back.
    PowerCycle,
    /// Cancel the attempts that one has asked for oneself.
    Cancel,
    /// Cancel the attempts that others have asked for.
    CancelOthers,
    /// End an attempt although the device may still reboot.
    Abandon,
    /// Read the audit.
    Audit,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 8] = [
        Self::View,
        Self::Reboot,
        Self::Force,
        Self::PowerCycle,
        Self::Cancel,
        Self::CancelOthers,
        Self::Abandon,
        Self::Audit,
    ];

    /// Its name in the settings and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Reboot => "reboot",
            Self::Force => "force",
            Self::PowerCycle => "power-cycle",
            Self::Cancel => "cancel",
            Self::CancelOthers => "cancel-others",
            Self::Abandon => "abandon",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Right {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let mut all = Self::ALL.into_iter();
        all.find(|right| right.name() == text).ok_or(UnknownName)
    }
}

/// A bundle of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May look.
    Viewer,
    /// May also reboot gracefully, and cancel what it has asked for itself.
    Operator,
    /// May do everything.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// What it bundles.
    pub fn rights(self) -> BTreeSet<Right> {
        let rights: &[Right] = match self {
            Self::Viewer => &[Right::View],
            Self::Operator => &[Right::View, Right::Reboot, Right::Cancel],
            Self::Admin => &Right::ALL,
        };
        rights.iter().copied().collect()
    }

    /// What it may be given besides. A viewer that may force a reboot would be no viewer.
    pub fn extras(self) -> &'static [Right] {
        match self {
            Self::Viewer => &[Right::Audit],
            Self::Operator => &[
                Right::Force,
                Right::PowerCycle,
                Right::CancelOthers,
                Right::Abandon,
                Right::Audit,
            ],
            Self::Admin => &[],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.name() == text).ok_or(UnknownName)
    }
}

/// There is nothing of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing of that name")]
pub struct UnknownName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for right in Right::ALL {
            assert_eq!(right.to_string().parse(), Ok(right));
        }
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("Admin".parse::<Role>(), Err(UnknownName));
    }

    #[test]
    fn each_role_includes_the_one_below() {
        let [viewer, operator, admin] = Role::ALL.map(Role::rights);
        assert!(viewer.is_subset(&operator) && operator.is_subset(&admin));
        assert_eq!(admin.len(), Right::ALL.len());
        for role in Role::ALL {
            assert!(
                role.extras()
                    .iter()
                    .all(|right| !role.rights().contains(right))
            );
        }
    }
}
