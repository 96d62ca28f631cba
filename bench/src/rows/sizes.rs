//! The size of the programs as they are packed.

use std::{fs, path::Path};

use anyhow::Context as _;
use futures_util::FutureExt as _;

use super::Row;
use crate::{Effort, measure::Measure};

pub(super) const ROW: Row = Row {
    name: "sizes",
    about: "the programs of the profile `dist`",
    ids: &["A12", "B10", "C1"],
    rounds: 1,
    run: |_: Effort| async { run() }.boxed_local(),
};

const PROGRAMS: [(&str, &str, f64); 3] = [
    ("A12", "mgmt-service", 4.0),
    ("B10", "device-gateway", 3.0),
    ("C1", "hub-emulator", 4.0),
];

fn run() -> anyhow::Result<Vec<Measure>> {
    let own = std::env::current_exe().context("find this program")?;
    let built = own
        .parent()
        .and_then(Path::parent)
        .context("find the build folder")?;
    let measure = |(row, name, most): (&str, &str, f64)| {
        let title = format!("{row} {name}: program (MiB)");
        match fs::metadata(built.join("dist").join(name)) {
            Ok(file) => Measure::new(title, file.len() as f64 / f64::from(1 << 20)).at_most(most),
            Err(_) => {
                Measure::absent(title, "not built: cargo build --profile dist --bins").at_most(most)
            }
        }
    };
    Ok(PROGRAMS.map(measure).into())
}
