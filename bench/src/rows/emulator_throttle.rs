//! Ten minutes of a small hub's limits, played in virtual time.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use hub_emulator::{Edition, Kind, Shaping, Throttle, Tier};

use super::Row;
use crate::{Effort, measure::Measure, statistics::micros};

pub(super) const ROW: Row = Row {
    name: "emulator-throttle",
    about: "ten minutes of S1's limits in virtual time, at twice the limit",
    ids: &["C6"],
    rounds: 1,
    run: |_: Effort| async { Ok(run()) }.boxed_local(),
};

const KINDS: [Kind; 5] = [
    Kind::TwinReads,
    Kind::TwinUpdates,
    Kind::Methods,
    Kind::Connects,
    Kind::Telemetry,
];

fn run() -> Vec<Measure> {
    let tier = Tier {
        edition: Edition::S1,
        units: 1,
    };
    let shaping = Shaping {
        credit: Duration::ZERO,
        ..Shaping::default()
    };
    let minute = Duration::from_secs(60);
    let begin = Instant::now();
    let mut worst: f64 = 0.0;
    for kind in KINDS {
        let mut throttle = Throttle::new(Some(tier), shaping);
        let limit = tier.per_minute(kind);
        let mut minutes = [0_u64; 12];
        for number in 0..20 * limit {
            let at = minute.mul_f64(number as f64 / (2 * limit) as f64);
            if let Some(wait) = throttle.pass(kind, 1, begin + at) {
                let minute = (at + wait).as_secs() / 60;
                minutes[usize::try_from(minute).unwrap_or_default()] += 1;
            }
        }
        for count in &minutes[..10] {
            let off = count.abs_diff(limit) as f64 * 100.0 / limit as f64;
            worst = worst.max(off);
        }
    }
    vec![
        Measure::new("C6 emulator: limits off by, any minute (%)", worst).at_most(1.0),
        Measure::new(
            "C6 emulator: ten minutes of five limits (s)",
            micros(&begin.elapsed()) / 1e6,
        )
        .at_most(5.0),
    ]
}
