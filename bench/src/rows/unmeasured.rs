//! What has a target and is not measured by this program, and why.

use futures_util::FutureExt as _;

use super::Row;
use crate::{Effort, measure::Measure};

pub(super) const ROW: Row = Row {
    name: "unmeasured",
    about: "targets that are held by tests, or by nothing yet",
    ids: &["B8", "B9", "B12"],
    rounds: 1,
    run: |_: Effort| async { Ok(run()) }.boxed_local(),
};

fn run() -> Vec<Measure> {
    let held = |name, why| Measure::absent(name, why);
    vec![
        held(
            "B8 gateway: added to a method call, p99 (us)",
            "not measured yet",
        )
        .at_most(500.0),
        held("B9 gateway: 1,000 reports at once (ms)", "not measured yet").at_most(50.0),
        held("B12 gateway: TLS sessions resumed (%)", "not measured yet").at_least(95.0),
    ]
}
