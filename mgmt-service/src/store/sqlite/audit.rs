//! Reading the audit.

use jiff::Timestamp;
use rusqlite::{Connection, Row, ToSql, params_from_iter};

use super::rows::compared;
use crate::store::{AuditCondition, AuditQuery, Audited, StoreError, Verdict};

/// Reads lines of the audit, newest first.
pub(super) fn list(
    connection: &Connection,
    query: &AuditQuery,
) -> Result<Vec<Audited>, StoreError> {
    let mut sql =
        "SELECT seq, time, who, origin, action, attempt, device, why, allowed, verdict, evidence
                   FROM audit WHERE 1"
            .to_owned();
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    if let Some(device) = &query.device {
        sql += " AND device = ?";
        values.push(Box::new(device.as_str().to_owned()));
    }
    for condition in &query.conditions {
        let (text, value): (String, Box<dyn ToSql>) = match condition {
            AuditCondition::Action(action) => (" AND action = ?".into(), Box::new(action.clone())),
            AuditCondition::Caller(who) => (" AND who = ?".into(), Box::new(who.clone())),
            AuditCondition::Allowed(allowed) => (" AND allowed = ?".into(), Box::new(*allowed)),
            AuditCondition::Time(comparison, time) => {
                let text = compared("time", *comparison);
                (text, Box::new(time.as_microsecond()))
            }
        };
        sql += &text;
        values.push(value);
    }
    if let Some(before) = query.before {
        sql += " AND seq < ?";
        values.push(Box::new(before));
    }
    sql += " ORDER BY seq DESC LIMIT ?";
    values.push(Box::new(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    let failed = |error| StoreError::database("list the audit", error);
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let values = values.iter().map(AsRef::as_ref);
    let rows = statement.query_map(params_from_iter(values), audited);
    rows.map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
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
