//! What is measured. To add a row: a file with its `ROW`, and a line in [`ROWS`].

use futures_util::future::LocalBoxFuture;

use crate::{Effort, measure::Measure};

mod attempts;
mod connections;
mod emulator_connect;
mod emulator_idle;
mod emulator_methods;
mod emulator_start;
mod emulator_throttle;
mod emulator_twins;
mod fan_out;
mod gateway;
mod gateway_methods;
mod gateway_storm;
mod hanging;
mod hub_calls;
mod rates;
mod reads;
mod service;
mod sizes;
mod staleness;
mod verdicts;
mod watchers;

/// Something to measure.
#[derive(Debug)]
pub(crate) struct Row {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it measures, for a person.
    pub(crate) about: &'static str,
    /// The targets that it has a figure for, by their ids in the tables A, B and C.
    pub(crate) ids: &'static [&'static str],
    /// How often it is measured, in turn with the others; its figures are the middle ones.
    pub(crate) rounds: usize,
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
    hub_calls::ROW,
    connections::ROW,
    service::ROW,
    rates::ROW,
    verdicts::ROW,
    attempts::ROW,
    watchers::ROW,
    fan_out::ROW,
    reads::ROW,
    staleness::ROW,
    hanging::ROW,
    gateway::ROW,
    gateway_storm::ROW,
    gateway_methods::ROW,
    sizes::ROW,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_target_has_a_row() {
        let ids =
            |table: char, count: u32| (1..=count).map(move |number| format!("{table}{number}"));
        let targets: BTreeSet<_> = ids('A', 12)
            .chain(ids('B', 12))
            .chain(ids('C', 7))
            .collect();
        let rows = ROWS.iter().flat_map(|row| row.ids);
        let rows: BTreeSet<_> = rows.map(|id| (*id).to_owned()).collect();
        assert_eq!(rows, targets);
    }

    #[test]
    fn a_row_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }
}
