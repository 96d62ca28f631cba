//! Who waits for a share of a quota: a bounded line in which callers take turns.
//!
//! Each caller has a queue of its own and the head of each is served in turn, so that a caller who
//! asks for much waits behind itself. The room is shared out as well: nobody may hold more of it
//! than an equal part among those who wait.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

/// A bounded line in which callers take turns.
#[derive(Debug)]
pub(crate) struct Line<T> {
    room: usize,
    waiting: HashMap<String, VecDeque<T>>,
    /// Every caller that waits, the next to be served first.
    turns: VecDeque<String>,
    length: usize,
}

/// There is no room for this caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl<T> Line<T> {
    /// An empty line with room for so many.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room: room.max(1),
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            length: 0,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Says whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Lines up, unless the caller has its part of the room already.
    pub(crate) fn push(&mut self, caller: &str, item: T) -> Result<(), Full> {
        let own = self.waiting.get(caller).map_or(0, VecDeque::len);
        let callers = self.turns.len() + usize::from(own == 0);
        // Whoever came alone may hold all of the room: newcomers get their part beyond it, and the
        // line as a whole stays below twice the room.
        let part = (self.room / callers).max(1);
        if own >= part || self.length >= 2 * self.room {
            return Err(Full);
        }
        match self.waiting.entry(caller.to_owned()) {
            Entry::Occupied(queue) => queue.into_mut().push_back(item),
            Entry::Vacant(place) => {
                self.turns.push_back(caller.to_owned());
                place.insert(VecDeque::from([item]));
            }
        }
        self.length += 1;
        Ok(())
    }

    /// Serves the next one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let caller = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&caller)?;
        let item = queue.pop_front()?;
        self.length -= 1;
        if queue.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        Some(item)
    }

    /// Takes a caller's item out of the line, wherever it stands.
    pub(crate) fn remove(&mut self, caller: &str, is_it: impl Fn(&T) -> bool) {
        let Some(queue) = self.waiting.get_mut(caller) else {
            return;
        };
        if let Some(place) = queue.iter().position(is_it) {
            queue.remove(place);
            self.length -= 1;
        }
        if queue.is_empty() {
            self.waiting.remove(caller);
            self.turns.retain(|name| name != caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn callers_take_turns() {
        let mut line = Line::new(100);
        for item in 0..4 {
            line.push("noisy", item).unwrap();
        }
        line.push("polite", 10).unwrap();
        line.push("polite", 11).unwrap();
        let served: Vec<_> = std::iter::from_fn(|| line.pop()).collect();
        assert_eq!(served, [0, 10, 1, 11, 2, 3]);
    }

    #[test]
    fn a_full_line_has_room_for_somebody_new() {
        let mut line = Line::new(10);
        let taken = (0..100).filter(|item| line.push("noisy", *item).is_ok());
        assert_eq!(taken.count(), 10);
        let taken = (0..100).filter(|item| line.push("polite", *item).is_ok());
        assert_eq!(taken.count(), 5);
        assert_eq!(line.push("noisy", 0), Err(Full));
    }

    #[test]
    fn whoever_leaves_is_not_served() {
        let mut line = Line::new(10);
        line.push("a", 1).unwrap();
        line.push("a", 2).unwrap();
        line.push("b", 3).unwrap();
        line.remove("a", |item| *item == 1);
        line.remove("b", |item| *item == 3);
        line.remove("b", |item| *item == 3);
        line.remove("c", |_| true);
        assert_eq!((line.pop(), line.pop(), line.len()), (Some(2), None, 0));
    }

    proptest! {
        /// Against a plain list: nothing is lost or served twice, a caller's own order is kept, no
        /// caller is served twice while another one waits, and the line stays bounded.
        #[test]
        fn it_is_fair_bounded_and_loses_nothing(
            room in 1_usize..20,
            steps in prop::collection::vec((0_u8..6, 0_u8..4), 1..300),
        ) {
            let mut line = Line::new(room);
            let mut model: Vec<(u8, usize)> = Vec::new();
            let mut since: HashMap<u8, usize> = HashMap::new();
            for (number, (step, caller)) in steps.into_iter().enumerate() {
                let name = caller.to_string();
                match step {
                    0..3 => {
                        if line.push(&name, (caller, number)).is_ok() {
                            if !model.iter().any(|(other, _)| *other == caller) {
                                since.insert(caller, 0);
                            }
                            model.push((caller, number));
                        }
                    }
                    3..5 => match line.pop() {
                        None => prop_assert!(model.is_empty()),
                        Some(item) => {
                            let place = model.iter().position(|other| other.0 == item.0);
                            prop_assert_eq!(place.map(|place| model.remove(place)), Some(item));
                            for (other, passed) in &mut since {
                                *passed = if *other == item.0 { 0 } else { *passed + 1 };
                                let waits = model.iter().any(|(waiting, _)| waiting == other);
                                prop_assert!(!waits || *passed <= 4, "{other} waits for {passed} others");
                            }
                        }
                    },
                    _ => {
                        let oldest = model.iter().position(|(other, _)| *other == caller);
                        if let Some(place) = oldest {
                            let (_, gone) = model.remove(place);
                            line.remove(&name, |item| item.1 == gone);
                        }
                    }
                }
                prop_assert_eq!(line.len(), model.len());
                prop_assert!(line.len() <= 2 * room);
            }
        }
    }
}
