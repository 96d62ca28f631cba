//! A hub that is away for days while attempts begin and end.

use iot_hub::{
    reboot::{Report, State},
    twin,
};
use serde_json::{Map, Value, json};

use super::sim::{Behavior, ID, Sim, seconds};
use crate::outbox::Outbox;

const DAY: u64 = 24 * 3_600;

fn document(report: &Report) -> Map<String, Value> {
    let own = json!({ "iothubDM": { "reboot": report.to_value() } });
    own.as_object().unwrap().clone()
}

#[test]
fn an_attempt_that_begins_and_ends_while_the_hub_is_away_is_told_whole_by_one_patch() {
    for behavior in [Behavior::Reboots, Behavior::Lies, Behavior::NeverReturns] {
        let mut sim = Sim::new(behavior);
        let request = json!({ "requestId": ID.to_string(), "notBefore": "2026-01-04T00:00:00Z" });
        sim.call("reboot", request);
        sim.run_until(|sim| sim.time >= seconds(60));
        let mut outbox = Outbox::default();
        let mut hub = Map::new();
        let known = sim.reports.len();
        outbox.set_target(document(&sim.reports[known - 1]));
        twin::merge(&mut hub, &outbox.next_patch().unwrap());
        outbox.on_applied();

        // From now on nothing is acknowledged, and the last patch may or may not have arrived.
        sim.hub_acknowledges = false;
        sim.run();
        assert!(sim.time >= seconds(3 * DAY) && sim.time < seconds(3 * DAY + 3_600));
        for report in &sim.reports[known..] {
            outbox.set_target(document(report));
            let _ = outbox.next_patch();
            outbox.on_unknown();
            let kept = serde_json::to_vec(&outbox).unwrap().len();
            assert!(kept < 16 * 1024, "{kept} bytes");
        }

        outbox.on_truth(hub.clone());
        twin::merge(&mut hub, &outbox.next_patch().unwrap());
        outbox.on_applied();
        assert_eq!(outbox.next_patch(), None);
        let last = sim.reports.last().unwrap();
        assert_eq!(hub, document(last));
        let attempt = last.attempt.as_ref().unwrap();
        assert!(attempt.state.is_terminal(), "{behavior:?}");
        let stages: Vec<_> = attempt.timeline.iter().collect();
        for stage in [State::Scheduled, State::Accepted, State::Rebooting] {
            assert!(attempt.timeline.contains_key(&stage), "{stages:?}");
        }
    }
}
