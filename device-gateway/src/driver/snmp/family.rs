//! The families of switched PDUs, and what a number means to each. The same number cancels what is
//! pending on one and reboots on another, so nothing is sent before the family is known.

use super::session::Oid;

/// A family of switched PDUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// APC rack PDUs of the first generation.
    ApcRpdu,
    /// APC rack PDUs of the second generation.
    ApcRpdu2,
    /// CyberPower ePDUs.
    CyberPower,
    /// Raritan PX2 and PX3.
    Raritan,
}

impl Family {
    const ALL: [Self; 4] = [
        Self::ApcRpdu,
        Self::ApcRpdu2,
        Self::CyberPower,
        Self::Raritan,
    ];

    /// Which family a `sysObjectID` belongs to.
    pub(super) fn of(object_id: &Oid) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| object_id.is_below(&family.object_id()))
    }

    /// What its agents call themselves.
    fn object_id(self) -> Oid {
        Oid::new(match self {
            Self::ApcRpdu => &[1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 5],
            Self::ApcRpdu2 => &[1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 6],
            Self::CyberPower => &[1, 3, 6, 1, 4, 1, 3808, 1, 1, 3],
            Self::Raritan => &[1, 3, 6, 1, 4, 1, 13742, 6],
        })
    }

    /// What an outlet is commanded by.
    pub(super) fn command(self, outlet: u32) -> Oid {
        let column: &[u64] = match self {
            Self::ApcRpdu => &[1, 3, 6, 1, 4, 1, 318, 1, 1, 12, 3, 3, 1, 1, 4],
            Self::ApcRpdu2 => &[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 9, 2, 4, 1, 5],
            Self::CyberPower => &[1, 3, 6, 1, 4, 1, 3808, 1, 1, 3, 3, 3, 1, 1, 4],
            Self::Raritan => &[1, 3, 6, 1, 4, 1, 13742, 6, 4, 1, 2, 1, 2, 1],
        };
        Oid::new(column).with(outlet)
    }

    /// Where an outlet's state is read.
    pub(super) fn status(self, outlet: u32) -> Oid {
        let column: &[u64] = match self {
            Self::ApcRpdu => &[1, 3, 6, 1, 4, 1, 318, 1, 1, 12, 3, 5, 1, 1, 4],
            Self::ApcRpdu2 => &[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 9, 2, 3, 1, 5],
            Self::CyberPower => &[1, 3, 6, 1, 4, 1, 3808, 1, 1, 3, 3, 5, 1, 1, 4],
            Self::Raritan => &[1, 3, 6, 1, 4, 1, 13742, 6, 4, 1, 2, 1, 3, 1],
        };
        Oid::new(column).with(outlet)
    }

    /// The command that takes the power away and gives it back by itself.
    pub(super) fn cycle(self) -> i64 {
        match self {
            Self::ApcRpdu | Self::ApcRpdu2 | Self::CyberPower => 3,
            Self::Raritan => 2,
        }
    }

    /// The command that gives the power back.
    pub(super) fn on(self) -> i64 {
        1
    }

    /// What a state means; nothing for one that is neither on nor off.
    pub(super) fn power(self, state: i64) -> Option<Power> {
        let (on, off) = match self {
            Self::ApcRpdu | Self::CyberPower => (1, 2),
            // The two generations of APC number them the other way round.
            Self::ApcRpdu2 => (2, 1),
            Self::Raritan => (7, 8),
        };
        match state {
            state if state == on => Some(Power::On),
            state if state == off => Some(Power::Off),
            _ => None,
        }
    }
}

/// Whether an outlet gives power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_known_by_its_object_id_and_its_children() {
        #[track_caller]
        fn check(object_id: &[u64], expected: Option<Family>) {
            assert_eq!(Family::of(&Oid::new(object_id)), expected);
        }
        check(&[1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 5], Some(Family::ApcRpdu));
        check(&[1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 6], Some(Family::ApcRpdu2));
        let cyber_power = [1, 3, 6, 1, 4, 1, 3808, 1, 1, 3, 4];
        check(&cyber_power, Some(Family::CyberPower));
        check(&[1, 3, 6, 1, 4, 1, 13742, 6], Some(Family::Raritan));
        check(&[1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 55], None);
        check(&[1, 3, 6, 1, 4, 1, 318, 1, 3, 4], None);
        check(&[1, 3, 6, 1, 4, 1, 8072, 3, 2, 10], None);
        check(&[], None);
    }

    #[test]
    fn a_number_means_what_it_means_to_its_family() {
        let powers = |state| Family::ALL.map(|family| family.power(state));
        let (on, off) = (Some(Power::On), Some(Power::Off));
        assert_eq!(powers(1), [on, off, on, None]);
        assert_eq!(powers(2), [off, on, off, None]);
        assert_eq!(powers(7), [None, None, None, on]);
        assert_eq!(powers(8), [None, None, None, off]);
        assert_eq!(Family::ALL.map(Family::cycle), [3, 3, 3, 2]);
        assert_eq!(
            Family::ApcRpdu2.command(4).to_string(),
            "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.4"
        );
    }
}
