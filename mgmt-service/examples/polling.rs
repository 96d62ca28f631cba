//! How late the service sees the end of a reboot, by how many are open: the poller's own scheduler
//! in virtual time.
//!
//! ```text
//! cargo run --release -p mgmt-service --example polling -- [--quick] [--json]
//! ```
//!
//! `--quick` leaves out the large hub, `--json` prints one line instead of the table. `cargo xtask bench`
//! draws the curves.

#[path = "../src/poller/simulation.rs"]
mod simulation;

use std::{env, io::Write as _, time::Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

use self::simulation::{Knowledge, Outcome, Scenario, run};

/// Where the simulation looks for the scheduler.
mod poller {
    pub(crate) use mgmt_service::poller::{Cadence, Decision, Expectation, Forecast, Schedule};
}

/// What is compared.
const CURVES: [Curve; 5] = [
    Curve::new("read in turn", 0.1, Knowledge::InTurn),
    Curve::new("durations known to 30 %", 0.3, Knowledge::Learned),
    Curve::new("durations known to 10 %", 0.1, Knowledge::Learned),
    Curve::new("foretold by the gateway", 0.1, Knowledge::Eta),
    Curve::new(
        "30 %, and hints of queries",
        0.3,
        Knowledge::Hinted { queries: 0.3 },
    ),
];

/// The smallest hub, and one with five times and fifty times its limit on twin reads.
const S1: Size = Size {
    name: "S1",
    limit: 100.0,
};
const S3: Size = Size {
    name: "S3",
    limit: 500.0,
};
const S3_OF_10_UNITS: Size = Size {
    name: "S3x10",
    limit: 5_000.0,
};

/// How many reboots are open.
const NUMBERS: [usize; 9] = [10, 30, 100, 200, 300, 500, 1_000, 1_500, 2_000];

/// What each size, number and curve should stay below: the 99th percentile in seconds.
const TARGETS: [(&str, usize, usize, f64); 9] = [
    ("S1", 100, 1, 1.7),
    ("S1", 100, 2, 1.4),
    ("S1", 100, 3, 1.0),
    ("S1", 1_000, 1, 8.0),
    ("S1", 1_000, 2, 4.0),
    ("S1", 1_000, 3, 1.5),
    ("S1", 2_000, 2, 8.5),
    ("S3", 10_000, 2, 8.5),
    ("S3x10", 100_000, 2, 8.5),
];

/// One line of the plot.
#[derive(Debug, Clone, Copy)]
struct Curve {
    name: &'static str,
    spread: f64,
    knowledge: Knowledge,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    name: &'static str,
    limit: f64,
}

/// One point of a curve.
struct Point {
    size: Size,
    curve: usize,
    open: usize,
    outcome: Outcome,
    /// What a read took in the simulation, choosing it and everything else, in microseconds.
    choice: f64,
}

impl Curve {
    const fn new(name: &'static str, spread: f64, knowledge: Knowledge) -> Self {
        Self {
            name,
            spread,
            knowledge,
        }
    }
}

impl Point {
    fn target(&self) -> Option<f64> {
        let target = TARGETS.iter().find(|(size, open, curve, _)| {
            (*size, *open, *curve) == (self.size.name, self.open, self.curve)
        });
        target.map(|(.., seconds)| *seconds)
    }
}

fn main() -> anyhow::Result<()> {
    let (mut quick, mut json) = (false, false);
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => json = true,
            other => bail!("unexpected argument `{other}`"),
        }
    }
    let points = measure(quick);
    let text = if json {
        as_json(&points)
    } else {
        as_table(&points)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("print the result")
}

fn measure(quick: bool) -> Vec<Point> {
    let mut points = Vec::new();
    for (curve, Curve { knowledge, .. }) in CURVES.iter().enumerate() {
        for open in NUMBERS {
            points.push(point(S1, curve, open));
        }
        // Larger hubs allow more queries, too.
        let hinted = matches!(knowledge, Knowledge::Hinted { .. });
        if !quick && !hinted {
            points.push(point(S3, curve, 3_000));
            points.push(point(S3, curve, 10_000));
        }
    }
    if !quick {
        points.push(point(S3_OF_10_UNITS, 2, 100_000));
    }
    points
}

fn point(size: Size, curve: usize, open: usize) -> Point {
    let Curve {
        spread, knowledge, ..
    } = CURVES[curve];
    let scenario = Scenario {
        limit: size.limit,
        open,
        spread,
        knowledge,
        warm_up: 300.0,
        // Some thousands of ends.
        seconds: (600_000.0 / open as f64).clamp(60.0, 18_000.0),
    };
    let begin = Instant::now();
    let outcome = run(&scenario);
    let took = begin.elapsed().as_secs_f64() * 1e6;
    // Those of the warm-up are not counted; they come as fast.
    let counted = outcome.reads * outcome.ends as f64;
    let reads = counted * (scenario.warm_up + scenario.seconds) / scenario.seconds;
    Point {
        size,
        curve,
        open,
        outcome,
        choice: took / reads,
    }
}

fn as_table(points: &[Point]) -> String {
    let mut text = String::from(
        "| hub | open | service goes by | mean | p99 | reads each | busiest second | target p99 |\n\
         | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for point in points {
        let outcome = &point.outcome;
        let target = point
            .target()
            .map_or(String::new(), |target| format!("{target} s"));
        text += &format!(
            "| {} | {} | {} | {:.2} s | {:.2} s | {:.1} | {} of {} | {target} |\n",
            point.size.name,
            point.open,
            CURVES[point.curve].name,
            outcome.mean,
            outcome.p99,
            outcome.reads,
            outcome.busiest_second,
            point.size.limit,
        );
    }
    text
}

fn as_json(points: &[Point]) -> String {
    let rows: Vec<_> = points
        .iter()
        .map(|point| {
            let outcome = &point.outcome;
            let name = format!(
                "p99 staleness in seconds, {}, {} open, {}",
                point.size.name, point.open, CURVES[point.curve].name
            );
            let target = point.target();
            json!({
                "name": name,
                "hub": point.size.name,
                "open": point.open,
                "by": CURVES[point.curve].name,
                "ours": outcome.p99,
                "mean": outcome.mean,
                "readsEach": outcome.reads,
                "microsOfChoice": point.choice,
                "busiestSecond": outcome.busiest_second,
                "limit": point.size.limit,
                "target": target,
                "meets": target.map(|target| outcome.p99 <= target),
            })
        })
        .collect();
    format!("{}\n", json!(rows))
}
