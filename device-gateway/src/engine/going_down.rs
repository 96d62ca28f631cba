//! A shutdown that somebody else began: it is on disk before the machine goes down, so that the boot
//! that follows is known for what it is. It is never a waiting attempt's success.

use iot_hub::reboot::{Grade, HistoryEntry, Origin, State};

use super::Engine;

impl Engine {
    /// The device announces that it goes down.
    pub(super) fn on_going_down(&mut self) {
        let ours = self
            .open()
            .is_some_and(|(_, state)| state.is_past_no_return());
        if ours || self.journal.going_down.is_some() {
            return;
        }
        self.journal.going_down = Some(self.now.wall);
        self.add_history(HistoryEntry {
            id: None,
            origin: Some(Origin::Local),
            state: State::Rebooting,
            time: self.now.wall,
            grade: None,
        });
    }

    /// It stays up, after all.
    pub(super) fn on_staying_up(&mut self) {
        if self.journal.going_down.take().is_some() {
            self.end_announced(State::Cancelled, None);
        }
    }

    /// A boot that nobody asked us for, proved so well. It may have been announced.
    pub(super) fn count_unexpected(&mut self, boot_id: Option<String>, proved: Grade) {
        self.journal.counters.unexpected += 1;
        // Whatever caused it was not an attempt.
        let proved = Some(proved.min(Grade::BootChanged));
        if self.journal.going_down.take().is_some() {
            self.end_announced(State::Succeeded, proved);
        } else {
            self.add_history(HistoryEntry {
                id: None,
                origin: Some(Origin::Unexpected),
                state: State::Succeeded,
                time: self.now.wall,
                grade: proved,
            });
        }
        self.note_boot(boot_id);
    }

    /// The process that journalled an announcement has ended, and the machine has not: nobody
    /// announced that it stays up, or nobody heard.
    pub(super) fn forget_announcement(&mut self, boot_id: Option<&String>) {
        let inherited = std::mem::take(&mut self.announced_before);
        if inherited && boot_id.is_some() && boot_id == self.journal.boot_id.as_ref() {
            self.on_staying_up();
        }
    }

    fn end_announced(&mut self, state: State, grade: Option<Grade>) {
        let mut history = self.journal.history.iter_mut();
        let announced = history.find(|entry| entry.id.is_none() && entry.state == State::Rebooting);
        let ended = HistoryEntry {
            id: None,
            origin: Some(Origin::Local),
            state,
            time: self.now.wall,
            grade,
        };
        match announced {
            Some(entry) => *entry = ended,
            None => self.add_history(ended),
        }
    }
}
