//! Who forbids a reboot of the machine, as a report names them.

use std::collections::BTreeMap;

use iot_hub::reboot::Blocker;

use crate::{
    host::logind::Inhibitor,
    safety::naming::{clip, property_name},
};

/// Names inhibitors by who holds them.
pub(super) fn named(inhibitors: Vec<Inhibitor>) -> BTreeMap<String, Blocker> {
    let mut blockers = BTreeMap::new();
    for inhibitor in inhibitors {
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
