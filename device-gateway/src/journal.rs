//! What must survive power loss: the reboots of one device, as they are on disk.

use std::{collections::VecDeque, time::Duration};

use iot_hub::reboot::{
    AttemptReport, Capabilities, Counters, FailureCode, Grade, HistoryEntry, Mode, RebootCall,
    RequestId, State,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::driver::Baseline;

/// How many ended requests of a device are remembered, so that none is carried out again.
pub const REMEMBERED: usize = 1_000;

/// The reboots of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// The number of the newest report; strictly rises.
    pub seq: u64,
    /// The attempt that has not ended.
    pub open: Option<Box<Attempt>>,
    /// The newest attempt that has.
    pub newest: Option<Box<AttemptReport>>,
    /// When the device last provably booted for a request.
    pub last_reboot: Option<Timestamp>,
    /// When the newest attempt passed its point of no return.
    pub started_reboot_time: Option<Timestamp>,
    /// The boot that the device was last seen in.
    pub boot_id: Option<String>,
    /// When the device announced that it goes down, until it is seen in a new boot or stays up.
    pub going_down: Option<Timestamp>,
    /// A command took the device's power away, and nobody has seen since that it has it again.
    pub power_owed: bool,
    /// The newest boots that were noticed, for the loop breaker and the cooldown.
    pub boots: VecDeque<Timestamp>,
    /// Totals.
    pub counters: Counters,
    /// The newest ends, newest first.
    pub history: Vec<HistoryEntry>,
    /// How long the newest verified reboots took from the command to the new boot, oldest first.
    pub durations: VecDeque<Duration>,
    /// The newest attempt is lost, and its device has not been seen since.
    pub late_return: bool,
    /// How many attempts have ended; numbers the ended ones.
    pub ended: u64,
    /// What the device could do when it last said so.
    pub capabilities: Option<Capabilities>,
}

/// How many durations are kept: enough that one odd reboot does not count, few enough that the device
/// may become another one.
const DURATIONS_KEPT: usize = 9;

impl Journal {
    /// Takes in how long a reboot took.
    pub fn learn_duration(&mut self, took: Duration) {
        self.durations.push_back(took);
        while self.durations.len() > DURATIONS_KEPT {
            self.durations.pop_front();
        }
    }

    /// How long reboots of the device take: the median of the newest.
    pub fn typical_duration(&self) -> Option<Duration> {
        let mut sorted: Vec<_> = self.durations.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

/// An attempt that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What is reported of it.
    pub report: AttemptReport,
    /// What was asked for.
    pub call: RebootCall,
    /// When it may begin.
    pub start_at: Timestamp,
    /// When it must have begun.
    pub start_by: Timestamp,
    /// What the device looked like before.
    pub baseline: Option<Baseline>,
    /// When the baseline was taken.
    pub baseline_time: Option<Timestamp>,
    /// The device said that it would.
    pub claimed: bool,
    /// What was seen of the newest command beside the device itself.
    #[serde(default)]
    pub command_seen: Option<String>,
    /// It was seen absent since the command.
    pub was_absent: bool,
    /// Why giving the command failed, where it is not certain that it did not arrive.
    pub trigger_problem: Option<String>,
    /// The boot it came back in.
    pub new_boot_id: Option<String>,
    /// When that boot was first seen.
    pub boot_seen: Option<Timestamp>,
    /// The gateway goes down with this device.
    pub on_host: bool,
}

impl Attempt {
    /// The caller named a moment of the wall clock; otherwise all is measured from the request on.
    pub(crate) fn names_a_moment(&self) -> bool {
        self.call.deadline.is_some() || self.call.not_before.is_some()
    }

    /// How the newest command was given; until there is one, how the first will be.
    pub(crate) fn mode(&self) -> Mode {
        let newest = self.report.steps.last_key_value();
        newest.map_or(self.call.mode, |(mode, _)| *mode)
    }
}

/// What is kept of an attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its number among the device's ended attempts.
    pub number: u64,
    /// The request.
    pub id: RequestId,
    /// How it ended.
    pub state: State,
    /// When.
    pub time: Timestamp,
    /// How strong its evidence was.
    pub grade: Option<Grade>,
    /// Why it did not succeed.
    pub error: Option<FailureCode>,
}

/// One synced write: the journal, and the attempts that ended with this step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The whole journal.
    pub journal: Journal,
    /// What is new among the ended attempts.
    pub ended: Vec<Ended>,
}

/// The newest ended attempts of a device, oldest first; at most [`REMEMBERED`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered(VecDeque<Ended>);

impl Remembered {
    /// Finds an ended attempt.
    pub fn find(&self, id: RequestId) -> Option<&Ended> {
        self.0.iter().rev().find(|ended| ended.id == id)
    }

    /// Adds an ended attempt, and forgets the oldest when there are too many.
    pub fn push(&mut self, ended: Ended) {
        self.0.push_back(ended);
        while self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }
}

impl FromIterator<Ended> for Remembered {
    fn from_iter<I: IntoIterator<Item = Ended>>(ended: I) -> Self {
        let mut remembered = Self::default();
        ended.into_iter().for_each(|ended| remembered.push(ended));
        remembered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typical_duration_is_the_median_of_the_newest() {
        let seconds = Duration::from_secs;
        let mut journal = Journal::default();
        assert_eq!(journal.typical_duration(), None);
        for (took, typical) in [(40, 40), (900, 900), (42, 42), (41, 42), (43, 42)] {
            journal.learn_duration(seconds(took));
            assert_eq!(journal.typical_duration(), Some(seconds(typical)));
        }
        // It is another device by now.
        for _ in 0..DURATIONS_KEPT {
            journal.learn_duration(seconds(7));
        }
        assert_eq!(journal.durations.len(), DURATIONS_KEPT);
        assert_eq!(journal.typical_duration(), Some(seconds(7)));
    }

    #[test]
    fn a_journal_of_before_is_read() {
        let old = r#"{"seq":3,"took":{"secs":6,"nanos":0}}"#;
        let journal: Journal = serde_json::from_str(old).unwrap();
        assert_eq!((journal.seq, journal.typical_duration()), (3, None));
    }
}
