//! Whether a device that is back has booted once more, where it shows no boot identity.
//!
//! Such a boot is counted as one that nobody asked for, so every rule here errs on the side of none:
//! an uptime that wobbles, stands still or wraps is no boot.

use std::time::Duration;

use iot_hub::reboot::Grade;

use super::{Elapsed, Identity, UPTIME_SLACK, identity, was_reset, wrapped};
use crate::driver::{Baseline, Observation};

/// The newest look at a device in its new boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    shown: Baseline,
    /// When, on the monotonic clock.
    at: Duration,
    /// It has been looked for in vain since.
    missed: bool,
}

impl Glimpse {
    /// What an observation shows, at that time of the monotonic clock.
    pub fn of(observation: &Observation, at: Duration) -> Self {
        Self {
            shown: Baseline {
                boot_id: observation.boot_id.clone(),
                uptime: observation.uptime,
                boot_count: observation.boot_count,
                detail: String::new(),
            },
            at,
            missed: false,
        }
    }

    /// The device was not there.
    pub fn miss(&mut self) {
        self.missed = true;
    }

    /// How well it is proved that the device booted between the glimpse and this observation, which was
    /// asked for when it `began` and is there `now`.
    pub fn booted_since(
        &self,
        observation: &Observation,
        began: Duration,
        now: Duration,
    ) -> Option<Grade> {
        match identity(&self.shown, observation) {
            Identity::Changed => return Some(Grade::BootChanged),
            Identity::Same => return None,
            Identity::Unknown => {}
        }
        let elapsed = Elapsed {
            at_least: began.saturating_sub(self.at),
            at_most: now.saturating_sub(self.at),
            by_wall: None,
        };
        let (before, after) = self.shown.uptime.zip(observation.uptime)?;
        let reset = if self.missed {
            // One that stands still is the old one: some tell it once a minute.
            after != before && was_reset(before, after, elapsed)
        } else {
            went_back(before, after, elapsed)
        };
        reset.then_some(Grade::UptimeReset)
    }
}

/// A boot that nobody saw the device absent for makes the uptime of two looks in a row go back, and to
/// no more than the time between them. A clock that was set takes it anywhere.
fn went_back(before: Duration, after: Duration, elapsed: Elapsed) -> bool {
    after + UPTIME_SLACK < before
        && after <= elapsed.at_most + UPTIME_SLACK
        && !wrapped(before, after, elapsed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shows(uptime: Option<Duration>, boot_count: Option<u64>) -> Observation {
        Observation {
            present: true,
            was_absent: true,
            boot_id: None,
            uptime,
            boot_count,
            caused_by: None,
            method: "test",
            detail: String::new(),
        }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Two looks at a device, in seconds: what it showed, so long apart, and what it showed then.
    #[track_caller]
    fn check(before: f64, elapsed: f64, after: f64, missed: bool, expected: bool) {
        let began = seconds(1_000.0);
        let mut glimpse = Glimpse::of(&shows(Some(seconds(before)), None), began);
        if missed {
            glimpse.miss();
        }
        let seen = shows(Some(seconds(after)), None);
        let booted =
            glimpse.booted_since(&seen, began + seconds(elapsed), began + seconds(elapsed));
        assert_eq!(booted, expected.then_some(Grade::UptimeReset));
    }

    #[test]
    fn an_uptime_that_begins_anew_is_another_boot() {
        check(5.0, 1.0, 0.4, false, true);
        check(60.0, 10.0, 9.0, false, true);
        // Absent in between, and by now up for longer than it had been.
        check(12.0, 30.0, 20.0, true, true);
    }

    #[test]
    fn an_uptime_that_goes_on_stands_still_or_wobbles_is_none() {
        for missed in [false, true] {
            check(5.0, 10.0, 15.0, missed, false);
            check(5.0, 1.0, 5.0, missed, false);
            // The device tells what it knew half a minute ago.
            check(0.0, 30.0, 0.0, missed, false);
            check(5.0, 1.0, 4.5, missed, false);
            check(600.0, 1.0, 597.0, missed, false);
        }
        // Its clock was set back by a minute.
        check(100.0, 5.0, 45.0, false, false);
    }

    #[test]
    fn a_counter_that_wraps_is_no_boot() {
        for wrap in [4_294_967.296, 42_949_672.96] {
            for missed in [false, true] {
                check(wrap - 5.0, 10.0, 5.0, missed, false);
                check(wrap - 5.0, 10.0, 1.0, missed, true);
            }
        }
    }

    #[test]
    fn a_boot_count_that_rose_is_another_boot_and_one_that_did_not_is_none() {
        let booted = |before, after| {
            let glimpse = Glimpse::of(&shows(Some(seconds(60.0)), before), Duration::ZERO);
            glimpse.booted_since(
                &shows(Some(seconds(3.0)), after),
                seconds(10.0),
                seconds(10.0),
            )
        };
        assert_eq!(booted(Some(8), Some(9)), Some(Grade::BootChanged));
        assert_eq!(booted(Some(8), Some(8)), None);
        // It does not count so soon after a boot, and the uptime tells.
        assert_eq!(booted(Some(8), None), Some(Grade::UptimeReset));
        assert_eq!(booted(Some(8), Some(20)), Some(Grade::UptimeReset));
        let nothing = Glimpse::of(&shows(None, None), Duration::ZERO);
        assert_eq!(
            nothing.booted_since(&shows(None, None), seconds(9.0), seconds(9.0)),
            None
        );
    }

    proptest! {
        /// However often a device that runs on is looked at, no boot is made up.
        #[test]
        fn a_device_that_runs_on_never_boots_again(
            began_at in prop_oneof![
                0_u64..100_000_000,
                (1_u64 << 32) - 60_000..1 << 32,
                (10_u64 << 32) - 60_000..10 << 32,
            ],
            steps in prop::collection::vec((0_u64..30_000, 0_u64..900, any::<bool>()), 1..20),
            bits in prop::sample::select(vec![Some(1_u64 << 32), Some(10 << 32), None]),
        ) {
            let read = |millis: u64| {
                let counted = bits.map_or(millis, |wrap| millis % wrap);
                shows(Some(Duration::from_millis(counted)), None)
            };
            let mut time = 0;
            let mut glimpse = Glimpse::of(&read(began_at), Duration::ZERO);
            for (pause, older, missed) in steps {
                time += pause;
                if missed {
                    glimpse.miss();
                }
                // The reading may be a little older than we think.
                let seen = read((began_at + time).saturating_sub(older));
                let now = Duration::from_millis(time);
                prop_assert_eq!(glimpse.booted_since(&seen, now, now), None);
                glimpse = Glimpse::of(&seen, now);
            }
        }

        /// One that boots is found out at the next look, however it runs after that.
        #[test]
        fn a_device_that_boots_between_two_looks_is_found_out(
            up_for in 3_000_u64..10_000_000,
            pause in 0_u64..30_000,
            since in 0_u64..30_000,
            missed: bool,
        ) {
            prop_assume!(since <= pause && since + 1_000 < up_for);
            prop_assume!(!missed || since + 1_000 < pause);
            let millis = Duration::from_millis;
            let mut glimpse = Glimpse::of(&shows(Some(millis(up_for)), None), Duration::ZERO);
            if missed {
                glimpse.miss();
            }
            let seen = shows(Some(millis(since)), None);
            prop_assert_eq!(glimpse.booted_since(&seen, millis(pause), millis(pause)), Some(Grade::UptimeReset));
        }
    }
}
