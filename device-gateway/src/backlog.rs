//! The telemetry of one device that the hub does not have yet. Pure: it knows which messages there are,
//! and their sizes, but not what is in them; they are on disk.
//!
//! ```text
//!   oldest ───────────────────────────────► newest
//!   [ sent, not acknowledged ][ waiting ······· ] ◄─ one more
//!                              └─ dropped first, when there is no room
//! ```
//!
//! Messages are sent in the order in which they came. What was sent and not acknowledged before a
//! restart is sent again: the hub may get a message twice, as QoS 1 allows, and never misses one that
//! was not dropped.

use std::collections::VecDeque;

/// How much is kept of a device's telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most messages.
    pub messages: usize,
    /// The most bytes that they have together.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            messages: 10_000,
            bytes: 4 * 1024 * 1024,
        }
    }
}

/// The most messages that are on their way to the hub at a time.
pub(crate) const WINDOW: usize = 16;

/// A device's messages.
#[derive(Debug, Clone)]
pub(crate) struct Backlog {
    bounds: Bounds,
    /// Number and size of each, oldest first.
    messages: VecDeque<(u64, usize)>,
    /// So many of them, the oldest, have been sent.
    sent: usize,
    bytes: usize,
    next: u64,
    dropped: u64,
}

/// Room for one more message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Its number.
    pub(crate) number: u64,
    /// What has to make room.
    pub(crate) drops: Vec<u64>,
    bytes: usize,
}

impl Backlog {
    /// Takes up what is on disk, oldest first.
    pub(crate) fn new(bounds: Bounds, kept: impl IntoIterator<Item = (u64, usize)>) -> Self {
        let messages: VecDeque<_> = kept.into_iter().collect();
        Self {
            bounds,
            sent: 0,
            bytes: messages.iter().map(|(_, bytes)| bytes).sum(),
            next: messages.back().map_or(0, |(number, _)| number + 1),
            messages,
            dropped: 0,
        }
    }

    /// Finds room for one more message. Nothing has changed before it is [taken in](Self::take_in).
    /// Messages on their way are not dropped; `None` when there can be no room.
    pub(crate) fn admit(&self, bytes: usize) -> Option<Admission> {
        let mut drops = Vec::new();
        let mut count = self.messages.len() + 1;
        let mut total = self.bytes + bytes;
        for (number, size) in self.messages.iter().skip(self.sent) {
            if count <= self.bounds.messages && total <= self.bounds.bytes {
                break;
            }
            drops.push(*number);
            count -= 1;
            total -= size;
        }
        let fits = count <= self.bounds.messages && total <= self.bounds.bytes;
        fits.then_some(Admission {
            number: self.next,
            drops,
            bytes,
        })
    }

    /// The message is on disk, and those that made room are not any more.
    pub(crate) fn take_in(&mut self, admission: &Admission) {
        for _ in &admission.drops {
            if let Some((_, bytes)) = self.messages.remove(self.sent) {
                self.bytes -= bytes;
                self.dropped += 1;
            }
        }
        self.messages.push_back((admission.number, admission.bytes));
        self.bytes += admission.bytes;
        self.next = admission.number + 1;
    }

    /// The numbers of the messages to be sent next, in order; at most so many that [`WINDOW`] are on
    /// their way.
    pub(crate) fn due(&self) -> impl Iterator<Item = u64> {
        let room = WINDOW.saturating_sub(self.sent);
        let waiting = self.messages.iter().skip(self.sent).take(room);
        waiting.map(|(number, _)| *number)
    }

    /// The first of those that are due has been sent, or is not there to be sent.
    pub(crate) fn on_sent(&mut self) {
        self.sent = (self.sent + 1).min(self.messages.len());
    }

    /// The hub has a message. Returns whether it was one of ours.
    pub(crate) fn on_acked(&mut self, number: u64) -> bool {
        let sent = self.messages.iter().take(self.sent);
        let Some(place) = sent.into_iter().position(|(known, _)| *known == number) else {
            return false;
        };
        if let Some((_, bytes)) = self.messages.remove(place) {
            self.bytes -= bytes;
            self.sent -= 1;
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages were dropped by this process.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Happening {
        Comes(usize),
        CannotBeWritten(usize),
        Sends,
        Acks(usize),
        Restarts,
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let one = prop_oneof![
            4 => (1_usize..40).prop_map(Happening::Comes),
            1 => (1_usize..40).prop_map(Happening::CannotBeWritten),
            3 => Just(Happening::Sends),
            2 => (0..WINDOW).prop_map(Happening::Acks),
            1 => Just(Happening::Restarts),
        ];
        prop::collection::vec(one, 0..200)
    }

    proptest! {
        /// Against a disk that holds the messages and a hub that notes what it gets.
        #[test]
        fn whatever_happens_each_message_arrives_in_order_or_is_counted_as_dropped(
            happenings in happenings(),
        ) {
            let bounds = Bounds { messages: 20, bytes: 300 };
            let mut backlog = Backlog::new(bounds, []);
            let mut disk: Vec<(u64, usize)> = Vec::new();
            let mut on_their_way: Vec<u64> = Vec::new();
            // A number may be given again once its message is gone, so each message has a name, too.
            let mut names: BTreeMap<u64, usize> = BTreeMap::new();
            let mut came = 0;
            let mut hub: Vec<usize> = Vec::new();
            let mut dropped = Vec::new();
            for happening in happenings {
                match happening {
                    Happening::Comes(bytes) => {
                        let Some(admission) = backlog.admit(bytes) else { continue };
                        disk.retain(|(number, _)| !admission.drops.contains(number));
                        disk.push((admission.number, bytes));
                        dropped.extend(admission.drops.iter().map(|number| names[number]));
                        names.insert(admission.number, came);
                        came += 1;
                        backlog.take_in(&admission);
                    }
                    Happening::CannotBeWritten(bytes) => {
                        let _ = backlog.admit(bytes);
                    }
                    Happening::Sends => {
                        let due: Vec<_> = backlog.due().collect();
                        for number in due {
                            prop_assert!(disk.iter().any(|(kept, _)| *kept == number));
                            backlog.on_sent();
                            on_their_way.push(number);
                        }
                        prop_assert!(on_their_way.len() <= WINDOW);
                    }
                    Happening::Acks(place) => {
                        if place < on_their_way.len() {
                            let number = on_their_way.remove(place);
                            hub.push(names[&number]);
                            prop_assert!(backlog.on_acked(number));
                            prop_assert!(!backlog.on_acked(number));
                            disk.retain(|(kept, _)| *kept != number);
                        }
                    }
                    Happening::Restarts => {
                        // The hub may have got any of these, or none.
                        on_their_way.clear();
                        backlog = Backlog::new(bounds, disk.clone());
                    }
                }
                prop_assert!(disk.len() <= bounds.messages);
                prop_assert!(disk.iter().map(|(_, bytes)| bytes).sum::<usize>() <= bounds.bytes);
            }
            // The hub takes what is left, in the order in which it is sent.
            for number in on_their_way {
                hub.push(names[&number]);
                prop_assert!(backlog.on_acked(number));
            }
            let mut rest = Vec::new();
            loop {
                let next = backlog.due().next();
                let Some(number) = next else { break };
                backlog.on_sent();
                prop_assert!(backlog.on_acked(number));
                rest.push(names[&number]);
            }
            prop_assert!(rest.is_sorted());
            prop_assert!(backlog.is_empty());
            hub.extend(rest);
            for name in 0..came {
                prop_assert!(hub.contains(&name) != dropped.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn the_oldest_that_wait_make_room_and_what_is_on_its_way_does_not() {
        let bounds = Bounds {
            messages: 3,
            bytes: 100,
        };
        let mut backlog = Backlog::new(bounds, [(4, 10), (5, 10), (6, 10)]);
        backlog.on_sent();
        let admission = backlog.admit(10).unwrap();
        assert_eq!(
            (admission.number, admission.drops.as_slice()),
            (7, &[5][..])
        );
        backlog.take_in(&admission);
        assert_eq!(backlog.dropped(), 1);
        assert_eq!(backlog.admit(85).unwrap().drops, [6, 7]);
        assert_eq!(backlog.admit(91), None, "the one on its way stays");
        assert_eq!(backlog.due().collect::<Vec<_>>(), [6, 7]);
    }
}
