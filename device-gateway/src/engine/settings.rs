//! What the engine of one device is told about its limits.

use std::{collections::BTreeSet, time::Duration};

use iot_hub::reboot::{Capabilities, Grade, Mode};

use crate::driver::Probe;

/// The limits of one device's attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The least evidence that counts as success when the caller names none; absent, the driver's.
    pub required_grade: Option<Grade>,
    /// How long the device has to be present and healthy before it counts as back.
    pub settle: Duration,
    /// How long the device may take to go down after the command.
    pub go_down_limit: Duration,
    /// How long it may take to be back after the command.
    pub return_limit: Duration,
    /// How long it may take from its new boot to good health and the required evidence.
    pub verify_limit: Duration,
    /// How long it may take until it can be given the command.
    pub prepare_limit: Duration,
    /// How long it is left alone after a boot.
    pub cooldown: Duration,
    /// More boots than this within [`Settings::loop_window`] are a loop.
    pub loop_boots: usize,
    /// See [`Settings::loop_boots`].
    pub loop_window: Duration,
    /// The blockers that hold up even a caller who insists, by name.
    pub absolute: BTreeSet<String>,
    /// Rehearse every reboot.
    pub dry_run: bool,
    /// The least time between the answer and the command.
    pub answer_grace: Duration,
    /// How long the command waits for the hub's acknowledgements.
    pub ack_limit: Duration,
    /// Which commands may be given one after the other, mildest first, where the caller agrees.
    pub escalation: Vec<Rung>,
    /// How often the device is looked at while it reboots.
    pub observe_interval: Duration,
    /// How often a blocker is looked at.
    pub block_interval: Duration,
    /// How often an idle device is looked at.
    pub probe_interval: Duration,
    /// How long a caller waits for the device to be surveyed.
    pub survey_limit: Duration,
    /// How long a device that goes down is held up, so that the hub still hears of it.
    pub farewell: Duration,
}

/// One command of a device's escalation, and how long it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// The command.
    pub mode: Mode,
    /// See `go_down_limit` of the settings; absent, the same as that.
    pub go_down_limit: Option<Duration>,
    /// See `return_limit` of the settings; absent, the same as that.
    pub return_limit: Option<Duration>,
}

/// How long an attempt without a deadline may wait for its beginning.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30 * 60);

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            required_grade: None,
            settle: seconds(10),
            go_down_limit: seconds(120),
            return_limit: seconds(15 * 60),
            verify_limit: seconds(5 * 60),
            prepare_limit: seconds(5 * 60),
            cooldown: Duration::ZERO,
            loop_boots: 3,
            loop_window: seconds(15 * 60),
            absolute: BTreeSet::new(),
            dry_run: false,
            answer_grace: seconds(1),
            ack_limit: seconds(10),
            escalation: Vec::new(),
            observe_interval: seconds(1),
            block_interval: seconds(10),
            probe_interval: seconds(60),
            survey_limit: seconds(20),
            // Less than the five seconds that systemd-logind waits by default.
            farewell: seconds(3),
        }
    }
}

impl Settings {
    /// How long the device may take to go down after this command.
    pub(crate) fn go_down_limit(&self, mode: Mode) -> Duration {
        let own = self.rung(mode).and_then(|rung| rung.go_down_limit);
        own.unwrap_or(self.go_down_limit)
    }

    /// How long it may take to be back after this command.
    pub(crate) fn return_limit(&self, mode: Mode) -> Duration {
        let own = self.rung(mode).and_then(|rung| rung.return_limit);
        own.unwrap_or(self.return_limit)
    }

    fn rung(&self, mode: Mode) -> Option<&Rung> {
        self.escalation.iter().find(|rung| rung.mode == mode)
    }

    pub(crate) fn capabilities(&self, probe: &Probe) -> Capabilities {
        Capabilities {
            modes: Mode::ALL
                .into_iter()
                .map(|mode| (mode.name().to_owned(), probe.modes.contains(&mode)))
                .collect(),
            cancel: true,
            watch: !probe.restarts_gateway,
            best_grade: probe.best_grade,
            required_grade: self.required_grade.unwrap_or(probe.required_grade),
            typical_duration_sec: None,
        }
    }
}
