//! Reading the audit.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::select::Select;
use crate::store::{AuditCondition, AuditQuery, Audited, StoreError, Verdict};

/// Reads lines of the audit, newest first.
pub(super) fn list(
    connection: &Connection,
    query: &AuditQuery,
) -> Result<Vec<Audited>, StoreError> {
    let mut select = Select::new(
        "seq, time, who, origin, action, attempt, device, why, allowed, verdict, evidence FROM audit",
    );
    if let Some(device) = &query.device {
        select.and("device = ?", [Box::new(device.as_str().to_owned())]);
    }
    for condition in &query.conditions {
        match condition {
            AuditCondition::Action(action) => {
                select.and("action = ?", [Box::new(action.clone())]);
            }
            AuditCondition::Caller(who) => select.and("who = ?", [Box::new(who.clone())]),
            AuditCondition::Allowed(allowed) => select.and("allowed = ?", [Box::new(*allowed)]),
            AuditCondition::Time(comparison, time) => select.and_time("time", *comparison, *time),
        }
    }
    if let Some(before) = query.before {
        select.and("seq < ?", [Box::new(before)]);
    }
    select
        .read(connection, "seq DESC", query.limit, audited)
        .map_err(|error| StoreError::database("list the audit", error))
}

fn audited(row: &Row<'_>) -> rusqlite::Result<Audited> {
    let (attempt, device): (String, String) = (row.get(5)?, row.get(6)?);
    Ok(Audited {
        seq: row.get(0)?,
        time: Timestamp::from_microsecond(row.get(1)?).unwrap_or_default(),
        who: row.get(2)?,
        from: row.get(3)?,
        action: row.get(4)?,
        id: attempt.parse().ok(),
        device: device.parse().ok(),
        why: row.get(7)?,
        verdict: Verdict {
            allowed: row.get(8)?,
            text: row.get(9)?,
            evidence: row.get(10)?,
        },
    })
}
