//! Which boot a camera is in, by the time of its last reboot. That time is the camera's own, and its
//! clock may be set at any moment: by a person, by NTP, minutes after each boot where no battery keeps
//! it. Some cameras then reckon the time of their boot anew, others keep what they noted at the time,
//! others get round to it later. None of that is a reboot.
//!
//! What tells them apart is for how long the camera says to be up, by its own clock: a boot makes that
//! begin anew, and nothing else does while the time of the boot changes, too.
//!
//! | the time of the boot | up for | it is |
//! | --- | --- | --- |
//! | changed | less than has passed since | another boot |
//! | changed | so much longer as has passed | the same boot, and another clock |
//! | as before | as long or longer | the same boot |
//! | anything else | | the same boot, if it was not away meanwhile; else nothing is known |

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::events::Times;
use crate::driver::Baseline;

/// How far times may be off that mean the same moment: they come in whole seconds, and are as old as
/// the network is slow.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// No device that speaks ONVIF booted before there was ONVIF: such a time comes from a clock that
/// nobody set.
const EARLIEST: Timestamp = Timestamp::constant(1_230_768_000, 0);

/// What a camera tells of its present boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    /// When it began, by the camera's clock of whatever moment.
    pub(super) began: Timestamp,
    /// How long ago that was by its clock of now.
    pub(super) up: SignedDuration,
    /// The camera tells the same time for the last setting of its clock, and may mean that.
    pub(super) may_be_clock: bool,
}

/// The boot that a camera is in, over several looks.
#[derive(Debug, Default)]
pub(super) struct Boots {
    known: Option<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// When it began, as it was first told.
    name: Timestamp,
    /// As it was told when it was last certain.
    boot: Boot,
    /// When that was; nothing before this process.
    at: Option<Instant>,
    /// The camera was looked for in vain since.
    missed: bool,
}

/// How two boots go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    Same,
    Another,
    Unclear,
}

impl Boot {
    /// What is told of it at that moment of the camera's clock.
    pub(super) fn of(times: Times, now: Timestamp) -> Option<Self> {
        let began = times.last_reboot?;
        Some(Self {
            began,
            up: began.duration_until(now),
            may_be_clock: times.last_clock == Some(began),
        })
    }

    /// The one that a baseline was taken in.
    pub(super) fn in_baseline(baseline: &Baseline) -> Option<Self> {
        Some(Self {
            began: baseline.boot_id.as_ref()?.parse().ok()?,
            up: baseline.uptime?.try_into().ok()?,
            may_be_clock: false,
        })
    }

    /// Says whether it can be compared with a later one.
    pub(super) fn is_sound(self) -> bool {
        self.began >= EARLIEST && self.up >= -TOLERANCE && !self.may_be_clock
    }

    /// How long the camera is up, for what knows no time before the boot.
    pub(super) fn uptime(self) -> Duration {
        self.up.try_into().unwrap_or_default()
    }
}

impl Boots {
    /// Begins anew with a boot that others will be compared with. Returns its name.
    pub(super) fn begin(&mut self, boot: Boot, at: Instant) -> String {
        let known = self.known.map(|known| known.name);
        // A camera that reckons it anew each time is a second off now and then.
        let name = known.filter(|name| near(name.duration_until(boot.began), SignedDuration::ZERO));
        let name = name.unwrap_or(boot.began);
        self.known = Some(Known {
            name,
            boot,
            at: Some(at),
            missed: false,
        });
        name.to_string()
    }

    /// The camera is not there.
    pub(super) fn miss(&mut self) {
        if let Some(known) = &mut self.known {
            known.missed = true;
        }
    }

    /// The name of the boot, if it is certain; `first` is the one that it began with, as far as that
    /// outlived the process.
    pub(super) fn name(&mut self, boot: Boot, at: Instant, first: Boot) -> Option<String> {
        let known = self.known.get_or_insert(Known {
            name: first.began,
            boot: first,
            at: None,
            missed: true,
        });
        match known.kin(boot, at) {
            Kin::Unclear => return None,
            Kin::Same => {}
            Kin::Another => known.name = boot.began,
        }
        Some(known.name.to_string())
    }
}

impl Known {
    /// Compares it with a newer one, which is the one to compare with from then on if it is certain.
    fn kin(&mut self, boot: Boot, at: Instant) -> Kin {
        let passed = self.at.map(|then| at.saturating_duration_since(then));
        let passed = passed.and_then(|passed| SignedDuration::try_from(passed).ok());
        let moved = !near(
            self.boot.began.duration_until(boot.began),
            SignedDuration::ZERO,
        );
        let kin = match passed {
            Some(passed) if near(boot.up, self.boot.up + passed) => Kin::Same,
            Some(passed) if moved && boot.up <= passed + TOLERANCE => Kin::Another,
            // The time that passed is not known: a boot that ended before it was that old, or nothing.
            None if moved && boot.up + TOLERANCE < self.boot.up => Kin::Another,
            Some(_) | None => {
                let longer = boot.up + TOLERANCE >= self.boot.up + passed.unwrap_or_default();
                // Its clock was set, and what it says of its boot goes with that or does not yet.
                return if !self.missed || (!moved && longer) {
                    Kin::Same
                } else {
                    Kin::Unclear
                };
            }
        };
        self.boot = boot;
        self.at = Some(at);
        self.missed = false;
        kin
    }
}

/// Says whether they are the same, as far as that can be told.
pub(super) fn near(a: SignedDuration, b: SignedDuration) -> bool {
    (a - b).abs() <= TOLERANCE
}

#[cfg(test)]
mod tests;
