//! Reads twins for all who follow a device, within the hub's quota.
//!
//! One task asks `schedule` who is next and makes the reads. Every reading of a device goes to
//! all who follow that device, whoever asked for it.

mod bucket;
mod schedule;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use iot_hub::{identity::DeviceId, twin::Twin};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::schedule::{Cadence, Expectation};
use self::schedule::{Decision, Schedule};
use crate::{attempt::Trouble, hub::Hub};

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
    Unfollow {
        key: u64,
    },
}

impl Poller {
    /// Starts the task that reads; it ends with `shutdown`.
    pub fn start(hub: Arc<Hub>, cadence: Cadence, rate: f64, shutdown: CancellationToken) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let task = Task {
            hub,
            schedule: Schedule::new(cadence, rate, Instant::now()),
            followed: HashMap::new(),
            reads: JoinSet::new(),
        };
        tokio::spawn(async move {
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

    /// Reads a twin once.
    pub async fn read(&self, device: DeviceId) -> TwinRead {
        let asked = Timestamp::now();
        let mut follower = self.follow(device);
        follower.read_now();
        loop {
            let read = follower.next().await;
            if read.begun >= asked {
                return read;
            }
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
    followed: HashMap<u64, Followed>,
    reads: JoinSet<(u64, DeviceId, TwinRead)>,
}

struct Followed {
    device: DeviceId,
    tell: watch::Sender<Option<TwinRead>>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let due = match self.schedule.decide(Instant::now()) {
                Decision::Read(key) => {
                    self.read(key);
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
                Some(Ok((key, device, read))) = self.reads.join_next() => self.tell(key, &device, &read),
                () = timer => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Follow { key, device, tell } => {
                self.followed.insert(key, Followed { device, tell });
                self.schedule.add(key);
            }
            Command::Expect { key, expectation } => {
                self.schedule.expect(key, expectation, now, rand::random());
            }
            Command::ReadNow { key } => self.schedule.read_now(key, now),
            Command::Unfollow { key } => {
                self.followed.remove(&key);
                self.schedule.remove(key);
            }
        }
    }

    fn read(&mut self, key: u64) {
        let Some(followed) = self.followed.get(&key) else {
            return;
        };
        let (hub, device) = (self.hub.clone(), followed.device.clone());
        self.reads.spawn(async move {
            let begun = Timestamp::now();
            let result = hub.twin(&device).await.map(Arc::new);
            (key, device, TwinRead { begun, result })
        });
    }

    fn tell(&mut self, key: u64, device: &DeviceId, read: &TwinRead) {
        let now = Instant::now();
        if let Err(Trouble::Throttled { retry_after }) = &read.result {
            tracing::warn!(
                ?retry_after,
                "the hub refused a twin read for want of quota"
            );
            self.schedule.refused(*retry_after, now);
        }
        self.schedule.done(key, now, rand::random());
        for followed in self
            .followed
            .values()
            .filter(|followed| followed.device == *device)
        {
            followed.tell.send_replace(Some(read.clone()));
        }
    }
}
