//! What a device that follows a tutorial's conventions claims, and whose reboot that is.
//!
//! A claim names no request. One that comes after the call is the device's answer to it, unless an
//! earlier attempt on the device was lost: its claim may be as late as its device. So many claims as
//! earlier attempts are still owed prove nothing for this one; the next does. Where none follows, the
//! attempt fails for want of proof, and what was owed counts as paid.

use std::time::Duration;

use iot_hub::reboot::{CLAIM_PATHS, Dialect, Evidence, Failure, FailureCode, Grade, State};
use jiff::Timestamp;

use super::{
    Attempt,
    dispatch::Phase,
    reading::{Baseline, Reading},
    time::later,
    turn::Turn,
};

/// How evidence of the grade CLAIMED is obtained.
const CLAIM_METHOD: &str = "reported-claim";

/// How long after its start an attempt may be claimed that has failed because only one claim came, of
/// two reboots: for one with a short deadline that one may have been the other's.
const LATE_CLAIM: Duration = Duration::from_secs(30 * 60);

impl Attempt {
    /// The twin is about to be read for the last time before the call: it matters which earlier attempts
    /// may yet be claimed.
    pub fn wants_owed(&self) -> bool {
        matches!(self.progress.phase, Phase::Reading { .. }) && !self.progress.may_have_arrived
    }

    /// This attempt has ended, and what its device claims after `reading` may be this reboot.
    pub fn may_yet_be_claimed(&self, reading: &Reading, now: Timestamp) -> bool {
        let Some(baseline) = &self.progress.baseline else {
            return false;
        };
        let called = self.progress.may_have_arrived && self.view.dialect != Some(Dialect::Native);
        let silent = baseline.owed > 0 || baseline.claim(reading, self.view.dialect).is_none();
        let lost = self.view.state == State::Lost && self.view.recovered_time.is_none();
        let unproved = baseline.disputed && now < later(self.view.start(), LATE_CLAIM);
        called && silent && (lost || self.view.state == State::Failed && unproved)
    }
}

impl Baseline {
    /// What the device claims since then.
    fn claim(&self, reading: &Reading, dialect: Option<Dialect>) -> Option<Evidence> {
        let pairs = self.claims.iter().zip(&reading.claims).zip(CLAIM_PATHS);
        let mut pairs =
            pairs.filter(|(_, path)| dialect.is_none_or(|dialect| dialect.claims_by(path)));
        pairs.find_map(|((before, after), path)| {
            let after = after.filter(|after| before.is_none_or(|before| before != *after))?;
            let path = path.join(".");
            Some(Evidence {
                grade: Grade::Claimed,
                method: CLAIM_METHOD.to_owned(),
                before: match before {
                    Some(before) => format!("{path} written at {before}"),
                    None => format!("{path} never written"),
                },
                after: format!("{path} written at {after}"),
            })
        })
    }
}

impl Turn<'_> {
    /// What the device claims since it was called, beyond what it may owe to earlier attempts.
    pub(super) fn claim(&mut self, reading: &Reading) -> Option<Evidence> {
        let claimed = self.claimed_at_all(reading)?;
        let baseline = self.attempt.progress.baseline.as_mut()?;
        if baseline.owed == 0 {
            return Some(claimed);
        }
        baseline.owed -= 1;
        baseline.disputed = true;
        baseline.claims = reading.claims;
        if !self.is_ended() {
            self.note("the device claims a reboot, which may be that of an attempt before");
        }
        None
    }

    /// Takes in a claim that may be of an earlier attempt, and no other.
    pub(super) fn pay(&mut self, reading: &Reading) {
        let baseline = self.attempt.progress.baseline.as_ref();
        if baseline.is_some_and(|baseline| baseline.owed > 0) {
            self.claim(reading);
        }
    }

    fn claimed_at_all(&self, reading: &Reading) -> Option<Evidence> {
        let dialect = self.attempt.view.dialect;
        let is_ours = match dialect {
            Some(dialect) => dialect == Dialect::Native,
            // What a gateway reports as others do is no claim of this attempt.
            None => reading.report.is_some(),
        };
        if is_ours {
            return None;
        }
        let baseline = self.attempt.progress.baseline.as_ref()?;
        baseline.claim(reading, dialect)
    }

    /// The device has claimed a reboot, and this is the proof.
    pub(super) fn claimed(&mut self, evidence: Evidence) {
        self.attempt.view.evidence = Some(evidence);
        self.judge(State::Succeeded, self.now, None);
    }

    /// Why an attempt fails whose device has claimed a reboot that may have been another.
    pub(super) fn disputed(&self) -> Option<Failure> {
        let baseline = self.attempt.progress.baseline.as_ref()?;
        baseline.disputed.then(|| Failure {
            code: FailureCode::ProofTooWeak,
            message:
                "the device has claimed one reboot since it was called, which may be that of an \
                      attempt before, and claims name none"
                    .to_owned(),
            retryable: true,
        })
    }
}
