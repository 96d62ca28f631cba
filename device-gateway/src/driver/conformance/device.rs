//! A device without a protocol, which does with the command what its behavior says.
//!
//! What it does depends on how often it is looked at more than on the time, so that a slow machine
//! changes no verdict.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use iot_hub::reboot::RequestId;
use tokio::time;

use super::clock::FastClock;

/// How long the device was up when the test began.
const UP_BEFORE: Duration = Duration::from_secs(100_000);

/// How long it stays dark at least when it goes down.
const DARK: Duration = Duration::from_secs(3);

/// How often it has to be seen dark before it is over: where the dark is silence, one look that is
/// not answered is none.
const SEEN: u32 = 2;

/// How often it is looked whether a device is up.
const PACE: Duration = Duration::from_millis(2);

/// What a device does with the command to reboot: as it should, or in one of the seven ways seen in
/// the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Answers, goes down, and comes back in a new boot.
    WellBehaved,
    /// Answers and does nothing.
    AckAndNothing,
    /// Reboots without an answer; the connection just breaks.
    NoAck,
    /// Reboots, and once more as soon as it was seen back.
    Twice,
    /// Goes away, and comes back with what it said before.
    StaleOnline,
    /// Reboots, and does not do its work from then on.
    Unhealthy,
    /// Goes down for good.
    NeverReturns,
    /// Reboots too fast to be seen absent.
    Instant,
}

impl Behavior {
    pub(super) const ALL: [Self; 8] = [
        Self::WellBehaved,
        Self::AckAndNothing,
        Self::NoAck,
        Self::Twice,
        Self::StaleOnline,
        Self::Unhealthy,
        Self::NeverReturns,
        Self::Instant,
    ];
}

/// A device for a fake of some protocol to stand before.
#[derive(Debug)]
pub(crate) struct FakeDevice {
    behavior: Behavior,
    clock: FastClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commands: usize,
    /// How often it booted since the test began.
    boots: u32,
    /// When it booted last.
    booted: Option<Duration>,
    /// The request whose command caused that boot.
    cause: Option<RequestId>,
    /// The request of the command that was given last.
    told: Option<RequestId>,
    dark: Option<Dark>,
}

#[derive(Debug)]
struct Dark {
    since: Duration,
    seen: u32,
}

/// What a device that is there shows. A protocol passes on what it can carry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// The number of its boot, since the test began.
    pub(crate) boots: u32,
    /// How long that boot has lasted.
    pub(crate) uptime: Duration,
    /// The request whose command caused it.
    pub(crate) cause: Option<RequestId>,
    /// It does its work.
    pub(crate) healthy: bool,
}

impl FakeDevice {
    pub(super) fn new(behavior: Behavior, clock: FastClock) -> Self {
        Self {
            behavior,
            clock,
            state: Mutex::default(),
        }
    }

    /// What it does with the command, for a protocol that carries some of that otherwise than by
    /// what a look shows.
    pub(crate) fn behavior(&self) -> Behavior {
        self.behavior
    }

    /// How often it was told to reboot.
    pub(super) fn commands(&self) -> usize {
        self.state().commands
    }

    /// Looks at it: what it shows, or nothing while it is dark. To be called once for each look that
    /// a driver takes; this is what makes the device's life go on.
    pub(crate) fn look(&self) -> Option<Look> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(dark) = &mut state.dark {
            let over = dark.seen >= SEEN && now >= dark.since + DARK;
            if !over || self.behavior == Behavior::NeverReturns {
                dark.seen += 1;
                return None;
            }
            state.dark = None;
            if self.behavior != Behavior::StaleOnline {
                state.boot(now);
            }
        } else if self.behavior == Behavior::Twice && state.boots == 1 {
            state.go_dark(now);
            return None;
        }
        Some(self.show(&state, now))
    }

    /// What it shows; nothing of its life goes on by this. For whatever else a driver asks it.
    pub(crate) fn peek(&self) -> Option<Look> {
        let state = self.state();
        let there = state.dark.is_none();
        there.then(|| self.show(&state, self.clock.now()))
    }

    /// Waits until it goes down, or boots once more than so often.
    pub(super) async fn goes_down(&self, boots: u32) {
        while self.peek().is_some_and(|look| look.boots == boots) {
            time::sleep(PACE).await;
        }
    }

    /// Waits until it is back, and returns how often it has booted.
    pub(super) async fn is_back(&self) -> u32 {
        loop {
            // One that is there is not looked at: that would make its life go on.
            let look = self.peek().or_else(|| self.look());
            match look {
                Some(look) => return look.boots,
                None => time::sleep(PACE).await,
            }
        }
    }

    /// Takes in the command, with its request where the protocol carries that. Returns whether the
    /// device answers it.
    pub(crate) fn command(&self, id: Option<RequestId>) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        state.commands += 1;
        state.told = id;
        match self.behavior {
            Behavior::AckAndNothing => {}
            Behavior::Instant => state.boot(now),
            Behavior::WellBehaved
            | Behavior::NoAck
            | Behavior::Twice
            | Behavior::StaleOnline
            | Behavior::Unhealthy
            | Behavior::NeverReturns => state.go_dark(now),
        }
        self.behavior != Behavior::NoAck
    }

    fn show(&self, state: &State, now: Duration) -> Look {
        Look {
            boots: state.boots,
            uptime: match state.booted {
                Some(booted) => now.saturating_sub(booted),
                None => UP_BEFORE + now,
            },
            cause: state.cause,
            healthy: self.behavior != Behavior::Unhealthy || state.boots == 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn boot(&mut self, now: Duration) {
        self.boots += 1;
        self.booted = Some(now);
        self.cause = self.told.take();
    }

    fn go_dark(&mut self, now: Duration) {
        self.dark = Some(Dark {
            since: now,
            seen: 0,
        });
    }
}
