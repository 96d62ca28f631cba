//! The statements: values to rows and back.

use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use serde::{Serialize, de::DeserializeOwned};

use super::select::Select;
use crate::{
    attempt::{Attempt, Event, View},
    store::{Audit, Condition, ListQuery, StoreError, Taken, Verdict},
};

/// How many refusals are kept, however young: who is refused chooses how often.
const DENIALS: i64 = 100_000;

/// How many ended attempts of one device are looked through.
const ENDED: i64 = 20;

type Result<T> = std::result::Result<T, StoreError>;

/// Names what was being done when the database failed.
fn during(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::database(doing, error)
}

/// Adds an attempt, and returns its number; `None` if its id is known or its device is taken.
pub(super) fn insert(connection: &Connection, attempt: &Attempt) -> Result<Option<i64>> {
    let view = &attempt.view;
    let sql =
        "INSERT INTO attempts (id, device, state, open, awaits_return, create_time, end_time, data)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT DO NOTHING RETURNING seq";
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            let values = params![
                view.id.to_string(),
                view.device.as_str(),
                view.state.name(),
                !view.state.is_terminal(),
                attempt.has_aftermath(),
                view.create_time.as_microsecond(),
                view.end_time.map(Timestamp::as_microsecond),
                to_text(attempt)?,
            ];
            statement.query_row(values, |row| row.get(0)).optional()
        })
        .map_err(during("add the attempt"))
}

/// Stores how an attempt stands, and returns its number.
pub(super) fn update(connection: &Connection, attempt: &Attempt) -> Result<i64> {
    let view = &attempt.view;
    let (id, state, data) = (view.id.to_string(), view.state.name(), to_text(attempt));
    // While it is open, nothing changes that an index knows.
    let sql = if view.state.is_terminal() {
        "UPDATE attempts SET state = ?2, data = ?3, open = 0, awaits_return = ?4, end_time = ?5
         WHERE id = ?1 RETURNING seq"
    } else {
        "UPDATE attempts SET state = ?2, data = ?3 WHERE id = ?1 RETURNING seq"
    };
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            let data = data?;
            let seq = |row: &Row<'_>| row.get(0);
            if view.state.is_terminal() {
                let end_time = view.end_time.map(Timestamp::as_microsecond);
                let values = params![id, state, data, attempt.has_aftermath(), end_time];
                statement.query_row(values, seq)
            } else {
                statement.query_row(params![id, state, data], seq)
            }
        })
        .map_err(during("update the attempt"))
}

/// Adds events to the attempt of this number, and removes the oldest beyond `keep`.
pub(super) fn add_events(
    connection: &Connection,
    attempt: i64,
    events: &[Event],
    keep: u32,
) -> Result<()> {
    let failed = during("add the events");
    let sql =
        "INSERT INTO events (attempt, revision, time, message, view) VALUES (?1, ?2, ?3, ?4, ?5)";
    for event in events {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.execute(params![
                    attempt,
                    event.revision,
                    nanoseconds(event.time),
                    event.message,
                    to_text(&event.view)?,
                ])
            })
            .map_err(&failed)?;
    }
    let newest = events.last().map_or(0, |event| event.revision);
    let beyond = newest - i64::from(keep);
    if beyond > 0 {
        connection
            .prepare_cached("DELETE FROM events WHERE attempt = ?1 AND revision <= ?2")
            .and_then(|mut statement| statement.execute([attempt, beyond]))
            .map_err(&failed)?;
    }
    Ok(())
}

pub(super) fn add_audit(connection: &Connection, audit: &Audit) -> Result<()> {
    let sql = "INSERT INTO audit (time, who, origin, action, attempt, device, why, allowed, verdict, evidence)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let id = audit.id.map(|id| id.to_string());
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement.execute(params![
                audit.time.as_microsecond(),
                audit.who,
                audit.from,
                audit.action,
                id.unwrap_or_default(),
                audit.device.as_ref().map_or("", DeviceId::as_str),
                audit.why,
                audit.verdict.allowed,
                audit.verdict.text,
                audit.verdict.evidence,
            ])
        })
        .map(drop)
        .map_err(during("add a line to the audit"))
}

/// Writes how a reboot ended into the line of its request.
pub(super) fn set_verdict(connection: &Connection, id: RequestId, verdict: &Verdict) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE audit SET verdict = ?2, evidence = ?3 WHERE attempt = ?1 AND verdict = ''",
        )
        .and_then(|mut statement| {
            statement.execute(params![id.to_string(), verdict.text, verdict.evidence])
        })
        .map(drop)
        .map_err(during("write the verdict to the audit"))
}

pub(super) fn remove(connection: &Connection, id: RequestId) -> Result<()> {
    connection
        .execute("DELETE FROM attempts WHERE id = ?1", [id.to_string()])
        .map(drop)
        .map_err(during("remove the attempt"))
}

pub(super) fn get(connection: &Connection, id: RequestId) -> Result<Option<Attempt>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT data FROM attempts WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([id.to_string()], |row| row.get(0))
                .optional()
        })
        .map_err(during("read the attempt"))?;
    text.as_deref().map(from_text).transpose()
}

/// Finds what is in the way of a new attempt.
pub(super) fn find(
    connection: &Connection,
    id: RequestId,
    device: &DeviceId,
) -> Result<Option<Taken>> {
    if let Some(known) = get(connection, id)? {
        return Ok(Some(Taken::Known(Box::new(known))));
    }
    Ok(open_on(connection, device)?.map(Taken::Busy))
}

pub(super) fn open_on(connection: &Connection, device: &DeviceId) -> Result<Option<RequestId>> {
    let id: Option<String> = connection
        .prepare_cached("SELECT id FROM attempts WHERE device = ?1 AND open = 1")
        .and_then(|mut statement| {
            statement
                .query_row([device.as_str()], |row| row.get(0))
                .optional()
        })
        .map_err(during("look for an open attempt"))?;
    Ok(id.and_then(|id| id.parse().ok()))
}

pub(super) fn unsettled(connection: &Connection, lost_since: Timestamp) -> Result<Vec<Attempt>> {
    let sql = "SELECT data FROM attempts WHERE open = 1 OR (awaits_return = 1 AND end_time >= ?1)";
    let since = lost_since.as_microsecond();
    attempts(connection, sql, &[&since], "read the open attempts")
}

pub(super) fn ended(
    connection: &Connection,
    device: &DeviceId,
    since: Timestamp,
) -> Result<Vec<Attempt>> {
    let sql = "SELECT data FROM attempts WHERE device = ?1 AND open = 0 AND end_time >= ?2
               ORDER BY create_time DESC, id DESC LIMIT ?3";
    let (device, since) = (device.as_str(), since.as_microsecond());
    let values: [&dyn ToSql; 3] = [&device, &since, &ENDED];
    attempts(connection, sql, &values, "read the attempts before")
}

pub(super) fn events(connection: &Connection, id: RequestId) -> Result<Vec<Event>> {
    let failed = during("read the events");
    let sql = "SELECT revision, time, message, view FROM events
         WHERE attempt = (SELECT seq FROM attempts WHERE id = ?1) ORDER BY revision";
    let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
    let columns = |row: &Row<'_>| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get::<_, String>(3)?,
        ))
    };
    let rows = statement
        .query_map([id.to_string()], columns)
        .map_err(&failed)?;
    rows.map(|row| {
        let (revision, time, message, view): (_, i64, _, String) = row.map_err(&failed)?;
        Ok(Event {
            revision,
            time: Timestamp::from_nanosecond(i128::from(time)).unwrap_or_default(),
            message,
            view: from_text(&view)?,
        })
    })
    .collect()
}

pub(super) fn list(connection: &Connection, query: &ListQuery) -> Result<Vec<View>> {
    let mut select = Select::new("data FROM attempts");
    if let Some(device) = &query.device {
        select.and("device = ?", [Box::new(device.as_str().to_owned())]);
    }
    for condition in &query.conditions {
        match condition {
            Condition::StateIs(state) => select.and("state = ?", [Box::new(state.name())]),
            Condition::StateIsNot(state) => select.and("state <> ?", [Box::new(state.name())]),
            Condition::Open(open) => select.and("open = ?", [Box::new(*open)]),
            Condition::Created(comparison, time) => {
                select.and_time("create_time", *comparison, *time);
            }
        }
    }
    if let Some(after) = &query.after {
        select.and(
            "(create_time, id) < (?, ?)",
            [Box::new(after.create_time), Box::new(after.id.to_string())],
        );
    }
    let order = "create_time DESC, id DESC";
    let texts: Vec<String> = select
        .read(connection, order, query.limit, |row| row.get(0))
        .map_err(during("list the attempts"))?;
    texts
        .iter()
        .map(|text| from_text::<Attempt>(text).map(|attempt| attempt.view))
        .collect()
}

pub(super) fn prune(connection: &Connection, before: Timestamp) -> Result<()> {
    let before = before.as_microsecond();
    connection
        .execute(
            "DELETE FROM attempts WHERE open = 0 AND end_time < ?1",
            [before],
        )
        .and_then(|_| connection.execute("DELETE FROM audit WHERE time < ?1", [before]))
        .and_then(|_| {
            let sql = "DELETE FROM audit WHERE allowed = 0 AND seq <=
                       (SELECT seq FROM audit WHERE allowed = 0 ORDER BY seq DESC LIMIT 1 OFFSET ?1)";
            connection.execute(sql, [DENIALS])
        })
        .map(drop)
        .map_err(during("remove what is past the retention"))
}

fn attempts(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    doing: &'static str,
) -> Result<Vec<Attempt>> {
    let failed = during(doing);
    let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
    let texts = statement
        .query_map(values, |row| row.get::<_, String>(0))
        .map_err(&failed)?;
    texts
        .map(|text| from_text(&text.map_err(&failed)?))
        .collect()
}

/// Enough until the year 2262.
fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

fn to_text(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn from_text<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(StoreError::Damaged)
}
