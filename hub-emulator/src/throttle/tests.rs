//! Ten minutes of hubs, and any pattern of requests.

use proptest::prelude::*;

use super::*;

const S1: Tier = Tier {
    edition: Edition::S1,
    units: 1,
};

const KINDS: [Kind; 11] = [
    Kind::TwinReads,
    Kind::TwinUpdates,
    Kind::Queries,
    Kind::Methods,
    Kind::Registry,
    Kind::Jobs,
    Kind::JobDevices,
    Kind::Configurations,
    Kind::Connects,
    Kind::Telemetry,
    Kind::CloudToDevice,
];

/// When each of these requests is admitted, after which wait; refused ones left out.
fn play(
    tier: Tier,
    shaping: Shaping,
    kind: Kind,
    requests: impl IntoIterator<Item = Duration>,
) -> Vec<(Duration, Duration)> {
    let mut throttle = Throttle::new(Some(tier), shaping);
    let begin = Instant::now();
    let admitted = requests.into_iter().filter_map(|at| {
        let wait = throttle.pass(kind, 1, begin + at)?;
        Some((at + wait, wait))
    });
    admitted.collect()
}

/// The most within any so long a time.
fn fullest(admitted: &[(Duration, Duration)], window: Duration) -> u64 {
    let mut first = 0;
    let mut fullest = 0;
    for (last, (at, _)) in admitted.iter().enumerate() {
        while *at - admitted[first].0 >= window {
            first += 1;
        }
        fullest = fullest.max(last - first + 1);
    }
    fullest as u64
}

#[test]
fn without_a_tier_everything_is_admitted() {
    let mut throttle = Throttle::new(None, Shaping::default());
    let now = Instant::now();
    assert!((0..1000).all(|_| throttle.pass(Kind::Queries, 1, now) == Some(Duration::ZERO)));
}

/// The documentation's example: 200 messages a second to a hub that takes 100.
#[test]
fn twice_the_limit_passes_for_a_minute_then_waits_then_is_refused() {
    let each = Duration::from_millis(5);
    let requests = (0..60_000).map(|number| each * number);
    let admitted = play(S1, Shaping::default(), Kind::Telemetry, requests);
    let of_minute = |minute: u64| {
        let begin = Duration::from_secs(60 * minute);
        let within = move |at: &Duration| *at >= begin && *at < begin + MINUTE;
        admitted.iter().filter(move |(at, _)| within(at))
    };
    // All of the first minute's, at once.
    assert_eq!(of_minute(0).count(), 12_000);
    assert!(of_minute(0).all(|(_, wait)| wait.is_zero()));
    // From then on the limit's rate, behind a queue that fills and stays full.
    for minute in 1..5 {
        let count = of_minute(minute).count();
        assert!(
            (5_940..=6_060).contains(&count),
            "{count} in minute {minute}"
        );
    }
    let longest = admitted.iter().map(|(_, wait)| *wait).max();
    assert!(
        longest > Some(Duration::from_millis(9_990)) && longest <= Some(Duration::from_secs(10))
    );
    assert!(of_minute(4).all(|(_, wait)| *wait > Duration::from_secs(9)));
}

/// Ten minutes of a small hub, with twice as much of everything as it admits.
#[test]
fn every_limit_is_enforced_within_1_percent() {
    let strict = Shaping {
        credit: Duration::ZERO,
        ..Shaping::default()
    };
    let hubs = [
        (Edition::S1, 1),
        (Edition::S1, 12),
        (Edition::S2, 3),
        (Edition::S3, 1),
    ];
    for (edition, units) in hubs {
        let tier = Tier { edition, units };
        for kind in KINDS {
            let limit = tier.per_minute(kind);
            // Of large limits, which are many requests, a little more than a minute shows the same.
            let seconds = if limit > 100_000 { 65 } else { 600 };
            let count = 2 * limit * seconds / 60;
            let requests =
                (0..count).map(|number| MINUTE.mul_f64(number as f64 / (2 * limit) as f64));
            let admitted = play(tier, strict, kind, requests);
            let fullest = fullest(&admitted, MINUTE);
            let least = limit * 99 / 100;
            assert!(
                fullest >= least && fullest <= limit * 101 / 100 + 1,
                "{tier:?} {kind:?}: {fullest} of {limit}"
            );
            let queued = admitted.iter().filter(|(_, wait)| !wait.is_zero()).count();
            assert_eq!(queued > 0, strict.of(kind).is_some(), "{tier:?} {kind:?}");
        }
    }
}

#[test]
fn a_quiet_hub_has_its_credit_again() {
    let burst = |at: u64| (0..12_000).map(move |_| Duration::from_secs(at));
    let admitted = play(
        S1,
        Shaping::default(),
        Kind::TwinReads,
        burst(0).chain(burst(70)),
    );
    let at_once = |at: u64| {
        let at = (Duration::from_secs(at), Duration::ZERO);
        admitted.iter().filter(|admitted| **admitted == at).count()
    };
    // One more, which finds the credit not quite used up.
    assert_eq!((at_once(0), at_once(70)), (6_001, 6_000));
}

#[test]
fn the_devices_of_a_job_are_spaced_and_never_refused() {
    let admitted = play(
        S1,
        Shaping::default(),
        Kind::JobDevices,
        vec![Duration::ZERO; 1_000],
    );
    let waits: Vec<_> = admitted.iter().map(|(_, wait)| wait.as_millis()).collect();
    assert_eq!(
        waits,
        (0..1_000).map(|number| number * 100).collect::<Vec<_>>()
    );
}

fn pattern() -> impl Strategy<Value = Vec<Duration>> {
    // Stretches of requests at a pace of their own, with pauses between them.
    let stretch = (0_u64..40_000, 1_usize..3_000, 0_u64..60_000);
    prop::collection::vec(stretch, 1..8).prop_map(|stretches| {
        let mut at = Duration::ZERO;
        let mut requests = Vec::new();
        for (pause, count, gap) in stretches {
            at += Duration::from_millis(pause);
            for _ in 0..count {
                at += Duration::from_micros(gap);
                requests.push(at);
            }
        }
        requests
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever comes when: no stretch of time holds more than the credit and what the rate allows
    /// in it, nobody waits longer than the queue, and nobody overtakes.
    #[test]
    fn no_stretch_of_time_holds_more_than_it_may(
        requests in pattern(),
        credit in 0_u64..90,
        queue in 0_u64..30,
        seconds in 1_u64..120,
    ) {
        let shaping = Shaping {
            credit: Duration::from_secs(credit),
            queue: Duration::from_secs(queue),
        };
        let admitted = play(S1, shaping, Kind::TwinUpdates, requests);
        let per_second = S1.per_minute(Kind::TwinUpdates) / 60;
        let most = per_second * (credit + seconds) + 1;
        prop_assert!(fullest(&admitted, Duration::from_secs(seconds)) <= most);
        prop_assert!(admitted.iter().all(|(_, wait)| *wait <= shaping.queue));
        prop_assert!(admitted.is_sorted_by_key(|(at, _)| *at));
    }

    /// What is not shaped is limited in any 60 seconds.
    #[test]
    fn no_minute_holds_more_than_its_limit(requests in pattern()) {
        let admitted = play(S1, Shaping::default(), Kind::Registry, requests);
        prop_assert!(fullest(&admitted, MINUTE) <= S1.per_minute(Kind::Registry));
        prop_assert!(admitted.iter().all(|(_, wait)| wait.is_zero()));
    }
}
