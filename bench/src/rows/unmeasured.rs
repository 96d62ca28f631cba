//! What has a target and is not measured by this program, and why.

use futures_util::FutureExt as _;

use super::Row;
use crate::{Effort, measure::Measure};

pub(super) const ROW: Row = Row {
    name: "unmeasured",
    about: "targets that are held by tests, or by nothing yet",
    run: |_: Effort| async { Ok(run()) }.boxed_local(),
};

fn run() -> Vec<Measure> {
    let held = |name, why| Measure::absent(name, why);
    vec![
        held(
            "A3 service: connections for 10,000 calls",
            "not counted here: the emulator's counters are not served to a process",
        )
        .at_most(4.0),
        held(
            "A5 watchers: one update to 10,000, last (ms)",
            "needs a client thinner than tonic's, which would be what is measured",
        )
        .at_most(30.0),
        held(
            "A6 watchers: reads of one against 10,000",
            "held by the test a_thousand_watchers_cost_what_one_costs",
        ),
        held(
            "A11 service: a choice of the scheduler (us)",
            "the simulation tells: 3 at a thousand, 10 at a hundred thousand",
        )
        .at_most(20.0),
        held(
            "B8 gateway: added to a method call, p99 (us)",
            "not measured yet",
        )
        .at_most(500.0),
        held("B9 gateway: 1,000 reports at once (ms)", "not measured yet").at_most(50.0),
        held("B12 gateway: TLS sessions resumed (%)", "not measured yet").at_least(95.0),
        held(
            "peers: Microsoft's SDKs, grpcio, grpc-js",
            "not run by this program yet; docs/performance.md has no figures of theirs",
        ),
    ]
}
