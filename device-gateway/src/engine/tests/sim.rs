//! A world without I/O: a clock that jumps from event to event, a hub that acknowledges, a device
//! that behaves in a chosen way, and a disk that survives the engine.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use iot_hub::reboot::{Blocker, Grade, Mode, Report, RequestId, State, method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    driver::{Baseline, DriverError, Health, Observation, Probe, Triggered},
    engine::{Answer, Call, DriverStep, Engine, Input, Now, Outcome, Settings, Step, Ticket},
    journal::{Journal, Record, Remembered},
};

pub(super) const ID: RequestId = RequestId(Uuid::from_u128(1));

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a device does when it is told to reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behavior {
    /// Goes down, and comes back in a new boot.
    Reboots,
    /// The same, too fast to be seen absent.
    Instant,
    /// The same, and then once more, too fast to be seen absent.
    Twice,
    /// The same, without a boot identity that it could show.
    NoIdentity,
    /// Says yes and does nothing.
    Lies,
    /// Goes away and comes back in the boot it was in.
    SameBoot,
    /// Says no.
    Refuses,
    /// Goes down for good.
    NeverReturns,
    /// Comes back and does not do its work.
    Unhealthy,
    /// Boots by itself a moment before it would be told to.
    BootsEarly,
    /// Says yes to all but a forced reboot, and does nothing.
    HeedsForce,
    /// Says yes and does nothing, until its power is taken away.
    HeedsPower,
    /// Refuses all but a forced reboot.
    RefusesGrace,
    /// Hangs on its way down, until its power is taken away.
    HangsGoingDown,
    /// Says yes and does nothing for two minutes; then it reboots.
    Dawdles,
    /// Reboots when told; for a while before that it is there and does not say in which boot.
    NamelessAtFirst,
    /// Says yes and does nothing, without a boot identity, and takes a while to connect to a gateway
    /// that was restarted.
    ConnectsLate,
}

/// What a device shows of its boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    Identity,
    Count,
    Uptime,
    /// Nothing but that it is there.
    Presence,
}

/// How long [`Behavior::Dawdles`] takes to go down: a moment longer than it is given.
const DAWDLING: Duration = Duration::from_millis(120_020);

/// When [`Behavior::NamelessAtFirst`] says in which boot it is.
const NAMELESS_UNTIL: Duration = Duration::from_secs(5);

/// After how long it is tried again to write.
const RETRY: Duration = Duration::from_secs(5);

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// The write of this number never reached the disk.
    BeforeWrite(usize),
    /// It did, and nothing after it happened.
    AfterWrite(usize),
    /// Everything of that step happened.
    AfterStep(usize),
}

pub(super) struct Sim {
    pub(super) behavior: Behavior,
    pub(super) shows: Shows,
    /// How long the device was up when the world began.
    pub(super) up_before: Duration,
    pub(super) settings: Settings,
    /// The device is the machine that the engine runs on.
    pub(super) host: bool,
    pub(super) blocked_until: Duration,
    /// What blocks says something else at each look.
    pub(super) blocked_in_many_words: bool,
    /// From then on somebody else blocks, too.
    pub(super) blocked_by_two_from: Duration,
    /// The modes that the device offers.
    pub(super) offers: Vec<Mode>,
    /// Until then something objects at the last moment.
    pub(super) objects_until: Duration,
    /// How often the device was prepared.
    pub(super) preparations: usize,
    pub(super) hub_acknowledges: bool,
    /// When nothing can be written.
    pub(super) disk_fails: Range<Duration>,
    pub(super) crash: Vec<Crash>,

    pub(super) engine: Engine,
    pub(super) disk: Journal,
    pub(super) ended: Vec<crate::journal::Ended>,
    pub(super) writes: usize,
    pub(super) triggers: Vec<RequestId>,
    /// How each of them was to be done.
    pub(super) modes: Vec<Mode>,
    /// How long a command takes to end.
    pub(super) command_takes: Duration,
    /// How long a look at the device takes; it shows how things were when it began.
    pub(super) look_takes: Duration,
    /// How often it was looked at.
    pub(super) looks: usize,
    /// Those looks after the command get no answer, counted from 1, wherever the device is.
    pub(super) loses: Vec<usize>,
    /// While it is away nobody answers a look, and nobody says that it is away.
    pub(super) silent: bool,
    /// The same since the command.
    pub(super) looks_after: usize,
    /// The command of a power cycle ends with the power seen on again.
    pub(super) sees_power: bool,
    /// How often the driver was asked to see to the power, how often that fails, and how long it takes.
    pub(super) restores: usize,
    pub(super) restores_fail: usize,
    /// A power cycle leaves the power off until it is seen to.
    pub(super) stays_off: bool,
    pub(super) restore_takes: Duration,
    pub(super) answers: Vec<Answer>,
    pub(super) reports: Vec<Report>,
    /// Since the world began; the engine's own clock begins anew with each process.
    pub(super) time: Duration,
    process_began: Duration,
    /// How far the wall clock is off.
    pub(super) skew: SignedDuration,
    pending: Vec<(Duration, Input)>,
    /// Since when nothing could be written, and what waits for that.
    unwritten: Option<Duration>,
    stalled: Vec<Input>,
    call: Option<(Value, String)>,
    /// What the hub's desired properties hold.
    queued: Option<Map<String, Value>>,
    /// The hub answers checks of the desired properties.
    pub(super) hub_answers_checks: bool,
    /// When the device was told to reboot, and heeded it.
    told: Option<Duration>,
    /// When its power was taken away.
    powered: Option<Duration>,
    rids: usize,
}

impl Sim {
    pub(super) fn new(behavior: Behavior) -> Self {
        Self::start(behavior, false)
    }

    pub(super) fn on_host(behavior: Behavior) -> Self {
        Self::start(behavior, true)
    }

    fn start(behavior: Behavior, host: bool) -> Self {
        let settings = Settings::default();
        let now = Now::new(wall(Duration::ZERO), Duration::ZERO);
        let (engine, step) = Engine::start(
            settings.clone().into(),
            Journal::default(),
            Remembered::default(),
            now,
        );
        let mut sim = Self {
            behavior,
            shows: Shows::Identity,
            up_before: seconds(100_000),
            settings,
            host,
            blocked_until: Duration::ZERO,
            blocked_in_many_words: false,
            blocked_by_two_from: Duration::MAX,
            offers: vec![Mode::Graceful, Mode::Forced],
            objects_until: Duration::ZERO,
            preparations: 0,
            hub_acknowledges: true,
            disk_fails: Duration::ZERO..Duration::ZERO,
            unwritten: None,
            stalled: Vec::new(),
            crash: Vec::new(),
            engine,
            disk: Journal::default(),
            ended: Vec::new(),
            writes: 0,
            triggers: Vec::new(),
            modes: Vec::new(),
            command_takes: Duration::from_millis(50),
            look_takes: Duration::from_millis(50),
            looks: 0,
            loses: Vec::new(),
            silent: false,
            looks_after: 0,
            sees_power: false,
            restores: 0,
            restores_fail: 0,
            stays_off: false,
            restore_takes: Duration::from_millis(50),
            answers: Vec::new(),
            reports: Vec::new(),
            time: Duration::ZERO,
            process_began: Duration::ZERO,
            skew: SignedDuration::ZERO,
            pending: Vec::new(),
            call: None,
            queued: None,
            hub_answers_checks: true,
            told: None,
            powered: None,
            rids: 0,
        };
        sim.carry_out(step);
        sim
    }

    /// Changes the limits, before anything happens.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.restart();
    }

    /// Calls the method `reboot` and follows the world to its end: nothing open, nothing pending.
    pub(super) fn reboot(mut self, payload: Value) -> Self {
        self.call(method::REBOOT, payload);
        self.run();
        self
    }

    pub(super) fn call(&mut self, method: &str, payload: Value) {
        self.rids += 1;
        let rid = format!("r{}", self.rids);
        if method == method::REBOOT {
            self.call = Some((payload.clone(), rid.clone()));
        }
        self.feed(Input::Call(Call {
            rid,
            method: method.to_owned(),
            payload,
            fresh: RequestId(Uuid::from_u128(1_000)),
        }));
    }

    /// Changes what the desired properties hold, and tells the device.
    pub(super) fn queue(&mut self, request: Option<Value>) {
        self.queue_unseen(request);
        self.feed(Input::Desired(self.queued.clone()));
    }

    /// Changes what the desired properties hold; the device is not told.
    pub(super) fn queue_unseen(&mut self, request: Option<Value>) {
        self.queued = request.map(|request| request.as_object().expect("an object").clone());
    }

    /// Queues a request, and follows the world to its end.
    pub(super) fn reboot_queued(mut self, request: Value) -> Self {
        self.queue(Some(request));
        self.run_until(|sim| !sim.ended.is_empty());
        self
    }

    pub(super) fn feed(&mut self, input: Input) {
        if self.unwritten.is_some() {
            return self.stalled.push(input);
        }
        let before = self.engine.clone();
        let step = self.engine.step(self.now(), input.clone());
        if step.persist.is_some() && self.disk_fails.contains(&self.time) {
            self.engine = before;
            self.unwritten = Some(self.time);
            return self.stalled.push(input);
        }
        self.carry_out(step);
    }

    /// What could not be written is tried again.
    fn retry(&mut self, since: Duration) {
        self.unwritten = None;
        self.engine.leave_out(self.time - since);
        for input in std::mem::take(&mut self.stalled) {
            self.feed(input);
        }
    }

    pub(super) fn run(&mut self) {
        self.run_until(|sim| {
            let call = sim.call.as_ref();
            let answered = call.is_none_or(|(_, rid)| sim.answers.iter().any(|a| a.rid == *rid));
            answered && sim.engine.open().is_none()
        });
    }

    #[track_caller]
    pub(super) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            let wake = match self.unwritten {
                Some(since) => since + RETRY,
                None => self.process_began.saturating_add(self.engine.wake_at()),
            };
            let next = self.pending.iter().map(|(at, _)| *at).chain([wake]).min();
            self.time = self.time.max(next.unwrap_or(wake));
            match self.pending.iter().position(|(at, _)| *at <= self.time) {
                Some(index) => {
                    let (_, input) = self.pending.remove(index);
                    self.feed(input);
                }
                None => match self.unwritten {
                    Some(since) => self.retry(since),
                    None => self.feed(Input::Tick),
                },
            }
        }
        panic!("no end in sight: {:?}", self.engine.open());
    }

    /// The attempt as the twin shows it in the end.
    #[track_caller]
    pub(super) fn verdict(&self) -> (State, Option<String>, Option<Grade>) {
        let attempt = self.engine.report().attempt.expect("an attempt");
        (
            attempt.state,
            attempt.error.map(|error| error.code.to_string()),
            attempt.evidence.map(|evidence| evidence.grade),
        )
    }

    pub(super) fn restart(&mut self) {
        self.pending.clear();
        self.stalled.clear();
        self.unwritten = None;
        self.time += seconds(2);
        if let (true, Some(told)) = (self.host, self.told)
            && self.reboots()
        {
            self.time = self.time.max(told + seconds(20));
        }
        self.process_began = self.time;
        let remembered: Remembered = self.ended.iter().cloned().collect();
        let (engine, step) = Engine::start(
            self.settings.clone().into(),
            self.disk.clone(),
            remembered,
            self.now(),
        );
        self.engine = engine;
        self.carry_out(step);
        if self.queued.is_some() {
            self.feed(Input::Desired(self.queued.clone()));
        }
        // Whoever got no answer asks again, with the same id.
        if let Some((payload, rid)) = self.call.clone()
            && !self.answers.iter().any(|answer| answer.rid == rid)
        {
            self.call(method::REBOOT, payload);
        }
    }

    fn now(&self) -> Now {
        let wall = wall(self.time) + self.skew;
        Now::new(wall, self.time - self.process_began)
    }

    fn carry_out(&mut self, step: Step) {
        if let Some(record) = step.persist {
            self.writes += 1;
            if self.crashes(Crash::BeforeWrite(self.writes)) {
                return self.restart();
            }
            let Record { journal, ended } = *record;
            self.disk = serde_json::from_value(json!(journal)).expect("a journal");
            self.ended.extend(ended);
            if self.crashes(Crash::AfterWrite(self.writes)) {
                return self.restart();
            }
        }
        for answer in step.answers {
            if self.hub_acknowledges {
                self.later(100, Input::AnswerAcked(answer.rid.clone()));
            }
            self.answers.push(answer);
        }
        if let Some(reporting) = step.report {
            if self.hub_acknowledges {
                self.later(200, Input::ReportAcked(reporting.report.seq));
            }
            self.reports.push(reporting.report);
        }
        if let Some(number) = step.check
            && self.hub_answers_checks
        {
            self.later(100, Input::Checked(number, self.queued.clone()));
        }
        let mut host_goes_down = false;
        for (ticket, asked) in step.drive {
            let commanded = matches!(asked, DriverStep::Trigger(_));
            self.drive(ticket, asked);
            host_goes_down |= self.host && commanded && self.reboots();
        }
        if host_goes_down || self.crashes(Crash::AfterStep(self.writes)) {
            self.restart();
        }
    }

    /// A look at the device is under way.
    pub(super) fn is_looked_at(&self) -> bool {
        let look = |(_, input): &_| matches!(input, Input::Driven(_, Outcome::Observed(_)));
        self.pending.iter().any(look)
    }

    fn crashes(&mut self, here: Crash) -> bool {
        let known = self.crash.len();
        self.crash.retain(|crash| *crash != here);
        self.crash.len() < known
    }

    fn later(&mut self, millis: u64, input: Input) {
        self.after(Duration::from_millis(millis), input);
    }

    fn after(&mut self, wait: Duration, input: Input) {
        self.pending.push((self.time + wait, input));
    }

    fn drive(&mut self, ticket: Ticket, step: DriverStep) {
        let outcome = match step {
            DriverStep::Probe => Outcome::Probed(Ok(Probe {
                modes: self.offers.clone(),
                best_grade: Grade::Healthy,
                required_grade: Grade::BootChanged,
                boot_id: self.boot_id(),
                restarts_gateway: self.host,
            })),
            DriverStep::CheckBlockers(_) => Outcome::Blockers(Ok(self.blockers())),
            DriverStep::Prepare(_) => {
                self.preparations += 1;
                Outcome::Prepared(self.objections())
            }
            DriverStep::TakeBaseline => Outcome::BaselineTaken(Ok(Baseline {
                boot_id: self.boot_id(),
                boot_count: self.boot_count(),
                uptime: self.uptime(),
                ..Baseline::default()
            })),
            DriverStep::Trigger(order) => {
                if !order.dry_run {
                    self.triggers.push(order.id);
                    self.modes.push(order.mode);
                }
                let heeded = self.heeds(order.mode);
                let outcome = Outcome::Triggered(if order.dry_run {
                    Ok(Triggered::Rehearsed)
                } else if !heeded && self.refuses() {
                    Err(DriverError::Refused("no".into()))
                } else {
                    if heeded {
                        self.told.get_or_insert(self.time);
                    }
                    if order.mode == Mode::PowerCycle && !self.stays_off {
                        self.powered.get_or_insert(self.time);
                    }
                    if order.mode == Mode::PowerCycle && self.sees_power {
                        Ok(Triggered::Seen("off and on".into()))
                    } else {
                        Ok(Triggered::Acknowledged)
                    }
                });
                return self.after(self.command_takes, Input::Driven(ticket, outcome));
            }
            DriverStep::Observe(_) => {
                self.looks += 1;
                self.looks_after += usize::from(!self.triggers.is_empty());
                let seen = self.observe();
                let lost = self.loses.contains(&self.looks_after) || self.silent && !seen.present;
                let seen = if lost {
                    Err(DriverError::Unreachable("no answer in time".into()))
                } else {
                    Ok(seen)
                };
                let seen = Input::Driven(ticket, Outcome::Observed(seen));
                return self.after(self.look_takes, seen);
            }
            DriverStep::RestorePower => {
                self.restores += 1;
                let restored = if self.restores > self.restores_fail {
                    self.powered.get_or_insert(self.time + self.restore_takes);
                    Ok(())
                } else {
                    Err(DriverError::Unreachable("the PDU is away".into()))
                };
                let restored = Input::Driven(ticket, Outcome::PowerRestored(restored));
                return self.after(self.restore_takes, restored);
            }
            DriverStep::CheckHealth if self.behavior == Behavior::Unhealthy => {
                Outcome::HealthChecked(Ok(Health::Unhealthy("the pump is stuck".into())))
            }
            DriverStep::CheckHealth => Outcome::HealthChecked(Ok(Health::Healthy)),
        };
        self.later(50, Input::Driven(ticket, outcome));
    }

    fn reboots(&self) -> bool {
        !matches!(
            self.behavior,
            Behavior::Lies
                | Behavior::Refuses
                | Behavior::SameBoot
                | Behavior::NeverReturns
                | Behavior::ConnectsLate
        ) && self.told.is_some()
    }

    fn refuses(&self) -> bool {
        matches!(self.behavior, Behavior::Refuses | Behavior::RefusesGrace)
    }

    /// Says whether a command has any effect on the device.
    fn heeds(&self, mode: Mode) -> bool {
        match self.behavior {
            Behavior::HeedsForce | Behavior::RefusesGrace => mode >= Mode::Forced,
            Behavior::HeedsPower => mode == Mode::PowerCycle,
            Behavior::Refuses => false,
            Behavior::Reboots
            | Behavior::Instant
            | Behavior::Twice
            | Behavior::NoIdentity
            | Behavior::Lies
            | Behavior::SameBoot
            | Behavior::NeverReturns
            | Behavior::Unhealthy
            | Behavior::BootsEarly
            | Behavior::HangsGoingDown
            | Behavior::Dawdles
            | Behavior::NamelessAtFirst
            | Behavior::ConnectsLate => true,
        }
    }

    fn blockers(&self) -> BTreeMap<String, Blocker> {
        let blocked = self.time < self.blocked_until;
        let mut blockers = named("b1", blocked);
        blockers.extend(named(
            "b2",
            blocked && self.time >= self.blocked_by_two_from,
        ));
        if self.blocked_in_many_words {
            let words = format!("{} writes", self.time.as_secs());
            blockers
                .values_mut()
                .for_each(|blocker| blocker.why.clone_from(&words));
        }
        blockers
    }

    fn objections(&self) -> BTreeMap<String, Blocker> {
        named("prepare", self.time < self.objects_until)
    }

    fn boots(&self) -> usize {
        let early = self.behavior == Behavior::BootsEarly && self.time > Duration::from_millis(200);
        let told = self.told.map(|told| self.time - told);
        let after = |limit: Duration| usize::from(told.is_some_and(|told| told >= limit));
        usize::from(early)
            + match self.behavior {
                Behavior::Reboots
                | Behavior::NoIdentity
                | Behavior::Unhealthy
                | Behavior::HeedsForce
                | Behavior::HeedsPower
                | Behavior::RefusesGrace
                | Behavior::NamelessAtFirst => after(seconds(6)),
                Behavior::Dawdles => after(DAWDLING + seconds(4)),
                Behavior::HangsGoingDown => {
                    let powered = self.powered.and_then(|at| self.time.checked_sub(at));
                    usize::from(powered.is_some_and(|since| since >= seconds(6)))
                }
                Behavior::Instant => after(Duration::from_millis(10)),
                Behavior::Twice => after(seconds(6)) + after(seconds(12)),
                Behavior::Lies
                | Behavior::SameBoot
                | Behavior::Refuses
                | Behavior::NeverReturns
                | Behavior::BootsEarly
                | Behavior::ConnectsLate => 0,
            }
    }

    fn boot_id(&self) -> Option<String> {
        let nameless = match self.behavior {
            Behavior::NoIdentity | Behavior::ConnectsLate => true,
            Behavior::NamelessAtFirst => {
                (Duration::from_millis(200)..NAMELESS_UNTIL).contains(&self.time)
            }
            Behavior::Reboots
            | Behavior::Instant
            | Behavior::Twice
            | Behavior::Lies
            | Behavior::SameBoot
            | Behavior::Refuses
            | Behavior::NeverReturns
            | Behavior::Unhealthy
            | Behavior::HeedsForce
            | Behavior::HeedsPower
            | Behavior::RefusesGrace
            | Behavior::HangsGoingDown
            | Behavior::Dawdles
            | Behavior::BootsEarly => false,
        };
        let named = !nameless && self.shows == Shows::Identity;
        named.then(|| format!("boot-{}", self.boots()))
    }

    fn boot_count(&self) -> Option<u64> {
        let boots = u64::try_from(self.boots()).expect("a few");
        (self.shows == Shows::Count).then_some(40 + boots)
    }

    /// Of a device that boots once or [`Behavior::Twice`].
    fn uptime(&self) -> Option<Duration> {
        let booted = |boots: usize| Some(self.told? + seconds(6) * u32::try_from(boots).ok()?);
        (self.shows == Shows::Uptime).then(|| match self.boots() {
            0 => self.up_before + self.time,
            boots => booted(boots).map_or(Duration::ZERO, |booted| self.time - booted),
        })
    }

    fn observe(&self) -> Observation {
        let told = self.told.map(|told| self.time - told);
        let away = |from: u64, to: u64| {
            told.is_some_and(|told| (seconds(from)..seconds(to)).contains(&told))
        };
        let absent = match self.behavior {
            Behavior::Reboots
            | Behavior::Twice
            | Behavior::NoIdentity
            | Behavior::NamelessAtFirst
            | Behavior::Unhealthy
            | Behavior::HeedsForce
            | Behavior::HeedsPower
            | Behavior::RefusesGrace
            | Behavior::SameBoot => away(2, 6),
            Behavior::Dawdles => away(DAWDLING.as_secs(), DAWDLING.as_secs() + 5),
            Behavior::HangsGoingDown => away(2, u64::MAX) && self.boots() == 0,
            Behavior::NeverReturns => away(2, u64::MAX),
            Behavior::ConnectsLate => {
                let began = self.process_began;
                !began.is_zero() && self.time < began + seconds(5)
            }
            Behavior::Instant | Behavior::Lies | Behavior::Refuses | Behavior::BootsEarly => false,
        };
        Observation {
            present: !absent,
            was_absent: false,
            boot_id: self.boot_id(),
            uptime: self.uptime(),
            boot_count: self.boot_count(),
            caused_by: (self.boots() > 0)
                .then_some(ID)
                .filter(|_| self.told.is_some()),
            method: "simulation",
            detail: String::new(),
        }
    }
}

fn named(name: &str, holds: bool) -> BTreeMap<String, Blocker> {
    let blocker = Blocker {
        who: "backup".into(),
        why: "writes".into(),
        until: None,
    };
    holds
        .then(|| (name.to_owned(), blocker))
        .into_iter()
        .collect()
}

fn wall(time: Duration) -> Timestamp {
    let time = SignedDuration::try_from(time).expect("a short time");
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    began + time
}

pub(super) fn request() -> Value {
    json!({ "v": 1, "requestId": ID.to_string() })
}

/// A request as it waits in the desired properties.
pub(super) fn queued_request() -> Value {
    json!({ "v": 1, "requestId": ID.to_string(), "deadline": "2026-01-01T00:30:00Z" })
}
