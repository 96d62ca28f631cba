//! Times as the hub writes them.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// What the hub writes for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// ISO-8601 in UTC with seven decimals, which is what .NET prints; further ones are cut off.
pub(crate) fn print(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.7fZ").to_string()
}

/// As [`print()`], and [`NEVER`] for `None`.
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

/// Cuts a time to the precision that [`print()`] keeps.
pub(crate) fn truncate(time: Timestamp) -> Timestamp {
    let excess = time.subsec_nanosecond() % 100;
    time.checked_sub(SignedDuration::from_nanos(i64::from(excess)))
        .unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_seven_decimals() {
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.0000000Z"),
            (
                "2026-01-02T03:04:05.123456789Z",
                "2026-01-02T03:04:05.1234567Z",
            ),
            ("1969-12-31T23:59:59.75Z", "1969-12-31T23:59:59.7500000Z"),
        ] {
            assert_eq!(print(text.parse().unwrap()), expected);
        }
        assert_eq!(print_or_never(None), NEVER);
    }

    #[test]
    fn reads_times_with_and_without_an_offset() {
        let time = "2021-05-27T16:32:11Z".parse().ok();
        for text in [
            "2021-05-27T16:32:11",
            "2021-05-27T16:32:11Z",
            "2021-05-27T18:32:11+02:00",
        ] {
            assert_eq!(parse(text), time, "{text}");
        }
        for never in ["0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "", "soon"] {
            assert_eq!(parse(never), None, "{never}");
        }
    }

    proptest! {
        #[test]
        fn reading_inverts_printing(second in -60_000_000_000..250_000_000_000_i64, nanosecond in 0..1_000_000_000) {
            let time = truncate(Timestamp::new(second, nanosecond).unwrap());
            prop_assert_eq!(parse(&print(time)), Some(time));
        }
    }
}
