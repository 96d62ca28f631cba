//! Who forbids a reboot of the machine, as a report names them.

use std::collections::BTreeMap;

use iot_hub::reboot::Blocker;

use crate::host::logind::Inhibitor;

/// The longest word of an inhibitor that is passed on.
const WORDS_CHARS: usize = 128;

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

/// Makes a name fit for a property of a twin.
fn property_name(words: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    words.chars().take(WORDS_CHARS).map(fit).collect()
}

/// Makes somebody's words fit for a report.
fn clip(words: &str) -> String {
    let printable = words.chars().filter(|c| !c.is_control());
    printable.take(WORDS_CHARS).collect()
}
