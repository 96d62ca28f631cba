//! Whether a device is there, and what it answered to the newest command. Pure.

use iot_hub::reboot::RequestId;

/// What is known of the contact with a device.
#[derive(Debug, Default)]
pub(super) struct Contact {
    connected: bool,
    /// Nobody knows whether it is there.
    unheard: bool,
    /// It said that it is leaving, and its connection still stands.
    leaving: bool,
    absences: u64,
    /// How often it had been absent when the command was given.
    absences_before: u64,
    awaited: Option<RequestId>,
    answer: Option<Answer>,
    /// Rises when it is worth looking at the device.
    hints: u64,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Refused(String),
    /// The device went away without one.
    Gone,
}

impl Contact {
    /// Its connection stands.
    pub(super) fn connect(&mut self) {
        self.connected = true;
        self.unheard = false;
        self.leaving = false;
        self.hint();
    }

    /// Its connection ended.
    pub(super) fn disconnect(&mut self) {
        let was_present = self.is_present();
        self.connected = false;
        self.leave(was_present);
    }

    /// The line to its broker is cut. It may still be there, so this is no absence.
    pub(super) fn unhear(&mut self) {
        self.connected = false;
        self.unheard = true;
        self.leaving = false;
        self.hint();
    }

    /// Nobody knows whether it is there.
    pub(super) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// It said that it is leaving.
    pub(super) fn says_offline(&mut self) {
        self.leave(self.is_present());
    }

    /// It said that it is there.
    pub(super) fn says_online(&mut self) {
        self.leaving = false;
        self.hint();
    }

    /// It is worth looking at the device.
    pub(super) fn hint(&mut self) {
        self.hints += 1;
    }

    pub(super) fn hints(&self) -> u64 {
        self.hints
    }

    /// A command is about to be given.
    pub(super) fn await_answer(&mut self, id: RequestId) {
        self.awaited = Some(id);
        self.answer = None;
        self.absences_before = self.absences;
    }

    /// The command that may be answered.
    pub(super) fn awaited(&self) -> Option<RequestId> {
        self.awaited
    }

    /// It answered the command, if there was one.
    pub(super) fn answered(&mut self, answer: Answer) {
        if self.awaited.is_some() {
            self.answer = Some(answer);
        }
    }

    /// The answer to that command, once there is one.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// It is connected, and did not say that it is leaving.
    pub(super) fn is_present(&self) -> bool {
        self.connected && !self.leaving
    }

    /// It was seen absent since the last command, or since this process began.
    pub(super) fn was_absent(&self) -> bool {
        self.absences > self.absences_before
    }

    fn leave(&mut self, was_present: bool) {
        self.absences += u64::from(was_present);
        self.leaving = self.connected;
        if self.answer.is_none() {
            self.answered(Answer::Gone);
        }
        self.hint();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tests::ID;

    #[test]
    fn a_cut_line_is_no_absence() {
        let mut contact = Contact::default();
        contact.connect();
        contact.await_answer(ID);
        contact.unhear();
        assert!(contact.is_unheard() && !contact.is_present());
        assert!(!contact.was_absent());
        assert_eq!(contact.answer(), None, "nor is it an answer");
        contact.connect();
        assert!(contact.is_present() && !contact.is_unheard());
        assert!(!contact.was_absent());
    }

    #[test]
    fn one_departure_counts_once_and_an_old_one_not_at_all() {
        let mut contact = Contact::default();
        contact.connect();
        contact.disconnect();
        contact.connect();
        assert!(contact.was_absent());
        contact.await_answer(ID);
        assert!(!contact.was_absent(), "that was before the command");
        assert_eq!(contact.absences, 1);
        contact.says_offline();
        contact.disconnect();
        assert_eq!(contact.absences, 2);
        assert!(contact.was_absent());
    }
}
