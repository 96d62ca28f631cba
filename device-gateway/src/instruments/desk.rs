//! Where one device says how it stands.

use iot_hub::{
    identity::DeviceId,
    reboot::{AttemptReport, Grade, RequestId, State},
};

use super::{DeviceStatus, Instruments, Kind, Trouble, Verdict};
use crate::{
    causes::chain, driver::DriverError, engine::Outcome, journal::Ended, storage::StorageError,
};

/// One device's place.
#[derive(Debug)]
pub(crate) struct Desk {
    instruments: Instruments,
    id: DeviceId,
}

impl Desk {
    pub(super) fn new(instruments: Instruments, id: DeviceId) -> Self {
        let device = DeviceStatus::default();
        instruments.devices().insert(id.clone(), device);
        Self { instruments, id }
    }

    /// Nobody looks at it.
    #[cfg(test)]
    pub(crate) fn unseen(id: &DeviceId) -> Self {
        Instruments::new(crate::storage::Writes::default(), None).desk(id)
    }

    /// The device is connected to the hub, or is not any more.
    pub(crate) fn linked(&self, up: bool) {
        let was_up = self.connected(up);
        if up {
            self.instruments.0.connects.inc();
        } else if was_up {
            self.instruments.0.disconnects.inc();
        }
    }

    /// As [`Self::linked`], where that is counted later. Returns whether it was connected.
    pub(crate) fn connected(&self, up: bool) -> bool {
        let mut was_up = false;
        self.change(|device| was_up = std::mem::replace(&mut device.connected, up));
        was_up
    }

    /// Its open attempt, and whether the hub has its newest report.
    pub(crate) fn stands(&self, open: Option<(RequestId, State)>, undelivered: bool) {
        self.change(|device| {
            device.undelivered = undelivered;
            device.attempt = open.map(|(id, state)| Box::new((id.to_string(), state.to_string())));
        });
    }

    /// The newest attempt that is reported, which counts once it has ended.
    pub(crate) fn reported(&self, newest: Option<&AttemptReport>) {
        let newest = newest.filter(|report| report.state.is_terminal());
        if let Some(newest) = newest.map(Trouble::of_ended) {
            self.change(|device| device.ended = Some(Box::new(newest)));
        }
    }

    /// The journal was used.
    pub(crate) fn journal(&self, error: Option<&StorageError>) {
        let trouble = error.map(|error| Box::new(Trouble::now(chain(error))));
        self.change(|device| device.journal_error = trouble);
    }

    /// Attempts have ended, and that is on disk.
    pub(crate) fn ended(&self, ended: &[Ended]) {
        for Ended {
            state,
            error,
            grade,
            ..
        } in ended
        {
            let verdict = Verdict {
                state: state.name(),
                error: error.as_ref().map(ToString::to_string).unwrap_or_default(),
                grade: grade.map_or("", Grade::name),
            };
            self.instruments.0.ended.get_or_create(&verdict).inc();
        }
    }

    /// A driver's step is over.
    pub(crate) fn driven(&self, outcome: &Outcome) {
        let Some(error) = failure(outcome) else {
            return;
        };
        let kind = match error {
            DriverError::Unreachable(_) | DriverError::Absent(_) => "unreachable",
            DriverError::Refused(_) => "refused",
            DriverError::Unsupported(_) => "unsupported",
            DriverError::Failed { .. } => "failed",
        };
        let errors = &self.instruments.0.driver_errors;
        errors.get_or_create(&Kind { kind }).inc();
        let trouble = Trouble::now(error.to_string());
        self.change(|device| device.driver_error = Some(Box::new(trouble)));
    }

    fn change(&self, change: impl FnOnce(&mut DeviceStatus)) {
        if let Some(device) = self.instruments.devices().get_mut(&self.id) {
            change(device);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.instruments.devices().remove(&self.id);
    }
}

fn failure(outcome: &Outcome) -> Option<&DriverError> {
    match outcome {
        Outcome::Probed(result) => result.as_ref().err(),
        Outcome::Blockers(result) => result.as_ref().err(),
        Outcome::BaselineTaken(result) => result.as_ref().err(),
        Outcome::Prepared(_) => None,
        Outcome::Triggered(result) => result.as_ref().err(),
        Outcome::PowerRestored(result) => result.as_ref().err(),
        Outcome::Observed(result) => result.as_ref().err(),
        Outcome::HealthChecked(result) => result.as_ref().err(),
    }
}
