//! What an observation proves, compared with the baseline.
//!
//! Every rule here errs on the side of "not proved": a device that rebooted and cannot show it gets
//! a weak grade, but none that did not reboot gets any.

mod again;

use std::time::Duration;

pub use again::Glimpse;
use iot_hub::reboot::{Grade, RequestId};

use crate::driver::{Baseline, Observation};

/// How far an uptime and our own clock may differ: devices cut it down to whole seconds, and a
/// reading is as old as the network is slow.
pub const UPTIME_SLACK: Duration = Duration::from_secs(1);

/// How far an uptime and the wall clock may differ that both went on over a restart of the gateway: by
/// the length of a look, and by what the clock was put right.
const WALL_SLACK: Duration = Duration::from_secs(120);

/// After how long the counters wrap that devices keep their uptime in: 32 bits of milliseconds and
/// of hundredths of a second.
const UPTIME_WRAPS: [Duration; 2] = [
    Duration::from_millis(1 << 32),
    Duration::from_millis(10 << 32),
];

/// What an observation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The device is not there.
    Absent,
    /// It is there, and nothing shows that it rebooted or that it did not.
    Silent,
    /// It is there and certainly in the boot of the baseline, whatever else it says or did.
    SameBoot,
    /// It rebooted since the baseline, proved this well; at least [`Grade::Returned`].
    Rebooted(Grade),
}

/// How long ago the baseline was taken.
///
/// By our monotonic clock the two bounds are the same. When the gateway was restarted in between
/// that clock is gone, and the wall clock may have jumped: then they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    /// Certainly so long ago.
    pub at_least: Duration,
    /// No longer ago; over a restart, as far as the wall clock is off by less than a day.
    pub at_most: Duration,
    /// How long ago by the wall clock, where no other went on all the time.
    pub by_wall: Option<Duration>,
}

impl Elapsed {
    /// Says that a time is known well.
    pub fn exactly(time: Duration) -> Self {
        Self {
            at_least: time,
            at_most: time,
            by_wall: None,
        }
    }

    /// Such an uptime is one that began before the baseline. The wall clock alone does not say that of a
    /// machine that was off for days and has none while it is off: what it says has to go with how much
    /// longer the device has been up.
    fn is_exceeded(self, before: Option<Duration>, after: Duration) -> bool {
        let goes_on = |by_wall: Duration| {
            let expected = before.map(|before| before.saturating_add(by_wall));
            expected.is_some_and(|expected| after.abs_diff(expected) <= WALL_SLACK)
        };
        after > self.at_most.saturating_add(UPTIME_SLACK) && self.by_wall.is_none_or(goes_on)
    }
}

/// What speaks for our being the cause of a new boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// The request whose command was given.
    pub id: RequestId,
    /// The journal that the old boot left behind says that it was about to reboot for this
    /// request. Only the machine that the journal is on can be proved by it.
    pub journal_marker: bool,
}

/// Grades an observation.
pub fn grade(
    baseline: &Baseline,
    observation: &Observation,
    elapsed: Elapsed,
    cause: Cause,
) -> Sign {
    if !observation.present {
        return Sign::Absent;
    }
    match identity(baseline, observation) {
        Identity::Same => return Sign::SameBoot,
        Identity::Changed => {
            let caused = cause.journal_marker || observation.caused_by == Some(cause.id);
            return Sign::Rebooted(if caused {
                Grade::Caused
            } else {
                Grade::BootChanged
            });
        }
        Identity::Unknown => {}
    }
    match (baseline.uptime, observation.uptime) {
        (before, Some(after)) if elapsed.is_exceeded(before, after) => Sign::SameBoot,
        (Some(before), Some(after)) if was_reset(before, after, elapsed) => {
            Sign::Rebooted(Grade::UptimeReset)
        }
        (_, _) if observation.was_absent => Sign::Rebooted(Grade::Returned),
        (_, _) => Sign::Silent,
    }
}

enum Identity {
    Same,
    Changed,
    Unknown,
}

fn identity(baseline: &Baseline, observation: &Observation) -> Identity {
    if let (Some(before), Some(after)) = (&baseline.boot_id, &observation.boot_id) {
        return if before == after {
            Identity::Same
        } else {
            Identity::Changed
        };
    }
    match (baseline.boot_count, observation.boot_count) {
        (Some(before), Some(after)) if after == before => Identity::Same,
        // A count that jumped further, or back, was lost or belongs to something else.
        (Some(before), Some(after)) if before.checked_add(1) == Some(after) => Identity::Changed,
        (_, _) => Identity::Unknown,
    }
}

fn was_reset(before: Duration, after: Duration, elapsed: Elapsed) -> bool {
    let booted_since = after + UPTIME_SLACK < elapsed.at_least;
    booted_since && !wrapped(before, after, elapsed)
}

/// An uptime that went on without a reboot would by now read `after` past the wrap.
fn wrapped(before: Duration, after: Duration, elapsed: Elapsed) -> bool {
    let earliest = (before + elapsed.at_least).saturating_sub(UPTIME_SLACK);
    let latest = before.saturating_add(elapsed.at_most.saturating_add(UPTIME_SLACK));
    UPTIME_WRAPS
        .into_iter()
        .any(|wrap| (earliest..=latest).contains(&(after + wrap)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const ID: RequestId = RequestId(Uuid::from_u128(1));
    const OTHER: RequestId = RequestId(Uuid::from_u128(2));

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn before(boot_id: Option<&str>, uptime: Option<u64>, boot_count: Option<u64>) -> Baseline {
        Baseline {
            boot_id: boot_id.map(str::to_owned),
            uptime: uptime.map(seconds),
            boot_count,
            detail: String::new(),
        }
    }

    fn after(boot_id: Option<&str>, uptime: Option<u64>, boot_count: Option<u64>) -> Observation {
        Observation {
            present: true,
            was_absent: false,
            boot_id: boot_id.map(str::to_owned),
            uptime: uptime.map(seconds),
            boot_count,
            caused_by: None,
            method: "test",
            detail: String::new(),
        }
    }

    fn absent(observation: Observation) -> Observation {
        Observation {
            was_absent: true,
            ..observation
        }
    }

    #[track_caller]
    fn check(baseline: Baseline, observation: Observation, elapsed: u64, expected: Sign) {
        let cause = Cause {
            id: ID,
            journal_marker: false,
        };
        let elapsed = Elapsed::exactly(seconds(elapsed));
        assert_eq!(grade(&baseline, &observation, elapsed, cause), expected);
    }

    #[test]
    fn a_device_that_only_says_so_shows_nothing() {
        check(
            before(None, None, None),
            after(None, None, None),
            60,
            Sign::Silent,
        );
    }

    #[test]
    fn gone_and_back_is_returned() {
        let gone = Observation {
            present: false,
            ..after(Some("b2"), None, None)
        };
        check(before(Some("b1"), None, None), gone, 60, Sign::Absent);
        check(
            before(None, None, None),
            absent(after(None, None, None)),
            60,
            Sign::Rebooted(Grade::Returned),
        );
    }

    #[test]
    fn the_same_boot_id_is_no_reboot_whatever_else() {
        let mut observation = absent(after(Some("b1"), Some(1), Some(8)));
        observation.caused_by = Some(ID);
        check(
            before(Some("b1"), Some(500), Some(7)),
            observation,
            60,
            Sign::SameBoot,
        );
    }

    #[test]
    fn another_boot_id_is_a_boot_and_our_echo_makes_it_ours() {
        let baseline = before(Some("b1"), None, None);
        let plain = after(Some("b2"), None, None);
        check(
            baseline.clone(),
            plain.clone(),
            60,
            Sign::Rebooted(Grade::BootChanged),
        );
        for (echo, expected) in [(ID, Grade::Caused), (OTHER, Grade::BootChanged)] {
            let echoed = Observation {
                caused_by: Some(echo),
                ..plain.clone()
            };
            check(baseline.clone(), echoed, 60, Sign::Rebooted(expected));
        }
        let marked = Cause {
            id: ID,
            journal_marker: true,
        };
        assert_eq!(
            grade(&baseline, &plain, Elapsed::exactly(seconds(60)), marked),
            Sign::Rebooted(Grade::Caused)
        );
    }

    #[test]
    fn an_echo_without_a_new_identity_proves_no_cause() {
        let echoed = Observation {
            caused_by: Some(ID),
            ..after(None, None, None)
        };
        check(before(None, None, None), echoed, 60, Sign::Silent);
    }

    #[test]
    fn a_boot_count_proves_when_it_rose_by_exactly_one() {
        let baseline = before(None, None, Some(7));
        for (count, expected) in [
            (7, Sign::SameBoot),
            (8, Sign::Rebooted(Grade::BootChanged)),
            (9, Sign::Silent),
            (0, Sign::Silent),
        ] {
            check(
                baseline.clone(),
                after(None, None, Some(count)),
                60,
                expected,
            );
        }
        check(
            before(None, None, Some(u64::MAX)),
            after(None, None, Some(0)),
            60,
            Sign::Silent,
        );
    }

    #[test]
    fn an_uptime_proves_when_it_is_shorter_than_the_time_since_the_baseline() {
        let day = 86_400;
        check(
            before(None, Some(day), None),
            after(None, Some(30), None),
            60,
            Sign::Rebooted(Grade::UptimeReset),
        );
        check(
            before(None, Some(day), None),
            after(None, Some(59), None),
            60,
            Sign::Silent,
        );
        check(
            before(None, Some(day), None),
            after(None, Some(day + 60), None),
            60,
            Sign::SameBoot,
        );
        // The baseline had none, so a wrapped counter cannot be told from a reset one.
        check(
            before(None, None, None),
            after(None, Some(30), None),
            60,
            Sign::Silent,
        );
    }

    #[test]
    fn an_uptime_that_went_on_beats_an_absence() {
        check(
            before(None, Some(500), None),
            absent(after(None, Some(560), None)),
            60,
            Sign::SameBoot,
        );
    }

    #[test]
    fn a_wrapped_counter_is_no_reset() {
        for wrap in [4_294_967, 42_949_672] {
            check(
                before(None, Some(wrap - 10), None),
                after(None, Some(50), None),
                60,
                Sign::Silent,
            );
            check(
                before(None, Some(wrap - 10), None),
                after(None, Some(20), None),
                60,
                Sign::Rebooted(Grade::UptimeReset),
            );
        }
    }

    #[test]
    fn after_a_restart_of_the_gateway_only_the_certain_time_counts() {
        let cause = Cause {
            id: ID,
            journal_marker: false,
        };
        let elapsed = Elapsed {
            at_least: seconds(10),
            at_most: seconds(4_000),
            by_wall: Some(seconds(100)),
        };
        let day = before(None, Some(86_400), None);
        let sign = |uptime| grade(&day, &after(None, Some(uptime), None), elapsed, cause);
        assert_eq!(sign(5), Sign::Rebooted(Grade::UptimeReset));
        assert_eq!(sign(600), Sign::Silent);
        assert_eq!(sign(86_500), Sign::SameBoot);
        // Up for two days, and the wall clock says that it was up for a day two minutes ago: that one
        // stood still.
        assert_eq!(sign(2 * 86_400), Sign::Silent);
    }

    proptest! {
        /// A device that runs on is never graded, whatever its counters are made of.
        #[test]
        fn a_device_that_runs_on_proves_nothing(
            uptime in 0_u64..100_000_000,
            elapsed in 0_u64..10_000_000,
            bits in prop::sample::select(vec![Some(1_u64 << 32), Some(10 << 32), None]),
            slower in 0_u64..1_000,
        ) {
            let read = |millis: u64| Duration::from_millis(bits.map_or(millis, |wrap| millis % wrap));
            let mut baseline = before(None, None, None);
            baseline.uptime = Some(read(uptime * 1_000));
            let mut observation = after(None, None, None);
            // The reading may be a little older than we think.
            let then = (uptime * 1_000 + elapsed * 1_000).saturating_sub(slower).max(uptime * 1_000);
            observation.uptime = Some(read(then));
            let cause = Cause { id: ID, journal_marker: false };
            let sign = grade(&baseline, &observation, Elapsed::exactly(seconds(elapsed)), cause);
            // Counters that wrapped twice in between cannot be told.
            prop_assume!(bits.is_none_or(|wrap| elapsed * 1_000 < wrap));
            prop_assert!(!matches!(sign, Sign::Rebooted(_)), "{:?}", sign);
        }
    }
}
