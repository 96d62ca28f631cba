//! What was learned of the durations of reboots: a row for the fleet, for each class, for each device.

use std::time::Duration;

use iot_hub::identity::DeviceId;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{durations::Learned, store::StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// The groups that a device belongs to, as kind and name, the widest first.
fn groups<'a>(class: &'a str, device: &'a DeviceId) -> [(&'static str, &'a str); 3] {
    [("fleet", ""), ("class", class), ("device", device.as_str())]
}

/// Adds a reboot to each group of its device.
pub(super) fn add(
    connection: &Connection,
    class: &str,
    device: &DeviceId,
    took: Duration,
) -> Result<()> {
    let sql = "INSERT INTO durations (kind, name, mean, variance, count) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (kind, name)
               DO UPDATE SET mean = excluded.mean, variance = excluded.variance, count = excluded.count";
    for (kind, name) in groups(class, device) {
        let Learned {
            mean,
            variance,
            count,
        } = Learned::with(one(connection, kind, name)?, took);
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![kind, name, mean, variance, count]))
            .map_err(|error| StoreError::database("learn from the attempt", error))?;
    }
    Ok(())
}

/// Reads what was learned of each group of a device.
pub(super) fn get(connection: &Connection, class: &str, device: &DeviceId) -> Result<Vec<Learned>> {
    let groups = groups(class, device).into_iter();
    groups
        .filter_map(|(kind, name)| one(connection, kind, name).transpose())
        .collect()
}

fn one(connection: &Connection, kind: &str, name: &str) -> Result<Option<Learned>> {
    let sql = "SELECT mean, variance, count FROM durations WHERE kind = ?1 AND name = ?2";
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            let read = statement.query_row([kind, name], |row| {
                Ok(Learned {
                    mean: row.get(0)?,
                    variance: row.get(1)?,
                    count: row.get(2)?,
                })
            });
            read.optional()
        })
        .map_err(|error| StoreError::database("read what was learned", error))
}
