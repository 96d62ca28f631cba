//! What is measured. To add a row: a file with its `ROW`, and a line in [`ROWS`].

use futures_util::future::LocalBoxFuture;

use crate::{Effort, measure::Measure};

mod emulator_connect;
mod emulator_idle;
mod emulator_methods;
mod emulator_start;
mod emulator_throttle;
mod emulator_twins;
mod gateway;
mod service;
mod sizes;
mod staleness;
mod unmeasured;
mod watchers;

/// Something to measure.
#[derive(Debug)]
pub(crate) struct Row {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it measures, for a person.
    pub(crate) about: &'static str,
    pub(crate) run: fn(Effort) -> LocalBoxFuture<'static, anyhow::Result<Vec<Measure>>>,
}

/// Every row, in the order in which they run.
pub(crate) const ROWS: &[Row] = &[
    emulator_start::ROW,
    emulator_connect::ROW,
    emulator_methods::ROW,
    emulator_twins::ROW,
    emulator_throttle::ROW,
    emulator_idle::ROW,
    service::ROW,
    watchers::ROW,
    staleness::ROW,
    gateway::ROW,
    sizes::ROW,
    unmeasured::ROW,
];
