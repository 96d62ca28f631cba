//! Where attempts, their events and the audit are kept.
//!
//! [`Store`] is the boundary: what is above it knows nothing of files or rows. A change is on disk
//! when its future ends well, and only then may anybody be told of it.

mod measured;
mod sqlite;

use daemon::panics::Panicked;
use futures_util::future::BoxFuture;
use iot_hub::{
    identity::DeviceId,
    reboot::{RequestId, State},
};
use jiff::Timestamp;

pub use self::{
    measured::Measured,
    sqlite::{Sqlite, SqliteOptions},
};
use crate::{
    attempt::{Attempt, Event, View},
    durations::Learned,
};

/// Keeps attempts, their events and the audit.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Stores a new attempt, unless something is in its way; then nothing is stored.
    fn create(
        &self,
        change: Change,
        audit: Audit,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>>;

    /// Finds what is in the way of a new attempt.
    fn find(
        &self,
        id: RequestId,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>>;

    /// Stores what became of an attempt.
    fn save(&self, change: Change) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes an attempt that was never begun; `verdict` goes to its line in the audit.
    fn forget(&self, id: RequestId, verdict: String) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds a line to the audit.
    fn audit(&self, audit: Audit) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Reads an attempt.
    fn get(&self, id: RequestId) -> BoxFuture<'_, Result<Option<Attempt>, StoreError>>;

    /// Reads every open attempt, and every one that ended since `lost_since` and still has an
    /// aftermath.
    fn unsettled(&self, lost_since: Timestamp) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>>;

    /// Reads the newest attempts on a device that have ended since then, at most as many as anybody
    /// makes while the first may still be heard of.
    fn ended(
        &self,
        device: DeviceId,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>>;

    /// Reads the kept events of an attempt.
    fn events(&self, id: RequestId) -> BoxFuture<'_, Result<Vec<Event>, StoreError>>;

    /// Reads what was learned of the reboots of the fleet, of a class and of a device, as far as there
    /// is anything, the widest group first. [`Store::save`] learns from an attempt that has succeeded.
    fn durations(
        &self,
        class: String,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Vec<Learned>, StoreError>>;

    /// Reads attempts, newest first.
    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<View>, StoreError>>;

    /// Reads the audit, newest first.
    fn audited(&self, query: AuditQuery) -> BoxFuture<'_, Result<Vec<Audited>, StoreError>>;

    /// Brings everything that was stored to its place; nothing is stored after that.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes ended attempts and audit lines older than the retention.
    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Finds out whether a change could be stored, by writing what changes nothing.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// An attempt and the events that are new with it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The attempt as it is now.
    pub attempt: Attempt,
    /// What is new.
    pub events: Vec<Event>,
}

/// What is in the way of a new attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// The id belongs to this one.
    Known(Box<Attempt>),
    /// The device is taken by this one.
    Busy(RequestId),
}

/// One decision, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// When.
    pub time: Timestamp,
    /// Who asked.
    pub who: String,
    /// From which address.
    pub from: String,
    /// For what: `REBOOT`, `CANCEL`, `ABANDON`, or another call.
    pub action: &'static str,
    /// On which attempt, if it is about one.
    pub id: Option<RequestId>,
    /// Of which device, if it is about one.
    pub device: Option<DeviceId>,
    /// Why, in the caller's words.
    pub why: String,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was decided, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The caller may.
    pub allowed: bool,
    /// Why not; or what came of it. For a reboot, how it ended, once it has.
    pub text: String,
    /// What proves that.
    pub evidence: String,
}

impl Verdict {
    /// The caller may, and this came of it.
    pub fn allowed(text: impl Into<String>) -> Self {
        Self {
            allowed: true,
            text: text.into(),
            evidence: String::new(),
        }
    }

    /// The caller may not, for this reason.
    pub fn denied(text: impl Into<String>) -> Self {
        Self {
            allowed: false,
            ..Self::allowed(text)
        }
    }
}

/// A line of the audit as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Rises from line to line.
    pub seq: i64,
    /// When.
    pub time: Timestamp,
    /// Who asked.
    pub who: String,
    /// From which address.
    pub from: String,
    /// For what.
    pub action: String,
    /// On which attempt.
    pub id: Option<RequestId>,
    /// Of which device.
    pub device: Option<DeviceId>,
    /// Why, in the caller's words.
    pub why: String,
    /// What was decided.
    pub verdict: Verdict,
}

/// Which lines of the audit to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditQuery {
    /// About this device only.
    pub device: Option<DeviceId>,
    /// What else has to hold.
    pub conditions: Vec<AuditCondition>,
    /// Older than this one.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: usize,
}

/// Something that has to hold for a line of the audit to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditCondition {
    /// It is about this.
    Action(String),
    /// This caller asked.
    Caller(String),
    /// It was allowed, or denied.
    Allowed(bool),
    /// It was decided then.
    Time(Comparison, Timestamp),
}

/// Which attempts to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListQuery {
    /// Of this device only.
    pub device: Option<DeviceId>,
    /// What else has to hold.
    pub conditions: Vec<Condition>,
    /// Begin after this one.
    pub after: Option<Position>,
    /// At most this many.
    pub limit: usize,
}

/// A place in the list of all attempts, which is ordered by creation and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When the attempt was created, in microseconds.
    pub create_time: i64,
    /// Its id.
    pub id: RequestId,
}

/// Something that has to hold for an attempt to be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is in this state.
    StateIs(State),
    /// It is not in this state.
    StateIsNot(State),
    /// It is open, or it has ended.
    Open(bool),
    /// It was created then.
    Created(Comparison, Timestamp),
}

/// How two times compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Before,
    /// `<=`
    AtOrBefore,
    /// `>`
    After,
    /// `>=`
    AtOrAfter,
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("{doing}")]
    Database {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk failed under a commit, or whoever made it died: it may be there after a restart.
    #[error("find out whether a change was stored")]
    Unsettled(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database was written by a newer version of this program.
    #[error("the database has schema {found}, and this program knows schemas up to {known}")]
    Newer {
        /// The schema found.
        found: i64,
        /// The newest one known.
        known: i64,
    },
    /// A row does not hold what it should.
    #[error("a stored attempt cannot be read")]
    Damaged(#[source] serde_json::Error),
    /// Its own code failed.
    #[error("use the database")]
    Panicked(#[from] Panicked),
    /// Another process has the database.
    #[error("another process has the database; one service has a store for itself")]
    InUse,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    fn database(
        doing: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Database {
            doing,
            source: source.into(),
        }
    }

    /// Nobody knows whether a change was stored.
    pub fn unsettled(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unsettled(source.into())
    }
}

/// The place of an attempt in the list of all.
pub fn position(view: &View) -> Position {
    Position {
        create_time: view.create_time.as_microsecond(),
        id: view.id,
    }
}
