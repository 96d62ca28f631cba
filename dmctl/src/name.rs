//! The names that a person types: a device, or one of its attempts.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A device, typed as `pump-1` or `devices/pump-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceName(String);

impl DeviceName {
    /// The hub's device id.
    pub(crate) fn id(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = String;

    /// Checks the length and that it is one segment; the rest is the service's to judge.
    fn from_str(s: &str) -> Result<Self, String> {
        let id = s.strip_prefix("devices/").unwrap_or(s);
        if id.is_empty() || id.len() > 128 || id.contains('/') {
            return Err("a device is named by its id of 1 to 128 characters, without `/`".into());
        }
        Ok(Self(id.to_owned()))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "devices/{}", self.0)
    }
}

/// An attempt, typed as `pump-1/ID` or `devices/pump-1/reboots/ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptName {
    device: DeviceName,
    id: Uuid,
}

impl AttemptName {
    /// The attempt of a device that a request id makes.
    pub(crate) fn new(device: DeviceName, id: Uuid) -> Self {
        Self { device, id }
    }

    /// The form that is quick to type.
    pub(crate) fn short(&self) -> String {
        format!("{}/{}", self.device.id(), self.id)
    }
}

impl FromStr for AttemptName {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let parts: Vec<&str> = s.split('/').collect();
        let ([device, id] | ["devices", device, "reboots", id]) = parts.as_slice() else {
            return Err("an attempt is named DEVICE/ID or devices/DEVICE/reboots/ID".to_owned());
        };
        Ok(Self {
            device: device.parse()?,
            id: request_id(id)?,
        })
    }
}

impl fmt::Display for AttemptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/reboots/{}", self.device, self.id)
    }
}

/// Reads a request id: a UUID in its 36-character form.
pub(crate) fn request_id(s: &str) -> Result<Uuid, String> {
    match Uuid::try_parse(s) {
        Ok(id) if s.len() == 36 => Ok(id),
        Ok(_) | Err(_) => Err("an id is a UUID of 36 characters".to_owned()),
    }
}

/// The device of an attempt's full name, for a person; the name itself where it is not one.
pub(crate) fn device_of(name: &str) -> &str {
    let rest = name.strip_prefix("devices/").unwrap_or(name);
    rest.split('/').next().unwrap_or(rest)
}

/// The quick form of an attempt's full name; the name itself where it is not one.
pub(crate) fn short(name: &str) -> String {
    name.parse::<AttemptName>()
        .map_or_else(|_| name.to_owned(), |name| name.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a";

    #[test]
    fn both_forms_name_the_same_attempt() {
        let full = format!("devices/pump-1/reboots/{ID}");
        let name: AttemptName = full.parse().unwrap();
        assert_eq!(name.to_string(), full);
        assert_eq!(name.short(), format!("pump-1/{ID}"));
        assert_eq!(name.short().parse(), Ok(name));
        assert_eq!(short(&full), format!("pump-1/{ID}"));
        assert_eq!(device_of(&full), "pump-1");
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in [
            "",
            "pump-1",
            "pump-1/",
            "/x",
            "a/b/c/d",
            "pump-1/7",
            "pump-1/0b6c4a527d3e4c119a551f2e3d4c5b6a",
        ] {
            assert!(text.parse::<AttemptName>().is_err(), "{text}");
        }
        for text in ["", "devices/", "a/b", &"x".repeat(129)] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
        assert_eq!(
            "devices/pump-1".parse::<DeviceName>().unwrap().id(),
            "pump-1"
        );
    }
}
