//! Who forbids a reboot of the machine, as a report names them.

use std::collections::BTreeMap;

use iot_hub::reboot::Blocker;

use crate::{
    host::logind::Inhibitor,
    safety::naming::{clip, property_name},
};

/// How many are named, of any number that users of the machine may hold: a report has its limits.
const NAMED: usize = 16;

/// Names inhibitors by who holds them.
pub(super) fn named(inhibitors: Vec<Inhibitor>) -> BTreeMap<String, Blocker> {
    let mut blockers = BTreeMap::new();
    for inhibitor in inhibitors.into_iter().take(NAMED) {
        let name = format!("inhibitor-{}", property_name(&inhibitor.who));
        // The same program may hold several; they are told apart by their order.
        let mut id = name.clone();
        let mut number = 2;
        while blockers.contains_key(&id) {
            id = format!("{name}-{number}");
            number += 1;
        }
        let blocker = Blocker {
            who: clip(&inhibitor.who),
            why: clip(&inhibitor.why),
            until: None,
        };
        blockers.insert(id, blocker);
    }
    blockers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_the_machine_fill_no_twin() {
        let inhibitor = Inhibitor {
            who: "x".repeat(4_000),
            why: "y".repeat(4_000),
        };
        let blockers = named(vec![inhibitor; 5_000]);
        assert_eq!(blockers.len(), NAMED);
        let told = serde_json::to_string(&blockers).unwrap();
        assert!(told.len() < 8 * 1_024, "{}", told.len());
    }
}
