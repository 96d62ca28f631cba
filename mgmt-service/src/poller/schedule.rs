//! Who is read next: a pure core that the poller's task runs, and a simulation in virtual time.
//!
//! There is one record for each device, whoever follows it. What it is worth to read a device grows
//! with the time since it was last read and with the chance that something has happened meanwhile;
//! at the present price ([`Level`]) that makes a deadline, and whoever's deadline passed first is
//! read first. No device waits longer than the longest pause as long as the budget allows that.
//!
//! Reads that an attempt asks for by name (before and after a call, on a hint) and those that
//! callers wait for go by lanes of their own. All three lanes share one bucket by fixed parts, so
//! that none of them can starve another.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    forecast::Forecast,
    level::{Level, worth},
};
use crate::quota::{Bucket, Full, Line, Tier, whole};

/// Who is served first when all lanes have something to read.
const TURNS: [Lane; 8] = [
    Lane::Asked,
    Lane::Due,
    Lane::Asked,
    Lane::Due,
    Lane::Asked,
    Lane::Due,
    Lane::Asked,
    Lane::LookUp,
];

/// How many reads callers may have waiting, in seconds of the budget.
const LOOK_UP_SECONDS: f64 = 5.0;

/// A deadline that was set at a price so much lower is set again before it counts.
const DEARER: f64 = 1.05;

/// How often the longest pause is halved when a deadline is looked for: to within 20 ms.
const HALVINGS: u32 = 12;

/// The longest pause may cost this part of the budget; it grows when there are more devices than
/// that allows for,
const PAUSES_PART: u32 = 6;

/// but to no more than this many halves of what it is otherwise.
const PAUSES_HALVES: u32 = 5;

/// How often a twin is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Cadence {
    /// How many twins may be read in a second, all devices together.
    pub reads_per_second: f64,
    /// The pause before a change is looked for that is certain to happen. It fixes what a read is
    /// worth when the budget would allow any number of them.
    pub min: Duration,
    /// The longest pause of a device that is followed.
    pub max: Duration,
}

impl Default for Cadence {
    /// For the smallest hub.
    fn default() -> Self {
        Self {
            reads_per_second: Tier::SMALLEST.reads_per_second(),
            // With about 25 reads, a reboot whose duration is known to a tenth is seen half a
            // second late.
            min: Duration::from_millis(350),
            // What nobody foresaw is not overlooked for longer.
            max: Duration::from_secs(30),
        }
    }
}

/// When a follower expects something to happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expectation {
    /// Nothing: it need not be read.
    Nothing,
    /// The next change of something that last changed then.
    Change {
        /// When it last changed.
        since: Instant,
        /// When after that it is likely to change again.
        forecast: Forecast,
    },
    /// Something, and nobody waits for it: the longest pause will do.
    Unhurried,
    /// Perhaps something, at some time: read it this often.
    Someday(Duration),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Read this device's twin.
    Read(u64),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing until something changes.
    Idle,
}

/// Who follows what, and who is read next. Devices and followers are known by numbers.
#[derive(Debug)]
pub struct Schedule {
    max: Duration,
    bucket: Bucket,
    level: Level,
    devices: HashMap<u64, Device>,
    due: BTreeSet<(Instant, u64)>,
    asked: VecDeque<u64>,
    look_ups: Line<u64>,
    /// How many of those may wait.
    room: usize,
    turn: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// What attempts ask for by name.
    Asked,
    /// Deadlines that have passed.
    Due,
    /// What callers wait for.
    LookUp,
}

#[derive(Debug)]
struct Device {
    followers: Vec<(u64, Expectation)>,
    /// When the last read was begun; at first, when it was added.
    last_read: Instant,
    /// Its place among the deadlines, and the price that this was set at.
    due: Option<Instant>,
    price: f64,
    reading: bool,
    /// It is in the lane, or will be when the present read is over, which may be older than the
    /// question.
    asked: bool,
    look_up: bool,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(cadence: &Cadence, now: Instant) -> Self {
        let room = whole((cadence.reads_per_second * LOOK_UP_SECONDS).ceil());
        Self {
            max: cadence.max,
            bucket: Bucket::new(cadence.reads_per_second, now),
            level: Level::new(cadence.min, now),
            devices: HashMap::new(),
            due: BTreeSet::new(),
            asked: VecDeque::new(),
            look_ups: Line::new(room),
            room,
            turn: 0,
        }
    }

    /// Adds a follower of a device, which expects nothing yet.
    pub fn follow(&mut self, device: u64, follower: u64, now: Instant) {
        let device = self.devices.entry(device).or_insert_with(|| Device {
            followers: Vec::new(),
            last_read: now,
            due: None,
            price: 0.0,
            reading: false,
            asked: false,
            look_up: false,
        });
        device.followers.push((follower, Expectation::Nothing));
    }

    /// Removes a follower; a device that nobody follows is forgotten.
    pub fn unfollow(&mut self, device: u64, follower: u64) {
        let Some(record) = self.devices.get_mut(&device) else {
            return;
        };
        record.followers.retain(|(key, _)| *key != follower);
        let left = !record.followers.is_empty();
        self.place(device);
        if !left {
            self.devices.remove(&device);
        }
    }

    /// Changes what a follower expects.
    pub fn expect(&mut self, device: u64, follower: u64, expectation: Expectation) {
        let Some(record) = self.devices.get_mut(&device) else {
            return;
        };
        for (key, expected) in &mut record.followers {
            if *key == follower && *expected != expectation {
                *expected = expectation;
                self.place(device);
                return;
            }
        }
    }

    /// Wants a device read as soon as possible.
    pub fn read_now(&mut self, device: u64) {
        let Some(record) = self.devices.get_mut(&device) else {
            return;
        };
        if !record.asked {
            record.asked = true;
            if !record.reading {
                self.asked.push_back(device);
            }
        }
    }

    /// Wants a device read for a caller, who takes turns with the others.
    pub fn look_up(&mut self, device: u64, caller: &str, now: Instant) -> Result<(), Full> {
        let shut = self.is_shut(now);
        let Some(record) = self.devices.get_mut(&device) else {
            return Ok(());
        };
        if shut {
            return Err(Full);
        }
        if record.reading {
            // The read to come is one for all who asked meanwhile.
            record.asked = true;
        } else if !record.look_up && !record.asked {
            self.look_ups.push(caller, device)?;
            record.look_up = true;
        }
        Ok(())
    }

    /// The hub wants to be left alone for longer than a full line takes: no caller is to wait that long.
    pub fn is_shut(&self, now: Instant) -> bool {
        self.until_ready(now) > self.bucket.round(self.room)
    }

    /// When a caller may try again for whom there was no room.
    pub fn room_after(&self, now: Instant) -> Duration {
        self.until_ready(now) + self.bucket.time_for(self.look_ups.len(), now)
    }

    fn until_ready(&self, now: Instant) -> Duration {
        self.bucket.ready_at().saturating_duration_since(now)
    }

    /// Says what to do now.
    pub fn decide(&mut self, now: Instant) -> Decision {
        self.settle_head(now);
        let lag = self.due.first().map_or(Duration::ZERO, |(due, _)| {
            now.saturating_duration_since(*due)
        });
        self.level.observe(lag, now);
        let waiting = !self.asked.is_empty() || !self.look_ups.is_empty();
        let due = self.due.first().map(|(due, _)| *due);
        match due {
            None if !waiting => return Decision::Idle,
            Some(due) if !waiting && due > now => return Decision::Wait(due),
            Some(_) | None => {}
        }
        if now < self.bucket.ready_at() {
            return Decision::Wait(self.bucket.ready_at());
        }
        let Some(device) = self.take(now) else {
            // What waited in a lane has been read meanwhile.
            return due.map_or(Decision::Idle, Decision::Wait);
        };
        self.bucket.take(now);
        if let Some(record) = self.devices.get_mut(&device) {
            record.reading = true;
            record.last_read = now;
            record.asked = false;
            record.look_up = false;
        }
        self.place(device);
        Decision::Read(device)
    }

    /// A read that [`Schedule::decide`] asked for is over.
    pub fn done(&mut self, device: u64) {
        let Some(record) = self.devices.get_mut(&device) else {
            return;
        };
        record.reading = false;
        if record.asked {
            self.asked.push_back(device);
        }
        self.place(device);
    }

    /// The hub refused a read for want of quota.
    pub fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.bucket.refused(retry_after, now);
    }

    /// Takes the next device out of the lane whose turn it is, or out of another one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let first = TURNS[self.turn % TURNS.len()];
        self.turn = self.turn.wrapping_add(1);
        [first, Lane::Asked, Lane::Due, Lane::LookUp]
            .into_iter()
            .find_map(|lane| self.take_from(lane, now))
    }

    fn take_from(&mut self, lane: Lane, now: Instant) -> Option<u64> {
        match lane {
            Lane::Asked => {
                while let Some(device) = self.asked.pop_front() {
                    if self.is_waiting(device, |record| record.asked) {
                        return Some(device);
                    }
                }
                None
            }
            Lane::Due => {
                let &(due, device) = self.due.first()?;
                (due <= now).then_some(device)
            }
            Lane::LookUp => {
                while let Some(device) = self.look_ups.pop() {
                    if self.is_waiting(device, |record| record.look_up) {
                        return Some(device);
                    }
                }
                None
            }
        }
    }

    /// A device may have been read by another lane since it took its place in this one.
    fn is_waiting(&self, device: u64, here: impl Fn(&Device) -> bool) -> bool {
        let record = self.devices.get(&device);
        record.is_some_and(|record| here(record) && !record.reading)
    }

    /// Sets the first deadlines again that were set when reads were cheaper.
    fn settle_head(&mut self, now: Instant) {
        let price = self.level.value();
        while let Some(&(due, device)) = self.due.first()
            && due <= now
            && self
                .devices
                .get(&device)
                .is_some_and(|record| record.price * DEARER < price)
        {
            self.place(device);
        }
    }

    /// How long a device may go without a read. When there are so many that these reads would eat
    /// the budget, they are worth less than those of devices that are about to change.
    fn longest_pause(&self) -> Duration {
        let all = self.bucket.round(self.devices.len());
        let most = self.max * PAUSES_HALVES / 2;
        self.max.max(most.min(all.saturating_mul(PAUSES_PART)))
    }

    /// Moves a device to its place among the deadlines.
    fn place(&mut self, device: u64) {
        let price = self.level.value();
        let max = self.longest_pause();
        let Some(record) = self.devices.get_mut(&device) else {
            return;
        };
        if let Some(old) = record.due.take() {
            self.due.remove(&(old, device));
        }
        if record.reading {
            return;
        }
        record.price = price;
        let deadlines = record
            .followers
            .iter()
            .filter_map(|(_, expected)| deadline(*expected, record.last_read, price, max));
        if let Some(due) = deadlines.min() {
            record.due = Some(due);
            self.due.insert((due, device));
        }
    }
}

/// When a device is to be read that was last read then.
fn deadline(
    expectation: Expectation,
    last_read: Instant,
    price: f64,
    max: Duration,
) -> Option<Instant> {
    match expectation {
        Expectation::Nothing => None,
        Expectation::Unhurried => Some(last_read + max),
        Expectation::Someday(pause) => Some(last_read + pause),
        Expectation::Change { since, forecast } => {
            let before = last_read.saturating_duration_since(since).as_secs_f64();
            // What it is worth to read it before the change can have happened is nothing.
            let from = last_read.max(since);
            let (mut low, mut high) = (0.0, max.as_secs_f64());
            let rest = forecast.after(before);
            for _ in 0..HALVINGS {
                let age = f64::midpoint(low, high);
                if worth(rest.chance(before + age), age) < price {
                    low = age;
                } else {
                    high = age;
                }
            }
            let worth_it = from + Duration::from_secs_f64(high);
            Some(worth_it.min(last_read + max))
        }
    }
}

#[cfg(test)]
mod tests;
