//! A hub full of rebooting devices in virtual time, read by the scheduler that the service runs.
//!
//! A number of reboots is always open: whenever one is seen to have ended, or is given up, the next
//! one begins. How long one takes is lognormal around 90 seconds; one in a hundred never ends. What
//! is measured is how much later than the device the service knows of the end.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::poller::{Cadence, Decision, Expectation, Forecast, Schedule};

/// The median of all reboots, in seconds.
const MEDIAN: f64 = 90.0;

/// A reboot that has not ended after so many medians is given up.
const GIVEN_UP: f64 = 6.0;

/// The part of all reboots that never end.
const NEVER: f64 = 0.01;

/// What a read takes on its way, in seconds.
const ROUND_TRIP: f64 = 0.05;

/// How exactly a gateway foretells the end, as the standard deviation of the logarithm.
const ETA_SPREAD: f64 = 0.03;

/// How long a query lags behind the twins: lognormal, median in seconds and spread.
const QUERY_LAG: (f64, f64) = (2.0, 0.7);

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// The hub's limit on twin reads in a second, of which 95 % are used.
    pub(crate) limit: f64,
    /// How many reboots are open at any time.
    pub(crate) open: usize,
    /// How much their durations differ: the standard deviation of the logarithm.
    pub(crate) spread: f64,
    /// What the service goes by.
    pub(crate) knowledge: Knowledge,
    /// What is let pass before anything is measured, in seconds: the price of a read settles, and
    /// reboots that never end gather.
    pub(crate) warm_up: f64,
    /// For how long it is measured after that.
    pub(crate) seconds: f64,
}

/// What the service goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Knowledge {
    /// Nothing: the devices are read in turn.
    InTurn,
    /// How the durations of such reboots are distributed.
    Learned,
    /// That, and a query that tells which twins have changed, this often in a second.
    Hinted {
        /// Queries in a second.
        queries: f64,
    },
    /// What the gateway says when it accepts the request.
    Eta,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    /// How late the end was seen on average, in seconds.
    pub(crate) mean: f64,
    /// How late it was seen at most but for one in a hundred.
    pub(crate) p99: f64,
    /// Reads for each reboot that ended.
    pub(crate) reads: f64,
    /// The most reads in any second.
    pub(crate) busiest_second: usize,
    /// The longest that an open reboot went without a read.
    pub(crate) longest_pause: f64,
    /// How many ends were seen.
    pub(crate) ends: usize,
}

/// Runs a scenario; the same one always ends the same way.
pub(crate) fn run(scenario: &Scenario) -> Outcome {
    let mut hub = Hub::new(*scenario);
    while hub.time() < scenario.warm_up + scenario.seconds {
        hub.step();
    }
    hub.outcome()
}

struct Reboot {
    ends: Option<f64>,
    last_read: f64,
}

struct Hub {
    scenario: Scenario,
    start: Instant,
    now: Instant,
    dice: Dice,
    schedule: Schedule,
    open: HashMap<u64, Reboot>,
    newest: u64,
    /// What is going to happen, by its time in nanoseconds.
    to_come: BTreeSet<(u128, u64, ToCome)>,
    lateness: Vec<f64>,
    reads: usize,
    second: VecDeque<Instant>,
    busiest_second: usize,
    longest_pause: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ToCome {
    Begin,
    GiveUp,
    Hint,
}

impl Hub {
    fn new(scenario: Scenario) -> Self {
        let start = Instant::now();
        let cadence = Cadence {
            reads_per_second: 0.95 * scenario.limit,
            ..Cadence::default()
        };
        let mut hub = Self {
            scenario,
            start,
            now: start,
            dice: Dice(0x9E37_79B9_7F4A_7C15),
            schedule: Schedule::new(&cadence, start),
            open: HashMap::new(),
            newest: 0,
            to_come: BTreeSet::new(),
            lateness: Vec::new(),
            reads: 0,
            second: VecDeque::new(),
            busiest_second: 0,
            longest_pause: 0.0,
        };
        let (count, mut at) = (scenario.open, 0.0);
        for number in 0..count {
            hub.expect(at, number as u64, ToCome::Begin);
            at += MEDIAN / count as f64;
        }
        hub.newest = count as u64;
        hub
    }

    fn time(&self) -> f64 {
        self.now.duration_since(self.start).as_secs_f64()
    }

    fn expect(&mut self, at: f64, device: u64, what: ToCome) {
        let at = Duration::from_secs_f64(at).as_nanos();
        self.to_come.insert((at, device, what));
    }

    /// Goes on to whatever is next: something that happens, or a read.
    fn step(&mut self) {
        let next = match self.schedule.decide(self.now) {
            Decision::Read(device) => {
                self.read(device);
                return;
            }
            Decision::Wait(until) => Some(until),
            Decision::Idle => None,
        };
        let event = self.to_come.first().map(|(at, ..)| {
            let at = u64::try_from(*at).expect("fits as long as anybody waits for a simulation");
            self.start + Duration::from_nanos(at)
        });
        let at = next
            .into_iter()
            .chain(event)
            .min()
            .expect("somebody reboots");
        self.now = self.now.max(at);
        if event.is_some_and(|event| event <= self.now)
            && let Some((_, device, what)) = self.to_come.pop_first()
        {
            self.happen(device, what);
        }
    }

    fn happen(&mut self, device: u64, what: ToCome) {
        match what {
            ToCome::Begin => self.begin(device),
            ToCome::Hint => self.schedule.read_now(device),
            ToCome::GiveUp => {
                if self.open.remove(&device).is_some() {
                    self.schedule.unfollow(device, 0);
                    self.begin_another();
                }
            }
        }
    }

    fn begin_another(&mut self) {
        self.newest += 1;
        self.begin(self.newest);
    }

    fn begin(&mut self, device: u64) {
        let begun = self.time();
        let lasts = MEDIAN * (self.scenario.spread * self.dice.normal()).exp();
        let ends = (self.dice.uniform() >= NEVER).then_some(begun + lasts);
        let seconds = Duration::from_secs_f64;
        let forecast = match self.scenario.knowledge {
            Knowledge::InTurn | Knowledge::Learned | Knowledge::Hinted { .. } => {
                Forecast::around(seconds(MEDIAN), self.scenario.spread, 1.0)
            }
            Knowledge::Eta => {
                let told = lasts * (ETA_SPREAD * self.dice.normal()).exp();
                Forecast::around(seconds(told), ETA_SPREAD, 1.0)
            }
        };
        let expectation = match self.scenario.knowledge {
            Knowledge::InTurn => Expectation::Someday(Duration::ZERO),
            Knowledge::Learned | Knowledge::Hinted { .. } | Knowledge::Eta => Expectation::Change {
                since: self.now,
                forecast,
            },
        };
        self.schedule.follow(device, 0, self.now);
        self.schedule.expect(device, 0, expectation);
        match ends {
            None => self.expect(begun + GIVEN_UP * MEDIAN, device, ToCome::GiveUp),
            Some(ends) => {
                if let Knowledge::Hinted { queries } = self.scenario.knowledge {
                    let (lag, spread) = QUERY_LAG;
                    let known = ends + lag * (spread * self.dice.normal()).exp();
                    let query = (known * queries).ceil() / queries;
                    self.expect(query, device, ToCome::Hint);
                }
            }
        }
        let last_read = begun;
        self.open.insert(device, Reboot { ends, last_read });
    }

    fn read(&mut self, device: u64) {
        let time = self.time();
        self.second.push_back(self.now);
        while self.now.duration_since(self.second[0]) >= Duration::from_secs(1) {
            self.second.pop_front();
        }
        self.busiest_second = self.busiest_second.max(self.second.len());
        self.schedule.done(device);
        let Some(reboot) = self.open.get_mut(&device) else {
            return;
        };
        let measured = time >= self.scenario.warm_up;
        if measured {
            self.longest_pause = self.longest_pause.max(time - reboot.last_read);
            self.reads += usize::from(reboot.ends.is_some());
        }
        reboot.last_read = time;
        if let Some(ends) = reboot.ends.filter(|ends| *ends <= time) {
            if measured {
                self.lateness.push(time - ends + ROUND_TRIP);
            }
            self.open.remove(&device);
            self.schedule.unfollow(device, 0);
            self.begin_another();
        }
    }

    fn outcome(mut self) -> Outcome {
        self.lateness.sort_by(f64::total_cmp);
        let ends = self.lateness.len();
        Outcome {
            mean: self.lateness.iter().sum::<f64>() / ends as f64,
            p99: self.lateness.get(ends * 99 / 100).copied().unwrap_or(0.0),
            reads: self.reads as f64 / ends as f64,
            busiest_second: self.busiest_second,
            longest_pause: self.longest_pause,
            ends,
        }
    }
}

/// Numbers that look random and are the same each time (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform().max(f64::MIN_POSITIVE), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
