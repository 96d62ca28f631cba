//! Messages in: each rule of a field in one place, and every broken one told at once.

use std::time::Duration;

use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;

use crate::error::{Error, Violation};

/// Collects the rules that a message's fields break.
#[derive(Debug, Default)]
pub(super) struct Fields {
    violations: Vec<Violation>,
}

impl Fields {
    /// Takes a field's value, or notes the rule that it breaks.
    pub(super) fn take<T>(
        &mut self,
        field: &'static str,
        value: Result<T, impl Into<String>>,
    ) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(rule) => {
                self.violations.push(Violation::new(field, rule));
                None
            }
        }
    }

    /// Ends in an error if any rule is broken.
    pub(super) fn check(self) -> Result<(), Error> {
        if self.violations.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.violations))
        }
    }
}

/// A device's name.
pub(super) fn device_name(name: &str) -> Result<DeviceId, String> {
    let id = name
        .strip_prefix("devices/")
        .ok_or("must be devices/{device}")?;
    id.parse()
        .map_err(|error| format!("must be devices/{{device}}: {error}"))
}

/// An attempt's name.
pub(super) fn reboot_name(name: &str) -> Result<(DeviceId, RequestId), String> {
    let form = "must be devices/{device}/reboots/{reboot}";
    let (device, id) = name.split_once("/reboots/").ok_or(form)?;
    let device = device_name(device).map_err(|error| format!("{form}: {error}"))?;
    let id = id
        .parse()
        .map_err(|_| format!("{form}, and the last segment a UUID of 36 characters"))?;
    Ok((device, id))
}

/// As [`reboot_name`], for the field `name` of a message.
pub(super) fn reboot_in_name(name: &str) -> Result<(DeviceId, RequestId), Error> {
    reboot_name(name).map_err(|rule| Violation::new("name", rule).into())
}

/// A duration that is not negative.
pub(super) fn duration(value: &prost_types::Duration) -> Result<Duration, &'static str> {
    let rule = "must be a duration that is not negative";
    let seconds = u64::try_from(value.seconds).map_err(|_| rule)?;
    let nanos = u32::try_from(value.nanos).map_err(|_| rule)?;
    if nanos < 1_000_000_000 {
        Ok(Duration::new(seconds, nanos))
    } else {
        Err(rule)
    }
}

/// A moment.
pub(super) fn timestamp(value: &prost_types::Timestamp) -> Result<Timestamp, &'static str> {
    let rule = "must be a timestamp between the years 1 and 9999";
    if !(0..1_000_000_000).contains(&value.nanos) {
        return Err(rule);
    }
    Timestamp::new(value.seconds, value.nanos).map_err(|_| rule)
}

/// A number of results: 0 is the default, more than the most is the most.
pub(super) fn page_size(value: i32, default: u32, most: u32) -> Result<u32, &'static str> {
    match u32::try_from(value) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
        Err(_) => Err("must not be negative"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::api::convert;

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            "",
            "devices",
            "devices/",
            "device/a",
            "devices/a/b",
            "devices/é",
        ] {
            assert!(device_name(name).is_err(), "{name}");
        }
        let id = Uuid::nil();
        for name in [
            "devices/a/reboots/".to_owned(),
            "devices/a/reboots/x".to_owned(),
            format!("devices//reboots/{id}"),
            format!("devices/a/reboots/{}", id.simple()),
            format!("devices/a/reboots/{id}/"),
            format!("reboots/{id}"),
        ] {
            assert!(reboot_name(&name).is_err(), "{name}");
        }
    }

    #[test]
    fn page_sizes_have_a_default_and_a_limit() {
        assert_eq!(page_size(0, 50, 100), Ok(50));
        assert_eq!(page_size(7, 50, 100), Ok(7));
        assert_eq!(page_size(i32::MAX, 50, 100), Ok(100));
        assert!(page_size(-1, 50, 100).is_err());
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_are_written(
            device in "[A-Za-z0-9.:+%_#*?!(),=@$'-]{1,128}",
            id in any::<u128>(),
        ) {
            let device: DeviceId = device.parse().unwrap();
            let id = RequestId(Uuid::from_u128(id));
            prop_assert_eq!(device_name(&convert::device_name(&device)), Ok(device.clone()));
            prop_assert_eq!(reboot_name(&convert::reboot_name(&device, id)), Ok((device, id)));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,80}", seconds in any::<i64>(), nanos in any::<i32>()) {
            let _ = device_name(&text);
            let _ = reboot_name(&text);
            let _ = duration(&prost_types::Duration { seconds, nanos });
            if let Ok(time) = timestamp(&prost_types::Timestamp { seconds, nanos }) {
                prop_assert_eq!(convert::timestamp(time), prost_types::Timestamp { seconds, nanos });
            }
        }
    }
}
