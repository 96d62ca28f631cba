//! Which topics a device may use.

/// The topics of one device: those below `dm/{its id}/`, and what its protocol has names of its own for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics {
    /// What those of its corner begin with.
    own: String,
    /// What the others begin with.
    elsewhere: Vec<String>,
}

/// Where a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In the device's corner; without what its topics begin with.
    Own(&'a str),
    /// Where its protocol has it.
    Elsewhere(&'a str),
    /// Where the device has no business.
    Foreign,
}

impl Topics {
    pub(super) fn of(device: &str, elsewhere: impl IntoIterator<Item = String>) -> Self {
        Self {
            own: own_prefix(device),
            elsewhere: elsewhere.into_iter().collect(),
        }
    }

    /// A topic of its corner.
    pub(super) fn own(&self, name: &str) -> String {
        format!("{}{name}", self.own)
    }

    /// Where a topic is, or all that a filter may match.
    pub(super) fn place<'a>(&self, topic: &'a str) -> Place<'a> {
        let below = |prefix: &str| topic.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(name) = below(&self.own) {
            Place::Own(name)
        } else if self.elsewhere.iter().any(|prefix| below(prefix).is_some()) {
            Place::Elsewhere(topic)
        } else {
            Place::Foreign
        }
    }

    /// The device was made for another server than this one, and knows nothing of its rules.
    pub(super) fn are_of_a_stranger(&self) -> bool {
        !self.elsewhere.is_empty()
    }
}

/// What the topics of a device's corner begin with.
pub(crate) fn own_prefix(device: &str) -> String {
    format!("dm/{device}/")
}
