//! Figures of the release builds, beside their floors and peers, taken in one run.
//!
//! A row is a file below [`rows`]: it starts what it needs, measures, and returns [`measure`]s, each
//! with what it is compared to. `cargo xtask bench` builds the programs and runs this one.
//!
//! - [`rows`]: what is measured.
//! - [`measure`]: a figure, its floor, its peer, its target, and how a table of them is printed.
//! - [`process`]: a program as a process, with its memory and its processor time; [`emulator`]: the
//!   emulator as one.
//! - [`service`]: the service as a process.
//! - [`device`]: devices that connect to it; [`floor`]: what the machine itself takes.

mod device;
mod emulator;
mod floor;
mod measure;
mod process;
mod rows;
mod service;
mod statistics;

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Parser;

use crate::rows::ROWS;

/// Measures the release builds beside their floors and peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the rows of this name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,

    /// Fewer repetitions and smaller numbers: to see that it works, not to compare
    #[arg(long)]
    quick: bool,

    /// Ends with one line of JSON
    #[arg(long)]
    json: bool,
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
    let mut out = io::stdout().lock();
    let mut measures = Vec::new();
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    for row in ROWS.iter().filter(|row| wanted(row.name)) {
        writeln!(out, "{}: {}", row.name, row.about)?;
        out.flush()?;
        let measured = (row.run)(effort).await;
        measures.extend(measured.with_context(|| format!("measure {}", row.name))?);
    }
    let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    anyhow::ensure!(!measures.is_empty(), "the rows are: {}", names.join(", "));
    writeln!(out)?;
    measure::print(&measures, &mut out)?;
    if arguments.json {
        writeln!(out, "{}", measure::to_json(&measures))?;
    }
    Ok(())
}

/// Ten thousand devices are ten thousand open files, here and in the programs started from here.
fn allow_many_files() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(io::Error::from)
}
