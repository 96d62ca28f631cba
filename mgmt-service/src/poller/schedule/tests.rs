//! Commands in, decisions out; and what holds whatever the commands are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Whoever follows, where it matters to nobody.
const FOLLOWER: u64 = 0;

fn schedule(reads_per_second: f64, now: Instant) -> Schedule {
    let cadence = Cadence {
        reads_per_second,
        ..Cadence::default()
    };
    Schedule::new(&cadence, now)
}

fn followed(schedule: &mut Schedule, device: u64, expectation: Expectation, now: Instant) {
    schedule.follow(device, FOLLOWER, now);
    schedule.expect(device, FOLLOWER, expectation);
}

fn change(since: Instant, forecast: Forecast) -> Expectation {
    Expectation::Change { since, forecast }
}

/// Waits for the next read.
#[track_caller]
fn next(schedule: &mut Schedule, now: &mut Instant) -> u64 {
    loop {
        match schedule.decide(*now) {
            Decision::Read(device) => return device,
            Decision::Wait(until) => {
                assert!(until > *now, "waits for the past");
                *now = until;
            }
            Decision::Idle => panic!("nothing to read"),
        }
    }
}

#[test]
fn one_that_expects_nothing_is_read_only_when_asked() {
    let now = Instant::now();
    let mut schedule = schedule(1000.0, now);
    schedule.follow(1, FOLLOWER, now);
    assert_eq!(schedule.decide(now), Decision::Idle);
    schedule.read_now(1);
    assert_eq!(schedule.decide(now), Decision::Read(1));
    schedule.done(1);
    assert_eq!(schedule.decide(now), Decision::Idle);
}

#[test]
fn the_shortest_pause_may_be_as_long_as_the_settings_allow() {
    let start = Instant::now();
    for hours in [1, 24] {
        let pause = Duration::from_secs(hours * 3_600);
        let cadence = Cadence {
            min: pause,
            max: pause,
            ..Cadence::default()
        };
        let mut now = start;
        let mut schedule = Schedule::new(&cadence, now);
        followed(&mut schedule, 1, change(now, Forecast::UNKNOWN), now);
        assert_eq!(next(&mut schedule, &mut now), 1);
        assert_eq!(now - start, pause);
    }
}

#[test]
fn reads_are_dense_around_the_time_that_is_known() {
    let start = Instant::now();
    let mut schedule = schedule(1000.0, start);
    let forecast = Forecast::around(Duration::from_secs(90), 0.1, 1.0);
    followed(&mut schedule, 1, change(start, forecast), start);
    let mut now = start;
    let mut pauses = BTreeMap::new();
    while now.duration_since(start) < Duration::from_secs(300) {
        let before = now;
        assert_eq!(next(&mut schedule, &mut now), 1);
        schedule.done(1);
        pauses.insert(
            before.duration_since(start).as_secs(),
            now.duration_since(before),
        );
    }
    let pause = |at: u64| pauses.range(at..).next().unwrap().1.as_secs_f64();
    assert!(pause(0) > 29.0, "{pauses:?}");
    assert!(pause(90) < 1.2, "{pauses:?}");
    assert!(pause(200) > 2.0 * pause(90), "{pauses:?}");
}

#[test]
fn pauses_grow_with_the_time_that_passed_where_nothing_is_known() {
    let start = Instant::now();
    let mut schedule = schedule(1000.0, start);
    followed(&mut schedule, 1, change(start, Forecast::UNKNOWN), start);
    let mut now = start;
    let mut last = start;
    let mut pauses = Vec::new();
    for _ in 0..100 {
        next(&mut schedule, &mut now);
        schedule.done(1);
        pauses.push(now.duration_since(last).as_secs_f64());
        last = now;
    }
    assert!(pauses[0] < 1.0 && pauses[99] > 2.0, "{pauses:?}");
    // A deadline is found to within a few hundredths of a second.
    assert!(
        pauses.windows(2).all(|pair| pair[0] <= pair[1] + 0.05),
        "{pauses:?}"
    );
}

#[test]
fn one_that_nobody_waits_for_is_read_at_the_longest_pause() {
    let start = Instant::now();
    let mut schedule = schedule(1000.0, start);
    followed(&mut schedule, 1, Expectation::Unhurried, start);
    let mut now = start;
    next(&mut schedule, &mut now);
    assert_eq!(now.duration_since(start), Duration::from_secs(30));
}

#[test]
fn of_two_followers_the_less_patient_one_counts() {
    let start = Instant::now();
    let mut schedule = schedule(1000.0, start);
    schedule.follow(1, 7, start);
    schedule.follow(1, 8, start);
    schedule.expect(1, 7, Expectation::Someday(Duration::from_secs(10)));
    schedule.expect(1, 8, Expectation::Someday(Duration::from_secs(3)));
    assert_eq!(
        schedule.decide(start),
        Decision::Wait(start + Duration::from_secs(3))
    );
    schedule.unfollow(1, 8);
    assert_eq!(
        schedule.decide(start),
        Decision::Wait(start + Duration::from_secs(10))
    );
    schedule.unfollow(1, 7);
    assert_eq!(schedule.decide(start), Decision::Idle);
}

#[test]
fn a_question_during_a_read_is_answered_by_another_read() {
    let mut now = Instant::now();
    let mut schedule = schedule(1000.0, now);
    schedule.follow(1, FOLLOWER, now);
    schedule.read_now(1);
    assert_eq!(next(&mut schedule, &mut now), 1);
    schedule.read_now(1);
    schedule.look_up(1, "somebody", now).unwrap();
    assert_eq!(schedule.decide(now), Decision::Idle);
    schedule.done(1);
    assert_eq!(next(&mut schedule, &mut now), 1);
    schedule.done(1);
    assert_eq!(schedule.decide(now), Decision::Idle);
}

#[test]
fn one_read_answers_all_who_asked() {
    let mut now = Instant::now();
    let mut schedule = schedule(1000.0, now);
    followed(&mut schedule, 1, Expectation::Someday(Duration::ZERO), now);
    schedule.read_now(1);
    schedule.look_up(1, "somebody", now).unwrap();
    schedule.look_up(1, "somebody else", now).unwrap();
    next(&mut schedule, &mut now);
    schedule.expect(1, FOLLOWER, Expectation::Nothing);
    schedule.done(1);
    assert_eq!(
        schedule.decide(now + Duration::from_secs(1)),
        Decision::Idle
    );
}

#[test]
fn one_that_is_gone_is_not_read() {
    let now = Instant::now();
    let mut schedule = schedule(1000.0, now);
    schedule.follow(1, FOLLOWER, now);
    schedule.read_now(1);
    schedule.unfollow(1, FOLLOWER);
    assert_eq!(schedule.decide(now), Decision::Idle);
    schedule.done(1);
}

#[test]
fn callers_who_look_up_much_hold_up_neither_attempts_nor_others() {
    let mut now = Instant::now();
    let mut schedule = schedule(10.0, now);
    for device in 0..40 {
        schedule.follow(device, FOLLOWER, now);
    }
    followed(
        &mut schedule,
        100,
        Expectation::Someday(Duration::ZERO),
        now,
    );
    let room = (0..40).filter(|device| schedule.look_up(*device, "noisy", now).is_ok());
    assert_eq!(room.count(), 40);
    schedule.follow(50, FOLLOWER, now);
    schedule.look_up(50, "polite", now).unwrap();
    schedule.read_now(39);
    let mut order = Vec::new();
    for _ in 0..20 {
        let device = next(&mut schedule, &mut now);
        schedule.done(device);
        order.push(device);
    }
    assert_eq!(order[0], 39, "an attempt's own read goes first: {order:?}");
    let polite = order.iter().position(|device| *device == 50).unwrap();
    assert!(polite <= 16, "{order:?}");
    let polls = order.iter().filter(|device| **device == 100).count();
    assert!(polls >= 7, "{order:?}");
    assert!(schedule.room_after(now) > Duration::from_secs(2));
}

#[test]
fn a_full_line_of_look_ups_is_told() {
    let now = Instant::now();
    let mut schedule = schedule(2.0, now);
    for device in 0..20 {
        schedule.follow(device, FOLLOWER, now);
    }
    let taken = (0..20).filter(|device| schedule.look_up(*device, "noisy", now).is_ok());
    assert_eq!(taken.count(), 10);
}

#[test]
fn no_caller_waits_for_a_hub_that_wants_to_be_left_alone() {
    let now = Instant::now();
    let (moment, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    for (retry_after, shut) in [(None, false), (Some(moment), false), (Some(minute), true)] {
        let mut schedule = schedule(2.0, now);
        schedule.follow(1, FOLLOWER, now);
        schedule.refused(retry_after, now);
        assert_eq!(schedule.look_up(1, "somebody", now).is_err(), shut);
        assert_eq!(schedule.room_after(now) >= minute, shut);
        assert!(schedule.look_up(1, "somebody", now + minute).is_ok());
    }
}

#[derive(Debug, Clone)]
enum Happening {
    Expect(u64, Option<(f64, f64, f64)>),
    Someday(u64, u16),
    ReadNow(u64),
    LookUp(u64),
    Unfollow(u64),
    Refused(Option<u8>),
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let device = 0_u64..12;
    let forecast = prop::option::of((0.1_f64..1000.0, 0.0_f64..2.0, 0.0_f64..1.0));
    prop_oneof![
        (device.clone(), forecast)
            .prop_map(|(device, forecast)| Happening::Expect(device, forecast)),
        (device.clone(), 0_u16..5_000).prop_map(|(device, ms)| Happening::Someday(device, ms)),
        device.clone().prop_map(Happening::ReadNow),
        device.clone().prop_map(Happening::LookUp),
        device.prop_map(Happening::Unfollow),
        prop::option::of(0_u8..20).prop_map(Happening::Refused),
        // The clock stands still, goes, or has jumped.
        prop_oneof![Just(0_u64), 1_u64..50, 50_u64..3_000, Just(86_400_000)]
            .prop_map(Happening::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is asked and however the clock goes: no second sees more reads than the budget, a
    /// device is read once at a time, and only one that somebody follows.
    #[test]
    fn the_budget_holds_whatever_happens(
        rate in 1_u32..60,
        happenings in prop::collection::vec(happening(), 1..200),
    ) {
        let mut now = Instant::now();
        let mut schedule = schedule(rate.into(), now);
        let mut known = Vec::new();
        let mut reading = Vec::new();
        let mut second = VecDeque::new();
        for happening in happenings {
            let mut know = |schedule: &mut Schedule, device: u64| {
                if !known.contains(&device) {
                    known.push(device);
                    schedule.follow(device, FOLLOWER, now);
                }
            };
            match happening {
                Happening::Expect(device, forecast) => {
                    know(&mut schedule, device);
                    let forecast = forecast.map_or(Forecast::UNKNOWN, |(median, spread, known)| {
                        Forecast::around(Duration::from_secs_f64(median), spread, known)
                    });
                    schedule.expect(device, FOLLOWER, change(now, forecast));
                }
                Happening::Someday(device, ms) => {
                    know(&mut schedule, device);
                    let pause = Duration::from_millis(ms.into());
                    schedule.expect(device, FOLLOWER, Expectation::Someday(pause));
                }
                Happening::ReadNow(device) => schedule.read_now(device),
                Happening::LookUp(device) => {
                    know(&mut schedule, device);
                    let _ = schedule.look_up(device, "somebody", now);
                }
                Happening::Unfollow(device) => {
                    known.retain(|other| *other != device);
                    reading.retain(|other| *other != device);
                    schedule.unfollow(device, FOLLOWER);
                }
                Happening::Refused(seconds) => {
                    schedule.refused(seconds.map(|s| Duration::from_secs(s.into())), now);
                }
                Happening::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    for device in reading.drain(..) {
                        schedule.done(device);
                    }
                }
            }
            while let Decision::Read(device) = schedule.decide(now) {
                prop_assert!(known.contains(&device), "{device} is followed by nobody");
                prop_assert!(!reading.contains(&device), "{device} is being read");
                reading.push(device);
                second.push_back(now);
                while now.duration_since(second[0]) >= Duration::from_secs(1) {
                    second.pop_front();
                }
                prop_assert!(second.len() <= rate as usize, "{} in a second", second.len());
            }
        }
    }

    /// While the budget allows it, no device goes unread for longer than the longest pause and the
    /// time that one round of reads takes, however differently the devices are forecast and however
    /// much else is asked for.
    #[test]
    fn nobody_starves(
        forecasts in prop::collection::vec(
            prop::option::of((1.0_f64..300.0, 0.02_f64..1.0, 0.0_f64..1.0)),
            1..40,
        ),
        look_ups in prop::collection::vec(0_u64..40, 0..200),
    ) {
        const RATE: f64 = 10.0;
        let start = Instant::now();
        let mut schedule = schedule(RATE, start);
        for (device, forecast) in forecasts.iter().enumerate() {
            let forecast = forecast.map_or(Forecast::UNKNOWN, |(median, spread, known)| {
                Forecast::around(Duration::from_secs_f64(median), spread, known)
            });
            followed(&mut schedule, device as u64, change(start, forecast), start);
        }
        // Deadlines get three turns in eight at least.
        let round = forecasts.len() as f64 / (RATE * 3.0 / 8.0);
        let most = Duration::from_secs_f64(30.0 + round + 1.0);
        let mut read = vec![start; forecasts.len()];
        let mut look_ups = look_ups.into_iter().cycle();
        let mut now = start;
        while now < start + Duration::from_secs(150) {
            if let Some(device) = look_ups.next() {
                let _ = schedule.look_up(device, "noisy", now);
                schedule.read_now((device + 1) % 3);
            }
            match schedule.decide(now) {
                Decision::Read(device) => {
                    read[usize::try_from(device).unwrap()] = now;
                    schedule.done(device);
                }
                Decision::Wait(until) => now = until,
                Decision::Idle => panic!("each expects something"),
            }
            let longest = read.iter().map(|read| now.duration_since(*read)).max().unwrap();
            prop_assert!(longest <= most, "{longest:?} of {most:?}");
        }
    }
}
