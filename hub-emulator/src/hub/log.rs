//! The newest of something, bounded in number and in bytes.

use std::collections::VecDeque;

/// More than a test reads.
const MAX_ENTRIES: usize = 1_000;
/// What a thousand messages of usual size take; large ones push out older ones sooner.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Remembers the newest entries and forgets the oldest.
#[derive(Debug)]
pub(super) struct Log<T> {
    entries: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Log<T> {
    /// Adds an entry that takes about so many bytes.
    pub(super) fn push(&mut self, bytes: usize, entry: T) {
        self.entries.push_back((bytes, entry));
        self.bytes += bytes;
        while self.entries.len() > MAX_ENTRIES || (self.bytes > MAX_BYTES && self.entries.len() > 1)
        {
            if let Some((bytes, _)) = self.entries.pop_front() {
                self.bytes -= bytes;
            }
        }
    }

    /// The entries, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// The newest entry that fits, to be changed.
    pub(super) fn newest_mut(&mut self, fits: impl Fn(&T) -> bool) -> Option<&mut T> {
        self.entries
            .iter_mut()
            .rev()
            .map(|(_, entry)| entry)
            .find(|entry| fits(entry))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut log = Log::default();
        for number in 0..=MAX_ENTRIES {
            log.push(1, number);
        }
        assert_eq!(log.iter().count(), MAX_ENTRIES);
        assert_eq!(log.iter().next(), Some(&1));
    }

    #[test]
    fn the_oldest_go_when_they_are_too_large_but_the_newest_stays() {
        let mut log = Log::default();
        log.push(MAX_BYTES / 2, "a");
        log.push(MAX_BYTES / 2, "b");
        log.push(1, "c");
        assert_eq!(log.iter().copied().collect::<Vec<_>>(), ["b", "c"]);
        log.push(MAX_BYTES * 2, "d");
        assert_eq!(log.iter().copied().collect::<Vec<_>>(), ["d"]);
        log.push(1, "e");
        assert_eq!(log.iter().copied().collect::<Vec<_>>(), ["e"]);
    }
}
