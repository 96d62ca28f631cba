use proptest::prelude::*;

use super::*;

const BEFORE: &str = "2026-03-01T12:00:00Z";

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// What a camera tells that says to have booted so long after [`BEFORE`], and to be up for so long.
fn boot(moved: i64, up: i64) -> Boot {
    let before: Timestamp = BEFORE.parse().unwrap();
    Boot {
        began: before + seconds(moved),
        up: seconds(up),
        may_be_clock: false,
    }
}

/// A camera that was up for an hour is looked at once more after a minute. `missed` is whether it was
/// not there meanwhile.
#[track_caller]
fn check(missed: bool, later: Boot, same: Option<bool>) {
    let at = Instant::now();
    let mut boots = Boots::default();
    let first = boots.begin(boot(0, 3_600), at);
    if missed {
        boots.miss();
    }
    let name = boots.name(later, at + Duration::from_secs(60), boot(0, 3_600));
    assert_eq!(name.map(|name| name == first), same);
}

#[test]
fn a_boot_is_another_one_when_its_time_changed_and_it_is_younger_than_the_look_before() {
    for missed in [false, true] {
        check(missed, boot(3_630, 30), Some(false));
        // By a clock that stood still without power, or began at a time of its own.
        check(missed, boot(3_000, 30), Some(false));
        check(missed, boot(-300_000_000, 30), Some(false));
    }
}

#[test]
fn a_clock_that_was_set_is_no_boot() {
    for hours in [-20, -1, 1, 30_000] {
        let by = hours * 3_600;
        for missed in [false, true] {
            // The time of the boot goes with it.
            check(missed, boot(by, 3_660), Some(true));
            check(missed, boot(by + 1, 3_659), Some(true));
        }
        // It stays.
        check(false, boot(0, 3_660 + by), Some(true));
        // Away, and back with a clock that went back: perhaps it has none without power.
        check(true, boot(0, 3_660 + by), (by > 0).then_some(true));
        // It followed another clock than the one that is shown.
        check(true, boot(by, 3_660 + 2 * by.abs()), None);
    }
}

#[test]
fn a_camera_that_went_away_and_is_up_for_as_long_is_in_the_same_boot() {
    check(true, boot(0, 3_660), Some(true));
    check(true, boot(2, 3_658), Some(true));
}

#[test]
fn the_name_of_a_boot_stays_when_its_clock_is_set_after_it() {
    let at = Instant::now();
    let later = |seconds| at + Duration::from_secs(seconds);
    let first = boot(0, 3_600);
    let mut boots = Boots::default();
    let before = boots.begin(first, at);
    boots.miss();
    // It has no clock without power, and reckons the time of its boot anew once it knows the time.
    let stale = -300_000_000;
    let name = boots.name(boot(stale, 20), later(60), first).unwrap();
    assert_ne!(name, before);
    for (moved, up, passed) in [(stale, 25, 65), (3_640, 30, 70), (3_641, 39, 80)] {
        let now = boots.name(boot(moved, up), later(passed), first);
        assert_eq!(now.as_ref(), Some(&name));
    }
    // Another boot after that one is told from it.
    boots.miss();
    let third = boots.name(boot(3_740, 10), later(180), first).unwrap();
    assert!(third != name && third != before);
}

#[test]
fn what_outlived_the_process_is_enough_to_tell_a_boot_by() {
    let at = Instant::now();
    let first = boot(0, 3_600);
    let name = |later| Boots::default().name(later, at, first);
    assert_eq!(name(boot(0, 3_660)).as_deref(), Some(BEFORE));
    assert_eq!(
        name(boot(3_630, 30)).as_deref(),
        Some("2026-03-01T13:00:30Z")
    );
    // A clock that was set, or a boot a long time ago.
    assert_eq!(name(boot(7_200, 3_660)), None);
    assert_eq!(name(boot(0, 60)), None);
}

#[test]
fn a_time_that_cannot_be_that_of_a_boot_is_none_to_begin_with() {
    let sound = boot(0, 3_600);
    assert!(sound.is_sound());
    let unset = Boot {
        began: Timestamp::UNIX_EPOCH,
        ..sound
    };
    let of_clock = Boot {
        may_be_clock: true,
        ..sound
    };
    for unsound in [unset, of_clock, boot(0, -3_600)] {
        assert!(!unsound.is_sound(), "{unsound:?}");
    }
}

/// What a camera does with the time of its boot when its clock is set.
#[derive(Debug, Clone, Copy)]
enum Habit {
    Keeps,
    Reckons,
    /// Only now and then.
    GetsRound,
}

proptest! {
    /// A camera that runs on, whatever becomes of its clock and however often it cannot be reached, is
    /// never in another boot.
    #[test]
    fn a_camera_that_runs_on_never_booted(
        habit in prop::sample::select(vec![Habit::Keeps, Habit::Reckons, Habit::GetsRound]),
        up in 0_i64..10_000_000,
        looks in prop::collection::vec(
            (0_i64..4_000, -200_000_i64..200_000, any::<bool>(), any::<bool>(), -1_i64..=1, any::<bool>()),
            1..20,
        ),
        restarted in 0..20_usize,
    ) {
        let start = Instant::now();
        let first = boot(0, up);
        let mut boots = Boots::default();
        let name = boots.begin(first, start);
        let (mut passed, mut ahead, mut began) = (0, 0, 0);
        for (index, (pause, set, sets, missed, wobble, renews)) in looks.into_iter().enumerate() {
            passed += pause;
            if sets {
                ahead += set;
            }
            match habit {
                Habit::Keeps => {}
                Habit::Reckons => began = ahead + wobble,
                Habit::GetsRound if renews => began = ahead,
                Habit::GetsRound => {}
            }
            if missed {
                boots.miss();
            }
            // The gateway began anew: all that is left is what was journalled. By then the camera has got
            // round to what it does.
            if index == restarted && !matches!(habit, Habit::GetsRound) {
                boots = Boots::default();
            }
            let later = boot(began, up + passed + ahead - began);
            let at = start + Duration::from_secs(passed.unsigned_abs());
            let named = boots.name(later, at, first);
            prop_assert!(named.is_none() || named.as_ref() == Some(&name), "{named:?}");
        }
    }

    #[test]
    fn no_times_break_it(times: Vec<(i64, i64, bool)>) {
        let at = Instant::now();
        let mut boots = Boots::default();
        let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        let any = |second: i64| Timestamp::from_second(second % range.end()).unwrap();
        for (began, now, missed) in times {
            let told = Times { last_reboot: Some(any(began)), last_clock: Some(any(now)) };
            let boot = Boot::of(told, any(now)).unwrap();
            let _ = (boot.is_sound(), boot.uptime());
            if missed {
                boots.miss();
                boots.begin(boot, at);
            }
            boots.name(boot, at, boot);
        }
    }
}
