//! Figures of the release builds, beside their floors and peers, taken in one run.
//!
//! A row is a file below [`rows`]: it starts what it needs, measures, and returns [`measure`]s, each
//! with what it is compared to. `cargo xtask bench` builds the programs and runs this one.
//!
//! - [`rows`]: what is measured.
//! - [`measure`]: a figure, its floor, its peers, its target; [`report`]: tables of them; [`plot`]: curves.
//! - [`process`]: a program as a process, with its memory and its processor time; [`guard`]: ends them
//!   all with this one; [`emulator`]: the emulator as one; [`service`] and [`gateway`]: these as ones.
//! - [`device`]: devices that connect to the emulator; [`local`]: those that a gateway reboots;
//!   [`packets`]: what both send and get.
//! - [`unary`]: an empty call of a gRPC server; [`streams`]: very many streams of one; [`offered`]:
//!   calls at a rate, of whatever.
//! - [`peers`]: other people's programs at the same work; [`floor`]: what the machine itself takes.
//! - [`machine`]: where and when.

mod device;
mod emulator;
mod floor;
mod gateway;
mod guard;
mod local;
mod machine;
mod measure;
mod offered;
mod packets;
mod peers;
mod plot;
mod process;
mod report;
mod rows;
mod service;
mod statistics;
mod streams;
mod unary;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser;

use crate::{
    measure::Measure,
    plot::Plot,
    rows::{ROWS, Row},
};

/// How long a row may take; one that never ends is not to keep the others from being measured.
const ROW_LIMIT: Duration = Duration::from_secs(300);

/// Measures the release builds beside their floors and peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the rows of these names, or that have a figure for these targets
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,

    /// Fewer repetitions and smaller numbers: to see that it works, not to compare
    #[arg(long)]
    quick: bool,

    /// Ends with one line of JSON
    #[arg(long)]
    json: bool,

    /// Draws plots into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,

    /// Puts the table into this Markdown file, where it has a place for figures
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// How thorough to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Whether it is only to be seen that it works.
    pub(crate) quick: bool,
}

impl Effort {
    /// So many, or fewer.
    pub(crate) fn count(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

// One thread, as the figures are less of a guess that way: the program that is measured has the
// other processor for itself.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let effort = Effort {
        quick: arguments.quick,
    };
    allow_many_files().context("allow many open files")?;
    let named = |row: &Row, only: &String| row.name == only || row.ids.contains(&only.as_str());
    let wanted = |row: &&Row| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| named(row, only))
    };
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    anyhow::ensure!(!rows.is_empty(), "the rows are: {}", names.join(", "));
    let mut out = io::stdout().lock();
    let begun = machine::describe();
    writeln!(out, "{begun}")?;
    let measures = measure_all(&rows, effort, &mut out).await?;
    writeln!(out)?;
    report::print(&measures, &mut out)?;
    if let Some(folder) = &arguments.plots {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        for plot in Plot::ALL {
            if let Some(drawn) = plot.draw(&measures) {
                let file = folder.join(plot.file());
                fs::write(&file, drawn).with_context(|| format!("write {}", file.display()))?;
            }
        }
    }
    if let Some(file) = &arguments.markdown {
        let text = fs::read_to_string(file);
        let text = text.with_context(|| format!("read {}", file.display()))?;
        let text = report::replace_figures(&text, &begun, &measures)?;
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    if arguments.json {
        writeln!(out, "{}", report::to_json(&measures))?;
    }
    Ok(())
}

/// Measures every row in turn, and again those of more rounds. A row that fails does not take the
/// others along: it has no figures, and says why.
async fn measure_all(
    rows: &[&Row],
    effort: Effort,
    out: &mut impl Write,
) -> io::Result<Vec<Measure>> {
    let mut rounds: Vec<Vec<Vec<Measure>>> = vec![Vec::new(); rows.len()];
    let most = rows.iter().map(|row| effort.count(row.rounds, 1)).max();
    for round in 0..most.unwrap_or_default() {
        for (row, measured) in rows.iter().zip(&mut rounds) {
            if round >= effort.count(row.rounds, 1) {
                continue;
            }
            write!(out, "{}: {}", row.name, row.about)?;
            out.flush()?;
            let begin = Instant::now();
            let measures = tokio::time::timeout(ROW_LIMIT, (row.run)(effort)).await;
            let measures = measures.unwrap_or_else(|_| Err(anyhow::anyhow!("it took too long")));
            writeln!(out, " ({:.1} s)", begin.elapsed().as_secs_f64())?;
            measured.push(measures.unwrap_or_else(|error| failed(row, &format!("{error:#}"))));
        }
    }
    let mut measures = Vec::new();
    for (row, rounds) in rows.iter().zip(rounds) {
        let measured = measure::middle(rounds);
        let is_missing = |id: &&&str| !measured.iter().any(|one| one.is_about(id));
        let missing = row.ids.iter().filter(is_missing);
        let missing = missing.map(|id| absent(row, id, "no figure"));
        measures.extend(missing.collect::<Vec<_>>());
        measures.extend(measured);
    }
    Ok(measures)
}

/// What a row that failed has instead of its figures.
fn failed(row: &Row, why: &str) -> Vec<Measure> {
    row.ids.iter().map(|id| absent(row, id, why)).collect()
}

fn absent(row: &Row, id: &str, why: &str) -> Measure {
    Measure::absent(format!("{id} {}", row.name), why)
}

/// Ten thousand devices are ten thousand open files, here and in the programs started from here.
fn allow_many_files() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    /// A row that fails in its second round.
    const UNSTEADY: Row = Row {
        name: "unsteady",
        about: "measures a third of its rounds",
        ids: &["A1", "A2"],
        rounds: 3,
        run: |_| {
            async {
                static ROUND: AtomicUsize = AtomicUsize::new(0);
                match ROUND.fetch_add(1, Ordering::Relaxed) {
                    1 => Ok(vec![Measure::new("A1 x (us)", 7.0)]),
                    _ => anyhow::bail!("no luck"),
                }
            }
            .boxed_local()
        },
    };

    #[tokio::test]
    async fn a_row_that_fails_says_so_and_the_others_are_measured() {
        let effort = Effort { quick: false };
        let measures = measure_all(&[&UNSTEADY], effort, &mut io::sink())
            .await
            .unwrap();
        let said: Vec<_> = measures
            .iter()
            .map(|one| (one.name.as_str(), one.ours.clone()))
            .collect();
        let no_luck = || Err("no luck".to_owned());
        assert_eq!(
            said,
            [
                ("A1 unsteady", no_luck()),
                ("A2 unsteady", no_luck()),
                ("A1 x (us)", Ok(7.0)),
            ]
        );
    }
}
