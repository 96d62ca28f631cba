//! Times as the hub writes them.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// What the hub writes for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// ISO-8601 in UTC with seven decimals, which is what .NET prints.
pub(crate) fn print(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.").to_string()
        + &format!("{:07}Z", time.subsec_nanosecond().abs() / 100)
}

/// As [`print`], and [`NEVER`] for `None`.
pub(crate) fn print_or_never(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), print)
}

/// Reads ISO-8601 with or without an offset (without one it is UTC); year 1 means never.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let time = text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(local).ok()
    })?;
    let never: Timestamp = NEVER.parse().ok()?;
    (time > never + SignedDuration::from_hours(24)).then_some(time)
}

/// Cuts a time to the precision that [`print`] keeps.
pub(crate) fn truncate(time: Timestamp) -> Timestamp {
    let excess = time.subsec_nanosecond() % 100;
    time.checked_sub(SignedDuration::from_nanos(i64::from(excess)))
        .unwrap_or(time)
}
