//! Reads twins for all who follow a device, within the hub's quota.
//!
//! One task asks the [`Schedule`] who is next and makes the reads. Every reading of a device goes
//! to all who follow that device, whoever asked for it.

mod forecast;
mod level;
mod schedule;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use daemon::panics::caught_in;
use iot_hub::{identity::DeviceId, twin::Twin};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    forecast::Forecast,
    schedule::{Cadence, Decision, Expectation, Schedule},
};
use crate::{
    attempt::Trouble,
    hub::Hub,
    quota::{Exhausted, Full},
    vital::Vital,
};

/// One read of a twin.
#[derive(Debug, Clone)]
pub struct TwinRead {
    /// When it was begun.
    pub begun: Timestamp,
    /// What came of it.
    pub result: Result<Arc<Twin>, Trouble>,
}

/// Reads twins for all who follow a device.
#[derive(Debug)]
pub struct Poller {
    commands: mpsc::UnboundedSender<Command>,
    keys: AtomicU64,
}

/// Gets the readings of one device until it is dropped.
#[derive(Debug)]
pub struct Follower {
    key: u64,
    commands: mpsc::UnboundedSender<Command>,
    latest: watch::Receiver<Option<TwinRead>>,
}

/// What the task is told. The channel needs no bound: there is at most a handful of commands for
/// each open attempt and each call being served, and both are bounded elsewhere.
#[derive(Debug)]
enum Command {
    Follow {
        key: u64,
        device: DeviceId,
        tell: watch::Sender<Option<TwinRead>>,
    },
    Expect {
        key: u64,
        expectation: Expectation,
    },
    ReadNow {
        key: u64,
    },
    LookUp {
        key: u64,
        caller: String,
        refuse: oneshot::Sender<Exhausted>,
    },
    Unfollow {
        key: u64,
    },
}

impl Poller {
    /// Starts the task that reads; it ends with `shutdown`.
    pub fn start(
        hub: Arc<Hub>,
        cadence: &Cadence,
        vital: &Vital,
        shutdown: CancellationToken,
    ) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let task = Task {
            hub,
            schedule: Schedule::new(cadence, Instant::now()),
            devices: Devices::default(),
            look_ups: HashMap::new(),
            reads: JoinSet::new(),
        };
        vital.spawn("poller", async move {
            tokio::select! {
                () = task.run(received) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Self {
            commands,
            keys: AtomicU64::new(0),
        }
    }

    /// Follows a device.
    pub fn follow(&self, device: DeviceId) -> Follower {
        let key = self.keys.fetch_add(1, Ordering::Relaxed);
        let (tell, latest) = watch::channel(None);
        let follower = Follower {
            key,
            commands: self.commands.clone(),
            latest,
        };
        follower.send(Command::Follow { key, device, tell });
        follower
    }

    /// Reads a twin once for a caller, who takes turns with the others that wait for one, and does not wait
    /// until a hub that is overloaded wants to be asked again.
    pub async fn read(&self, device: DeviceId, caller: &str) -> Result<TwinRead, Exhausted> {
        let asked = Timestamp::now();
        let mut follower = self.follow(device);
        let (refuse, refused) = oneshot::channel();
        follower.send(Command::LookUp {
            key: follower.key,
            caller: caller.to_owned(),
            refuse,
        });
        let read = async {
            loop {
                let read = follower.next().await;
                if read.begun >= asked {
                    return read;
                }
            }
        };
        tokio::select! {
            biased;
            read = read => Ok(read),
            Ok(exhausted) = refused => Err(exhausted),
        }
    }
}

impl Follower {
    /// Says when something is expected to happen.
    pub fn expect(&self, expectation: Expectation) {
        let key = self.key;
        self.send(Command::Expect { key, expectation });
    }

    /// Wants a reading that is begun from now on.
    pub fn read_now(&self) {
        self.send(Command::ReadNow { key: self.key });
    }

    /// Waits for the next reading. Readings that came in the meantime are skipped but for the last.
    /// They come in the order in which they were begun, for a device is read by one at a time.
    pub async fn next(&mut self) -> TwinRead {
        loop {
            if self.latest.changed().await.is_err() {
                // The poller has stopped, and so has whoever waits here.
                std::future::pending::<()>().await;
            }
            if let Some(read) = self.latest.borrow_and_update().clone() {
                return read;
            }
        }
    }

    fn send(&self, command: Command) {
        // When the task has ended, the service is stopping and nobody waits for readings.
        drop(self.commands.send(command));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.send(Command::Unfollow { key: self.key });
    }
}

struct Task {
    hub: Arc<Hub>,
    schedule: Schedule,
    devices: Devices,
    /// The callers that wait for a reading, by their followers.
    look_ups: HashMap<u64, oneshot::Sender<Exhausted>>,
    reads: JoinSet<(u64, TwinRead)>,
}

/// Who follows which device. The schedule knows devices by numbers.
#[derive(Default)]
struct Devices {
    numbers: HashMap<DeviceId, u64>,
    followed: HashMap<u64, Followed>,
    /// The device of each follower.
    followers: HashMap<u64, u64>,
    next: u64,
}

struct Followed {
    device: DeviceId,
    tell: HashMap<u64, watch::Sender<Option<TwinRead>>>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let due = match self.schedule.decide(Instant::now()) {
                Decision::Read(device) => {
                    self.read(device);
                    continue;
                }
                Decision::Wait(until) => Some(until),
                Decision::Idle => None,
            };
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(Ok((device, read))) = self.reads.join_next() => self.tell(device, &read),
                () = timer => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Follow { key, device, tell } => {
                let device = self.devices.follow(key, device, tell);
                self.schedule.follow(device, key, now);
            }
            Command::Expect { key, expectation } => {
                if let Some(device) = self.devices.of(key) {
                    self.schedule.expect(device, key, expectation);
                }
            }
            Command::ReadNow { key } => {
                if let Some(device) = self.devices.of(key) {
                    self.schedule.read_now(device);
                }
            }
            Command::LookUp {
                key,
                caller,
                refuse,
            } => {
                let Some(device) = self.devices.of(key) else {
                    return;
                };
                match self.schedule.look_up(device, &caller, now) {
                    Ok(()) => {
                        self.look_ups.insert(key, refuse);
                    }
                    Err(Full) => {
                        let retry_after = self.schedule.room_after(now);
                        // Whoever asked may be gone.
                        let _ = refuse.send(Exhausted { retry_after });
                    }
                }
            }
            Command::Unfollow { key } => {
                self.look_ups.remove(&key);
                if let Some(device) = self.devices.unfollow(key) {
                    self.schedule.unfollow(device, key);
                }
            }
        }
    }

    fn read(&mut self, device: u64) {
        let Some(followed) = self.devices.followed.get(&device) else {
            return;
        };
        let (hub, id) = (self.hub.clone(), followed.device.clone());
        self.reads.spawn(async move {
            let begun = Timestamp::now();
            // A fault in one reading must not leave its device unread for ever.
            let result = caught_in(hub.twin(&id)).await.unwrap_or_else(|panicked| {
                Err(Trouble::HubUnreachable(format!("the reading {panicked}")))
            });
            let result = result.map(Arc::new);
            (device, TwinRead { begun, result })
        });
    }

    /// Sends those away who would wait too long.
    fn refuse_look_ups(&mut self) {
        let now = Instant::now();
        if !self.schedule.is_shut(now) {
            return;
        }
        let retry_after = self.schedule.room_after(now);
        for (_, refuse) in self.look_ups.drain() {
            // Whoever asked may be gone.
            let _ = refuse.send(Exhausted { retry_after });
        }
    }

    fn tell(&mut self, device: u64, read: &TwinRead) {
        if let Err(Trouble::Throttled { retry_after }) = &read.result {
            tracing::warn!(
                ?retry_after,
                "the hub refused a twin read for want of quota"
            );
            self.schedule.refused(*retry_after, Instant::now());
        }
        self.schedule.done(device);
        if let Some(followed) = self.devices.followed.get(&device) {
            for tell in followed.tell.values() {
                tell.send_replace(Some(read.clone()));
            }
        }
        // Those who have a reading by now know more.
        self.refuse_look_ups();
    }
}

impl Devices {
    /// The number of the device that a follower follows.
    fn of(&self, follower: u64) -> Option<u64> {
        self.followers.get(&follower).copied()
    }

    fn follow(
        &mut self,
        follower: u64,
        device: DeviceId,
        tell: watch::Sender<Option<TwinRead>>,
    ) -> u64 {
        let number = *self.numbers.entry(device.clone()).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.followers.insert(follower, number);
        let followed = self.followed.entry(number).or_insert_with(|| Followed {
            device,
            tell: HashMap::new(),
        });
        followed.tell.insert(follower, tell);
        number
    }

    fn unfollow(&mut self, follower: u64) -> Option<u64> {
        let number = self.followers.remove(&follower)?;
        let followed = self.followed.get_mut(&number)?;
        followed.tell.remove(&follower);
        if followed.tell.is_empty() {
            self.numbers.remove(&followed.device);
            self.followed.remove(&number);
        }
        Some(number)
    }
}
