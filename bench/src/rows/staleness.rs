//! How late the end of a reboot is seen: the service's own scheduler in virtual time.

use std::process::Command;

use anyhow::{Context as _, ensure};
use futures_util::FutureExt as _;
use serde_json::Value;

use super::Row;
use crate::{
    Effort,
    guard::watch_over,
    measure::Measure,
    plot::{Plot, Point},
    process::{Built, program},
};

pub(super) const ROW: Row = Row {
    name: "staleness",
    about: "how late the end of a reboot is seen, in virtual time",
    ids: &["A7", "A8", "A9", "A10", "A11"],
    rounds: 1,
    run: |effort| async move { run(effort) }.boxed_local(),
};

/// The least mean that any polling with as many reads can have there, by theory: reads as dense as
/// the square root of the chance that the reboot ends.
const LEAST_MEAN: f64 = 1.0;

fn run(effort: Effort) -> anyhow::Result<Vec<Measure>> {
    let mut command = Command::new(program(Built::Released, "examples/polling")?);
    command.arg("--json");
    if effort.quick {
        command.arg("--quick");
    }
    let output = watch_over(&mut command)?
        .output()
        .context("run the simulation")?;
    ensure!(output.status.success(), "the simulation failed");
    let told: Vec<Value> = serde_json::from_slice(&output.stdout).context("read its figures")?;
    let mut measures = Vec::new();
    // All of them are in the plot, those with a target in the table.
    let mut points = Vec::new();
    let mut busiest: f64 = 0.0;
    for point in &told {
        let name = point["name"].as_str().context("find a name")?;
        let figure = |field: &str| point[field].as_f64();
        let full = |field: &str| figure(field).with_context(|| format!("find {field}"));
        busiest = busiest.max(full("busiestSecond")? / full("limit")?);
        if point["hub"] == "S1" {
            points.push(Point {
                plot: Plot::Staleness,
                curve: point["by"].as_str().context("find a curve")?.to_owned(),
                x: full("open")?,
                y: full("ours")?,
            });
        }
        let Some(target) = figure("target") else {
            continue;
        };
        // The targets are apart by how many reboots are open.
        let id = match full("open")? {
            few if few <= 100.0 => "A8",
            many if many <= 1_000.0 => "A9",
            _ => "A10",
        };
        measures.push(Measure::new(format!("{id} {name}"), full("ours")?).at_most(target));
        let (_, what) = name.split_once(", ").unwrap_or(("", name));
        measures.push(Measure::new(
            format!("{id} reads each, {what}"),
            full("readsEach")?,
        ));
    }
    let most = told.iter().filter_map(|point| {
        let choice = point["microsOfChoice"].as_f64()?;
        Some((point["open"].as_u64()?, choice))
    });
    let (open, choice) = most
        .max_by_key(|(open, _)| *open)
        .context("find the most")?;
    let name = format!("A11 a read of {open} open in the simulation (us)");
    measures.push(Measure::new(name, choice).at_most(20.0));
    let known = |point: &&Value| {
        point["open"] == 1_000 && point["by"] == "durations known to 10 %" && point["hub"] == "S1"
    };
    let mean = told
        .iter()
        .find(known)
        .and_then(|point| point["mean"].as_f64());
    measures.push(
        Measure::new(
            "A11 mean staleness in seconds, S1, 1000 open, durations known to 10 %",
            mean.context("find a mean")?,
        )
        .floor(LEAST_MEAN)
        .at_most(1.25 * LEAST_MEAN),
    );
    let busiest = Measure::new("A7 the busiest second's reads to the limit", busiest);
    measures.push(Measure { points, ..busiest }.at_most(1.0));
    Ok(measures)
}
